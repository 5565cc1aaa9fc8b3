"""A layer's features out of the store, streamed as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from sdi.contract.layer import Attribute, Layer
from sdi.errors import UsageError
from sdi.national import vn2000
from sdi.store import engine, tables
from sdi.store.engine import Connection

_CHUNK = 5_000
"""Rows in memory at a time."""
_MERCATOR = 3857
_ARROW: dict[str, Any] = {
    "text": pa.string(),
    "code": pa.string(),
    "integer": pa.int64(),
    "decimal": pa.float64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", "UTC"),
    "list": pa.string(),
}


def grids(connection: Connection, layer: Layer) -> tuple[int, ...]:
    """EPSG codes of the grids in which the layer's features lie."""
    statement = sql.SQL("SELECT DISTINCT ST_SRID(geom) FROM {} WHERE geom IS NOT NULL ORDER BY 1").format(
        tables.now(layer)
    )
    with engine.translated():
        return tuple(row[0] for row in connection.execute(statement))


def read_features(
    connection: Connection, layer: Layer, attributes: Sequence[str], srid: int | None = None
) -> tuple[pa.RecordBatchReader, int]:
    """All features ordered by id: `id`, the attributes, `geom` as WKB (x = east or longitude); and their EPSG code.

    srid: 4326 (longitude, latitude), 3857, a grid of WGS 84, or a grid of the datum in which the features lie; None:
    their own grid. Lists come as JSON text. The reader must be read to its end before the connection is used again.
    Raises UsageError when the features lie in several grids and none is named, or when the datum would be crossed.
    """
    target = srid if srid is not None else _own_grid(connection, layer)
    known = [layer[name] for name in attributes]
    columns = [sql.Identifier("o", "id"), *(column(attribute) for attribute in known)]
    statement = sql.SQL("SELECT {}, ST_AsBinary({}) FROM {} o ORDER BY o.id").format(
        sql.SQL(", ").join(columns), _shape(connection, layer, target), tables.now(layer)
    )
    schema = pa.schema([("id", pa.string()), *fields(known), ("geom", pa.binary())])
    return stream(connection, statement, schema), target


def fields(attributes: Iterable[Attribute]) -> list[pa.Field]:
    """What comes of `column`: decimals as doubles, lists as JSON text."""
    return [pa.field(attribute.name, _ARROW[attribute.type]) for attribute in attributes]


def stream(connection: Connection, statement: sql.Composed, schema: pa.Schema) -> pa.RecordBatchReader:
    """A statement's rows; they must be read to their end before the connection is used again."""
    return pa.RecordBatchReader.from_batches(schema, _batches(connection, statement, schema))


def _batches(connection: Connection, statement: sql.Composed, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        with connection.transaction(), psycopg.ServerCursor(connection, "sdi_export") as cursor:
            cursor.execute(statement, binary=True)
            while rows := cursor.fetchmany(_CHUNK):
                columns = [
                    pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                yield pa.record_batch(columns, schema=schema)
    except psycopg.Error as error:
        raise engine.translate(error) from error


def column(attribute: Attribute, alias: str = "o") -> sql.Composable:
    """An attribute of the rows `alias`, in the type that `fields` says."""
    found = sql.Identifier(alias, attribute.name)
    if attribute.type == "list":
        return sql.SQL("{}::text").format(found)
    if attribute.type == "decimal":
        return sql.SQL("{}::double precision").format(found)
    return found


def _own_grid(connection: Connection, layer: Layer) -> int:
    found = grids(connection, layer)
    if len(found) > 1:
        named = ", ".join(f"EPSG:{code}" for code in found)
        raise UsageError(
            f"The features of '{layer.id}' lie in {len(found)} grids: {named}.", hint="Name the one to write."
        )
    return found[0] if found else 4326


def _shape(connection: Connection, layer: Layer, srid: int) -> sql.Composable:
    """The geometry in a CRS, without letting PROJ choose a way across a datum."""
    if srid == 4326:
        return sql.SQL("o.geom_wgs84")
    if vn2000.grid(srid).datum == "WGS 84":
        return sql.SQL("ST_Transform(o.geom_wgs84, {})").format(sql.Literal(srid))
    wanted = vn2000.grid(srid).datum
    for code in grids(connection, layer):
        if vn2000.grid(code).datum != wanted:
            raise UsageError(
                f"Features of '{layer.id}' lie in EPSG:{code} ({vn2000.grid(code).datum}), EPSG:{srid} is on {wanted}.",
                hint="Ask for EPSG:4326 or for a grid of their own datum.",
            )
    return sql.SQL("sdi.regrid(o.geom, {})").format(sql.Literal(srid))
