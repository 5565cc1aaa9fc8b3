"""Literals of a filter, each as it was written: exact numbers, texts in NFC, instants in UTC."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from typing import Any, Literal

from sdi.contract.query import instant
from sdi.errors import BadRequest

MAX_DIGITS = 38
"""Before the point of a number; 60 significant ones."""

Precision = Literal["date", "datetime"]


def number(value: float | Decimal) -> int | Decimal:
    """The number as written: an int where it is whole, else a Decimal. Raises BadRequest."""
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    too_long = len(exact.as_tuple().digits) > 60
    if not exact.is_finite() or too_long or (exact and not -60 <= exact.adjusted() < MAX_DIGITS):
        raise BadRequest(f"A number in the filter has more than {MAX_DIGITS} digits.")
    return int(exact) if exact == exact.to_integral_value() else exact


def text(value: str) -> str:
    """The text in NFC, as the store holds its texts. Raises BadRequest for what PostgreSQL cannot hold."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRequest("A text in the filter is not Unicode.") from None
    if "\x00" in value:
        raise BadRequest("A text in the filter has a NUL character in it.")
    return unicodedata.normalize("NFC", value)


def dated(node: dict[str, Any]) -> tuple[dict[str, str], Precision]:
    """`{"date": …}` or `{"timestamp": …}` with its precision. Raises BadRequest."""
    key = "date" if "date" in node else "timestamp"
    written = str(node[key])
    checked, precision = moment(written)
    if (precision == "date") != (key == "date"):
        hint = "DATE('2026-07-01') or TIMESTAMP('2026-07-01T00:00:00Z')."
        raise BadRequest(f"'{written[:40]}' is not a {key}.", hint=hint)
    return checked, precision


def moment(written: str) -> tuple[dict[str, str], Precision]:
    """A date or a time from its text. Raises BadRequest."""
    found, whole_day = instant(written)
    if whole_day:
        return {"date": found.date().isoformat()}, "date"
    return {"timestamp": found.isoformat().replace("+00:00", "Z")}, "datetime"


def day_of(end: Any) -> str | None:
    """The day of an interval's end that is written out."""
    if not isinstance(end, dict) or not end.keys() & {"date", "timestamp"}:
        return None
    return str(end.get("date") or end["timestamp"])[:10]
