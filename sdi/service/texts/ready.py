"""The features of a layer as an open view writes them, in a file that the workers of a machine share.

What is known when a layer was loaded need not be done at each request. A version of a feature never changes, and it has
a key; the file has the texts in the order of the ids, as a page has them, joined as a page joins them. So a page is
mostly some long stretches of it. What a later load wrote has another key, and is not there.

The file: the texts, each followed by BETWEEN; for each key, in their order, the key and the number of its text (`<i8`
and `<i4`); where each text begins, and where the last one ends (`<i8`); a JSON object; how long that is (`<i8`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.store import forms

BETWEEN = b",\n"
FORMAT = 1
"""Grows when the file is written otherwise."""
_LENGTH = 8
"""Bytes of the number at the end."""

Numbers = NDArray[np.int64]
Piece = tuple[int, int] | bytes
"""Where a stretch of texts lies in the file, its begin and its length; or a text that is not there."""


@dataclass(frozen=True)
class About:
    """What a file says of itself. `table`: which one its versions are of (`sdi.store.versions`). `load`: the latest of
    its features. `plain`: whether JSON writes all its ids as they are."""

    view: str
    table: str
    features: int
    load: int
    plain: bool
    format: int = FORMAT


def view_of(layer: Layer, query: FeatureQuery) -> str:
    """What texts of the same version have in common where rows are seen as they are stored: 32 hexadecimal digits."""
    return _view(layer.id, forms.written(layer, query))


@lru_cache(maxsize=1000)
def _view(layer: str, written: str) -> str:
    return hashlib.blake2b(f"{layer} {written}".encode(), digest_size=16).hexdigest()


def finish(file: BinaryIO, ends: Numbers, keys: Numbers, about: About) -> None:
    """Write behind the texts what they are found by; `ends`, where each of them ends with BETWEEN, and `keys` have them
    in their order. Versions that share a key are not to be found."""
    order = np.argsort(keys, kind="stable")
    sorted_ = keys[order]
    alike = sorted_[1:] == sorted_[:-1]
    alone = ~(np.append(alike, False) | np.append(False, alike))
    for part in (sorted_[alone].astype("<i8"), order[alone].astype("<i4"), np.append(0, ends).astype("<i8")):
        file.write(part.tobytes())
    told = json.dumps(asdict(about) | {"found": int(alone.sum())}).encode()
    file.write(told + len(told).to_bytes(_LENGTH, "little"))


class Ready:
    """A file of texts, open for reading. It may be replaced or removed meanwhile: what is open stays."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, and ValueError for what is no such file."""
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            self.mark = mark(status)
            self.about, found, begin = _told(file.fileno(), status.st_size)
            self._keys = _mapped(file, "<i8", begin, found)
            self._numbers = _mapped(file, "<i4", begin + 8 * found, found)
            self._begins = _mapped(file, "<i8", begin + 12 * found, self.about.features + 1)
            self._file = os.dup(file.fileno())
        self.strange = False
        """Whether it was found to be of another table than the layer's."""
        # What reads now reads on.
        weakref.finalize(self, os.close, self._file)

    def found(self, keys: bytes) -> Numbers:
        """The numbers of the texts with these keys, -1 where there is none. `keys`: as `versions.select_keyed` has
        them."""
        wanted = np.frombuffer(keys, ">i8").astype("<i8")
        places = np.searchsorted(self._keys, wanted)
        places[places == len(self._keys)] = 0
        return np.where(self._keys[places] == wanted, self._numbers[places], -1).astype(np.int64)

    async def joined(self, numbers: Numbers, others: Sequence[bytes]) -> bytes:
        """These texts with BETWEEN between them; in the place of each -1 the next of the `others`. Raises OSError."""
        pieces = self._pieces(numbers, others)
        try:
            return BETWEEN.join([self._read(piece, os.RWF_NOWAIT) for piece in pieces])
        except OSError:  # not in the memory of the system: others need not wait for the disk
            return await run_in_threadpool(lambda: BETWEEN.join([self._read(piece, 0) for piece in pieces]))

    def _pieces(self, numbers: Numbers, others: Sequence[bytes]) -> list[Piece]:
        """Texts that follow each other in the file are one piece."""
        if not len(numbers):
            return []
        before = np.append(-2, numbers[:-1])
        starts = np.flatnonzero((numbers != before + 1) | (before < 0))
        firsts, lasts = numbers[starts], numbers[np.append(starts[1:], len(numbers)) - 1]
        begins = self._begins[firsts]
        lengths = self._begins[lasts + 1] - begins - len(BETWEEN)
        rest = iter(others)
        stretches = zip(firsts.tolist(), begins.tolist(), lengths.tolist(), strict=True)
        return [next(rest) if first < 0 else (begin, length) for first, begin, length in stretches]

    def _read(self, piece: Piece, how: int) -> bytes | bytearray:
        if isinstance(piece, bytes):
            return piece
        begin, length = piece
        text = bytearray(length)
        if os.preadv(self._file, [text], begin, how) < length:
            raise BlockingIOError(errno.EAGAIN, "not all of it is there")
        return text


def _told(file: int, size: int) -> tuple[About, int, int]:
    """What stands at the end, how many texts can be found, and where the arrays begin."""
    length = int.from_bytes(os.pread(file, _LENGTH, max(0, size - _LENGTH)), "little")
    end = size - _LENGTH - length
    told = json.loads(os.pread(file, length, end)) if 0 < length < size else None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ValueError("no file of texts")
    found = told.pop("found")
    about = About(**told)
    return about, found, end - 12 * found - 8 * (about.features + 1)


def _mapped(file: Any, kind: str, begin: int, size: int) -> NDArray[Any]:
    return np.memmap(file, kind, "r", begin, (size,)).view(np.ndarray)


def mark(status: os.stat_result) -> tuple[int, int, int]:
    """Another one for each file that takes the place of one before."""
    return status.st_ino, status.st_mtime_ns, status.st_size
