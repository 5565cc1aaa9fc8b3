"""Numbers by feature in files that have no name: of a large delivery the kernel keeps in memory what it has room for.

Fixed numbers of all features are looked at row by row from several sides, so they are arrays; but an array in a file is
no memory of this process's own. Whatever goes over all of them here does so a block at a time.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from sdi.errors import StoreError

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Hashes = NDArray[np.uint64]

LEAST = 1 << 20
"""Bytes from which on an array is worth a file."""
BLOCK = 1 << 16
"""Rows that are looked at at once."""
MOST = 1 << 17
"""Rows of a kind that are given out at once, about; those of one kind stay together."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def no_room() -> StoreError:
    return StoreError("The working file cannot be written: the disk is full or cannot be reached.",
                      hint="Free some space in TMPDIR, then hand in the file again.")  # fmt: skip


def zeros(count: int, kind: DTypeLike, *more: int) -> NDArray[Any]:
    """An array of so many rows. Raises StoreError where the disk is full."""
    shape, kind = (count, *more), np.dtype(kind)
    size = int(np.prod(shape)) * kind.itemsize
    if size < LEAST:
        return np.zeros(shape, kind)
    try:
        with TemporaryFile(prefix="sdi-numbers-") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # for who writes where no room is left is killed
            return np.asarray(np.memmap(file, kind, "r+", shape=shape))
    except OSError as error:
        raise no_room() from error


def blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, BLOCK):
        yield slice(start, min(start + BLOCK, count))


def picked(values: NDArray[Any], among: Mask) -> NDArray[Any]:
    """Some rows of an array, as another one."""
    found = zeros(int(np.count_nonzero(among)), values.dtype, *values.shape[1:])
    end = 0
    for part in blocks(len(values)):
        some = values[part][among[part]]
        found[end : end + len(some)] = some
        end += len(some)
    return found


def hashed(columns: Sequence[NDArray[Any]]) -> Hashes:
    """A number for each combination of values of 8 bytes; seldom the same for others."""
    made: Hashes = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        made ^= np.ascontiguousarray(column).view(np.uint64)
        made *= _ODD
        made ^= made >> np.uint64(32)
    return made


def alike(numbers: NDArray[Any], among: Mask, most: int = MOST) -> Iterator[Rows]:
    """The rows whose number another one has too, ascending, all of a number together."""
    ordered = picked(numbers, among)
    ordered.sort()
    ordered = _repeated(ordered)
    first = 0
    while first < len(ordered):
        last = int(np.searchsorted(ordered, ordered[min(first + most, len(ordered)) - 1], side="right"))
        yield having(numbers, np.unique(ordered[first:last]), among)
        first = last


def _repeated(ordered: NDArray[Any]) -> NDArray[Any]:
    """The numbers that stand more than once, each once less than it stands. They are written over what was read."""
    end = 0
    for part in blocks(len(ordered) - 1):
        one, two = ordered[part], ordered[part.start + 1 : part.stop + 1]
        again = one[one == two]
        ordered[end : end + len(again)] = again
        end += len(again)
    return ordered[:end]


def having(numbers: NDArray[Any], wanted: NDArray[Any], among: Mask | None = None) -> Rows:
    """The rows with one of the wanted numbers, which ascend and are some."""
    found = [np.empty(0, dtype=np.intp)]
    for part in blocks(len(numbers)):
        here = numbers[part]
        inside = (here >= wanted[0]) & (here <= wanted[-1])
        some = np.flatnonzero(inside if among is None else inside & among[part])
        place = np.searchsorted(wanted, here[some])
        found.append(part.start + some[wanted[place] == here[some]])
    return np.concatenate(found)


def in_order(numbers: NDArray[Any], others: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Numbers in their order, and what stands beside each: first apart by their first bits, which are to be as often 0
    as 1, then what has the same ones."""
    bits = max(1, (len(numbers) // BLOCK).bit_length())
    made = zeros(len(numbers), np.uint64), zeros(len(others), others.dtype)
    sizes = np.zeros(1 << bits, dtype=np.intp)
    for part in blocks(len(numbers)):
        sizes += np.bincount(_first(numbers[part], bits), minlength=len(sizes))
    ends = np.cumsum(sizes)
    free = ends - sizes
    for part in blocks(len(numbers)):
        kind = _first(numbers[part], bits)
        order = np.argsort(kind, kind="stable")
        count = np.bincount(kind, minlength=len(sizes))
        place = np.repeat(free - (np.cumsum(count) - count), count) + np.arange(len(order))
        made[0][place], made[1][place] = numbers[part][order], others[part][order]
        free += count
    for end, size in zip(ends.tolist(), sizes.tolist(), strict=True):
        alike = slice(end - size, end)
        order = np.argsort(made[0][alike])
        made[0][alike], made[1][alike] = made[0][alike][order], made[1][alike][order]
    return made


def beside(one: NDArray[np.int64], two: NDArray[np.int64]) -> Iterator[tuple[Rows, Rows]]:
    """The rows of one and of the other that may have a hash in common, ascending, about MOST at a time."""
    bits = max(1, (max(len(one), len(two)) // MOST).bit_length())
    for kind in range(1 << bits):
        mine, others = _of(one.view(np.uint64), bits, kind), _of(two.view(np.uint64), bits, kind)
        if len(mine) and len(others):
            yield mine, others


def _of(numbers: Hashes, bits: int, kind: int) -> Rows:
    found = [part.start + np.flatnonzero(_first(numbers[part], bits) == kind) for part in blocks(len(numbers))]
    return np.concatenate([np.empty(0, dtype=np.intp), *found])


def _first(numbers: NDArray[Any], bits: int) -> Rows:
    return (numbers >> np.uint64(64 - bits)).astype(np.intp)


def give_back() -> None:
    """Give the system back what this process has freed: the allocators keep it for the next time."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)
