"""Pages of a layer's changes: from a place on, each feature at most once, and the place to ask from the next time.

Whoever replays all pages onto a copy has what a download has. Loads of a layer are committed in the order of their ids
(`ledger.in_order`), so nothing appears later before a place that was passed. What is read here is a generator of
statements, so that a service with an event loop and a command without one ask alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import Gone
from sdi.store.engine import Connection
from sdi.store.feed import entries
from sdi.store.feed.entries import Slice
from sdi.store.statement import Statement, fetched

TOGETHER = 2_000
"""Rows that the loads of one slice wrote, unless it is a single load."""
LOADS = 1_000
"""Loads that are read from the ledger at a time."""
BATCH = 200
"""Written rows that are looked at together at the least."""
LAST = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

type Steps[T] = Generator[Statement, list[tuple[Any, ...]], T]
"""Statements, each to be answered by its rows; at the end what was made of them."""


@dataclass(frozen=True)
class Place:
    """A place in a layer's changes: everything up to the change of feature `id` by load `load` is known."""

    load: int = 0
    id: str = ""
    at: int = 0
    """The instant of that load, microseconds since 1970 in UTC: after a backup was restored, a load may have the number
    of another one."""
    base: int = 0
    """The load whose state the copy was of, before the first of the pages that this one is among."""
    upto: int | None = None
    """The last load that was known at the first of these pages; None: the page is the first.

    What came after the base and ended up to this load, who begins there never had.
    """


@dataclass(frozen=True)
class Entry:
    """One feature. `text`: its GeoJSON Feature as who asks sees it; None: it is not there any more."""

    load: int
    at: datetime
    id: str
    text: str | None
    known: bool
    """Whether it was there, as seen, in the state that the pages began from."""

    @property
    def action(self) -> str:
        return "delete" if self.text is None else "update" if self.known else "insert"


@dataclass(frozen=True)
class Page:
    """`place`: where the next page begins. `more`: there is something behind it already."""

    entries: list[Entry]
    place: Place
    more: bool


def read(layer: Layer, view: FeatureQuery, place: Place, limit: int) -> Steps[Page]:
    """A page of at most `limit` changes behind a place; to be run in one REPEATABLE READ transaction.

    Raises Gone for a place that is not in the layer's history.
    """
    walk = _Walk(layer, view, place, batch=max(BATCH, limit + 1))
    upto = LAST if place.upto is None else place.upto
    found: list[Entry] = []
    reached = place
    while (rows := (yield from walk.rows())) is not None:
        for load, id_, seen, last, text, known in rows:
            if not (seen and last):
                continue
            passed = replace(place, load=load, id=id_, at=walk.instants[load])
            if text is None and not known and load <= upto:
                reached = passed  # it came and went where who asks was not there yet
                continue
            if len(found) == limit:
                if place.upto is None:
                    reached = replace(reached, upto=(yield from _newest(layer, view, LAST)).load)
                return Page(found, reached, more=True)
            found.append(Entry(load, _instant(walk.instants[load]), id_, text, known))
            reached = passed
    return Page(found, replace(reached, base=reached.load, upto=None), more=False)


def at_load(layer: Layer, view: FeatureQuery, load: int) -> Steps[Place]:
    """The place behind a load; one that is yet to come, and one of another layer, stand for the last one before it."""
    return (yield from _newest(layer, view, min(load, LAST)))


def at_moment(layer: Layer, view: FeatureQuery, moment: datetime) -> Steps[Place]:
    """The place behind the last load that was committed at an instant or before."""
    rows = yield entries.select_load_at(layer, moment)
    return (yield from at_load(layer, view, int(rows[0][0])))


def _newest(layer: Layer, view: FeatureQuery, load: int) -> Steps[Place]:
    """The place of the last change that who asks can see, up to a load. Of what they cannot see it tells nothing."""
    walk = _Walk(layer, view, Place(load), batch=BATCH, backward=True)
    while (rows := (yield from walk.rows())) is not None:
        for load, id_, seen, _, _, _ in rows:
            if seen:
                return Place(load, id_, walk.instants[load], base=load)
    return Place()


class _Walk:
    """Along the rows that a layer's loads wrote, from a place on, some of them at a time."""

    def __init__(
        self, layer: Layer, view: FeatureQuery, place: Place, *, batch: int, backward: bool = False
    ) -> None:  # fmt: skip
        self._layer, self._view, self._place = layer, view, place
        self._batch, self._backward = batch, backward
        self._slices: deque[Slice] = deque()
        self._following: int | None = place.load
        self.instants: dict[int, int] = {}
        """Of each load that was met: the instant of its commit, as in `Place.at`."""

    def rows(self) -> Steps[list[tuple[Any, ...]] | None]:
        """The next rows of `select_entries`; None: there are no more."""
        while not self._slices:
            if self._following is None:
                return None
            yield from self._look()
        part = self._slices[0]
        rows = yield entries.select_entries(self._layer, self._view, part, self._place.base, self._batch)
        if len(rows) < self._batch:
            self._slices.popleft()
        else:
            load, id_ = rows[-1][:2]
            first, last = (part.first, load) if self._backward else (load, part.last)
            self._slices[0] = replace(part, first=first, last=last, load=load, id=id_)
        return rows

    def _look(self) -> Steps[None]:
        """Read the ledger on."""
        assert self._following is not None
        begins = not self.instants and not self._backward and self._place.load > 0
        loads = yield entries.select_loads(self._layer, self._following, LOADS, backward=self._backward)
        for load, _, finished_at in loads:
            self.instants[load] = (finished_at - _EPOCH) // timedelta(microseconds=1)
        if begins and self.instants.get(self._place.load) != self._place.at:
            raise Gone(
                "This place in the changes is not in the history any more.", hint="Begin again, without 'since'."
            )
        self._following = None
        if len(loads) == LOADS:
            self._following = loads[-1][0] + (-1 if self._backward else 1)
        self._slices.extend(self._cut([(load, written) for load, written, _ in loads]))
        if begins:
            self._slices[0] = replace(self._slices[0], load=self._place.load, id=self._place.id)

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


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


@contextmanager
def moment(connection: Connection) -> Iterator[None]:
    """A transaction that sees the store as it is at one moment."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def run[T](connection: Connection, steps: Steps[T]) -> T:
    """What steps make of the answers on a connection."""
    try:
        statement = next(steps)
        while True:
            statement = steps.send(connection.execute(statement.sql, statement.params).fetchall())
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async[T](connection: AsyncConnection[Any], steps: Steps[T]) -> T:
    """`run` for an event loop."""
    try:
        statement = next(steps)
        while True:
            statement = steps.send(await fetched(connection, statement))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
