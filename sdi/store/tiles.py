"""One vector tile to one bound statement: each layer becomes a layer of a Mapbox Vector Tile 2.1, made in PostGIS.

Tiles are those of WebMercatorQuad (OGC 17-083r4, D.1): row 0 is the northernmost. Rows are found by `geom_wgs84 && box`
with the tile's own box brought to degrees, so the GiST index serves; only what was found is brought to EPSG:3857, which
crosses no datum. The order of the features is fixed, largest first, so that the same rows are the same bytes. What is
too small to be seen, or too much, is not left out, for that would make holes in a dense town: it is drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from sdi.contract.layer import COUNT, Layer
from sdi.contract.query import Sight
from sdi.store import sight as sights
from sdi.store.cql_sql import GEOMETRY, NEAR, condition
from sdi.store.statement import Parameters, Statement

UNITS = 4096
"""Steps along a tile's side; coordinates are whole numbers of them."""
BUFFER = 64
"""Steps by which shapes reach beyond the tile, so that the edges of neighbours are not drawn."""
CAP = 20_000
"""Features of a layer that are drawn as themselves in one tile, the largest."""
SEEN = 8
"""Steps across of the least square: a pixel of a tile that is drawn 512 pixels wide."""
ALONE = 40
"""Steps that an area or a line must reach across to be drawn as itself, five pixels. Of parcels that are smaller a map
shows nothing but their outlines; and a tile hardly holds more than CAP that are larger, so that neighbouring tiles look
alike, and do not end at an edge where the one draws outlines and the other has no room for them."""
COARSE = 15
"""Zoom from which on everything is drawn as itself, however small."""
CELL = 32
"""Steps along the side of a cell, four pixels. In each the features that are not drawn as themselves are drawn as one:
areas as a square of their size, of lines and points the longest."""
CELLS = UNITS // CELL
"""Cells along a tile's side."""
SIMPLIFIED = 13
"""Zoom below which shapes lose the vertices that no step of the tile tells apart."""
MARGIN = 2e-5
"""Degrees by which a search may find more than its box holds: PostGIS keeps boxes in float32 (1.5e-5 at 180)."""

_TURN = 360.0
_RADIUS = 6378137.0
"""Metres: of the sphere of EPSG:3857."""
_DEGREE = math.pi * _RADIUS / 180
"""Metres of EPSG:3857 along a degree of longitude."""


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
    def metres(self) -> tuple[float, float, float]:
        """Of EPSG:3857: the western and the northern edge, and a step."""
        width = _TURN * _DEGREE / (1 << self.zoom)
        half = _TURN * _DEGREE / 2
        return self.column * width - half, half - self.row * width, width / UNITS

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
    empty is left out. A square that stands for several features has COUNT, and of their attributes the class alone.
    """
    parameters = Parameters()
    # Once a statement, for a plan that is kept would make it anew for each feature.
    envelope = sql.SQL("(SELECT ST_TileEnvelope({}, {}, {})::box2d)").format(
        *(sql.SQL("{}::integer").format(parameters.bind(n, "bigint")) for n in (tile.zoom, tile.column, tile.row))
    )
    corners = [parameters.bind(corner, "double precision") for corner in tile.box(BUFFER)]
    box = sql.SQL("ST_MakeEnvelope({}, {}, {}, {}, 4326)").format(*corners)
    made = [_layer(tile, part, envelope, box, parameters) for part in parts]
    return Statement(sql.SQL("SELECT {} AS tile").format(sql.SQL(" || ").join(made)), parameters.values)


def is_of_areas(layer: Layer) -> bool:
    """Whether squares stand for its features where these are too small, or too many."""
    return layer.geometry is not None and layer.geometry.type.endswith("Polygon")


def _layer(
    tile: Tile, part: Part, envelope: sql.Composable, box: sql.Composable, parameters: Parameters
) -> sql.Composable:  # fmt: skip
    layer = part.layer
    numbered = _numbered(layer)
    read = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys(filter(None, ("id", numbered, *part.attributes)))))
    key = sql.SQL("{} AS fid").format(sql.Identifier(numbered)) if numbered else sql.Identifier("id")
    nobodys = sql.SQL("NULL AS {}").format(sql.Identifier("fid" if numbered else "id"))
    shown = [sql.SQL("{} AS {}").format(_value(layer, name), sql.Identifier(name)) for name in part.attributes]
    own = _made(_place(tile, layer, parameters), envelope)
    beyond, kept = _LONGEST, sql.SQL("{}, geom_wgs84").format(read)
    if is_of_areas(layer):
        beyond, kept = _SQUARES, sql.SQL('{} AS "Class", {}').format(_class(part), _GROUND)
    edges = dict(zip(("west", "north", "unit"), (parameters.bind(each, "double precision") for each in tile.metres),
                     strict=True))  # fmt: skip
    columns = sql.SQL(", ").join([key, *shown])
    named = {"name": parameters.bind(layer.id, "text"), "numbered": sql.SQL(", 'fid'") if numbered else sql.SQL("")}
    found = _found(tile, part, box, read, parameters)
    made = _TILE.format(
        found=found, cap=sql.Literal(CAP), across=_ACROSS.format(**edges), down=_DOWN.format(**edges), kept=kept,
        **named, **_chosen(tile, layer, parameters),
        drawn=beyond.format(
            own=own, columns=columns, read=read, cells=sql.Literal(CELLS),
            square=_made(_SQUARE.format(**edges), envelope), unit=edges["unit"],
            empty=sql.SQL(", ").join([nobodys, *(_of_square(part, name) for name in part.attributes)]),
        ),
    )  # fmt: skip
    if tile.zoom < COARSE:
        return made
    if is_of_areas(layer):
        columns += sql.SQL(", NULL::bigint AS {}").format(sql.Identifier(COUNT))
    return _NEAR.format(
        stored=_stored(part, box, parameters), found=found, read=read, own=own, columns=columns, cap=sql.Literal(CAP),
        crowd=made, **named,
    )  # fmt: skip


def _found(
    tile: Tile, part: Part, box: sql.Composable, read: sql.Composable, parameters: Parameters
) -> sql.Composable:  # fmt: skip
    """The rows that lie in the tile, as who asks sees them."""
    where: list[sql.Composable] = [sql.SQL("{} && {}").format(GEOMETRY, box)]
    parameters.near = sights.reach(part.sight)
    if parameters.near is not None:
        near = parameters.bind(parameters.near, "double precision")
        where.append(sql.SQL("{} && ST_Expand({}, {})").format(NEAR, box, near))
    where += [condition(expression, part.layer, parameters) for expression in part.filters]
    rows = sights.relation(part.layer, part.sight, parameters)
    return sql.SQL('SELECT {}, geom_wgs84, {} AS "Reach" FROM {} WHERE {}').format(
        read, _REACH, rows, sql.SQL(" AND ").join(where)
    )


def _stored(part: Part, box: sql.Composable, parameters: Parameters) -> sql.Composable:
    """The stored rows among which all lie that are found, by their boxes alone: what stands behind FROM."""
    near = sights.reach(part.sight)
    if near is not None:
        box = sql.SQL("ST_Expand({}, {})").format(box, parameters.bind(near, "double precision"))
    return sql.SQL("{} WHERE {} && {}").format(sights.relation(part.layer, None, parameters), GEOMETRY, box)


def _least(tile: Tile, layer: Layer) -> float:
    """Degrees that a shape must reach across to be drawn as itself, before COARSE."""
    return 0.0 if _is_of_points(layer) else _TURN / (1 << tile.zoom) * ALONE / UNITS


def _chosen(tile: Tile, layer: Layer, parameters: Parameters) -> dict[str, sql.Composable]:
    """What is drawn as itself, as far as there is room, and what is the rest; and whether all is held at hand for both.

    Where everything is large enough there is a rest in a crowd only: it is not looked for elsewhere.
    """
    beyond = sql.SQL('((SELECT count(*) FROM "Own") >= {} AND id NOT IN (SELECT id FROM "Own"))').format(
        sql.Literal(CAP)
    )  # fmt: skip
    if tile.zoom >= COARSE:
        return {"held": sql.SQL("NOT MATERIALIZED"), "large": sql.SQL("true"), "left": beyond}
    least = parameters.bind(_least(tile, layer), "double precision")
    return {
        "held": sql.SQL("MATERIALIZED"), "large": sql.SQL('"Reach" >= {}').format(least),
        "left": sql.SQL('"Reach" < {} OR {}').format(least, beyond),
    }  # fmt: skip


def _place(tile: Tile, layer: Layer, parameters: Parameters) -> sql.Composable:
    """The shape of a feature, in EPSG:3857."""
    if tile.zoom >= SIMPLIFIED or _is_of_points(layer):
        return sql.SQL("ST_Transform({}, 3857)").format(GEOMETRY)
    step = parameters.bind(_TURN / (1 << tile.zoom) / UNITS, "double precision")
    return sql.SQL("ST_Transform(ST_Simplify({}, {}, true), 3857)").format(GEOMETRY, step)


def _made(shape: sql.Composable, envelope: sql.Composable) -> sql.Composable:
    return sql.SQL("ST_AsMVTGeom({}, {}, {}, {}, true) AS sdi_shape").format(
        shape, envelope, sql.Literal(UNITS), sql.Literal(BUFFER)
    )


def _class(part: Part) -> sql.Composable:
    """What squares are told apart by: the attribute that colours the map, if who asks sees it."""
    name = part.layer.style.classify
    return _value(part.layer, name) if name is not None and name in part.attributes else sql.SQL("NULL::text")


def _of_square(part: Part, name: str) -> sql.Composable:
    """An attribute of a square: the class of most of its ground, and nothing that is one feature's."""
    value: sql.Composable = sql.Identifier("Class") if name == part.layer.style.classify else sql.SQL("NULL")
    return sql.SQL("{} AS {}").format(value, sql.Identifier(name))


_REACH = sql.SQL(
    "greatest(ST_XMax(Box2D(geom_wgs84)) - ST_XMin(Box2D(geom_wgs84)),"
    " ST_YMax(Box2D(geom_wgs84)) - ST_YMin(Box2D(geom_wgs84)))"
)
"""Degrees that a shape reaches across, by its box."""
_MIDDLE = "radians(greatest(-85.06, least(85.06, (ST_YMin(Box2D(geom_wgs84)) + ST_YMax(Box2D(geom_wgs84))) / 2)))"
"""The parallel of the middle of a shape's box, within the set."""
_ACROSS = sql.SQL(
    f"floor(((ST_XMin(Box2D(geom_wgs84)) + ST_XMax(Box2D(geom_wgs84))) / 2 * {_DEGREE!r} - {{west}})"
    f" / ({{unit}} * {CELL}))::integer"
)
_DOWN = sql.SQL(f"floor(({{north}} - ln(tan(pi() / 4 + {_MIDDLE} / 2)) * {_RADIUS}) / ({{unit}} * {CELL}))::integer")
"""The cell of the tile in which the middle of a shape's box lies."""
_TILE = sql.SQL(
    """(WITH "Found" AS {held} ({found}), "Own" AS MATERIALIZED (
    SELECT * FROM "Found" WHERE {large} ORDER BY "Reach" DESC, id COLLATE "C" LIMIT {cap}
), "Rest" AS (
    SELECT {kept}, "Reach", {across} AS "Across", {down} AS "Down" FROM "Found" WHERE {left} OFFSET 0
)
SELECT coalesce(ST_AsMVT("T", {name}, {units}, 'sdi_shape'{numbered}), ''::bytea)
FROM ({drawn} OFFSET 0) AS "T" WHERE sdi_shape IS NOT NULL)""".replace("{units}", str(UNITS))
)
"""The largest features as themselves; the rest is what is too small for that, or too much.

OFFSET 0 keeps the planner from writing what is calculated once for each row into every place where it is named.
"""
_NEAR = sql.SQL(
    """(CASE WHEN (SELECT count(*) FROM (SELECT FROM {stored} LIMIT {cap} + 1) AS "Many") <= {cap} THEN (
    SELECT coalesce(ST_AsMVT("T", {name}, {units}, 'sdi_shape'{numbered} ORDER BY greatest(
        ST_XMax("Box") - ST_XMin("Box"), ST_YMax("Box") - ST_YMin("Box")) DESC, "Found".id COLLATE "C"), ''::bytea)
    FROM (
        SELECT {read}, geom_wgs84, Box2D(geom_wgs84)::box3d AS "Box" FROM ({found}) AS "Found" OFFSET 0
    ) AS "Found", LATERAL (SELECT {own}, {columns}) AS "T"
) ELSE {crowd} END)""".replace("{units}", str(UNITS))
)
"""Where there is no crowd, all as themselves: looked for, placed and sorted once, and nothing held for a rest. That
there is none is told by the boxes of what is stored, in a twentieth of a tile's time. What is hidden counts too, so
both ways make the same bytes of the same features."""
_WITHIN = '"Across" BETWEEN 0 AND {cells} - 1 AND "Down" BETWEEN 0 AND {cells} - 1'
_SQUARES = sql.SQL(
    f"""SELECT {{square}}, {{empty}}, "Count" AS {COUNT} FROM (
    SELECT "Across", "Down", sum("Count")::bigint AS "Count",
        (array_agg("Class" ORDER BY "Area" DESC, "Class"))[1] AS "Class",
        least(greatest(sqrt(sum("Area")), {SEEN} * {{unit}}), greatest({CELL} * {{unit}}, max("Reach") * {_DEGREE!r}))
            AS "Side"
    FROM (
        SELECT "Across", "Down", "Class", count(*) AS "Count", max("Reach") AS "Reach", sum("Area") AS "Area"
        FROM "Rest" WHERE {_WITHIN} GROUP BY 1, 2, 3
    ) AS "Classes" GROUP BY 1, 2 ORDER BY 2, 1
) AS "Squares" UNION ALL SELECT {{own}}, {{columns}}, NULL FROM "Own"
"""
)
"""Squares below the features: one for each cell, as large as what it stands for, so that ground that is covered is
drawn as covered; at least as large as is seen."""
_SQUARE = sql.SQL(
    f"""ST_Expand(ST_SetSRID(ST_MakePoint({{west}} + ("Across" * {CELL} + {CELL // 2}) * {{unit}},
    {{north}} - ("Down" * {CELL} + {CELL // 2}) * {{unit}}), 3857), "Side" / 2)"""
)
_GROUND = sql.SQL(f'ST_Area(geom_wgs84) * {_DEGREE**2!r} / cos({_MIDDLE}) AS "Area"')
"""Square metres of EPSG:3857 that a shape covers, about."""
_LONGEST = sql.SQL(
    f"""SELECT {{own}}, {{columns}} FROM (
    SELECT {{read}}, geom_wgs84 FROM "Own" UNION ALL (
        SELECT DISTINCT ON ("Down", "Across") {{read}}, geom_wgs84 FROM "Rest" WHERE {_WITHIN}
        ORDER BY "Down", "Across", "Reach" DESC, id COLLATE "C"
    )
) AS "Chosen"
"""
)
"""Of lines and points the longest one of each cell, as itself."""


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
_FINITE = sql.SQL("nullif(nullif(nullif({}::double precision, 'NaN'), 'Infinity'), '-Infinity')")


def _latitude(height: float) -> float:
    """The parallel at a height of the matrix, 0 at its northern edge."""
    return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * height))))
