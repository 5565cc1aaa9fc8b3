"""What a feature is written as: GeoJSON, JSON-FG, a line of CSV, or the cells that a column of a file is read from.

Each form is an expression over a row: PostgreSQL writes the text, and no value becomes a Python object. In all of them
dates are `YYYY-MM-DD`, times RFC 3339 in UTC with milliseconds, decimals have all their digits, and what is no number
(NaN, infinity) is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.national.vn2000 import grid
from sdi.store.cql_sql import GEOMETRY

Form = Callable[[Layer, FeatureQuery], sql.Composable]
"""What a feature is written as: an expression of type text over the layer's rows."""

DECIMALS_DEGREE = 8
"""1.1 mm."""
DECIMALS_METRE = 4

_ISO = sql.SQL("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
_FINITE = sql.SQL("nullif(nullif(nullif({}, 'NaN'), 'Infinity'), '-Infinity')")
# A client that takes an attribute's type from the first features, as QGIS 3.22 does, leaves 0.93 empty after 0.
_POINTED_DECIMAL = sql.SQL("CASE WHEN abs({0}) < 'Infinity' THEN {0} + 0.0 END")
_POINTED_NUMBER = sql.SQL(
    """CASE WHEN {0} = trunc({0}) AND abs({0}) < 1e15 THEN to_json({0}::bigint::numeric(16, 1))
    WHEN abs({0}) < 'Infinity' THEN to_json({0}) END"""
)
_FEATURE = sql.SQL(
    """concat('{{"type":"Feature","id":', to_json(id),
    ',"geometry":', {geometry}, ',"properties":', {properties}, '}}')"""
)


def geojson(layer: Layer, query: FeatureQuery) -> sql.Composable:
    """A GeoJSON Feature (RFC 7946) with its id."""
    types = tuple((name, layer[name].type) for name in query.attributes)
    shaped = query.geometry and layer.geometry is not None
    return _feature_text(types, query.crs if shaped else None, query.north_first)


@lru_cache(maxsize=1000)
def _feature_text(types: tuple[tuple[str, str], ...], crs: int | None, north_first: bool) -> sql.SQL:
    """`geojson` written out: putting it together takes a millisecond, and only few are ever asked for."""
    columns = [sql.SQL("{} AS {}").format(as_json(type_, name), sql.Identifier(name)) for name, type_ in types]
    properties = (
        sql.SQL('(SELECT row_to_json("P") FROM (SELECT {}) AS "P")').format(sql.SQL(", ").join(columns))
        if columns
        else sql.SQL("'{{}}'").format()
    )
    place = sql.SQL("coalesce({}, 'null')").format(geometry_text(crs, north_first))
    text = _FEATURE.format(geometry=place, properties=properties).as_string()
    return sql.SQL(text)


def as_json(type_: str, name: str) -> sql.Composable:
    """An attribute as row_to_json is to see it."""
    column = sql.Identifier(name)
    match type_:
        case "datetime":
            return _ISO.format(column)
        case "decimal":
            return _POINTED_DECIMAL.format(column)
        case "number":
            return _POINTED_NUMBER.format(column)
        case _:
            return column


def finite(layer: Layer, name: str) -> sql.Composable:
    """An attribute, null for what is no number: JSON has no word for NaN and infinity."""
    column = sql.Identifier(name)
    return _FINITE.format(column) if layer[name].type in ("number", "decimal") else column


def geometry_text(crs: int | None, north_first: bool) -> sql.Composable:
    """The geometry's GeoJSON text, None: no geometry."""
    if crs is None:
        return sql.SQL("NULL::text")
    return sql.SQL("ST_AsGeoJSON({}, {}, 0)").format(placed(crs, north_first), decimals(crs))


def decimals(crs: int) -> sql.Literal:
    """How many decimals of a coordinate are written in a CRS."""
    return sql.Literal(DECIMALS_DEGREE if grid(crs).geographic else DECIMALS_METRE)


def placed(crs: int, north_first: bool = False) -> sql.Composable:
    """The geometry in a CRS. Only CRSs of one datum are transformed into each other (see sdi.national)."""
    target = grid(crs)
    if crs == 4326:
        place: sql.Composable = GEOMETRY
    elif target.datum == "WGS 84":
        place = sql.SQL("ST_Transform({}, {})").format(GEOMETRY, sql.Literal(target.epsg))
    else:
        place = sql.SQL("CASE ST_SRID(geom) WHEN {0} THEN geom ELSE sdi.regrid(geom, {0}) END").format(
            sql.Literal(target.epsg)
        )
    return sql.SQL("ST_FlipCoordinates({})").format(place) if north_first else place
