"""Who may hold a connection to the store: what may take long never takes the last ones.

A pool alone serves who comes first, so a few slow filters hold all of it, and a small box waits behind them. Here every
query goes by one of three lanes. QUICK ones, found by an index and small, wait for nothing but a connection. SLOW ones
may search a whole layer, and together hold at most half of the connections. LONG ones send more than is held in memory,
as fast as their client reads; they go by the slow lane too, and hold at most half of that.

On the two narrow lanes turns go round by caller, and nobody holds more than half of their places; who has had more than
a share of their time waits while others are served (`sdi.service.wall.turns`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from enum import Enum
from typing import Any

from sdi.contract.query import FeatureQuery
from sdi.errors import Overloaded
from sdi.service.wall.turns import CALLER, Shares, Turns

HELD = 2000
"""Features of a page that is read whole before it is sent, so that a slow client holds no connection."""
FEW = 1000
"""Features that an offset may skip on the quick lane."""
PATIENCE = 10.0
"""Seconds that a query waits for its turn."""
BURST = 30.0
"""Seconds of slow work that a caller may have before its share is felt."""


class Lane(Enum):
    QUICK = "quick"
    SLOW = "slow"
    LONG = "long"


def lane_of(query: FeatureQuery, *, searched: bool) -> Lane:
    """`searched`: whether features were chosen by anything but an id or a box."""
    if query.limit is None or query.limit > HELD:
        return Lane.LONG
    if searched or query.sort or query.as_of is not None or query.offset > FEW:
        return Lane.SLOW
    return Lane.QUICK


def seconds(lane: Lane, statement_timeout: float) -> float:
    """How long a query may take on a lane: what an index finds half of the setting, what is sent while it is found
    three times as long for each of its parts."""
    return statement_timeout * {Lane.QUICK: 0.5, Lane.SLOW: 1.0, Lane.LONG: 3.0}[lane]


class Lanes:
    """The lanes of one pool of `size` connections. `running`, `most`, `waiting`: queries by lane, now and at most.

    `shares`: how much slow work each caller may have while others are served, in whatever pool of the process.
    """

    def __init__(self, size: int, shares: Shares | None = None) -> None:
        self.places = {Lane.SLOW: max(1, size // 2), Lane.LONG: max(1, size // 4)}
        self.shares = shares or Shares(1.0, BURST)
        self.turns = {lane: Turns(places, max(1, places // 2), self.shares.may) for lane, places in self.places.items()}
        self.running: Counter[Lane] = Counter()
        self.waiting: Counter[Lane] = Counter()
        self.most: Counter[Lane] = Counter()

    def turn(self, lane: Lane) -> AbstractAsyncContextManager[None]:
        """Wait for a place on a lane, and hold it. Raises Overloaded after PATIENCE."""
        caller = CALLER.get()
        self.shares.seen(caller)
        counted = _Counted(self, lane)
        return counted if lane is Lane.QUICK else self._slow(lane, caller, counted)

    @asynccontextmanager
    async def _slow(self, lane: Lane, caller: str, counted: _Counted) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            await self._entered(lane, caller, held)
            held.callback(self._spend, caller, time.monotonic())
            async with counted:
                yield

    def _spend(self, caller: str, since: float) -> None:
        self.shares.spend(caller, time.monotonic() - since)

    async def _entered(self, lane: Lane, caller: str, held: AsyncExitStack) -> None:
        self.waiting[lane] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                # The narrower lane first: who waits there holds no place on the other.
                for passed in (Lane.LONG, Lane.SLOW) if lane is Lane.LONG else (Lane.SLOW,):
                    await held.enter_async_context(self.turns[passed].place(caller))
        except TimeoutError:
            raise Overloaded("Too many slow requests are under way.", hint="Try again in a moment.") from None
        finally:
            self.waiting[lane] -= 1


class _Counted(AbstractAsyncContextManager[None]):
    """Counts a query while it runs."""

    __slots__ = ("_lane", "_lanes")

    def __init__(self, lanes: Lanes, lane: Lane) -> None:
        self._lanes, self._lane = lanes, lane

    async def __aenter__(self) -> None:
        running, most, lane = self._lanes.running, self._lanes.most, self._lane
        running[lane] += 1
        if running[lane] > most[lane]:
            most[lane] = running[lane]

    async def __aexit__(self, *raised: Any) -> None:
        self._lanes.running[self._lane] -= 1
