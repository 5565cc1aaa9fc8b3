"""The plane cut into cells of about as many features each, so that what is near is together and memory is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from sdi.ingest import mapped
from sdi.ingest.checks.neighbourhood import Boxes, Rows
from sdi.ingest.checks.rings import Rings, rings_of
from sdi.ingest.findings import Mask
from sdi.ingest.geometry import Shapes

SIZE = 50_000
"""Features that begin in a cell, at most."""
CROWD = 8
"""How many times its own features a tile may hold. Features so large, or so much upon each other, that more of them
reach a cell are left out of it, the largest first, and told."""

SQUARES = 512
"""Squares along each side of the grid by which it is told what is near something."""

Cell = tuple[float, float, float, float]
"""West, south, east, north."""


@dataclass(frozen=True)
class Tile:
    """A cell of the plane, half open: what lies on its east or north side is another's. `rows`: the features whose
    boxes come within reach of the cell, ascending; a thing belongs to the one tile whose cell holds its south-west
    corner. `left_out`: how many more features come within reach."""

    cell: Cell
    rows: Rows
    left_out: int = 0

    def owns(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Mask:
        west, south, east, north = self.cell
        mine: Mask = (x >= west) & (x < east) & (y >= south) & (y < north)
        return mine

    def near(self, boxes: Boxes, reach: float) -> Mask:
        """Which boxes come within reach of the cell."""
        west, south, east, north = self.cell
        close: Mask = (
            (boxes[:, 0] <= east + reach) & (boxes[:, 2] >= west - reach)
            & (boxes[:, 1] <= north + reach) & (boxes[:, 3] >= south - reach)
        )  # fmt: skip
        return close


@dataclass(frozen=True)
class Held:
    """A tile with the geometry of its rows; what several checks make of it is made once."""

    tile: Tile
    shapes: Shapes

    @cached_property
    def surfaces(self) -> Rows:
        """The positions of the polygons among its rows."""
        return np.flatnonzero(shapely.get_dimensions(self.shapes) == 2)

    @cached_property
    def rings(self) -> Rings | None:
        """The boundaries of `surfaces`, in their order; None where there is none."""
        return rings_of(self.shapes[self.surfaces]) if len(self.surfaces) else None

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Of `surfaces`."""
        return shapely.STRtree(self.shapes[self.surfaces])

    def covered(self, xy: NDArray[np.float64], within: float) -> Mask:
        """Which places, (n, 2), lie in a polygon or `within` so many metres of one. A tree asks its own predicates of
        unprepared polygons, vertex by vertex; so it gives the boxes only."""
        shapes = self.shapes[self.surfaces]
        shapely.prepare(shapes)
        place, polygon = self.tree.query(shapely.box(*(xy - within).T, *(xy + within).T))
        near = shapely.dwithin(shapes[polygon], shapely.points(xy)[place], within)
        covered: Mask = np.zeros(len(xy), dtype=bool)
        covered[place[near]] = True
        return covered


@dataclass(frozen=True)
class Cut:
    """The plane in cells, so that each of the features `known` stands in a tile. reach: metres. `spans`: (n, 4) what
    the boxes of each block (`mapped.blocks`) lie in."""

    boxes: Boxes
    known: Mask
    reach: float
    size: int
    cells: list[Cell]
    spans: Boxes

    def tile(self, cell: Cell) -> Tile:
        here, found = Tile(cell, np.empty(0, dtype=np.intp)), [np.empty(0, dtype=np.intp)]
        near = here.near(self.spans, self.reach)
        for part, close in zip(mapped.blocks(len(self.boxes)), near, strict=True):
            if close:
                inside = self.known[part] & here.near(self.boxes[part], self.reach)
                found.append(part.start + np.flatnonzero(inside))
        rows = np.concatenate(found)
        left_out = max(0, len(rows) - CROWD * self.size)
        if left_out:
            extent = (self.boxes[rows, 2:] - self.boxes[rows, :2]).max(axis=1)
            rows = np.sort(rows[np.argsort(extent, kind="stable")[: CROWD * self.size]])
        return Tile(cell, rows, left_out)


def near_any(boxes: Boxes, others: Boxes, reach: float) -> Mask:
    """Which boxes come within reach, metres, of one of the others; some that come only near are among them, as told by
    squares of a grid."""
    if not len(others):
        return np.zeros(len(boxes), dtype=bool)
    low, high = others[:, :2].min(axis=0) - reach, others[:, 2:].max(axis=0) + reach
    step = np.maximum((high - low) / SQUARES, 1.0)  # of a metre at least

    def squares(some: Boxes, more: float) -> Rows:
        first = np.clip(np.floor((some[:, :2] - more - low) / step), 0, SQUARES)
        last = np.clip(np.floor((some[:, 2:] + more - low) / step), -1, SQUARES - 1)
        spans: Rows = np.concatenate([first, last], axis=1).astype(np.intp)
        return spans

    west, south, east, north = squares(others, reach).T
    edge = np.zeros((SQUARES + 1, SQUARES + 1), dtype=np.int64)
    for sign, x, y in ((1, west, south), (-1, west, north + 1), (-1, east + 1, south), (1, east + 1, north + 1)):
        np.add.at(edge, (x, y), sign)
    met = edge.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    sums = np.zeros((SQUARES + 1, SQUARES + 1), dtype=np.int64)
    sums[1:, 1:] = met.cumsum(axis=0).cumsum(axis=1)
    west, south, east, north = squares(boxes, 0.0).T
    near: Mask = (west <= east) & (south <= north)
    near &= sums[east + 1, north + 1] - sums[west, north + 1] - sums[east + 1, south] + sums[west, south] > 0
    return near


def cut(boxes: Boxes, usable: Mask, reach: float, size: int = SIZE) -> Cut:
    """Cut the plane so that every usable feature with a finite box stands in a tile. reach: metres."""
    there = known(boxes, usable)
    spans = [_span(boxes[part][there[part]]) for part in mapped.blocks(len(boxes))]
    points = mapped.picked(boxes[:, :2], there)
    cells = _cells(points, (-np.inf, -np.inf, np.inf, np.inf), size)
    return Cut(boxes, there, reach, size, cells, np.array(spans).reshape(-1, 4))


def known(boxes: Boxes, usable: Mask) -> Mask:
    """The usable features with a finite box."""
    there: Mask = mapped.zeros(len(boxes), np.bool_)
    for part in mapped.blocks(len(boxes)):
        there[part] = usable[part] & np.isfinite(boxes[part]).all(axis=1)
    return there


def _span(boxes: Boxes) -> NDArray[np.float64]:
    return np.concatenate([boxes[:, :2].min(axis=0, initial=np.inf), boxes[:, 2:].max(axis=0, initial=-np.inf)])


def _cells(points: NDArray[np.float64], cell: Cell, size: int) -> list[Cell]:
    """Halve the cell across its longer side until no half holds more points than `size`."""
    if len(points) <= size:
        return [cell]
    low, high = points.min(axis=0), points.max(axis=0)
    axis = int(np.argmax(high - low))
    middle = _middle(points[:, axis])
    if middle <= low[axis]:  # more than half of them begin at one coordinate
        above = points[:, axis] > low[axis]
        if not above.any():
            return [cell]
        middle = float(points[:, axis].min(where=above, initial=np.inf))
    before, after = list(cell), list(cell)
    before[axis + 2] = after[axis] = middle
    first = points[:, axis] < middle
    west, south, east, north = before
    other_west, other_south, other_east, other_north = after
    return [
        *_cells(mapped.picked(points, first), (west, south, east, north), size),
        *_cells(mapped.picked(points, ~first), (other_west, other_south, other_east, other_north), size),
    ]


def _middle(values: NDArray[np.float64]) -> float:
    copied = mapped.zeros(len(values), np.float64)
    copied[:] = values
    return float(np.median(copied, overwrite_input=True))
