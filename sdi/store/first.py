"""The first features of a layer: straight from Arrow into its empty table, by binary COPY.

Of a layer that was never loaded before they may go there while they are still held against each other, for nobody sees
them before the load commits; what turns out to be no good is then taken back.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.store import between, bulk, delta, engine, sending, tables
from sdi.store.arrived import Arrived
from sdi.store.engine import Connection
from sdi.store.extents import Filled

_HAS_SRID = 0x20000000
"""In the type of EWKB: four bytes of SRID follow."""


@dataclass(frozen=True)
class Begun:
    """A load whose features were written before it was known whether all of them are good."""

    load_id: int
    filled: Filled


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
) -> Filled:  # fmt: skip
    """Send all features into an empty layer. sent: called when the database has them and goes on to build the
    indexes."""
    layer = arrived.layer
    with bulk.filling(connection, layer, expected, arrived.empty()) as anew:
        if any(pa.types.is_floating(arrived.sent.field(a.name).type) for a in layer.stored if a.type == "decimal"):
            filled = Filled(delta.insert(connection, layer, arrived.load_id, arrived.stage(connection)), None)
        else:
            filled = _send_into_layer(connection, arrived, frozen=anew)
        if sent is not None:
            sent()
    return filled


def _send_into_layer(connection: Connection, arrived: Arrived, *, frozen: bool) -> Filled:
    load_id = pa.scalar(arrived.load_id, pa.int64())
    written = pa.schema([*arrived.hashed, pa.field("load_id", pa.int64())])
    grids = set[int]()

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in arrived.rows():
            grids.update(_grids(rows["geom"]))
            yield pa.RecordBatch.from_arrays([*rows.columns, pa.repeat(load_id, len(rows))], schema=written)

    target = tables.now(arrived.layer)
    count = sending.copy_arrow(connection, target, written, batches(), arrived.lists, frozen=frozen)
    return Filled(count, tuple(sorted(grids)))


def _grids(shapes: pa.Array) -> Iterator[int]:
    """The SRIDs of EWKB, each once or a few times: what stands behind its byte order and its type."""
    for head in pc.unique(pc.binary_slice(pc.drop_null(shapes), 0, 9)).to_pylist():
        order = "<" if head[0] else ">"
        kind, grid = struct.unpack(f"{order}II", head[1:])
        yield grid if kind & _HAS_SRID else 0


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
