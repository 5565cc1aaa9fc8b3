"""What the database holds is what a program reads, whatever the format: through GDAL, GeoParquet through Arrow.

What a format cannot hold is told here once: coordinates in text are rounded to 1 mm, decimals are doubles but in
GeoParquet and CSV, FlatGeobuf has no days but their midnights.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import geopandas
import psycopg
import pyarrow.parquet
import pyogrio
import pytest
import shapely

from tests.service.conftest import Town
from tests.service.formats.conftest import GRID

ITEMS = "/collections/things/items"
NATIVE = f"http://www.opengis.net/def/crs/EPSG/0/{GRID}"
SUFFIX = {"json": "geojson", "jsonfg": "json", "geojsonseq": "geojsons", "csv": "csv"}
FORMATS = ("json", "jsonfg", "geojsonseq", "csv", "fgb", "gpkg", "parquet")
NAMES = ("key", "label", "sort", "amount", "price", "ratio", "rise", "truth", "since", "seen", "pieces")


@dataclass
class Read:
    """Rows by id, as a program has them; `crs` as it understands it."""

    rows: list[dict[str, Any]]
    crs: str


def stored(town: Town, epsg: int = 4326) -> list[dict[str, Any]]:
    """What the database holds; what is no number is nothing."""
    place = "geom_wgs84" if epsg == 4326 else "geom"
    finite = ("CASE WHEN abs(rise) < 'Infinity' THEN rise END",)
    columns = ", ".join(name if name != "rise" else finite[0] for name in NAMES)
    with psycopg.connect(town.database, options="-c timezone=UTC") as connection:
        rows = connection.execute(f"SELECT id, {columns}, ST_AsBinary({place}) FROM shop.things ORDER BY id").fetchall()
    return [dict(zip(("id", *NAMES, "geometry"), row, strict=True)) for row in rows]


def by_gdal(path: Path) -> Read:
    meta, table = pyogrio.read_arrow(path)
    place = meta["geometry_name"] or "wkb_geometry"
    rows = table.to_pylist()
    return Read([{**row, "geometry": row.pop(place, None)} for row in rows], meta["crs"])


def by_rows(path: Path) -> Read:
    """GDAL 3.12 reads a FlatGeobuf's geometry by Arrow wrongly where one is not there; by rows it is right."""
    meta, table = pyogrio.read_arrow(path, read_geometry=False)
    _, _, shapes, _ = pyogrio.raw.read(path, columns=[])
    places = shapes if shapes is not None else [None] * table.num_rows
    rows = [{**row, "geometry": place} for row, place in zip(table.to_pylist(), places, strict=True)]
    return Read(rows, meta["crs"])


def by_arrow(path: Path) -> Read:
    table = pyarrow.parquet.read_table(path)
    return Read(table.to_pylist(), geopandas.read_parquet(path).crs.to_string())


def csv_by_gdal(path: Path) -> Read:
    """GDAL takes every column of a CSV as text, the geometry from its WKT."""
    meta, table = pyogrio.read_arrow(path, GEOM_POSSIBLE_NAMES="wkt", KEEP_GEOM_COLUMNS="NO")
    place = meta["geometry_name"] or "wkb_geometry"
    rows = table.to_pylist()
    return Read([{**row, "geometry": row.pop(place, None)} for row in rows], "")


def by_csv(path: Path) -> Read:
    """As a program reads CSV that knows the columns' types; the guard before formulas is its convention."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["geometry"] = shapely.to_wkb(shapely.from_wkt(row.pop("wkt"))) if row["wkt"] else None
    return Read(rows, "")


def plain(name: str, value: Any, format_: str) -> Any:
    """A value as the database's type has it."""
    if value is None or (format_ == "csv" and value == "" and name != "label"):
        return None
    match name:
        case "amount":
            return int(value)
        case "price" | "ratio":
            return Decimal(value) if format_ in ("parquet", "csv") else float(value)
        case "rise":
            return float(value)
        case "truth":
            return value == "true" if format_ == "csv" else bool(value)
        case "since":
            if isinstance(value, datetime):
                assert (value.hour, value.minute, value.second) == (0, 0, 0)
                return value.date()
            return date.fromisoformat(value) if isinstance(value, str) else value
        case "seen":
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        case "pieces":
            return json.loads(value) if isinstance(value, str) else value
    return value


def meant(name: str, value: Any, format_: str) -> Any:
    """A value of the database as the format may hold it."""
    if name in ("price", "ratio") and value is not None:
        exact = format_ == "csv" or (format_ == "parquet" and name == "price")
        if not exact:
            return float(value) if format_ != "parquet" else Decimal(float(value))
    if name == "label" and format_ == "csv":
        text = value or ""
        calculated = text.lstrip().startswith(("=", "-")) and text != "-12.5"
        return f"'{text}" if calculated or text.startswith("'=") else text
    return value


def same(found: Read, expected: list[dict[str, Any]], format_: str, precision: float) -> None:
    assert [row["id"] for row in found.rows] == [row["id"] for row in expected]
    for row, truth in zip(found.rows, expected, strict=True):
        for name in NAMES:
            assert plain(name, row[name], format_) == meant(name, truth[name], format_), (truth["id"], name)
        assert "inside" not in row
        assert "owner" not in row
        if truth["geometry"] is None:
            assert row["geometry"] is None
            continue
        shape, true = shapely.from_wkb(row["geometry"]), shapely.from_wkb(truth["geometry"])
        if true.is_empty:
            assert shape is None or shape.is_empty
        elif precision:
            assert shapely.equals_exact(shape.normalize(), true.normalize(), precision), truth["id"]
        else:
            assert shape == true, truth["id"]


READERS = {"csv": by_csv, "parquet": by_arrow, "fgb": by_rows}


def kept(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("format_", FORMATS)
def test_every_value_is_read_as_the_database_has_it(
    shop: Town, tmp_path: Path, format_: str, native: bool, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdi.service.lanes.HELD", 0 if streamed else 2000)
    asked = f"{ITEMS}?f={format_}&limit=30&skipGeometry=false" + (f"&crs={NATIVE}" if native else "")
    answer = shop.ask(asked)
    assert answer.status == 200
    path = kept(tmp_path / f"things.{SUFFIX.get(format_, format_)}", answer.body)
    found = READERS.get(format_, by_gdal)(path)
    degrees = not native
    binary = format_ in ("fgb", "gpkg", "parquet")
    same(found, stored(shop, GRID if native else 4326), format_, 0 if binary else 1.1e-8 if degrees else 1.1e-4)
    if native and format_ in ("fgb", "gpkg", "parquet", "jsonfg"):
        assert found.crs == f"EPSG:{GRID}"
    elif format_ not in ("csv",) and not native:
        assert found.crs in ("EPSG:4326", "OGC:CRS84")
    assert answer.headers["Content-Crs"] == (
        f"<{NATIVE}>" if native else "<http://www.opengis.net/def/crs/OGC/1.3/CRS84>"
    )


@pytest.mark.parametrize("native", [False, True])
def test_gdal_reads_every_value_of_the_rows(shop: Town, tmp_path: Path, native: bool) -> None:
    asked = f"{ITEMS}?f=csv&limit=30&skipGeometry=false" + (f"&crs={NATIVE}" if native else "")
    found = csv_by_gdal(kept(tmp_path / "things.csv", shop.ask(asked).body))
    expected = stored(shop, GRID if native else 4326)
    for row in expected:  # GDAL ends every line within a text by a line feed
        row["label"] = row["label"] and row["label"].replace("\r\n", "\n")
    same(found, expected, "csv", 1.1e-4 if native else 1.1e-8)


def test_geoparquet_says_what_its_geometry_is(shop: Town, tmp_path: Path) -> None:
    for native in (False, True):
        asked = f"{ITEMS}?f=parquet&limit=30" + (f"&crs={NATIVE}" if native else "")
        path = kept(tmp_path / "things.parquet", shop.ask(asked).body)
        metadata = pyarrow.parquet.read_metadata(path).metadata
        about = json.loads(metadata[b"geo"])
        assert (about["version"], about["primary_column"]) == ("1.1.0", "geometry")
        column = about["columns"]["geometry"]
        assert (column["encoding"], column["geometry_types"]) == ("WKB", ["MultiPolygon"])
        assert ("crs" in column) == native
        if native:
            assert column["crs"]["id"] == {"authority": "EPSG", "code": GRID}
        shapes = shapely.from_wkb([row["geometry"] for row in stored(shop, GRID if native else 4326)])
        assert column["bbox"] == pytest.approx(list(shapely.total_bounds(shapes)), rel=1e-12)
        assert str(pyarrow.parquet.read_schema(path).field("price").type) == "decimal128(38, 4)"


@pytest.mark.parametrize("format_", ["fgb", "gpkg", "parquet"])
def test_files_of_features_are_pages_too(shop: Town, tmp_path: Path, format_: str) -> None:
    def ids(address: str) -> tuple[list[str], dict[str, str]]:
        answer = shop.ask(address.removeprefix(shop.url))
        assert answer.headers["Content-Disposition"] == f'attachment; filename="things.{format_}"'
        path = kept(tmp_path / f"page.{format_}", answer.body)
        links = dict(part.split('>; rel="')[::-1] for part in answer.headers["Link"].split(", <") if 'rel="' in part)
        found = {rel.partition('"')[0]: href.lstrip("<") for rel, href in links.items()}
        return [row["id"] for row in READERS.get(format_, by_gdal)(path).rows], found

    first, around = ids(f"{ITEMS}?f={format_}&limit=5&sortby=-amount&properties=amount")
    second, _ = ids(around["next"])
    whole = shop.get(f"{ITEMS}?limit=10&sortby=-amount")["features"]
    assert first + second == [feature["id"] for feature in whole]
    none = shop.ask(f"{ITEMS}?f={format_}&label=nobody")
    assert none.status == 200
    assert READERS.get(format_, by_gdal)(kept(tmp_path / f"none.{format_}", none.body)).rows == []
    bare = shop.ask(f"{ITEMS}?f={format_}&limit=2&skipGeometry=true")
    path = kept(tmp_path / f"bare.{format_}", bare.body)
    if format_ == "parquet":
        assert b"geo" not in (pyarrow.parquet.read_metadata(path).metadata or {})
    else:
        # FlatGeobuf has no word for none.
        assert pyogrio.read_info(path)["geometry_type"] == (None if format_ == "gpkg" else "Unknown")


@pytest.mark.parametrize("format_", FORMATS)
def test_equal_tags_are_equal_bytes_in_every_format(shop: Town, format_: str) -> None:
    address = f"{ITEMS}?f={format_}&limit=7&bbox=100,10,115,20"
    first, second = shop.ask(address), shop.ask(address)
    assert first.body == second.body
    assert first.headers["ETag"] == second.headers["ETag"]
    assert shop.ask(address, If_None_Match=first.headers["ETag"]).status == 304
    assert shop.ask(address, "HEAD").headers["Link"] == first.headers["Link"]
