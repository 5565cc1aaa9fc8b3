"""One vector tile to one bound statement: each layer becomes a layer of a Mapbox Vector Tile 2.1, made in PostGIS.

Tiles are those of WebMercatorQuad (OGC 17-083r4, D.1): row 0 is the northernmost. Rows are found by `geom_wgs84 && box`
with the tile's own box brought to degrees, so the GiST index serves; only what was found is brought to EPSG:3857, which
crosses no datum. The order of the features is fixed, largest first, so that the same rows are the same bytes, and a
tile that holds too many keeps the ones that are seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import Sight
from sdi.store import sight as sights
from sdi.store.cql_sql import GEOMETRY, NEAR, condition
from sdi.store.statement import Parameters, Statement

UNITS = 4096
"""Steps along a tile's side; coordinates are whole numbers of them."""
BUFFER = 64
"""Steps by which shapes reach beyond the tile, so that the edges of neighbours are not drawn."""
CAP = 20_000
"""Features of a layer that one tile holds at most."""
SEEN = 8
"""Steps that an area or a line must reach across to be seen: a pixel of a tile that is drawn 512 pixels wide."""
COARSE = 15
"""Zoom from which on everything is kept, however small."""
SIMPLIFIED = 13
"""Zoom below which shapes lose the vertices that no step of the tile tells apart."""
MARGIN = 2e-5
"""Degrees by which a search may find more than its box holds: PostGIS keeps boxes in float32 (1.5e-5 at 180)."""

_TURN = 360.0


@dataclass(frozen=True)
class Tile:
    """A tile of WebMercatorQuad: tile matrix (zoom), row from the north, column from 180° W."""

    zoom: int
    row: int
    column: int

    def box(self, margin: float = 0.0) -> tuple[float, float, float, float]:
        """West, south, east, north in WGS 84 degrees; `margin`: steps of the tile by which it is widened."""
        count, edge = 1 << self.zoom, margin / UNITS
        west, east = ((self.column + end) / count * _TURN - 180.0 for end in (-edge, 1 + edge))
        north, south = (_latitude((self.row + end) / count) for end in (-edge, 1 + edge))
        return west, south, east, north

    @property
    def searched(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees of all that its answer can depend on."""
        west, south, east, north = self.box(BUFFER)
        return west - MARGIN, south - MARGIN, east + MARGIN, north + MARGIN


@dataclass(frozen=True)
class Part:
    """What a tile shows of one layer. All names are attributes that who asks may see."""

    layer: Layer
    attributes: tuple[str, ...]
    filters: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    """CQL2-JSON expressions that a feature must fulfil to exist for who asks."""
    sight: Sight | None = None
    """What who asks sees of the features; None: all of each one."""


def column_of(longitude: float, zoom: int) -> int:
    """The column in which a meridian (degrees) lies."""
    count = 1 << zoom
    return max(0, min(count - 1, math.floor((longitude + 180.0) / _TURN * count)))


def row_of(latitude: float, zoom: int) -> int:
    """The row in which a parallel (degrees) lies."""
    count = 1 << zoom
    return max(0, min(count - 1, math.floor(height_of(latitude) * count)))


def height_of(latitude: float) -> float:
    """How far south of the matrix's upper edge a parallel lies, 0 to 1."""
    sine = math.sin(math.radians(max(-85.06, min(85.06, latitude))))
    return 0.5 - math.log((1 + sine) / (1 - sine)) / (4 * math.pi)


def select_tile(tile: Tile, parts: Sequence[Part]) -> Statement:
    """One row, one column: the bytes of a vector tile with a layer for each part, empty where nothing is found.

    A feature has its id as the attribute `id` (or as its number, where the contract's identifier is an integer), and
    what of its attributes is asked. Dates and times are text (RFC 3339), decimals numbers, lists JSON text; what is
    empty is left out.
    """
    parameters = Parameters()
    envelope = sql.SQL("ST_TileEnvelope({}, {}, {})").format(
        *(sql.SQL("{}::integer").format(parameters.bind(n, "bigint")) for n in (tile.zoom, tile.column, tile.row))
    )
    corners = [parameters.bind(corner, "double precision") for corner in tile.box(BUFFER)]
    box = sql.SQL("ST_MakeEnvelope({}, {}, {}, {}, 4326)").format(*corners)
    made = [_layer(tile, part, envelope, box, parameters) for part in parts]
    return Statement(sql.SQL("SELECT {} AS tile").format(sql.SQL(" || ").join(made)), parameters.values)


def _layer(
    tile: Tile, part: Part, envelope: sql.Composable, box: sql.Composable, parameters: Parameters
) -> sql.Composable:  # fmt: skip
    layer = part.layer
    numbered = _numbered(layer)
    key = sql.SQL("{} AS fid").format(sql.Identifier(numbered)) if numbered else sql.Identifier("id")
    shown = [sql.SQL("{} AS {}").format(_value(layer, name), sql.Identifier(name)) for name in part.attributes]
    columns = sql.SQL(", ").join([key, *shown])
    where: list[sql.Composable] = [sql.SQL("{} && {}").format(GEOMETRY, box)]
    parameters.near = sights.reach(part.sight)
    if parameters.near is not None:
        near = parameters.bind(parameters.near, "double precision")
        where.append(sql.SQL("{} && ST_Expand({}, {})").format(NEAR, box, near))
    where += [condition(expression, layer, parameters) for expression in part.filters]
    if tile.zoom < COARSE and not _is_of_points(layer):
        least = _TURN / (1 << tile.zoom) * SEEN / UNITS
        where.append(sql.SQL("{} >= {}").format(_REACH, parameters.bind(least, "double precision")))
    place: sql.Composable = GEOMETRY
    if tile.zoom < SIMPLIFIED and not _is_of_points(layer):
        step = _TURN / (1 << tile.zoom) / UNITS
        place = sql.SQL("ST_Simplify({}, {}, true)").format(GEOMETRY, parameters.bind(step, "double precision"))
    return _MADE.format(
        columns=columns, place=place, envelope=envelope, units=sql.Literal(UNITS), buffer=sql.Literal(BUFFER),
        rows=sights.relation(layer, part.sight, parameters), where=sql.SQL(" AND ").join(where), reach=_REACH,
        cap=sql.Literal(CAP),
        name=parameters.bind(layer.id, "text"),
        numbered=sql.SQL(", 'fid'") if numbered else sql.SQL(""),
    )  # fmt: skip


_REACH = sql.SQL(
    "greatest(ST_XMax(Box2D(geom_wgs84)) - ST_XMin(Box2D(geom_wgs84)),"
    " ST_YMax(Box2D(geom_wgs84)) - ST_YMin(Box2D(geom_wgs84)))"
)
"""Degrees that a shape reaches across, by its box."""
_MADE = sql.SQL(
    """(SELECT coalesce(ST_AsMVT("T", {name}, {units}, 'sdi_shape'{numbered}), ''::bytea) FROM (
    SELECT ST_AsMVTGeom(ST_Transform({place}, 3857), {envelope}, {units}, {buffer}, true) AS sdi_shape, {columns}
    FROM {rows} WHERE {where} ORDER BY {reach} DESC, id COLLATE "C" LIMIT {cap}
) AS "T" WHERE sdi_shape IS NOT NULL)"""
)


def _numbered(layer: Layer) -> str | None:
    """The attribute whose whole number is the feature's id; None: ids are text, which a vector tile has no room for."""
    name = layer.identifier.attribute if layer.identifier else None
    return name if name is not None and name in layer.by_name and layer[name].type == "integer" else None


def _is_of_points(layer: Layer) -> bool:
    return layer.geometry is not None and layer.geometry.type.endswith("Point")


def _value(layer: Layer, name: str) -> sql.Composable:
    """An attribute in a type that a vector tile has: text, double, int64 or boolean."""
    column = sql.Identifier(name)
    match layer[name].type:
        case "date" | "list":
            return sql.SQL("{}::text").format(column)
        case "datetime":
            return _INSTANT.format(column)
        case "decimal" | "number":
            return _FINITE.format(column)
        case _:
            return column


_INSTANT = sql.SQL("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
_FINITE = sql.SQL("CASE WHEN abs({0}) < 'Infinity' THEN {0}::double precision END")


def _latitude(height: float) -> float:
    """The parallel at a height of the matrix, 0 at its northern edge."""
    return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * height))))
