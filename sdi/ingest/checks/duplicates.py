"""Features whose geometry another one has too, to the last bit or to the tolerance.

What is equal has equal boxes, so the boxes of the whole delivery are compared first and only what may be equal is read.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Check
from sdi.ingest.checks.neighbourhood import Boxes, Neighbourhood, Rows
from sdi.ingest.findings import Findings, Mask
from sdi.ingest.geometry import Shapes, distinct

BACK = 8
"""With how many before it in its place a feature is compared: piles of features stay linear."""
READ = 65_536
"""Features that are read at once."""


def find_duplicates(neighbourhood: Neighbourhood, entry: Check, findings: Findings) -> None:
    """Find features whose geometry equals an earlier one's whatever vertex or direction it starts with, or lies within
    the tolerance (m) of it all along."""
    usable = neighbourhood.usable & ~findings.quarantined & np.isfinite(neighbourhood.boxes).all(axis=1)
    rows = np.flatnonzero(usable)
    later, earlier = _equal(neighbourhood, rows)
    findings.add(entry.rule, later, value=0.0, other_rows=earlier, entry=entry)
    if entry.bound > 0:
        usable[later] = False
        later, earlier, apart = _near(neighbourhood, np.flatnonzero(usable), entry.bound)
        findings.add(entry.rule, later, values=np.round(apart, 4), other_rows=earlier, entry=entry)


def _equal(neighbourhood: Neighbourhood, rows: Rows) -> tuple[Rows, Rows]:
    group = distinct(neighbourhood.boxes[rows] + 0.0)[1]
    order = np.flatnonzero(np.bincount(group)[group] > 1)
    order = order[np.argsort(group[order], kind="stable")]
    group = group[order]
    later, earlier = [rows[:0]], [rows[:0]]
    cuts = np.searchsorted(group, group[READ::READ])  # whole groups are read together
    for some in np.split(order, cuts):
        mine = np.sort(rows[some])
        keys = pa.array(shapely.to_wkb(shapely.normalize(neighbourhood.shapes(mine))), pa.binary()).dictionary_encode()
        indices = np.asarray(keys.indices)
        _, first = np.unique(indices, return_index=True)
        again = mine[first[indices]] != mine
        later.append(mine[again])
        earlier.append(mine[first[indices]][again])
    return np.concatenate(later), np.concatenate(earlier)


def _near(neighbourhood: Neighbourhood, rows: Rows, tolerance: float) -> tuple[Rows, Rows, NDArray[np.float64]]:
    """Pairs (later, earlier) that lie within the tolerance of each other, one for each later feature."""
    boxes = neighbourhood.boxes[rows]
    pairs = _boxes_alike(boxes, tolerance)
    later, earlier = rows[pairs[:, 1]], rows[pairs[:, 0]]
    found: list[tuple[Rows, Rows, NDArray[np.float64]]] = [(rows[:0], rows[:0], np.empty(0))]
    for start in range(0, len(later), READ):
        one, two = later[start : start + READ], earlier[start : start + READ]
        read = np.unique(np.concatenate([one, two]))
        shapes = neighbourhood.shapes(read)
        apart = _distance(shapes[np.searchsorted(read, one)], shapes[np.searchsorted(read, two)], tolerance)
        same = apart <= tolerance
        found.append((one[same], two[same], apart[same]))
    later, earlier, apart = (np.concatenate(column) for column in zip(*found, strict=True))
    _, first = np.unique(later, return_index=True)
    return later[first], earlier[first], apart[first]


def _boxes_alike(boxes: Boxes, tolerance: float) -> NDArray[np.intp]:
    """(n, 2) positions, the earlier before the later, of boxes that differ by the tolerance at most."""
    cell = 4 * tolerance
    found = [np.empty((0, 2), dtype=np.intp)]
    for shift in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)):  # what is close shares a cell of one of the four
        places = np.floor(boxes[:, :2] / cell + shift) + 0.0
        number = distinct(places)[1]
        some = np.flatnonzero(np.bincount(number)[number] > 1)
        east, north = places.T
        order = some[np.lexsort([some, north[some], east[some]])]
        for back in range(1, BACK + 1):
            one, two = order[:-back], order[back:]
            near: Mask = (east[one] == east[two]) & (north[one] == north[two])
            one, two = one[near], two[near]
            if not len(one):
                break
            alike = (np.abs(boxes[one] - boxes[two]) <= tolerance).all(axis=1)
            found.append(np.column_stack([one[alike], two[alike]]))
    pairs = np.concatenate(found)
    pairs = np.column_stack([pairs.min(axis=1), pairs.max(axis=1)])
    unique: NDArray[np.intp] = np.unique(pairs, axis=0)
    return unique


def _distance(one: Shapes, two: Shapes, tolerance: float) -> NDArray[np.float64]:
    """How far geometries lie apart at most, metres; infinite where they are of different kinds. Geometries of so many
    vertices that each cannot be held against each are compared vertex by vertex."""
    apart = np.full(len(one), np.inf)
    work = shapely.get_num_coordinates(one).astype(np.float64) * shapely.get_num_coordinates(two)
    alike = shapely.get_dimensions(one) == shapely.get_dimensions(two)
    small = alike & (work <= 4e6)
    apart[small] = shapely.hausdorff_distance(one[small], two[small])
    large = np.flatnonzero(alike & ~small)
    same = shapely.equals_exact(shapely.normalize(one[large]), shapely.normalize(two[large]), tolerance)
    apart[large[same]] = tolerance
    return apart
