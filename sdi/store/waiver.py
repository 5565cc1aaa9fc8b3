"""Waivers: a steward lets a feature pass a rule, with a reason, until a day or until it is revoked; all are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from sdi.contract.layer import Layer
from sdi.contract.rules import RULES
from sdi.errors import NotFound, UsageError, nearest
from sdi.store import engine, ledger, tables, writers
from sdi.store.engine import Connection


@dataclass(frozen=True)
class Waiver:
    """`until`: the last day on which it holds, in Việt Nam. `state`: in force, expired, revoked."""

    waiver_id: int
    layer: str
    rule: str
    feature: str
    reason: str
    steward: str
    given_at: datetime
    until: date | None
    revoked_at: datetime | None
    revoked_by: str | None
    state: str


def give(
    connection: Connection, layer: Layer, rule: str, feature: str, *, reason: str, steward: str,
    until: date | None = None,
) -> Waiver:  # fmt: skip
    """Let a feature pass a rule from its next load on. One that stands already is revoked: the new reason holds.

    Raises UsageError for a rule that is not of single features or without which a feature cannot be stored at all, and
    without a reason; NotAllowed when the layer has those who decide it, and this is none of them.
    """
    if rule not in RULES:
        raise UsageError(f"There is no rule '{rule}'.{nearest(rule, RULES)}", hint="See 'sdi layers rules'.")
    if not RULES[rule].waivable:
        raise UsageError(
            f"'{rule}' cannot be waived: it speaks of a whole delivery, or a feature that breaks it cannot be stored.",
            hint="Correct the data.",
        )
    if not reason.strip():
        raise UsageError("A waiver needs a reason.", hint="Write --reason 'why this feature may pass'.")
    writers.require(connection, layer, steward, "approve")
    with engine.translated(), connection.transaction():
        _revoke(connection, layer, rule, feature, steward)
        statement = (
            "INSERT INTO sdi.waiver (layer, rule, feature, reason, steward, until) VALUES (%s, %s, %s, %s, %s, %s)"
            " RETURNING waiver_id"
        )
        row = connection.execute(statement, [layer.id, rule, feature, reason.strip(), steward, until]).fetchone()
        assert row is not None
        ledger.bump(connection, layer.id)
    return next(each for each in every(connection, layer.id) if each.waiver_id == row[0])


def is_known(connection: Connection, layer: Layer, feature: str) -> bool:
    """Whether a feature of this id ever stood in the layer or in its quarantine, or something was found of it; of a
    coverage, which has no features, every name is."""
    if layer.coverage is not None:
        return True
    statement = sql.SQL(
        "SELECT EXISTS (SELECT FROM {now} WHERE id = %(id)s) OR EXISTS (SELECT FROM {past} WHERE id = %(id)s)"
        " OR EXISTS (SELECT FROM sdi.quarantine WHERE layer = %(layer)s AND id = %(id)s)"
        " OR EXISTS (SELECT FROM sdi.finding WHERE layer = %(layer)s AND feature = %(id)s AND ended_by IS NULL)"
    ).format(now=tables.now(layer), past=tables.past(layer))
    with engine.translated():
        row = connection.execute(statement, {"id": feature, "layer": layer.id}).fetchone()
    return bool(row and row[0])


def revoke(connection: Connection, layer: Layer, rule: str, feature: str, *, steward: str) -> None:
    """End a waiver now; it stays to be read. Raises NotFound, NotAllowed."""
    writers.require(connection, layer, steward, "approve")
    with engine.translated(), connection.transaction():
        if not _revoke(connection, layer, rule, feature, steward):
            raise NotFound(
                f"'{feature}' has no waiver of '{rule}' in '{layer.id}'.", hint=f"See 'sdi waivers {layer.id}'."
            )
        ledger.bump(connection, layer.id)


def _revoke(connection: Connection, layer: Layer, rule: str, feature: str, steward: str) -> int:
    statement = (
        "UPDATE sdi.waiver SET revoked_at = clock_timestamp(), revoked_by = %s"
        " WHERE layer = %s AND rule = %s AND feature = %s AND revoked_at IS NULL"
    )
    return connection.execute(statement, [steward, layer.id, rule, feature]).rowcount


def in_force(connection: Connection, layer: Layer) -> dict[tuple[str, str], str]:
    """(rule, feature id) -> reason, of the waivers that hold today."""
    statement = "SELECT rule, feature, reason FROM sdi.waiver_in_force WHERE layer = %s"
    with engine.translated():
        return {(row[0], row[1]): row[2] for row in connection.execute(statement, [layer.id])}


def every(connection: Connection, layer: str | None = None) -> list[Waiver]:
    """All waivers that were ever given, the newest first; of one layer or of all."""
    statement = sql.SQL(
        "SELECT w.*, CASE WHEN revoked_at IS NOT NULL THEN 'revoked'"
        " WHEN EXISTS (SELECT FROM sdi.waiver_in_force f WHERE f.waiver_id = w.waiver_id) THEN 'in force'"
        " ELSE 'expired' END AS state FROM sdi.waiver w"
        " WHERE %(layer)s::text IS NULL OR layer = %(layer)s ORDER BY waiver_id DESC"
    )
    parameters: dict[str, Any] = {"layer": layer}
    with engine.translated(), connection.cursor(row_factory=class_row(Waiver)) as cursor:
        return cursor.execute(statement, parameters).fetchall()
