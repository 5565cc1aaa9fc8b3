"""What is said to share no ground by its edges alone, held against every other feature, pair by pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from sdi.ingest.checks.sole import sole
from sdi.ingest.checks.tiles import Held, Tile
from tests.ingest.neighbours import block, polygon

EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)
SIDE = 6
HAIR = 1e-6
"""m²: a boundary that another misses by the last digit of its coordinates."""


def town(seed: int, side: int = SIDE) -> list[Any]:
    """Crooked lots that share their corners, the streets between their blocks, and a hole with a lot in it."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(side + 1) * 10.0, np.arange(side + 1) * 10.0)
    corner = np.stack([x, y], axis=-1) + np.round(rng.uniform(-2, 2, (side + 1, side + 1, 2)), 3)
    corner[side // 2 :, :, 1] += 7.0
    lots = [
        polygon(*(tuple(corner[at]) for at in ((j, i), (j, i + 1), (j + 1, i + 1), (j + 1, i))))
        for j in range(side) if j != side // 2 - 1 for i in range(side)
    ]  # fmt: skip
    court = [(90, 10), (95, 10), (95, 15), (90, 15)]
    return [*lots, polygon((80, 0), (99, 0), (99, 20), (80, 20), holes=[court]), polygon(*court)]


def held(shapes: list[Any]) -> Held:
    made = np.array([*shapes, None], dtype=object)[:-1]
    return Held(Tile(EVERYWHERE, np.arange(len(made))), made)


def beside_others(shapes: list[Any]) -> np.ndarray[Any, Any]:
    """Whether each feature shares no more ground with any other than coordinates are rounded by, by all pairs; what is
    invalid has no ground."""
    made = np.array(shapes, dtype=object)
    valid = shapely.is_valid(made)
    one, other = np.nonzero(shapely.relate_pattern(made[:, None], made[None, :], "T********") & valid[:, None] & valid)
    one, other = one[one != other], other[one != other]
    large = shapely.area(shapely.intersection(made[one], made[other])) > HAIR
    return np.bincount(one[large], minlength=len(made)) == 0


def spoiled(lots: list[Any], rng: np.random.Generator) -> list[Any]:
    """A few of the lots moved, grown, doubled, cut at their sides, crossing themselves; a second town upon them."""
    lots = list(lots)
    for row in rng.choice(len(lots), 6, replace=False):
        lot, step = lots[row], rng.choice([1e-9, 1e-4, 0.3, 12.0])
        x, y = rng.uniform(-1, 1, 2) * step
        ring = shapely.get_coordinates(shapely.get_exterior_ring(lot))
        lots[row] = [
            lambda lot=lot, x=x, y=y: shapely.transform(lot, lambda xy: xy + np.array([x, y])),
            lambda lot=lot, step=step: shapely.buffer(lot, step, join_style="mitre"),
            lambda lot=lot: shapely.segmentize(lot, 4.0),
            lambda lot=lot, step=step: shapely.MultiPolygon([lot, shapely.transform(lot, lambda xy: xy + 40 * step)]),
            lambda ring=ring: shapely.Polygon(ring[[0, 2, 1, 3, 0]]),
            lambda lot=lot: shapely.MultiPolygon([lot]).reverse(),
        ][rng.integers(6)]()
    upon = [lots[int(rng.integers(len(lots)))], *town(7, 2)]
    return lots + [[], upon[:1], upon[1:], [block(-5, -5, 200, 200)], [block(21, 21, 22, 22)]][rng.integers(5)]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_is_said_to_share_no_ground_shares_none_with_any_other(seed: int) -> None:
    shapes = spoiled(town(seed), np.random.default_rng(seed))
    said = sole(held(shapes))
    assert not (said & ~beside_others(shapes)).any()


@pytest.mark.parametrize("seed", range(5))
def test_of_a_sound_coverage_all_are_said_to(seed: int) -> None:
    assert sole(held(town(seed))).all()


def test_a_block_of_lots_upon_another_is_not_though_no_free_edge_is_near_most_of_them() -> None:
    lower = [block(x, y, x + 10, y + 10) for x in range(0, 80, 10) for y in range(0, 80, 10)]
    upper = [block(x + 13, y + 13, x + 23, y + 23) for x in range(0, 40, 10) for y in range(0, 40, 10)]
    said = sole(held(lower + upper))
    assert said.tolist() == beside_others(lower + upper).tolist()
    assert not said[len(lower) :].any()
