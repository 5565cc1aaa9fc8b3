"""What may stand once only among the features of a delivery: keys that a law numbers by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdi.contract.layer import Check, Layer
from sdi.ingest.cast import to_text
from sdi.ingest.findings import Findings

Rows = NDArray[np.intp]
Numbers = NDArray[np.int64]
Column = Callable[[str], pa.Array]
"""A whole attribute of the delivery, by its name."""

_ALWAYS = 2**24
"""Days from 1970 that no date reaches."""


def check_unique(layer: Layer, column: Column, findings: Findings) -> None:
    """Find features that share the attributes of a check: both are told, each with another that has the same.

    A feature that lacks one of `attributes` is not asked. With `valid` two may share them at different times.
    """
    for check in [check for check in layer.checks if check.rule == "attribute.unique"]:
        names: list[str] = check.parameters["attributes"]
        given = np.flatnonzero(_given([column(name) for name in names]))
        keys = numbers([column(name) for name in (*names, *check.parameters.get("within", []))])[given]
        start, end = _periods(layer, check, column, given)
        holds = end > start
        first, second = shared(keys[holds], start[holds], end[holds])
        rows = given[holds]
        _tell(check, names, column, rows[first], rows[second], findings)


def _tell(check: Check, names: Sequence[str], column: Column, one: Rows, other: Rows, findings: Findings) -> None:
    rows, which = np.unique(np.concatenate([one, other]), return_index=True)
    if not len(rows):
        return
    others = np.concatenate([other, one])[which]
    texts = [to_text(column(name).take(pa.array(rows))) for name in names]
    values = pc.binary_join_element_wise(*texts, " / ").to_pylist()
    findings.add("attribute.unique", rows, attribute=" / ".join(names), values=values, other_rows=others, entry=check)


def _given(columns: Sequence[pa.Array]) -> NDArray[np.bool_]:
    known = np.ones(len(columns[0]), dtype=bool)
    for values in columns:
        known &= np.asarray(pc.is_valid(values))
    return known


def numbers(columns: Sequence[pa.Array]) -> Numbers:
    """A number for each combination of values; empty is a value like another."""
    found: Numbers = np.zeros(len(columns[0]), dtype=np.int64)
    for values in columns:
        codes = pc.fill_null(to_text(values), "").dictionary_encode()
        codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
        found = found * (len(codes.dictionary) + 1) + np.asarray(codes.indices)
        _, found = np.unique(found, return_inverse=True)
    return found


def _periods(layer: Layer, check: Check, column: Column, rows: Rows) -> tuple[Numbers, Numbers]:
    """First day and the day after the last, of each row; all days where the check does not ask when."""
    temporal = layer.temporal if check.parameters.get("valid") else None

    def days(name: str | None, otherwise: int) -> Numbers:
        if name is None:
            return np.full(len(rows), otherwise, dtype=np.int64)
        dates = column(name).take(pa.array(rows)).cast(pa.date32(), safe=False).cast(pa.int32()).cast(pa.int64())
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
