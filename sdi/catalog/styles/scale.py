"""From which scale on a screen shows no more than so many features of a layer."""

from __future__ import annotations

import math

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees of WGS 84."""

PIXEL_M = 0.0254 / 96
"""Metres of a pixel of CSS, and of QGIS at 96 dpi."""
PIXEL_MM = PIXEL_M * 1000
SCREEN_M2 = 1920 * 1080 * PIXEL_M**2
"""Square metres of the screen that is reckoned with."""
ROUND = tuple(digit * 10**power for power in range(2, 7) for digit in (1, 2.5, 5))
"""Scale denominators that people use; estimates do not tell finer."""
EQUATOR_M = 40_075_016.69
TILE = 512
"""Pixels of a vector tile's side in MapLibre, by which its zooms count."""


def holding(features: int, count: int, extent: Box | None) -> int | None:
    """The smallest usual scale, as its denominator, at which a screen shows about so many of `count` features or fewer.

    They are taken to be spread evenly over the extent. None: at every scale.
    """
    if extent is None or count <= features:
        return None
    west, south, east, north = extent
    middle = math.radians((south + north) / 2)
    area = (east - west) * 111_320 * math.cos(middle) * (north - south) * 110_574
    if area <= 0:
        return None
    denominator = math.sqrt(features / count * area / SCREEN_M2)
    return int(max((each for each in ROUND if each <= denominator), default=ROUND[0]))


def zoom_of(denominator: float, latitude: float) -> float:
    """MapLibre's zoom at which a map has this scale at a latitude (degrees)."""
    return math.log2(EQUATOR_M * math.cos(math.radians(latitude)) / (TILE * PIXEL_M * denominator))


def denominator_of(zoom: float, latitude: float) -> float:
    """The scale's denominator at one of MapLibre's zooms and a latitude (degrees)."""
    return EQUATOR_M * math.cos(math.radians(latitude)) / (TILE * PIXEL_M * 2**zoom)
