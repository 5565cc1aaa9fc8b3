"""What a process has answered and the database does not have yet: a file of lines, each an entry.

What is written to a file outlives the process, and what was brought to the disk the machine's power. A file is locked
by the process that writes it; one that is not locked has lost its process, and whoever finds it brings it in.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from psycopg.conninfo import conninfo_to_dict

from sdi.errors import StoreError

TURN = 4 * 2**20
"""Bytes from which on a file whose lines are all in the database gives way to a new one."""
BYTES = 2**18
"""About so many are brought in at once."""
_SUFFIX = ".spool"


@dataclass(frozen=True)
class Lines:
    """Lines of a file: `count` behind its first `first`, up to byte `end`; `text`: UTF-8, line feeds between them."""

    spool: UUID
    first: int
    count: int
    text: bytes
    end: int


def folder_of(data: Path, url: str) -> Path:
    """Where the files of a database stand: below the data folder, by server and name, without user and password."""
    told = conninfo_to_dict(url)
    which = "\n".join(str(told.get(name) or "") for name in ("host", "hostaddr", "port", "dbname"))
    return data / "audit" / hashlib.sha256(which.encode()).hexdigest()[:16]


class Spool:
    """The files of one process; `write` is for one thread at a time, `next`, `done` and `sync` for others."""

    def __init__(self, folder: Path, most: int) -> None:
        """`most`: bytes that wait for the database when no more should be written."""
        self.folder, self._most = folder, most
        self._lock = threading.Lock()
        self._file: int | None = None
        self._name = UUID(int=0)
        self._size = self._taken = self._lines = 0
        self._dirty = self._broken = False

    @property
    def waiting(self) -> int:
        """Bytes that are not in the database yet."""
        return self._size - self._taken

    @property
    def full(self) -> bool:
        """Whether as much waits as may."""
        return self._size - self._taken >= self._most

    def write(self, lines: Sequence[bytes]) -> None:
        """Write entries, each JSON without line feeds: all or none. Raises StoreError where they cannot be kept."""
        text = b"".join([part for line in lines for part in (line, b"\n")])
        with self._lock:
            try:
                if self._file is None or self._broken:
                    self._open()
                assert self._file is not None
                if os.write(self._file, text) != len(text):
                    self._broken = True  # unless what was written can be taken back
                    os.ftruncate(self._file, self._size)
                    self._broken = False
                    raise OSError("written in part")
            except OSError as error:
                raise StoreError("What was asked cannot be recorded: its file cannot be written.",
                                 hint="Free space in the data folder.") from error  # fmt: skip
            self._size += len(text)
            self._dirty = True

    def _open(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)  # what it holds is brought in as that of a dead process
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._name = uuid4()
        path = self.folder / f"{self._name}{_SUFFIX}"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(path.with_suffix(".new"), flags, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        # Found by others only once it is held.
        path.with_suffix(".new").rename(path)
        self._size = self._taken = self._lines = 0
        self._broken = False

    def sync(self) -> None:
        """Bring what was written to the disk. A disk that refuses it gets a new file with the next lines."""
        if not self._dirty or self._file is None:
            return
        self._dirty = False
        try:
            os.fdatasync(self._file)
        except OSError:
            self._broken = True

    def next(self) -> Lines | None:
        """The next lines that the database does not have."""
        if self._file is None or not self.waiting:
            return None
        return _lines(self._file, self._name, self._taken, self._lines, self._size)

    def done(self, lines: Lines) -> None:
        """They are in the database. A file that has grown and has nothing left gives way to a new one."""
        with self._lock:
            if lines.spool != self._name:
                return
            self._taken, self._lines = lines.end, lines.first + lines.count
            if self._file is not None and not self.waiting and self._size >= TURN:
                self._end()

    def close(self) -> None:
        """Let go of the file; one that has nothing left is removed."""
        with self._lock:
            if self._file is not None and not self.waiting:
                self._end()
            elif self._file is not None:
                with suppress(OSError):
                    os.fdatasync(self._file)
                os.close(self._file)
                self._file = None

    def _end(self) -> None:
        assert self._file is not None
        (self.folder / f"{self._name}{_SUFFIX}").unlink(missing_ok=True)
        os.close(self._file)
        self._file = None
        self._size = self._taken = self._lines = 0


class Left:
    """A file whose process is gone, held by who brings it in."""

    def __init__(self, path: Path, file: int) -> None:
        self.path, self._file = path, file
        self._at = self._lines = 0

    def next(self) -> Lines | None:
        """The next lines. What stands behind the last line feed was cut short, and its answer was never sent."""
        found = _lines(self._file, UUID(self.path.stem), self._at, self._lines, os.fstat(self._file).st_size)
        return found if found.count else None

    def done(self, lines: Lines) -> None:
        self._at, self._lines = lines.end, lines.first + lines.count

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._file)


def left(folder: Path) -> Iterator[Left]:
    """The files in a folder whose processes are gone, each held while it is looked at."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        found = Left(path, file)
        try:
            if path.exists():
                yield found
        finally:
            found.close()


def held(folder: Path) -> dict[str, int]:
    """Every file of a folder, with its bytes."""
    return {path.name: path.stat().st_size for path in sorted(folder.glob(f"*{_SUFFIX}"))}


def _lines(file: int, name: UUID, begin: int, first: int, size: int) -> Lines:
    block, want = b"", min(size - begin, BYTES)
    while want > 0:
        block = os.pread(file, want, begin)
        # One entry may be longer than a block.
        if b"\n" in block or begin + want >= size:
            break
        want = min(size - begin, want * 2)
    end = block.rfind(b"\n")
    if end < 0:
        return Lines(name, first, 0, b"", begin)
    return Lines(name, first, block.count(b"\n"), block[:end], begin + end + 1)
