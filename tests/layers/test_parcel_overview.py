"""parcel_overview on a handful of features with known answers."""

from __future__ import annotations

from typing import Any

import pytest

KEY = "31120.1.1"


def test_a_parcel_that_nothing_else_speaks_of_has_its_area_and_empty_lists(lot: Any) -> None:
    row = lot.overview(KEY)
    assert row["map_area"] == 200.0
    assert (row["buildings"], row["permits"], row["zones"], row["uses"]) == ([], [], [], [])
    assert (row["building_count"], row["footprint_area"], row["density"], row["floor_area_ratio"]) == (0, 0, 0, 0)
    plan = ["density_max", "over_density", "floors_max", "over_floors", "far_max", "use_differs_from_plan"]
    unknown = [*plan, "floors", "commune_code", "elevation_mean", "flood_depth_mean", "flood_depth_max"]
    assert [row[name] for name in unknown] == [None] * len(unknown)
    assert row["withheld"] is False


def test_a_parcel_in_two_zones_lists_both_with_area_and_percent_and_is_limited_by_their_mean(
    lot: Any, box: Any
) -> None:
    lot.add(
        "planning_zones", "Z1", box(-50, -50, 12, 50), plan_code="922431012345", density_max=80, floors_max=5, far_max=4
    )
    lot.add(
        "planning_zones", "Z2", box(12, -50, 90, 50), plan_code="922431012345", density_max=60, floors_max=3, far_max=2
    )
    row = lot.overview(KEY)
    assert row["zones"] == [
        {"id": "Z1", "area_m2": 120.0, "percent": 60.0},
        {"id": "Z2", "area_m2": 80.0, "percent": 40.0},
    ]
    assert row["zone_count"] == 2
    assert row["density_max"] == pytest.approx(0.6 * 80 + 0.4 * 60)
    assert row["far_max"] == pytest.approx(0.6 * 4 + 0.4 * 2)
    assert row["floors_max"] == 5


def test_the_most_detailed_plan_that_covers_half_the_parcel_limits_it(lot: Any, box: Any) -> None:
    lot.add("planning_zones", "general", box(-50, -50, 90, 50), plan_code="922411012345", density_max=40, floors_max=9)
    lot.add("planning_zones", "detailed", box(-50, -50, 15, 50), plan_code="922431012345", density_max=75, floors_max=4)
    assert (lot.overview(KEY)["density_max"], lot.overview(KEY)["floors_max"]) == (75, 4)
    lot.connection.execute("DELETE FROM planning.planning_zones WHERE id = 'detailed'")
    lot.add("planning_zones", "corner", box(-50, -50, 2, 50), plan_code="922431012345", density_max=75, floors_max=4)
    assert (lot.overview(KEY)["density_max"], lot.overview(KEY)["floors_max"]) == (40, 9)


def test_a_zone_whose_plan_has_ended_limits_nothing(lot: Any, box: Any) -> None:
    lot.add(
        "planning_zones", "old", box(-50, -50, 90, 50), plan_code="920911012345", density_max=40, valid_to="2020-01-01"
    )
    row = lot.overview(KEY)
    assert (row["zones"], row["density_max"]) == ([], None)


def test_a_building_across_two_parcels_is_shared_out_by_area(lot: Any, box: Any) -> None:
    lot.add("cadastral_parcels", "31120.1.2", box(20, 0, 40, 10), parcel_key="31120.1.2", land_use_code="ODT")
    lot.add("buildings", "K", box(14, 2, 24, 8), floors=3)
    here, there = lot.overview(KEY), lot.overview("31120.1.2")
    assert here["buildings"] == [{"id": "K", "area_m2": 36.0, "share": 60.0}]
    assert there["buildings"] == [{"id": "K", "area_m2": 24.0, "share": 40.0}]
    assert (here["density"], there["density"]) == (18.0, 12.0)
    assert (here["gross_floor_area"], here["floor_area_ratio"]) == (108.0, 0.54)


def test_footprint_and_floors_are_held_against_the_zone(lot: Any, box: Any) -> None:
    lot.add(
        "planning_zones", "Z", box(-50, -50, 90, 50), plan_code="922431012345", density_max=70, floors_max=4, far_max=3
    )
    lot.add("buildings", "K", box(0, 0, 18, 8), floors=5, gross_floor_area=500)
    row = lot.overview(KEY)
    assert (row["footprint_area"], row["density"], row["over_density"]) == (144.0, 72.0, True)
    assert (row["floors"], row["floors_max"], row["over_floors"]) == (5, 4, True)
    assert (row["gross_floor_area"], row["floor_area_ratio"], row["far_max"]) == (500.0, 2.5, 3.0)


def test_a_ratio_exactly_at_the_limit_is_not_over_it(lot: Any, box: Any) -> None:
    lot.add("planning_zones", "Z", box(-50, -50, 90, 50), plan_code="922431012345", density_max=70, floors_max=4)
    lot.add("buildings", "K", box(0, 0, 17.5, 8), floors=4)
    row = lot.overview(KEY)
    assert (row["density"], row["over_density"], row["over_floors"]) == (70.0, False, False)


def test_the_floor_area_is_unknown_when_one_building_has_neither_floors_nor_floor_area(lot: Any, box: Any) -> None:
    lot.add("buildings", "K", box(0, 0, 5, 5), floors=2)
    lot.add("buildings", "L", box(8, 0, 10, 5))
    row = lot.overview(KEY)
    assert (row["building_count"], row["gross_floor_area"], row["floor_area_ratio"]) == (2, None, None)


def test_planned_and_demolished_buildings_are_not_on_the_parcel(lot: Any, box: Any) -> None:
    lot.add("buildings", "gone", box(0, 0, 5, 5), status="demolished")
    lot.add("buildings", "to come", box(6, 0, 9, 5), status="planned")
    assert lot.overview(KEY)["building_count"] == 0


def test_a_neighbours_wall_drawn_too_far_makes_no_storey_of_this_parcel(lot: Any, box: Any) -> None:
    lot.add("buildings", "neighbour", box(19.9, 0, 40, 10), floors=12)
    row = lot.overview(KEY)
    assert row["buildings"] == [{"id": "neighbour", "area_m2": 1.0, "share": 0.5}]
    assert row["floors"] is None


def test_permits_are_found_by_key_and_else_by_place(lot: Any, box: Any) -> None:
    lot.add("cadastral_parcels", "31120.1.2", box(20, 0, 40, 10), parcel_key="31120.1.2", land_use_code="ODT")
    lot.add("construction_permits", "by key", None, parcel_key=KEY, status="in_force")
    lot.add("construction_permits", "by place", [(30, 5)], status="issued")
    lot.add("construction_permits", "lost key", [(31, 5)], parcel_key="31120.99.9", status="issued")
    lot.add("construction_permits", "key before place", [(32, 5)], parcel_key=KEY, status="issued")
    assert lot.overview(KEY)["permits"] == [
        {"id": "by key", "by": "key", "status": "in_force"},
        {"id": "key before place", "by": "key", "status": "issued"},
    ]
    assert lot.overview("31120.1.2")["permits"] == [
        {"id": "by place", "by": "place", "status": "issued"},
        {"id": "lost key", "by": "place", "status": "issued"},
    ]


def test_current_uses_are_listed_with_code_area_and_percent(lot: Any, box: Any) -> None:
    lot.add("land_use", "HT.1", box(-50, -50, 5, 50), land_use_code="CLN")
    lot.add("land_use", "HT.2", box(5, -50, 90, 50), land_use_code="ODT")
    assert lot.overview(KEY)["uses"] == [
        {"id": "HT.2", "code": "ODT", "area_m2": 150.0, "percent": 75.0},
        {"id": "HT.1", "code": "CLN", "area_m2": 50.0, "percent": 25.0},
    ]


@pytest.mark.parametrize(
    ("code", "purposes", "plan", "differs"),
    [
        ("ODT", None, "ODT", False),
        ("ODT", None, "DGT", True),
        ("BHK", None, "HNK", False),  # an old code and the code that replaced it are one use
        ("CLN", [{"code": "CLN", "area": 100}, {"code": "ODT", "area": 100}], "ODT", False),
        (None, [{"code": "CLN", "area": 150}, {"code": "ODT", "area": 50}], "DGT", True),
        (None, None, "ODT", None),
    ],
)  # fmt: skip
def test_a_use_differs_from_the_plan_when_no_purpose_is_the_planned_one(
    town: Any, box: Any, code: str | None, purposes: list[dict[str, Any]] | None, plan: str, differs: bool | None
) -> None:
    town.add("cadastral_parcels", KEY, box(0, 0, 20, 10), parcel_key=KEY, land_use_code=code, use_purposes=purposes)
    town.add("land_use_plan", "Q.1", box(-50, -50, 15, 50), land_use_code=plan)
    town.add("land_use_plan", "Q.2", box(15, -50, 90, 50), land_use_code="DKV")
    row = town.overview(KEY)
    assert (row["planned_use_code"], row["use_differs_from_plan"]) == (plan, differs)


def test_without_a_main_code_the_purpose_with_the_greatest_area_stands_for_the_parcel(town: Any, box: Any) -> None:
    purposes = [{"code": "ODT", "area": 50}, {"code": "CLN", "area": 150}]
    town.add("cadastral_parcels", KEY, box(0, 0, 20, 10), parcel_key=KEY, use_purposes=purposes)
    assert town.overview(KEY)["land_use_code"] == "CLN"


@pytest.mark.parametrize(
    ("layer", "attributes"),
    [
        ("cadastral_parcels", {"land_use_code": "CQP", "parcel_key": KEY}),
        ("cadastral_parcels", {"use_purposes": [{"code": "ODT"}, {"code": "CAN"}], "parcel_key": KEY}),
        ("planning_zones", {"plan_code": "922431012345", "land_use_code": "CQP"}),
        ("land_use", {"land_use_code": "CAN"}),
        ("land_use_plan", {"land_use_code": "CQP"}),
        ("buildings", {"building_use": "defence"}),
    ],
)  # fmt: skip
def test_defence_and_security_of_any_layer_withhold_the_parcel(
    town: Any, box: Any, layer: str, attributes: dict[str, Any]
) -> None:
    if layer != "cadastral_parcels":
        town.add("cadastral_parcels", KEY, box(0, 0, 20, 10), parcel_key=KEY, land_use_code="ODT")
    feature = KEY if layer == "cadastral_parcels" else "X"
    town.add(layer, feature, box(0, 0, 20, 10), **attributes)
    assert town.overview(KEY)["withheld"] is True


def test_the_commune_is_the_present_one_at_the_parcels_place(lot: Any, box: Any) -> None:
    old = {"level": "commune", "valid_from": "2004-01-01", "valid_to": "2025-07-01"}
    lot.add(
        "admin_units", "31117.2004-01-01", box(-900, -900, 900, 900), code="31117", full_name="Phường Cái Khế", **old
    )
    new = {"level": "commune", "valid_from": "2025-07-01"}
    lot.add(
        "admin_units", "31120.2025-07-01", box(-900, -900, 18, 900), code="31120", full_name="Phường Ninh Kiều", **new
    )
    lot.add("admin_units", "31135.2025-07-01", box(18, -900, 900, 900), code="31135", full_name="Phường Tân An", **new)
    province = {"level": "province", "valid_from": "2025-07-01"}
    lot.add(
        "admin_units", "92.2025-07-01", box(-900, -900, 900, 900), code="92", full_name="Thành phố Cần Thơ", **province
    )
    row = lot.overview(KEY)
    assert (row["commune_code"], row["commune_name"]) == ("31120", "Phường Ninh Kiều")


def test_elevation_and_flood_depth_come_from_the_statistics(lot: Any) -> None:
    lot.connection.execute(
        "INSERT INTO terrain.terrain__cadastral_parcels (id, elevation_mean) VALUES (%s, 1.25)", [KEY]
    )
    insert = "INSERT INTO hazard.flood_depth__cadastral_parcels (id, depth_mean, depth_max) VALUES (%s, 0.3, 0.75)"
    lot.connection.execute(insert, [KEY])
    row = lot.overview(KEY)
    assert (row["elevation_mean"], row["flood_depth_mean"], row["flood_depth_max"]) == (1.25, 0.3, 0.75)


def test_a_zone_of_another_vn_2000_grid_is_measured_in_the_parcels_grid(lot: Any, box: Any) -> None:
    lot.add("planning_zones", "Z", box(0, 0, 12, 10), grid=9209, plan_code="922431012345", density_max=80)
    zones = lot.overview(KEY)["zones"]
    assert [(zone["id"], zone["area_m2"]) for zone in zones] == [("Z", pytest.approx(120, abs=0.02))]
