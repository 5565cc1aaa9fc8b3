"""The words of the pages in the asker's language, from gettext catalogues, and values as people read them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from babel.dates import format_date, format_datetime, get_timezone
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

LOCALE = Path(__file__).parent / "locale"

UNITS: dict[str, str | dict[str, str]] = {"m2": "m²", "m3": "m³", "a": {"vi": "năm", "en": "years"}, "%": "%", "1": ""}
"""How people write a UCUM code; others stand as they are."""


@cache
def translator(language: str) -> Callable[[str], str]:
    """From the English message to the language's; a message without translation stays English."""
    path = LOCALE / language / "LC_MESSAGES" / "messages.po"
    if not path.is_file():
        return str
    with path.open("rb") as file:
        catalogue = read_po(file, locale=language)
    messages = {str(message.id): str(message.string) for message in catalogue if message.id and message.string}
    return lambda text: messages.get(text, text)


def unit(code: str | None, language: str) -> str:
    if code and code.startswith("{"):
        return ""
    found = UNITS.get(code or "", code or "")
    return found[language] if isinstance(found, dict) else found


def number(value: float | Decimal, language: str) -> str:
    """A number with the digits it has, at most three behind the point: `1.782,6` or in English `1,782.6`."""
    return format_decimal(value, format="#,##0.###", locale=language)


def percent(rate: float, language: str) -> str:
    """A share of 1 as percent; what is not nothing is never shown as 0: `0,04 %`, `< 0,01 %`."""
    shown = format_decimal(rate * 100, format="0.##", locale=language)
    return f"< {format_decimal(0.01, locale=language)} %" if rate and shown in ("0", "-0") else f"{shown} %"


def day(value: str, language: str) -> str:
    """An ISO date as people read it; anything else stays as it is."""
    try:
        return format_date(
            date.fromisoformat(value), "dd/MM/yyyy" if language == "vi" else "d MMM yyyy", locale=language
        )
    except ValueError:
        return value


def moment(value: str, language: str) -> str:
    """An ISO date-time as people read it, in Vietnamese time."""
    try:
        form = "HH:mm dd/MM/yyyy" if language == "vi" else "d MMM yyyy, HH:mm"
        return format_datetime(
            datetime.fromisoformat(value), form, tzinfo=get_timezone("Asia/Ho_Chi_Minh"), locale=language
        )
    except ValueError:
        return value


def truth(value: Any, language: str) -> str:
    return translator(language)("Yes" if value else "No")
