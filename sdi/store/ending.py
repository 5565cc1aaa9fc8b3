"""Which features a delivery ends, and whether they are more than a steward can have meant.

A full delivery ends what its scope has and it lacks; one in quarantine is not lacking. Either mode ends what it names
as ended, unless it delivers the same feature: a replaced feature often comes as its end and its new state.
"""

from __future__ import annotations

from psycopg import sql

from sdi.contract.delivery import Delivery, Mode
from sdi.contract.layer import Layer
from sdi.contract.report import Finding
from sdi.contract.rules import RULES
from sdi.store import succession, tables
from sdi.store.delta import NEXT
from sdi.store.engine import Connection
from sdi.store.ledger import Counts

ENDED = sql.Identifier("sdi_ended")
"""Temporary: the ids that the delivery says have ended."""
SHRINKS, UNKNOWN, CONTRADICTED = "delivery.shrinks", "delivery.ended_unknown", "delivery.ended_delivered"
_LEAST = 10
"""Ended features that are never too many, where the contract names no other number: small layers change by halves."""
_NAMED = 3
"""Ids named in a finding."""


def mode_of(layer: Layer, delivery: Delivery) -> Mode:
    """How a delivery is loaded: as the steward says, else as the contract does."""
    return delivery.mode or layer.load.mode


def name(connection: Connection, delivery: Delivery) -> None:
    """Make ENDED; it ends with the transaction or by `forget`."""
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} (id text PRIMARY KEY) ON COMMIT DROP").format(ENDED))
    insert = sql.SQL("INSERT INTO {} SELECT DISTINCT unnest(%s::text[])").format(ENDED)
    connection.execute(insert, [list(delivery.ended)])


def forget(connection: Connection) -> None:
    connection.execute(sql.SQL("DROP TABLE {}").format(ENDED))


def gone(connection: Connection, layer: Layer, mode: Mode) -> sql.Composable:
    """Condition over alias `o`, the layer's rows: which of those that the delivery lacks have ended."""
    named = sql.SQL("o.id IN (SELECT id FROM {})").format(ENDED)
    return named if mode == "partial" else sql.SQL("({} OR {})").format(named, _lacking(connection, layer))


def examine(connection: Connection, layer: Layer, delivery: Delivery, counts: Counts) -> list[Finding]:
    """What is to be said of what a delivery ends, once `delta.compare` has found it and before it is written."""
    found = []
    if delivery.ended:
        found += _named_in_vain(connection, layer)
    if counts.deleted and mode_of(layer, delivery) == "full":
        found += _shrinking(connection, layer, delivery)
    return found


def _lacking(connection: Connection, layer: Layer) -> sql.Composable:
    held = sql.SQL("NOT EXISTS (SELECT FROM sdi_held h WHERE h.id = o.id)")
    return sql.SQL("({} AND {})").format(_scope(connection, layer), held)


def _scope(connection: Connection, layer: Layer) -> sql.Composable:
    """Condition over alias `o`: the part of the layer that a full delivery tells all of."""
    if layer.load.scope is None:
        return sql.SQL("true")
    told = succession.delivered(connection, layer)
    if told is not None:
        return told
    scope = sql.Identifier(layer.load.scope)
    return sql.SQL("o.{0} IN (SELECT n.{0} FROM {1} n WHERE n.{0} IS NOT NULL)").format(scope, NEXT)


def _named_in_vain(connection: Connection, layer: Layer) -> list[Finding]:
    """Ids that the layer does not have, and ids that the delivery brings as well."""
    found = []
    for rule, condition in (
        (UNKNOWN, sql.SQL("NOT EXISTS (SELECT FROM {} o WHERE o.id = e.id)").format(tables.now(layer))),
        (CONTRADICTED, sql.SQL("e.id IN (SELECT n.id FROM {} n)").format(NEXT)),
    ):
        query = sql.SQL("SELECT count(*), (array_agg(e.id ORDER BY e.id))[:%s] FROM {} e WHERE {}")
        row = connection.execute(query.format(ENDED, condition), [_NAMED]).fetchone()
        if row is not None and row[0]:
            severity, action = _told(layer, rule)
            found.append(Finding(rule, severity, action, value=row[0], other=", ".join(row[1])))
    return found


def _shrinking(connection: Connection, layer: Layer, delivery: Delivery) -> list[Finding]:
    """The share of its scope that a full delivery ends without naming it, if it is more than the contract lets pass."""
    row = connection.execute(
        sql.SQL(
            "SELECT (SELECT count(*) FROM sdi_delta d WHERE NOT d.stays AND d.id NOT IN (SELECT id FROM {})),"
            " (SELECT count(*) FROM {} o WHERE {})"
        ).format(ENDED, tables.now(layer), _scope(connection, layer))
    ).fetchone()
    lost, known = (row[0], row[1]) if row else (0, 0)
    check = next((check for check in layer.checks if check.rule == SHRINKS), None)
    most = check.tolerance if check and check.tolerance is not None else RULES[SHRINKS].tolerance
    least = check.parameters.get("least", _LEAST) if check else _LEAST
    assert most is not None
    if lost < least or not known or 100 * lost <= most * known:
        return []
    severity, action = _told(layer, SHRINKS)
    action = "warn" if delivery.allow_shrink and action == "refuse" else action
    return [Finding(SHRINKS, severity, action, value=round(100 * lost / known, 1), limit=most, other=lost)]


def _told(layer: Layer, rule: str) -> tuple[str, str]:
    """Severity and action: the contract's, else the rule's."""
    known = RULES[rule]
    check = next((check for check in layer.checks if check.rule == rule), None)
    return (check and check.severity) or known.severity, (check and check.action) or known.action
