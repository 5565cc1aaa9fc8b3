"""Law: what attributes say of a feature against its geometry: area, identifier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Check, Layer
from sdi.ingest.conform import Conformed
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import Shapes
from sdi.national import parcel_id

SQUARE_METRES = NDArray[np.float64]

ID_LENGTH = 12
"""Characters of a parcel id (TT 19/2026/TT-BNNMT Phụ lục I)."""


def check_area(layer: Layer, made: Conformed, master: Shapes, findings: Findings) -> None:
    """Compare each area attribute of a check (m²) with the area in the grid."""
    for check in [check for check in layer.checks if check.rule == "area.legal"]:
        name = check.parameters["attribute"]
        said = np.asarray(made.columns[name].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        measured = np.where(shapely.is_missing(master), np.nan, shapely.area(master))
        limit = tolerance(check, said, master)
        rows = np.flatnonzero(np.abs(measured - said) > limit)
        rows = rows[shapely.is_valid(master[rows])]  # of what crosses itself no area is measured
        findings.add("area.legal", rows, attribute=name, values=np.round(said[rows], 4),
                     others=np.round(measured[rows], 2), limits=np.round(limit[rows], 2), entry=check)  # fmt: skip


def tolerance(check: Check, area: SQUARE_METRES, master: Shapes) -> SQUARE_METRES:
    """How far two areas of one feature may differ, m²: the largest of the tolerance, `percent` and `formula`.

    scale: 0.0004 · M · √P, M the scale's denominator `scale` (Quy phạm 1999/2008, recalled [R], to be verified against
    TT 26/2024/TT-BTNMT). position: 2 · m · √P, m the standard error of a boundary point in metres, `accuracy` (another
    reading of the same rule, sources disagree [?]). propagation: `times` (2) standard errors of the polygon's own area
    where each vertex has `accuracy` in both axes. None of them is law here: the contract says which holds.
    """
    said = check.parameters
    limit = np.fmax(check.tolerance or 0.0, np.abs(area) * float(said.get("percent", 0.0)) / 100.0)
    root = np.sqrt(np.abs(area))
    match said.get("formula"):
        case "scale":
            return np.fmax(limit, 0.0004 * float(said.get("scale", 0.0)) * root)
        case "position":
            return np.fmax(limit, 2.0 * float(said.get("accuracy", 0.0)) * root)
        case "propagation":
            return np.fmax(limit, float(said.get("times", 2.0)) * area_error(master, float(said.get("accuracy", 0.0))))
    return limit


def area_error(shapes: Shapes, accuracy: float) -> SQUARE_METRES:
    """The standard error of each polygon's area, m², from that of its vertices, metres in each axis.

    The area is half the sum of x[i] · (y[i+1] - y[i-1]), so its error is half the accuracy times the root of the sum of
    the squared distances between each vertex's two neighbours.
    """
    rings, of_shape = shapely.get_rings(shapes, return_index=True)
    points, of_ring = shapely.get_coordinates(rings, return_index=True)
    if not len(points):
        return np.zeros(len(shapes))
    first = np.flatnonzero(np.diff(of_ring, prepend=-1))
    last = np.append(first[1:], len(points)) - 1
    # A ring's last point is its first: the vertex before the first is the one before the last.
    before = np.arange(len(points)) - 1
    before[first] = np.maximum(last - 1, first)
    after = np.minimum(np.arange(len(points)) + 1, len(points) - 1)
    apart = ((points[after] - points[before]) ** 2).sum(axis=1)
    apart[last] = 0.0
    return accuracy / 2.0 * np.sqrt(np.bincount(of_shape[of_ring], weights=apart, minlength=len(shapes)))


def check_place_of_id(
    layer: Layer, made: Conformed, wgs84: Callable[[NDArray[np.intp]], Shapes], findings: Findings
) -> None:
    """Ask whether the cell that a national parcel id stands for touches its parcel (TT 19/2026 Phụ lục I). wgs84: gives
    the shapes of rows.

    The id is decoded, never made again: the law names no tolerance for the point, so two right programs may differ in
    the last characters. What is no id is told as that.
    """
    for check in [check for check in layer.checks if check.rule == "identifier.place"]:
        name = check.parameters["attribute"]
        ids = np.asarray(made.columns[name].to_pylist(), dtype=object)
        asked = np.flatnonzero(np.asarray(made.columns[name].is_valid()) & ~findings.quarantined)
        if not len(asked):
            continue
        lon, lat, half_lon, half_lat = parcel_id.decode(ids[asked].tolist())
        good = np.isfinite(lon) & np.array([len(value) == ID_LENGTH for value in ids[asked]])
        bad = asked[~good]
        findings.add("identifier.malformed", bad, attribute=name, values=ids[bad], limit=ID_LENGTH)
        cells = np.full(len(asked), None, dtype=object)
        cells[good] = shapely.box(
            (lon - half_lon)[good], (lat - half_lat)[good], (lon + half_lon)[good], (lat + half_lat)[good]
        )
        shapes = wgs84(asked)
        outside = good & ~shapely.is_missing(shapes) & ~shapely.intersects(cells, shapes)
        findings.add("identifier.place", asked[outside], attribute=name, values=ids[asked[outside]], entry=check)
