"""Former states of a layer as who asks sees them: what today's rule shows of a state, and of the feature's latest one.

A feature that is hidden now is hidden in its past, and so are values and places that are masked now; what was hidden
then stays so.
"""

from __future__ import annotations

from functools import partial

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.store import history, sight, tables
from sdi.store.statement import Parameters


def relation(layer: Layer, query: FeatureQuery, parameters: Parameters) -> sql.Composable:
    """What stands behind FROM: the rows as they were known at the query's instant, as they are seen."""
    moment = history.load_at(parameters.bind(layer.id, "text"), parameters.bind(query.as_of, "timestamptz"))
    source = sql.SQL("({})").format(history.as_of(layer, moment, _columns(layer, query)))
    return sight.relation(layer, query.sight, parameters, source, lately=partial(still, layer, query))


def _columns(layer: Layer, query: FeatureQuery) -> tuple[str, ...]:
    """The columns that former states are read with: what everybody's role may read, and what else is asked for by who
    sees it."""
    if query.sight is not None:
        return sight.needed(layer, query.sight)
    asked = {*query.attributes, *(name for name, _ in (*query.equals, *query.sort)), *query.searched}
    asked |= sight.properties([*query.filters, *query.latest])
    if layer.temporal is not None and query.interval is not None:
        asked |= {name for name in (layer.temporal.instant, layer.temporal.start, layer.temporal.end) if name}
    known = tables.grants(layer).columns
    return (*known, *(each.name for each in layer.stored if each.name in asked and each.name not in known))


def still(layer: Layer, query: FeatureQuery, holds: list[sql.Composable]) -> sql.Composable:
    """Conditions on a feature's latest state: the one of now, or the one in which it ended."""
    shown = _columns(layer, query)
    return sql.SQL(
        "(SELECT coalesce({holds}, false) FROM (SELECT {columns}, 'infinity'::float8 AS load_to FROM {now} WHERE"
        " id = {rows}.id UNION ALL SELECT {columns}, load_to FROM {past} WHERE id = {rows}.id) AS state"
        " ORDER BY load_to DESC LIMIT 1)"
    ).format(
        holds=sql.SQL(" AND ").join(holds), columns=sql.SQL(", ").join(map(sql.Identifier, shown)), rows=sight.ROWS,
        now=tables.now(layer), past=tables.past(layer),
    )  # fmt: skip
