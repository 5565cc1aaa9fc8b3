"""Which administrative unit became which, and what a unit's code finds.

Units come from the layers whose contract has a part `units`; whatever changes such a layer brings `sdi.unit` and
`sdi.succession` along in its transaction. A code means something only together with a day: `sdi.units_meant` says which
codes and former codes a layer's features may bear that lie in what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer, Reform
from sdi.contract.query import FeatureQuery
from sdi.store import tables
from sdi.store.engine import Connection
from sdi.store.statement import Parameters, Statement

SCOPES = sql.Identifier("sdi_scopes")
"""Temporary, of a delivery to a layer that had a reform: each code as it was delivered, whether it means the unit that
had it before (`former`), and whether another has it now (`again`)."""
_TODAY = sql.SQL("(now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date")

_ROLES = ("code", "former", "unreformed")

_UNITS = sql.SQL(
    "INSERT INTO sdi.unit (layer, id, code, valid_from, valid_to)"
    " SELECT {layer}, id, {code}, {start}::date, {end}::date FROM {now} WHERE {code} IS NOT NULL"
)
# A former unit is the one that the item names by id, else the one with its code that began before; one that the layer
# does not have is known by its code, and by the day on which it ended: its successor's first.
_TOLD = sql.SQL(
    """
CREATE TEMPORARY TABLE sdi_told ON COMMIT DROP AS
SELECT n.id AS successor, n.{start}::date AS since, i.item ->> {item_code} AS code, ({share})::float8 AS share,
    coalesce(
        (SELECT u.id FROM sdi.unit u WHERE u.layer = {layer} AND u.id = i.item ->> 'id' AND u.id <> n.id),
        (SELECT u.id FROM sdi.unit u WHERE u.layer = {layer} AND u.code = i.item ->> {item_code} AND u.id <> n.id
            AND (u.valid_from IS NULL OR u.valid_from < n.{start}) ORDER BY u.valid_from DESC NULLS LAST, u.id LIMIT 1),
        i.item ->> {item_code} || ' < ' || n.{start}::date
    ) AS former
FROM {now} n CROSS JOIN LATERAL jsonb_array_elements(n.{succeeds}) AS i (item)
WHERE n.{succeeds} IS NOT NULL AND n.{start} IS NOT NULL"""
)
_NAMED = """
INSERT INTO sdi.unit (layer, id, code, valid_to)
SELECT %(layer)s, t.former, min(t.code), min(t.since) FROM sdi_told t
WHERE t.former IS NOT NULL AND t.code IS NOT NULL
    AND NOT EXISTS (SELECT FROM sdi.unit u WHERE u.layer = %(layer)s AND u.id = t.former)
GROUP BY t.former"""
_SUCCESSION = """
INSERT INTO sdi.succession (layer, former, successor, share)
SELECT %(layer)s, former, successor, sum(share) FROM sdi_told WHERE former IS NOT NULL GROUP BY former, successor"""


def delivered(connection: Connection, layer: Layer) -> sql.Composed | None:
    """Condition over alias `o`, a layer's rows: they lie in the units whose codes a delivery has, where that may speak
    of units before a reform (SCOPES); None: it does not."""
    if layer.reform is None or layer.reform.attribute != layer.load.scope or not speaks(connection):
        return None
    return sql.SQL(
        "(o.{code} IN (SELECT code FROM {scopes} WHERE NOT former)"
        " OR o.{former} IN (SELECT code FROM {scopes} WHERE former)"
        " OR o.{former} IS NULL AND o.{code} IN (SELECT code FROM {scopes} WHERE former AND NOT again))"
    ).format(code=sql.Identifier(layer.reform.attribute), former=sql.Identifier(layer.reform.former), scopes=SCOPES)


def speaks(connection: Connection) -> bool:
    """Whether SCOPES is there."""
    row = connection.execute("SELECT to_regclass('pg_temp.sdi_scopes') IS NOT NULL").fetchone()
    return bool(row and row[0])


def renew(connection: Connection, layer: Layer) -> None:
    """Bring the table of units to a layer's rows, if it is one of units; in the caller's transaction."""
    units, temporal = layer.units, layer.temporal
    if units is None or layer.frame is None or temporal is None or temporal.start is None or temporal.end is None:
        return
    parts = {
        "layer": sql.Literal(layer.id), "now": tables.now(layer), "code": sql.Identifier(layer.frame),
        "start": sql.Identifier(temporal.start), "end": sql.Identifier(temporal.end),
        "succeeds": sql.Identifier(units.succeeds), "item_code": sql.Literal(units.code),
        "share": sql.SQL("i.item ->> {}").format(sql.Literal(units.share)) if units.share else sql.SQL("NULL"),
    }  # fmt: skip
    for table in ("unit", "succession"):
        named = sql.Identifier("sdi", table)
        connection.execute(sql.SQL("DELETE FROM {} WHERE layer = {}").format(named, parts["layer"]))
    connection.execute(_UNITS.format(**parts))
    connection.execute(_TOLD.format(**parts))
    for statement in (_NAMED, _SUCCESSION):
        connection.execute(statement, {"layer": layer.id})
    connection.execute("DROP TABLE sdi_told")


def lies_in(reform: Reform, codes: Sequence[str], day: date | None, parameters: Parameters) -> sql.Composed:
    """Condition on a layer's rows: they lie in one of the units that codes mean on a day (None: today).

    NULL where a row bears no code, as a comparison with it is. What the codes mean is looked up on the way unless the
    parameters know it, and then PostgreSQL can tell how many rows it will find.
    """
    if parameters.meant is None:
        on = _TODAY if day is None else parameters.bind(day, "date")
        asked = parameters.bind(list(codes), "text[]")
        meant: list[sql.Composable] = [
            sql.SQL("ANY (ARRAY(SELECT code FROM sdi.units_meant({}, {}, {}) WHERE role = {}))").format(
                sql.Literal(reform.units), asked, on, sql.Literal(role)
            )
            for role in _ROLES
        ]
    else:
        known = [
            sorted({code for asked, played, code in parameters.meant if asked in codes and played == role})
            for role in _ROLES
        ]
        if not known[1] and not known[2]:
            return sql.SQL("({} = ANY ({}))").format(
                sql.Identifier(reform.attribute), parameters.bind(known[0], "text[]")
            )
        meant = [sql.SQL("ANY ({})").format(parameters.bind(each, "text[]")) for each in known]
    return sql.SQL("({c} = {0} OR ({f} IS NOT NULL AND {f} = {1}) OR ({f} IS NULL AND {c} = {2}))").format(
        *meant, c=sql.Identifier(reform.attribute), f=sql.Identifier(reform.former)
    )


def select_meant(layer: Layer, query: FeatureQuery) -> Statement | None:
    """Rows (asked, role, code) for `FeatureQuery.meant`; None: the query compares no code."""
    reform = layer.reform
    if reform is None:
        return None
    codes = {str(value) for name, value in query.equals if name == reform.attribute and value is not None}
    codes.update(code for expression in query.filters + query.latest for code in _compared(expression, reform))
    if not codes:
        return None
    parameters = Parameters()
    day = query.interval.end.date() if query.interval is not None and query.interval.end is not None else None
    statement = sql.SQL(
        "SELECT a.code, m.role, m.code FROM unnest({}) AS a (code)"
        " CROSS JOIN LATERAL sdi.units_meant({}, ARRAY[a.code], {}) m"
    ).format(
        parameters.bind(sorted(codes), "text[]"),
        sql.Literal(reform.units),
        _TODAY if day is None else parameters.bind(day, "date"),
    )
    return Statement(statement, parameters.values)


def _compared(node: Any, reform: Reform) -> set[str]:
    """The codes that an expression compares the attribute with."""
    if not isinstance(node, dict) or "op" not in node:
        return set()
    args = node["args"]
    found = {code for arg in args if isinstance(arg, dict) for code in _compared(arg, reform)}
    if {"property": reform.attribute} in args:
        options = [*args, *(option for arg in args if isinstance(arg, list) for option in arg)]
        found.update(option for option in options if isinstance(option, str))
    return found
