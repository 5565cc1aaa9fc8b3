"""Which load last changed what somebody sees of a layer.

A load that changed nothing they see is none to them: neither a tag nor a date nor a count tells that it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import Sight
from sdi.store import extents, sight, tables
from sdi.store.engine import Connection
from sdi.store.statement import Parameters, Statement

TOGETHER = 500
"""Loads that are read from the ledger at a time."""


def standing(
    connection: Connection, layer: Layer, view: Sight, dated: bool, counted: bool
) -> dict[str, Any] | None:  # fmt: skip
    """What a publication tells of the layer to who sees it so: `load_id` and `changed_at` of the last load that changed
    anything for them, `count`, `extent` (west, south, east, north in WGS 84 degrees), `grids` (EPSG codes),
    `time_start`, `time_end`. None: no load ever showed them anything.

    `view`: all that they see, the attributes included. `dated`: whether the layer's time is among them. `counted`: tell
    all but the load as they see it; else every feature exists for them where it is.
    """
    for load_id, finished_at in _loads(connection, layer):
        statement = select_changed(layer, view, load_id)
        row = connection.execute(statement.sql, statement.params).fetchone()
        if row is not None and row[0]:
            undated = {} if dated else {"time_start": None, "time_end": None}
            told = _told(connection, layer, view, dated=dated) if counted else undated
            return {"load_id": load_id, "changed_at": finished_at, **told}
    return None


def _loads(connection: Connection, layer: Layer) -> Iterator[tuple[int, datetime]]:
    """Those that changed rows, the last one first, as far back as there are any: none may be taken for another one."""
    query = (
        "SELECT load_id, finished_at FROM sdi.load WHERE layer = %s AND status = 'done'"
        " AND inserted + updated + deleted > 0 AND load_id < %s ORDER BY load_id DESC LIMIT %s"
    )
    before = 2**63 - 1
    while loads := connection.execute(query, [layer.id, before, TOGETHER]).fetchall():
        yield from ((row[0], row[1]) for row in loads)
        before = loads[-1][0]


def select_changed(layer: Layer, view: Sight, load_id: int) -> Statement:
    """One row: whether the rows that a load wrote, as they are seen, are others than those that it ended."""
    parameters = Parameters()
    load = parameters.bind(load_id, "bigint")
    columns = sql.SQL(", ").join(map(sql.Identifier, sight.needed(layer, view)))
    written = sql.SQL(
        "(SELECT {0} FROM {1} WHERE load_id = {3} UNION ALL SELECT {0} FROM {2} WHERE load_id = {3})"
    ).format(columns, tables.now(layer), tables.past(layer), load)
    ended = sql.SQL("(SELECT {} FROM {} WHERE load_to = {})").format(columns, tables.past(layer), load)
    after = sight.relation(layer, view, parameters, written)
    before = sight.relation(layer, view, parameters, ended)
    same = sql.SQL(" AND ").join(
        sql.SQL("a.{0} IS NOT DISTINCT FROM b.{0}").format(sql.Identifier(name))
        for name in (*view.attributes, "geom", "geom_wgs84")
    )
    statement = sql.SQL(
        "WITH a AS NOT MATERIALIZED (SELECT * FROM {after}), b AS NOT MATERIALIZED (SELECT * FROM {before})"
        " SELECT EXISTS (SELECT FROM a WHERE NOT EXISTS (SELECT FROM b WHERE b.id = a.id AND {same}))"
        " OR EXISTS (SELECT FROM b WHERE NOT EXISTS (SELECT FROM a WHERE a.id = b.id))"
    ).format(after=after, before=before, same=same)
    return parameters.statement(statement)


def _told(connection: Connection, layer: Layer, view: Sight, *, dated: bool) -> dict[str, Any]:
    parameters = Parameters()
    rows = sql.SQL("{}").format(sight.relation(layer, view, parameters))
    told = extents.of(connection, layer, parameters.statement(rows), dated=dated)
    box = tuple(told.pop(side) for side in ("west", "south", "east", "north"))
    return {**told, "grids": tuple(told["grids"]), "extent": None if box[0] is None else box}
