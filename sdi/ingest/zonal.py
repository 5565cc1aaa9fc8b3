"""What a coverage says about each polygon: statistics of the cells it covers, each cell by its covered share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.feature import Feature, FeatureSource
from exactextract.operation import Operation
from exactextract.raster import RasterioRasterSource
from exactextract.writer import Writer
from numpy.typing import NDArray

from sdi.errors import SourceError, UsageError, nearest
from sdi.national import vn2000

OPERATIONS = ("min", "max", "mean", "median", "count", "stdev")
AT_ONCE = 50_000
"""Polygons of one pass over the coverage."""
CELLS_AT_ONCE = 8_000_000
CACHE_MB = 256
"""Of the cells last read; GDAL would take a twentieth of the machine."""
POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


def zonal(cog: Path, srid: int, geometries: pa.Table, operations: Sequence[str], bands: Sequence[str]) -> pa.Table:
    """Statistics of a coverage for every polygon.

    cog: a file that `receive` wrote, in the grid `srid` (EPSG). geometries: columns `id` and `geom` (EWKB, x = E,
    y = N, any known grids; another datum is crossed by the official operation). operations: of OPERATIONS; `count` is
    the number of cells with data, by covered share. bands: one name for each band of the file, in its order.
    Returns `id` and a double column `<band>_<operation>` for each, in the order given; null where a polygon covers no
    cell with data, and for what is no polygon. Raises UsageError, and SourceError when the file is gone.
    """
    for operation in operations:
        if operation not in OPERATIONS:
            raise UsageError(f"'{operation}' is no zonal statistic.{nearest(operation, OPERATIONS)}")
    names = [f"{band}_{operation}" for band in bands for operation in operations]
    ids = geometries.column("id").combine_chunks()
    polygons = _in_grid(shapely.from_wkb(geometries.column("geom").to_numpy(zero_copy_only=False)), srid)
    found = np.full((len(ids), len(names)), np.nan)
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB), rasterio.open(cog, driver="GTiff") as source:
            if source.count != len(bands):
                raise UsageError(f"{cog.name} has {source.count} bands, {len(bands)} names are given.")
            for part in _neighbourhoods(polygons, source.bounds):
                _measure(source, polygons, part, operations, bands, found)
    except rasterio.errors.RasterioIOError:
        raise SourceError(f"The coverage {cog.name} cannot be read.", hint="Deliver it again.") from None
    columns = [pa.array(found[:, place], mask=np.isnan(found[:, place])) for place in range(len(names))]
    return pa.table([ids, *columns], names=["id", *names])


def _in_grid(geometries: NDArray[Any], srid: int) -> NDArray[Any]:
    """The polygons in the coverage's grid, without SRID; None in place of anything else."""
    polygons = geometries.copy()
    polygons[~np.isin(shapely.get_type_id(geometries), POLYGONS) | shapely.is_empty(geometries)] = None
    srids = shapely.get_srid(polygons)
    for other in set(np.unique(srids[srids > 0]).tolist()) - {srid}:
        rows = srids == other
        polygons[rows] = shapely.transform(polygons[rows], _crossing(other, srid))
    return polygons


def _crossing(source: int, target: int) -> Any:
    if vn2000.grid(source).datum == vn2000.grid(target).datum:
        return lambda xy: vn2000.regrid(xy, source, target)
    return lambda xy: vn2000.from_wgs84(vn2000.to_wgs84(xy, source), target)


def _neighbourhoods(polygons: NDArray[Any], bounds: Any) -> Iterator[NDArray[np.intp]]:
    """Rows of polygons that touch the file, some at a time and near each other, so that cells are read once."""
    tree_order = shapely.STRtree(polygons).query(shapely.box(*bounds))
    boxes = shapely.bounds(polygons[tree_order])
    across, down = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    strip = max((bounds.top - bounds.bottom) / 32, 1e-12)
    rows = tree_order[np.lexsort((across, down // strip))]
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]


def _measure(
    source: Any, polygons: NDArray[Any], rows: NDArray[np.intp], operations: Sequence[str], bands: Sequence[str],
    found: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write the statistics of some rows into their places of `found`."""
    rasters = [RasterioRasterSource(source, index, name=band) for index, band in enumerate(bands, start=1)]
    wanted = [(raster, operation) for raster in rasters for operation in operations]
    asked = [Operation(operation, str(place), raster) for place, (raster, operation) in enumerate(wanted)]
    cells = [Operation("count", f"n{place}", raster) for place, raster in enumerate(rasters)]
    zones, answers = _Zones(rows, shapely.to_wkb(polygons[rows])), _Answers()
    exact_extract(
        rasters, zones, [*asked, *cells], include_cols=["row"], strategy="raster-sequential", output=answers,
        max_cells_in_memory=CELLS_AT_ONCE,
    )  # fmt: skip
    for values in answers.rows:
        for place in range(len(wanted)):
            value = values[str(place)]
            if values[f"n{place // len(operations)}"] > 0 and value is not None:
                found[values["row"], place] = value


class _Zone(Feature):  # type: ignore[misc]
    """A polygon as exactextract asks for it: its row, its WKB."""

    def __init__(self, row: int, wkb: bytes) -> None:
        super().__init__()
        self._row, self._wkb = row, wkb

    def geometry(self) -> bytes:
        return self._wkb

    def get(self, name: str) -> int:
        return self._row

    def fields(self) -> list[str]:
        return ["row"]


class _Zones(FeatureSource):  # type: ignore[misc]
    def __init__(self, rows: NDArray[np.intp], wkb: NDArray[Any]) -> None:
        super().__init__()
        self._zones = [_Zone(row, geometry) for row, geometry in zip(rows.tolist(), wkb.tolist(), strict=True)]

    def count(self) -> int:
        return len(self._zones)

    def __iter__(self) -> Iterator[_Zone]:
        return iter(self._zones)

    def srs_wkt(self) -> None:
        return None


class _Answer(Feature):  # type: ignore[misc]
    """What exactextract found out about a polygon."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Any] = {}

    def set(self, name: str, value: Any) -> None:
        self.values[name] = value

    def set_geometry(self, geometry: Any) -> None:
        """None is asked for."""

    def set_geometry_format(self) -> str:
        return "wkb"


class _Answers(Writer):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []

    def add_operation(self, operation: Any) -> None:
        """The column's name comes with each value."""

    def add_column(self, name: str) -> None:
        """As above."""

    def write(self, feature: Any) -> None:
        answer = _Answer()
        feature.copy_to(answer)
        self.rows.append(answer.values)

    def features(self) -> Iterable[dict[str, Any]]:
        return self.rows
