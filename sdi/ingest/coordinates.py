"""Points from the coordinate columns of a CSV or XLSX, told by their names; WKT columns too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.errors import SourceError
from sdi.ingest.cast import cast, clean
from sdi.ingest.encoding import text_columns
from sdi.ingest.geometry import Shapes
from sdi.national.text import fold

Floats = NDArray[np.float64]

LONGITUDE = frozenset({"lon", "lng", "long", "longitude", "kinhdo"})
LATITUDE = frozenset({"lat", "latitude", "vido"})
EAST = frozenset({"e", "east", "easting", "toadoe", "toadodong"})
NORTH = frozenset({"n", "north", "northing", "toadon", "toadobac"})
X = frozenset({"x", "xm", "toadox", "xcoord", "coordx", "pointx", "xvn2000"})
Y = frozenset({"y", "ym", "toadoy", "ycoord", "coordy", "pointy", "yvn2000"})
WKT = frozenset({"wkt", "geom", "geometry", "thegeom", "shape", "hinhhoc"})
TABLES = frozenset({"CSV", "XLSX"})


@dataclass(frozen=True)
class Points:
    shapes: Shapes
    columns: tuple[str, ...]
    """The columns that were coordinates; they are no attributes."""
    epsg: int | None
    """4326 where the columns' names say longitude and latitude."""
    exchanged: bool = False
    """X was the northing, as the Vietnamese paper convention has it."""


def find(table: pa.Table, file: str, required: bool = True) -> Points:
    """Make points of a table without geometry. Raises SourceError when they are required and no column holds them."""
    named = {fold(name): name for name in reversed(table.column_names)}
    texts = text_columns(table)
    for key in sorted(WKT & named.keys()):
        if named[key] in texts:
            return Points(_from_wkt(table, named[key]), (named[key],), None)
    for east, north, epsg in ((LONGITUDE, LATITUDE, 4326), (EAST, NORTH, None), (X, Y, None)):
        pair = [next((named[key] for key in sorted(keys) if key in named), None) for keys in (east, north)]
        if pair[0] is not None and pair[1] is not None:
            return _from_columns(table, (pair[0], pair[1]), epsg, paper=east is X)
    if not required:
        return Points(np.full(table.num_rows, None, dtype=object), (), None)
    raise SourceError(f"{file} has neither geometry nor coordinate columns.",
                      hint="Name the columns lon and lat, E and N, x and y, kinh_do and vi_do, or wkt.")  # fmt: skip


def wkt_columns(table: pa.Table) -> list[str]:
    """Columns that GDAL has made the geometry of already."""
    return [name for name in table.column_names if fold(name) == "wkt"]


def _from_wkt(table: pa.Table, column: str) -> Shapes:
    shapes: Shapes = shapely.from_wkt(np.asarray(table[column].to_pylist(), dtype=object), on_invalid="ignore")
    return shapes


def _from_columns(table: pa.Table, columns: tuple[str, str], epsg: int | None, paper: bool) -> Points:
    x, y = (_numbers(table, name) for name in columns)
    exchanged = paper and _is_paper(x, y)
    if exchanged:
        x, y = y, x
    there = np.isfinite(x) & np.isfinite(y)
    shapes = np.full(len(x), None, dtype=object)
    shapes[there] = shapely.points(x[there], y[there])
    return Points(shapes, columns, epsg, exchanged)


def _numbers(table: pa.Table, name: str) -> Floats:
    column, _ = cast(clean(table[name]), "number")
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _is_paper(x: Floats, y: Floats) -> bool:
    """Whether x is the northing: in Viet Nam northings (890 to 2,650 km) exceed eastings (200 to 850 km) everywhere,
    and longitudes (102° to 110°) exceed latitudes (8° to 24°)."""
    both = np.isfinite(x) & np.isfinite(y)
    if not both.any():
        return False
    across, along = float(np.median(x[both])), float(np.median(y[both]))
    if max(abs(across), abs(along)) <= 180:
        return 8 <= across <= 24 and 102 <= along <= 110
    return 890_000 <= across <= 2_650_000 and 200_000 <= along <= 850_000
