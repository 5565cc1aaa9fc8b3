"""The keys by which agencies are known to the service. A key is shown once, when it is made; its digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from sdi.errors import NotFound
from sdi.store import engine
from sdi.store.engine import Connection

_BYTES = 32
"""256 random bits: nothing to guess, so a plain digest is enough, as no digest of a password would be."""


@dataclass(frozen=True)
class Key:
    key_id: int
    agency: str
    created_at: datetime
    revoked_at: datetime | None
    note: str | None


def digest(key: str) -> str:
    """SHA-256 of a key, hexadecimal; what is stored and compared."""
    return hashlib.sha256(key.encode()).hexdigest()


def make_key(connection: Connection, agency: str, note: str | None = None) -> str:
    """A new key of an agency, besides those it has; nobody can read it again later."""
    key = secrets.token_urlsafe(_BYTES)
    with engine.translated():
        connection.execute(
            "INSERT INTO sdi.agency_key (agency, sha256, note) VALUES (%s, %s, %s)", [agency, digest(key), note]
        )
    return key


def keys(connection: Connection) -> list[Key]:
    """All keys that were ever made, without what would open anything."""
    statement = "SELECT key_id, agency, created_at, revoked_at, note FROM sdi.agency_key ORDER BY key_id"
    with engine.translated(), connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(statement).fetchall()


def revoke(connection: Connection, agency: str, key_id: int | None = None) -> int:
    """End all keys of an agency, or one of them, at once. Returns how many. Raises NotFound where none was left."""
    statement = (
        "UPDATE sdi.agency_key SET revoked_at = clock_timestamp() WHERE agency = %(agency)s AND revoked_at IS NULL"
        " AND (%(key)s::bigint IS NULL OR key_id = %(key)s)"
    )
    with engine.translated():
        count = connection.execute(statement, {"agency": agency, "key": key_id}).rowcount
    if not count:
        raise NotFound(f"'{agency}' has no such key that opens anything.", hint="See 'sdi agency keys'.")
    return count
