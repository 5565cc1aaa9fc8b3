"""From a copy that one rule showed to one that another rule shows: what differs, feature by feature, by their ids.

A copy that has all changes up to a place is what its rule showed as the place's load left the layer: what came since
changed nothing that it showed. So both states are in the history, and what differs between them is told as changes are.
Of what the former rule showed nothing is told but that a feature, which the copy holds, is not there any more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import Gone
from sdi.store import tables
from sdi.store.feed import entries, page, rules
from sdi.store.feed.page import Entry, Held, Mark, Page, Place, Turn
from sdi.store.feed.walk import Steps, instant
from sdi.store.statement import Parameters, Statement

BATCH = 1_000
"""Features that are compared at a time."""
MOST = 5
"""Rules, one after another, that a copy may be of before it is begun again."""


def begin(
    layer: Layer, view: FeatureQuery, former: str, place: Place | Turn, mark: Mark | None = None
) -> Steps[Turn]:  # fmt: skip
    """The way from a place under the rule that is kept as `former` to what a view shows now.

    mark: of the view. Raises Gone for a place between pages: a copy is then of no one state.
    """
    held: tuple[Held, ...] = ()
    if isinstance(place, Place) and place.upto is None:
        held = (Held(former, place.load, place.at),)
    elif isinstance(place, Turn) and place.exact:
        held = (Held(former, place.to.load, place.to.at, place.id), *place.held)
    if not 0 < len(held) <= MOST:
        raise another()
    return Turn((yield from page.newest(layer, view, mark=mark)), "", held)


def another() -> Gone:
    """Of a place under a rule from which no way leads to the one that holds."""
    return Gone("What may be seen of this collection is not what it was.", hint="Begin again, without 'since'.")


def follow(
    layer: Layer, view: FeatureQuery, place: Place | Turn, limit: int, readable: Collection[str],
    mark: Mark | None = None,
) -> Steps[Page]:  # fmt: skip
    """A page behind a place, whichever it is; to be run in one REPEATABLE READ transaction.

    readable: the attributes that the connection's role may read. mark: of the view. Raises Gone.
    """
    if not isinstance(place, Turn):
        return (yield from page.read(layer, view, place, limit, mark))
    for load, at in {(place.to.load, place.to.at), *((each.load, each.at) for each in place.held)}:
        yield from page.stand(layer, load, at)
    newest = yield from page.newest(layer, view, mark=mark)
    turn = replace(place, exact=place.exact and (newest.load, newest.id) == (place.to.load, place.to.id))
    return (yield from _turned(layer, view, turn, limit, readable))


def _turned(
    layer: Layer, view: FeatureQuery, turn: Turn, limit: int, readable: Collection[str]
) -> Steps[Page]:  # fmt: skip
    found: list[Entry] = []
    load, at = max((turn.to.load, turn.to.at), *((each.load, each.at) for each in turn.held))
    after, reached = turn.id, turn
    for number, piece in enumerate(turn.held):
        former = yield from _former(layer, piece, readable)
        rows: list[tuple[Any, ...]] | None = None
        while rows is None or len(rows) == BATCH:
            rows = yield select_differences(layer, view, former, piece, after)
            for id_, differs, known, text in rows:
                if differs and len(found) == limit:
                    return Page(found, reached, more=True)
                if differs:
                    found.append(Entry(load, instant(at), id_, text, known))
                    reached = replace(turn, id=id_, held=turn.held[number:])
            after = rows[-1][0] if rows else after
        after = after if piece.last is None else piece.last
    # What came while the pages were read is told from the first one's moment on, to who has it already, too.
    end = turn.to if turn.exact else replace(turn.to, upto=turn.to.load)
    return Page(found, end, more=not turn.exact)


def _former(layer: Layer, piece: Held, readable: Collection[str]) -> Steps[FeatureQuery]:
    ((rule,),) = yield rules.select_kept(layer, piece.rule)
    former = None if rule is None else rules.view_of(layer, rule, readable)
    if former is None:
        raise another()
    return former


def select_differences(
    layer: Layer, view: FeatureQuery, former: FeatureQuery, piece: Held, after: str
) -> Statement:  # fmt: skip
    """Rows (id, differs, was there, GeoJSON text) of the first BATCH features of a piece behind an id, in their order.

    The text: of the feature as a view shows it, where that differs from what `former` showed of it; NULL: it is not
    there.
    """
    parameters = Parameters(meant=former.meant)
    was = parameters.bind(piece.load, "bigint")
    before = entries.seen(layer, former, parameters, entries.as_left(layer, former, was))
    parameters.meant = view.meant
    present = sql.SQL("SELECT {} FROM {} AS s WHERE s.id = c.id")
    now = entries.seen(layer, view, parameters, present.format(entries.columns(layer, view), tables.now(layer)))
    return parameters.statement(
        sql.SQL(
            "SELECT c.id, e.was IS DISTINCT FROM e.text, e.was IS NOT NULL,"
            " CASE WHEN e.was IS DISTINCT FROM e.text THEN e.text END"
            " FROM ({}) AS c CROSS JOIN LATERAL (SELECT {} AS was, {} AS text OFFSET 0) AS e ORDER BY c.id"
        ).format(_ids(layer, piece, after, was, parameters), before, now)
    )


def _ids(layer: Layer, piece: Held, after: str, was: sql.Composable, parameters: Parameters) -> sql.Composed:
    """The ids of what is there, or was after the piece's load."""
    limit = parameters.bind(BATCH, "bigint")
    within = sql.SQL("id > {}").format(parameters.bind(after, "text"))
    if piece.last is not None:
        within += sql.SQL(" AND id <= {}").format(parameters.bind(piece.last, "text"))
    return sql.SQL(
        "SELECT id FROM ((SELECT id FROM {now} WHERE {within} ORDER BY id LIMIT {limit}) UNION"
        " (SELECT id FROM {past} WHERE {within} AND load_id <= {was} AND load_to > {was} ORDER BY id LIMIT {limit}))"
        " AS k ORDER BY id LIMIT {limit}"
    ).format(now=tables.now(layer), past=tables.past(layer), within=within, was=was, limit=limit)
