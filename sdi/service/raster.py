"""Coverages: a Cloud Optimized GeoTIFF as CoverageJSON or GeoTIFF through pygeoapi's rasterio provider.

That provider would transform a lon/lat box by PROJ's default operation (wrong around TP.HCM and Cần Thơ), names bands
`null` and gives their CRS an address that does not exist; here the box comes in the coverage's own grid. pygeoapi asks
for this module by its name: only where a coverage is published does a worker hold rasterio with its GDAL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pygeoapi.provider.base import ProviderInvalidQueryError
from pygeoapi.provider.rasterio_ import RasterioProvider

from sdi.catalog.collection import CRS84, crs_uri
from sdi.ingest.write_raster import geotiff
from sdi.national import vn2000
from sdi.service.provider import QUERY

MOST_CELLS = 1_000_000
"""Values of one band in one CoverageJSON answer; a larger window is thinned to it."""


class CoverageProvider(RasterioProvider):  # type: ignore[misc]
    """One published coverage; answers a box in its own grid only."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        self._fields: dict[str, Any] = {}
        self._bands = provider_def["bands"]
        self._grid = int(provider_def["grid"])
        super().__init__(provider_def)

    def get_fields(self) -> dict[str, Any]:
        if not self._fields:
            self._fields = {
                band["name"]: {"title": band["title"]["vi"], "type": "number", "x-ogc-unit": band["unit"]}
                for band in self._bands
            }
        return self._fields

    def query(self, **asked: Any) -> Any:
        """CoverageJSON of at most MOST_CELLS a band, or the window's GeoTIFF, in full where no size is asked for.

        Raises when the box misses the coverage.
        """
        names = [band["name"] for band in self._bands]
        indexes = [names.index(name) + 1 for name in asked.get("properties") or names]
        try:
            bounds = self._bounds(asked.get("bbox") or [])
            if asked.get("format_") == "json":
                return self._coverage_json(indexes, bounds, QUERY.get())
            if QUERY.get() is not None:
                values, placed = self._thinned(indexes, bounds, QUERY.get())
                return geotiff(values, placed, self._grid, self._data.nodata)
            self.options = {"count": len(indexes), "crs": f"EPSG:{self._grid}"}
            asked |= {"properties": list(map(str, indexes)), "bbox": list(bounds), "bbox_crs": self._grid}
            return super().query(**asked)
        finally:
            self._data.close()

    def _bounds(self, bbox: list[float]) -> tuple[float, float, float, float]:
        left, bottom, right, top = self._data.bounds
        if not bbox:
            return left, bottom, right, top
        found = max(left, bbox[0]), max(bottom, bbox[1]), min(right, bbox[2]), min(top, bbox[3])
        if found[0] >= found[2] or found[1] >= found[3]:
            raise ProviderInvalidQueryError("the box misses the coverage")
        return found

    def _thinned(
        self, indexes: list[int], bounds: tuple[float, float, float, float], most: int | None
    ) -> tuple[Any, tuple[float, float, float, float]]:
        """The bands' values in a window, masked, of at most MOST_CELLS a band and `most` along the longer side, and
        where they lie: left, bottom, right, top in the coverage's grid."""
        window = self._data.window(*bounds).round_offsets(op="floor").round_lengths(op="ceil")
        cells = max(window.width, window.height, 1)
        scale = min(1.0, (most or cells) / cells, (MOST_CELLS / max(window.width * window.height, 1)) ** 0.5)
        width, height = max(1, int(window.width * scale)), max(1, int(window.height * scale))
        values = self._data.read(indexes, window=window, out_shape=(len(indexes), height, width), masked=True)
        return values, self._data.window_bounds(window)

    def _coverage_json(
        self, indexes: list[int], bounds: tuple[float, float, float, float], most: int | None
    ) -> dict[str, Any]:
        values, (left, bottom, right, top) = self._thinned(indexes, bounds, most)
        height, width = values.shape[1:]
        across, down = (right - left) / width, (top - bottom) / height
        bands = [self._bands[index - 1] for index in indexes]
        return {
            "type": "Coverage",
            "domain": {
                "type": "Domain",
                "domainType": "Grid",
                "axes": {
                    "x": {"start": left + across / 2, "stop": right - across / 2, "num": width},
                    "y": {"start": top - down / 2, "stop": bottom + down / 2, "num": height},
                },
                "referencing": [
                    {"coordinates": ["x", "y"], "system": _system(self._grid)}
                ],
            },
            "parameters": {band["name"]: _parameter(band) for band in bands},
            "ranges": {
                band["name"]: {
                    "type": "NdArray", "dataType": "float", "axisNames": ["y", "x"], "shape": [height, width],
                    "values": _values(values[position]),
                }
                for position, band in enumerate(bands)
            },
        }  # fmt: skip

    def _get_coverage_properties(self) -> dict[str, Any]:
        return {**super()._get_coverage_properties(), "bbox_crs": _system(self._grid)["id"]}


def _system(grid: int) -> dict[str, str]:
    """The CRS of x and y; a GeoTIFF's degrees are lon, lat whatever the authority says."""
    geographic = vn2000.grid(grid).geographic
    return {"type": "GeographicCRS" if geographic else "ProjectedCRS", "id": CRS84 if grid == 4326 else crs_uri(grid)}


def _parameter(band: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Parameter",
        "unit": {"symbol": {"type": "http://www.opengis.net/def/uom/UCUM/", "value": band["unit"]}},
        "observedProperty": {"id": band["name"], "label": band["title"]},
    }


def _values(band: Any) -> list[float | None]:
    """A masked array row by row; what is masked or not finite is null."""
    flat = np.ma.masked_invalid(band.astype("float64")).round(6).ravel()
    return list(flat.tolist())
