"""What may stand once only among the features of a delivery: keys that a law numbers by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdi.contract.layer import Check, Layer
from sdi.ingest import mapped
from sdi.ingest.cast import to_text
from sdi.ingest.findings import Findings, Mask

Rows = NDArray[np.intp]
Numbers = NDArray[np.int64]
_ALWAYS = 2**24
"""Days from 1970 that no date reaches."""


class Columns(Protocol):
    """The attributes of a delivery."""

    def in_parts(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        """Some of them, a part of the features after the other."""
        ...

    def some(self, names: Sequence[str], rows: Rows) -> list[pa.Array]:
        """Of some features; `rows` ascend."""
        ...


def check_unique(layer: Layer, columns: Columns, findings: Findings) -> None:
    """Find features that share the attributes of a check: both are told, each with another that has the same.

    A feature that lacks one of `attributes` is not asked. With `valid` two may share them at different times. Numbers
    made of the attributes tell which features may share them; only of these the attributes are looked at.
    """
    for check in [check for check in layer.checks if check.rule == "attribute.unique"]:
        names: list[str] = check.parameters["attributes"]
        found = [(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp))]
        keys = [*names, *check.parameters.get("within", [])]
        for rows in mapped.alike(*_hashed(columns, names, keys, findings.count)):
            start, end = _periods(layer, check, columns, rows)
            holds = end > start
            first, second = shared(numbers(columns.some(keys, rows))[holds], start[holds], end[holds])
            found.append((rows[holds][first], rows[holds][second]))
        one, other = (np.concatenate(each) for each in zip(*found, strict=True))
        _tell(check, names, columns, one, other, findings)


def _tell(check: Check, names: Sequence[str], columns: Columns, one: Rows, other: Rows, findings: Findings) -> None:
    rows, which = np.unique(np.concatenate([one, other]), return_index=True)
    if not len(rows):
        return
    others = np.concatenate([other, one])[which]
    texts = [to_text(values) for values in columns.some(names, rows)]
    values = pc.binary_join_element_wise(*texts, " / ").to_pylist()
    findings.add("attribute.unique", rows, attribute=" / ".join(names), values=values, other_rows=others, entry=check)


def _hashed(columns: Columns, names: Sequence[str], keys: Sequence[str], count: int) -> tuple[mapped.Hashes, Mask]:
    """By row a number that is the same where the keys are, and whether the row has all that is named."""
    made, given = mapped.zeros(count, np.uint64), mapped.zeros(count, np.bool_)
    start = 0
    for values in columns.in_parts(keys):
        rows = slice(start, start + len(values[0]))
        made[rows] = mapped.hashed([_of_texts(each) for each in values])
        given[rows] = np.logical_and.reduce([np.asarray(each.is_valid()) for each in values[: len(names)]])
        start = rows.stop
    return made, given


def _of_texts(values: pa.Array) -> Numbers:
    codes = _coded(values)
    return np.fromiter(map(hash, codes.dictionary.to_pylist()), np.int64)[np.asarray(codes.indices)]


def _coded(values: pa.Array) -> pa.DictionaryArray:
    codes = pc.fill_null(to_text(values), "").dictionary_encode()
    return codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes


def numbers(columns: Sequence[pa.Array]) -> Numbers:
    """A number for each combination of values; empty is a value like another."""
    found: Numbers = np.zeros(len(columns[0]), dtype=np.int64)
    for values in columns:
        codes = _coded(values)
        found = found * (len(codes.dictionary) + 1) + np.asarray(codes.indices)
        _, found = np.unique(found, return_inverse=True)
    return found


def _periods(layer: Layer, check: Check, columns: Columns, rows: Rows) -> tuple[Numbers, Numbers]:
    """First day and the day after the last, of each row; all days where the check does not ask when."""
    temporal = layer.temporal if check.parameters.get("valid") else None

    def days(name: str | None, otherwise: int) -> Numbers:
        if name is None:
            return np.full(len(rows), otherwise, dtype=np.int64)
        (dates,) = columns.some([name], rows)
        dates = dates.cast(pa.date32(), safe=False).cast(pa.int32()).cast(pa.int64())
        return np.asarray(pc.fill_null(dates, otherwise))

    if temporal is None:
        return days(None, -_ALWAYS), days(None, _ALWAYS)
    return days(temporal.start, -_ALWAYS), days(temporal.end, _ALWAYS)


def shared(keys: Numbers, start: Numbers, end: Numbers) -> tuple[Rows, Rows]:
    """Pairs of positions that have a key at the same time: each later one with the earlier that ends last.

    Sorted by key and start, a period meets an earlier one where the greatest end before it lies behind its start.
    """
    order = np.lexsort((end, start, keys))
    keys, start, end = keys[order], start[order], end[order]
    span = 4 * _ALWAYS  # apart from one key to the next, so that one running maximum serves all keys
    offset = np.cumsum(np.concatenate([[0], keys[1:] != keys[:-1]])[: len(keys)]) * span
    latest = np.maximum.accumulate(end + offset)
    holder = np.maximum.accumulate(np.where(end + offset == latest, np.arange(len(keys)), 0))
    meets = np.flatnonzero((start[1:] + offset[1:]) < latest[:-1])
    return order[meets + 1], order[holder[meets]]
