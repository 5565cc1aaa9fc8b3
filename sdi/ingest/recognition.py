"""Rows of a file that stand in it as they stood in an earlier one, and in which nothing was found then.

What conforming makes of a row follows from the row and from how the delivery is read. So of each row in which nothing
was found its mark is kept, with the hash of what became of it; a row with the same mark, read in the same way, need not
be conformed to know that. Every unsureness (other code, contract, code list, encoding, grid, extent) is another way of
reading, in which no row is known. A row in which something was found is never kept, nor one of a part of which
something was found as a whole: they are conformed each time, and told of as ever.
"""

from __future__ import annotations

import platform
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from hashlib import blake2b, sha256
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyproj
import shapely
from numpy.typing import NDArray

from sdi.contract.codelist import CodeList
from sdi.contract.faults import fields_of
from sdi.contract.layer import Attribute, Layer
from sdi.contract.registry import Registry
from sdi.ingest import ended, mapped
from sdi.ingest.cast import one
from sdi.ingest.checks.between import grouping
from sdi.ingest.checks.form import CODE_RULES
from sdi.ingest.conform import Match
from sdi.ingest.place import Box
from sdi.ingest.reading import Reading
from sdi.ingest.source import WKB, Source

Marks = NDArray[np.uint64]
"""Eight bytes of BLAKE2b of each row as the file has it: of so few bytes it takes half the time of SHA-256."""
HASH = 16
"""Bytes of a row's hash."""


@dataclass(frozen=True)
class Recognised:
    """Rows that a layer has met: `marks`, and `hashes`, HASH bytes each, of what became of them."""

    marks: Marks
    hashes: NDArray[np.void]

    @classmethod
    def of(cls, count: int, parts: Iterable[tuple[bytes, bytes]]) -> Recognised:
        """count: of all rows. parts: marks, little-endian, in any order, and beside each other with them the hashes."""
        marks, hashes = mapped.zeros(count, np.uint64), mapped.zeros(count, f"V{HASH}")
        start = 0
        for some, beside in parts:
            rows = slice(start, start + len(some) // 8)
            marks[rows], hashes[rows] = np.frombuffer(some, "<u8"), np.frombuffer(beside, f"V{HASH}")
            start = rows.stop
        return cls(*mapped.in_order(marks, hashes))

    @property
    def is_empty(self) -> bool:
        return not len(self.marks)

    def find(self, marks: Marks) -> NDArray[np.intp]:
        """By row, its place among these; -1: not met."""
        if self.is_empty:
            return np.full(len(marks), -1, dtype=np.intp)
        places = np.minimum(np.searchsorted(self.marks, marks), len(self.marks) - 1)
        return np.where(self.marks[places] == marks, places, -1)

    def digests(self, places: NDArray[np.intp]) -> pa.Array:
        taken = self.hashes[places]
        array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH), len(taken), [None, pa.py_buffer(taken.tobytes())])
        return array.cast(pa.binary())


# --- how a delivery is read -------------------------------------------------------------------------------------------


def context(source: Source, reading: Reading, registry: Registry, day: date, extent: Box | None) -> str:
    """A name for all that decides what becomes of a row beside the row itself."""
    columns, request = told(source, reading), reading.request
    said = (
        edition(), reading.layer.model_dump_json(), _lists(reading.layer, registry, day), extent, source.facts.driver,
        [(name, str(source.kinds[name]), reading.encodings.names[name]) for name in columns],
        reading.encodings.label, reading.encodings.latin1, sorted(reading.encodings.columns.items()),
        reading.geometry_columns, sorted(reading.matched.attributes.items()), sorted(reading.matched.items.items()),
        sorted((name, repr(style)) for name, style in reading.styles.items()), reading.where,
        sorted(request.constants.items()), request.swapped,
    )  # fmt: skip
    return sha256(repr(said).encode()).hexdigest()


@cache
def edition() -> str:
    """A name for all code and all libraries that conform and check a feature by itself."""
    made = sha256()
    versions = (
        platform.python_version(), np.__version__, pa.__version__, shapely.__version__, shapely.geos_version_string,
        pyproj.__version__, pyproj.proj_version_str,
    )  # fmt: skip
    made.update(repr(versions).encode())
    for package in ("sdi.contract", "sdi.ingest", "sdi.national"):
        for name, content in _files(resources.files(package)):
            made.update(f"{package}/{name}\0{len(content)}\0".encode() + content)
    return made.hexdigest()


def _files(folder: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            found += [] if entry.name == "__pycache__" else _files(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _lists(layer: Layer, registry: Registry, day: date) -> list[tuple[str, CodeList, int, int]]:
    """The code lists that features are held against. Of the day counts only between which of their days it lies."""
    named = {attribute.code_list for attribute in layer.stored}
    named |= {item.code_list for attribute in layer.stored for item in attribute.items or []}
    found = []
    for name in sorted(name for name in named if name is not None):
        codes = registry.code_lists[name]
        days = sorted({each for code in codes.codes for each in (code.valid_from, code.valid_to) if each is not None})
        found.append((name, codes, bisect_left(days, day), bisect_right(days, day)))
    return found


# --- what the file says of a row --------------------------------------------------------------------------------------


def told(source: Source, reading: Reading) -> list[str]:
    """The columns, as the file names them, that decide what becomes of a row. Personal ones are none of them."""
    names = reading.encodings.names
    wanted = {WKB, *reading.matched.used, ended.column(reading.layer, list(names.values()))}
    wanted |= set(reading.geometry_columns.names if reading.geometry_columns else ())
    return [name for name in source.columns if names[name] in wanted]


def marks(table: pa.Table, columns: Sequence[str]) -> Marks | None:
    """The mark of each row of a part; None: a column is of a type that is not compared byte by byte."""
    heads: list[NDArray[np.uint8]] = []
    texts: list[pa.Array] = []
    for name in columns:
        column = one(table[name])
        made = _bytes(column) if _is_long(column.type) else _number(column)
        if made is None:
            return None
        heads.append(made[0])
        texts += made[1:]
    if not heads:
        return None
    head = np.ascontiguousarray(np.column_stack(heads))
    whole = pa.Array.from_buffers(pa.binary(head.shape[1]), len(head), [None, pa.py_buffer(head)])
    joined = pc.binary_join_element_wise(whole.cast(pa.large_binary()), *texts, pa.scalar(b"", pa.large_binary()))
    _, offsets, data = joined.buffers()
    ends = np.frombuffer(offsets, np.int64)[joined.offset : joined.offset + len(joined) + 1].tolist()
    memory = memoryview(data)
    found = b"".join([blake2b(memory[a:b], digest_size=8).digest() for a, b in pairwise(ends)])
    return np.frombuffer(found, "<u8").astype(np.uint64)


def _is_long(kind: pa.DataType) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _bytes(column: pa.Array) -> tuple[NDArray[np.uint8], Any]:
    """The length of each value, -1: none, in bytes; and the values."""
    values = pc.fill_null(column.cast(pa.large_binary()), b"")
    lengths = np.where(np.asarray(column.is_valid()), np.asarray(pc.binary_length(values)), -1)
    return _columns(lengths.astype("<i8")), values


def _number(column: pa.Array) -> tuple[NDArray[np.uint8]] | None:
    """Whether there is a value, and its bytes."""
    kind = column.type
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        column = column.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    values = pc.fill_null(column, pa.scalar(0).cast(column.type)).to_numpy(zero_copy_only=False)
    return (np.column_stack([_columns(np.asarray(column.is_valid())), _columns(values)]),)


def _columns(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


# --- what is made of a known row nevertheless -------------------------------------------------------------------------


def narrowed(reading: Reading) -> Reading:
    """The reading of those attributes alone that identify a feature or that checks between features ask for."""
    layer = reading.layer
    names = _needed(layer)
    kept = layer.model_copy(update={
        "attributes": [attribute for attribute in layer.attributes if attribute.name in names], "checks": [],
    })  # fmt: skip
    matched = Match(
        {name: column for name, column in reading.matched.attributes.items() if name in names},
        {key: column for key, column in reading.matched.items.items() if key[0] in names},
    )
    return replace(reading, layer=kept, matched=matched)


def _needed(layer: Layer) -> set[str]:
    identifier = layer.identifier
    names = set(grouping(layer)) | {layer.load.scope}
    if identifier is not None:
        names |= {identifier.attribute, *(fields_of(identifier.template) if identifier.template else ())}
    for check in layer.checks:
        if check.rule == "attribute.unique":
            names |= {*check.parameters["attributes"], *check.parameters.get("within", [])}
            names |= {layer.temporal.start, layer.temporal.end} if layer.temporal is not None else set()
    wanted: set[str] = set()
    while waiting := {name for name in names if name is not None} - wanted:
        wanted |= waiting
        names = {other for name in waiting for other in _before(layer[name], layer)}
    return wanted


def _before(attribute: Attribute, layer: Layer) -> set[str]:
    """The attributes that another is made from."""
    found = set(fields_of(attribute.template)) if attribute.template else set()
    if attribute.code_list is not None:
        found |= {check.parameters["date"] for check in layer.checks
                  if check.rule in CODE_RULES and "date" in check.parameters}  # fmt: skip
    if attribute.type == "code":  # of several codes in one column a list attribute tells which is the main one
        found |= {each.name for each in layer.stored if each.type == "list"}
    return found
