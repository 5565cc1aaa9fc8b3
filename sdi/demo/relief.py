"""Terrain and flood depth as rasters that fit the city: low ground around the lake, a dike along the river."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.transform import from_origin

from sdi.demo.site import Site
from sdi.demo.table import Array

STEP = 5.0
"""Pixel size in metres."""
MISSING = -9999.0


def write_rasters(rng: np.random.Generator, site: Site, terrain: Path, flood: Path, epsg: int) -> None:
    """Write ground height and the depth of a rainstorm's water, both in metres, as plain GeoTIFF."""
    left, low, right, high = (np.array(site.outline.bounds) + np.array([-120, -120, 120, 120])) // STEP * STEP
    width, height = int((right - left) / STEP), int((high - low) / STEP)
    east, north = left + (np.arange(width) + 0.5) * STEP, high - (np.arange(height) + 0.5) * STEP
    ground = (
        6.9
        + 1.1 * _noise(rng, height, width, 260)
        + 0.45 * _noise(rng, height, width, 90)
        + 0.05 * _noise(rng, height, width, 12)
    )
    centres = shapely.points(*np.meshgrid(east, north))
    for shape in (site.lake, site.river, site.foreshore, site.dike_line):
        shapely.prepare(shape)
    basin = np.clip(1 - shapely.distance(centres, site.lake) / (0.35 * site.radius), 0, 1)
    ground -= 1.5 * basin**2
    bank = shapely.distance(centres, site.river_line) < shapely.distance(centres, site.dike_line)
    ground = np.where(bank, 8.2 + 0.3 * _noise(rng, height, width, 60), ground)
    ground = np.clip(ground, 5.0, 9.0)
    ground = np.where(
        shapely.contains(site.lake, centres), 3.6, np.where(shapely.contains(site.river, centres), 2.4, ground)
    )
    ground = np.maximum(ground, 12.6 - shapely.distance(centres, site.dike_line) / 3.0)
    water = 6.0 + 0.15 * _noise(rng, height, width, 400)
    depth = np.where(ground < 5.0, 0.0, np.clip(water - ground, 0, None))
    depth = np.where(depth < 0.03, 0.0, depth)
    inside = rasterize(
        [site.outline.buffer(60)], out_shape=(height, width), transform=from_origin(left, high, STEP, STEP)
    )
    for path, values in ((terrain, ground), (flood, np.where(inside == 1, depth, MISSING))):
        _write(path, values, from_origin(left, high, STEP, STEP), epsg)


def _write(path: Path, values: Array, transform: rasterio.Affine, epsg: int) -> None:
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 1,
        "nodata": MISSING,
        "crs": f"EPSG:{epsg}",
        "compress": "lzw",
    }
    with rasterio.open(
        path, "w", height=values.shape[0], width=values.shape[1], transform=transform, **profile
    ) as file:
        file.write(np.round(values, 2).astype(np.float32), 1)


def _noise(rng: np.random.Generator, height: int, width: int, length: float) -> Array:
    """Smooth noise between about -1 and 1 whose features are `length` metres wide."""
    rows, columns = int(height * STEP / length) + 3, int(width * STEP / length) + 3
    coarse = rng.uniform(-1, 1, (rows, columns))
    y, x = np.arange(height) * STEP / length + 0.5, np.arange(width) * STEP / length + 0.5
    ease_y, ease_x = _ease(y), _ease(x)
    top, first = np.floor(y).astype(int)[:, None], np.floor(x).astype(int)[None, :]
    upper = coarse[top, first] * (1 - ease_x) + coarse[top, first + 1] * ease_x
    lower = coarse[top + 1, first] * (1 - ease_x) + coarse[top + 1, first + 1] * ease_x
    noise: Array = upper * (1 - ease_y[:, None]) + lower * ease_y[:, None]
    return noise


def _ease(value: Array) -> Array:
    part = value - np.floor(value)
    eased: Array = part * part * (3 - 2 * part)
    return eased
