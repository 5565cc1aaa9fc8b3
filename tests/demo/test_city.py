"""The demo city: a district that could be in Hà Nội, the same each time, with no defect but those its truth names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from sdi.demo.city import City, deliveries, generate
from sdi.national import parcel_id, vn2000


def test_the_same_seed_gives_the_same_features(city: City, tmp_path: Path) -> None:
    again = generate(tmp_path, seed=city.seed, parcels=800)

    for name, table in city.tables.items():
        assert shapely.to_wkb(table.geometry).tolist() == shapely.to_wkb(again.tables[name].geometry).tolist(), name
        for column, values in table.columns.items():
            assert values.astype(str).tolist() == again.tables[name][column].astype(str).tolist(), (name, column)
    assert (tmp_path / "truth.json").read_bytes() == (city.folder / "truth.json").read_bytes()


def test_another_seed_gives_another_city(city: City, tmp_path: Path) -> None:
    other = generate(tmp_path, seed=7, parcels=800)

    assert len(other.tables["parcels"]) != len(city.tables["parcels"])
    assert 500 < len(other.tables["parcels"]) < 1300


def test_a_folder_that_holds_a_city_may_be_written_again(tmp_path: Path) -> None:
    generate(tmp_path, parcels=800)
    first = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    generate(tmp_path, parcels=800)

    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == first


def test_the_city_lies_in_ha_noi(city: City) -> None:
    west, south, east, north = city.extent

    assert 105.7 < west < east < 105.95
    assert 20.95 < south < north < 21.1


def test_communes_tile_the_district_before_and_after_the_reform(city: City) -> None:
    units = city.tables["units"]
    province = units.geometry[0]
    for day in ("2025-07-01", "2004-07-01"):
        parts = units.geometry[units["start"] == day]
        assert sum(part.area for part in parts) == pytest.approx(province.area, rel=1e-6)
        assert shapely.union_all(parts).area == pytest.approx(province.area, rel=1e-6)


def test_one_old_commune_was_split_between_two_of_today(city: City) -> None:
    succession = " ".join(city.tables["units"]["succession"])
    old = city.tables["units"]["code"][city.tables["units"]["start"] == "2004-07-01"]

    assert sorted(succession.count(f'"code": "{code}"') for code in old) == [1] * (len(old) - 1) + [2]


def test_no_code_of_the_city_is_a_code_of_viet_nam(city: City) -> None:
    assert all(str(code).startswith("99") for code in city.tables["units"]["code"])


def test_most_plots_are_tube_houses(city: City) -> None:
    houses = _houses(city)
    ring = shapely.oriented_envelope(houses)
    corners = shapely.get_coordinates(ring).reshape(-1, 5, 2)
    sides = np.sort(np.hypot(*np.moveaxis(np.diff(corners, axis=1)[:, :2], 2, 0)), axis=1)

    assert 3 < np.median(sides[:, 0]) < 6
    assert 12 < np.median(sides[:, 1]) < 25


def test_the_streets_are_no_chessboard(city: City) -> None:
    corners = shapely.get_coordinates(shapely.oriented_envelope(_houses(city))).reshape(-1, 5, 2)
    way = np.diff(corners, axis=1)[:, 0]
    share, _ = np.histogram(np.degrees(np.arctan2(way[:, 1], way[:, 0])) % 90, bins=9, range=(0, 90), density=False)

    assert (share / share.sum()).max() < 0.5
    assert np.count_nonzero(share) >= 7


def test_parcels_overlap_only_where_the_truth_says(city: City, truth: list[dict[str, object]]) -> None:
    shapes = city.tables["parcels"].geometry
    rows = np.flatnonzero(shapely.is_geometry(shapes) & shapely.is_valid(shapes))
    first, second = shapely.STRtree(shapes[rows]).query(shapes[rows], predicate="intersects")
    once = first < second
    first, second = rows[first[once]], rows[second[once]]
    area = shapely.area(shapely.intersection(shapes[first], shapes[second]))

    assert int((area > 0.1).sum()) == sum(entry["rule"] == "coverage.overlap" for entry in truth)


def test_a_parcel_id_is_a_point_inside_its_parcel(city: City, truth: list[dict[str, object]]) -> None:
    parcels = city.tables["parcels"]
    lon, lat, _, _ = parcel_id.decode(parcels["id12"].tolist())
    points = shapely.points(vn2000.from_wgs84(np.column_stack([lon, lat]), 5897))
    good = shapely.is_valid(parcels.geometry) & shapely.is_geometry(parcels.geometry)
    outside = good & ~shapely.contains(parcels.geometry, points)

    assert int(outside.sum()) == sum(entry["rule"] == "identifier.place" for entry in truth)


def test_buildings_stand_inside_plots_unless_planted(city: City, truth: list[dict[str, object]]) -> None:
    buildings, parcels = city.tables["buildings"], city.tables["parcels"]
    good = shapely.is_geometry(buildings.geometry) & shapely.is_valid(buildings.geometry)
    rows = np.flatnonzero(good)
    over = shapely.area(shapely.difference(buildings.geometry[rows], parcels.geometry[buildings["parcel"][rows]])) > 1
    planted = {entry["key"] for entry in truth if entry["rule"] in ("outside_parcel", "spanning")}

    assert {buildings["code"][row] for row in rows[over]} == planted


def test_addresses_are_vietnamese_and_of_their_commune(city: City) -> None:
    places = city.tables["parcels"]["place"]

    assert sum("ngõ" in place for place in places) > 0.1 * len(places)
    assert all("Phường" in place and place.startswith("Số ") for place in places)


def test_floods_stand_in_low_ground(city: City) -> None:
    with rasterio.open(city.folder / "DEM_5m.tif") as terrain, rasterio.open(city.folder / "NgapUng_P5.tif") as flood:
        assert terrain.crs.to_epsg() == flood.crs.to_epsg() == 5897
        assert terrain.res == flood.res == (5, 5)
        ground, depth = terrain.read(1), flood.read(1)
        inside = depth != flood.nodata
    wet = inside & (depth > 0.1)

    assert 0 < wet.sum() < 0.5 * inside.sum()
    assert ground[wet].mean() < ground[inside & (depth == 0) & (ground > 4.5)].mean() - 0.5
    assert ground.max() > 11  # the dike


def test_deliveries_name_every_file_that_was_written(city: City) -> None:
    handed = deliveries(city.folder)

    assert all(handover.request.path.exists() for handover in handed)
    main = {handover.request.path.stem.split(".")[0] for handover in handed} | {"truth"}
    assert {path.name.split(".")[0] for path in city.folder.iterdir()} == main


def _houses(city: City) -> np.ndarray:
    parcels = city.tables["parcels"]
    rows = (parcels["side"] != 0) & (parcels["fabric"] != 4) & shapely.is_geometry(parcels.geometry)
    return parcels.geometry[rows & shapely.is_valid(parcels.geometry)]
