"""The keys by which agencies are known to the service. A key is shown once, when it is made; its digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from sdi.access import PUBLIC
from sdi.errors import NotFound, UsageError
from sdi.store import engine
from sdi.store.engine import Connection
from sdi.store.sharing import agencies

PREFIX = "sdi_"
"""What every key begins with: who finds one in a file or a chat knows what it is."""
_BYTES = 32
"""256 random bits: nothing to guess, so a plain digest is enough, as no digest of a password would be."""
_COLUMNS = "key_id, agency, name, note, created_at, created_by, expires_at, revoked_at, revoked_by"
_STANDS = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())"


@dataclass(frozen=True)
class Key:
    """A key without what would open anything. `name`: who acts with it, a person or a machine."""

    key_id: int
    agency: str
    name: str | None
    note: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


def digest(key: str) -> str:
    """SHA-256 of a key, hexadecimal; what is stored and compared."""
    return hashlib.sha256(key.encode()).hexdigest()


def make_key(
    connection: Connection, agency: str, note: str | None = None, *, name: str | None = None,
    expires_at: datetime | None = None, by: str | None = None,
) -> str:  # fmt: skip
    """A new key of an agency, besides those it has; nobody can read it again later.

    `expires_at`: when it ends by itself, with a time zone; None: never. `by`: who makes it, else the database's login.
    Raises NotFound for an agency that the register has not, or that was merged into another.
    """
    if agency == PUBLIC.id:
        raise UsageError("The public needs no key.")
    agencies.standing(connection, agency)
    key = PREFIX + secrets.token_urlsafe(_BYTES)
    with engine.translated():
        connection.execute(
            "INSERT INTO sdi.agency_key (agency, sha256, note, name, expires_at, created_by)"
            " VALUES (%s, %s, %s, %s, %s, coalesce(%s, session_user))",
            [agency, digest(key), note, name, expires_at, by],
        )
    return key


def keys(connection: Connection, agency: str | None = None) -> list[Key]:
    """All keys that were ever made, or those of an agency, without what would open anything."""
    statement = f"SELECT {_COLUMNS} FROM sdi.agency_key WHERE %(agency)s::text IS NULL OR agency = %(agency)s"
    with engine.translated(), connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(f"{statement} ORDER BY key_id".encode(), {"agency": agency}).fetchall()


def revoke(connection: Connection, agency: str, key_id: int | None = None, *, by: str | None = None) -> int:
    """End all keys of an agency, or one of them, at once. Returns how many. Raises NotFound where none was left."""
    statement = (
        "UPDATE sdi.agency_key SET revoked_at = clock_timestamp(), revoked_by = coalesce(%(by)s, session_user)"
        f" WHERE agency = %(agency)s AND {_STANDS} AND (%(key)s::bigint IS NULL OR key_id = %(key)s)"
    )
    with engine.translated():
        count = connection.execute(statement.encode(), {"agency": agency, "key": key_id, "by": by}).rowcount
    if not count:
        raise NotFound(f"'{agency[:100]}' has no such key that opens anything.", hint="See 'sdi agencies keys'.")
    return count


def rotate(
    connection: Connection, agency: str, key_id: int | None = None, *, overlap: float = 0.0, by: str | None = None
) -> str:  # fmt: skip
    """A new key in the place of an old one: with its name, its note, and as long a life. The old one ends after
    `overlap` hours.

    `key_id`: which; None: the only one of the agency. Raises NotFound where there is none, UsageError for several.
    """
    statement = (
        f"SELECT {_COLUMNS} FROM sdi.agency_key WHERE agency = %(agency)s AND {_STANDS}"
        " AND (%(key)s::bigint IS NULL OR key_id = %(key)s) ORDER BY key_id FOR UPDATE"
    )
    ending = (
        "UPDATE sdi.agency_key SET expires_at = least(expires_at, clock_timestamp() + make_interval(secs => %s))"
        " WHERE key_id = %s"
    )
    if overlap < 0:
        raise UsageError("The overlap is a number of hours, 0 or more.")
    with engine.translated(), connection.transaction(), connection.cursor(row_factory=class_row(Key)) as cursor:
        found = cursor.execute(statement.encode(), {"agency": agency, "key": key_id}).fetchall()
        if not found:
            raise NotFound(f"'{agency[:100]}' has no such key that opens anything.", hint="See 'sdi agencies keys'.")
        if len(found) > 1:
            raise UsageError(f"'{agency}' has {len(found)} keys: say which.", hint="See 'sdi agencies keys'.")
        (old,) = found
        until = old.expires_at and _now(connection) + (old.expires_at - old.created_at)
        key = make_key(connection, agency, old.note, name=old.name, expires_at=until, by=by)
        if overlap:
            connection.execute(ending, [overlap * 3600, old.key_id])
        else:
            revoke(connection, agency, old.key_id, by=by)
    return key


def _now(connection: Connection) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now
