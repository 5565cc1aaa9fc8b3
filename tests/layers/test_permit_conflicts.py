"""permit_conflicts: each rule where it must speak, and where it must keep silent."""

from __future__ import annotations

from typing import Any

import pytest

KEY = "31120.1.1"


@pytest.fixture
def permitted(lot: Any) -> Any:
    """The parcel with a permit in force of at most 4 floors, 15 m and 60 percent."""
    limits = {"floors_max": 4, "height_max": 15, "density_max": 60}
    lot.add("construction_permits", "GP1", [(5, 5)], permit_number="GP1", parcel_key=KEY, status="in_force",
            issued_on="2024-03-01", expires_on="2025-03-01", **limits)  # fmt: skip
    return lot


def test_a_house_built_as_permitted_has_no_conflict(permitted: Any, box: Any) -> None:
    permitted.add("buildings", "K", box(1, 1, 13, 9), floors=4, height=15, building_use="residential", year_built=2024)
    assert permitted.conflicts() == []


def test_a_building_without_any_permit_is_told(lot: Any, box: Any) -> None:
    lot.add("buildings", "K", box(1, 1, 13, 9))
    assert lot.conflicts() == [("no_permit", "K", None)]
    row = lot.rows("permit_conflicts")[0]
    assert (row["id"], row["subject_id"], row["parcel_id"]) == (f"{KEY}:no_permit:K", KEY, KEY)


def test_an_application_is_no_permit(lot: Any, box: Any) -> None:
    lot.add("construction_permits", "GP2", None, parcel_key=KEY, status="under_review")
    lot.add("buildings", "K", box(1, 1, 13, 9))
    assert lot.conflicts() == [("no_permit", "K", None)]


def test_exempt_planned_and_demolished_buildings_need_no_permit(lot: Any, box: Any) -> None:
    lot.add("buildings", "exempt", box(1, 1, 4, 4), permit_exempt=True)
    lot.add("buildings", "planned", box(5, 1, 8, 4), status="planned")
    lot.add("buildings", "demolished", box(9, 1, 12, 4), status="demolished")
    assert lot.conflicts() == []


def test_a_permit_found_by_place_permits(lot: Any, box: Any) -> None:
    lot.add("construction_permits", "GP3", [(5, 5)], status="issued")
    lot.add("buildings", "K", box(1, 1, 13, 9))
    assert lot.conflicts() == []


def test_a_permit_of_the_number_that_the_building_bears_permits(lot: Any, box: Any) -> None:
    lot.add("construction_permits", "GP4", None, permit_number="12/GPXD", status="issued")
    lot.add("buildings", "K", box(1, 1, 13, 9), permit_number="12/GPXD")
    assert lot.conflicts() == []


@pytest.mark.parametrize("status", ["revoked", "cancelled", "refused"])
def test_a_revoked_cancelled_or_refused_permit_is_told(lot: Any, box: Any, status: str) -> None:
    lot.add("construction_permits", "GP5", None, parcel_key=KEY, status=status)
    lot.add("buildings", "K", box(1, 1, 13, 9))
    assert lot.conflicts() == [("permit_revoked", "K", "GP5")]


def test_a_valid_permit_of_the_parcel_outweighs_a_revoked_one(permitted: Any, box: Any) -> None:
    permitted.add("construction_permits", "GP5", None, parcel_key=KEY, status="revoked", issued_on="2025-01-01")
    permitted.add("buildings", "K", box(1, 1, 13, 9))
    assert permitted.conflicts() == []


@pytest.mark.parametrize(
    ("status", "building", "expired"),
    [
        ("in_force", {"year_built": 2026}, True),
        ("in_force", {"year_built": 2025}, False),
        ("expired", {"year_built": 2024}, False),  # it served its purpose
        ("expired", {}, True),
        ("in_force", {"status": "under_construction", "recorded_on": "2025-06-01"}, True),
        ("in_force", {"status": "under_construction", "recorded_on": "2024-06-01"}, False),
        ("accepted", {"year_built": 2027}, False),
    ],
)
def test_a_building_built_after_its_permit_had_expired_is_told(
    lot: Any, box: Any, status: str, building: dict[str, Any], expired: bool
) -> None:
    lot.add("construction_permits", "GP6", None, parcel_key=KEY, status=status, expires_on="2025-03-01")
    lot.add("buildings", "K", box(1, 1, 13, 9), **building)
    assert lot.conflicts() == ([("permit_expired", "K", "GP6")] if expired else [])


def test_a_building_outside_its_permits_parcel_is_told_with_the_area_outside(permitted: Any, box: Any) -> None:
    permitted.add("cadastral_parcels", "31120.1.2", box(20, 0, 40, 10), parcel_key="31120.1.2", land_use_code="ODT")
    permitted.add("buildings", "K", box(14, 2, 24, 8))
    assert permitted.conflicts() == [("outside_parcel", "K", "GP1")]
    row = permitted.rows("permit_conflicts")[0]
    assert (row["parcel_id"], row["measured"], row["allowed"], row["unit"]) == (KEY, 24.0, 0.0, "m2")


def test_a_building_that_bears_the_permit_of_another_parcel_is_wholly_outside_it(lot: Any, box: Any) -> None:
    lot.add("cadastral_parcels", "31120.1.2", box(20, 0, 40, 10), parcel_key="31120.1.2", land_use_code="ODT")
    lot.add("construction_permits", "GP7", None, permit_number="7", parcel_key="31120.1.2", status="issued")
    lot.add("buildings", "K", box(2, 2, 12, 8), permit_number="7")
    assert [(row["rule"], row["measured"]) for row in lot.rows("permit_conflicts")] == [("outside_parcel", 60.0)]


def test_a_wall_drawn_two_centimetres_over_the_boundary_is_no_conflict(permitted: Any, box: Any) -> None:
    permitted.add("buildings", "K", box(10, 2, 20.02, 8))
    assert permitted.conflicts() == []


@pytest.mark.parametrize(("kind", "rule"), [("red_line", "over_red_line"), ("building_line", "over_building_line")])
def test_a_line_through_a_building_is_told_and_a_line_along_its_wall_is_not(
    permitted: Any, box: Any, kind: str, rule: str
) -> None:
    permitted.add("red_lines", "along", [(-5, 2), (25, 2)], kind=kind)
    permitted.add("buildings", "K", box(2, 2, 12, 8))
    assert permitted.conflicts() == []
    permitted.add("red_lines", "through", [(-5, 3), (25, 3)], kind=kind)
    rows = permitted.rows("permit_conflicts")
    assert [(row["rule"], row["building_id"]) for row in rows] == [(rule, "K")]
    assert rows[0]["measured"] == pytest.approx(10, abs=0.25)


@pytest.mark.parametrize(
    ("code", "purposes", "use", "told"),
    [
        ("CLN", None, "residential", True),
        ("DGD", None, "education", False),
        ("DGD", None, "residential", True),
        ("ODT", None, "residential", False),
        ("CLN", [{"code": "ONT"}, {"code": "CLN"}], "residential", False),
        ("BHK", None, None, True),  # the use is not recorded, but nothing is built on crop land
        ("DGD", None, None, False),
        (None, None, "residential", False),
    ],
)
def test_housing_on_a_parcel_without_a_residential_purpose_is_told(
    town: Any, box: Any, code: str | None, purposes: list[dict[str, Any]] | None, use: str | None, told: bool
) -> None:
    town.add("cadastral_parcels", KEY, box(0, 0, 20, 10), parcel_key=KEY, land_use_code=code, use_purposes=purposes)
    town.add("construction_permits", "GP", None, parcel_key=KEY, status="issued")
    town.add("buildings", "K", box(2, 2, 12, 8), building_use=use)
    assert town.conflicts() == ([("not_residential", "K", None)] if told else [])


@pytest.mark.parametrize(
    ("plan", "permit", "limit", "source"), [(70, 60, 60, "permit"), (50, 60, 50, "plan"), (70, None, None, None)]
)
def test_a_footprint_over_the_stricter_limit_is_told_once_for_the_largest_building(
    lot: Any, box: Any, plan: float, permit: float | None, limit: float | None, source: str | None
) -> None:
    lot.add("planning_zones", "Z", box(-50, -50, 90, 50), plan_code="922431012345", density_max=plan)
    lot.add("construction_permits", "GP8", None, parcel_key=KEY, status="issued", density_max=permit)
    lot.add("buildings", "K", box(0, 0, 12, 10))
    lot.add("buildings", "shed", box(18, 0, 20, 4))
    rows = lot.rows("permit_conflicts")
    told = [(row["rule"], row["building_id"], row["measured"], row["allowed"], row["limit_source"]) for row in rows]
    assert told == ([("over_density", "K", 64.0, limit, source)] if source else [])


def test_floors_and_height_over_the_permit_are_told(permitted: Any, box: Any) -> None:
    permitted.add("buildings", "K", box(2, 2, 12, 8), floors=6, height=21.5)
    told = [
        (row["rule"], row["measured"], row["allowed"], row["limit_source"])
        for row in permitted.rows("permit_conflicts")
    ]
    assert told == [("over_floors", 6, 4, "permit"), ("over_height", 21.5, 15, "permit")]


def test_floors_over_the_plan_are_told_without_a_limit_in_the_permit(lot: Any, box: Any) -> None:
    lot.add("planning_zones", "Z", box(-50, -50, 90, 50), plan_code="922431012345", floors_max=3)
    lot.add("construction_permits", "GP9", None, parcel_key=KEY, status="issued")
    lot.add("buildings", "K", box(2, 2, 12, 8), floors=4)
    told = [(row["rule"], row["allowed"], row["limit_source"]) for row in lot.rows("permit_conflicts")]
    assert told == [("over_floors", 3, "plan")]


def test_a_permit_whose_point_lies_far_from_the_parcel_it_names_is_told_at_the_parcel(lot: Any) -> None:
    lot.add("construction_permits", "GP10", [(120, 5)], parcel_key=KEY, status="issued")
    rows = lot.rows("permit_conflicts")
    assert [(row["rule"], row["permit_id"], row["measured"]) for row in rows] == [("permit_elsewhere", "GP10", 100.0)]


def test_a_building_on_two_parcels_is_judged_at_one_of_them(lot: Any, box: Any) -> None:
    lot.add("cadastral_parcels", "31120.1.2", box(20, 0, 40, 10), parcel_key="31120.1.2", land_use_code="ODT")
    lot.add("buildings", "K", box(14, 2, 24, 8))
    assert lot.conflicts() == [("no_permit", "K", None)]


def test_a_conflict_on_defence_land_is_withheld(town: Any, box: Any) -> None:
    town.add("cadastral_parcels", KEY, box(0, 0, 20, 10), parcel_key=KEY, land_use_code="CQP")
    town.add("buildings", "K", box(2, 2, 12, 8))
    assert [row["withheld"] for row in town.rows("permit_conflicts")] == [True]


def test_the_geometry_of_a_conflict_is_the_building_as_delivered(lot: Any, box: Any) -> None:
    lot.add("buildings", "K", box(1, 1, 13, 9), grid=9209)
    lot.refresh()
    same = """SELECT ST_Equals(c.geom, b.geom) AND ST_SRID(c.geom) = 9209 AND ST_Equals(c.geom_wgs84, b.geom_wgs84)
              FROM construction.permit_conflicts c JOIN construction.buildings b ON b.id = c.building_id"""
    assert lot.connection.execute(same).fetchall() == [(True,)]
