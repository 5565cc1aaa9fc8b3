"""Values as files have them to the contract's types, a column at a time; what cannot be cast is null and is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdi.ingest.encoding import by_value
from sdi.national.clock import VIETNAM
from sdi.national.text import fold

_NOTHING = pa.array(["", "null", "<null>", "nan"])
NUMERIC = frozenset({"integer", "number", "decimal"})
TRUE = frozenset({"1", "true", "t", "yes", "y", "x", "co", "dung"})
FALSE = frozenset({"0", "false", "f", "no", "n", "khong", "sai"})

ARROW = {
    "text": pa.string(), "code": pa.string(), "list": pa.string(), "integer": pa.int64(), "number": pa.float64(),
    "boolean": pa.bool_(), "date": pa.date32(), "datetime": pa.timestamp("us", tz="UTC"),
}  # fmt: skip
type Column = pa.Array | pa.ChunkedArray
Failed = NDArray[np.bool_]


def arrow_type(kind: str, scale: int | None = None) -> pa.DataType:
    """The Arrow type of a contract's attribute type; decimals without a scale are doubles."""
    if kind == "decimal":
        return pa.float64() if scale is None else pa.decimal128(38, scale)
    return ARROW[kind]


@dataclass(frozen=True)
class Style:
    """How the numbers of a text column are written, as far as some of them show it beyond doubt."""

    vietnamese: bool = False
    """`1.234.567`, `0,5`."""
    english: bool = False
    """`1,234,567`, `0.5`."""

    def __or__(self, other: Style) -> Style:
        return Style(self.vietnamese or other.vietnamese, self.english or other.english)


def one(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def clean(column: Column) -> pa.Array:
    """Text normalised and blanks null; lists and other nested values as JSON text; all else as it is."""
    column = one(column)
    kind = column.type
    if pa.types.is_dictionary(kind):
        return clean(column.cast(kind.value_type))
    if pa.types.is_nested(kind):
        values = column.to_pylist()
        return pa.array([None if v is None else json.dumps(v, ensure_ascii=False, default=str) for v in values])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_floating(kind):
        return _null_nan(column)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return column
    coded = column.dictionary_encode()  # of most columns the values are few, and each is looked at once
    return _normal(coded.dictionary).take(coded.indices)


_ODD_BLANKS = (
    r"\t-\r\x{1c}-\x{1f}\x{85}\x{a0}\x{1680}\x{2000}-\x{200b}\x{2028}\x{2029}\x{202f}\x{205f}\x{2060}\x{3000}\x{feff}"
)
_BLANKS = f"[ {_ODD_BLANKS}]+"
_UNTIDY = f"^ | $|  |[ðÐ{_ODD_BLANKS}]"


def _normal(column: pa.Array) -> pa.Array:
    """`national.text.normalise` of a whole column, and null where nothing is said."""
    column = column.cast(pa.string())
    if not pc.all(pc.string_is_ascii(column)).as_py():
        column = pc.utf8_normalize(column, "NFC")
    if pc.any(pc.match_substring_regex(column, _UNTIDY)).as_py():
        column = pc.utf8_trim(pc.replace_substring_regex(column, _BLANKS, " "), " ")
        column = pc.replace_substring(pc.replace_substring(column, "ð", "đ"), "Ð", "Đ")
    nothing = pc.is_in(pc.ascii_lower(column), _NOTHING)
    return pc.if_else(nothing, None, column) if pc.any(nothing).as_py() else column


def cast(column: pa.Array, kind: str, scale: int | None = None, style: Style | None = None) -> tuple[pa.Array, Failed]:
    """Cast a clean column. Returns it and which values were there and are not of the type. `style`: of the numbers in
    all parts of the column; None: what this part shows."""
    text = _is_text(column) and kind in NUMERIC
    made = _from_text(column, kind, style or style_of(column)) if text else _CASTS[kind](column)
    if kind == "decimal" and scale is not None:
        made = _to_decimal(made, scale)
    failed = np.asarray(pc.and_(pc.is_valid(column), pc.is_null(made)))
    return made, failed


def to_text(column: pa.Array) -> pa.Array:
    """Text of any value: whole floats without `.0`, ISO dates."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), 1e15))
        integers = pc.if_else(whole, column, 0.0).cast(pa.int64())
        return pc.if_else(whole, integers.cast(pa.string()), column.cast(pa.string()))
    return column.cast(pa.string())


def _null_nan(column: pa.Array) -> pa.Array:
    column = column.cast(pa.float64())
    return pc.if_else(pc.is_finite(column), column, None)


def _from_text(column: pa.Array, kind: str, style: Style) -> pa.Array:
    whole = kind == "integer"
    numbers = _parse_numbers(column, whole, style)
    return _whole(numbers) if whole else numbers


def _to_number(column: pa.Array) -> pa.Array:
    return _null_nan(column) if _is_numeric(column) else pa.nulls(len(column), pa.float64())


def _to_integer(column: pa.Array) -> pa.Array:
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    return _whole(_to_number(column))


def _whole(numbers: pa.Array) -> pa.Array:
    whole = pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), 2.0**63))
    return pc.if_else(whole, numbers, None).cast(pa.int64())


def _to_decimal(numbers: pa.Array, scale: int) -> pa.Array:
    fits = pc.less(pc.abs(numbers), 10.0 ** (38 - scale))
    return pc.if_else(fits, numbers, None).cast(pa.decimal128(38, scale))


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type))


def _is_numeric(column: pa.Array) -> bool:
    kind = column.type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_GROUPED_DOT = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?$"
_GROUPED_COMMA = r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$"
_COMMA = r"^[+-]?\d+,\d+$"
_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_DOT_OR_GROUP = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
_COMMA_OR_GROUP = r"^[+-]?[1-9]\d{0,2},\d{3}$"


class _Written:
    """Texts sorted by how they could be numbers, a mask each."""

    def __init__(self, texts: pa.Array) -> None:
        self.texts = pc.replace_substring_regex(texts, r"[\s\x{202f}]", "")
        self.maybe_dot, self.maybe_comma = self.like(_DOT_OR_GROUP), self.like(_COMMA_OR_GROUP)
        self.dotted, self.commaed = self.like(_GROUPED_DOT), self.like(_GROUPED_COMMA)
        self.comma, self.plain = self.like(_COMMA), self.like(_PLAIN)

    def like(self, pattern: str) -> pa.Array:
        return pc.fill_null(pc.match_substring_regex(self.texts, pattern), False)

    def style(self) -> Style:
        def some(mask: pa.Array) -> bool:
            return bool(pc.any(mask).as_py())

        pointed = pc.and_(pc.and_not(self.plain, self.maybe_dot), self.like(r"\."))
        return Style(
            some(pc.and_not(self.dotted, self.maybe_dot)) or some(pc.and_not(self.comma, self.maybe_comma)),
            some(pc.and_not(self.commaed, self.maybe_comma)) or some(pointed),
        )


def style_of(column: pa.Array) -> Style:
    """How a clean text column writes its numbers; nothing is told by what could be written either way."""
    return _Written(column).style()


def _parse_numbers(column: pa.Array, whole: bool, style: Style) -> pa.Array:
    """Numbers as Vietnamese (`3.359,80`) and English (`3,359.80`) readers write them.

    `1.234` alone says nothing: the column's other values decide, and where they do not, it is a group in a column of
    whole numbers and a decimal point in any other, as programs write it. `1,234` is a decimal comma unless English. In
    a column that is written both ways such a value is not read at all.
    """
    written = _Written(column)
    texts, plain, comma = written.texts, written.plain, written.comma
    dot_groups = not style.english and (style.vietnamese or whole)
    comma_groups = not style.vietnamese and (style.english or whole)
    grouped_dot = written.dotted if dot_groups else pc.and_not(written.dotted, written.maybe_dot)
    grouped_comma = written.commaed if comma_groups else pc.and_not(written.commaed, written.maybe_comma)
    if style.vietnamese and style.english:
        plain, comma = pc.and_not(plain, written.maybe_dot), pc.and_not(comma, written.maybe_comma)
    without_dots = pc.replace_substring(pc.replace_substring(texts, ".", ""), ",", ".")
    without_commas = pc.replace_substring(texts, ",", "")
    made = pc.if_else(grouped_dot, without_dots, pc.if_else(grouped_comma, without_commas, pc.if_else(
        comma, pc.replace_substring(texts, ",", "."), pc.if_else(plain, texts, None))))  # fmt: skip
    return _null_nan(pc.replace_substring_regex(made, r"^\+", ""))


def _to_boolean(column: pa.Array) -> pa.Array:
    if pa.types.is_boolean(column.type):
        return column
    words = by_value(to_text(column), lambda texts: [None if text is None else _truth(text) for text in texts])
    return words.cast(pa.bool_())


def _truth(text: str) -> str | None:
    word = fold(text)
    return "true" if word in TRUE else "false" if word in FALSE else None


def _each(column: pa.Array, read: Callable[[str], str | None], kind: pa.DataType) -> pa.Array:
    return by_value(column, lambda texts: [None if text is None else read(text) for text in texts]).cast(kind)


def _to_date(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.date32())
    if pa.types.is_timestamp(kind):
        return _local(column).cast(pa.date32())
    if pa.types.is_integer(kind) or _is_text(column):
        return _each(to_text(column), lambda text: _iso(text, time=False), pa.date32())
    return pa.nulls(len(column), pa.date32())


def _local(column: pa.Array) -> pa.Array:
    """The wall clock in Viet Nam of timestamps with or without a zone."""
    if column.type.tz is None:
        return column
    shift = pa.scalar(int(VIETNAM.utcoffset(None).total_seconds()), pa.duration("s"))
    return pc.add(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us")), shift)


def _to_datetime(column: pa.Array) -> pa.Array:
    kind, target = column.type, ARROW["datetime"]
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column.cast(target)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        shift = pa.scalar(int(VIETNAM.utcoffset(None).total_seconds()), pa.duration("s"))
        return pc.subtract(column.cast(pa.timestamp("us")), shift).cast(target)
    if _is_text(column):
        return _each(column, lambda text: _iso(text, time=True), target)
    return pa.nulls(len(column), target)


_DAY_FIRST = re.compile(r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})(?:[ T,]+(.*))?$")
_YEAR_FIRST = re.compile(r"^(\d{4})[/.-]?(\d{2})[/.-]?(\d{2})(?:[ T]+(.*))?$")


def _iso(text: str, time: bool) -> str | None:
    """ISO 8601 of `05/3/2024`, `2024-03-05`, `20240305`, with or without a time of day; None when it is no date."""
    day_first, year_first = _DAY_FIRST.match(text), _YEAR_FIRST.match(text)
    try:
        if day_first:
            day = date(int(day_first[3]), int(day_first[2]), int(day_first[1]))
            clock = day_first[4]
        elif year_first:
            day = date(int(year_first[1]), int(year_first[2]), int(year_first[3]))
            clock = year_first[4]
        else:
            return None
        if not time:
            return day.isoformat()
        moment = datetime.fromisoformat(f"{day.isoformat()}T{_clock(clock)}")
        moment = moment if moment.tzinfo else moment.replace(tzinfo=VIETNAM)
        return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):  # the first hours of the year 1 lie before it in UTC
        return None


def _clock(clock: str | None) -> str:
    if not clock:
        return "00:00"
    return "0" + clock if re.match(r"^\d:", clock) else clock


_CASTS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "text": to_text, "code": to_text, "integer": _to_integer, "number": _to_number, "decimal": _to_number,
    "boolean": _to_boolean, "date": _to_date, "datetime": _to_datetime,
}  # fmt: skip
