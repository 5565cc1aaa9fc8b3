"""Tiles that were made and compressed, kept in the memory of one worker under the tag of what they are made of.

A tag names the place, what is shown of which layers, and of each the last load that touched the place. So an entry
dies exactly when a load touches its place: nobody asks for its tag any more, and it is the first to go when room is
needed. Agencies that see the same have the same tags.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

ROOM = 12 * 1024 * 1024
"""Bytes that the tiles of one worker take, compressed: some 800 of a city's."""
ENTRY = 400
"""Bytes that an entry takes besides its tile, about."""


@dataclass
class _Making:
    task: asyncio.Task[bytes]
    waiting: int = 0


class Tiles:
    """`room`: bytes. `made`: tiles that were made; `found`: those that were kept already, or were just being made."""

    def __init__(self, room: int = ROOM) -> None:
        self.room, self._taken = room, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._making: dict[str, _Making] = {}
        self.made = self.found = 0

    async def of(self, tag: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The tile of a tag, made once however many ask for it; given up when all of them have hung up."""
        body = self._kept.get(tag)
        if body is not None:
            self._kept.move_to_end(tag)
            self.found += 1
            return body
        making = self._making.get(tag)
        if making is None:
            making = self._making[tag] = _Making(asyncio.ensure_future(self._make(tag, make)))
        else:
            self.found += 1
        making.waiting += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            if not making.waiting:
                if self._making.get(tag) is making:
                    del self._making[tag]
                if not making.task.done():
                    making.task.cancel()
                    await asyncio.wait({making.task})

    async def _make(self, tag: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        self.made += 1
        body = await make()
        if tag not in self._kept:
            self._kept[tag] = body
            self._taken += len(body) + ENTRY
        while self._taken > self.room:
            _, oldest = self._kept.popitem(last=False)
            self._taken -= len(oldest) + ENTRY
        return body

    @property
    def taken(self) -> int:
        """Bytes that are taken now."""
        return self._taken
