"""Cells to a GeoTIFF."""

from __future__ import annotations

from typing import Any

import numpy as np
from rasterio.io import MemoryFile
from rasterio.transform import from_bounds


def geotiff(
    values: np.ma.MaskedArray[Any, Any], bounds: tuple[float, float, float, float], epsg: int, nodata: float | None
) -> bytes:  # fmt: skip
    """A file of these cells: bands x rows x columns, the first row in the north; what is masked is `nodata`.

    `bounds`: left, bottom, right, top in the grid `epsg` (x = E or lon).
    """
    count, height, width = values.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, nodata=nodata,
            crs=f"EPSG:{epsg}", transform=from_bounds(*bounds, width, height),
        ) as file:  # fmt: skip
            file.write(values)
        made: bytes = memory.read()
    return made
