"""Features out of the store: as they were delivered, in the grid asked for, never across a datum."""

from __future__ import annotations

import pyarrow as pa
import pytest
import shapely

from sdi.contract.report import Report
from sdi.errors import UsageError
from sdi.national import vn2000
from sdi.store import export, loader
from tests.store.town import Town, delivery, features, plot, shop, zone


def test_features_come_as_they_were_delivered(settled: Town) -> None:
    layer = settled.registry["plots"]
    reader, grid = export.read_features(settled.connection, layer, ["code", "area", "floors", "seen_at", "uses"])
    table = reader.read_all()
    assert grid == 9210
    assert table.column_names == ["id", "code", "area", "floors", "seen_at", "uses", "geom"]
    assert table.num_rows == 20
    row = table.slice(table["id"].to_pylist().index("P7"), 1).to_pylist()[0]
    wanted = plot(7)
    assert (row["code"], row["area"], row["floors"], row["seen_at"]) == ("P7", 400.0, 0, wanted["seen_at"])
    assert row["uses"] == '[{"id": "ODT", "share": 1.0}]'
    assert shapely.equals_identical(shapely.from_wkb(row["geom"]), wanted["geom"])


def test_wgs84_and_mercator_come_from_the_pinned_operation(settled: Town) -> None:
    layer = settled.registry["shops"]
    for srid, way in ((4326, lambda xy: xy), (3857, vn2000.to_mercator)):
        reader, grid = export.read_features(settled.connection, layer, [], srid)
        places = shapely.get_coordinates(shapely.from_wkb(reader.read_all()["geom"].to_numpy()))
        east_north = shapely.get_coordinates([shop(f"S{n}", n)["geom"] for n in range(6)])
        assert grid == srid
        assert places == pytest.approx(way(vn2000.to_wgs84(east_north, 9210)), abs=1e-6)


def test_another_grid_of_the_same_datum_is_given_another_datum_is_not(settled: Town) -> None:
    layer = settled.registry["zones"]
    _, grid = export.read_features(settled.connection, layer, [], 5897)
    assert grid == 5897
    with pytest.raises(UsageError, match="RGF93"):
        export.read_features(settled.connection, layer, [], 2154)


def test_features_in_two_grids_need_one_named(town: Town) -> None:
    layer = town.registry["zones"]
    rows = pa.concat_tables([features(layer, [zone("A", 0)]), features(layer, [zone("B", 0)], grid=5899)])
    with town.connection.transaction():
        loader.load(town.connection, layer, town.registry, rows, None, delivery(layer), Report("zones", "1.0.0"))
    with pytest.raises(UsageError, match="EPSG:5899, EPSG:9210"):
        export.read_features(town.connection, layer, [])
    reader, _ = export.read_features(town.connection, layer, [], 5899)
    assert reader.read_all().num_rows == 2


def test_features_come_in_batches(town: Town) -> None:
    town.load("zones", [zone(f"Z{n}", n) for n in range(5_001)])
    reader, _ = export.read_features(town.connection, town.registry["zones"], ["storeys"])
    assert [batch.num_rows for batch in reader] == [5000, 1]


def test_an_empty_layer_is_an_empty_table(town: Town) -> None:
    reader, _ = export.read_features(town.connection, town.registry["zones"], ["zone"])
    assert reader.read_all().num_rows == 0
