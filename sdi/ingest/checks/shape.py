"""Form of each geometry by itself, after it was made valid: vertices, spikes, slivers, small parts, precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Check, Layer
from sdi.ingest.checks.neighbourhood import Rows
from sdi.ingest.findings import Findings, Mask
from sdi.ingest.geometry import Shapes, changed_by
from sdi.ingest.place import Placement
from sdi.ingest.validity import Vertices, vertices_of
from sdi.national import vn2000

ARM = 0.5
"""Metres that both sides of a spike are longer than, where the contract says nothing: a corner cut off is none."""
WIDTH = 0.2
"""Metres of mean width below which a polygon is a sliver, where the contract says nothing; alleys are wider."""
COARSE = 1.0
"""Metres: a geometry whose coordinates are multiples of it was not surveyed, where the contract says nothing."""
SHARE = 0.9
"""Share of a geometry's vertices that lie on the coarse grid."""
DEGREE = 100_000.0
"""Metres taken for a degree: decimals of a degree are rounded in powers of ten as metres are."""

Coordinates = NDArray[np.float64]


@dataclass(frozen=True)
class Paths:
    """Every ring of polygons, or every part of lines. `owner`: the feature of each vertex; `path`: its path."""

    xy: Coordinates
    owner: Rows
    path: Rows
    closed: Mask
    """By path."""

    @cached_property
    def edges(self) -> Rows:
        """The vertex that each edge starts at; its end is the next one."""
        return np.flatnonzero(np.diff(self.path, append=-1) == 0)

    @cached_property
    def corners(self) -> tuple[Rows, Rows, Rows]:
        """Each vertex that has two sides, between the one before and the one after it; a ring's end is its start."""
        first = np.flatnonzero(np.diff(self.path, prepend=-1))
        last = np.append(first, len(self.path))[1:] - 1
        at = np.arange(len(self.path))
        before, after = at - 1, at + 1
        before[first], keep = last - 1, np.ones(len(at), dtype=bool)
        keep[last] = False  # of a ring it is the first again, of a line it has one side
        keep[first[~self.closed]] = False
        return before[keep], at[keep], after[keep]


def paths_of(shapes: Shapes, vertices: Vertices) -> Paths:
    """The paths of features of one family, in the order of their coordinates; points have none. vertices: theirs."""
    lone = np.flatnonzero(vertices.lone)
    others = np.flatnonzero(~vertices.lone & ~shapely.is_missing(shapes))
    parts, owner = shapely.get_parts(shapes[others], return_index=True)
    dimensions = shapely.get_dimensions(parts)
    if (dimensions == 2).any():
        parts, inner = shapely.get_rings(parts, return_index=True)
        owner = owner[inner]
    elif (dimensions < 1).any():
        parts, owner = parts[:0], owner[:0]
        return Paths(vertices.xy[:0], owner, owner, np.zeros(0, dtype=bool))
    # What is one ring is told so; of the others each ring or line is made to tell its length.
    features = np.concatenate([lone, others[owner]])
    length = np.concatenate([np.diff(vertices.begin)[lone], shapely.get_num_coordinates(parts)])
    closed = np.concatenate([np.ones(len(lone), dtype=bool), shapely.is_closed(parts)])
    order = np.argsort(features, kind="stable")
    path = np.repeat(np.arange(len(order)), length[order])
    return Paths(vertices.xy, features[order][path], path, closed[order])


@dataclass
class Subject:
    """What the checks of a contract look at. `raw`: as the file has it, in its CRS; `master`: in the grid, metres, None
    where there is nothing usable; a repair is made in it. `changed`: the rows of each repair."""

    raw: Shapes
    master: Shapes
    where: Placement
    repair_tolerance: float
    """Percent of area that a repair may change."""
    changed: list[Rows]
    vertices: Vertices | None
    """Of the master as it is now, where they are known."""
    _paths: Paths | None = None

    def paths(self) -> Paths:
        """Of the master as it is now."""
        if self._paths is None:
            self._paths = paths_of(self.master, self.vertices or vertices_of(self.master))
        return self._paths

    def put(self, rows: Rows, made: Shapes) -> None:
        """Put what was made of rows in their place."""
        if len(rows):
            self.master[rows] = made
            self.changed.append(rows)
            self._paths = self.vertices = None


def check_shapes(
    layer: Layer, raw: Shapes, master: Shapes, where: Placement, findings: Findings, vertices: Vertices
) -> Rows:  # fmt: skip
    """Run the checks of form that the contract switches on. Returns the rows of `master` that a repair has changed.
    vertices: of the master."""
    tolerance = layer.geometry.repair_tolerance if layer.geometry is not None else 0.0
    usable = master.copy()
    usable[findings.quarantined] = None  # what is invalid has areas and angles that mean nothing
    known = None if findings.quarantined.any() else vertices
    subject = Subject(raw, usable, where, tolerance, [np.empty(0, dtype=np.intp)], known)
    for rule, check in CHECKS.items():  # repeated vertices go before spikes are looked for
        for entry in layer.checks:
            if entry.rule == rule:
                check(entry, subject, findings)
    changed: Rows = np.unique(np.concatenate(subject.changed))
    master[changed] = usable[changed]
    return changed


def check_repeated_vertices(entry: Check, subject: Subject, findings: Findings) -> None:
    """Vertices that follow each other within the tolerance, m."""
    paths = subject.paths()
    edges = paths.edges
    short = edges[np.hypot(*(paths.xy[edges + 1] - paths.xy[edges]).T) <= entry.bound]
    rows, first, count = np.unique(paths.owner[short], return_index=True, return_counts=True)
    made = shapely.remove_repeated_points(subject.master[rows], entry.bound)
    _answer(entry, subject, findings, rows, made, values=count, spots=paths.xy[short[first]])


def check_spikes(entry: Check, subject: Subject, findings: Findings) -> None:
    """Corners whose angle is below the tolerance, degrees, and whose sides are both long."""
    paths = subject.paths()
    before, at, after = paths.corners
    one, two = paths.xy[before] - paths.xy[at], paths.xy[after] - paths.xy[at]
    cross, dot = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0], (one * two).sum(axis=1)
    angle = np.degrees(np.arctan2(np.abs(cross), dot))
    arm = float(entry.parameters.get("arm", ARM))
    sharp = np.flatnonzero(angle < entry.bound)
    sharp = sharp[(np.hypot(*one[sharp].T) > arm) & (np.hypot(*two[sharp].T) > arm)]
    sharp = sharp[np.lexsort([angle[sharp], paths.owner[at[sharp]]])]
    rows, first = np.unique(paths.owner[at[sharp]], return_index=True)
    made = _without(subject.master[rows], rows, paths, at[sharp], before[sharp])
    worst = sharp[first]
    _answer(entry, subject, findings, rows, made, values=np.round(angle[worst], 3), spots=paths.xy[at[worst]])


def _without(shapes: Shapes, rows: Rows, paths: Paths, tips: Rows, before: Rows) -> Shapes:
    """The shapes without some vertices: each is moved onto the one before it, and of two equal ones one goes."""
    xy = paths.xy.copy()
    xy[tips] = paths.xy[before]
    first = np.flatnonzero(np.diff(paths.path, prepend=-1))
    last = np.append(first, len(paths.path))[1:] - 1
    closed = paths.closed
    xy[last[closed]] = xy[first[closed]]
    mine = np.isin(paths.owner, rows)
    moved = shapely.set_coordinates(shapes.copy(), xy[mine])
    made: Shapes = shapely.remove_repeated_points(moved, 0.0)
    return made


def check_slivers(entry: Check, subject: Subject, findings: Findings) -> None:
    """Polygons smaller than the tolerance, m², narrower in the mean than `width`, m, or thinner than `thinness`, the
    area over that of a circle of the same perimeter."""
    rows = np.flatnonzero(shapely.get_dimensions(subject.master) == 2)
    area, length = shapely.area(subject.master[rows]), shapely.length(subject.master[rows])
    width, thinness = 2 * area / length, 4 * np.pi * area / length**2
    small = area < entry.bound
    small |= width < float(entry.parameters.get("width", WIDTH))
    small |= thinness < float(entry.parameters.get("thinness", 0.0))
    findings.add(entry.rule, rows[small], values=np.round(area[small], 3), others=np.round(width[small], 3),
                 limit=entry.bound, entry=entry)  # fmt: skip


def check_tiny_parts(entry: Check, subject: Subject, findings: Findings) -> None:
    """Parts of a multi-geometry and holes smaller than the tolerance, m²."""
    parts, owner = shapely.get_parts(subject.master, return_index=True)
    surface = (shapely.get_dimensions(parts) == 2) & ~shapely.is_empty(parts)
    parts, owner = parts[surface], owner[surface]
    several = np.bincount(owner, minlength=len(subject.master))[owner] > 1
    pierced = shapely.get_num_interior_rings(parts) > 0
    rings, inner = shapely.get_rings(parts[pierced], return_index=True)
    hole = (np.diff(inner, prepend=-1) == 0) & ~shapely.is_empty(rings)  # the first ring of a polygon is its shell
    pieces = np.concatenate([parts[several], shapely.polygons(rings[hole])])
    of = np.concatenate([owner[several], owner[pierced][inner[hole]]])
    area = shapely.area(pieces)
    tiny = np.flatnonzero(area < entry.bound)
    tiny = tiny[np.lexsort([area[tiny], of[tiny]])]
    rows, first = np.unique(of[tiny], return_index=True)
    worst = tiny[first]
    spots = shapely.get_coordinates(shapely.point_on_surface(pieces[worst]))
    findings.add(entry.rule, rows, values=np.round(area[worst], 6), limit=entry.bound,
                 places=subject.where.to_wgs84(spots), entry=entry)  # fmt: skip


def check_vertex_spacing(entry: Check, subject: Subject, findings: Findings) -> None:
    """Edges longer than the tolerance, m: the vertices between were lost, or one is far off."""
    paths = subject.paths()
    edges = paths.edges
    length = np.hypot(*(paths.xy[edges + 1] - paths.xy[edges]).T)
    long = np.flatnonzero(length > entry.bound)
    long = long[np.lexsort([-length[long], paths.owner[edges[long]]])]
    rows, first = np.unique(paths.owner[edges[long]], return_index=True)
    worst = edges[long[first]]
    middle = (paths.xy[worst] + paths.xy[worst + 1]) / 2
    findings.add(entry.rule, rows, values=np.round(length[long[first]], 2), limit=entry.bound,
                 places=subject.where.to_wgs84(middle), entry=entry)  # fmt: skip


def check_precision(entry: Check, subject: Subject, findings: Findings) -> None:
    """Geometries whose vertices, as delivered, mostly lie on a grid of `coarse` metres where steps of the tolerance
    were promised; with `finer`, also those with decimals below that step."""
    rows = np.flatnonzero(~shapely.is_missing(subject.master) & ~shapely.is_missing(subject.raw))
    xy, owner = shapely.get_coordinates(subject.raw[rows], return_index=True)
    unit = 1 / DEGREE if vn2000.grid(subject.where.used).geographic else 1.0
    coarse, step = float(entry.parameters.get("coarse", COARSE)) * unit, entry.bound * unit
    vertices = np.bincount(owner, minlength=len(rows))

    def share(size: float, within: float) -> NDArray[np.float64]:
        on = (np.abs(xy - np.round(xy / size) * size) <= within).all(axis=1)
        return np.bincount(owner[on], minlength=len(rows)) / np.maximum(vertices, 1)

    rounded = share(coarse, step / 4)
    wrong = rounded >= float(entry.parameters.get("share", SHARE))
    findings.add(entry.rule, rows[wrong], values=np.round(100 * rounded[wrong], 1), limit=coarse / unit, entry=entry)
    if entry.parameters.get("finer", False):
        off = 1 - share(step, step / 50)
        wrong = off > 1 - SHARE
        findings.add("geometry.finer", rows[wrong], values=np.round(100 * off[wrong], 1), limit=entry.bound,
                     severity=entry.severity, action=entry.action)  # fmt: skip


def _answer(
    entry: Check, subject: Subject, findings: Findings, rows: Rows, made: Shapes, *, values: NDArray[np.generic],
    spots: Coordinates,
) -> None:  # fmt: skip
    """Tell of rows; where the contract says repair, put what was made of them in their place if that is still a valid
    geometry of the kind and changes little enough, and say what was changed."""
    places = subject.where.to_wgs84(spots)
    repairs = (entry.action or findings.action(entry.rule)) == "repair"
    old = subject.master[rows]
    change = changed_by(old, made)
    good = shapely.is_valid(made) & ~shapely.is_empty(made) & (change <= subject.repair_tolerance) & repairs
    kept = entry.model_copy(update={"action": "warn"}) if repairs else entry
    for some, said in ((good, entry), (~good, kept)):
        findings.add(entry.rule, rows[some], values=values[some], limit=entry.bound, places=places[some], entry=said)
    dropped = shapely.get_num_coordinates(old[good]) - shapely.get_num_coordinates(made[good])
    area = np.round(shapely.area(made[good]) - shapely.area(old[good]), 4)
    findings.add("geometry.vertices_dropped", rows[good], values=dropped, others=area, places=places[good])
    subject.put(rows[good], made[good])


CHECKS: Mapping[str, Callable[[Check, Subject, Findings], None]] = {
    "geometry.repeated_vertex": check_repeated_vertices,
    "geometry.spike": check_spikes,
    "geometry.sliver": check_slivers,
    "geometry.tiny_part": check_tiny_parts,
    "geometry.vertex_spacing": check_vertex_spacing,
    "geometry.precision": check_precision,
}
