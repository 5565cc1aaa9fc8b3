"""The register of webhooks: who is to be called, how far each was told, and how its calls went."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from sdi.errors import NotFound
from sdi.store import engine, ledger
from sdi.store.engine import Connection

SECRET = 32
"""Random bytes that calls are signed with; Standard Webhooks asks for 24 to 64."""
_COLUMNS = (
    "webhook_id, agency, layer, url, made_at, made_by, removed_at, told_at, attempts, failing_since, next_at,"
    " gave_up_at, outcome"
)


@dataclass(frozen=True)
class Webhook:
    """Without what its calls are signed with."""

    webhook_id: int
    agency: str
    layer: str
    url: str
    made_at: datetime
    made_by: str
    removed_at: datetime | None
    told_at: datetime | None
    attempts: int
    """Calls that failed since the last one that did not."""
    failing_since: datetime | None
    next_at: datetime | None
    gave_up_at: datetime | None
    outcome: str | None


@dataclass(frozen=True)
class Due:
    """One that is to be looked at. `place`: as it was kept; None: it was just made."""

    webhook_id: int
    agency: str
    layer: str
    url: str
    secret: bytes
    place: list[Any] | None
    attempts: int
    failing_since: datetime | None


def add(connection: Connection, agency: str, layer: str, url: str) -> tuple[int, bytes]:
    """Enter a webhook of an agency that stands; its number and its secret, which is told this once."""
    secret = secrets.token_bytes(SECRET)
    with engine.translated():
        row = connection.execute(
            "INSERT INTO sdi.webhook (agency, layer, url, secret)"
            " SELECT id, %s, %s, %s FROM sdi.agency WHERE id = %s"
            " AND (merged_at IS NULL OR merged_at > clock_timestamp()) RETURNING webhook_id",
            [layer, url, secret, agency],
        ).fetchone()
    if row is None:
        raise NotFound(f"There is no agency '{agency[:100]}'.", hint="See 'sdi agencies list'.")
    return int(row[0]), secret


def listed(connection: Connection, *, removed: bool = False) -> list[Webhook]:
    """The webhooks that stand, or all that there ever were, the oldest first."""
    with engine.translated(), connection.cursor(row_factory=class_row(Webhook)) as cursor:
        query = f"SELECT {_COLUMNS} FROM sdi.webhook WHERE removed_at IS NULL OR %s ORDER BY webhook_id"
        return cursor.execute(query.encode(), [removed]).fetchall()


def remove(connection: Connection, webhook_id: int) -> None:
    """Call it no more. Raises NotFound."""
    with engine.translated():
        found = connection.execute(
            "UPDATE sdi.webhook SET removed_at = clock_timestamp(), removed_by = session_user"
            " WHERE webhook_id = %s AND removed_at IS NULL",
            [webhook_id],
        ).rowcount
    if not found:
        raise NotFound(f"There is no webhook {webhook_id}.", hint="See 'sdi webhooks list'.")


def resume(connection: Connection, webhook_id: int) -> None:
    """Call one again that was given up, or that waits for its next attempt. Raises NotFound."""
    with engine.translated():
        found = connection.execute(
            "UPDATE sdi.webhook SET gave_up_at = NULL, failing_since = NULL, attempts = 0, next_at = NULL"
            " WHERE webhook_id = %s AND removed_at IS NULL",
            [webhook_id],
        ).rowcount
    if not found:
        raise NotFound(f"There is no webhook {webhook_id}.", hint="See 'sdi webhooks list'.")


def due(connection: Connection) -> list[int]:
    """The numbers of those that may be called now."""
    rows = connection.execute(
        "SELECT webhook_id FROM sdi.webhook WHERE removed_at IS NULL AND gave_up_at IS NULL"
        " AND (next_at IS NULL OR next_at <= clock_timestamp()) ORDER BY webhook_id"
    )
    return [int(row[0]) for row in rows]


@contextmanager
def taken(connection: Connection, webhook_id: int) -> Iterator[Due | None]:
    """One that is due, held against other processes until the end; None: another holds it, or it is not due now."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Due)) as cursor:
        yield cursor.execute(
            "SELECT webhook_id, agency, layer, url, secret, place, attempts, failing_since FROM sdi.webhook"
            " WHERE webhook_id = %s AND removed_at IS NULL AND gave_up_at IS NULL"
            " AND (next_at IS NULL OR next_at <= clock_timestamp()) FOR UPDATE SKIP LOCKED",
            [webhook_id],
        ).fetchone()


def settle(connection: Connection, webhook_id: int, place: list[Any], outcome: str | None = None) -> None:
    """It was told up to a place. outcome: of the call; None: there was nothing to tell, and none."""
    connection.execute(
        "UPDATE sdi.webhook SET place = %(place)s, attempts = 0, failing_since = NULL, next_at = NULL,"
        " outcome = coalesce(%(outcome)s, outcome),"
        " told_at = CASE WHEN %(outcome)s::text IS NULL THEN told_at ELSE clock_timestamp() END"
        " WHERE webhook_id = %(id)s",
        {"place": json.dumps(place), "outcome": outcome, "id": webhook_id},
    )


def fail(connection: Connection, webhook_id: int, outcome: str, *, wait: timedelta, give_up: bool) -> None:
    """A call was in vain: the next one is after `wait`, or never."""
    connection.execute(
        "UPDATE sdi.webhook SET attempts = attempts + 1, failing_since = coalesce(failing_since, clock_timestamp()),"
        " next_at = clock_timestamp() + %s, outcome = %s, gave_up_at = CASE WHEN %s THEN clock_timestamp() END"
        " WHERE webhook_id = %s",
        [wait, outcome, give_up, webhook_id],
    )


def wait(connection: Connection, seconds: float) -> None:
    """Until something was loaded or granted, or so many seconds have gone."""
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(ledger.CHANNEL)))
    for _ in connection.notifies(timeout=seconds, stop_after=1):
        pass
