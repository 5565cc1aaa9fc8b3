"""Bytes as text of one Latin-1 character each, and back, a column at a time: so a DBF's text is handed on before
anybody knows its encoding."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int32]


def parts(column: pa.Array) -> tuple[Offsets, Bytes]:
    """Where each value of a string column begins, and the last one ends, in the column's bytes; these from 0 on."""
    offsets = np.frombuffer(column.buffers()[1] or b"\0\0\0\0", np.int32)[
        column.offset : column.offset + len(column) + 1
    ]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    return offsets - offsets[0], data


def widened(offsets: Offsets, data: Bytes) -> tuple[Offsets, Bytes]:
    """Values of bytes as UTF-8 of the Latin-1 characters that the bytes are."""
    high = np.flatnonzero(data >= 0x80)
    if not len(high):
        return offsets, data
    made = np.empty(len(data) + len(high), np.uint8)
    leads = high + np.arange(len(high))
    rest = np.ones(len(made), dtype=bool)
    rest[leads] = False
    made[rest] = data
    made[leads] = 0xC0 | data[high] >> 6
    made[leads + 1] = 0x80 | data[high] & 0x3F
    return (offsets + np.searchsorted(high, offsets)).astype(np.int32), made


def narrowed(offsets: Offsets, data: Bytes) -> tuple[Offsets, Bytes] | None:
    """Undoes `widened`; None: not every character is Latin-1."""
    leads = np.flatnonzero(data >= 0xC0)
    if not len(leads):
        return offsets, data
    if data[leads].max() > 0xC3:
        return None
    made = data.copy()
    made[leads + 1] |= (data[leads] & 1) << 6
    rest = np.ones(len(data), dtype=bool)
    rest[leads] = False
    return (offsets - np.searchsorted(leads, offsets)).astype(np.int32), made[rest]


def settled(offsets: Offsets, data: Bytes) -> NDArray[np.bool_]:
    """Which values have, if they are UTF-8, only letters that NFC leaves alone whatever stands before them: below
    U+0300 and from U+1E00 to U+1EFF, where all composed letters of Vietnamese are."""
    leads = np.flatnonzero(data >= 0xC0)
    first, second = data[leads], data[np.minimum(leads + 1, len(data) - 1)]
    known = ((first >= 0xC2) & (first <= 0xCB)) | ((first == 0xE1) & (second >= 0xB8) & (second <= 0xBB))
    told = np.ones(len(offsets) - 1, dtype=bool)
    told[np.searchsorted(offsets, leads[~known], side="right") - 1] = False
    return told


def utf8(column: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]] | None:
    """A column that `widened` made read as the UTF-8 that it was before, NFC, and for which values that is right: what
    the others are is not said here. None: it cannot be told for all of them."""
    if not pa.types.is_string(column.type) or column.offset:
        return None
    bytes_of = narrowed(*parts(column))
    if bytes_of is None:
        return None
    offsets, data = bytes_of
    right = settled(offsets, data)
    made = pa.Array.from_buffers(
        pa.string(), len(column), [column.buffers()[0], pa.py_buffer(offsets), pa.py_buffer(data)], column.null_count
    )
    try:
        (made if right.all() else made.filter(pa.array(right))).validate(full=True)
    except pa.ArrowInvalid:
        return None
    return made, right
