"""Features whose geometry another one has too, to the last bit or to the tolerance.

What is equal has equal boxes, so the boxes of the whole delivery are compared first and only what may be equal is read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Check
from sdi.ingest import mapped
from sdi.ingest.checks.neighbourhood import Boxes, Neighbourhood, Rows
from sdi.ingest.checks.tiles import known
from sdi.ingest.findings import Findings, Mask
from sdi.ingest.geometry import Shapes, distinct

BACK = 8
"""With how many before it in its place a feature is compared: piles of features stay linear."""
READ = 65_536
"""Features that are read at once."""


def find_duplicates(neighbourhood: Neighbourhood, entry: Check, findings: Findings) -> None:
    """Find features whose geometry equals an earlier one's whatever vertex or direction it starts with, or lies within
    the tolerance (m) of it all along."""
    usable = known(neighbourhood.boxes, neighbourhood.usable & ~findings.quarantined)
    later, earlier = _equal(neighbourhood, usable)
    findings.add(entry.rule, later, value=0.0, other_rows=earlier, entry=entry)
    if entry.bound > 0:
        usable[later] = False
        later, earlier, apart = _near(neighbourhood, usable, entry.bound)
        findings.add(entry.rule, later, values=np.round(apart, 4), other_rows=earlier, entry=entry)


def _equal(neighbourhood: Neighbourhood, usable: Mask) -> tuple[Rows, Rows]:
    found = [(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp))]
    for rows in mapped.alike(_hashed(neighbourhood.boxes, lambda boxes: boxes + 0.0), usable):  # no -0.0
        group = distinct(neighbourhood.boxes[rows] + 0.0)[1]
        order = np.flatnonzero(np.bincount(group)[group] > 1)
        order = order[np.argsort(group[order], kind="stable")]
        group = group[order]
        cuts = np.searchsorted(group, group[READ::READ])  # whole groups are read together
        found += [_same(neighbourhood, np.sort(rows[some])) for some in np.split(order, cuts)]
    later, earlier = (np.concatenate(column) for column in zip(*found, strict=True))
    return later, earlier


def _hashed(boxes: Boxes, made: Callable[[Boxes], NDArray[np.float64]]) -> mapped.Hashes:
    """By feature a number for what is made of its box."""
    found = mapped.zeros(len(boxes), np.uint64)
    for part in mapped.blocks(len(boxes)):
        found[part] = mapped.hashed(list(made(boxes[part]).T))
    return found


def _same(neighbourhood: Neighbourhood, rows: Rows) -> tuple[Rows, Rows]:
    """Of these features, those whose geometry an earlier one has, and that one."""
    keys = pa.array(shapely.to_wkb(shapely.normalize(neighbourhood.shapes(rows))), pa.binary()).dictionary_encode()
    indices = np.asarray(keys.indices)
    _, first = np.unique(indices, return_index=True)
    again = rows[first[indices]] != rows
    return rows[again], rows[first[indices]][again]


def _near(neighbourhood: Neighbourhood, usable: Mask, tolerance: float) -> tuple[Rows, Rows, NDArray[np.float64]]:
    """Pairs (later, earlier) that lie within the tolerance of each other, one for each later feature."""
    earlier, later = _boxes_alike(neighbourhood.boxes, usable, tolerance).T
    found: list[tuple[Rows, Rows, NDArray[np.float64]]] = [(later[:0], later[:0], np.empty(0))]
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


def _boxes_alike(boxes: Boxes, usable: Mask, tolerance: float) -> Rows:
    """(n, 2) rows, the earlier before the later, whose boxes differ by the tolerance at most."""
    cell = 4 * tolerance
    found = [np.empty((0, 2), dtype=np.intp)]
    for shift in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)):  # what is close shares a cell of one of the four

        def places(boxes: Boxes, shift: tuple[float, float] = shift) -> NDArray[np.float64]:
            return np.floor(boxes[:, :2] / cell + shift) + 0.0

        for rows in mapped.alike(_hashed(boxes, places), usable):
            east, north = places(boxes[rows]).T
            order = np.lexsort([rows, north, east])
            for back in range(1, BACK + 1):
                one, two = order[:-back], order[back:]
                near: Mask = (east[one] == east[two]) & (north[one] == north[two])
                one, two = rows[one[near]], rows[two[near]]
                if not len(one):
                    break
                alike = (np.abs(boxes[one] - boxes[two]) <= tolerance).all(axis=1)
                found.append(np.column_stack([one[alike], two[alike]]))
    pairs = np.concatenate(found)
    pairs = np.column_stack([pairs.min(axis=1), pairs.max(axis=1)])
    unique: Rows = np.unique(pairs, axis=0)
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
