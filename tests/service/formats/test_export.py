"""Whole layers as files: made once by a process of its own, found again, sent in pieces, and only what one may see."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pyogrio
import pytest

from sdi.pipeline import whole
from sdi.service.formats import export
from sdi.store import engine, ledger, migrate
from tests.service.conftest import CORNER, Answer, Town, deliver, served
from tests.service.formats.conftest import GRID, LABELS, boxes, things
from tests.service.formats.test_round_trip import READERS, by_gdal, kept, same, stored

EXPORT = "/collections/things/export"
NATIVE = f"http://www.opengis.net/def/crs/EPSG/0/{GRID}"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
FORMATS = {"gpkg": "gpkg", "parquet": "parquet", "fgb": "fgb", "csv": "csv", "geojson": "geojson"}


def made(town: Town, path: str, method: str = "GET", **headers: str) -> Answer:
    """The answer once the file is there; a client that is told 503 asks again, as it is told to."""
    began = time.monotonic()
    while (answer := town.ask(path, method, **headers)).status == 503:
        assert "Retry-After" in answer.headers, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert time.monotonic() - began < 120, answer.text
        time.sleep(0.2)
    return answer


@pytest.mark.parametrize("format_", FORMATS)
def test_every_value_of_the_layer_is_in_the_file(shop: Town, tmp_path: Path, format_: str) -> None:
    answer = made(shop, f"{EXPORT}?f={format_}")
    assert answer.status == 200
    assert answer.headers["Content-Disposition"] == f'attachment; filename="things.{FORMATS[format_]}"'
    native = format_ != "geojson"
    assert answer.headers["Content-Crs"] == f"<{NATIVE if native else CRS84}>"
    path = kept(tmp_path / f"things.{FORMATS[format_]}", answer.body)
    found = READERS.get(format_, by_gdal)(path)
    found.rows.sort(key=lambda row: row["id"])  # FlatGeobuf stands in the order of places
    binary = format_ in ("fgb", "gpkg", "parquet")
    read_as = "json" if format_ == "geojson" else format_
    same(found, stored(shop, GRID if native else 4326), read_as, 0 if binary else 1.1e-4 if native else 1.1e-8)
    if binary:
        assert found.crs == f"EPSG:{GRID}"


def test_another_grid_may_be_asked_for(shop: Town, tmp_path: Path) -> None:
    answer = made(shop, f"{EXPORT}?f=parquet&crs={CRS84}")
    assert answer.headers["Content-Crs"] == f"<{CRS84}>"
    path = kept(tmp_path / "things.parquet", answer.body)
    same(READERS["parquet"](path), stored(shop), "parquet", 0)
    assert shop.ask(f"{EXPORT}?f=geojson&crs={NATIVE}").status == 400
    assert shop.ask(f"{EXPORT}?f=shp").status == 400
    assert shop.ask(f"{EXPORT}?limit=3").status == 400
    assert shop.ask("/collections/nothing/export").status == 404


def test_the_checksum_is_the_files_and_stands_beside_it(shop: Town) -> None:
    answer = made(shop, f"{EXPORT}?f=csv", Accept_Encoding="gzip")
    digest = hashlib.sha256(answer.body).digest()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
    assert made(shop, f"{EXPORT}/sha256?f=csv").text == f"{digest.hex()}  things.csv\n"


def test_a_download_goes_on_where_it_broke_off(shop: Town) -> None:
    whole_ = made(shop, f"{EXPORT}?f=gpkg")
    tag = whole_.headers["ETag"]
    assert whole_.headers["Accept-Ranges"] == "bytes"
    rest = shop.ask(f"{EXPORT}?f=gpkg", Range="bytes=1000-", If_Range=tag)
    assert (rest.status, rest.body) == (206, whole_.body[1000:])
    assert rest.headers["Repr-Digest"] == whole_.headers["Repr-Digest"]
    assert shop.ask(f"{EXPORT}?f=gpkg", Range="bytes=1000-", If_Range='"another"').status == 200
    assert shop.ask(f"{EXPORT}?f=gpkg", Range=f"bytes={len(whole_.body)}-").status == 416
    assert shop.ask(f"{EXPORT}?f=gpkg", If_None_Match=tag).status == 304
    assert shop.ask(f"{EXPORT}?f=gpkg", Range="rows=1-").status == 200
    head = shop.ask(f"{EXPORT}?f=gpkg", "HEAD")
    assert (head.body, head.headers["Content-Length"]) == (b"", str(len(whole_.body)))


def test_many_who_ask_at_once_have_one_file_made(shop: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    really = export._started

    def counted() -> Any:
        started.append(1)
        return really()

    monkeypatch.setattr(export, "_started", counted)
    path = f"{EXPORT}?f=parquet&crs=http://www.opengis.net/def/crs/EPSG/0/3857"
    with ThreadPoolExecutor(8) as clients:
        bodies = {answer.body for answer in clients.map(lambda _: made(shop, path), range(8))}
    assert len(bodies) == 1
    assert len(started) == 1
    made(shop, path)
    assert len(started) == 1


def test_a_file_that_takes_its_time_is_asked_for_again(shop: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "WAIT", 0.0)
    path = f"{EXPORT}?f=fgb&crs=http://www.opengis.net/def/crs/EPSG/0/3857"
    first = shop.ask(path)
    assert first.status == 503
    assert first.json["title"] == "Not made yet"
    assert made(shop, path).status == 200


def order(town: Town, path: Path, **other: Any) -> whole.Order:
    with engine.connect(town.database) as connection:
        now = ledger.published(connection)["things"]
    told = {"generation": now.generation, "changed_at": now.changed_at, "seen_at": now.changed_at} | other
    return whole.Order(town.database, town.registry.folder, "things", attributes=("label",), filters=(), format="csv",
                       sight=None, role=engine.READER, crs=4326, north_first=False, path=path, **told)  # fmt: skip


def test_what_another_process_makes_is_left_to_it(shop: Town, tmp_path: Path) -> None:
    wanted = order(shop, tmp_path / "things" / "now" / "view.csv")
    wanted.path.parent.mkdir(parents=True)
    with wanted.path.with_name("view.csv.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert whole.make(wanted) == whole.TAKEN
        assert not wanted.path.exists()
    assert whole.make(wanted) == whole.MADE
    assert whole.checksum_of(wanted.path).read_text() == hashlib.sha256(wanted.path.read_bytes()).hexdigest()
    before = wanted.path.stat().st_mtime_ns
    assert whole.make(wanted) == whole.MADE
    assert wanted.path.stat().st_mtime_ns == before


def test_a_half_made_file_is_made_anew_and_never_served(shop: Town, tmp_path: Path) -> None:
    wanted = order(shop, tmp_path / "things" / "now" / "view.csv")
    wanted.path.parent.mkdir(parents=True)
    wanted.path.with_name("part-view.csv").write_bytes(b"half")
    assert export._checksum(wanted.path) is None
    assert whole.make(wanted) == whole.MADE
    assert sorted(each.name for each in wanted.path.parent.iterdir()) == [
        "view.csv",
        "view.csv.count",
        "view.csv.lock",
        "view.csv.sha256",
    ]


def test_a_layer_that_changed_meanwhile_is_not_taken_for_the_old_one(shop: Town, tmp_path: Path) -> None:
    wanted = order(shop, tmp_path / "things" / "now" / "view.csv", generation=0)
    assert whole.make(wanted) == whole.SUPERSEDED
    assert not wanted.path.exists()


def test_the_process_writes_as_the_reader_and_sees_no_restricted_column(shop: Town, tmp_path: Path) -> None:
    wanted = order(shop, tmp_path / "things" / "now" / "view.csv")
    assert whole.make(wanted) == whole.MADE
    assert wanted.path.read_bytes().startswith("\ufeffid,label,wkt\r\n".encode())
    text = wanted.path.read_text("utf-8")
    assert "mật" not in text
    assert LABELS[0] in text


def test_a_load_makes_another_file_and_the_old_one_goes(
    new_database: Callable[[], str], shop: Town, tmp_path: Path
) -> None:
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, shop.registry)
    deliver(database, shop.registry, shop.registry["things"], things(), boxes(), [GRID] * len(LABELS))
    with served(database, shop.registry, data=tmp_path) as town:
        first = made(town, f"{EXPORT}?f=csv")
        folders = list((tmp_path / "exports" / "things").glob("*/*"))
        assert len(folders) == 1
        table = things()
        at = table.column_names.index("amount")
        changed = table.set_column(at, "amount", pyarrow.array([7] * len(LABELS), pyarrow.int64()))
        deliver(database, shop.registry, shop.registry["things"], changed, boxes(), [GRID] * len(LABELS))
        began = time.monotonic()
        while (second := made(town, f"{EXPORT}?f=csv")).headers["ETag"] == first.headers["ETag"]:
            assert time.monotonic() - began < 60
        assert b",7," in second.body
        left = list((tmp_path / "exports" / "things").glob("*/*"))
        assert len(left) == 1
        assert left != folders


def test_what_is_withheld_is_in_no_file(town: Town, tmp_path: Path) -> None:
    """The town's plots of defence land, and its layer that only agencies see."""
    plain = json.loads(town.ask("/collections/plots/items?limit=30").body)
    with served(town.database, town.registry, data=tmp_path) as same_town:
        answer = made(same_town, "/collections/plots/export?f=geojson")
        found = json.loads(answer.body)
        assert len(found["features"]) == plain["numberMatched"] == 35
        assert b"CQP" not in answer.body
        assert b"hidden_note" not in answer.body
        assert same_town.ask("/collections/secrets/export").status == 404
        mixed = made(same_town, "/collections/works/export?f=gpkg")
        assert mixed.headers["Content-Crs"] == f"<{CRS84}>", "its features lie in two grids"


def test_the_layer_links_to_its_files(shop: Town) -> None:
    links = [link for link in shop.get("/collections/things?lang=en")["links"] if link["rel"] == "enclosure"]
    assert [link["type"] for link in links][:2] == ["application/geopackage+sqlite3", "application/vnd.apache.parquet"]
    assert made(shop, links[0]["href"].removeprefix(shop.url)).status == 200
    assert "/collections/things/export" in shop.get("/openapi?f=json")["paths"]
    assert "export?f=gpkg" in shop.ask("/collections/things?f=html").text


def test_a_flatgeobuf_is_found_by_place(town: Town, tmp_path: Path) -> None:
    """Where every feature has a place; GDAL writes no index over features without one."""
    with served(town.database, town.registry, data=tmp_path) as same_town:
        path = kept(tmp_path / "plots.fgb", made(same_town, "/collections/plots/export?f=fgb").body)
    assert pyogrio.read_info(path)["capabilities"]["fast_spatial_filter"]
    box = (CORNER[0] + 25, CORNER[1] + 5, CORNER[0] + 35, CORNER[1] + 15)
    found = pyogrio.raw.read(path, bbox=box, columns=["id"])
    assert found[3][0].tolist() == ["00004.1.2"]
