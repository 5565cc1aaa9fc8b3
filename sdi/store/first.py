"""The first features of a layer: straight from Arrow into its empty table, by binary COPY.

Of a layer that was never loaded before they may go there while they are still held against each other, for nobody sees
them before the load commits; what turns out to be no good is then taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.store import between, bulk, delta, engine, sending, tables
from sdi.store.arrived import Arrived
from sdi.store.engine import Connection


@dataclass(frozen=True)
class Begun:
    """A load whose features were written before it was known whether all of them are good."""

    load_id: int
    filled: int
    """How many they were."""


def takes_early(connection: Connection, layer: Layer, registry: Registry) -> bool:
    """Whether features may be written into a layer before they are judged: nothing was ever loaded into it, and none of
    its checks looks at the layer itself, or at one that is made from others."""
    if any(name == layer.id or registry[name].derived is not None for name in between.others(layer)):
        return False
    with engine.translated():
        loaded = connection.execute(
            "SELECT FROM sdi.load WHERE layer = %s AND status = 'done' LIMIT 1", [layer.id]
        ).fetchone()
        return loaded is None and delta.is_empty(connection, layer)


def fill(
    connection: Connection, arrived: Arrived, expected: int, sent: Callable[[], None] | None = None
) -> int:  # fmt: skip
    """Send all features into an empty layer; return their count. sent: called when the database has them and goes on to
    build the indexes."""
    layer = arrived.layer
    with bulk.filling(connection, layer, expected, arrived.empty()) as anew:
        if any(pa.types.is_floating(arrived.sent.field(a.name).type) for a in layer.stored if a.type == "decimal"):
            count = delta.insert(connection, layer, arrived.load_id, arrived.stage(connection))
        else:
            count = _send_into_layer(connection, arrived, frozen=anew)
        if sent is not None:
            sent()
    return count


def _send_into_layer(connection: Connection, arrived: Arrived, *, frozen: bool) -> int:
    load_id = pa.scalar(arrived.load_id, pa.int64())
    written = pa.schema([*arrived.hashed, pa.field("load_id", pa.int64())])
    batches = (
        pa.RecordBatch.from_arrays([*rows.columns, pa.repeat(load_id, len(rows))], schema=written)
        for rows in arrived.rows()
    )
    return sending.copy_arrow(connection, tables.now(arrived.layer), written, batches, arrived.lists, frozen=frozen)


def take_back(connection: Connection, layer: Layer, load_id: int) -> int:
    """Take those features out of a layer that were filled in and are in quarantine now, enter them into `sdi_changed`,
    and return their count."""
    return connection.execute(
        sql.SQL(
            "WITH gone AS (DELETE FROM {} o USING sdi.quarantine q"
            " WHERE q.load_id = %(load)s AND q.layer = %(layer)s AND q.source_row = o.source_row RETURNING o.id)"
            " INSERT INTO sdi_changed SELECT %(layer)s, id, NULL, %(load)s FROM gone"
        ).format(tables.now(layer)),
        {"load": load_id, "layer": layer.id},
    ).rowcount


@dataclass
class Trial:
    """`failed`: what was written in a trial is to be undone."""

    failed: bool = False


@contextmanager
def on_trial(connection: Connection) -> Iterator[Trial]:
    """A part of the caller's transaction that may be undone alone."""
    with connection.transaction() as part:
        trial = Trial()
        yield trial
        if trial.failed:
            raise psycopg.Rollback(part)
