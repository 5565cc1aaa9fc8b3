"""From the answer to the file, and from the file to the chain: two threads beside the event loop of a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from sdi.errors import SdiError, StoreError
from sdi.settings import Settings
from sdi.store import engine
from sdi.store.audit import chain
from sdi.store.audit.spool import SYNC, Spool, folder_of, left

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
        self._settings, self._url = settings, url
        self._spool = Spool(folder_of(settings.data, url), settings.audit_spool * 2**20)
        self._written, self._ended = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._connection: engine.Connection | None = None
        self._away = False
        self.every = EVERY

    @property
    def on(self) -> bool:
        return self._settings.audit != "off"

    @property
    def waiting(self) -> int:
        """Bytes that are not in the database yet."""
        return self._spool.waiting

    def start(self) -> None:
        """Begin to bring in what is recorded, and what others have left."""
        if not self.on:
            return
        self._ended.clear()
        for run in (self._sync, self._carry):
            self._threads.append(threading.Thread(target=run, name=f"sdi-audit{run.__name__}", daemon=True))
            self._threads[-1].start()

    def add(self, line: bytes) -> None:
        """Record an entry. Raises StoreError where it cannot be, unless the deployment prefers to answer."""
        try:
            self._spool.add(line)
        except StoreError as error:
            log.error("not recorded", error=error.message)
            if self._settings.audit == "strict":
                raise
            return
        if not self._written.is_set():  # to set it takes a lock and wakes a thread
            self._written.set()

    def close(self) -> None:
        """Bring in what is left, as far as that takes LAST seconds at most."""
        self._ended.set()
        self._written.set()
        for thread in self._threads:
            thread.join(LAST)
        self._threads.clear()
        self._spool.close()

    def _sync(self) -> None:
        while not self._ended.is_set():
            self._written.wait()
            self._ended.wait(SYNC)
            self._written.clear()  # before: what is added from here on sets it again, or is seen below
            self._spool.sync()

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
