"""The files of texts that are ready: which there are, and when one is made anew.

A file stands for the open view of one layer. What a load changes is rendered when it is asked for, until that is more
than a twentieth of the layer.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import structlog

from sdi.contract.layer import Layer
from sdi.errors import SdiError
from sdi.service.publications import Publications, Snapshot
from sdi.service.reader import Reader
from sdi.service.rights import open_view
from sdi.service.texts.make import LARGE, MADE, Order
from sdi.service.texts.ready import Ready, mark, view_of
from sdi.settings import Settings
from sdi.store.ledger import Publication

LEAST = 10_000
"""Features of a layer below which its texts are soon in the workers' memories."""
NEWER = 0.05
"""Share of the features that may be newer than the file."""
LOOK = 2.0
"""Seconds between two looks at the folder."""
AGAIN = 600.0
"""Seconds until what could not be made is tried again."""
TAKEN = -1
"""In place of an exit code: another process of the machine makes a file."""
FORGOTTEN = 3600.0
"""Seconds after which a file that no contract names any more is removed, and one that was never finished."""
SUFFIX = ".texts"
PROCESS = [sys.executable, "-m", "sdi.service.texts.make"]

log = structlog.get_logger("sdi.service")


class Shelf:
    """The files of one process; `keep` goes on until it is cancelled."""

    def __init__(self, settings: Settings, url: str, least: int = LEAST) -> None:
        """`url`: the database's. `least`: features that the public sees of a layer that has a file."""
        self.folder = settings.data / "texts"
        self._url, self._least, self._most = url, least, settings.ready_text * 2**20
        self._open: dict[str, Ready] = {}
        self._judged: dict[str, tuple[Any, float]] = {}
        """View -> what was there when its file was looked at, and until when that stands."""
        self._wanted: set[Path] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def of(self, view: str) -> Ready | None:
        """The file of a view (`view_of`)."""
        ready = self._open.get(view)
        return None if ready is None or ready.strange else ready

    async def keep(self, publications: Publications, reader: Reader) -> None:
        """Open what is there, and have made what is not, of what was published when somebody asked last."""
        while self._most:
            await asyncio.sleep(LOOK)
            try:
                begun = publications.latest.version >= 0
                snapshot = publications.latest if begun else await publications.current()
                await self.look(snapshot, publications.registry.folder, reader)
            except SdiError:
                pass  # the store is away: whoever asks for something says so
            except OSError as error:
                log.warning("no look at the texts that are ready", error=error.strerror)

    async def look(self, snapshot: Snapshot, contracts: Path, reader: Reader) -> None:
        """Look at each layer once. Raises SdiError, OSError."""
        wanted: dict[str, tuple[Layer, Publication]] = {}
        for name, layer in snapshot.layers.items():
            query, publication = open_view(layer), snapshot.publications[name]
            if query is not None and publication.count >= self._least:
                wanted[view_of(layer, query)] = layer, publication
        self._open = {view: ready for view, ready in self._open.items() if view in wanted}
        self._wanted = {self._path(layer, view) for view, (layer, _) in wanted.items()}
        for view, (layer, publication) in wanted.items():
            await self._see(layer, view, publication, contracts, reader)

    def _path(self, layer: Layer, view: str) -> Path:
        return self.folder / f"{layer.id}-{view}{SUFFIX}"

    async def _see(
        self, layer: Layer, view: str, publication: Publication, contracts: Path, reader: Reader
    ) -> None:  # fmt: skip
        path = self._path(layer, view)
        ready = self._opened(view, path)
        judged, until = self._judged.get(view, (None, 0.0))
        strange = ready is not None and ready.strange
        if judged == _standing(publication, ready) and time.monotonic() < until and not strange:
            return
        most = int(publication.count * NEWER)
        newer, _, table = await reader.state(layer, ready.about.load if ready else 0, most + 1)
        until = math.inf
        if ready is None or ready.about.table != table or newer > most:
            ended = await asyncio.to_thread(self._make, layer, contracts, path)
            if ended == TAKEN:
                return
            until = math.inf if ended == MADE else time.monotonic() + AGAIN
            ready = self._opened(view, path)
        self._judged[view] = _standing(publication, ready), until

    def _opened(self, view: str, path: Path) -> Ready | None:
        """The file that is there now."""
        ready = self._open.get(view)
        try:
            if ready is None or ready.mark != mark(path.stat()):
                ready = self._open[view] = Ready(path)
            return ready
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("a file of texts cannot be read", file=path.name, error=str(error))
        self._open.pop(view, None)
        return None

    def _make(self, layer: Layer, contracts: Path, path: Path) -> int:
        """Make a file, unless another process of the machine makes one: the lock is the process's, and ends with it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            most = self._most - self._cleared(path)
            order = Order(self._url, str(contracts), layer.id, str(path), most)
            began = time.monotonic()
            self._process = subprocess.Popen(
                PROCESS, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=[lock]
            )
        except BlockingIOError:
            return TAKEN
        finally:
            os.close(lock)
        _, said = self._process.communicate(order.to_json())
        ended, seconds = self._process.returncode, round(time.monotonic() - began, 1)
        told = {"layer": layer.id, "seconds": seconds}
        if ended == MADE:
            log.info("texts are ready", **told, megabytes=path.stat().st_size >> 20)
        elif ended == LARGE:
            log.warning(
                "texts are not made ready: there is no room", **told, cure="Raise SDI_READY_TEXT.", room=most >> 20
            )
        else:
            log.warning("texts could not be made ready", **told, said=said.decode(errors="replace")[-200:])
        return ended

    def _cleared(self, besides: Path) -> int:
        """Bytes that other files take. What was never finished is removed, and what is not asked for any more."""
        taken = 0
        for path in self.folder.glob(f"*{SUFFIX}*"):
            known = path.stat()
            if path in self._wanted and path != besides:
                taken += known.st_size
            elif path not in self._wanted and (path.suffix != SUFFIX or known.st_mtime < time.time() - FORGOTTEN):
                path.unlink()
        return taken

    def close(self) -> None:
        """Give up what is being made."""
        if self._process is not None:
            self._process.kill()


def _standing(publication: Publication, ready: Ready | None) -> tuple[Any, ...]:
    return publication.generation, publication.changed_at, ready and ready.mark
