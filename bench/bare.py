"""The ceiling: a route that does nothing but hand values to prepared SQL and send the text that comes.

`/?n=` the number of a statement of the file that BARE_STATEMENTS names, `&v=` its values as a JSON object. No parameter
is checked, nothing is counted, linked, tagged or logged, and no lane is kept free.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sdi.store import engine
from sdi.store.statement import as_bytes


def application() -> Starlette:
    statements = [text.encode() for text in json.loads(Path(os.environ["BARE_STATEMENTS"]).read_text("utf-8"))]
    pool = engine.async_pool(os.environ["BARE_DATABASE"], size=8, statement_timeout=60, at_hand=4)

    async def answer(request: Request) -> Response:
        values: dict[str, Any] = json.loads(request.query_params["v"])
        async with pool.connection() as connection, connection.cursor(binary=True) as cursor:
            as_bytes(cursor)
            await cursor.execute(statements[int(request.query_params["n"])], values)
            row: Any = await cursor.fetchone()
        return Response(b'{"type":"FeatureCollection","features":[' + (row[0] or b"") + b"]}", media_type="text/json")

    async def ready(request: Request) -> Response:
        return Response(b"{}")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with pool:
            yield

    return Starlette(routes=[Route("/", answer), Route("/conformance", ready)], lifespan=lifespan)
