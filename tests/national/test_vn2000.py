"""VN-2000 and WGS 84: published-parameter test vectors, the wrong operation, real files with wrong CRSs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from pyproj.transformer import TransformerGroup

from sdi.errors import UsageError
from sdi.national import vn2000

Shared = Callable[[str], Path]

# WGS 84 lon, lat; VN-2000 lon, lat; then E, N by EPSG code: operation EPSG:6960
VECTORS = {
    "Hà Nội": ((105.8525, 21.0287), {4756: (105.850617340, 21.029685969), 5897: (588415.1135, 2326366.5101),
                                     3405: (588388.5863, 2325668.5304)}),
    "Bến Thành": ((106.6981, 10.7725), {4756: (106.696313783, 10.773518485), 9210: (603492.5253, 1191454.6450),
                                        3405: (685477.2363, 1191450.7987)}),
    "Vũng Tàu": ((107.0843, 10.3460), {4756: (107.082517402, 10.347020905), 5899: (426902.3672, 1144200.4975),
                                       3405: (728035.5232, 1144525.3269)}),
    "Đà Nẵng": ((108.2275, 16.0611), {4756: (108.225678716, 16.062123855), 5899: (550893.6263, 1776398.5989),
                                      3406: (203163.9849, 1777796.6848)}),
    "Ninh Kiều": ((105.7880, 10.0330), {4756: (105.786215750, 10.034013891), 5897: (586185.1537, 1109609.1078),
                                        3405: (586159.2956, 1109276.1917)}),
    "Sóc Trăng": ((105.9739, 9.6025), {4756: (105.972118531, 9.603515219), 9209: (551819.6676, 1061930.4705),
                                       3405: (606671.3066, 1061727.2313)}),
}  # fmt: skip
CASES = [(name, epsg) for name, (_, grids) in VECTORS.items() for epsg in grids]
MM = 0.001
MM_IN_DEGREES = MM / 111_320
TM3 = [5896, 5897, 5898, 5899, *range(9205, 9219)]


def points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=np.float64)


def metres(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Metres between WGS 84 places near each other."""
    east = (a[:, 0] - b[:, 0]) * np.cos(np.radians(b[:, 1])) * 111_320
    return np.hypot(east, (a[:, 1] - b[:, 1]) * 110_600)


def coordinates(geometry: Any) -> Iterator[list[float]]:
    if geometry and isinstance(geometry[0], int | float):
        yield geometry[:2]
    else:
        for part in geometry:
            yield from coordinates(part)


def box(features: list[dict[str, Any]]) -> tuple[float, float, float, float]:
    xy = np.array([point for feature in features for point in coordinates(feature["geometry"]["coordinates"])])
    west, south = xy.min(axis=0).tolist()
    east, north = xy.max(axis=0).tolist()
    return west, south, east, north


def zipped_features(path: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        features: list[dict[str, Any]] = json.loads(archive.read(archive.namelist()[0]))["features"]
    return features


@pytest.mark.parametrize(("place", "epsg"), CASES)
def test_the_test_vectors_hold_to_a_millimetre_from_the_grid(place: str, epsg: int) -> None:
    wgs84, grids = VECTORS[place]
    assert vn2000.to_wgs84(points(grids[epsg]), epsg) == pytest.approx(points(wgs84), abs=MM_IN_DEGREES)


@pytest.mark.parametrize(("place", "epsg"), CASES)
def test_the_test_vectors_hold_to_a_millimetre_into_the_grid(place: str, epsg: int) -> None:
    wgs84, grids = VECTORS[place]
    tolerance = MM_IN_DEGREES if epsg == 4756 else MM
    assert vn2000.from_wgs84(points(wgs84), epsg) == pytest.approx(points(grids[epsg]), abs=tolerance)


@pytest.mark.parametrize(
    ("lonlat", "epsg", "expected"),
    [
        ((105.75, 21.0), 5897, (577971.6693, 2323027.4522)),
        ((105.75, 21.0), 9210, (500000.0, 2322844.5614)),
        ((108.2, 16.05), 5899, (548149.0841, 1775050.9401)),
        ((108.2, 16.05), 3406, (200396.4970, 1776491.2713)),
    ],
)
def test_a_projection_alone_crosses_no_datum(
    lonlat: tuple[float, float], epsg: int, expected: tuple[float, float]
) -> None:
    assert vn2000.regrid(points(lonlat), 4756, epsg) == pytest.approx(points(expected), abs=MM)
    assert vn2000.regrid(points(expected), epsg, 4756) == pytest.approx(points(lonlat), abs=MM_IN_DEGREES)


def test_the_default_operation_of_proj_moves_ho_chi_minh_city_by_eighty_centimetres_and_ours_does_not() -> None:
    here = VECTORS["Bến Thành"][1][9210]
    official = points(VECTORS["Bến Thành"][0])
    default = points(Transformer.from_crs(9210, 4326, always_xy=True).transform(*here))
    assert metres(default, official)[0] == pytest.approx(0.80, abs=0.01)
    assert default == pytest.approx(points((106.69810729, 10.77250039)), abs=1e-8)
    assert metres(vn2000.to_wgs84(points(here), 9210), official)[0] < MM
    assert vn2000.to_wgs84(points(here), 9210, 5194) == pytest.approx(default, abs=1e-9)


def test_the_default_operation_of_proj_is_not_ours_in_can_tho_either() -> None:
    here = VECTORS["Ninh Kiều"][1][5897]
    default = points(Transformer.from_crs(5897, 4326, always_xy=True).transform(*here))
    assert metres(default, vn2000.to_wgs84(points(here), 5897))[0] == pytest.approx(0.81, abs=0.01)


@pytest.mark.parametrize("operation", vn2000.OPERATIONS)
@pytest.mark.parametrize("epsg", [3405, 3406, *TM3])
def test_both_operations_have_the_parameters_of_the_registry(epsg: int, operation: int) -> None:
    number = {6960: "(2)", 5194: "(1)"}[operation]
    group = TransformerGroup(CRS.from_epsg(epsg), CRS.from_epsg(4326), always_xy=True)
    offered = [one for one in group.transformers if f"VN-2000 to WGS 84 {number}" in one.description]
    meridian = vn2000.grid(epsg).meridian
    assert meridian is not None
    xy = vn2000.from_wgs84(points((meridian + 0.7, 10.5), (meridian - 0.7, 21.5)), epsg)
    if not offered:  # 5194's box is too far from this grid for PROJ to offer it: only ours can be asked
        assert operation == 5194
        return
    registry = np.column_stack(offered[0].transform(xy[:, 0], xy[:, 1]))
    assert vn2000.to_wgs84(xy, epsg, operation) == pytest.approx(registry, abs=1e-10)


@given(st.sampled_from(TM3), st.floats(-1.5, 1.5), st.floats(8.3, 23.4), st.sampled_from(vn2000.OPERATIONS))
def test_there_and_back_is_the_same_place(epsg: int, from_meridian: float, lat: float, operation: int) -> None:
    """To 1.6 mm: there and back both start at height 0, and the ellipsoids are 30 m apart."""
    meridian = vn2000.grid(epsg).meridian
    assert meridian is not None
    lonlat = points((meridian + from_meridian, lat))
    xy = vn2000.from_wgs84(lonlat, epsg, operation)
    assert vn2000.to_wgs84(xy, epsg, operation) == pytest.approx(lonlat, abs=1.6 * MM_IN_DEGREES)


def test_a_million_points_of_a_city_go_at_once() -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform((580_000, 1_180_000), (620_000, 1_220_000), (1_000_000, 2))
    lonlat = vn2000.to_wgs84(xy, 9210)
    assert lonlat.shape == xy.shape
    assert np.isfinite(lonlat).all()
    assert vn2000.from_wgs84(lonlat[:1000], 9210) == pytest.approx(xy[:1000], abs=MM)


def test_no_points_give_no_points() -> None:
    assert vn2000.to_wgs84(np.empty((0, 2)), 9210).shape == (0, 2)


def test_a_change_of_grid_is_the_same_place() -> None:
    xy = points(VECTORS["Vũng Tàu"][1][5899])
    there = vn2000.regrid(xy, 5899, 9210)
    assert vn2000.to_wgs84(there, 9210) == pytest.approx(vn2000.to_wgs84(xy, 5899), abs=MM_IN_DEGREES)
    assert vn2000.regrid(there, 9210, 5899) == pytest.approx(xy, abs=MM)


def test_a_change_of_grid_never_crosses_a_datum() -> None:
    with pytest.raises(UsageError, match="VN-2000 and EPSG:32648 on WGS 84"):
        vn2000.regrid(points((500_000, 1_200_000)), 9210, 32648)


@pytest.mark.parametrize("epsg", [4326, 3857, 32619, 32631, 32647, 32648, 32649, 2154, 2193])
def test_grids_without_a_datum_shift_agree_with_the_registry(epsg: int) -> None:
    west, south, east, north = vn2000.grid(epsg).area
    place = points((west * 0.4 + east * 0.6, south * 0.4 + north * 0.6))
    expected = points(Transformer.from_crs(4326, epsg, always_xy=True).transform(*place[0]))
    tolerance = 1e-9 if epsg == 4326 else MM
    assert vn2000.from_wgs84(place, epsg) == pytest.approx(expected, abs=tolerance)
    assert vn2000.to_wgs84(expected, epsg) == pytest.approx(place, abs=MM_IN_DEGREES)


def test_web_mercator_is_wgs84() -> None:
    lonlat = points((106.6981, 10.7725))
    xy = vn2000.to_mercator(lonlat)
    assert xy == pytest.approx(points((11877578.161, 1206317.497)), abs=0.01)
    assert vn2000.from_mercator(xy) == pytest.approx(lonlat, abs=1e-9)


@pytest.mark.parametrize(("epsg", "successor"), [(6956, 5896), (6957, 5897), (6958, 5898), (6959, 5899)])
def test_a_deprecated_code_names_its_successor(epsg: int, successor: int) -> None:
    with pytest.raises(UsageError, match=f"Use EPSG:{successor}"):
        vn2000.grid(epsg)


@pytest.mark.parametrize("epsg", [4147, 2044, 2045, 2093])
def test_ha_noi_72_is_refused_with_the_legal_ground(epsg: int) -> None:
    with pytest.raises(UsageError, match="TT 973/2001/TT-TCĐC Điều 6"):
        vn2000.grid(epsg)


def test_an_unknown_code_lists_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean '921"):
        vn2000.grid(92100)


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(UsageError, match="EPSG:1544 is not an operation between VN-2000 and WGS 84"):
        vn2000.to_wgs84(points((603492.5, 1191454.6)), 9210, 1544)


def test_every_grid_of_the_country_is_as_the_registry_has_it() -> None:
    for epsg, grid in vn2000.GRIDS.items():
        crs = CRS.from_epsg(epsg)
        assert grid.name == crs.name
        assert crs.area_of_use is not None
        assert grid.area == pytest.approx(crs.area_of_use.bounds, abs=0.01)
        if grid.kind in ("tm3", "utm"):
            assert crs.coordinate_operation is not None
            values = {one.name: one.value for one in crs.coordinate_operation.params}
            assert grid.meridian == values["Longitude of natural origin"]
            assert grid.scale == values["Scale factor at natural origin"]
    assert {epsg for epsg, grid in vn2000.GRIDS.items() if grid.datum == "VN-2000"} == {4756, 3405, 3406, *TM3}


def test_spatial_ref_sys_is_completed_for_every_grid() -> None:
    rows = {row[0]: row for row in vn2000.srid_rows()}
    assert set(rows) == set(vn2000.GRIDS)
    srid, authority, code, wkt, proj4 = rows[9210]
    assert (srid, authority, code) == (9210, "EPSG", 9210)
    assert wkt.startswith('PROJCS["VN-2000 / TM-3 105-45"')
    assert CRS.from_wkt(wkt).to_epsg() == 9210
    # position vector signs: the Decision's rotations with the other sign
    assert "+towgs84=-191.90441429,-39.30318279,-111.45032835,0.00928836,-0.01975479,0.00427372,0.252906278" in proj4


def test_a_wrong_meridian_is_proposed_not_applied(shared_data: Shared) -> None:
    path = shared_data("vn_landuse_thuanhoa") / "thuanhoa_tkdd2022.geojson"
    delivered = json.loads(path.read_text(encoding="utf-8"))
    assert "3857" in json.dumps(delivered["crs"])
    provinces = zipped_features(shared_data("vn_admin_2025") / "provinces_34.geojson.zip")
    can_tho = box([province for province in provinces if province["properties"]["code"] == "92"])
    first, *others = vn2000.propose_grids(box(delivered["features"]), can_tho, declared=3857)
    assert (first.epsg, first.swapped, first.inside) == (9209, False, 1.0)
    assert first.offset_m is not None
    assert first.offset_m > 10_000_000
    assert first.centre == pytest.approx((105.876, 9.681), abs=0.001)
    assert {5897, 9210} <= {proposal.epsg for proposal in others}, "neighbours also fall into the province"


def test_the_bounds_of_the_commune_leave_one_grid(shared_data: Shared) -> None:
    delivered = json.loads(
        (shared_data("vn_landuse_thuanhoa") / "ThuanHoa_KKDD2019.geojson").read_text(encoding="utf-8")
    )
    communes = zipped_features(shared_data("vn_admin_2025") / "communes_full_92_can_tho.geojson.zip")
    commune = box([one for one in communes if one["properties"]["name"] == "Thuận Hoà"])
    proposals = vn2000.propose_grids(box(delivered["features"]), commune, declared=3406)
    assert [(proposal.epsg, proposal.swapped) for proposal in proposals] == [(9209, False)]


def test_exchanged_axes_are_recognised() -> None:
    city = (106.35, 10.15, 107.05, 11.17)
    swapped = (1191400.0, 603400.0, 1191500.0, 603500.0)
    first = vn2000.propose_grids(swapped, city, declared=9210)[0]
    assert (first.epsg, first.swapped, first.inside) == (9210, True, 1.0)
    assert first.offset_m == pytest.approx(836_000, rel=0.02), "as delivered they fall at 112.0 E, 5.4 N, in the sea"


def test_coordinates_that_fit_nowhere_get_no_proposal() -> None:
    assert vn2000.propose_grids((1.0, 2.0, 3.0, 4.0), (106.35, 10.15, 107.05, 11.17), declared=4326) == []


def test_what_is_declared_right_is_proposed_first() -> None:
    city = (106.35, 10.15, 107.05, 11.17)
    lonlat = (106.69, 10.77, 106.70, 10.78)
    assert [proposal.epsg for proposal in vn2000.propose_grids(lonlat, city, declared=4326)] == [4326, 4756]
    assert vn2000.propose_grids(lonlat, city, declared=4756)[0].epsg == 4756


def test_the_grids_of_the_province_go_before_a_neighbour_that_fits_as_well() -> None:
    wide = (105.2, 9.2, 107.8, 10.4)
    data = (540_000.0, 1_070_000.0, 541_000.0, 1_071_000.0)
    assert vn2000.propose_grids(data, wide, likely=[9209])[0].epsg == 9209
    assert vn2000.propose_grids(data, wide, likely=[9210])[0].epsg == 9210


def test_control_points_tell_the_makers_operation(shared_data: Shared) -> None:
    path = shared_data("vn_planning_quangngai") / "diemmockhongchedothi.geojson"
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    assert len(features) == 57
    xy = np.array([[float(f["properties"]["Y(m):"]), float(f["properties"]["X(m):"])] for f in features])
    lonlat = np.array([f["geometry"]["coordinates"][:2] for f in features])
    assert vn2000.fit_operation(xy, 5898, lonlat) == [
        (5194, pytest.approx(0.043, abs=0.001)),
        (6960, pytest.approx(0.74, abs=0.005)),
    ]


def test_control_points_need_pairs() -> None:
    with pytest.raises(UsageError, match="Control points"):
        vn2000.fit_operation(np.empty((0, 2)), 5898, np.empty((0, 2)))
    with pytest.raises(UsageError, match="not on VN-2000"):
        vn2000.fit_operation(points((1.0, 2.0)), 32648, points((1.0, 2.0)))


def test_a_region_layer_in_the_grid_equals_its_twin_in_wgs84(shared_data: Shared) -> None:
    folder = shared_data("vn_planning_quangngai")
    xy, twin = (vertices(folder / name) for name in ("2.geojson.zip", "PhanVungKinhte.geojson.zip"))
    assert xy.min() > 360, "metres without a declared CRS"
    tree = shapely.STRtree(shapely.points(twin))
    apart = {}
    for operation in vn2000.OPERATIONS:
        lonlat = vn2000.to_wgs84(xy, 3405, operation)
        apart[operation] = np.median(metres(lonlat, twin[tree.nearest(shapely.points(lonlat))]))
    assert apart[6960] < 0.06, "the rounding of six decimals"
    assert apart[5194] > 0.5


def vertices(path: Path) -> np.ndarray:
    features = zipped_features(path)
    return np.array([point for one in features for point in coordinates(one["geometry"]["coordinates"])])


@pytest.mark.parametrize("epsg", [5897, 9210, 5899, 3405, 3857, 32648])
def test_the_pipeline_that_is_told_to_others_is_the_way_that_is_taken_here(epsg: int) -> None:
    west, south, east, north = vn2000.grid(epsg).area
    lonlat = np.array([(max(west, 104.5), max(south, 9.5)), (min(east, 107.5), min(north, 22.0))])
    told = Transformer.from_pipeline(vn2000.pipeline_from_wgs84(epsg))
    there = np.column_stack(told.transform(*lonlat.T))
    assert np.abs(there - vn2000.from_wgs84(lonlat, epsg)).max() < 1e-4


def test_a_map_is_not_told_a_way_to_degrees() -> None:
    with pytest.raises(UsageError, match="geographic"):
        vn2000.pipeline_from_wgs84(4756)
