"""The ceiling: a route that does nothing but hand values to prepared SQL and send the text that comes.

It renders every feature when it is asked for. `/?n=` the number of a statement of the file that BARE_STATEMENTS names,
`&v=` its values as a JSON object. No parameter is checked, nothing is counted, linked, tagged or logged, and no lane is
kept free.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from psycopg import sql
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sdi.access import PUBLIC, row_filter, visible
from sdi.contract.layer import Layer
from sdi.store import engine
from sdi.store.statement import as_bytes

_FEATURE = """concat('{{"type":"Feature","id":', to_json(id), ',"geometry":', ST_AsGeoJSON({shape}, {digits}, 0),
 ',"properties":', (SELECT row_to_json(p) FROM (SELECT {columns}) AS p), '}}')"""
_BOX = "ST_MakeEnvelope(%(w)s::float8, %(s)s::float8, %(e)s::float8, %(n)s::float8, 4326)"
_INSIDE = f"geom_wgs84 && {_BOX} AND ST_Intersects(geom_wgs84, {_BOX})"
WHERE = {
    "box": _INSIDE,
    "filter": f"{_INSIDE} AND land_use_code = %(use)s::text",
    "item": "id = %(id)s::text",
    "page": "true",
    "deep": "id > %(after)s::text",
}
_TILE = """WITH tile AS (
    SELECT box, ST_Transform(ST_Expand(box, (ST_XMax(box) - ST_XMin(box)) / 64), 4326) AS around
    FROM ST_TileEnvelope(%(z)s::int, %(x)s::int, %(y)s::int) AS box
), cut AS (
    SELECT id, {columns}, ST_AsMVTGeom(ST_Transform(geom_wgs84, 3857), box, 4096, 64, true) AS geom
    FROM {table}, tile WHERE geom_wgs84 && around AND ({rule})
) SELECT ST_AsMVT(cut, {name}) FROM cut"""


def statements(layer: Layer) -> dict[str, str]:
    """The SQL of each kind of case: what anybody would write, with what the public may see of the layer."""
    rule = sql.SQL((row_filter(PUBLIC, layer) or "true").replace("%", "%%"))
    columns = sql.SQL(", ").join(map(sql.Identifier, visible(PUBLIC, layer)))
    table = sql.Identifier(*layer.table)
    found = {}
    for kind, where in WHERE.items():
        for crs, shape, digits in (("", "geom_wgs84", 8), ("native ", "geom", 4)):
            feature = sql.SQL(_FEATURE).format(
                shape=sql.Identifier(shape), digits=sql.Literal(digits), columns=columns
            )  # fmt: skip
            found[crs + kind] = (
                sql.SQL(
                    "SELECT string_agg(feature, ',') FROM"
                    " (SELECT {} AS feature FROM {} WHERE {} AND ({}) ORDER BY id LIMIT %(limit)s::int) AS page"
                )
                .format(feature, table, sql.SQL(where), rule)
                .as_string()
            )
    plain = sql.SQL(", ").join(sql.Identifier(a) for a in visible(PUBLIC, layer) if layer[a].type != "list")
    tile = sql.SQL(_TILE).format(columns=plain, table=table, rule=rule, name=sql.Literal(layer.id))
    return {**found, "tile": tile.as_string()}


def application() -> Starlette:
    told = {kind: text.encode() for kind, text in json.loads(Path(os.environ["BARE_STATEMENTS"]).read_text()).items()}
    pool = engine.async_pool(os.environ["BARE_DATABASE"], size=8, statement_timeout=60, at_hand=4)

    async def answer(request: Request) -> Response:
        kind, values = request.query_params["n"], json.loads(request.query_params["v"])
        async with pool.connection() as connection, connection.cursor(binary=True) as cursor:
            as_bytes(cursor)
            await cursor.execute(told[kind], values)
            row: Any = await cursor.fetchone()
        if kind == "tile":
            return Response(bytes(row[0] or b""), media_type="application/vnd.mapbox-vector-tile")
        return Response(b'{"type":"FeatureCollection","features":[' + (row[0] or b"") + b"]}", media_type="text/json")

    async def ready(request: Request) -> Response:
        return Response(b"{}")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with pool:
            yield

    return Starlette(routes=[Route("/", answer), Route("/conformance", ready)], lifespan=lifespan)
