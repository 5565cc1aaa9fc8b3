"""Shapes thinned to lines that a small map can draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from sdi.ingest.geometry import FAMILY
from sdi.national import vn2000

KINDS = ("point", "line", "polygon")
POINTS = 60_000
"""Corners of all outlines together, about; a page stays a page."""

Rings = list[list[tuple[float, float]]]


def outlines(ewkb: Sequence[bytes | None], grid: int) -> list[tuple[str, Rings]]:
    """(point, line or polygon; its rings in metres east, north of the grid) of every shape that can be read and brought
    there; thinned until they have about POINTS corners together."""
    shapes = shapely.from_wkb(np.array([each for each in ewkb if each is not None], dtype=object), on_invalid="ignore")
    shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
    shapes = np.array([shape for shape in shapes if FAMILY[shapely.get_type_id(shape)] >= 0], dtype=object)
    for srid in {int(code) for code in shapely.get_srid(shapes)} - {grid}:
        rows = shapely.get_srid(shapes) == srid
        shapes[rows] = _brought(shapes[rows], srid, grid)
    tolerance = 0.05
    while shapely.get_num_coordinates(shapes).sum() > POINTS and tolerance < 1000:
        shapes = shapely.simplify(shapes, tolerance, preserve_topology=False)
        shapes = shapes[~shapely.is_empty(shapes)]
        tolerance *= 4
    return [_drawn(shape) for shape in shapes]


def _brought(shapes: np.ndarray, srid: int, grid: int) -> np.ndarray:
    """Into the grid; by way of WGS 84 where the datums differ."""
    if srid not in vn2000.GRIDS:
        return np.full(len(shapes), shapely.Polygon(), dtype=object)
    made: np.ndarray = shapely.transform(shapes, lambda xy: vn2000.from_wgs84(vn2000.to_wgs84(xy, srid), grid))
    return made


def _drawn(shape: shapely.Geometry) -> tuple[str, Rings]:
    kind = KINDS[FAMILY[shapely.get_type_id(shape)]]
    parts = shapely.get_parts(shape)
    if kind == "polygon":
        parts = shapely.get_rings(parts)
    return kind, [[(round(x, 2), round(y, 2)) for x, y in shapely.get_coordinates(part).tolist()] for part in parts]
