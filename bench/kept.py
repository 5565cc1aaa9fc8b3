"""The service, which also tells how full its memories are; nothing is loaded with it that it does not load itself."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sdi.service.app import from_environment
from sdi.settings import read_settings

TILE = 16_000
"""Bytes of what stands for a tile."""


def application() -> Starlette:
    """The service, which also tells how full its memories are: bytes, and how many there may be."""
    app, settings = from_environment(), read_settings()

    async def kept(request: Request) -> JSONResponse:
        state = app.state
        if "tiles" in request.query_params:
            for number in range(state.tiles.room // TILE):
                await state.tiles.of(f"bench {number}", _some)
        texts = state.service.reader.kept
        return JSONResponse({
            "texts": (texts.taken, settings.kept_text * 2**20),
            "answers": (state.answers.size, settings.kept_answers * 2**20),
            "tiles": (state.tiles.taken, state.tiles.room),
        })  # fmt: skip

    app.router.routes.insert(0, Route("/kept", kept))
    return app


async def _some() -> bytes:
    return os.urandom(TILE)
