"""What the edges of a coverage tell: gaps that it encloses, and neighbours whose boundaries do not meet.

Both begin with the free edges, those that are not shared by just two features lying on either side: whatever is wrong
with a coverage shows there, and in a clean one few are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Check
from sdi.ingest.checks.neighbourhood import Rows
from sdi.ingest.checks.rings import Rings
from sdi.ingest.checks.tiles import Held, Tile, near_any
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import Shapes
from sdi.ingest.place import Placement

Coordinates = NDArray[np.float64]
Areas = NDArray[np.float64]
Groups = NDArray[np.int64]

MAX_AREA, MAX_WIDTH, MAX_LENGTH = 50.0, 0.5, 100.0
"""m², m, m: beyond any of them an opening in a coverage is taken for a yard, a street or a river."""
PERMITTED = 1e-5
"""Degrees, about a metre, within which a gap is the one that the contract permits."""
MEET = 0.005
"""Metres within which boundaries meet: a vertex put upon another's edge lies off it by the rounding of coordinates, to
the centimetre in older surveys."""

BUDGET = 100
"""Edges that the vertices of a tile are held against, for each of its vertices; five million of them at least."""
ASKED = 1_024
"""Vertices whose edges are looked up at once."""


# --- gaps -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaps:
    """`first`, `second`: the rows with the longest part of the gap's boundary, -1 where there is no second; `area`:
    m²; `spots`: (n, 2) a point of it, in the grid."""

    first: Rows
    second: Rows
    area: Areas
    spots: Coordinates


@dataclass(frozen=True)
class GapCheck:
    """Openings that features (of a group, by row) enclose on all sides, too small and too narrow to be meant."""

    entry: Check
    groups: Groups | None

    @property
    def reach(self) -> float:
        return self._limit("max_length", MAX_LENGTH)

    def _limit(self, name: str, default: float) -> float:
        return float(self.entry.parameters.get(name, default))

    def look(self, held: Held) -> Gaps:
        found = [Gaps(held.tile.rows[:0], held.tile.rows[:0], np.empty(0), np.empty((0, 2)))]
        if held.rings is not None and self.groups is None:
            found.append(self._in_group(held))
        elif held.rings is not None and self.groups is not None:
            member = self.groups[held.tile.rows[held.surfaces]]
            for group in np.unique(member):
                some = held.surfaces[member == group]
                found.append(self._in_group(Held(Tile(held.tile.cell, held.tile.rows[some]), held.shapes[some])))
        columns = ("first", "second", "area", "spots")
        return Gaps(*(np.concatenate([getattr(one, name) for one in found]) for name in columns))

    def _in_group(self, held: Held) -> Gaps:
        rings, tile, shapes = held.rings, held.tile, held.shapes[held.surfaces]
        assert rings is not None
        rows = tile.rows[held.surfaces]
        free = np.flatnonzero(rings.open)
        lines = rings.lines(free[tile.near(rings.boxes(free), self.reach)])
        faces = shapely.normalize(shapely.get_parts(shapely.polygonize([shapely.union_all(lines)])))
        faces = self._openings(tile, faces)
        # Not its point on the surface, which falls on the boundary of a narrow opening (seen 3e-11 m from it).
        inner = shapely.get_point(shapely.maximum_inscribed_circle(faces), 0)
        faces = faces[~held.covered(shapely.get_coordinates(inner), 0.0)]
        spots = shapely.point_on_surface(faces)
        first, second = _around(faces, shapes, held.tree)
        some = first >= 0
        return Gaps(
            rows[first[some]], np.where(second >= 0, rows[second], -1)[some], shapely.area(faces)[some],
            shapely.get_coordinates(spots)[some],
        )  # fmt: skip

    def _openings(self, tile: Tile, faces: Shapes) -> Shapes:
        """Faces of the tile that are too large for a hair and too small for a yard or a street."""
        boxes, area = shapely.bounds(faces).reshape(-1, 4), shapely.area(faces)
        fit = (
            (area > self.entry.bound)
            & (area <= self._limit("max_area", MAX_AREA))
            & tile.owns(boxes[:, 0], boxes[:, 1])
        )
        fit &= (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0) <= self.reach
        fit &= 2 * area > MEET * shapely.length(faces)  # as wide, in the mean, as boundaries that meet may lie apart
        faces = faces[fit]
        narrow: Shapes = faces[shapely.is_empty(shapely.buffer(faces, -self._limit("max_width", MAX_WIDTH) / 2))]
        return narrow

    def tell(self, seen: Sequence[Gaps], where: Placement, findings: Findings) -> None:
        first, second, area, spots = (
            np.concatenate([getattr(one, name) for one in seen]) for name in ("first", "second", "area", "spots")
        )
        order = np.lexsort([spots[:, 1], spots[:, 0], first])
        spots = where.to_wgs84(spots)
        order = order[~self._permitted(spots)[order]]
        first, second, area, spots = first[order], second[order], np.round(area[order], 3), spots[order]
        alone = second < 0
        for some in (alone, ~alone):
            others = None if some is alone else second[some]
            findings.add(self.entry.rule, first[some], values=area[some], other_rows=others, places=spots[some],
                         entry=self.entry)  # fmt: skip

    def _permitted(self, places: Coordinates) -> NDArray[np.bool_]:
        """Which gaps stand where the contract permits one: at the longitude and latitude that was told of it."""
        known = np.array(self.entry.parameters.get("permitted", []), dtype=np.float64).reshape(-1, 2)
        near = np.abs(places[:, None] - known[None]).max(axis=2, initial=0.0) < PERMITTED
        permitted: NDArray[np.bool_] = near.any(axis=1)
        return permitted


def _around(faces: Shapes, shapes: Shapes, tree: shapely.STRtree) -> tuple[Rows, Rows]:
    """The two features that most of each face's boundary belongs to, -1 where there is none."""
    first, second = np.full(len(faces), -1), np.full(len(faces), -1)
    if not len(faces):
        return first, second
    face, feature = tree.query(faces, predicate="dwithin", distance=MEET)
    border = shapely.buffer(shapely.boundary(faces), MEET)
    shared = shapely.length(shapely.intersection(shapely.boundary(shapes[feature]), border[face]))
    order = np.lexsort([feature, -np.round(shared, 3), face])
    face, feature = face[order], feature[order]
    begin = np.flatnonzero(np.diff(face, prepend=-1))
    first[face[begin]] = feature[begin]
    rest = np.delete(np.arange(len(face)), begin)
    begin = rest[np.flatnonzero(np.diff(face[rest], prepend=-1))]
    second[face[begin]] = feature[begin]
    return first, second


# --- boundaries that do not meet ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Apart:
    """A vertex of the row `one` that misses the boundary of the row `two` by `distance` metres, at `spots`.
    `uncompared`: vertices that were not looked at."""

    one: Rows
    two: Rows
    distance: Areas
    spots: Coordinates
    uncompared: int = 0


def _packed(high: Rows, low: Rows) -> Rows:
    """Two numbers in one."""
    return high << 32 | low


def _ends(rings: Rings, points: Rows) -> Rows:
    """Vertex and feature of some vertices, in one number."""
    return _packed(rings.vertex[points], rings.owner[points])


def _among(numbers: Rows, known: Rows) -> NDArray[np.bool_]:
    """Which numbers are among the known ones, which are sorted and of which there are many more."""
    if not len(known):
        return np.zeros(len(numbers), dtype=bool)
    place = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
    found: NDArray[np.bool_] = known[place] == numbers
    return found


def _ranges(begin: Rows, count: Rows) -> Rows:
    """`count` numbers from each `begin` on, one after the other."""
    before = np.cumsum(count) - count
    return np.repeat(begin - before, count) + np.arange(int(count.sum()))


def _unpacked(points: Rows, pairs: Rows) -> tuple[Rows, Rows]:
    """Vertices and features of pairs that were packed into one number each."""
    return points[pairs >> 32], pairs & 0xFFFFFFFF


def _to_edges(rings: Rings, point: Rows, two: Rows, reach: float) -> tuple[Areas, Coordinates]:
    """How far vertices lie from the boundary of features, infinite beyond `reach`, and the place nearest on it: asked
    of the edges near by, as a boundary may have a million."""
    distance, nearest = np.full(len(point), np.inf), rings.xy[point].copy()
    edges = np.flatnonzero(np.isin(rings.owner[rings.start], np.unique(two)))
    start, lines = rings.start[edges], rings.lines(edges)
    spots, tree = shapely.points(rings.xy[point]), shapely.STRtree(lines)
    for begin in range(0, len(point), ASKED):
        at, line = tree.query(spots[begin : begin + ASKED], predicate="dwithin", distance=reach)
        at += begin
        keep = rings.owner[start[line]] == two[at]
        at, line = at[keep], line[keep]
        apart = shapely.distance(spots[at], lines[line])
        order = np.lexsort([line, apart, at])
        order = order[np.flatnonzero(np.diff(at[order], prepend=-1))]
        distance[at[order]] = apart[order]
        nearest[at[order]] = shapely.get_coordinates(shapely.shortest_line(spots[at[order]], lines[line[order]]))[1::2]
    return distance, nearest


@dataclass(frozen=True)
class MismatchCheck:
    """Neighbours whose boundaries run side by side within the tolerance and yet do not meet. `between`: by row; where
    given, only pairs whose values differ are asked (sheets, communes). `groups`: only pairs of a group.
    `overlap`: m² above which a pair is told as an overlap already, None where that check is not on."""

    entry: Check
    groups: Groups | None
    between: Groups | None = None
    overlap: float | None = None

    @property
    def reach(self) -> float:
        return self.entry.bound

    @property
    def meet(self) -> float:
        return float(self.entry.parameters.get("meet", MEET))

    def look(self, held: Held) -> Apart:
        rows, rings = held.tile.rows[held.surfaces], held.rings
        if rings is None:
            return Apart(rows, rows, np.empty(0), np.empty((0, 2)))
        point, two, uncompared = self._candidates(held.tile, rows, rings)
        distance, nearest = _to_edges(rings, point, two, self.reach)  # an edge near by may be one that is not free
        exact = self._missing(rings, point, two, distance)
        keep = exact | ((distance > self.meet) & (distance <= self.reach))
        point, two, distance, nearest, exact = point[keep], two[keep], distance[keep], nearest[keep], exact[keep]
        one, spots = rings.owner[point], rings.xy[point]
        keep = exact | (self._open(held, one, two, spots, nearest) & ~self._corner(rings, point, two, distance))
        return Apart(rows[one[keep]], rows[two[keep]], distance[keep], spots[keep], uncompared)

    def _candidates(self, tile: Tile, rows: Rows, rings: Rings) -> tuple[Rows, Rows, int]:
        """Vertices of the tile on free edges, and the features whose free edges pass near without meeting them; how
        many vertices were not looked at, as too much lies about the others."""
        edges = self._edges(tile, rows, rings)
        start, lines = rings.start[edges], rings.lines(edges)
        points = np.concatenate([start, start + 1])
        met, first = np.unique(_ends(rings, points), return_index=True)
        points = points[first]
        points = points[tile.owns(rings.xy[points, 0], rings.xy[points, 1])]
        open_edge = rings.open[edges]
        ends = np.concatenate([start[open_edge], start[open_edge] + 1])
        open_point = _among(_ends(rings, points), np.unique(_ends(rings, ends)))
        begin = np.flatnonzero(np.diff(rings.vertex[points], prepend=-1))
        tree = shapely.STRtree(lines)
        budget, found = max(BUDGET * len(points), 5_000_000), [np.empty(0, dtype=np.intp)]
        # Vertices of several features in one place are looked up once: that place, and no more than so many vertices.
        cuts = np.unique(np.append(np.searchsorted(begin, np.arange(0, len(points), ASKED)), len(begin)))
        for low, high in pairwise(cuts.tolist()):
            if budget <= 0:
                return (*_unpacked(points, np.concatenate(found)), len(points) - int(begin[low]))
            place, line = self._near(rings, points[begin[low:high]], start, lines, tree)
            count = np.diff(np.append(begin, len(points)))[low:high][place]
            at, line = _ranges(begin[low:high][place], count), np.repeat(line, count)
            budget -= len(at)
            one, two = rings.owner[points[at]], rings.owner[start[line]]
            keep = (one != two) & self._asked(rows[one], rows[two]) & (open_point[at] | open_edge[line])
            if not self._same_vertices:
                keep &= ~_among(_packed(rings.vertex[points[at]], two), met)
            at, line, two = at[keep], line[keep], two[keep]
            pair, which = np.unique(_packed(at, two), return_inverse=True)
            nearest = np.full(len(pair), np.inf)
            np.minimum.at(nearest, which, shapely.distance(shapely.points(rings.xy[points[at]]), lines[line]))
            found.append(pair[nearest > (-1.0 if self._same_vertices else self.meet)])
        return (*_unpacked(points, np.concatenate(found)), 0)

    def _edges(self, tile: Tile, rows: Rows, rings: Rings) -> Rows:
        """The free edges near the tile, and near one that is open: of two that do not meet at least one is asked to be,
        for where each is shared with others, those lie between them, or upon them, which is told as an overlap."""
        free = rings.open if self.groups is None else rings.free(self.groups[rows])
        edges = np.flatnonzero(free)
        edges = edges[tile.near(rings.boxes(edges), self.reach)]
        if self.groups is None:
            return edges
        return edges[near_any(rings.boxes(edges), rings.boxes(edges[rings.open[edges]]), self.reach)]

    def _near(self, rings: Rings, points: Rows, start: Rows, lines: Shapes, tree: shapely.STRtree) -> tuple[Rows, Rows]:
        """The edges that pass within reach of vertices, but for those that begin or end there: nearly all do, and they
        are told by the number of their vertices."""
        xy = rings.xy[points]
        point, line = tree.query(shapely.box(*(xy - self.reach).T, *(xy + self.reach).T))
        if not self._same_vertices:
            here, a, b = (rings.vertex[some] for some in (points[point], start[line], start[line] + 1))
            apart = (a != here) & (b != here)
            point, line = point[apart], line[apart]
        near = shapely.dwithin(shapely.points(xy[point]), lines[line], self.reach)
        return point[near], line[near]

    @property
    def _same_vertices(self) -> bool:
        return bool(self.entry.parameters.get("same_vertices", False))

    def _asked(self, one: Rows, two: Rows) -> NDArray[np.bool_]:
        asked = np.ones(len(one), dtype=bool)
        if self.groups is not None:
            asked &= self.groups[one] == self.groups[two]
        if self.between is not None:
            asked &= self.between[one] != self.between[two]
        return asked

    def _missing(self, rings: Rings, point: Rows, two: Rows, distance: Areas) -> NDArray[np.bool_]:
        """Vertices that meet the other's boundary where that has no vertex, asked only by `same_vertices`."""
        missing = np.zeros(len(point), dtype=bool)
        if not self._same_vertices:
            return missing
        met = np.flatnonzero(distance <= self.meet)
        tree = shapely.STRtree(shapely.points(rings.xy))
        at, vertex = tree.query(shapely.points(rings.xy[point[met]]), predicate="dwithin", distance=self.meet)
        missing[met] = True
        missing[met[at[rings.owner[vertex] == two[met][at]]]] = False
        return missing

    def _corner(self, rings: Rings, point: Rows, two: Rows, distance: Areas) -> NDArray[np.bool_]:
        """Whether the next vertex meets the other boundary already and is no farther off: boundaries that part at a
        corner do not run side by side."""
        corner = np.zeros(len(point), dtype=bool)
        for beside in rings.beside(point):
            step = np.hypot(*(rings.xy[beside] - rings.xy[point]).T)
            corner |= (step <= 2 * distance) & (_to_edges(rings, beside, two, self.meet)[0] <= self.meet)
        return corner

    def _open(self, held: Held, one: Rows, two: Rows, spots: Coordinates, nearest: Coordinates) -> NDArray[np.bool_]:
        """Whether nothing lies between a vertex and the place `nearest` to it on the boundary it misses, or both
        features do: not where a third feature or a bend of one of them lies between, nor what is told as an overlap."""
        points, shapes = shapely.points(spots), held.shapes[held.surfaces]
        shapely.prepare(shapes[np.unique(two)])
        inside = shapely.intersects(shapes[two], points)
        verdict: NDArray[np.bool_] = inside | ~held.covered((spots + nearest) / 2, self.meet / 4)
        some = np.flatnonzero(inside)
        if self.overlap is not None and len(some):
            pairs, place = np.unique(np.column_stack([one[some], two[some]]), axis=0, return_inverse=True)
            shared = shapely.area(shapely.intersection(shapes[pairs[:, 0]], shapes[pairs[:, 1]]))
            verdict[some] = (shared <= self.overlap)[place.ravel()]
        return verdict

    def tell(self, seen: Sequence[Apart], where: Placement, findings: Findings) -> None:
        """One finding a pair, at the vertex that misses by most."""
        one, two, distance, spots = (
            np.concatenate([getattr(part, name) for part in seen]) for name in ("one", "two", "distance", "spots")
        )
        first, second = np.minimum(one, two), np.maximum(one, two)
        order = np.lexsort([spots[:, 1], spots[:, 0], -distance, second, first])
        pairs = np.column_stack([first, second])[order]
        begin = order[np.flatnonzero((np.diff(pairs, axis=0, prepend=-1) != 0).any(axis=1))]
        if uncompared := sum(part.uncompared for part in seen):
            findings.add("coverage.uncompared", value=uncompared)
        findings.add(
            self.entry.rule, first[begin], values=np.round(distance[begin], 4), limit=self.entry.bound,
            other_rows=second[begin], places=where.to_wgs84(spots[begin]), entry=self.entry,
        )  # fmt: skip
