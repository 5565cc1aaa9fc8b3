"""Where the interiors of two features of a coverage share ground.

By the DE-9IM pattern T********: `overlaps` alone misses duplicates and what lies inside another. Pairs come from boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Check
from sdi.ingest.checks.neighbourhood import Boxes, Rows
from sdi.ingest.checks.sole import sole
from sdi.ingest.checks.tiles import Held, Tile
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import Shapes, distinct
from sdi.ingest.place import Placement

BLOCK = 100_000
"""Pairs that are held against each other at once."""
ASKED = 4_096
"""Features whose pairs are looked up at once."""
BUDGET = 60
"""Pairs that a tile compares, for each of its features; a million of them at least."""
TOLD = 50
"""Overlaps that are told of one feature; the number of the others is."""

Areas = NDArray[np.float64]


@dataclass(frozen=True)
class Overlaps:
    """Pairs of rows, first < second; `area`: square metres they share; `spots`: (n, 2) a point of that, in the grid.
    `more`: row -> overlaps that were not measured, as its features are many times upon each other."""

    first: Rows
    second: Rows
    area: Areas
    spots: NDArray[np.float64]
    more: NDArray[np.int64]
    """(n, 2) row and number of further overlaps."""
    uncompared: int = 0
    """Pairs whose boxes overlap that were not looked at."""


@dataclass(frozen=True)
class OverlapCheck:
    """`groups`: features overlap within a group only (parameter `within`), by row."""

    entry: Check
    groups: NDArray[np.int64] | None

    reach = 0.0

    def look(self, held: Held) -> Overlaps:
        groups = None if self.groups is None else self.groups[held.tile.rows]
        return overlaps(held, groups, self.entry.bound)

    def tell(self, seen: Sequence[Overlaps], where: Placement, findings: Findings) -> None:
        first, second = (np.concatenate([getattr(one, name) for one in seen]) for name in ("first", "second"))
        areas, spots = (np.concatenate([getattr(one, name) for one in seen]) for name in ("area", "spots"))
        order = np.lexsort([second, first])
        rank = _rank(first[order])
        more = np.concatenate([one.more for one in seen])
        more = np.concatenate([more, np.column_stack(np.unique(first[order[rank >= TOLD]], return_counts=True))])
        order = order[rank < TOLD]
        first, second, areas = first[order], second[order], np.round(areas[order], 3)
        places = where.to_wgs84(spots[order])
        rule = self.entry.rule
        findings.add(rule, first, values=areas, other_rows=second, places=places, entry=self.entry)
        if (self.entry.action or findings.action(rule)) == "quarantine":
            findings.add(rule, second, values=areas, other_rows=first, places=places, entry=self.entry)
        rows, place = np.unique(more[:, 0], return_inverse=True)
        further = np.bincount(place, weights=more[:, 1], minlength=len(rows)).astype(np.int64)
        findings.add("coverage.crowded", rows, values=further, limit=TOLD)
        if uncompared := sum(one.uncompared for one in seen):
            findings.add("coverage.uncompared", value=uncompared)


def overlaps(held: Held, groups: NDArray[np.int64] | None, tolerance: float) -> Overlaps:
    """Find the pairs that belong to a tile and share more than `tolerance` m². `groups` by feature of the tile."""
    some = held.surfaces[~sole(held)]
    some = some[held.tile.near(shapely.bounds(held.shapes[some]).reshape(-1, 4), 0.0)]  # a pair of others is another's
    tile, rows, shapes = held.tile, held.tile.rows[some], held.shapes[some]
    groups = None if groups is None else groups[some]
    boxes: Boxes = shapely.bounds(shapes).reshape(-1, 4)
    surface = shapely.area(shapes)
    copies = _copies(shapes, boxes)
    shapely.prepare(shapes)
    tree = shapely.STRtree(shapes)
    hits: list[tuple[Rows, Rows, Areas, NDArray[np.float64]]] = []
    more: list[tuple[int, int]] = []
    budget, uncompared = max(BUDGET * len(held.shapes), 1_000_000), 0
    for start in range(0, len(shapes), ASKED):
        asked = np.arange(start, min(start + ASKED, len(shapes)))
        left, right = _pairs(tile, tree, asked, boxes, groups, tolerance)
        same = (copies[left] == copies[right]) & (copies[left] >= 0)
        hits.append(_equal(left[same], right[same], shapes, surface, more))
        left, right = left[~same], right[~same]
        uncompared += max(0, len(left) - budget)
        left, right, budget = left[:budget], right[:budget], max(0, budget - len(left))
        for at in range(0, len(left), BLOCK):
            hits.append(_measure(shapes, left[at : at + BLOCK], right[at : at + BLOCK], tolerance))
    hits.append((rows[:0], rows[:0], np.empty(0), np.empty((0, 2))))
    first, second, area, spots = (np.concatenate(column) for column in zip(*hits, strict=True))
    told = np.array([(rows[feature], count) for feature, count in more], dtype=np.int64).reshape(-1, 2)
    swap = rows[first] > rows[second]
    return Overlaps(
        np.where(swap, rows[second], rows[first]), np.where(swap, rows[first], rows[second]), area, spots, told,
        uncompared,
    )  # fmt: skip


def _rank(sorted_rows: Rows) -> Rows:
    """0, 1, 2 … within each run of equal numbers."""
    _, begin, count = np.unique(sorted_rows, return_index=True, return_counts=True)
    rank: Rows = np.arange(len(sorted_rows)) - np.repeat(begin, count)
    return rank


def _copies(shapes: Shapes, boxes: Boxes) -> NDArray[np.intp]:
    """A number for what equals another feature, -1 for the others."""
    number = np.full(len(shapes), -1)
    place = distinct(boxes + 0.0)[1]
    likely = np.flatnonzero(np.bincount(place)[place] > 1)
    if len(likely):
        keys = pa.array(shapely.to_wkb(shapely.normalize(shapes[likely])), pa.binary()).dictionary_encode()
        number[likely] = np.asarray(keys.indices)
    return number


def _pairs(
    tile: Tile, tree: shapely.STRtree, asked: Rows, boxes: Boxes, groups: NDArray[np.int64] | None, tolerance: float,
) -> tuple[Rows, Rows]:  # fmt: skip
    """Pairs of a group whose boxes share more than the tolerance, and whose shared box begins in the tile."""
    found = tree.query(shapely.box(*boxes[asked].T))
    left, right = asked[found[0]], found[1]
    keep = left < right
    left, right = left[keep], right[keep]
    low = np.maximum(boxes[left, :2], boxes[right, :2])
    keep = (_shared(boxes, left, right) > tolerance) & tile.owns(low[:, 0], low[:, 1])
    if groups is not None:
        keep &= groups[left] == groups[right]
    left, right = left[keep], right[keep]
    order = np.lexsort([right, left])
    return left[order], right[order]


def _shared(boxes: Boxes, left: Rows, right: Rows) -> Areas:
    """Area of what two boxes share, which is never less than what their geometries share."""
    sides = np.minimum(boxes[left, 2:], boxes[right, 2:]) - np.maximum(boxes[left, :2], boxes[right, :2])
    area: Areas = np.prod(np.maximum(sides, 0.0), axis=1)
    return area


def _equal(
    left: Rows, right: Rows, shapes: Shapes, surface: Areas, more: list[tuple[int, int]]
) -> tuple[Rows, Rows, Areas, NDArray[np.float64]]:
    """Equal features share all they have; of many upon each other some are told, the rest is counted."""
    rank = _rank(left)
    further = np.unique(left[rank >= TOLD], return_counts=True)
    more += zip(further[0].tolist(), further[1].tolist(), strict=True)
    left, right = left[rank < TOLD], right[rank < TOLD]
    spots = shapely.get_coordinates(shapely.point_on_surface(shapes[left]))
    return left, right, surface[left], spots


def _measure(
    shapes: Shapes, left: Rows, right: Rows, tolerance: float
) -> tuple[Rows, Rows, Areas, NDArray[np.float64]]:
    inside = shapely.relate_pattern(shapes[left], shapes[right], "T********")
    left, right = left[inside], right[inside]
    parts = shapely.intersection(shapes[left], shapes[right])
    areas = shapely.area(parts)
    large = areas > tolerance
    spots = shapely.get_coordinates(shapely.point_on_surface(parts[large]))
    return left[large], right[large], areas[large], spots
