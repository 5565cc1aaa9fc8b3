"""A layer's earlier state as its next one: a rollback is a load like any other, and is taken back like any other.

What load n left and a later load replaced or ended stands in the layer's past, by `load_to`; what came since stands
among the present rows, by `load_id`. Only these are touched, however large the layer is.
"""

from __future__ import annotations

from time import perf_counter

from psycopg import sql
from psycopg.pq import TransactionStatus

from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.errors import NotFound, UsageError
from sdi.store import delta, engine, genealogy, loader, quality_register, tables
from sdi.store.delta import STAGED
from sdi.store.engine import Connection
from sdi.store.history import START
from sdi.store.ledger import Counts
from sdi.store.loader import Load


def may_restore(connection: Connection, layer: Layer, to_load: int) -> None:
    """Raise UsageError for a layer that has no past of its own, NotFound unless `to_load` is a done load of it, or
    START, the nothing before its first one."""
    if layer.derived is not None:
        made_of = ", ".join(dict.fromkeys([layer.derived.subject, *(source.layer for source in layer.derived.inputs)]))
        raise UsageError(f"'{layer.id}' is made from {made_of}.", hint="Roll these back; it follows.")
    if layer.coverage is not None:
        raise UsageError(f"'{layer.id}' is a coverage: its files are its past.", hint="Load the earlier file again.")
    query = (
        "SELECT 1 FROM sdi.load WHERE %(to)s IN (load_id, %(start)s) AND layer = %(layer)s AND status = 'done' LIMIT 1"
    )
    with engine.translated():
        asked = {"to": min(to_load, 2**63 - 1), "start": START, "layer": layer.id}
        row = connection.execute(query, asked).fetchone()
    if row is None:
        raise NotFound(f"'{layer.id}' has no load {to_load} that was done.", hint=f"See 'sdi history {layer.id}'.")


def restore(connection: Connection, layer: Layer, registry: Registry, to_load: int, *, load_id: int) -> Load:
    """Bring a layer to the state that load `to_load` left, in the caller's transaction, as load `load_id`.

    Attributes, shapes and content hashes come back bit for bit, and the findings and the quarantine that stood then
    stand again. Leaves `sdi_changed` to `derived.refresh`. Raises what `may_restore` raises, and StoreError when
    another load holds the layer.
    """
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise RuntimeError("restore() runs inside the caller's transaction")
    begun = perf_counter()
    may_restore(connection, layer, to_load)
    with engine.translated():
        load_id = loader.begin(connection, layer, load_id)
        _stage(connection, layer, to_load)
        counts = _write(connection, layer, to_load, load_id)
        connection.execute(sql.SQL("DROP TABLE {}").format(STAGED))
        genealogy.take_back(connection, layer, to_load, load_id)
        quality_register.take_back(connection, layer, to_load, load_id)
        loader.settle(connection, layer, registry, load_id, counts)
    return Load.of(load_id, layer, counts, seconds=perf_counter() - begun)


def _stage(connection: Connection, layer: Layer, to_load: int) -> None:
    """STAGED: the rows that lived after `to_load` and are no longer among the present ones."""
    names = [name for name in tables.columns(layer) if name != "load_id"]
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WHERE load_id <= {load} AND load_to > {load}"
        ).format(STAGED, sql.SQL(", ").join(map(sql.Identifier, names)), tables.past(layer), load=sql.Literal(to_load))
    )
    connection.execute(sql.SQL("ANALYZE {}").format(STAGED))


def _write(connection: Connection, layer: Layer, to_load: int, load_id: int) -> Counts:
    names = [name for name in tables.columns(layer) if name != "load_id"]
    values = {name: sql.Identifier("s", name) for name in names}
    came_since = sql.SQL("o.load_id > {}").format(sql.Literal(to_load))
    done = delta.write(connection, layer, load_id, values, gone=came_since)
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(tables.now(layer))).fetchone()
    assert row is not None
    return Counts(done.inserted, done.updated, done.deleted, unchanged=row[0] - done.inserted - done.updated)
