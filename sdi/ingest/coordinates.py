"""Points from the coordinate columns of a CSV or XLSX, told by their names; WKT columns too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.errors import SourceError
from sdi.ingest.cast import Style, cast, clean
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
class Columns:
    """Which columns of a table without geometry hold its coordinates; they are no attributes."""

    names: tuple[str, ...] = ()
    epsg: int | None = None
    """4326 where the columns' names say longitude and latitude."""
    paper: bool = False
    """They are X and Y, and either may be the northing."""
    exchanged: bool = False
    """X is the northing, as the Vietnamese paper convention has it."""
    styles: tuple[Style, ...] = ()
    """How each column's numbers are written, all over the file."""


def find(columns: Sequence[str], texts: Collection[str], file: str, required: bool = True) -> Columns:
    """Tell the coordinate columns by their names; `texts`: which columns hold text. Raises SourceError when coordinates
    are required and no column holds them."""
    named = {fold(name): name for name in reversed(columns)}
    for key in sorted(WKT & named.keys()):
        if named[key] in texts:
            return Columns((named[key],))
    for east, north, epsg in ((LONGITUDE, LATITUDE, 4326), (EAST, NORTH, None), (X, Y, None)):
        pair = [next((named[key] for key in sorted(keys) if key in named), None) for keys in (east, north)]
        if pair[0] is not None and pair[1] is not None:
            return Columns((pair[0], pair[1]), epsg, paper=east is X)
    if not required:
        return Columns()
    raise SourceError(f"{file} has neither geometry nor coordinate columns.",
                      hint="Name the columns lon and lat, E and N, x and y, kinh_do and vi_do, or wkt.")  # fmt: skip


def points(table: pa.Table, found: Columns) -> Shapes:
    """The geometry of a part of the table."""
    if len(found.names) == 1:
        return _from_wkt(table, found.names[0])
    shapes = np.full(table.num_rows, None, dtype=object)
    if found.names:
        x, y = numbers(table, found)
        x, y = (y, x) if found.exchanged else (x, y)
        there = np.isfinite(x) & np.isfinite(y)
        shapes[there] = shapely.points(x[there], y[there])
    return shapes


def numbers(table: pa.Table, found: Columns) -> tuple[Floats, Floats]:
    """The two columns' numbers, NaN where there is none."""
    x, y = (
        np.asarray(cast(clean(table[name]), "number", style=style)[0].to_numpy(zero_copy_only=False), dtype=np.float64)
        for name, style in zip(found.names, found.styles, strict=True)
    )
    return x, y


def wkt_columns(columns: Sequence[str]) -> list[str]:
    """Columns that GDAL has made the geometry of already."""
    return [name for name in columns if fold(name) == "wkt"]


def _from_wkt(table: pa.Table, column: str) -> Shapes:
    shapes: Shapes = shapely.from_wkt(np.asarray(table[column].to_pylist(), dtype=object), on_invalid="ignore")
    return shapes


def is_paper(x: Floats, y: Floats) -> bool:
    """Whether x is the northing: in Viet Nam northings (890 to 2,650 km) exceed eastings (200 to 850 km) everywhere,
    and longitudes (102° to 110°) exceed latitudes (8° to 24°)."""
    both = np.isfinite(x) & np.isfinite(y)
    if not both.any():
        return False
    across, along = float(np.median(x[both])), float(np.median(y[both]))
    if max(abs(across), abs(along)) <= 180:
        return 8 <= across <= 24 and 102 <= along <= 110
    return 890_000 <= across <= 2_650_000 and 200_000 <= along <= 850_000
