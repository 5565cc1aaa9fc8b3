"""What a feature is written as: GeoJSON, JSON-FG, a line of CSV, or the cells that a column of a file is read from.

Each form is an expression over a row: PostgreSQL writes the text, and no value becomes a Python object. In all of them
dates are `YYYY-MM-DD`, times RFC 3339 in UTC with milliseconds, decimals have all their digits, and what is no number
(NaN, infinity) is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from psycopg import sql

from sdi.access import Itself
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.national.vn2000 import grid
from sdi.store.cql_sql import GEOMETRY

Form = Callable[[Layer, FeatureQuery], sql.Composable]
"""What a feature is written as: an expression of type text over the layer's rows."""
Joined = tuple[tuple[Form, str | bytes], ...]
"""Forms, and what joins features in each: text, or bytes where a form is of these."""

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
_FG_FEATURE = sql.SQL(
    """concat('{{"type":"Feature","id":', to_json(id), ',"time":', {time}, ',"place":', {place},
    ',"geometry":', {geometry}, ',"properties":', {properties}, '}}')"""
)
# A cell that a spreadsheet would calculate begins with an apostrophe, as `sdi.ingest.guard` has it.
_GUARDED = sql.SQL(
    r"""CASE WHEN {0} ~ '^''*\s*[=+\-@\t\r\n]' AND {0} !~ '^[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?$'
    THEN '''' ELSE '' END || {0}"""
)
_PLAIN = sql.SQL(r"""'^[^\s",=+@''-][^",\r\n]*$'""")
"""Text that stands in a cell as it is."""


def geojson(layer: Layer, query: FeatureQuery) -> sql.Composable:
    """A GeoJSON Feature (RFC 7946) with its id."""
    shaped = query.geometry and layer.geometry is not None
    return _of_layer(Itself(layer), query.attributes, query.crs if shaped else None, query.north_first)


@lru_cache(maxsize=1000)
def _of_layer(of: Itself, attributes: tuple[str, ...], crs: int | None, north_first: bool) -> sql.SQL:
    """`geojson` by its layer: every page that is put together asks for it."""
    return _feature_text(tuple((name, of.layer[name].type) for name in attributes), crs, north_first)


@lru_cache(maxsize=10)
def with_id(form: Form) -> Form:
    """The id in a column before what another form writes."""
    return lambda layer, query: sql.SQL("id, {}").format(form(layer, query))


def written(layer: Layer, query: FeatureQuery) -> str:
    """The SQL of `geojson`: texts of the same version that it makes are the same."""
    return geojson(layer, query).as_string()


@lru_cache(maxsize=1000)
def _feature_text(types: tuple[tuple[str, str], ...], crs: int | None, north_first: bool) -> sql.SQL:
    """`geojson` written out: putting it together takes a millisecond, and only few are ever asked for."""
    place = sql.SQL("coalesce({}, 'null')").format(geometry_text(crs, north_first))
    text = _FEATURE.format(geometry=place, properties=_properties(types)).as_string()
    return sql.SQL(text)


def _properties(types: tuple[tuple[str, str], ...]) -> sql.Composable:
    columns = [sql.SQL("{} AS {}").format(as_json(type_, name), sql.Identifier(name)) for name, type_ in types]
    if not columns:
        return sql.SQL("'{{}}'").format()
    return sql.SQL('(SELECT row_to_json("P") FROM (SELECT {}) AS "P")').format(sql.SQL(", ").join(columns))


def json_fg(layer: Layer, query: FeatureQuery) -> sql.Composable:
    """A Feature of OGC Features and Geometries JSON: `place` in the query's CRS where that is not CRS84, `geometry` in
    CRS84 always, `time` from the contract's.
    """
    types = tuple((name, layer[name].type) for name in query.attributes)
    shaped = query.geometry and layer.geometry is not None
    elsewhere = shaped and (query.crs != 4326 or query.north_first)
    place = geometry_text(query.crs if elsewhere else None, query.north_first)
    geometry = geometry_text(4326 if shaped else None, False)
    text = _FG_FEATURE.format(
        time=_time(layer, query),
        place=sql.SQL("coalesce({}, 'null')").format(place),
        geometry=sql.SQL("coalesce({}, 'null')").format(geometry),
        properties=_properties(types),
    )
    return sql.SQL(text.as_string())


def _time(layer: Layer, query: FeatureQuery) -> sql.Composable:
    """The member `time`, from attributes that who asks may see. JSON-FG's intervals hold their end, ours end before it:
    a day is taken off.
    """
    temporal = layer.temporal
    named = [] if temporal is None else [temporal.instant, temporal.start, temporal.end]
    used = [name for name in named if name is not None]
    seen = query.sight.attributes if query.sight is not None else ()
    hidden = [name for name in used if name not in query.attributes and name not in seen
              and (query.sight is not None or layer[name].privacy != "open")]  # fmt: skip
    if temporal is None or hidden:
        return sql.SQL("'null'")
    if temporal.instant is not None:
        kind = layer[temporal.instant].type
        word = "date" if kind == "date" else "timestamp"
        return sql.SQL("CASE WHEN {} IS NULL THEN 'null' ELSE json_build_object({}, {})::text END").format(
            sql.Identifier(temporal.instant), sql.Literal(word), as_json(kind, temporal.instant)
        )
    ends = []
    for name, last in ((temporal.start, ""), (temporal.end, " - 1")):
        if name is None:
            ends.append(sql.SQL("'..'").format())
            continue
        day = sql.SQL(last if layer[name].type == "date" else "")
        ends.append(sql.SQL("coalesce(({}{})::text, '..')").format(as_json(layer[name].type, name), day))
    return sql.SQL(
        "CASE WHEN num_nonnulls({}) = 0 THEN 'null' ELSE json_build_object('interval', json_build_array({}))::text END"
    ).format(sql.SQL(", ").join(map(sql.Identifier, used)), sql.SQL(", ").join(ends))


def csv(layer: Layer, query: FeatureQuery) -> sql.Composable:
    """A line of CSV (RFC 4180) without its end, for spreadsheets: `id`, the query's attributes and, if the query has
    geometry, WKT. Text that would be calculated is guarded; lists are JSON text.
    """
    return _line(layer, query, guarded=True)


def csv_head(layer: Layer, query: FeatureQuery) -> str:
    """What stands before the lines of `csv`: a byte order mark, by which spreadsheets know UTF-8, and the names."""
    shaped = query.geometry and layer.geometry is not None
    return "\ufeff" + ",".join(["id", *query.attributes, *(["wkt"] if shaped else [])]) + "\r\n"


def cells(layer: Layer, query: FeatureQuery) -> sql.Composable:
    """As `csv`, for programs: text as it is, x = east or longitude, geometry as WKB in hexadecimal digits, exactly."""
    return _line(layer, query, guarded=False)


def _line(layer: Layer, query: FeatureQuery, *, guarded: bool) -> sql.Composable:
    types = tuple((name, layer[name].type, layer[name].scale) for name in query.attributes)
    shaped = query.geometry and layer.geometry is not None
    return _line_text(types, query.crs if shaped else None, query.north_first and guarded, guarded)


@lru_cache(maxsize=1000)
def _line_text(
    types: tuple[tuple[str, str, int | None], ...], crs: int | None, north_first: bool, guarded: bool
) -> sql.SQL:  # fmt: skip
    columns = [_text("id", guarded), *(_cell(name, kind, scale, guarded) for name, kind, scale in types)]
    if crs is not None:
        place = placed(crs, north_first)
        binary, readable = "encode(ST_AsBinary({}), 'hex')", "ST_AsText({}, {})"
        columns.append(
            _quoted(sql.SQL(readable).format(place, decimals(crs))) if guarded else sql.SQL(binary).format(place)
        )
    filled = (sql.SQL("coalesce({}, '')").format(column) for column in columns)
    return sql.SQL(sql.SQL(" || ',' || ").join(filled).as_string())


def _cell(name: str, kind: str, scale: int | None, guarded: bool) -> sql.Composable:
    column = sql.Identifier(name)
    match kind:
        case "text" | "code":
            return _text(name, guarded)
        case "list":
            return _quoted(sql.SQL("{}::text").format(column))
        case "decimal" if not guarded and scale is not None:
            return sql.SQL("round({}, {})::text").format(_FINITE.format(column), sql.Literal(scale))
        case _:
            return sql.SQL("({})::text").format(as_json(kind, name))


def _text(name: str, guarded: bool) -> sql.Composable:
    """Text as a cell: quoted where it must be, and where it has no letter, so that it differs from what is empty."""
    column = sql.Identifier(name)
    inside = _GUARDED.format(column) if guarded else column
    return sql.SQL("CASE WHEN {0} ~ {1} THEN {0} ELSE {2} END").format(column, _PLAIN, _quoted(inside))


def _quoted(text: sql.Composable) -> sql.Composable:
    return sql.SQL("""'"' || replace({}, '"', '""') || '"'""").format(text)


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
