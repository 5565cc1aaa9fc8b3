"""CRSs as clients name them (OGC API Features Part 2): URIs, axis orders, and boxes brought to CRS84."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np

from sdi.catalog.collection import CRS84, crs_list
from sdi.contract.query import Area
from sdi.errors import BadRequest, UsageError
from sdi.national import vn2000

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
PIECES = 16
"""Into how many pieces an edge of a box in a VN-2000 grid is cut: its sag in lon/lat stays below a centimetre a km."""

NORTH_FIRST = ("geographic", "nztm")
"""Kinds of grids whose axes EPSG orders north (lat), east (lon)."""


@dataclass(frozen=True)
class Crs:
    """`north_first`: the authority orders the axes (north, east), as EPSG:4326 does."""

    uri: str
    epsg: int
    north_first: bool

    @property
    def lonlat(self) -> bool:
        return self.epsg == 4326


DEFAULT = Crs(CRS84, 4326, False)


def resolve(uri: str, grids: Sequence[int], parameter: str) -> Crs:
    """The CRS behind a URI. Raises BadRequest naming the layer's CRSs when it is not one of them."""
    uri = uri.strip()
    allowed = crs_list(grids)
    if uri not in allowed:
        raise BadRequest(
            f"{parameter}: this collection is not offered in '{uri}'.", hint=f"One of: {', '.join(allowed)}"
        )
    if uri == CRS84:
        return DEFAULT
    epsg = int(uri.rsplit("/", 1)[1])
    return Crs(uri, epsg, north_first=vn2000.grid(epsg).kind in NORTH_FIRST)


def numbers(text: str, parameter: str) -> list[float]:
    """Comma-separated finite numbers. Raises BadRequest."""
    parts = [part.strip() for part in text.split(",")]
    if not all(map(_NUMBER.fullmatch, parts)):
        raise BadRequest(f"{parameter} must be numbers separated by commas.")
    values = [float(part) for part in parts]
    if not all(map(isfinite, values)):
        raise BadRequest(f"{parameter} must be finite numbers.")
    return values


def box(text: str, crs: Crs) -> tuple[float, float, float, float]:
    """A bbox parameter as (west, south, east, north) in `crs` with x = east or lon; heights are read and left out."""
    values = numbers(text, "bbox")
    if len(values) not in (4, 6):
        raise BadRequest("bbox must have four numbers, or six with heights.", hint="bbox=west,south,east,north")
    middle = len(values) // 2
    low, high = values[:middle], values[middle:]
    if crs.north_first:
        low, high = [low[1], low[0], *low[2:]], [high[1], high[0], *high[2:]]
    if low[1] > high[1] or (middle == 3 and low[2] > high[2]):
        raise BadRequest("bbox: the lower bound is greater than the upper bound.")
    if low[0] > high[0] and not crs.lonlat:
        raise BadRequest("bbox: the western bound is greater than the eastern bound.")
    return low[0], low[1], high[0], high[1]


def area(bounds: tuple[float, float, float, float], crs: Crs) -> Area:
    """A box as a polygon in CRS84; in lon/lat, west > east crosses the antimeridian. Raises BadRequest."""
    west, south, east, north = bounds
    if crs.lonlat:
        return Area.of_box(west, south, east, north)
    try:
        if crs.epsg == 3857:
            (west, south), (east, north) = vn2000.from_mercator(np.array([(west, south), (east, north)]))
            lonlat = np.array([(west, south), (east, north)])
        else:
            lonlat = vn2000.to_wgs84(np.array(_ring(west, south, east, north, PIECES)), crs.epsg)
    except UsageError:
        raise BadRequest(f"bbox lies outside the area of {crs.uri}.") from None
    if not np.isfinite(lonlat).all():
        raise BadRequest(f"bbox lies outside the area of {crs.uri}.")
    if crs.epsg == 3857:
        return Area.of_box(float(west), float(south), float(east), float(north))
    return Area(tuple((float(x), float(y)) for x, y in lonlat), rectangle=False)


def _ring(west: float, south: float, east: float, north: float, pieces: int) -> tuple[tuple[float, float], ...]:
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    ring = [corners[0]]
    for (x0, y0), (x1, y1) in pairwise(corners):
        ring += [(x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces) for i in range(1, pieces + 1)]
    return tuple(ring)
