"""GeoJSONSeq, CSV and JSON-FG: the same features as in GeoJSON, with what each format has for it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pyogrio
import pytest
import shapely

from sdi.service import lanes
from tests.service.conftest import AWKWARD, Answer, Town

PLOTS = "/collections/plots/items"
GRID = "http://www.opengis.net/def/crs/EPSG/0/5897"
LATLON = "http://www.opengis.net/def/crs/EPSG/0/4326"
QUESTIONS = ("limit=7", "limit=5&sortby=-number", "bbox=105,20,107,22&limit=4", "use=ODT&limit=30", "limit=3&offset=33",
             f"limit=4&crs={GRID}", f"limit=4&crs={LATLON}", "limit=4&properties=use,number", "use=XXX",
             "limit=5&filter=height%3E20&skipGeometry=true")  # fmt: skip


def sequence(answer: Answer) -> list[dict[str, Any]]:
    """The texts of RFC 8142: each begins with a record separator and ends with a line feed."""
    assert answer.headers["Content-Type"] == "application/geo+json-seq"
    if not answer.body:
        return []
    assert answer.body[:1] == b"\x1e"
    assert answer.body[-1:] == b"\n"
    return [json.loads(text) for text in answer.body[1:].split(b"\x1e")]


def rows(answer: Answer) -> list[dict[str, str]]:
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="plots.csv"'
    return list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))


def around(answer: Answer) -> dict[str, str]:
    found = re.findall(r'<([^>]+)>; rel="(\w+)"; type="([^"]+)"', answer.headers["Link"])
    return {rel: href for href, rel, _ in found if rel != "alternate"}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_sequence_holds_the_features_of_the_page(
    town: Town, question: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = town.ask(f"{PLOTS}?{question}")
    monkeypatch.setattr(lanes, "HELD", 0 if streamed else 2000)
    answer = town.ask(f"{PLOTS}?{question}&f=geojsonseq")
    assert sequence(answer) == page.json["features"]
    assert answer.headers["Content-Crs"] == page.headers["Content-Crs"]
    assert answer.headers["OGC-NumberReturned"] == str(page.json["numberReturned"])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("question", QUESTIONS)
def test_rows_hold_the_values_of_the_page(
    town: Town, question: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = town.get(f"{PLOTS}?{question}")
    monkeypatch.setattr(lanes, "HELD", 0 if streamed else 2000)
    shaped = "" if "skipGeometry" in question else "&skipGeometry=false"
    found = rows(town.ask(f"{PLOTS}?{question}&f=csv{shaped}"))
    assert [row["id"] for row in found] == [feature["id"] for feature in page["features"]]
    for row, feature in zip(found, page["features"], strict=True):
        for name, value in feature["properties"].items():
            read = {list: json.loads, bool: json.loads, int: int, float: float}.get(type(value), str)
            assert (read(row[name]) if row[name] else None) == value, name
        if shaped:
            meant = shapely.geometry.shape(feature["geometry"])
            assert shapely.from_wkt(row["wkt"]).equals_exact(meant, 1e-7 if "crs" not in question else 1e-3)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("format_", ["geojsonseq", "csv"])
def test_pages_are_followed_by_their_headers_there_and_back(
    town: Town, format_: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "HELD", 0 if streamed else 2000)

    def ids(answer: Answer) -> list[str]:
        found = sequence(answer) if format_ == "geojsonseq" else rows(answer)
        return [each["id"] for each in found]

    there = f"{town.url}{PLOTS}?limit=8&sortby=use,-number&f={format_}"
    met: list[str] = []
    pages: list[list[str]] = []
    while True:
        answer = town.ask(there.removeprefix(town.url))
        assert town.ask(there.removeprefix(town.url), "HEAD").headers["Link"] == answer.headers["Link"]
        assert answer.headers["OGC-NumberMatched"] == "35"
        pages.append(ids(answer))
        met += pages[-1]
        if "next" not in around(answer):
            break
        there = around(answer)["next"]
    whole = town.get(f"{PLOTS}?limit=30&sortby=use,-number")
    rest = town.get(f"{PLOTS}?limit=30&offset=30&sortby=use,-number")
    assert met == [feature["id"] for feature in [*whole["features"], *rest["features"]]]
    for earlier in reversed(pages[:-1]):
        answer = town.ask(around(answer)["prev"].removeprefix(town.url))
        assert ids(answer) == earlier


@pytest.mark.parametrize("format_", ["geojsonseq", "csv", "jsonfg"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_streamed_is_what_is_held(
    town: Town, format_: str, question: str, streamed: Callable[[], None]
) -> None:
    held = town.ask(f"{PLOTS}?{question}&f={format_}")
    streamed()
    long = town.ask(f"{PLOTS}?{question}&f={format_}")
    if format_ == "jsonfg":  # a long page does not count what a filter matches
        assert long.json["features"] == held.json["features"]
    else:
        assert long.body == held.body
    assert long.headers["ETag"] == held.headers["ETag"]
    assert town.ask(f"{PLOTS}?{question}&f={format_}", If_None_Match=held.headers["ETag"]).status == 304


def test_each_is_found_by_its_media_type_and_by_its_links(town: Town) -> None:
    page = town.get(f"{PLOTS}?limit=2&lang=en")
    told = {link["type"]: link for link in page["links"] if link["rel"] == "alternate"}
    for type_ in ("application/vnd.ogc.fg+json", "application/geo+json-seq", "text/csv"):
        assert town.ask(told[type_]["href"].removeprefix(town.url)).headers["Content-Type"].startswith(type_)
        assert town.ask(PLOTS, Accept=f"{type_}, */*;q=0.1").headers["Content-Type"].startswith(type_)
    items = [link for link in town.get("/collections/plots")["links"] if link["rel"] == "items"]
    assert items[0]["type"] == "application/geo+json"
    assert {"application/vnd.ogc.fg+json", "application/geo+json-seq", "text/csv"} < {link["type"] for link in items}
    offered = town.get("/openapi?f=json")["components"]
    assert set(told) < set(offered["responses"]["Features"]["content"])
    assert {"jsonfg", "geojsonseq", "csv"} < set(offered["parameters"]["items-f"]["schema"]["enum"])


def test_the_links_of_a_long_question_pass_a_proxy(town: Town) -> None:
    text = " OR ".join(f"number = {number}" for number in range(60))
    for format_ in ("json", "csv", "geojsonseq"):
        answer = town.ask(f"{PLOTS}?limit=3&f={format_}&filter={quote(text)}")
        assert answer.status == 200
        assert "next" in around(answer)
        assert 'rel="alternate"' not in answer.headers["Link"]


def test_no_cell_is_calculated_by_a_spreadsheet(town: Town) -> None:
    found = rows(town.ask(f"{PLOTS}?f=csv&limit=1"))
    assert found[0]["owner_kind"] == AWKWARD
    assert "wkt" not in found[0], "rows of values, as ever, unless the geometry is asked for"


def test_json_fg_has_the_place_in_its_grid_and_the_time_of_the_contract(town: Town) -> None:
    plain = town.get(f"{PLOTS}?limit=10")
    page = town.get(f"{PLOTS}?f=jsonfg&limit=10")
    assert "http://www.opengis.net/spec/json-fg-1/1.0/conf/core" in page["conformsTo"]
    assert (page["featureType"], page["geometryDimension"]) == ("plots", 2)
    assert town.ask(page["featureSchema"].removeprefix(town.url)).status == 200
    for feature, same in zip(page["features"], plain["features"], strict=True):
        assert feature["place"] is None
        assert (feature["geometry"], feature["properties"]) == (same["geometry"], same["properties"])
    there = town.get(f"{PLOTS}?f=jsonfg&limit=10&crs={GRID}")
    native = town.get(f"{PLOTS}?limit=10&crs={GRID}")
    assert there["coordRefSys"] == GRID
    assert [each["place"] for each in there["features"]] == [each["geometry"] for each in native["features"]]
    assert [each["geometry"] for each in there["features"]] == [each["geometry"] for each in plain["features"]]
    times = {each["id"]: each["time"] for each in page["features"]}
    assert times["00004.1.1"] == {"interval": ["2020-01-15", ".."]}
    # It ended with 1 July: the last day on which it held was the one before.
    assert times["00004.2.2"] == {"interval": ["2023-01-15", "2025-06-30"]}


def test_one_feature_as_json_fg(town: Town) -> None:
    one = town.get(f"{PLOTS}/00004.1.2?f=jsonfg&crs={GRID}")
    page = town.get(f"{PLOTS}?f=jsonfg&id=00004.1.2&crs={GRID}")
    assert one["conformsTo"] == page["conformsTo"]
    assert {name: one[name] for name in page["features"][0]} == page["features"][0]


def test_gdal_reads_them(town: Town, tmp_path: Any) -> None:
    paths = {"jsonfg": "page.json", "geojsonseq": "page.geojsons"}
    for format_, name in paths.items():
        answer = town.ask(f"{PLOTS}?f={format_}&limit=5" + (f"&crs={GRID}" if format_ == "jsonfg" else ""))
        (tmp_path / name).write_bytes(answer.body)
        meta, table = pyogrio.read_arrow(f"JSONFG:{tmp_path / name}" if format_ == "jsonfg" else tmp_path / name)
        assert table.column("number").to_pylist()[:3] == [1, 2**53 + 1, 3]
        assert meta["crs"] == ("EPSG:5897" if format_ == "jsonfg" else "EPSG:4326")
