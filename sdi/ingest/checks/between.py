"""Checks between the features of one delivery: duplicates, overlaps, slivers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from sdi.ingest.cast import to_text
from sdi.ingest.checks.neighbourhood import Neighbourhood, Rows
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import Shapes
from sdi.ingest.place import Placement

OVERLAP = 0.1
"""Square metres above which an overlap is told where the contract says nothing."""
SLIVER = 1.0
"""Square metres below which a polygon is a sliver where the contract says nothing."""
BLOCK = 200_000
"""Pairs that are held against each other at once."""


@dataclass(frozen=True)
class Overlaps:
    first: Rows
    second: Rows
    area: NDArray[np.float64]
    """Square metres, in the grid."""
    parts: Shapes


def check_between(neighbourhood: Neighbourhood, where: Placement, findings: Findings) -> None:
    """Run every check between features that the contract switches on, on what the neighbourhood calls usable."""
    layer = neighbourhood.layer
    master = neighbourhood.shapes(np.arange(neighbourhood.count))
    for entry in layer.checks:
        usable = np.flatnonzero(neighbourhood.usable & ~findings.quarantined)
        if entry.rule == "geometry.sliver":
            limit = SLIVER if entry.tolerance is None else entry.tolerance
            areas = shapely.area(master[usable])
            small = areas < limit
            findings.add("geometry.sliver", usable[small], values=np.round(areas[small], 3), limit=limit)
        elif entry.rule == "geometry.duplicate":
            duplicates(master, usable, findings)
        elif entry.rule == "coverage.overlap":
            limit = OVERLAP if entry.tolerance is None else entry.tolerance
            groups = _groups(neighbourhood, entry.parameters.get("within", []))
            _tell_overlaps(overlaps(master, usable, groups, limit), where, findings)


def _tell_overlaps(found: Overlaps, where: Placement, findings: Findings) -> None:
    if not len(found.first):
        return
    spots = where.to_wgs84(shapely.get_coordinates(shapely.point_on_surface(found.parts)))
    areas = np.round(found.area, 3)
    findings.add("coverage.overlap", found.first, values=areas, other_rows=found.second, places=spots)
    if findings.action("coverage.overlap") == "quarantine":
        findings.add("coverage.overlap", found.second, values=areas, other_rows=found.first, places=spots)


def duplicates(master: Shapes, usable: Rows, findings: Findings) -> None:
    """Find features whose geometry equals that of an earlier one, whatever vertex or direction it starts with."""
    keys = pa.array(shapely.to_wkb(shapely.normalize(master[usable])), pa.binary())
    coded = keys.dictionary_encode()
    indices = np.asarray(coded.indices)
    _, first = np.unique(indices, return_index=True)
    earlier = usable[first[indices]]
    later = earlier != usable
    findings.add("geometry.duplicate", usable[later], other_rows=earlier[later])


def _groups(neighbourhood: Neighbourhood, names: list[str]) -> NDArray[np.int64] | None:
    """A number for each combination of the attributes within which features must not overlap."""
    if not names:
        return None
    numbers = np.zeros(neighbourhood.count, dtype=np.int64)
    for name in names:
        codes = pc.fill_null(to_text(neighbourhood.column(name)), "").dictionary_encode()
        numbers = numbers * (len(codes.dictionary) + 1) + np.asarray(codes.indices)
        _, numbers = np.unique(numbers, return_inverse=True)
    return numbers


def _shared_box(boxes: NDArray[np.float64], left: Rows, right: Rows) -> NDArray[np.float64]:
    """Area of what two boxes share, which is never less than what their geometries share."""
    low = np.maximum(boxes[left, :2], boxes[right, :2])
    high = np.minimum(boxes[left, 2:], boxes[right, 2:])
    area: NDArray[np.float64] = np.prod(np.maximum(high - low, 0.0), axis=1)
    return area


def overlaps(master: Shapes, usable: Rows, groups: NDArray[np.int64] | None, tolerance: float) -> Overlaps:
    """Find pairs whose interiors share more than `tolerance` m².

    By the pattern T********: `overlaps` alone misses duplicates and what lies inside another. Pairs come from boxes.
    """
    shapes = master[usable]
    left, right = shapely.STRtree(shapes).query(shapes)
    keep = left < right
    left, right = left[keep], right[keep]
    keep = _shared_box(shapely.bounds(shapes), left, right) > tolerance
    if groups is not None:
        keep &= groups[usable[left]] == groups[usable[right]]
    left, right = left[keep], right[keep]
    order = np.argsort(left, kind="stable")
    left, right = left[order], right[order]
    shapely.prepare(shapes)
    hits: list[tuple[Any, Any, Any, Any]] = []
    for start in range(0, len(left), BLOCK):
        one, two = left[start : start + BLOCK], right[start : start + BLOCK]
        inside = shapely.relate_pattern(shapes[one], shapes[two], "T********")
        one, two = one[inside], two[inside]
        parts = shapely.intersection(shapes[one], shapes[two])
        areas = shapely.area(parts)
        large = areas > tolerance
        hits.append((usable[one[large]], usable[two[large]], areas[large], parts[large]))
    if not hits:
        none = np.empty(0, dtype=np.intp)
        return Overlaps(none, none, np.empty(0), np.empty(0, dtype=object))
    return Overlaps(*(np.concatenate(column) for column in zip(*hits, strict=True)))
