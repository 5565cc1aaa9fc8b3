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
    made = np.frombuffer(data.tobytes().decode("latin-1").encode(), np.uint8)
    return (offsets + np.searchsorted(high, offsets)).astype(np.int32), made


def narrowed(offsets: Offsets, data: Bytes) -> tuple[Offsets, Bytes] | None:
    """Undoes `widened`; None: not every character is Latin-1."""
    leads = np.flatnonzero(data >= 0xC0)
    if not len(leads):
        return offsets, data
    try:
        made = np.frombuffer(data.tobytes().decode().encode("latin-1"), np.uint8)
    except UnicodeError:
        return None
    return (offsets - np.searchsorted(leads, offsets)).astype(np.int32), made


def settled(offsets: Offsets, data: Bytes) -> NDArray[np.bool_]:
    """Which values have, if they are UTF-8, only letters that NFC leaves alone whatever stands before them: below
    U+0300 and from U+1E00 to U+1EFF, where all composed letters of Vietnamese are."""
    strange = ((data >= 0xCC) & (data != 0xE1)) | (data & 0xFE == 0xC0)
    of_three = data == 0xE1
    strange |= of_three & (np.append(data[1:], np.uint8(0)) & 0xFC != 0xB8)
    told = np.ones(len(offsets) - 1, dtype=bool)
    told[np.searchsorted(offsets, np.flatnonzero(strange), side="right") - 1] = False
    return told


def utf8(column: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]] | None:
    """A column that `widened` made read as the UTF-8 that it was before, NFC, and for which values that is right: what
    the others are is not said here. None: it cannot be told for all of them."""
    if not pa.types.is_string(column.type) or column.offset:
        return None
    found = narrowed(*parts(column))
    if found is None:
        return None
    buffers = [column.buffers()[0], *map(pa.py_buffer, found)]
    made, right = pa.Array.from_buffers(pa.string(), len(column), buffers, column.null_count), settled(*found)
    try:
        (made if right.all() else made.filter(pa.array(right))).validate(full=True)
    except pa.ArrowInvalid:
        return None
    return made, right
