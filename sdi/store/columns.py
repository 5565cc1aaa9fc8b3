"""Rows as Arrow columns: read from the text that `forms.cells` writes, so that no value becomes a Python object."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from sdi.contract.layer import Attribute, Layer
from sdi.contract.query import FeatureQuery
from sdi.store import sight

GEOMETRY = "geom"
_ARROW: dict[str, Any] = {
    "text": pa.string(),
    "code": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("ms", "UTC"),
    "list": pa.string(),
}


def schema(layer: Layer, query: FeatureQuery) -> pa.Schema:
    """The columns of an answer: `id`, its attributes and, where there is a geometry, `geom` as WKB (x = east or lon).

    Decimals are exact to the contract's scale, and doubles where it has none; lists are JSON text.
    """
    fields = [pa.field("id", pa.string(), nullable=False)]
    fields += [pa.field(name, _type(layer[name])) for name in query.attributes]
    if query.geometry and layer.geometry is not None:
        fields.append(pa.field(GEOMETRY, pa.binary()))
    return pa.schema(fields)


def shape(layer: Layer, query: FeatureQuery) -> str | None:
    """The type of geometry that an answer's features have; `Unknown`: several; None: they have none."""
    return sight.shape(layer, query.sight) if query.geometry else None


def _type(attribute: Attribute) -> pa.DataType:
    if attribute.type == "decimal":
        return pa.float64() if attribute.scale is None else pa.decimal128(38, attribute.scale)
    return _ARROW[attribute.type]


def read(lines: bytes, wanted: pa.Schema) -> pa.Table:
    """The lines of `forms.cells`, joined by line feeds, as columns of a `schema`."""
    if not lines:
        return wanted.empty_table()
    types = {field.name: pa.string() if field.name == GEOMETRY else field.type for field in wanted}
    table = pyarrow.csv.read_csv(
        pa.BufferReader(lines),
        pyarrow.csv.ReadOptions(use_threads=False, column_names=wanted.names, block_size=len(lines) + 1),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    if GEOMETRY in types:
        table = table.set_column(len(types) - 1, GEOMETRY, pa.chunked_array(map(_bytes, table[GEOMETRY].chunks)))
    return table.cast(wanted)


def reader(wanted: pa.Schema, tables: Iterable[pa.Table]) -> pa.RecordBatchReader:
    """Tables as they come, one after another."""
    return pa.RecordBatchReader.from_batches(wanted, (batch for table in tables for batch in table.to_batches()))


def grouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many, the last of fewer: the same ones however many parts they come in."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(map(len, held)) > rows:
            whole = pa.concat_tables(held)
            yield whole[:rows].combine_chunks()
            held = [whole[rows:]]
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _bytes(digits: pa.Array) -> pa.Array:
    """What hexadecimal digits say: all of them at once."""
    present, offsets, text = digits.buffers()
    places = np.frombuffer(offsets, np.int32)[digits.offset : digits.offset + len(digits) + 1]
    made = binascii.unhexlify(memoryview(text)[places[0] : places[-1]])
    halved = pa.py_buffer(((places - places[0]) // 2).astype(np.int32))
    if digits.null_count:
        present = pa.array(digits.is_valid(), pa.bool_()).buffers()[1]
    return pa.Array.from_buffers(
        pa.binary(), len(digits), [present if digits.null_count else None, halved, pa.py_buffer(made)]
    )  # fmt: skip
