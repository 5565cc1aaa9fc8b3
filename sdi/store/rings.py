"""Rings of three points, there and back along one line: GEOS has them, PostGIS takes no ring of fewer than four."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

_LINE_RING, _SINGLE = 3, 3
"""Points of such a ring; the highest type id of a geometry that is no collection."""


def filled(shapes: NDArray[Any]) -> NDArray[Any]:
    """Shapes that PostGIS takes: the last point of such a ring stands there twice. The others are as they were."""
    rows = _rows(shapes)
    if not len(rows):
        return shapes
    made = shapes.copy()
    for row in rows:
        made[row] = shapely.set_srid(_filled(shapes[row]), shapely.get_srid(shapes[row]))
    return made


def _rows(shapes: NDArray[Any]) -> NDArray[np.intp]:
    """Where there is such a ring, however deep in collections."""
    parts, owner = shapes, np.arange(len(shapes))
    while (shapely.get_type_id(parts) > _SINGLE).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        owner = owner[inner]
    rings, inner = shapely.get_rings(parts, return_index=True)
    found: NDArray[np.intp] = np.unique(owner[inner[shapely.get_num_coordinates(rings) == _LINE_RING]])
    return found


def _filled(shape: Any) -> Any:
    if isinstance(shape, shapely.Polygon):
        rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shape)]
        shell, *holes = (np.vstack([ring, ring[-1:]]) if len(ring) == _LINE_RING else ring for ring in rings)
        return shapely.Polygon(shell, holes)
    parts = getattr(shape, "geoms", None)
    return shape if parts is None else type(shape)([_filled(part) for part in parts])
