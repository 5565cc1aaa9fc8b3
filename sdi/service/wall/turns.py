"""Whose turn it is: the places of a lane go round by caller, and who has had much waits while others are served.

A caller is an agency, or an address of the public. Places are each worker process's own; what a caller may still have,
and whether it is alone, the workers of a machine know together (`sdi.service.wall.book`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

from sdi.service.wall.book import Book

CALLER: ContextVar[str] = ContextVar("caller", default="")
"""Who the request that runs here is answered for."""
ALONE = 2.0
"""Seconds without a sign of anybody else after which a caller has the service to itself."""
AGAIN = 0.05
"""Seconds after which a caller that had much is looked at again."""


class Shares:
    """How many seconds of slow work each caller may still have while others are served.

    `burst` seconds, which come back at `share` seconds a second. Who is alone spends nothing. Nobody owes more than
    comes back in LONGEST_DEBT seconds.
    """

    LONGEST_DEBT = 120.0

    def __init__(self, share: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._burst, self._clock = share, burst, clock
        self.book = Book()

    def seen(self, caller: str) -> None:
        """Take notice that a caller asked for something, be it small."""
        self.book.seen(caller, self._clock())

    def alone(self, caller: str) -> bool:
        """Whether nobody else was seen for a while."""
        other = self.book.other(caller)
        return other is None or not 0 <= self._clock() - other <= ALONE

    def left(self, caller: str) -> float:
        """Seconds; below zero: owed."""
        left, since = self.book.left(caller) or (self._burst, 0.0)
        passed = self._clock() - since
        # A book that outlived a restart of the machine may tell times to come.
        return min(self._burst, left + passed * self._share) if passed >= 0 else self._burst

    def spend(self, caller: str, seconds: float) -> None:
        if self.alone(caller):
            return
        with self.book.writing():
            left = max(self.left(caller) - seconds, -self.LONGEST_DEBT * self._share)
            self.book.write(caller, left, self._clock())

    def may(self, caller: str) -> bool:
        return self.left(caller) > 0 or self.alone(caller)


class Turns:
    """Some places, of which no caller holds more than `each`; `may`: whether a caller may be given one now."""

    def __init__(self, places: int, each: int, may: Callable[[str], bool] = lambda caller: True) -> None:
        self.each = each
        self._free, self._may = places, may
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._later: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, caller: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(caller)  # it came in the same moment
            raise
        try:
            yield
        finally:
            self._leave(caller)

    def _leave(self, caller: str) -> None:
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        self._free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give what is free to those who wait, one place each, then again."""
        self._forget_gone()
        while self._free and (caller := self._next()) is not None:
            turns = self._waiting.pop(caller)
            turns.popleft().set_result(None)
            self._free -= 1
            self._held[caller] += 1
            if turns:
                self._waiting[caller] = turns  # behind the others
        if self._free and self._waiting and self._later is None:
            self._later = asyncio.get_running_loop().call_later(AGAIN, self._look_again)

    def _look_again(self) -> None:
        self._later = None
        self._hand_out()

    def _next(self) -> str | None:
        ready = (caller for caller in self._waiting if self._held[caller] < self.each and self._may(caller))
        return next(ready, None)

    def _forget_gone(self) -> None:
        for caller, turns in list(self._waiting.items()):
            still = deque(turn for turn in turns if not turn.done())
            if still:
                self._waiting[caller] = still
            else:
                del self._waiting[caller]
