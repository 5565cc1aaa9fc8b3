"""The changes of a layer, load by load, as bound SQL: each feature's last change that who asks can see.

A change is a feature's state after a load that differs, as seen, from its state before: both are written as the GeoJSON
that an item is, from the row of the past that the load ended and the row that it brought. So what changed only in what
is hidden is no change, and a feature that leaves one's sight ends. Only the last change of a feature that can be seen
is told, as it is all that a copy needs: one that follows later makes the earlier ones needless, and it stands behind
every place that was passed before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.store import forms, history, sight, tables
from sdi.store.cql_sql import condition
from sdi.store.statement import Parameters, Statement


@dataclass(frozen=True)
class Slice:
    """Loads whose changes are looked at together, in the order of (load, id)."""

    first: int
    last: int
    load: int = 0
    id: str | None = None
    """Only what lies behind (load, id) or, backward, before it; None: all."""
    backward: bool = False


def select_loads(layer: Layer, load: int, count: int, *, backward: bool = False) -> Statement:
    """Rows (load, rows written, instant) of the layer's loads from one on, or down from it, in order."""
    parameters = Parameters()
    statement = sql.SQL(
        "SELECT load_id, inserted + updated + deleted, finished_at FROM sdi.load WHERE layer = {} AND status = 'done'"
        " AND load_id {} {} ORDER BY load_id{} LIMIT {}"
    )
    beside, way = ("<=", " DESC") if backward else (">=", "")
    values = parameters.bind(load, "bigint"), parameters.bind(count, "bigint")
    return parameters.statement(
        statement.format(parameters.bind(layer.id, "text"), sql.SQL(beside), values[0], sql.SQL(way), values[1])
    )


def select_load_at(layer: Layer, moment: datetime) -> Statement:
    """One row: the last load of the layer that was committed at an instant or before; 0: none was."""
    parameters = Parameters()
    load = history.load_at(parameters.bind(layer.id, "text"), parameters.bind(moment, "timestamptz"))
    return parameters.statement(sql.SQL("SELECT {}").format(load))


def select_entries(layer: Layer, view: FeatureQuery, part: Slice, base: int | None, batch: int) -> Statement:
    """Rows (load, id, seen, last, GeoJSON text, at the base) of the first `batch` rows that were written in a slice.

    `seen`: whether who asks sees a difference; what follows is NULL where they see none. `last`: whether they see none
    after it. The text is NULL where the feature is not there any more for them. The last column: whether they saw the
    feature as load `base` left it; None: as the row's own load found it.
    view: attributes, filters and geometry as who asks sees them; its order and limits are not looked at.
    """
    parameters = Parameters(meant=view.meant)
    written = {
        "past": tables.past(layer), "now": tables.now(layer), "moved": _moved(layer, part, parameters, batch),
        "order": _order(part),
        "before": _text(layer, view, parameters, "c.load", ended=True),
        "after": _text(layer, view, parameters, "c.load"),
        "then": _text(layer, view, parameters, "u.load"),
        "base": _was_there(layer, view, parameters, base),
    }  # fmt: skip
    return parameters.statement(
        sql.SQL(
            "SELECT c.load, c.id, e.changed, CASE WHEN e.changed THEN NOT EXISTS (SELECT FROM ("
            "SELECT p.load_to AS load FROM {past} AS p WHERE p.id = c.id AND p.load_to > c.load"
            " UNION SELECT p.load_id FROM {past} AS p WHERE p.id = c.id AND p.load_id > c.load"
            " UNION SELECT n.load_id FROM {now} AS n WHERE n.id = c.id AND n.load_id > c.load) AS u"
            " WHERE {then} IS DISTINCT FROM e.text) END, CASE WHEN e.changed THEN e.text END,"
            " CASE WHEN e.changed THEN {base} END FROM ({moved}) AS c CROSS JOIN LATERAL"
            " (SELECT w.text, w.was IS NOT NULL AS was, w.was IS DISTINCT FROM w.text AS changed FROM"
            " (SELECT {before} AS was, {after} AS text OFFSET 0) AS w OFFSET 0) AS e{order}"
        ).format(**written)
    )


def _moved(layer: Layer, part: Slice, parameters: Parameters, batch: int) -> sql.Composed:
    """(load, id) of what a slice's loads brought and ended, each once: the first `batch` of them."""
    limit = parameters.bind(batch, "bigint")
    branches = [
        sql.SQL("(SELECT {} AS load, id FROM {} WHERE {}{} LIMIT {})").format(
            sql.Identifier(load), table, _within(part, sql.Identifier(load), parameters), _order(part, load), limit
        )
        for table, load in ((tables.now(layer), "load_id"), (tables.past(layer), "load_id"),
                            (tables.past(layer), "load_to"))
    ]  # fmt: skip
    return sql.SQL("SELECT load, id FROM ({}) AS moved{} LIMIT {}").format(
        sql.SQL(" UNION ").join(branches), _order(part), limit
    )


def _within(part: Slice, column: sql.Identifier, parameters: Parameters) -> sql.Composed:
    """That a column of loads lies in the slice. Of a single load the ids alone decide, along their index."""
    beside = sql.SQL("<" if part.backward else ">")
    if part.first == part.last:
        where = sql.SQL("{} = {}").format(column, parameters.bind(part.first, "bigint"))
        if part.id is not None and part.load == part.first:
            where += sql.SQL(" AND id {} {}").format(beside, parameters.bind(part.id, "text"))
        return where
    ends = (parameters.bind(part.first, "bigint"), parameters.bind(part.last, "bigint"))
    where = sql.SQL("{} BETWEEN {} AND {}").format(column, *ends)
    if part.id is not None:
        load, id_ = parameters.bind(part.load, "bigint"), parameters.bind(part.id, "text")
        where += sql.SQL(" AND ({}, id) {} ({}, {})").format(column, beside, load, id_)
    return where


def _order(part: Slice, load: str = "load") -> sql.Composed:
    way = sql.SQL(" DESC" if part.backward else "")
    if part.first == part.last:
        return sql.SQL(" ORDER BY id{}").format(way)
    return sql.SQL(" ORDER BY {}{}, id{}").format(sql.Identifier(load), way, way)


def _text(layer: Layer, view: FeatureQuery, parameters: Parameters, load: str, *, ended: bool = False) -> sql.Composed:
    """The GeoJSON text of the state of feature c that a load brought, or `ended`, as it is seen; NULL: none is.

    load: SQL of the load.
    """
    one = sql.SQL("SELECT {} FROM {} AS s WHERE s.id = c.id AND s.{} = {}")
    branches = [
        one.format(columns(layer, view), table, sql.SQL("load_to" if ended else "load_id"), sql.SQL(load))
        for table in ((tables.past(layer),) if ended else (tables.now(layer), tables.past(layer)))
    ]
    return seen(layer, view, parameters, sql.SQL(" UNION ALL ").join(branches))


def _was_there(layer: Layer, view: FeatureQuery, parameters: Parameters, load: int | None) -> sql.Composable:
    """Whether feature c was there, as seen, after a load; None: before its own."""
    if load is None:
        return sql.SQL("e.was")
    if load <= 0:
        return sql.SQL("false")
    rows = as_left(layer, view, parameters.bind(load, "bigint"))
    return sql.SQL("{} IS NOT NULL").format(seen(layer, view, parameters, rows))


def as_left(layer: Layer, view: FeatureQuery, load: sql.Composable) -> sql.Composed:
    """SQL of the row of feature c as a load (an expression) left it, with the columns that a view is made of."""
    return sql.SQL(
        "SELECT {0} FROM {1} AS s WHERE s.id = c.id AND s.load_id <= {3} UNION ALL"
        " SELECT {0} FROM {2} AS s WHERE s.id = c.id AND s.load_id <= {3} AND s.load_to > {3}"
    ).format(columns(layer, view), tables.now(layer), tables.past(layer), load)


def columns(layer: Layer, view: FeatureQuery) -> sql.Composable:
    seen = () if view.sight is None else sight.needed(layer, view.sight)
    names = dict.fromkeys(seen or [*tables.grants(layer).columns, *view.attributes])
    return sql.SQL(", ").join(map(sql.Identifier, names))


def seen(layer: Layer, view: FeatureQuery, parameters: Parameters, rows: sql.Composable) -> sql.Composed:
    """SQL of the GeoJSON text of the one row of a source that is seen, in brackets; NULL: none is."""
    conditions = [condition(expression, layer, parameters) for expression in view.filters]
    where = sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")
    source = sight.relation(layer, view.sight, parameters, sql.SQL("({})").format(rows))
    return sql.SQL("(SELECT {} FROM {} WHERE {})").format(forms.geojson(layer, view), source, where)
