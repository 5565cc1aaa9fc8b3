"""The changes of a layer as they come, for who waits: server-sent events (WHATWG HTML, 9.2).

Each event is a page of changes, and its id the cursor behind it: a browser that lost its connection hands it back in
`Last-Event-ID` and goes on there. A stream ends when the layer, or anybody's rights, are others than when it began:
whoever asks again comes through the door again, so that a key that was revoked opens no stream that goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sdi.access import Agency
from sdi.contract.layer import Layer
from sdi.errors import SdiError
from sdi.service import fresh, problems, rights
from sdi.service.agencies import Agencies
from sdi.service.asked import Asked
from sdi.service.feed import changes
from sdi.service.feed.changes import Told
from sdi.service.feed.offered import FORMATS
from sdi.service.hangup import Stream, unsent
from sdi.service.parameters import limited
from sdi.service.publications import EVERY, Snapshot
from sdi.service.state import service_of
from sdi.service.wall.turns import CALLER

TOGETHER = 100
"""Changes of one event where no limit is asked."""
MOST, EACH = 200, 10
"""Streams of one worker process, and of one caller among them."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection."""
AGAIN = 3
"""Seconds that a browser is told to wait before it connects again."""
LONGEST = 600.0
"""Seconds after which a stream ends where nothing is to be told, and its client comes again."""


class Listeners:
    """Who listens, in one worker process."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return self._held.total()

    def come(self, caller: str) -> bool:
        """Whether there is a place for one more; then it is taken."""
        if self._held[caller] >= EACH or self.count >= MOST:
            return False
        self._held[caller] += 1
        return True

    def go(self, caller: str) -> None:
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]


class Events(Stream):
    """The stream of one listener; its place is free again when it ends, however it ends."""

    def __init__(self, parts: AsyncGenerator[bytes], listeners: Listeners, caller: str, **more: Any) -> None:
        super().__init__(parts, media_type=FORMATS["events"].media_type, **more)
        self._listeners, self._caller = listeners, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._listeners.go(self._caller)


async def answer(request: Request, asked: Asked, layer: Layer) -> Response:
    """The stream; what is wrong with the question is told before it begins. Raises BadRequest, Gone."""
    service = service_of(request)
    limit = limited(asked.parameters, TOGETHER, service.settings.max_limit)
    since = request.headers.get("last-event-id") or asked.parameters.get("since")
    begun = time.monotonic()
    agencies: Agencies = request.app.state.agencies
    register, snapshot = await agencies.register(), await service.publications.current()
    told = await changes.read(service, layer, since, limit)
    headers = {"Cache-Control": fresh.SECRET, "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return unsent(headers, FORMATS["events"].media_type)
    listeners: Listeners = request.app.state.listeners
    caller = CALLER.get()
    if not listeners.come(caller):
        detail = "Too many are listening to changes already."
        return problems.answer(request, 429, "Too Many Requests", detail, {"Retry-After": str(AGAIN)})

    async def stands() -> bool:
        now = await agencies.register()
        same = (now.agencies, now.holders) == (register.agencies, register.holders)
        current = await service.publications.current()
        return same and current.layers.get(layer.id) is layer and time.monotonic() - begun < LONGEST

    async def parts() -> AsyncGenerator[bytes]:
        nonlocal told
        stood, spoken = _standing(snapshot, service.agency, layer), time.monotonic()
        yield f"retry: {AGAIN * 1000}\n\n".encode()
        while True:
            if told.entries:
                yield _event(layer, told)
                spoken = time.monotonic()
            if not told.more:
                while await stands():
                    now = _standing(await service.publications.current(), service.agency, layer)
                    if now != stood:
                        stood = now
                        break
                    if time.monotonic() - spoken > HEARTBEAT:
                        yield b":\n\n"
                        spoken = time.monotonic()
                    await asyncio.sleep(EVERY)
                else:
                    return
            try:
                told = await changes.read(service, layer, told.cursor, limit)
            except SdiError:
                return  # the client asks again, and is told what is wrong

    return Events(parts(), listeners, caller, headers=headers)


def _standing(snapshot: Snapshot, agency: Agency, layer: Layer) -> tuple[Any, ...]:
    """What is another as soon as there may be something to tell."""
    published = snapshot.publications[layer.id]
    return published.generation, published.changed_at, snapshot.beside(rights.seen(agency, layer).sight)


def _event(layer: Layer, told: Told) -> bytes:
    return f"id: {told.cursor}\nevent: changes\ndata: {changes.document(layer, told, None)}\n\n".encode()
