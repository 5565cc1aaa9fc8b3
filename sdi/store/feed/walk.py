"""Along the rows that a layer's loads wrote, forward or backward, some of them at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.store.feed import entries
from sdi.store.feed.entries import Slice
from sdi.store.statement import Statement

TOGETHER = 2_000
"""Rows that the loads of one slice wrote, unless it is a single load."""
LOADS = 1_000
"""Loads that are read from the ledger at a time."""
MOST = 5_000
"""Rows that are looked at together at the most: where nothing is seen more are looked at each time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

type Steps[T] = Generator[Statement, list[tuple[Any, ...]], T]
"""Statements, each to be answered by its rows; at the end what was made of them."""


class Walk:
    """`start`: a load and the id of the row that one comes from; None: forward the load's end, backward its end too,
    so that all of it is looked at. Backward with a `floor`: the first load that is looked at. base: as of
    `entries.select_entries`."""

    def __init__(
        self, layer: Layer, view: FeatureQuery, start: tuple[int, str | None], base: int | None, batch: int, *,
        floor: int | None = None,
    ) -> None:  # fmt: skip
        self._layer, self._view, self._base, self._batch = layer, view, base, batch
        self._backward, self._floor = floor is not None, floor or 0
        load, self._behind = start
        self._slices: deque[Slice] = deque()
        self._following: int | None = load if self._backward or self._behind is not None else load + 1
        self.instants: dict[int, int] = {}
        """Of each load that was met: the instant of its commit, as in `page.Place.at`."""

    def rows(self) -> Steps[list[tuple[Any, ...]] | None]:
        """The next rows of `select_entries`; None: there are no more."""
        while not self._slices:
            if self._following is None:
                return None
            yield from self._look()
        part, batch = self._slices[0], self._batch
        rows = yield entries.select_entries(self._layer, self._view, part, self._base, batch)
        if not any(row[2] for row in rows):
            self._batch = max(batch, min(2 * batch, MOST))
        if len(rows) < batch:
            self._slices.popleft()
        else:
            load, id_ = rows[-1][:2]
            first, last = (part.first, load) if self._backward else (load, part.last)
            self._slices[0] = replace(part, first=first, last=last, load=load, id=id_)
        return rows

    def _look(self) -> Steps[None]:
        """Read the ledger on."""
        load = self._following
        assert load is not None
        begins = not self.instants and load > 0 and self._behind is not None
        loads = yield entries.select_loads(self._layer, load, LOADS, backward=self._backward)
        told = [(row[0], row[1]) for row in loads if row[0] >= self._floor]
        self.instants |= {row[0]: microseconds(row[2]) for row in loads if row[0] >= self._floor}
        self._following = None
        if len(told) == LOADS:
            self._following = told[-1][0] + (-1 if self._backward else 1)
        self._slices.extend(self._cut(told))
        if begins and self._slices:
            self._slices[0] = replace(self._slices[0], load=load, id=self._behind)

    def _cut(self, loads: list[tuple[int, int]]) -> Iterator[Slice]:
        """Loads that wrote little together, and each that wrote much by itself."""
        some: list[int] = []
        total = 0
        for load, written in loads:
            if some and total + written > TOGETHER:
                yield Slice(min(some), max(some), backward=self._backward)
                some, total = [], 0
            some.append(load)
            total += written
        if some:
            yield Slice(min(some), max(some), backward=self._backward)


def microseconds(moment: datetime) -> int:
    """Since 1970 in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def instant(since_1970: int) -> datetime:
    """Of microseconds."""
    return _EPOCH + timedelta(microseconds=since_1970)
