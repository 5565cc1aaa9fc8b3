"""A row's hash, computed from Arrow before the row is sent: the same 16 bytes as `delta.row_hash` gives in SQL.

So a delivery can be compared with its layer by ids and hashes alone, and only what differs has to travel. Text is made
column by column; only the rare values that Arrow and PostgreSQL write differently are made one by one, each but once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from sdi.contract.layer import Attribute, Layer

HASH = pa.binary(16)
_SEPARATOR = chr(31)
_LITTLE_ENDIAN = b"\x01"
_PLAIN = (1e-4, 1e6)
"""Magnitudes that Arrow writes as PostgreSQL does: without an exponent."""
_HALVES = 2.0**53
"""From here on what lies halfway between two doubles is a whole number."""


def row_hashes(layer: Layer, rows: pa.RecordBatch) -> pa.Array:
    """The hash of each row: 16 bytes of SHA-256 over `name=value` of what is not NULL, and the shape's EWKB.

    rows: the stored attributes in the types that `loader` stages, `geom` as EWKB.
    """
    text = _content(layer, rows)
    joined = pc.binary_join_element_wise(text, _little_endian(rows["geom"]), pa.scalar(b"", pa.large_binary()))
    _, offsets, data = joined.buffers()
    ends = np.frombuffer(offsets, np.int64)[joined.offset : joined.offset + len(joined) + 1].tolist()
    memory, sha256 = memoryview(data) if data is not None else memoryview(b""), hashlib.sha256
    digests = [sha256(memory[a:b]).digest()[:16] for a, b in pairwise(ends)]
    return pa.array(digests, pa.binary())


def _content(layer: Layer, rows: pa.RecordBatch) -> pa.Array:
    texts, nothing = [], _large("")
    for attribute in sorted(layer.stored, key=lambda attribute: attribute.name):
        column = rows[attribute.name]
        if column.null_count < len(column):
            text = _text(attribute, column).cast(pa.large_string())
            texts.append(pc.binary_join_element_wise(_large(f"{attribute.name}="), text, nothing))
    if not texts:
        return pa.array([b""] * len(rows), pa.large_binary())
    joined = pc.binary_join_element_wise(*texts, _large(_SEPARATOR), null_handling="skip")
    if len(joined) < len(rows):  # Arrow 26 leaves out a row in which everything is null
        there = reduce(pc.or_, (text.is_valid() for text in texts))
        joined = pc.replace_with_mask(pa.array([""] * len(rows), pa.large_string()), there, joined)
    return joined.cast(pa.large_binary())


def _large(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _little_endian(shapes: pa.Array) -> pa.Array:
    """EWKB as PostGIS writes it; no shape: nothing."""
    filled = pc.fill_null(shapes, b"")
    other = pc.and_(pc.greater(pc.binary_length(filled), 0), pc.invert(pc.starts_with(filled, _LITTLE_ENDIAN)))
    if pc.any(other).as_py():
        parsed = shapely.from_wkb(filled.filter(other).to_numpy(zero_copy_only=False))
        made = pa.array(shapely.to_wkb(parsed, include_srid=True, byte_order=1), filled.type)
        filled = pc.replace_with_mask(filled, other, made)
    return filled.cast(pa.large_binary())


# --- values as PostgreSQL writes them -----------------------------------------------------------------------------


def _text(attribute: Attribute, column: pa.Array) -> pa.Array:
    if attribute.type == "list":
        return _each(column, lambda value: _jsonb(json.loads(value, parse_float=Decimal, parse_int=Decimal)))
    if pa.types.is_decimal(column.type):
        return _decimals(column)
    if pa.types.is_floating(column.type):
        return _each(column, _rounded) if attribute.type == "decimal" else _numbers(column)
    if pa.types.is_timestamp(column.type):
        return pc.replace_substring_regex(pc.cast(column, pa.string()), r"\.?0*Z$", "+00")
    return pc.cast(column, pa.string())


def _each(column: pa.Array, write: Callable[[Any], str]) -> pa.Array:
    """The text of each value, each different one written once."""
    coded = column.dictionary_encode()
    written = [None if value is None else write(value) for value in coded.dictionary.to_pylist()]
    return pa.array(written, pa.string()).take(coded.indices)


def _decimals(column: pa.Array) -> pa.Array:
    """Without zeros at the end: 1.50 and 1.5 are one number."""
    if column.type.scale <= 0:
        return _each(column, lambda value: format(value, "f"))
    text = pc.cast(column, pa.string())
    if pc.any(pc.match_substring(text, "E")).as_py():
        return _each(column, lambda value: _trimmed(format(value, "f")))
    return pc.utf8_rtrim(pc.utf8_rtrim(text, characters="0"), characters=".")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _rounded(value: float) -> str:
    """A double as numeric: 15 significant digits."""
    short = Decimal(f"{value:.15g}")
    if not short.is_finite():
        return _number(value)
    return _trimmed(format(short, "f")) if short else "0"


def _numbers(column: pa.Array) -> pa.Array:
    text = pc.cast(column, pa.string())
    size = pc.abs(column)
    plain = pc.or_(pc.and_(pc.greater_equal(size, _PLAIN[0]), pc.less(size, _PLAIN[1])), pc.equal(size, 0.0))
    strange = pc.invert(pc.fill_null(plain, True))
    if pc.any(strange).as_py():
        text = pc.replace_with_mask(text, strange, _each(column.filter(strange), _number))
    return text


def _number(value: float) -> str:
    """The shortest digits that give the double again; with an exponent below 1e-4 and from 1e15."""
    exact = Decimal(repr(value)) if not _HALVES <= abs(value) < math.inf else _strictly(value)
    if exact.is_nan():
        return "NaN"
    if exact.is_infinite():
        return "Infinity" if value > 0 else "-Infinity"
    sign, digits, _ = exact.normalize().as_tuple()
    power = exact.adjusted()
    if not exact or -4 <= power < 15:
        return _trimmed(format(exact, "f"))
    mantissa = f"{digits[0]}." + "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{mantissa.rstrip('.')}e{power:+03d}"


def _strictly(value: float) -> Decimal:
    """The shortest decimal nearer to a double than to its neighbours. Python also takes one that lies halfway between
    two doubles and is read as the even one; that needs doubles that are whole numbers."""
    if value < 0:
        return -_strictly(-value)
    exact, half = Decimal(value), Decimal(math.ulp(value)) / 2
    low = exact - (half / 2 if math.frexp(value)[0] == 0.5 else half)  # below a power of two doubles lie closer
    high = exact + half
    for digits in range(1, 18):
        step = Decimal(1).scaleb(exact.adjusted() - digits + 1)
        near = exact.quantize(step)
        inside = [each for each in (near, near - step, near + step) if low < each < high]
        if inside:
            return min(inside, key=lambda each: abs(each - exact))
    return exact


def _jsonb(value: Any) -> str:
    """JSON as jsonb is written: keys once, by length and then by bytes; numbers without exponent."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{_jsonb(key)}: {_jsonb(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_jsonb, value)) + "]"
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.removeprefix("-") if not value else text
    return json.dumps(value, ensure_ascii=False)
