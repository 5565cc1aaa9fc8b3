"""What the worker processes of one machine write down together: who asked last, and what each caller has left of its
slow work, its requests and its bytes.

A file of fixed size in the data folder, mapped into each of them; without one a worker has a book of its own. Times are
of the machine's monotonic clock, which is the same for all its processes.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

PLACES = 32_768
"""Of all callers together so much is remembered at most; who is forgotten begins anew."""
_NEAR = 8
"""Places that one may have; where all are taken, the one that was silent for longest goes."""
_SEEN = struct.Struct("=QdQd")
_LEFT = struct.Struct("=Qdd")
_SIZE = _SEEN.size + PLACES * _LEFT.size


@lru_cache(10_000)
def sign_of(caller: str) -> int:
    """By which number a caller is known to every process; never 0."""
    return int.from_bytes(hashlib.blake2b(caller.encode(), digest_size=8).digest()) or 1


class Book:
    """Of one process until it is opened on a file."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._path = Path()
        self._map = mmap.mmap(-1, _SIZE)

    def open(self, path: Path) -> None:
        """Go on in a file that others have open too, or made new. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.fstat(file).st_size != _SIZE:
                os.ftruncate(file, _SIZE)
            self._map = mmap.mmap(file, _SIZE)
        except OSError:
            os.close(file)
            raise
        self._file, self._path = file, path

    def close(self) -> None:
        """Let go of the file; who is the last removes it."""
        if self._file is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # others go on in it
        os.close(self._file)
        self._file = None

    def seen(self, caller: str, now: float) -> None:
        """Take notice of a caller: the last one, and the last that was another, are known."""
        sign, (last, at, _, _) = sign_of(caller), _SEEN.unpack_from(self._map)
        if last == sign:
            struct.pack_into("=d", self._map, 8, now)
        else:
            _SEEN.pack_into(self._map, 0, sign, now, last, at)

    def other(self, caller: str) -> float | None:
        """When another than this caller was seen last; None: never."""
        last, at, before, then = _SEEN.unpack_from(self._map)
        sign, moment = (before, then) if last == sign_of(caller) else (last, at)
        return moment if sign else None

    def left(self, caller: str) -> tuple[float, float] | None:
        """What a caller had left, and when; None: nothing was ever taken from it, or it is forgotten."""
        place = self._place(sign_of(caller))
        sign, left, since = _LEFT.unpack_from(self._map, place)
        return (left, since) if sign == sign_of(caller) else None

    def write(self, caller: str, left: float, now: float) -> None:
        """Of changes at the same time, within `writing`, none is lost."""
        _LEFT.pack_into(self._map, self._place(sign_of(caller)), sign_of(caller), left, now)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One process at a time; for some microseconds."""
        if self._file is None:
            yield
            return
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _place(self, sign: int) -> int:
        """Where a caller stands, or would."""
        longest, silent = 0, float("inf")
        for step in range(_NEAR):
            place = _SEEN.size + (sign + step) % PLACES * _LEFT.size
            found, _, since = _LEFT.unpack_from(self._map, place)
            if found == sign:
                return place
            if since < silent:
                longest, silent = place, since
        return longest
