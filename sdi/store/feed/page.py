"""Pages of a layer's changes: from a place on, each feature at most once, and the place to ask from the next time.

Whoever replays all pages onto a copy has what a download has. Loads of a layer are committed in the order of their ids
(`ledger.in_order`), so nothing appears later before a place that was passed. What is read here is a generator of
statements, so that a service with an event loop and a command without one ask alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from psycopg import AsyncConnection

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import Gone
from sdi.store.engine import Connection
from sdi.store.feed import entries
from sdi.store.feed.walk import Steps, Walk, instant, microseconds
from sdi.store.statement import fetched

BATCH = 200
"""Written rows that are looked at together at the least."""
LAST = 2**63 - 1
MARKS = 10_000
"""Rules of which a process remembers something."""


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
class Held:
    """What a copy holds of the features behind another piece and up to the id `last` (None: of all behind it): what a
    rule, by the name under which it is kept, showed of them as a load left them."""

    rule: str
    load: int
    at: int
    """The instant of that load, as in `Place.at`."""
    last: str | None = None


@dataclass(frozen=True)
class Turn:
    """A copy that is being brought to another rule, in the order of ids: up to `id` it is as at `to` or later."""

    to: Place
    id: str
    held: tuple[Held, ...]
    """What it is of behind `id`, in the order of ids."""
    exact: bool = True
    """Whether it is as at `to`: no change came while the pages were read."""


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
    place: Place | Turn
    more: bool


@dataclass(frozen=True)
class Passed:
    """What is known of a view: behind `place`, as far as row `id` of a load (None: as all of it), it shows no change.

    at: of that load, as `Place.at`.
    """

    place: Place
    load: int
    at: int
    id: str | None


@dataclass
class Mark:
    """What a process remembers of one rule's view of a layer: what was looked through in vain is not looked at again,
    and no cursor need tell of it."""

    passed: Passed | None = None
    kept: date | None = None
    """The last day (UTC) on which the rule was kept."""

    def behind(self, place: Place) -> Passed | None:
        """What is known of what comes behind a place."""
        known = self.passed
        return known if known is not None and (known.place.load, known.place.id) == (place.load, place.id) else None

    def note(self, found: Passed) -> None:
        """Remember what was found out, unless more is known."""
        known = self.passed
        if known is None or self.behind(found.place) is None:
            more = known is None or known.place.load <= found.place.load
        else:
            more = found.load > known.load or (found.load == known.load and known.id is not None)
        if more:
            self.passed = found


class Marks:
    """The marks of a process, by layer and rule."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Mark] = {}

    def of(self, layer: Layer, rule: str) -> Mark:
        if len(self._known) >= MARKS:
            self._known.clear()
        return self._known.setdefault((layer.id, rule), Mark())


def read(layer: Layer, view: FeatureQuery, place: Place, limit: int, mark: Mark | None = None) -> Steps[Page]:
    """A page of at most `limit` changes behind a place; to be run in one REPEATABLE READ transaction.

    mark: of this view. Raises Gone for a place that is not in the layer's history.
    """
    yield from stand(layer, place.load, place.at)
    mark = mark or Mark()
    begins = yield from _begins(layer, place, mark)
    walk = Walk(layer, view, (begins.load, begins.id), place.base, max(BATCH, limit + 1))
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
                    reached = replace(reached, upto=(yield from newest(layer, view, mark=mark)).load)
                return Page(found, reached, more=True)
            found.append(Entry(load, instant(walk.instants[load]), id_, text, known))
            reached = passed
        if reached is place and rows:
            mark.note(Passed(place, rows[-1][0], walk.instants[rows[-1][0]], rows[-1][1]))
    end = replace(reached, base=reached.load, upto=None)
    last_load, at = max(walk.instants.items(), default=(begins.load, begins.at))
    mark.note(Passed(end, last_load, at, None))
    return Page(found, end, more=False)


def _begins(layer: Layer, place: Place, mark: Mark) -> Steps[Passed]:
    """Where behind a place to begin to look. A history that was replaced is looked through anew."""
    known = mark.behind(place)
    if known is not None and (yield from _stands(layer, known.load, known.at)):
        return known
    if known is not None:
        mark.passed = None
    return Passed(place, place.load, place.at, place.id)


def at_load(layer: Layer, view: FeatureQuery, load: int) -> Steps[Place]:
    """The place behind a load; one that is yet to come, and one of another layer, stand for the last one before it."""
    return (yield from newest(layer, view, min(load, LAST)))


def at_moment(layer: Layer, view: FeatureQuery, moment: datetime) -> Steps[Place]:
    """The place behind the last load that was committed at an instant or before."""
    rows = yield entries.select_load_at(layer, moment)
    return (yield from at_load(layer, view, int(rows[0][0])))


def newest(layer: Layer, view: FeatureQuery, load: int = LAST, mark: Mark | None = None) -> Steps[Place]:
    """The place of the last change that who asks can see, up to a load. Of what they cannot see it tells nothing.

    mark: of this view.
    """
    mark = mark or Mark()
    known = mark.passed
    if known is not None and not (yield from _stands(layer, known.load, known.at)):
        mark.passed = known = None
    if known is not None and known.id is not None:
        known = None
    floor = 0 if known is None or known.load > load else known.load + 1
    walk = Walk(layer, view, (load, None), 0, BATCH, floor=floor)
    place = known.place if known is not None and floor else Place()
    while (rows := (yield from walk.rows())) is not None:
        seen = next(((row[0], row[1]) for row in rows if row[2]), None)
        if seen is not None:
            place = Place(*seen, walk.instants[seen[0]], base=seen[0])
            break
    if load == LAST and walk.instants:
        last_load = max(walk.instants)
        mark.note(Passed(place, last_load, walk.instants[last_load], None))
    return place


def latest(layer: Layer, view: FeatureQuery, limit: int, before: Place) -> Steps[Page]:
    """At most `limit` changes from a place back, the last first, without the one at it (an empty id: with all of its
    load's); each feature's last change, and whether it was there when that load came. The page's `place` is of its last
    one. To be run in one REPEATABLE READ transaction. Raises Gone for a place that is not in the layer's history.
    """
    yield from stand(layer, before.load, before.at)
    walk = Walk(layer, view, (before.load, before.id or None), None, max(BATCH, limit + 1), floor=0)
    found: list[Entry] = []
    reached = before
    while (rows := (yield from walk.rows())) is not None:
        for load, id_, seen, last, text, was in rows:
            if not (seen and last):
                continue
            if len(found) == limit:
                return Page(found, reached, more=True)
            reached = Place(load, id_, walk.instants[load])
            found.append(Entry(load, instant(reached.at), id_, text, was))
    return Page(found, reached, more=False)


def stand(layer: Layer, load: int, at: int) -> Steps[None]:
    """Raises Gone where a load is not in the layer's history, or was committed at another instant."""
    if not (yield from _stands(layer, load, at)):
        raise lost()


def _stands(layer: Layer, load: int, at: int) -> Steps[bool]:
    if not load:
        return True
    rows = yield entries.select_loads(layer, load, 1)
    return [(row[0], microseconds(row[2])) for row in rows] == [(load, at)]


def lost() -> Gone:
    """Of a place that is not in the layer's history: another backup was restored, or it was loaded anew."""
    return Gone("This place in the changes is not in the history any more.", hint="Begin again, without 'since'.")


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
