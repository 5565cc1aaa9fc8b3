"""What is written comes back: text, coordinates, datum; and findings open as a map."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely

from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from sdi.errors import UsageError
from sdi.ingest import crs
from sdi.ingest.geometry import ewkb
from sdi.ingest.source import read
from sdi.ingest.write import dbf_names, write_features, write_findings

NAME = "Nguyễn Thị Ánh Đường Ỷ Lan"
SHAPE = shapely.MultiPolygon([shapely.box(603_480.0, 1_191_440.0, 603_500.123, 1_191_470.456)])


@pytest.fixture
def table() -> pa.Table:
    return pa.table({
        "id": ["26740.1.1", "26740.1.2"],
        "tên_đường_phố": [NAME, "=SUM(A1)"],
        "area_measured": pa.array([Decimal("600.50"), None], pa.decimal128(38, 2)),
        "area_measured_in_field": [1, 2],
        "valid_from": [date(2026, 1, 1), None],
        "geom": ewkb(np.array([SHAPE, SHAPE]), 9210),
    })  # fmt: skip


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".shp", ".tab", ".mif"])
def test_vietnamese_text_grid_and_coordinates_survive_every_format(
    suffix: str, table: pa.Table, tmp_path: Path
) -> None:
    path = tmp_path / f"streets{suffix}"
    write_features(path, "streets", table, 9210, "MultiPolygon")
    back = read(Request(path=path))
    assert crs.recognise(back.facts.crs) == 9210
    found = np.sort(shapely.bounds(shapely.from_wkb(back.table["wkb"].to_numpy())), axis=0)
    np.testing.assert_allclose(found[0], SHAPE.bounds, atol=0.001)
    if suffix != ".shp":
        assert NAME in back.table.column(1).to_pylist()


def test_a_shapefile_is_utf8_and_says_so(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "streets.shp"
    write_features(path, "streets", table, 9210, "MultiPolygon")
    assert path.with_suffix(".cpg").read_text() == "UTF-8"
    assert NAME.encode() in path.with_suffix(".dbf").read_bytes()
    assert read(Request(path=path)).facts.encoding == "UTF-8"


def test_names_cut_for_a_dbf_stay_different() -> None:
    assert dbf_names(["area_measured", "area_measured_in_field", "id", "Area_measu"]) == [
        "area_measu", "area_mea_1", "id", "Area_mea_2",
    ]  # fmt: skip


def test_geojson_is_in_crs84_by_the_official_operation_with_its_ids(table: pa.Table, tmp_path: Path) -> None:
    write_features(tmp_path / "s.geojson", "streets", table, 9210, "MultiPolygon")
    tree = json.loads((tmp_path / "s.geojson").read_text(encoding="utf-8"))
    assert [feature["id"] for feature in tree["features"]] == ["26740.1.1", "26740.1.2"]
    ring = np.array(tree["features"][0]["geometry"]["coordinates"][0][0])
    assert ring.min(axis=0) == pytest.approx((106.697985, 10.772368), abs=1e-5)
    assert shapely.is_ccw(shapely.LinearRing(ring))
    assert tree["features"][0]["properties"]["tên_đường_phố"] == NAME


def test_a_csv_opens_in_a_spreadsheet_without_being_calculated(table: pa.Table, tmp_path: Path) -> None:
    write_features(tmp_path / "s.csv", "streets", table, 9210, "MultiPolygon")
    raw = (tmp_path / "s.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert "'=SUM(A1)" in raw.decode("utf-8-sig")
    assert "MULTIPOLYGON (((603500.123 1191440" in raw.decode("utf-8-sig")


def test_a_mapinfo_file_that_would_lose_its_datum_is_not_written(table: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would lose its datum"):
        write_features(tmp_path / "s.tab", "streets", table, 2154, "MultiPolygon")
    write_features(tmp_path / "s.mif", "streets", table, 9210, "MultiPolygon")
    assert (
        "9999, 28, -191.90441429, -39.30318279, -111.45032835, -0.00928836, 0.01975479"
        in (tmp_path / "s.mif").read_text()
    )


def test_another_suffix_is_refused_naming_those_that_can_be_written(table: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.gpkg"):
        write_features(tmp_path / "s.dwg", "streets", table, 9210, "MultiPolygon")


def test_findings_become_points_with_both_sentences(tmp_path: Path) -> None:
    found = [
        Finding(
            "coverage.overlap", "warning", "warn", feature="1.1", row=1, value=2.5, other="1.2", place=(106.7, 10.8)
        ),
        Finding("file.encoding", "warning", "warn", value="TCVN3", limit="UTF-8"),
    ]
    write_findings(tmp_path / "findings.gpkg", found)
    write_findings(tmp_path / "findings.gpkg", found)
    _, _, shapes, values = pyogrio.raw.read(tmp_path / "findings.gpkg")
    info = pyogrio.read_info(tmp_path / "findings.gpkg")
    rows = dict(zip(info["fields"], values, strict=True))
    assert info["features"] == 2
    assert (shapely.from_wkb(shapes[0]).x, shapely.from_wkb(shapes[0]).y) == (106.7, 10.8)
    assert shapes[1] is None
    assert rows["vi"][0] == "Chồng lấn 2,5 m² với 1.2."
    assert rows["en"][0] == "Overlaps 1.2 by 2.5 m²."


def test_findings_of_nothing_are_an_empty_layer(tmp_path: Path) -> None:
    write_findings(tmp_path / "findings.gpkg", [])
    assert pyogrio.read_info(tmp_path / "findings.gpkg")["features"] == 0


def test_what_was_received_can_be_handed_in_again(
    table: pa.Table, tmp_path: Path, hand_in: Callable[..., object]
) -> None:
    from sdi.ingest.deliver import receive
    from tests.ingest.plots import contract, registry

    text = """
identifier: {attribute: key}
geometry: {type: MultiPolygon}
attributes:
  - {name: key, title: {vi: Khóa, en: Key}, type: text, sources: [id]}
  - {name: street, title: {vi: Đường, en: Street}, type: text, sources: [tên_đường_phố]}
"""
    for suffix in (".gpkg", ".geojson", ".shp", ".tab", ".mif", ".fgb"):
        path = tmp_path / f"again{suffix}"
        write_features(path, "again", table, 9210, "MultiPolygon")
        received = receive(Request(path=path), contract(text), registry(), grid=9210)
        assert set(received.features().read_all()["street"].to_pylist()) == {NAME, "=SUM(A1)"}
        assert received.delivery.grid == 9210
        bounds = shapely.bounds(shapely.from_wkb(received.features().read_all()["geom"].to_numpy()))[0]
        np.testing.assert_allclose(bounds, SHAPE.bounds, atol=0.001)
