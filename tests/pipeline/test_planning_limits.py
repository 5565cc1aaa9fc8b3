"""The shipped contracts against planted cases: indicators over the zone's limits, land used against the plan, permits
without a parcel. Each case that breaks a rule stands beside one that just keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
import pytest
import shapely

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from tests.deployment import Deployment

EAST, NORTH = 588_000.0, 2_326_000.0
LIMITS = {"tangCao": 5, "chieuCaoToiDa": 18.0, "matDoXayDung": 70.0, "heSoSuDungDat": 3.5}
"""What zone A allows: floors, metres, %, floor area ratio."""
WIDER = {"tangCao": 9, "chieuCaoToiDa": 40.0, "matDoXayDung": 90.0, "heSoSuDungDat": 7.0}
"""What the general plan allows above it; the detailed plan is asked first."""
ZONE_A = "010132100001.A"


def box(x: float, y: float, width: float, height: float) -> shapely.Polygon:
    return shapely.box(EAST + x, NORTH + y, EAST + x + width, NORTH + y + height)


def point(x: float, y: float) -> shapely.Point:
    return shapely.Point(EAST + x, NORTH + y)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A GeoPackage of rows whose `geom` is a shape in EPSG:5897; what a row does not say is null."""
    names = dict.fromkeys(name for row in rows for name in row if name != "geom")
    table = {name: pa.array([row.get(name) for row in rows]) for name in names}
    table["geom"] = pa.array([shapely.to_wkb(row["geom"]) for row in rows], pa.binary())
    pyogrio.write_arrow(
        pa.table(table), path, layer="dulieu", driver="GPKG", geometry_name="geom", crs="EPSG:5897",
        geometry_type=rows[0]["geom"].geom_type,
    )  # fmt: skip
    return path


USES = {
    # number: the parcel's use, where it lies, whether that is against the plan
    "1": ("ODT", box(2, 2, 10, 10), False),  # as planned
    "2": ("CLN", box(22, 2, 10, 10), True),
    "3": ("ONT", box(42, 2, 10, 10), True),  # another code of the same group is another use
    "4": ("BCS", box(62, 2, 10, 10), False),  # land not in use yet contradicts no plan
    "5": (None, box(82, 2, 10, 10), False),
    "6": ("CLN", box(102, 2, 10, 10), False),  # one farmland for another: zone B
    "7": ("ODT", box(122, 2, 10, 10), True),
    "8": ("LUN", box(142, 2, 10, 10), False),  # a former code, of what is farmland today
    "9": ("ODT", box(302, 2, 10, 10), False),  # no zone
    "10": ("CLN", box(88, 20, 20, 10), True),  # its inner point lies in A
    "11": ("CLN", box(92, 40, 20, 10), False),  # and this one's in B
    "12": ("ODT", box(202, 2, 10, 10), False),  # the zone names no use
}


@pytest.fixture(scope="module")
def planned(new_deployment: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Zones A (homes) and B (farmland), C that says nothing, a general plan over A, and parcels in and beside them."""
    at, folder = new_deployment(grid=5897), tmp_path_factory.mktemp("planned")
    detailed, general = {"maThongTinQH": "010132100001", "capDo": "3"}, {"maThongTinQH": "010112100002", "capDo": "1"}
    zones = [
        detailed | LIMITS | {"kyHieuO": "A", "maLoaiDat": "ODT", "geom": box(0, 0, 100, 100)},
        detailed | {"kyHieuO": "B", "maLoaiDat": "LUC", "geom": box(100, 0, 100, 100)},
        detailed | {"kyHieuO": "C", "geom": box(200, 0, 100, 100)},
        general | WIDER | {"kyHieuO": "G", "maLoaiDat": "ODT", "geom": box(0, 0, 100, 100)},
    ]
    parcels = [
        {"maXa": "00070", "soTo": "1", "soThua": number, "mdsd": use, "geom": shape}
        for number, (use, shape, _) in USES.items()
    ]
    loaded = at.deliver("planning_zones", written(folder / "quyhoach.gpkg", zones))
    assert loaded.report.kept == len(zones), loaded.report.by_rule()
    told = at.deliver("cadastral_parcels", written(folder / "thua.gpkg", parcels))
    assert told.report.kept == len(parcels), told.report.by_rule()

    def found(layer: str, rows: list[dict[str, Any]]) -> list[Finding]:
        """What is found in a delivery, which is not loaded."""
        request = Request(written(folder / f"{layer}.gpkg", rows), steward="test")
        with at.loader() as connection:
            checked = pipeline.check(connection, at.settings, at.registry, layer, request)
            with checked:  # type: ignore[union-attr]
                assert checked.report.kept == len(rows)
                return list(checked.report.findings)

    return found, told.report.findings


def brief(findings: list[Finding], rule: str) -> list[tuple[Any, ...]]:
    return sorted((f.feature, f.attribute, f.value, f.limit, f.other) for f in findings if f.rule == rule)


def test_land_used_against_the_plan_is_told_parcel_by_parcel(planned: Any) -> None:
    told = {finding.feature for finding in planned[1] if finding.rule == "layer.differs"}
    assert told == {f"00070.1.{number}" for number, (_, _, against) in USES.items() if against}


def permit(number: str, place: shapely.Point, **said: Any) -> dict[str, Any]:
    return {"soGiayPhep": number, "trangThai": "issued", "geom": place, **said}


PERMITTED = {"soTang": "floors_max", "chieuCaoToiDa": "height_max", "matDoXayDung": "density_max",
             "heSoSuDungDat": "far_max"}  # fmt: skip


def test_a_permit_for_more_than_the_zone_allows_is_told_indicator_by_indicator(planned: Any) -> None:
    found, _ = planned
    most = dict(zip(PERMITTED, LIMITS.values(), strict=True))
    over = {"soTang": 6, "chieuCaoToiDa": 18.2, "matDoXayDung": 70.1, "heSoSuDungDat": 3.51}
    rows = [
        permit("at the limits", point(5, 5), **most),
        permit("all over", point(5, 6), **over),
        *(permit(name, point(5, 7), **most | {name: value}) for name, value in over.items()),
        permit("silent", point(5, 8)),
        permit("where no limit is", point(205, 5), **over),
        permit("where no zone is", point(305, 5), **over),
    ]
    wanted = [
        (number, PERMITTED[name], over[name], most[name], ZONE_A) for name in over for number in ("all over", name)
    ]
    assert brief(found("construction_permits", rows), "layer.exceeds") == sorted(wanted)


def test_a_building_higher_or_of_more_floors_than_the_zone_allows_is_told(planned: Any) -> None:
    found, _ = planned
    built = [
        ("as allowed", 5, 18.0, 3), ("measured so", 5, 18.1, 23), ("high", 5, 18.2, 43), ("floors", 6, 17.0, 63),
        ("no limit", 60, 200.0, 205),
    ]  # fmt: skip
    rows = [
        {"maCongTrinh": name, "maXa": "00070", "soTang": floors, "chieuCao": height, "geom": box(x, 3, 5, 5)}
        for name, floors, height, x in built
    ]
    assert brief(found("buildings", rows), "layer.exceeds") == [
        ("floors", "floors", 6, 5, ZONE_A), ("high", "height", 18.2, 18.0, ZONE_A),
    ]  # fmt: skip


def test_a_permit_without_a_parcel_is_told_and_one_with_a_number_or_a_place_is_not(planned: Any) -> None:
    found, _ = planned
    named = {"maXa": "00070", "soTo": "1", "soThua": "3"}
    rows = [
        permit("by number", point(900, 900), **named),
        permit("by place", point(5, 5)),
        permit("by number unknown, by place", point(5, 6), **named | {"soThua": "999"}),
        permit("neither", point(900, 901), **named | {"soThua": "999"}),
        permit("nowhere", point(900, 902)),
    ]
    missing = [finding for finding in found("construction_permits", rows) if finding.rule == "layer.missing"]
    assert {(finding.feature, finding.value, finding.other) for finding in missing} == {
        ("neither", "00070.1.999", "cadastral_parcels"), ("nowhere", None, "cadastral_parcels"),
    }  # fmt: skip
