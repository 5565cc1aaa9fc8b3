"""Checks between features: for each rule a coverage that breaks it and one that keeps it, and what all promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from sdi.contract.report import Finding
from sdi.ingest.checks.tiles import cut, near_any
from tests.ingest.neighbours import EAST, NORTH, among, block, grid_place, line, polygon

OVERLAP: dict[str, Any] = {"rule": "coverage.overlap"}
GAP: dict[str, Any] = {"rule": "coverage.gap"}
MISMATCH: dict[str, Any] = {"rule": "coverage.edge_mismatch"}
DUPLICATE: dict[str, Any] = {"rule": "geometry.duplicate"}
DANGLE: dict[str, Any] = {"rule": "network.dangle"}

WEST, MIDDLE, EASTERN = block(0, 0, 10, 10), block(10, 0, 20, 10), block(20, 0, 30, 10)


def told(found: list[Finding]) -> list[tuple[str | None, Any, Any]]:
    return [(finding.feature, finding.other, finding.value) for finding in found]


def frame(west: float, south: float, east: float, north: float) -> list[Any]:
    """Four parcels all round an opening."""
    return [
        block(west - 9, south - 9, east + 9, south), block(west - 9, north, east + 9, north + 9),
        block(west - 9, south, west, north), block(east, south, east + 9, north),
    ]  # fmt: skip


# --- overlaps -------------------------------------------------------------------------------------------------------


def test_an_overlap_is_told_with_its_area_and_its_place_and_a_touch_is_not() -> None:
    found = among([WEST, block(9.5, 0, 20, 10), EASTERN], OVERLAP)
    assert told(found) == [("0", "1", 5.0)]
    assert grid_place(found[0]) == (9.75, 5.0)
    assert not among([WEST, MIDDLE, EASTERN, block(-10, 10, 30, 20)], OVERLAP)


def test_overlaps_are_duplicates_and_what_lies_inside_too() -> None:
    inside, cross = block(2, 2, 4, 4), block(12, -5, 14, 15)
    assert told(among([WEST, WEST, inside, MIDDLE, cross], OVERLAP)) == [
        ("0", "1", 100.0), ("0", "2", 4.0), ("1", "2", 4.0), ("3", "4", 20.0),
    ]  # fmt: skip


def test_a_hair_of_an_overlap_is_below_the_tolerance() -> None:
    lean = polygon((9.9995, 0), (20, 0), (20, 10), (9.9995, 10))
    assert not among([WEST, lean], OVERLAP)
    assert among([WEST, lean], OVERLAP | {"tolerance": 0.001})


def test_a_thousand_copies_on_one_spot_are_told_in_part_and_counted_in_full() -> None:
    found = among([WEST] * 1000, OVERLAP)
    pairs = [finding for finding in found if finding.rule == "coverage.overlap"]
    more = [finding for finding in found if finding.rule == "coverage.crowded"]
    assert max(sum(pair.feature == str(row) for pair in pairs) for row in (0, 1, 940, 960)) == 50
    assert len(pairs) + sum(finding.value for finding in more) == 1000 * 999 // 2


def test_a_heap_of_features_that_differ_is_told_in_part_and_counted_in_full() -> None:
    heap = [block(0.01 * number, 0, 10 + 0.01 * number, 10) for number in range(120)]
    found = among(heap, OVERLAP)
    pairs = sum(finding.rule == "coverage.overlap" for finding in found)
    assert pairs + sum(finding.value for finding in found if finding.rule == "coverage.crowded") == 120 * 119 // 2


def test_what_could_not_be_compared_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdi.ingest.checks.tiles.CROWD", 1)
    wide = [block(0, 0.1 * number, 100, 0.1 * number + 1) for number in range(40)]
    found = among([*wide, *(block(2 * number, 0, 2 * number + 1, 9) for number in range(40))], OVERLAP, size=20)
    assert [finding.value > 0 for finding in found if finding.rule == "coverage.uncompared"] == [True]


def test_points_and_lines_have_no_overlaps_and_no_gaps() -> None:
    mixed = [line((0, 0), (5, 5)), shapely.Point(EAST, NORTH), line((0, 0), (5, 5))]
    assert not among(mixed, OVERLAP, GAP, MISMATCH)


# --- gaps -----------------------------------------------------------------------------------------------------------


def test_a_gap_that_parcels_enclose_is_told_at_its_place() -> None:
    found = among(frame(0, 0, 6, 0.3), GAP)
    assert [(finding.rule, finding.value, grid_place(finding)) for finding in found] == [
        ("coverage.gap", 1.8, (3.0, 0.15))
    ]
    assert {found[0].feature, found[0].other} == {"0", "1"}


def test_a_hole_that_one_parcel_has_is_told_of_it_alone() -> None:
    ring = polygon((0, 0), (9, 0), (9, 9), (0, 9), holes=[[(2, 2), (2, 2.4), (6, 2.4), (6, 2)]])
    assert told(among([ring], GAP)) == [("0", None, 1.6)]


@pytest.mark.parametrize(
    ("opening", "why"),
    [
        ((0, 0, 6, 0.8), "an alley that ends inside the block"),
        ((0, 0, 9, 9), "a yard"),
        ((0, 0, 90, 0.4 * 2), "a ditch"),
        ((0, 0, 120, 0.2), "longer than a gap is looked for"),
        ((0, 0, 6, 0.001), "the rounding of coordinates"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_an_opening_that_may_be_meant_is_no_gap(opening: tuple[float, float, float, float], why: str) -> None:
    assert not among(frame(*opening), GAP), why


def test_an_opening_towards_the_street_is_no_gap() -> None:
    assert not among([WEST, block(10.3, 0, 20, 10), block(0, 10, 20, 20)], GAP)


def test_the_limits_of_a_gap_are_the_contracts() -> None:
    alley = frame(0, 0, 6, 0.8)
    assert told(among(alley, GAP | {"parameters": {"max_width": 1.0}}))[0][2] == 4.8
    assert not among(alley, GAP | {"parameters": {"max_width": 1.0, "max_area": 4.0}})


def test_a_gap_that_the_contract_permits_is_not_told_again() -> None:
    shapes = frame(0, 0, 6, 0.3)
    place = among(shapes, GAP)[0].place
    assert place is not None
    assert not among(shapes, GAP | {"parameters": {"permitted": [list(place)]}})


def test_a_gap_is_found_where_parcels_meet_without_common_vertices() -> None:
    long = block(0, 10.2, 30, 20)
    closing = [polygon((-5, 0), (0, 0), (0, 20), (-5, 20)), polygon((30, 0), (35, 0), (35, 20), (30, 20))]
    assert [finding.value for finding in among([WEST, MIDDLE, EASTERN, long, *closing], GAP)] == [6.0]


# --- boundaries that do not meet ------------------------------------------------------------------------------------


def test_boundaries_that_run_side_by_side_and_do_not_meet_are_told() -> None:
    found = among([WEST, block(10.03, 0, 20, 10)], MISMATCH)
    assert told(found) == [("0", "1", 0.03)]
    assert not among([WEST, MIDDLE], MISMATCH)


def test_a_corner_that_was_missed_is_told_where_it_is() -> None:
    missed = polygon((10, 0), (20, 0), (20, 10), (10.04, 10))
    found = among([WEST, missed], MISMATCH)
    assert [(finding.value, grid_place(finding)) for finding in found] == [(0.04, (10.04, 10.0))]


def test_a_vertex_that_reaches_over_is_told_unless_the_overlap_is() -> None:
    over = polygon((10, 0), (20, 0), (20, 10), (10, 10), (9.97, 5))
    assert [finding.rule for finding in among([WEST, over], MISMATCH)] == ["coverage.edge_mismatch"]
    assert [finding.rule for finding in among([WEST, over], OVERLAP, MISMATCH)] == ["coverage.overlap"]


def test_a_vertex_put_upon_an_edge_to_the_millimetre_is_no_mismatch() -> None:
    upper = [block(0, 10, 7.0004, 20), polygon((7.0004, 10.0008), (30, 10), (30, 20), (7.0004, 20))]
    assert not among([WEST, MIDDLE, EASTERN, *upper], MISMATCH)
    strict = MISMATCH | {"parameters": {"same_vertices": True}}
    assert {finding.feature for finding in among([WEST, MIDDLE, EASTERN, *upper], strict)} == {"0", "1", "2"}


def test_neighbours_an_alley_apart_and_corners_that_part_are_no_mismatch() -> None:
    assert not among([WEST, block(10.6, 0, 20, 10)], MISMATCH)
    jog = polygon((10, 0), (20, 0.5), (20, 10), (10, 10), (10, 0.04), (9.98, 0.0))
    assert not among([polygon((0, -3), (9.98, 0), (10, 0.04), (10, 10), (0, 10)), jog], MISMATCH)


def test_a_third_parcel_between_two_leaves_nothing_to_meet() -> None:
    strip = block(10, 0, 10.04, 10)
    assert not among([WEST, strip, block(10.04, 0, 20, 10)], MISMATCH)


def test_between_sheets_only_pairs_of_two_sheets_are_asked() -> None:
    shapes = [WEST, block(10.3, 0, 20, 10), block(20.3, 0, 30, 10)]
    check = MISMATCH | {"tolerance": 0.5, "parameters": {"between": ["sheet"]}}
    assert told(among(shapes, check, sheets=["1", "1", "2"])) == [("1", "2", 0.3)]


def test_checks_within_a_group_leave_other_groups_alone() -> None:
    both = {"parameters": {"within": ["sheet"]}}
    shapes = [*frame(0, 0, 6, 0.3), block(-9, -9, 15, 9.3)]
    sheets = ["old"] * 4 + ["new"]
    assert told(among(shapes, OVERLAP | both, MISMATCH | both, sheets=sheets)) == []
    assert [finding.value for finding in among(shapes, GAP | both, sheets=sheets)] == [1.8]
    assert not among(shapes, GAP)


def test_within_a_sheet_what_does_not_meet_is_told_though_the_next_sheet_meets_both() -> None:
    """The edges of a sheet are free within it, shared with the next one or not."""
    lower = [block(0, 0, 10, 10), block(10.03, 0, 20, 10)]
    upper = [polygon((0, 10), (10, 10), (10.03, 10), (20, 10), (20, 20), (0, 20))]
    within = MISMATCH | {"parameters": {"within": ["sheet"]}}
    assert told(among([*lower, *upper], within, sheets=["1", "1", "2"])) == [("0", "1", 0.03)]
    assert not among([*lower, *upper], within, sheets=["1", "3", "2"])


# --- duplicates -----------------------------------------------------------------------------------------------------


def test_a_duplicate_is_found_whatever_vertex_and_direction_it_begins_with() -> None:
    turned = polygon((10, 10), (10, 0), (0, 0), (0, 10))
    assert told(among([WEST, MIDDLE, turned, WEST], DUPLICATE)) == [("2", "0", 0.0), ("3", "0", 0.0)]


def test_a_near_duplicate_is_one_within_the_tolerance() -> None:
    near, far = block(0.004, -0.003, 10.005, 10.002), block(0.3, 0, 10, 10)
    found = among([WEST, near, far, MIDDLE], DUPLICATE)
    assert [(finding.feature, finding.other) for finding in found] == [("1", "0")]
    assert 0 < found[0].value <= 0.01
    assert not among([WEST, near], DUPLICATE | {"tolerance": 0})


def test_two_shapes_in_one_box_are_no_duplicates() -> None:
    cut = polygon((0, 0), (10, 0), (10, 10), (4, 10), (0, 7))
    assert not among([WEST, cut], DUPLICATE)


def test_near_duplicates_of_very_many_vertices_are_compared_vertex_by_vertex() -> None:
    turn = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    ring = np.column_stack([EAST + 500 * np.cos(turn), NORTH + 500 * np.sin(turn)])
    found = among([shapely.Polygon(ring), shapely.Polygon(ring + 0.002)], DUPLICATE, GAP, MISMATCH)
    assert [(finding.rule, finding.feature) for finding in found if finding.rule == "geometry.duplicate"] == [
        ("geometry.duplicate", "1")
    ]


def test_a_quarantined_duplicate_is_not_told_as_an_overlap_too() -> None:
    found = among([WEST, WEST], DUPLICATE | {"action": "quarantine"}, OVERLAP)
    assert [finding.rule for finding in found] == ["geometry.duplicate"]


# --- networks -------------------------------------------------------------------------------------------------------

MAIN = line((0, 0), (100, 0))


@pytest.mark.parametrize(
    ("branch", "value"),
    [(line((50, 20), (50, 0.3)), 0.3), (line((50, 20), (50, -0.2)), 0.2)],
    ids=["it falls short", "it runs over"],
)
def test_an_end_that_misses_the_main_is_told(branch: Any, value: float) -> None:
    found = among([MAIN, branch], DANGLE)
    assert told(found) == [("1", "0", value)]
    assert not among([MAIN, line((50, 20), (50, 0))], DANGLE)


def test_ends_that_touch_nothing_are_normal_unless_the_contract_says_no() -> None:
    branch = line((50, 20), (50, 0))
    assert not among([MAIN, branch], DANGLE)
    found = among([MAIN, branch], DANGLE | {"parameters": {"free_ends": False}})
    assert sorted((finding.rule, grid_place(finding)) for finding in found) == [
        ("network.free_end", (0.0, 0.0)), ("network.free_end", (50.0, 20.0)), ("network.free_end", (100.0, 0.0)),
    ]  # fmt: skip


def test_a_ring_main_and_the_parts_of_one_line_touch_each_other() -> None:
    ring = line((0, 0), (10, 0), (10, 10), (0, 0))
    parts = shapely.multilinestrings([line((20, 0), (30, 0)), line((30, 0), (40, 0.2))])
    assert not among([ring, parts], DANGLE)


# --- promises -------------------------------------------------------------------------------------------------------

ALL = [DUPLICATE, OVERLAP, GAP, MISMATCH]


def town(seed: int, side: int = 9) -> list[Any]:
    """Crooked lots with overlaps, gaps, missed corners, copies and one feature larger than any tile."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.mgrid[0 : side + 1, 0 : side + 1], axis=-1) * 10.0 + rng.uniform(-1, 1, (side + 1, side + 1, 2))
    lots = []
    for row in range(side):
        for column in range(side):
            ring = np.array([at[row, column], at[row + 1, column], at[row + 1, column + 1], at[row, column + 1]])
            if rng.random() < 0.2:
                ring[rng.integers(4)] += rng.uniform(-0.4, 0.4, 2)
            if rng.random() < 0.1:
                ring += rng.uniform(-0.03, 0.03, 2)
            lots.append(polygon(*map(tuple, ring)))
            if rng.random() < 0.05:
                lots.append(lots[rng.integers(len(lots))])
    lots.append(block(-200, 35, 300, 35.4))
    lots.append(None)
    return [lots[number] for number in rng.permutation(len(lots))]


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 60))
def test_what_is_found_does_not_depend_on_the_size_of_the_tiles(seed: int, size: int) -> None:
    shapes = town(seed)
    whole = among(shapes, *ALL)
    assert len(whole) > 10
    assert among(shapes, *ALL, size=size) == whole


def test_what_is_found_does_not_depend_on_the_number_of_threads() -> None:
    shapes = town(7, 12)
    assert among(shapes, *ALL, size=40, threads=4) == among(shapes, *ALL, size=40, threads=1)


def test_dangles_do_not_depend_on_the_size_of_the_tiles() -> None:
    rng = np.random.default_rng(3)
    mains = [line((0, y), (100, y)) for y in range(0, 100, 10)]
    at = zip(rng.uniform(1, 99, 80), rng.integers(0, 10, 80) * 10, rng.choice([0, 0.2, -0.2, 2], 80), strict=True)
    branches = [line((x, y + 5), (x, y + gap)) for x, y, gap in at]
    assert among(mains + branches, DANGLE, size=7) == among(mains + branches, DANGLE)
    assert among(mains + branches, DANGLE)


def test_every_feature_with_a_box_stands_in_a_tile_and_what_has_none_in_no_tile() -> None:
    corner = np.random.default_rng(1).uniform(0, 100, (500, 2))
    boxes = np.column_stack([corner, corner + 1.0])
    boxes[7] = np.nan
    boxes[:100] = boxes[8]  # many begin at one point
    usable = np.ones(500, dtype=bool)
    usable[9] = False
    plane = cut(boxes, usable, 0.0, 30)
    made = [plane.tile(cell) for cell in plane.cells]
    owners = sum(tile.owns(boxes[:, 0], boxes[:, 1]).astype(int) for tile in made)
    assert set(np.concatenate([tile.rows for tile in made])) == set(np.flatnonzero(usable & ~np.isnan(boxes[:, 0])))
    assert set(owners[~np.isnan(boxes[:, 0])]) == {1}


@given(st.integers(0, 10_000), st.floats(0, 5), st.sampled_from([0.0, 1.0, 300.0]))
def test_what_comes_near_is_never_missed_and_what_is_far_is_left_out(seed: int, reach: float, size: float) -> None:
    rng = np.random.default_rng(seed)
    corner = np.array([EAST, NORTH]) + rng.uniform(0, 2_000, (60, 2))
    boxes = np.column_stack([corner, corner + rng.uniform(0, 20, (60, 2))])
    others = boxes[:5] + rng.uniform(-400, 400, (5, 1))
    others[:, 2:] += size
    apart = np.maximum(others[:, None, :2] - boxes[None, :, 2:], boxes[None, :, :2] - others[:, None, 2:])
    away = apart.max(axis=2).min(axis=0)
    near = near_any(boxes, others, reach)
    assert near[away <= reach].all()
    assert not near[away > reach + 15.0].any()  # squares of at most (2,000 + 800 + 320) / 512 m, on both sides
    assert not near_any(boxes, others[:0], reach).any()
