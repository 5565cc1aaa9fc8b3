"""The first features of a layer: straight from Arrow into its empty table, by binary COPY.

Of a layer that was never loaded before they may go there while they are still held against each other, for nobody sees
them before the load commits; what turns out to be no good is then taken back.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.store import bulk, delta, engine, sending, tables
from sdi.store.arrived import Arrived
from sdi.store.engine import Connection


@dataclass(frozen=True)
class Begun:
    """A load whose features were written before it was known whether all of them are good."""

    load_id: int
    filled: int
    """How many they were."""


def is_first(connection: Connection, layer: Layer) -> bool:
    """Whether nothing was ever loaded into a layer, so that none of its features stands beside a delivery's."""
    with engine.translated():
        loaded = connection.execute(
            "SELECT FROM sdi.load WHERE layer = %s AND status = 'done' LIMIT 1", [layer.id]
        ).fetchone()
        return loaded is None and delta.is_empty(connection, layer)


def fill(connection: Connection, arrived: Arrived, expected: int) -> int:
    """Send all features into an empty layer; return their count."""
    layer = arrived.layer
    with bulk.filling(connection, layer, expected) as anew:
        if any(pa.types.is_floating(arrived.sent.field(a.name).type) for a in layer.stored if a.type == "decimal"):
            count = delta.insert(connection, layer, arrived.load_id, arrived.stage(connection))
        else:
            count = _send_into_layer(connection, arrived, frozen=anew)
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
    """Take those features out of a layer that were filled in and are in quarantine now; return their count."""
    return connection.execute(
        sql.SQL(
            "DELETE FROM {} o USING sdi.quarantine q"
            " WHERE q.load_id = %s AND q.layer = %s AND q.source_row = o.source_row"
        ).format(tables.now(layer)),
        [load_id, layer.id],
    ).rowcount
