"""Whether somebody still waits for the answer: who hangs up lets go of the query and of its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

SOON = 0.1
"""Seconds after which it is looked at; most answers are ready by then."""
STALLED = 60.0
"""Seconds in which a client that is sent something must take it."""


async def unless_gone[T](request: Request, answer: Awaitable[T]) -> T:
    """The answer, given up when the client hangs up before it is ready: raises ClientDisconnect."""
    work = asyncio.ensure_future(answer)
    try:
        done, _ = await asyncio.wait({work}, timeout=SOON)
        if done:
            return work.result()
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if work.done():
            return work.result()
        raise ClientDisconnect
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait({work})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Stream(StreamingResponse):
    """A streamed answer whose source is closed with it, whether it was sent whole, given up, or taken by nobody."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Any) -> None:
            async with asyncio.timeout(STALLED):
                await send(message)

        async with aclosing(cast("AsyncGenerator[bytes]", self.body_iterator)):
            try:
                await super().__call__(scope, receive, in_time)
            except TimeoutError:
                raise ClientDisconnect from None
