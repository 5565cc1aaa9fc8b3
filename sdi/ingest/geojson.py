"""How many features a GeoJSON or a topology has. GDAL leaves out those whose type it does not find, as where a letter
of `Feature` is another, and what follows on one line of a text sequence, without a word.

Of a GeoJSON only braces, brackets and quotation marks are looked at, piece by piece, so that a file of any size takes
little memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 22
"""Bytes that are looked at at once."""
_WHOLE = 1 << 26
"""Bytes of a document that is read at once."""
_QUOTE, _BACKSLASH = 0x22, 0x5C
_DEEPER = np.zeros(256, np.int8)
_DEEPER[list(b"{[")] = 1
_DEEPER[list(b"}]")] = -1
_FEATURES = re.compile(rb'"features"\s*:\s*$')
_KEY = 64
"""Bytes before a bracket in which its key stands."""
_ARRAYS = 1_000
"""Arrays beside each other whose keys are looked at, in a piece."""


@dataclass
class _Marks:
    """Braces and brackets outside of texts: where, which, and how many are open before each."""

    piece: bytes
    before: bytes
    """The end of the piece before."""
    at: NDArray[np.int64]
    mark: NDArray[np.uint8]
    depth: NDArray[np.int64]

    def follows(self, index: int, what: re.Pattern[bytes]) -> bool:
        """Whether a mark stands behind a word."""
        at = int(self.at[index])
        return (
            what.search((self.before + self.piece[:at])[-_KEY:] if at < _KEY else self.piece[at - _KEY : at])
            is not None
        )


def features(path: Path) -> int | None:
    """The objects in the array `features` (RFC 7946, 3.3); None: the file has none."""
    found, within, seen = 0, False, False
    for marks in _marks(path):
        objects = np.flatnonzero((marks.depth == 2) & (marks.mark == ord("{")))
        turns = np.flatnonzero(
            ((marks.depth == 1) & (marks.mark == ord("["))) | ((marks.depth == 2) & (marks.mark == ord("]")))
        )
        if len(turns) > _ARRAYS:
            return None
        start = 0
        for end in [*turns.tolist(), len(marks.at)]:
            found += within * int(np.diff(np.searchsorted(objects, [start, end]))[0])
            if end < len(marks.at):
                within = marks.mark[end] == ord("[") and marks.follows(end, _FEATURES)
            start, seen = end, seen or within
    return found if seen else None


def records(path: Path) -> int:
    """The objects of a text sequence, one after the other (RFC 8142)."""
    return sum(int(((marks.depth == 0) & (marks.mark == ord("{"))).sum()) for marks in _marks(path))


def topology_features(path: Path, layer: str) -> int | None:
    """The geometries of an object of a topology (TopoJSON 2.1.5), which is read whole, as GDAL does; None: it is too
    large for that, has no such object, or is what only GDAL takes for JSON."""
    if path.stat().st_size > _WHOLE:
        return None
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return None
    for name in ("objects", layer, "geometries"):
        found = found.get(name) if isinstance(found, dict) else None
    return len(found) if isinstance(found, list) else None


def _marks(path: Path) -> Iterator[_Marks]:
    inside, slashes, depth, before = False, 0, 0, b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            data = np.frombuffer(piece, np.uint8)
            quoted, slashes = _quotes(data, slashes)
            within = np.bitwise_xor.accumulate(quoted)
            at = np.flatnonzero(_DEEPER[data])
            at = at[within[at] == inside]
            inside ^= bool(within[-1])
            steps = _DEEPER[data[at]].astype(np.int64)
            after = depth + np.cumsum(steps)
            yield _Marks(piece, before, at, data[at], after - steps)
            depth, before = int(after[-1]) if len(at) else depth, (before + piece[-_KEY:])[-_KEY:]


def _quotes(data: NDArray[np.uint8], slashes: int) -> tuple[NDArray[np.bool_], int]:
    """Which bytes begin or end a text, and how many backslashes stand at the end; slashes: how many stand before. A
    quotation mark behind an odd number of these is a letter (RFC 8259, 7)."""
    quoted = data == _QUOTE
    if not slashes and not (data == _BACKSLASH).any():
        return quoted, 0
    other = np.maximum.accumulate(np.where(data != _BACKSLASH, np.arange(len(data)), -1 - slashes))
    last = np.concatenate([[-1 - slashes], other])
    quotes = np.flatnonzero(quoted)
    quoted[quotes[(quotes - 1 - last[quotes]) % 2 == 1]] = False
    return quoted, len(data) - 1 - int(last[-1])
