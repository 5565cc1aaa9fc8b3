"""The fast way into an empty table: rows first, indexes behind them.

An index built over all rows at once costs a third of one that grows with each row. The table is locked against readers
meanwhile, so it is done only for a layer that nobody is served yet, and for enough rows to be worth it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sdi.contract.layer import Layer
from sdi.store import ledger, tables
from sdi.store.engine import Connection

_WORTH = 20_000
"""Rows from which on building the indexes anew pays."""


@contextmanager
def filling(
    connection: Connection, layer: Layer, expected: int, empty: Collection[str] = ()
) -> Iterator[bool]:  # fmt: skip
    """Take the indexes off an empty layer while the block fills it with about `expected` rows.

    empty: attributes that will have no values, as far as is known; what leaves out NULL of those stays, for it costs
    less to keep than to build: where values come after all, it grows with them.

    All of it is part of the caller's transaction: what fails leaves the indexes as they were. Where somebody reads the
    table just now, or it is served already, the indexes grow with the rows. Gives whether the table's file is a new
    one, of this transaction. Waits for its turn, for loads that derive of the layer wait for the table from here on.
    """
    target = tables.now(layer).as_string(connection)
    taken = False
    if expected >= _WORTH and not _is_known(connection, layer):
        ledger.take_turn(connection)
        connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
        # The commit waits until the new files are on the disk: so they are sent there as they grow (0.2 s of 5.5 less).
        connection.execute("SET LOCAL backend_flush_after = '512kB'")
        row = connection.execute("SELECT sdi.unindex(%s::regclass, %s::name[])", [target, list(empty)]).fetchone()
        taken = bool(row and row[0])
    yield taken
    if taken:
        connection.execute("SELECT sdi.reindex(%s::regclass)", [target])


def _is_known(connection: Connection, layer: Layer) -> bool:
    row = connection.execute("SELECT 1 FROM sdi.publication WHERE layer = %s", [layer.id]).fetchone()
    return row is not None
