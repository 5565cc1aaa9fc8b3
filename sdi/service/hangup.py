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
    """The answer, given up when the client hangs up before it is ready: raises ClientDisconnect.

    It is made in this task, as `asyncio.timeout` has it: a task of its own would cost more than most answers take.
    """
    work = asyncio.current_task()
    assert work is not None
    watch = _Watch(request, work)
    try:
        return await answer
    except (asyncio.CancelledError, Exception):
        # Whoever else cancels this task is to be heeded.
        if watch.gone and work.uncancel() <= watch.before:
            raise ClientDisconnect from None
        raise
    finally:
        watch.end()


class _Watch:
    """Looks, after a while, whether the client of a request hangs up, and cancels the work for it."""

    def __init__(self, request: Request, work: asyncio.Task[Any]) -> None:
        self._request, self._work = request, work
        self.before = work.cancelling()
        self.gone = False
        self._looking: asyncio.Task[None] | None = None
        self._soon = asyncio.get_running_loop().call_later(SOON, self._look)

    def end(self) -> None:
        self._soon.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = asyncio.ensure_future(self._cancel())

    async def _cancel(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._work.cancel()


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


def unsent(headers: dict[str, str], media_type: str) -> Stream:
    """The answer to HEAD where GET's is made while it is sent: how long that is, is not known and not said; a plain
    `Response` would say 0 (RFC 9110, 8.6)."""
    return Stream(_nothing(), headers=headers, media_type=media_type)


async def _nothing() -> AsyncGenerator[bytes]:
    yield b""
