"""The service as measurements want it: one that also tells how full its memories were, and one that keeps nothing.
Nothing is loaded with it that it does not load itself."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sdi.service.app import from_environment
from sdi.service.tiles.packing import KEPT_AS, Tiles
from sdi.settings import read_settings

TILE = 16_000
"""Bytes of what stands for a tile."""


def application() -> Starlette:
    """The service, which also tells how full its memories have been: the most bytes, and how many there may be.

    A memory that is full makes room in halves or piece by piece, so it is looked at whenever something came into it,
    not when somebody asks.
    """
    app, settings = from_environment(), read_settings()
    texts, answers, tiles = app.state.service.reader.texts.kept, app.state.answers, app.state.tiles
    most = {
        "texts": _most(texts, "keep", lambda: texts.taken), "answers": _most(answers, "keep", lambda: answers.size),
        "tiles": _most(tiles.kept, "keep", lambda: tiles.kept.taken),
    }  # fmt: skip
    rooms = {"texts": settings.kept_text * 2**20, "answers": settings.kept_answers * 2**20, "tiles": tiles.kept.room}

    async def kept(request: Request) -> JSONResponse:
        if "tiles" in request.query_params:
            for number in range(tiles.kept.room // TILE):
                tag = f"bench {number}"
                await tiles.as_taken(tag, await tiles.of(tag, _some), [KEPT_AS])
        return JSONResponse({name: (most[name](), room) for name, room in rooms.items()})

    app.router.routes.insert(0, Route("/kept", kept))
    return app


def anew() -> FastAPI:
    """The service that makes every tile anew; SDI_KEPT_ANSWERS=0 does the same for answers."""
    app = from_environment()
    app.state.tiles = Tiles(room=0)
    return app


def _most(memory: Any, name: str, taken: Callable[[], int]) -> Callable[[], int]:
    """What tells the most bytes that a memory took after a call of its method `name`."""
    method, most = getattr(memory, name), [0]

    @wraps(method)
    def noted(*args: Any) -> Any:
        found = method(*args)
        most[0] = max(most[0], taken())
        return found

    @wraps(method)
    async def noted_later(*args: Any) -> Any:
        found = await method(*args)
        most[0] = max(most[0], taken())
        return found

    setattr(memory, name, noted_later if inspect.iscoroutinefunction(method) else noted)
    return lambda: most[0]


async def _some() -> bytes:
    return os.urandom(TILE)
