"""What was made at some cost, kept in the memory of one worker under the tag of what it is made of.

A tag names the place, what is shown of which layers, and of each the last load that touched the place. So an entry
dies exactly when a load touches its place: nobody asks for its tag any more, and it is the first to go when room is
needed. Agencies that see the same have the same tags.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sized
from dataclasses import dataclass

ENTRY = 400
"""Bytes that an entry takes besides what it holds, about."""


@dataclass
class _Doing[T]:
    task: asyncio.Task[T]
    waiting: int = 0


class Once[T]:
    """What several ask for at a time, done once for all of them; given up when all of them have hung up."""

    def __init__(self) -> None:
        self._doing: dict[Hashable, _Doing[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._doing

    async def of(self, key: Hashable, do: Callable[[], Awaitable[T]]) -> T:
        doing = self._doing.get(key)
        if doing is None:
            doing = self._doing[key] = _Doing(asyncio.ensure_future(do()))
        doing.waiting += 1
        try:
            return await asyncio.shield(doing.task)
        finally:
            doing.waiting -= 1
            if not doing.waiting:
                if self._doing.get(key) is doing:
                    del self._doing[key]
                if not doing.task.done():
                    doing.task.cancel()
                    await asyncio.wait({doing.task})


class Kept[V: Sized]:
    """`room`: bytes. `made`: what was made; `found`: what was kept already, or was just being made."""

    def __init__(self, room: int) -> None:
        self.room, self.taken = room, 0
        self._entries: OrderedDict[str, V] = OrderedDict()
        self._making: Once[V] = Once()
        self.made = self.found = 0

    def get(self, tag: str) -> V | None:
        value = self._entries.get(tag)
        if value is not None:
            self._entries.move_to_end(tag)
        return value

    def keep(self, tag: str, value: V) -> None:
        """In the place of what was kept under the tag. What was asked for least lately makes room."""
        held = self._entries.pop(tag, None)
        if held is not None:
            self.taken -= len(held) + ENTRY
        self._entries[tag] = value
        self.taken += len(value) + ENTRY
        while self.taken > self.room:
            _, oldest = self._entries.popitem(last=False)
            self.taken -= len(oldest) + ENTRY

    async def of(self, tag: str, make: Callable[[], Awaitable[V]]) -> V:
        """What stands under a tag, made once however many ask for it; given up when all of them have hung up."""
        value = self.get(tag)
        if value is not None or tag in self._making:
            self.found += 1
        return value if value is not None else await self._making.of(tag, lambda: self._make(tag, make))

    async def _make(self, tag: str, make: Callable[[], Awaitable[V]]) -> V:
        self.made += 1
        value = await make()
        self.keep(tag, value)
        return value
