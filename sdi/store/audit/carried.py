"""The trail into a backup and back: its rows as they are, so that every hash still follows from the one before.

A trail that is there is never written over: a backup's comes back where there is none yet, as on a new server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from psycopg import sql

from sdi.errors import StoreError
from sdi.store.audit import proof
from sdi.store.audit.chain import GENESIS, Anchor
from sdi.store.engine import Connection

PARTS = {
    "segment": "first_seq, last_seq, previous, hash, since, until, removed_at, removed_by, reason",
    "spool": "spool, lines",
    "entry": "seq, recorded_at, at, action, agency, layers, ids, body, hash",
}
"""Its tables but for the head, which the manifest tells, with their columns."""
_BLOCK = 1 << 20


def head(connection: Connection) -> Anchor | None:
    """The last entry of the trail; None: the database has no trail, or has lost its head."""
    if connection.execute("SELECT to_regclass('sdi_audit.head') IS NULL").fetchone() == (True,):
        return None
    row = connection.execute("SELECT seq, hash FROM sdi_audit.head").fetchone()
    return None if row is None else Anchor(int(row[0]), bytes(row[1]))


def write(connection: Connection, part: str, out: IO[bytes]) -> None:
    """One of PARTS in COPY's binary form. `connection`: an owner's, in the snapshot of the backup."""
    with _auditing(connection), connection.cursor().copy(_copy(part, out_of=True)) as rows:
        for block in rows:
            out.write(block)


def read(connection: Connection, part: str, source: IO[bytes]) -> None:
    """The same back into a trail that has nothing, in the caller's transaction."""
    with _auditing(connection), connection.cursor().copy(_copy(part, out_of=False)) as rows:
        while block := source.read(_BLOCK):
            rows.write(block)


def settle(connection: Connection, told: Anchor) -> int:
    """End what `read` began: the head is what the backup told, and all of it is proven; how many entries there are.

    Raises StoreError where it does not hold.
    """
    with _auditing(connection):
        connection.execute("UPDATE sdi_audit.head SET seq = %s, hash = %s", [told.seq, told.hash])
    found = proof.examine(connection, [] if told.hash == GENESIS else [told])
    if not found.holds:
        raise StoreError(f"The audit trail of the backup does not hold: {found.faults[0].what}.",
                         hint="Use another backup.")  # fmt: skip
    return found.entries


def goes_on(connection: Connection, told: Anchor) -> bool:
    """Whether the trail that is there has that entry, so that it is the backup's own and what came after."""
    row = connection.execute("SELECT hash FROM sdi_audit.entry WHERE seq = %s", [told.seq]).fetchone()
    return told.seq == 0 or (row is not None and bytes(row[0]) == told.hash)


@contextmanager
def _auditing(connection: Connection) -> Iterator[None]:
    """As the trail's own role, to the end of the block; in a transaction."""
    row = connection.execute("SELECT current_setting('role')").fetchone()
    connection.execute("SET LOCAL ROLE sdi_auditor")
    yield
    connection.execute("SELECT set_config('role', %s, true)", row)


def _copy(part: str, *, out_of: bool) -> sql.Composed:
    statement = "COPY (SELECT {1} FROM {0} ORDER BY 1) TO STDOUT" if out_of else "COPY {0} ({1}) FROM STDIN"
    names = sql.SQL(", ").join(map(sql.Identifier, PARTS[part].split(", ")))
    return sql.SQL(statement + " (FORMAT binary)").format(sql.Identifier("sdi_audit", part), names)
