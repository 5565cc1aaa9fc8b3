"""The quality collections: a steward's agency sees the findings and the quarantine of its own layers, nobody else."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import pytest

from sdi.store import engine
from sdi.store.sharing import agencies, keys
from sdi.store.tiles import column_of, row_of
from tests.deployment import Deployment, serving
from tests.service.conftest import Answer, Town

STEWARD, OTHER = "so_nnmt", "so_xay_dung"
LAYER = "cadastral_parcels"
PLOT = """{"type": "Feature", "properties": {"maXa": "00070", "soTo": "7", "soThua": "%s", "mdsd": "%s",
 "dienTichPhapLy": 111.5, "nguonGoc": "Công nhận quyền", "tenChu": "Nguyễn Văn Chủ", "soPhatHanh": "BX 123456"},
 "geometry": {"type": "Polygon", "coordinates": [[[105.%s5,21.0287],[105.%s6,21.0287],[105.%s6,21.0288],
 [105.%s5,21.0288],[105.%s5,21.0287]]]}}"""


def parcels(path: Path, *uses: str) -> Path:
    """Parcels 1, 2, … with these use codes, side by side."""
    features = [PLOT % (n, use, *[f"85{n}"] * 5) for n, use in enumerate(uses, start=1)]
    path.write_text('{"type": "FeatureCollection", "features": [' + ",".join(features) + "]}", encoding="utf-8")
    return path


@dataclass
class Office:
    """A served deployment in which one parcel of three is in quarantine."""

    at: Deployment
    url: str
    key: str
    other: str

    def ask(self, path: str, **headers: str) -> Answer:
        return Town(self.url, "", self.at.registry, self.at.settings).ask(path, **headers)

    def collections(self, **headers: str) -> set[str]:
        return {each["id"] for each in self.ask("/collections?f=json", **headers).json["collections"]}


def basic(user: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


@pytest.fixture(scope="module")
def office(new_deployment: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    at = new_deployment()
    at.deliver(LAYER, parcels(tmp_path_factory.mktemp("desk") / "thua.geojson", "ODT", "XYZ", "CLN"))
    with engine.connect(engine.database_url(at.settings), engine.OWNER) as connection:
        for name in (STEWARD, OTHER):
            agencies.add(connection, name, "department", f"Sở {name}", f"Department {name}")
        key, other = keys.make_key(connection, STEWARD), keys.make_key(connection, OTHER)
    with serving(at) as url:
        yield Office(at, url, key, other)


@pytest.fixture
def own(office: Office) -> dict[str, str]:
    return {"Authorization": basic(STEWARD, office.key)}


QA = [f"{LAYER}__findings", f"{LAYER}__quarantine"]


def test_the_steward_finds_its_quality_collections_beside_the_public_ones(office: Office, own: dict[str, str]) -> None:
    assert office.collections(**own) - office.collections() == set(QA)


def test_a_key_may_also_come_as_a_bearer(office: Office) -> None:
    assert set(QA) <= office.collections(Authorization=f"Bearer {office.key}")


@pytest.mark.parametrize("name", QA)
@pytest.mark.parametrize("path", ["", "/items", "/items/1.2", "/schema", "/queryables", "/sortables"])
def test_to_everybody_else_they_do_not_exist(office: Office, name: str, path: str) -> None:
    address = f"/collections/{name}{path}?f=json"
    unknown = office.ask(f"/collections/{LAYER}__nothing{path}?f=json").json["detail"].replace(f"{LAYER}__nothing", "?")
    for headers in ({}, {"Authorization": basic(OTHER, office.other)}):
        answer = office.ask(address, **headers)
        assert answer.status == 404
        # Not even the suggestion of a nearer name tells that they are there.
        assert answer.json["detail"].replace(name, "?") == unknown
    assert not any("__" in each for each in office.collections())
    assert "__" not in office.ask("/openapi").text
    assert "__findings" not in office.ask("/?f=html").text + office.ask("/collections?f=html").text


def test_a_finding_tells_rule_feature_row_and_place(office: Office, own: dict[str, str]) -> None:
    found = office.ask(f"/collections/{QA[0]}/items?f=json&rule=code.unknown&feature=00070.7.2", **own).json
    told = found["features"][0]
    assert (told["properties"]["row"], told["properties"]["action"]) == (2, "quarantine")
    assert "XYZ" in told["properties"]["sentence_vi"]
    lon, lat = told["geometry"]["coordinates"]
    assert 105.8 < lon < 105.9
    assert 21.028 < lat < 21.029


def test_the_quarantine_holds_the_values_as_delivered_and_the_reason(office: Office, own: dict[str, str]) -> None:
    found = office.ask(f"/collections/{QA[1]}/items?f=json", **own).json
    assert (found["numberMatched"], len(found["features"])) == (1, 1)
    told = found["features"][0]["properties"]
    assert (told["land_use_code"], told["qa_state"], told["qa_feature"]) == ("XYZ", "open", "00070.7.2")
    assert "code.unknown" in told["qa_rules"]
    # What other agencies may not see yet is the steward's own.
    assert told["origin"] == "Công nhận quyền"
    assert found["features"][0]["geometry"]["type"] == "Polygon"


def test_nothing_personal_is_in_the_quarantine(office: Office, own: dict[str, str]) -> None:
    stored = office.at.rows("SELECT attributes::text, findings::text FROM sdi.quarantine")
    served = office.ask(f"/collections/{QA[1]}/items?f=json", **own).text
    for text in (*stored[0], served, office.ask(f"/collections/{QA[1]}/schema?f=json", **own).text):
        assert "Nguyễn" not in text
        assert "BX 123456" not in text
        assert "holder" not in text


@pytest.mark.parametrize("format_", ["fgb", "gpkg", "parquet"])
def test_features_as_delivered_are_of_any_shape_in_a_file_too(
    office: Office, own: dict[str, str], format_: str, tmp_path: Path
) -> None:
    """FlatGeobuf takes no polygon in a layer of multipolygons: that was a 500."""
    answer = office.ask(f"/collections/{QA[1]}/items?f={format_}", **own)
    assert answer.status == 200, answer.body[:300]
    path = tmp_path / f"held.{format_}"
    path.write_bytes(answer.body)
    held = geopandas.read_parquet(path) if format_ == "parquet" else geopandas.read_file(path)
    assert list(held.geom_type) == ["Polygon"]
    for document in ("schema", "queryables"):
        told = office.ask(f"/collections/{QA[1]}/{document}?f=json", **own).json["properties"]["geometry"]
        assert told["format"] == "geometry-any"


@pytest.mark.parametrize("format_", ["html", "csv", "jsonld"])
def test_they_are_ordinary_collections(office: Office, own: dict[str, str], format_: str) -> None:
    answer = office.ask(f"/collections/{QA[1]}/items?f={format_}", **own)
    assert answer.status == 200
    assert "XYZ" in answer.text or format_ == "jsonld"
    page = office.ask(f"/collections/{QA[1]}?f=html&lang=vi", **own)
    assert "đối tượng bị cách ly" in page.text


def test_a_place_and_a_filter_choose_among_them(office: Office, own: dict[str, str]) -> None:
    count = [
        office.ask(f"/collections/{QA[1]}/items?f=json&{asked}", **own).json["numberMatched"]
        for asked in ("bbox=105,21,106,22", "bbox=106,21,107,22", "filter=qa_state='open'", "filter=qa_state='waived'")
    ]
    assert count == [1, 0, 1, 0]


@pytest.mark.parametrize("path", ["/items", "/items/1.2"])
def test_they_are_as_they_are_now_and_have_no_past(office: Office, own: dict[str, str], path: str) -> None:
    assert office.ask(f"/collections/{QA[1]}{path}?f=json&as-of=2026-01-01", **own).status == 400
    assert office.ask(f"/collections/{QA[1]}{path}?f=json", **own).status == 200


@pytest.mark.parametrize(
    "shown",
    [
        lambda office: basic(STEWARD, "wrong"),
        lambda office: basic(OTHER, office.key),
        lambda office: basic("public", office.key),
        lambda office: "Bearer wrong",
        lambda office: "Basic not-base64!",
        lambda office: "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        lambda office: "Digest something",
        lambda office: "Bearer ",
    ],
)
def test_a_wrong_key_is_told_so_and_asked_for_another(office: Office, shown: Callable[[Office], str]) -> None:
    answer = office.ask("/collections?f=json", Authorization=shown(office))
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert answer.json["status"] == 401


def test_what_an_agency_is_answered_stays_out_of_shared_caches(office: Office, own: dict[str, str]) -> None:
    for path in ("/collections?f=json", f"/collections/{LAYER}/items?f=json", "/?f=html"):
        answer = office.ask(path, **own)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert office.ask(path, **own, If_None_Match=answer.headers["ETag"]).status == 304
        assert "private" not in office.ask(path).headers["Cache-Control"]
        assert office.ask(path, If_None_Match=answer.headers["ETag"]).status == 200
        assert any("Authorization" in each for each in office.ask(path).headers.get_all("Vary", []))


def test_tiles_of_a_quality_collection_are_the_stewards_alone_and_nobody_keeps_them(
    office: Office, own: dict[str, str]
) -> None:
    place = f"10/{row_of(21.0287, 10)}/{column_of(105.85, 10)}"
    for collection in QA:
        path = f"/collections/{collection}/tiles/WebMercatorQuad/{place}"
        assert office.ask(path).status == 404
        answer = office.ask(path, **own)
        assert answer.status in (200, 204), answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["ETag"] is None
    choice = f"/tiles/WebMercatorQuad/{place}?collections={','.join(QA)}"
    assert office.ask(choice).status == 400
    assert office.ask(choice, **own).headers["Cache-Control"] == "no-store"
    mine, everybodys = (office.ask(f"/tiles/WebMercatorQuad/{place}", **headers) for headers in (own, {}))
    assert mine.body == everybodys.body
    assert mine.headers["Cache-Control"] == "private, no-cache"


def test_an_agency_sees_of_public_layers_what_the_public_sees(office: Office, own: dict[str, str]) -> None:
    mine = office.ask(f"/collections/{LAYER}/items?f=json", **own).json["features"]
    assert mine == office.ask(f"/collections/{LAYER}/items?f=json").json["features"]
    assert "legal_area" not in mine[0]["properties"]


def test_a_browser_is_asked_for_a_key_where_it_signs_in_and_nowhere_else(office: Office, own: dict[str, str]) -> None:
    assert office.ask("/agency").status == 401
    assert office.ask("/agency", **own).status == 303


def test_a_revoked_key_soon_opens_nothing_any_more(office: Office) -> None:
    with engine.connect(engine.database_url(office.at.settings), engine.OWNER) as connection:
        key = keys.make_key(connection, STEWARD, "for a day")
        headers = {"Authorization": basic(STEWARD, key)}
        assert set(QA) <= office.collections(**headers)
        newest = keys.keys(connection)[-1]
        assert keys.revoke(connection, STEWARD, newest.key_id) == 1
    until = time.monotonic() + 30
    while (status := office.ask("/collections?f=json", **headers).status) != 401 and time.monotonic() < until:
        time.sleep(0.05)
    assert status == 401
    assert office.ask("/collections?f=json", Authorization=basic(STEWARD, office.key)).status == 200


def test_no_key_stands_in_the_database_or_in_the_log(office: Office, capfd: pytest.CaptureFixture[str]) -> None:
    office.ask("/collections?f=json", Authorization=basic(STEWARD, office.key))
    office.ask("/collections?f=json", Authorization=basic(STEWARD, office.key + "x"))
    logged = capfd.readouterr()
    assert "wrong key" in logged.err
    stored = office.at.rows("SELECT agency_key::text FROM sdi.agency_key")
    encoded = base64.b64encode(f"{STEWARD}:{office.key}".encode()).decode()
    for text in (logged.err, logged.out, *(row[0] for row in stored)):
        assert office.key not in text
        assert encoded not in text


@pytest.mark.parametrize(
    "table", ["sdi.finding", "sdi.quarantine", "sdi.held", "sdi.agency_key", "sdi.waiver", f"qa.{LAYER}__findings"]
)
def test_the_public_role_cannot_read_what_is_the_stewards(office: Office, table: str) -> None:
    query = f"SELECT has_table_privilege('sdi_reader', '{table}', 'SELECT')"
    if table.startswith("sdi."):
        query = f"{query} OR has_any_column_privilege('sdi_reader', '{table}', 'SELECT')"
    assert office.at.rows(query) == [(False,)]
    assert office.at.rows("SELECT has_schema_privilege('sdi_reader', 'qa', 'USAGE')") == [(False,)]
    assert office.at.rows(f"SELECT has_table_privilege('sdi_steward', 'qa.{QA[1]}', 'SELECT')") == [(True,)]


def test_a_delivery_that_is_refused_shows_its_findings_to_the_steward(
    office: Office, own: dict[str, str], tmp_path: Path
) -> None:
    path = parcels(tmp_path / "trong.geojson", "ODT")
    path.write_text(path.read_text(encoding="utf-8").replace('"maXa": "00070", ', ""), encoding="utf-8")
    assert office.at.deliver(LAYER, path).report.refused
    asked = f"/collections/{QA[0]}/items?f=json&action=refuse"
    assert office.ask(asked, **own).json["numberMatched"] >= 1
    assert {each["id"] for each in office.ask("/collections?f=json", **own).json["collections"]} >= set(QA)


def test_what_happens_to_others_changes_no_tag_of_them_and_a_load_does(
    office: Office, own: dict[str, str], tmp_path: Path
) -> None:
    paths = [f"/collections/{each}/items?f=json" for each in QA]

    def tags() -> list[str | None]:
        time.sleep(0.6)  # from half a second after its last look on, the service looks before it answers
        return [office.ask(path, **own).headers["ETag"] for path in paths]

    before = tags()
    with engine.connect(engine.database_url(office.at.settings), engine.OWNER) as connection:
        agencies.add(connection, "so_khac", "department", "Sở khác", "Another department")
        keys.make_key(connection, "so_khac")
    assert tags() == before
    office.at.deliver(LAYER, parcels(tmp_path / "thua.geojson", "ODT", "XYZ", "CLN"))
    assert all(one != other for one, other in zip(before, tags(), strict=True))


def test_gdal_reads_them_with_a_key_and_not_without(office: Office) -> None:
    script = (
        "import json, sys, pyogrio\n"
        "names = pyogrio.list_layers(sys.argv[1])[:, 0].tolist()\n"
        "wanted = [name for name in names if name.endswith('__quarantine')]\n"
        "rows = [pyogrio.raw.read(sys.argv[1], layer=name)[0]['fields'].tolist() for name in wanted]\n"
        "infos = [pyogrio.read_info(sys.argv[1], layer=name, force_feature_count=True) for name in wanted]\n"
        "counts = [info['features'] for info in infos]\n"
        "print(json.dumps([wanted, rows, counts]))\n"
    )

    def read(**environment: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", script, f"OAPIF:{office.url}/"], capture_output=True, text=True, check=True,
            env={"PATH": "/usr/bin:/bin", **environment},
        )  # fmt: skip
        return json.loads(done.stdout)

    assert read() == [[], [], []]
    names, fields, counts = read(GDAL_HTTP_USERPWD=f"{STEWARD}:{office.key}")
    assert names == [QA[1]]
    assert {"qa_state", "qa_rules", "land_use_code"} <= set(fields[0])
    assert counts == [1]


def test_the_steward_reads_rates_by_iso_19157_and_no_word_of_whose(office: Office, own: dict[str, str]) -> None:
    told = office.ask(f"/collections/{LAYER}?f=json&lang=en", **own).json["quality"]
    rates = {each["element"]: each["rate"] for each in told["elements"]}
    assert told["standard"] == "ISO 19157-1"
    assert rates["domain consistency"] == pytest.approx(1 / 3, abs=1e-6)
    assert rates["completeness commission"] == 0
    assert set(told["elements"][0]) == {"element", "title", "measure", "measureId", "rate"}
    page = office.ask(f"/collections/{LAYER}?f=html&lang=vi", **own).text
    assert "Chất lượng dữ liệu" in page
    assert "33,33 %" in page
    assert "Data quality" in office.ask(f"/collections/{LAYER}?f=html&lang=en", **own).text
    # The public does not see every parcel and attribute that is counted there.
    assert "quality" not in office.ask(f"/collections/{LAYER}?f=json").json
    assert "Data quality" not in office.ask(f"/collections/{LAYER}?f=html&lang=en").text


def test_a_collection_that_is_empty_is_of_no_day(office: Office, own: dict[str, str], tmp_path: Path) -> None:
    """For tags it has one, long before there was any service."""
    office.at.deliver(LAYER, parcels(tmp_path / "thua.geojson", "ODT", "ODT", "CLN"))
    time.sleep(1.0)  # a snapshot is at most half a second old
    assert office.ask(f"/collections/{QA[1]}/items?f=json", **own).json["numberMatched"] == 0
    for path in ("/", "/collections", f"/collections/{QA[1]}"):
        page = office.ask(f"{path}?f=html&lang=en", **own).text
        assert QA[1] in page
        assert "2000" not in page.replace("VN-2000", "")
