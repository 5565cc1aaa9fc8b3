"""Arrow to PostgreSQL as binary COPY: the types on both sides, and rows encoded while the server takes those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from time import sleep
from typing import Any

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.store.engine import Connection

CHUNK = 20_000
"""Rows encoded at a time."""
_AHEAD = 2
"""Chunks that wait, encoded, for the server."""
_AT_ONCE = 1_000
"""Rows encoded without giving way: a millisecond."""
_GIVE_WAY = 1e-5
"""Seconds; as short as it can be, and unlike 0 it lets another thread go on that waits."""
_ARROW: dict[str, Any] = {
    "text": pa.string(),
    "code": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", "UTC"),
    "list": pa.string(),
}
_POSTGRESQL = {
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamptz",
}


def schema(layer: Layer, delivered: pa.Schema) -> pa.Schema:
    """What is sent of a layer's features, in order. A decimal that comes as a float stays one; PostgreSQL makes it
    numeric."""
    fields = [pa.field("id", pa.string())]
    for attribute in layer.stored:
        kind = _ARROW.get(attribute.type)
        if kind is None:
            come = delivered.field(attribute.name).type
            kind = pa.decimal128(38, max(0, come.scale)) if pa.types.is_decimal(come) else pa.float64()
        fields.append(pa.field(attribute.name, kind))
    shapes = [pa.field("geom", pa.binary()), pa.field("geom_wgs84", pa.binary())]
    return pa.schema([*fields, *shapes, pa.field("source_row", pa.int32())])


def columns(layer: Layer, sent: pa.Schema) -> sql.Composed:
    """Names and types of a temporary table that takes what is sent."""
    kinds = {attribute.name: attribute.type for attribute in layer.stored}
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(field.name), sql.SQL(_type(field, kinds.get(field.name))))
        for field in sent
    )


def _type(field: pa.Field, kind: str | None) -> str:
    if field.name in ("geom", "geom_wgs84"):
        return "geometry"
    if kind == "list":
        return "jsonb"
    if pa.types.is_decimal(field.type):
        return "numeric"
    return _POSTGRESQL[field.type]


def fitted(batches: Iterable[pa.RecordBatch], wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches of a size to send, with the columns of a schema in its order and types."""
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK):
            rows = batch.slice(start, CHUNK)
            yield pa.RecordBatch.from_arrays(
                [rows[field.name].cast(field.type) for field in wanted], schema=wanted
            )  # fmt: skip


def copy_arrow(
    connection: Connection,
    table: sql.Composable,
    wanted: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    json: Collection[str] = (),
    *,
    frozen: bool = False,
) -> int:
    """COPY batches of a schema into a table's columns of the same names; return the count of rows.

    json: text columns that are jsonb there. PostGIS takes EWKB as a geometry's binary form. The batches are made in a
    thread of their own. What is NULL throughout is not sent: where a column's first value comes, another COPY begins.
    frozen: the table's file was made in this transaction, so that its pages can be written as visible to everybody at
    once, and need not be written again when it turns out that they are.
    """
    count, options = 0, sql.SQL("FORMAT binary, FREEZE" if frozen else "FORMAT binary")
    for names, part in groupby(batches, _valued(wanted)):
        encoder = _encoder(wanted, names, json)
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        cursor = connection.cursor()
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN ({})").format(table, columns, options)) as copy:
            copy.write(encoder.write_header())
            for encoded in _ahead(_encoded(encoder, names, part)):
                copy.write(encoded)
            copy.write(encoder.finish())
        count += cursor.rowcount
    return count


def _valued(wanted: pa.Schema) -> Callable[[pa.RecordBatch], tuple[str, ...]]:
    """Which columns had a value in a batch or in any before; the first one always, for a row is sent by something."""
    known = {wanted.names[0]}

    def valued(batch: pa.RecordBatch) -> tuple[str, ...]:
        columns = zip(wanted.names, batch.columns, strict=True)
        known.update(name for name, column in columns if column.null_count < len(column))
        return tuple(name for name in wanted.names if name in known)

    return valued


def _encoder(wanted: pa.Schema, names: Iterable[str], json: Collection[str]) -> ArrowToPostgresBinaryEncoder:
    encoders = {
        name: StringEncoderBuilder.new_with_output(wanted.field(name), Jsonb())
        if name in json else ArrowToPostgresBinaryEncoder.infer_encoder(wanted.field(name))
        for name in names
    }  # fmt: skip
    return ArrowToPostgresBinaryEncoder.new_with_encoders(pa.schema([wanted.field(name) for name in names]), encoders)


def _encoded(
    encoder: ArrowToPostgresBinaryEncoder, names: tuple[str, ...], batches: Iterable[pa.RecordBatch]
) -> Iterator[bytes]:
    """Batches as the bytes of a COPY, a few rows at a time: who encodes holds the interpreter meanwhile, and who sends
    must have it again before the server has emptied the socket (200 KB, some 400 parcels)."""
    for batch in batches:
        rows = batch.select(list(names))
        parts = []
        for start in range(0, len(rows), _AT_ONCE):
            parts.append(encoder.write_batch(rows.slice(start, _AT_ONCE)))
            sleep(_GIVE_WAY)
        yield b"".join(parts)


def _ahead(made: Iterator[bytes]) -> Iterator[bytes]:
    """What an iterator makes, made while the caller works on what came before."""
    with ThreadPoolExecutor(1) as worker:
        waiting = deque(worker.submit(next, made, None) for _ in range(_AHEAD))
        while (part := waiting.popleft().result()) is not None:
            waiting.append(worker.submit(next, made, None))
            yield part
