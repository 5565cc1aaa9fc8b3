"""From the answer to the file, and from the file to the chain: two threads beside the event loop of a worker.

Whoever asks waits for nothing of it: what was answered is held in memory as it is, and one thread makes entries of it,
writes them to a file and brings that to the disk, many at once. So a worker that is killed, and a machine that loses
its power, lose the last of what was answered. How much is bounded by who answers: see BOUND.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import structlog

from sdi.errors import SdiError, StoreError
from sdi.service.audit.kept import Given
from sdi.service.audit.record import Answered, damaged
from sdi.settings import Settings
from sdi.store import engine
from sdi.store.audit import chain
from sdi.store.audit.spool import Spool, folder_of, left

TURN = 0.05
"""Seconds between two times that what was answered is written to the file, and the file brought to the disk."""
BOUND = 0.1
"""Seconds: nothing is answered while what was answered longer ago is not in the file. Whoever answers writes it then,
where the thread did not come to it. So a worker that is killed loses at most what it answered in so many seconds."""
EVERY = 0.5
"""Seconds between two batches that are brought into the database."""
LOOK = 10.0
"""Seconds between two looks for files that others have left."""
LAST = 5.0
"""Seconds that a worker which ends gives to what is not in the database yet; the next one takes over what is left."""

log = structlog.get_logger("sdi.service")


class Recorder:
    """Keeps the entries of one worker, and brings them into the database."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.on = settings.audit != "off"
        self._strict, self._url = settings.audit == "strict", url
        self._spool = Spool(folder_of(settings.data, url), settings.audit_spool * 2**20)
        self._answered: deque[tuple[float, Answered | Given | bytes]] = deque()
        self._writing = threading.Lock()
        self._refused: StoreError | None = None
        self._awake, self._ended = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._connection: engine.Connection | None = None
        self._away = False
        self.every = EVERY

    def start(self) -> None:
        """Begin to write and to bring in what is recorded, and what others have left."""
        if not self.on:
            return
        self._ended.clear()
        self.write()  # a folder that cannot be written to is known before the first answer
        for run in (self._keep, self._carry):
            self._threads.append(threading.Thread(target=run, name=f"sdi-audit{run.__name__}", daemon=True))
            self._threads[-1].start()

    def add(self, answered: Answered | Given | bytes) -> None:
        """Record what is answered now, or an entry that is made. Raises StoreError where it cannot be, unless the
        deployment prefers to answer."""
        now = monotonic()
        try:
            first = self._answered[0][0]
        except IndexError:
            first = now
        if now - first > BOUND:
            self.write()
        if self._refused is not None:
            self._refuse(answered, self._refused)
            return
        self._answered.append((now, answered))
        if not self._awake.is_set():  # to set it takes a lock and wakes a thread
            self._awake.set()

    def _refuse(self, answered: Answered | Given | bytes, error: StoreError) -> None:
        if not isinstance(answered, bytes) and answered.is_open:
            return
        log.error("not recorded", error=error.message)
        if self._strict:
            raise error

    def write(self) -> None:
        """Write what was answered to the file. What cannot be written waits, and whoever asks is refused meanwhile."""
        with self._writing:
            # They leave the queue once they are written: who answers sees how long the first of them waits.
            waiting = [self._answered[number][1] for number in range(len(self._answered))]
            lines = [line for line in map(_line, waiting) if line is not None]
            try:
                self._spool.write(lines)
            except StoreError as error:
                self._refused = error
                return
            for _ in waiting:
                self._answered.popleft()
            self._refused = _too_much() if self._spool.full else None

    def close(self) -> None:
        """Bring in what is left, as far as that takes LAST seconds at most."""
        if self.on:
            self.write()
        self._ended.set()
        self._awake.set()
        for thread in self._threads:
            thread.join(LAST)
        self._threads.clear()
        self._spool.close()

    def _keep(self) -> None:
        while not self._ended.wait(TURN):
            if self._answered or self._refused is not None:
                self.write()
                self._spool.sync()
                continue
            # It sleeps when nothing was asked for a whole turn: to be woken costs who answers more than the rest.
            self._awake.clear()
            if not self._answered:
                self._awake.wait()

    def _carry(self) -> None:
        looked = LOOK
        while not self._ended.wait(self.every):
            looked += self.every
            self._attempt(self._own)
            if looked >= LOOK:
                looked = 0.0
                self._attempt(self._others)
        self._attempt(self._own)
        if self._connection is not None:
            self._connection.close()

    def _attempt(self, bring: Callable[[], None]) -> None:
        """The database may be away: what waits goes on waiting, and the log says so once."""
        try:
            bring()
            self._away = False
        except (SdiError, OSError) as error:
            if not self._away:
                log.warning("the audit trail waits", error=str(error))
            self._away = True
            if self._connection is not None:
                with suppress(SdiError):
                    self._connection.close()
                self._connection = None

    def _own(self) -> None:
        while (lines := self._spool.next()) is not None:
            chain.bring(self._connected(), lines)
            self._spool.done(lines)

    def _others(self) -> None:
        for found in left(self._spool.folder):
            chain.collect(self._connected(), found)

    def _connected(self) -> engine.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = engine.connect(self._url, engine.RECORDER, application="sdi-audit")
        return self._connection


def _too_much() -> StoreError:
    return StoreError(
        "What was asked cannot be recorded: too much waits for the database.", hint="Run 'sdi audit status'."
    )


def _line(answered: Answered | Given | bytes) -> bytes | None:
    if isinstance(answered, bytes):
        return answered
    try:
        return answered.entry()
    except Exception:  # one that cannot be made must not keep the others from the trail
        log.exception("not told in full", request=answered.request)
        return damaged(answered)
