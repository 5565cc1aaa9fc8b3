"""Form of single geometries: for each rule one that breaks it and one that keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from sdi.contract.delivery import Request
from sdi.ingest import geometry
from sdi.ingest.deliver import receive
from sdi.ingest.findings import Findings
from tests.ingest.neighbours import EAST, NORTH, WHERE, alone, block, grid_place, polygon
from tests.ingest.plots import contract, geojson, registry

HANOI = (105.0, 20.5, 106.5, 21.5)
HOUSE = polygon((0, 0), (4, 0), (4, 15), (0, 15))
SPIKED = polygon((0, 0), (4, 0), (4, 7), (9, 7.01), (4, 7.02), (4, 15), (0, 15))
STUTTERING = polygon((0, 0), (4, 0), (4, 0), (4, 15), (0.0005, 15), (0, 15))
STRIP = polygon((0, 0), (30, 0), (30, 0.1), (0, 0.1))
ALLEY = polygon((0, 0), (40, 0), (40, 0.8), (0, 0.8))
PIERCED = polygon((0, 0), (9, 0), (9, 9), (0, 9), holes=[[(2, 2), (2.2, 2), (2.2, 2.2), (2, 2.2)]])
YARD = polygon((0, 0), (9, 0), (9, 9), (0, 9), holes=[[(2, 2), (2, 6), (6, 6), (6, 2)]])
ROUGH = shapely.transform(polygon((0, 0), (12, 1), (17, 20), (3, 16)), np.round)
SURVEYED = polygon((0.137, 0.211), (12.46, 1.003), (17.902, 20.778), (3.519, 16.044))


@pytest.mark.parametrize(
    ("check", "broken", "kept", "value"),
    [
        ({"rule": "geometry.repeated_vertex"}, STUTTERING, HOUSE, 2),
        ({"rule": "geometry.spike"}, SPIKED, HOUSE, 0.229),
        ({"rule": "geometry.sliver"}, block(0, 0, 0.9, 1), HOUSE, 0.9),
        ({"rule": "geometry.sliver"}, STRIP, ALLEY, 3.0),
        ({"rule": "geometry.sliver", "parameters": {"thinness": 0.1}}, ALLEY, HOUSE, 32.0),
        ({"rule": "geometry.tiny_part"}, PIERCED, YARD, 0.04),
        ({"rule": "geometry.vertex_spacing", "tolerance": 20}, block(0, 0, 4, 21), HOUSE, 21.0),
        ({"rule": "geometry.precision"}, ROUGH, SURVEYED, 100.0),
    ],
    ids=lambda each: each["rule"] if isinstance(each, dict) else "",
)
def test_what_breaks_a_rule_of_form_is_told_and_what_keeps_it_is_not(
    check: dict[str, Any], broken: Any, kept: Any, value: float
) -> None:
    found, unchanged = alone(broken, check)
    assert [(finding.rule, finding.value) for finding in found] == [(check["rule"], value)]
    assert unchanged.equals_exact(broken)
    assert alone(kept, check)[0] == []
    for language, point in (("vi", ","), ("en", ".")):
        assert str(value).replace(".", point) in found[0].sentence(language)


def test_a_small_part_of_many_is_told_where_it_lies() -> None:
    both = shapely.multipolygons([HOUSE, block(50, 0, 50.5, 0.5)])
    found, _ = alone(both, {"rule": "geometry.tiny_part"})
    assert [(finding.value, grid_place(finding)) for finding in found] == [(0.25, (50.25, 0.25))]
    assert not alone(shapely.multipolygons([HOUSE]), {"rule": "geometry.tiny_part"})[0]


def test_parts_without_ground_hide_no_other_place() -> None:
    house, dot = HOUSE.wkt.removeprefix("POLYGON "), f"{EAST} {NORTH + 1}"
    flat = f"(({', '.join([dot] * 4)}))"
    for parts in (f"{house}, EMPTY", f"{house.removesuffix(')')}, EMPTY)"):
        assert alone(shapely.from_wkt(f"MULTIPOLYGON({parts})"), {"rule": "geometry.tiny_part"})[0] == []
    found, _ = alone(shapely.from_wkt(f"MULTIPOLYGON({house}, {flat})"), {"rule": "geometry.tiny_part"})
    assert [(finding.value, grid_place(finding)) for finding in found] == [(0.0, (0.0, 1.0))]


def test_a_spike_is_told_at_its_tip() -> None:
    assert grid_place(alone(SPIKED, {"rule": "geometry.spike"})[0][0]) == (9.0, 7.01)


def test_a_spike_at_the_first_vertex_of_a_ring_is_one_too() -> None:
    turned = polygon((9, 7.01), (4, 7.02), (4, 15), (0, 15), (0, 0), (4, 0), (4, 7))
    found, made = alone(turned, {"rule": "geometry.spike", "action": "repair"})
    assert [finding.rule for finding in found] == ["geometry.spike", "geometry.vertices_dropped"]
    assert made.is_valid
    assert made.area == pytest.approx(60.0, abs=1e-9)


def test_an_inward_spike_and_one_on_a_hole_are_found() -> None:
    cut = polygon((0, 0), (4, 0), (4, 7), (1, 7.01), (4, 7.02), (4, 15), (0, 15))
    assert len(alone(cut, {"rule": "geometry.spike"})[0]) == 1
    hole = [(2, 2), (2, 6), (6, 6), (6, 4.01), (8, 4), (6, 3.99), (6, 2)]
    assert len(alone(polygon((0, 0), (9, 0), (9, 9), (0, 9), holes=[hole]), {"rule": "geometry.spike"})[0]) == 1


def test_a_short_acute_corner_is_no_spike() -> None:
    cut = polygon((0, 0), (4, 0), (4, 7), (4.3, 7.001), (4, 7.002), (4, 15), (0, 15))
    assert not alone(cut, {"rule": "geometry.spike"})[0]
    assert alone(cut, {"rule": "geometry.spike", "parameters": {"arm": 0.2}})[0]


def test_a_repair_says_what_it_dropped_and_by_how_much_the_area_changed() -> None:
    found, made = alone(SPIKED, {"rule": "geometry.spike", "action": "repair"})
    assert [(finding.rule, finding.action) for finding in found] == [
        ("geometry.spike", "repair"), ("geometry.vertices_dropped", "repair"),
    ]  # fmt: skip
    assert (found[1].value, found[1].other) == (1, -0.05)
    assert made.is_valid
    assert made.area == pytest.approx(60.0, abs=0.001)
    found, made = alone(STUTTERING, {"rule": "geometry.repeated_vertex", "action": "repair"})
    assert [finding.rule for finding in found] == ["geometry.repeated_vertex", "geometry.vertices_dropped"]
    assert shapely.get_num_coordinates(made) == 5


def test_a_repair_that_would_change_too_much_is_not_made_and_only_warned_of() -> None:
    flag = polygon((0, 0), (1, 0), (1, 1), (200, 1.5), (1, 2), (1, 3), (0, 3))
    found, made = alone(flag, {"rule": "geometry.spike", "action": "repair"})
    assert [(finding.rule, finding.action) for finding in found] == [("geometry.spike", "warn")]
    assert made.equals_exact(flag)


def test_lines_have_spikes_and_spacing_and_points_have_none() -> None:
    path = shapely.LineString([(EAST, NORTH), (EAST + 9, NORTH), (EAST, NORTH + 0.01)])
    assert len(alone(path, {"rule": "geometry.spike"})[0]) == 1
    assert len(alone(path, {"rule": "geometry.vertex_spacing", "tolerance": 5})[0]) == 1
    spot = shapely.Point(EAST + 0.5, NORTH)
    for rule in ("geometry.spike", "geometry.vertex_spacing", "geometry.sliver", "geometry.repeated_vertex"):
        assert not alone(spot, {"rule": rule})[0]


def test_decimals_below_the_promised_step_are_told_when_they_are_asked_for() -> None:
    fine = shapely.transform(SURVEYED, lambda xy: xy + 0.000_37)
    check = {"rule": "geometry.precision", "parameters": {"finer": True}}
    assert [finding.rule for finding in alone(fine, check)[0]] == ["geometry.finer"]
    assert not alone(SURVEYED, check)[0]
    assert not alone(fine, {"rule": "geometry.precision"})[0]


FORM = """
identifier: {template: "{number}"}
geometry: {type: MultiPolygon, on_invalid: quarantine}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: integer}
checks:
  - {rule: geometry.too_many_vertices, tolerance: 100}
  - {rule: geometry.repeated_vertex, action: repair}
"""


def test_form_is_looked_at_in_a_delivery_and_what_is_repaired_is_what_is_kept(tmp_path: Path) -> None:
    bow = polygon((20, 0), (30, 10), (30, 0), (20, 10))
    ring = shapely.buffer(shapely.Point(EAST + 60, NORTH), 9, quad_segs=30)
    shapes = [STUTTERING, bow, ring]
    items = [(shapely.geometry.mapping(shape), {"number": number}) for number, shape in enumerate(shapes, start=1)]
    path = geojson(tmp_path / "plots.geojson", items, crs=5897)
    with receive(Request(path=path), contract(FORM), registry(), grid=5897, extent=HANOI) as received:
        told = {finding.rule: finding for finding in received.report.findings}
        kept = received.features().read_all()
    assert set(told) == {
        "geometry.repeated_vertex", "geometry.vertices_dropped", "geometry.invalid", "geometry.too_many_vertices",
    }  # fmt: skip
    assert kept["id"].to_pylist() == ["1"]
    assert shapely.get_num_coordinates(shapely.from_wkb(kept["geom"][0].as_py())) == 5
    assert grid_place(told["geometry.invalid"]) == (25.0, 5.0)
    assert told["geometry.invalid"].sentence("en").endswith("Self-intersection.")
    assert told["geometry.invalid"].sentence("vi") == "Hình học không hợp lệ: ranh giới tự cắt."
    assert (told["geometry.too_many_vertices"].value, told["geometry.too_many_vertices"].limit) == (121, 100)


def test_a_polygon_of_ten_million_vertices_is_put_aside_unexamined() -> None:
    turn = np.linspace(0, 2 * np.pi, 10_000_000, endpoint=False)
    giant = shapely.polygons(np.column_stack([EAST + 900 * np.cos(turn), NORTH + 900 * np.sin(turn)]))
    findings = Findings(contract(FORM.replace(", tolerance: 100", "")), 2)
    left = geometry.bounded(np.array([giant, HOUSE], dtype=object), WHERE, findings)
    assert left[0] is None
    assert left[1] is HOUSE
    assert findings.quarantined.tolist() == [True, False]
