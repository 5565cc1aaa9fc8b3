"""Tiles that were made: sent first, and packed to be kept afterwards.

A tile is packed before it is sent only for who takes that, and only as they take it. Everybody else is sent it as it
was made; what is to be kept waits for its packing, some bytes of it, and what has no place there is not kept. All of it
stands under the tag of what it is made of (`cache.py`): packed late, a tile that a load has passed in the meantime lies
under a tag that nobody asks for any more.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool

from sdi.service.compression import BLOCKING, pack, unpack
from sdi.service.tiles.cache import Kept, Once

ROOM = 12 * 1024 * 1024
"""Bytes that the tiles of one worker take, compressed: some 800 of a city's."""
WAITING = 4 * 1024 * 1024
"""Bytes of tiles, as they were made, that wait for their packing: five of a dense town at zoom 15."""
AFTER = 0.05
"""Seconds until what was made is packed: by then it is on its way, or packed as its client takes it."""
KEPT_AS = "gzip"
"""Whoever takes zstd takes it too, and it is made in two thirds of the time."""


@dataclass(frozen=True)
class Body:
    """A tile in a coding; None: as it was made. `digest`: of it as it was made."""

    content: bytes
    digest: str
    coding: str | None = None

    @classmethod
    def of(cls, made: bytes) -> Body:
        return cls(made, hashlib.sha256(made).hexdigest())

    def __len__(self) -> int:
        return len(self.content)


class Tiles:
    """`room`: bytes of what is kept, `most`: of what waits. `made`, `found`: tiles that were made; that were there, or
    were just being made."""

    def __init__(self, room: int = ROOM, most: int = WAITING) -> None:
        self.kept: Kept[Body] = Kept(room)
        self.waiting: dict[str, Body] = {}
        """Made and not packed yet, the oldest first."""
        self._most = most
        self._making: Once[Body] = Once()
        self._coding: Once[Body] = Once()
        self._packing: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self.made = self.found = 0

    @property
    def backlog(self) -> int:
        """Bytes that wait."""
        return sum(map(len, self.waiting.values()))

    async def of(self, tag: str, make: Callable[[], Awaitable[bytes]]) -> Body:
        """The tile of a tag as it lies there, made once however many ask for it."""
        body = self.kept.get(tag)
        if body is None:
            body = self.waiting.get(tag)
        if body is not None or tag in self._making:
            self.found += 1
        return body if body is not None else await self._making.of(tag, lambda: self._make(tag, make))

    async def as_taken(self, tag: str, body: Body, codings: Sequence[str]) -> Body:
        """A tile as a client takes it: as it lies there, if it can, else in the first of its codings, which is then
        kept; without any as it was made."""
        if body.coding in codings or not (body.content and (codings or body.coding)):
            return body
        coding = codings[0] if codings else None
        return await self._coding.of((tag, coding), lambda: self._coded(tag, body, coding))

    async def _make(self, tag: str, make: Callable[[], Awaitable[bytes]]) -> Body:
        self.made += 1
        body = Body.of(await make())
        if not body.content:
            self.kept.keep(tag, body)
        elif not self.waiting or self.backlog + len(body) <= self._most:
            self.waiting[tag] = body
            self._pack_soon()
        return body

    async def _coded(self, tag: str, body: Body, coding: str | None) -> Body:
        if len(body) >= BLOCKING:
            coded = await run_in_threadpool(_coded, body, coding)
        else:
            coded = _coded(body, coding)
        if coding is not None:
            self._keep(tag, coded)
        return coded

    def _keep(self, tag: str, body: Body) -> None:
        """What is kept as gzip stays so: not everybody takes the other."""
        self.waiting.pop(tag, None)
        held = self.kept.get(tag)
        if held is None or held.coding != KEPT_AS:
            self.kept.keep(tag, body)

    def _pack_soon(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(AFTER, self._begin)

    def _begin(self) -> None:
        self._soon = None
        if self._packing is None or self._packing.done():
            self._packing = asyncio.ensure_future(self._pack())

    async def _pack(self) -> None:
        """Pack what waits, one tile after another: so packing never takes more than one processor."""
        while self.waiting:
            tag = next(iter(self.waiting))
            try:
                await self.as_taken(tag, self.waiting[tag], [KEPT_AS])
            finally:
                self.waiting.pop(tag, None)


def _coded(body: Body, coding: str | None) -> Body:
    plain = body.content if body.coding is None else unpack(body.content, body.coding)
    return replace(body, content=plain if coding is None else pack(plain, coding), coding=coding)
