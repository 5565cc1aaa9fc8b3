"""The features of a layer as an open view writes them, in a file that the workers of a machine share.

What is known when a layer was loaded need not be done at each request. A version of a feature never changes, and it has
a key; the file has the texts in the order of the ids, as a page has them, joined as a page joins them. So a page is
mostly some long stretches of it. What a later load wrote has another key, and is not there.

The file: the texts, each followed by BETWEEN; zeros to a multiple of 8; the keys in order (`<u8`); where each text
begins, and where the last one ends (`<i8`); the number of each key's text (`<i4`); how many keys lie before each
beginning of a key, of so many bits that about one key has it (`<i4`); a JSON object; how long that is (`<i8`). To halve
a million keys again and again would take six times as long, most of it waiting for memory.
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
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.store import forms

BETWEEN = b",\n"
FORMAT = 2
"""Grows when the file, or a feature, is written otherwise."""
_LENGTH = 8
"""Bytes of the number at the end."""

GAP = 4096
"""Bytes between two stretches that are read with them: to read them costs less than to be asked again."""

Numbers = NDArray[np.int64] | NDArray[np.int32]
Keys = NDArray[np.uint64]


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


def finish(file: BinaryIO, ends: Numbers, keys: Keys, about: About) -> None:
    """Write behind the texts what they are found by; `ends`, where each of them ends with BETWEEN, and `keys` have them
    in their order. Versions that share a key are not to be found."""
    order = np.argsort(keys, kind="stable")
    sorted_ = keys[order]
    alike = sorted_[1:] == sorted_[:-1]
    alone = ~(np.append(alike, False) | np.append(False, alike))
    found, numbers = sorted_[alone], order[alone]
    bits = max(1, len(found).bit_length())
    before = np.searchsorted(_beginnings(found, bits), np.arange(2**bits + 1))
    file.write(bytes(-file.tell() % 8))
    parts = found.astype("<u8"), np.append(0, ends).astype("<i8"), numbers.astype("<i4"), before.astype("<i4")
    for part in parts:
        file.write(part.tobytes())
    told = asdict(about) | {"found": len(found), "bits": bits, "longest": int(np.diff(before).max())}
    written = json.dumps(told).encode()
    file.write(written + len(written).to_bytes(_LENGTH, "little"))


def _beginnings(keys: Keys, bits: int) -> Numbers:
    return (keys >> np.uint64(64 - bits)).astype(np.int64)


class Ready:
    """A file of texts, open for reading. It may be replaced or removed meanwhile: what is open stays."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, and ValueError for what is no such file."""
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            self.mark = mark(status)
            told, end = _told(file.fileno(), status.st_size)
            found, self._bits, self._longest = (told.pop(name) for name in ("found", "bits", "longest"))
            self.about = About(**told)
            sizes = ("<u8", found), ("<i8", self.about.features + 1), ("<i4", found), ("<i4", 2**self._bits + 1)
            begin = end - sum(np.dtype(kind).itemsize * size for kind, size in sizes)
            arrays = []
            for kind, size in sizes:
                arrays.append(np.memmap(file, kind, "r", begin, (size,)).view(np.ndarray))
                begin += arrays[-1].nbytes
            self._keys, self._begins, self._numbers, self._before = arrays
            self._file = os.dup(file.fileno())
        self.strange = False
        """Whether it was found to be of another table than the layer's."""
        # What reads now reads on.
        weakref.finalize(self, os.close, self._file)

    def found(self, keys: bytes) -> Numbers:
        """The numbers of the texts with these keys, -1 where there is none. `keys`: as `versions.select_keyed` has
        them."""
        wanted = np.frombuffer(keys, ">u8").astype("<u8")
        last = len(self._keys) - 1
        places = np.minimum(self._before[_beginnings(wanted, self._bits)], last)
        other = np.flatnonzero(self._keys[places] != wanted)
        for _ in range(self._longest - 1):
            if not len(other):
                break
            places[other] = np.minimum(places[other] + 1, last)
            other = other[self._keys[places[other]] != wanted[other]]
        numbers = self._numbers[places].astype(np.int64)
        numbers[other] = -1
        return numbers

    async def joined(self, numbers: Numbers, others: Sequence[bytes], *, led: bool = False) -> bytes | memoryview:
        """These texts with BETWEEN between them, `led` before them too; in the place of each -1 the next of the
        `others`. Raises OSError."""
        stretches = self._stretches(numbers)
        if led and stretches and stretches[0][0] >= len(BETWEEN):  # there it stands before each text but the first
            begin, end = stretches[0]
            stretches[0], led = (begin - len(BETWEEN), end), False
        try:
            texts = self._texts(stretches, others, os.RWF_NOWAIT)
        except OSError:  # not in the memory of the system: others need not wait for the disk
            texts = await run_in_threadpool(self._texts, stretches, others, 0)
        return _joined([b"", *texts] if led else texts)

    def _stretches(self, numbers: Numbers) -> list[tuple[int, int]]:
        """Where texts that follow each other lie in the file, without the last BETWEEN; (-1, -1) of one that is not
        there."""
        if not len(numbers):
            return []
        before = np.append(-2, numbers[:-1])
        starts = np.flatnonzero((numbers != before + 1) | (before < 0))
        firsts, lasts = numbers[starts], numbers[np.append(starts[1:], len(numbers)) - 1]
        there = firsts >= 0
        begins = np.where(there, self._begins[firsts], -1).tolist()
        ends = np.where(there, self._begins[lasts + 1] - len(BETWEEN), -1).tolist()
        return list(zip(begins, ends, strict=True))

    def _texts(self, stretches: list[tuple[int, int]], others: Sequence[bytes], how: int) -> list[bytes | memoryview]:
        texts: list[bytes | memoryview] = []
        rest, held, low, high = iter(others), memoryview(b""), 0, 0
        for index, (begin, end) in enumerate(stretches):
            if begin < 0:
                texts.append(next(rest))
                continue
            if not low <= begin < end <= high:
                low, high = begin, end
                for after, its_end in islice(stretches, index + 1, None):
                    if not high <= after <= high + GAP:
                        break
                    high = its_end
                held = memoryview(self._read(low, high - low, how))
            texts.append(held[begin - low : end - low])
        return texts

    def _read(self, begin: int, length: int, how: int) -> NDArray[np.uint8]:
        text = np.empty(length, np.uint8)  # a bytearray would be filled with zeros first
        if os.preadv(self._file, [text], begin, how) < length:
            raise BlockingIOError(errno.EAGAIN, "not all of it is there")
        return text


def _joined(texts: list[bytes | memoryview]) -> bytes | memoryview:
    # A page is mostly one stretch: some hundred kilobytes, which need not be copied.
    return texts[0] if len(texts) == 1 else BETWEEN.join(texts)


def _told(file: int, size: int) -> tuple[dict[str, Any], int]:
    """What stands at the end, and where it begins."""
    length = int.from_bytes(os.pread(file, _LENGTH, max(0, size - _LENGTH)), "little")
    end = size - _LENGTH - length
    told = json.loads(os.pread(file, length, end)) if 0 < length < size else None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ValueError("no file of texts")
    return told, end


def mark(status: os.stat_result) -> tuple[int, int, int]:
    """Another one for each file that takes the place of one before."""
    return status.st_ino, status.st_mtime_ns, status.st_size
