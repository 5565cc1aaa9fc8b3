"""Features in longitude and latitude: their EWKB, and where they lie. Outer rings run counterclockwise and holes
clockwise, as GeoJSON wants them (RFC 7946, 3.1.6), however the file has them: a Shapefile has them the other way round.

Of what is one ring in the grid and stays one, as parcels are, only the numbers differ: they are put into the bytes of
the master, and no geometry is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from sdi.ingest import geometry
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import Coordinates, Shapes
from sdi.ingest.place import Placement
from sdi.ingest.validity import Vertices, counterclockwise, seen_whole

SRID = 4326


@dataclass(frozen=True)
class Degrees:
    """Features as they are shown. `column`: EWKB, null where there is nothing; `middles`: (n, 2) longitude and latitude
    of the middle of each one's box, NaN where there is nothing."""

    column: pa.Array
    middles: Coordinates

    def shapes(self, rows: NDArray[np.intp]) -> Shapes:
        found: Shapes = shapely.from_wkb(self.column.take(pa.array(rows)).to_numpy(zero_copy_only=False))
        return found


def in_degrees(
    master: Shapes, column: pa.Array, vertices: Vertices, known: Shapes, where: Placement, findings: Findings
) -> Degrees:
    """Longitude and latitude of the master by the official operation; `known` is taken where it is given.

    column: the master's EWKB. What has no longitude and latitude is found.
    """
    plain = vertices.lone & shapely.is_missing(known)
    count = np.diff(vertices.begin)
    xy = vertices.xy if plain.all() else vertices.xy[np.repeat(plain, count)]
    places, numbers = geometry.distinct(xy)
    lonlat = where.to_wgs84(places)[numbers] if len(places) else xy
    whole = seen_whole(lonlat, np.concatenate([[0], np.cumsum(count[plain])]))
    rows = np.flatnonzero(plain)[whole]
    lonlat = lonlat if whole.all() else lonlat[np.repeat(whole, count[plain])]
    lonlat = counterclockwise(lonlat, np.concatenate([[0], np.cumsum(count[rows])]))
    if 0 < len(rows) == len(master):
        return Degrees(_put(column, lonlat, count), _middles(lonlat, count))
    others = master.copy()
    others[rows] = None
    others = shapely.orient_polygons(geometry.to_wgs84(others, known, where, findings))
    made, middles = geometry.ewkb(others, SRID), geometry.middles(others)
    if len(rows):
        mask = np.zeros(len(master), dtype=bool)
        mask[rows] = True
        made = pc.replace_with_mask(made, pa.array(mask), _put(column.take(pa.array(rows)), lonlat, count[rows]))
        middles[rows] = _middles(lonlat, count[rows])
    return Degrees(made, middles)


def _put(column: pa.Array, lonlat: Coordinates, count: NDArray[np.intp]) -> pa.Array:
    """Little-endian EWKB of one ring each with other coordinates, which are what it ends with, and SRID."""
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]].copy()
    offsets = offsets - offsets[0]
    parts = np.column_stack([np.diff(offsets) - 16 * count, 16 * count]).ravel()
    data[np.repeat(np.tile([False, True], len(column)), parts)] = lonlat.astype("<f8").view(np.uint8).ravel()
    data[offsets[:-1, None] + np.arange(5, 9)] = np.frombuffer(np.uint32(SRID).astype("<u4").tobytes(), np.uint8)
    return pa.Array.from_buffers(pa.binary(), len(column), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _middles(lonlat: Coordinates, count: NDArray[np.intp]) -> Coordinates:
    begin = np.cumsum(count) - count
    middles: Coordinates = (np.minimum.reduceat(lonlat, begin) + np.maximum.reduceat(lonlat, begin)) / 2
    return middles
