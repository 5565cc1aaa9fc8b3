"""Who is at a layer: one at a time, from before the file is read to the end of its load.

The lock is a session's advisory lock, taken again inside the transaction that writes: it ends when it is given back or
when the connection ends, however that ends. The row in `sdi.hold` only says who it is.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg

from sdi.errors import StoreError
from sdi.store import engine
from sdi.store.engine import Connection


@dataclass(frozen=True)
class Holder:
    """Who has a layer. `load_id`: None while the file is still being read; `steward`: None where nothing is known."""

    layer: str
    steward: str | None = None
    file_name: str | None = None
    since: datetime | None = None
    load_id: int | None = None

    def __str__(self) -> str:
        if self.steward is None:
            return "another load"
        what = f"load {self.load_id}" if self.load_id else f"reading of {self.file_name or 'a file'}"
        return f"{what} by '{self.steward}'" + (f", since {self.since:%H:%M:%S} UTC" if self.since else "")

    def error(self) -> StoreError:
        return StoreError(
            f"'{self.layer}' is being loaded: {self}.", hint="Wait until it has ended, then load again ('--wait')."
        )


def take(connection: Connection, layer: str, steward: str, file_name: str | None = None) -> Holder | None:
    """Take a layer for this connection until `give_back`; None: it is taken. Otherwise who has it. Waits for nobody."""
    with engine.translated():
        row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [_key(layer)]).fetchone()
        if not (row and row[0]):
            return holder(connection, layer) or Holder(layer)
        connection.execute(
            "INSERT INTO sdi.hold (layer, steward, file_name, backend) VALUES (%s, %s, %s, pg_backend_pid())"
            " ON CONFLICT (layer) DO UPDATE SET steward = excluded.steward, file_name = excluded.file_name,"
            " backend = excluded.backend, since = excluded.since",
            [layer, steward, file_name],
        )
        return None


def require(connection: Connection, layer: str) -> None:
    """Take a layer to the end of this transaction; it may be this connection's already. Raises StoreError otherwise."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [_key(layer)]).fetchone()
    if not (row and row[0]):
        raise (holder(connection, layer) or Holder(layer)).error()


def give_back(connection: Connection, layer: str) -> None:
    """Let others have the layer."""
    # A lost connection has given it back already, and whatever lost it is the error to tell.
    with suppress(psycopg.OperationalError):
        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [_key(layer)])


def holder(connection: Connection, layer: str) -> Holder | None:
    """Who has a layer now; None: nobody."""
    row = connection.execute(
        "SELECT coalesce(l.steward, h.steward), coalesce(l.file_name, h.file_name), coalesce(l.started_at, h.since),"
        " l.load_id FROM pg_locks k"
        " LEFT JOIN sdi.hold h ON h.layer = %(layer)s AND h.backend = k.pid"
        " LEFT JOIN sdi.load l ON l.layer = %(layer)s AND l.backend = k.pid AND l.status = 'running'"
        " WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1"
        " AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (k.classid::bigint << 32 | k.objid::bigint) = hashtextextended(%(key)s, 0)"
        " ORDER BY l.load_id DESC NULLS LAST LIMIT 1",
        {"layer": layer, "key": _key(layer)},
    ).fetchone()
    return Holder(layer, *row) if row else None


def _key(layer: str) -> str:
    return f"sdi.load.{layer}"
