"""The ground: where the district lies, its river and dike, its lake."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
import shapely
from shapely import LineString, Polygon

CENTRE = (587_300.0, 2_325_600.0)
"""E, N in EPSG:5897, between the old quarters of Hà Nội and the river."""
GROSS = 96.0
"""Square metres of ground for one parcel, with its share of streets, parks and water."""


@dataclass(frozen=True)
class Site:
    outline: Polygon
    """The whole district, to the middle of the river."""
    urban: Polygon
    """Inside the dike, without the lake and its promenade."""
    foreshore: Polygon
    """The bãi: farmed land between dike and river."""
    river: Polygon
    river_line: LineString
    lake: Polygon
    promenade: Polygon
    dike_line: LineString
    dike: Polygon
    radius: float


def curve(points: np.ndarray, rounds: int = 3) -> np.ndarray:
    """Chaikin's corner cutting; the ends stay."""
    for _ in range(rounds):
        cut = np.stack([0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]], axis=1)
        points = np.concatenate([points[:1], cut.reshape(-1, 2), points[-1:]])
    return points


def blob(rng: np.random.Generator, centre: tuple[float, float], radius: float, wobble: float, corners: int) -> Polygon:
    """A smooth irregular closed shape."""
    angle = np.arange(corners) * 2 * pi / corners + rng.normal(0, 0.3 / corners, corners)
    reach = radius * (1 + wobble * rng.uniform(-1, 1, corners))
    ring = np.column_stack([centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle)])
    ring = np.concatenate([ring, ring[:1]])
    middle = (ring[:1] + ring[1:2]) / 2
    return Polygon(curve(np.concatenate([middle, ring[1:], middle]), 2))


def make_site(rng: np.random.Generator, parcels: int) -> Site:
    """Lay out the ground for about `parcels` parcels."""
    radius = float(np.sqrt(parcels * GROSS * (1 + 9 / np.sqrt(parcels)) / pi))  # edges and grounds weigh more on little
    x, y = CENTRE
    y_axis = np.linspace(y - 1.6 * radius, y + 1.6 * radius, 9)
    bends = 0.07 * radius * np.sin(np.linspace(0, 5, 9) + rng.uniform(0, 3)) + rng.normal(0, 0.015 * radius, 9)
    river_line = LineString(curve(np.column_stack([x + 0.98 * radius + bends, y_axis])))
    dike_line = LineString(curve(np.column_stack([x + 0.80 * radius + 0.7 * bends, y_axis])))
    shape = blob(rng, CENTRE, 1.14 * radius, 0.24, 11)
    far = 4 * radius
    west_of_river = shapely.intersection(shape, _west(river_line, far))
    river = shapely.intersection(west_of_river, river_line.buffer(0.09 * radius))
    dike = dike_line.buffer(9, cap_style="flat")
    inside = shapely.difference(shapely.intersection(west_of_river, _west(dike_line, far)), dike)
    lake = blob(rng, (x - 0.18 * radius, y + 0.22 * radius), 0.12 * radius, 0.28, 9)
    shore = lake.buffer(min(14.0, 0.03 * radius))
    urban = shapely.difference(inside, shore.buffer(9))
    foreshore = shapely.difference(west_of_river, shapely.union_all([inside, dike, river]))
    return Site(
        outline=_largest(west_of_river), urban=_largest(urban), foreshore=_largest(foreshore), river=_largest(river),
        river_line=river_line, lake=lake, promenade=shapely.difference(shore, lake), dike_line=dike_line,
        dike=_largest(shapely.intersection(dike, west_of_river)), radius=radius,
    )  # fmt: skip


def _west(line: LineString, reach: float) -> Polygon:
    """The land west of a line that runs north."""
    points = shapely.get_coordinates(line)
    return Polygon([*points, (points[-1, 0] - reach, points[-1, 1]), (points[0, 0] - reach, points[0, 1])])


def _largest(shape: shapely.Geometry) -> Polygon:
    parts = shapely.get_parts(shape)
    return parts[int(np.argmax(shapely.area(parts)))]
