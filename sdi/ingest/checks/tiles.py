"""The plane cut into cells of about as many features each, so that what is near is together and memory is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from sdi.ingest.checks.neighbourhood import Boxes, Rows
from sdi.ingest.checks.rings import Rings, rings_of
from sdi.ingest.findings import Mask
from sdi.ingest.geometry import Shapes

SIZE = 50_000
"""Features that begin in a cell, at most."""
CROWD = 8
"""How many times its own features a tile may hold. Features so large, or so much upon each other, that more of them
reach a cell are left out of it, the largest first, and told."""


@dataclass(frozen=True)
class Tile:
    """A cell of the plane, half open: what lies on its east or north side is another's. `rows`: the features whose
    boxes come within reach of the cell, ascending; a thing belongs to the one tile whose cell holds its south-west
    corner. `left_out`: how many more features come within reach."""

    cell: tuple[float, float, float, float]
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


def tiles(boxes: Boxes, usable: Mask, reach: float, size: int = SIZE) -> list[Tile]:
    """Cut the plane so that every usable feature with a finite box stands in a tile. reach: metres."""
    rows = np.flatnonzero(usable & np.isfinite(boxes).all(axis=1))
    known = boxes[rows]
    made = []
    for cell in _cells(known[:, :2], (-np.inf, -np.inf, np.inf, np.inf), size):
        here = Tile(cell, rows[:0])
        inside = np.flatnonzero(here.near(known, reach))
        left_out = max(0, len(inside) - CROWD * size)
        if left_out:
            extent = (known[inside, 2:] - known[inside, :2]).max(axis=1)
            inside = np.sort(inside[np.argsort(extent, kind="stable")[: CROWD * size]])
        if len(inside):
            made.append(Tile(cell, rows[inside], left_out))
    return made


def _cells(
    points: NDArray[np.float64], cell: tuple[float, float, float, float], size: int
) -> list[tuple[float, float, float, float]]:
    """Halve the cell across its longer side until no half holds more points than `size`."""
    if len(points) <= size:
        return [cell]
    low, high = points.min(axis=0), points.max(axis=0)
    axis = int(np.argmax(high - low))
    middle = float(np.median(points[:, axis]))
    if middle <= low[axis]:  # more than half of them begin at one coordinate
        above = points[points[:, axis] > low[axis], axis]
        if not len(above):
            return [cell]
        middle = float(above.min())
    before, after = list(cell), list(cell)
    before[axis + 2] = after[axis] = middle
    first = points[:, axis] < middle
    west, south, east, north = before
    other_west, other_south, other_east, other_north = after
    return [
        *_cells(points[first], (west, south, east, north), size),
        *_cells(points[~first], (other_west, other_south, other_east, other_north), size),
    ]
