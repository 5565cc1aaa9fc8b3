"""Provinces in time and the cadastral grids their data lie in, from `provinces.csv`.

34 provincial units hold since 1 July 2025 (QĐ 19/2025/QĐ-TTg, NQ 202/2025/QH15); 63 before. Codes are used again with
a new meaning: 44 was Quảng Bình and is Quảng Trị, 24 was Bắc Giang and is Bắc Ninh. So a code is read with a date.
Cadastral data keep the grid of their former province: a grid belongs to a data set, and 17 of the 34 units hold
several.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from importlib.resources import files

from sdi.errors import NotFound

REFORM = date(2025, 7, 1)
"""The day the 34 units replaced the 63 (NQ 202/2025/QH15)."""


@dataclass(frozen=True)
class Province:
    """A provincial unit in its time of validity."""

    code: str
    """Two digits (QĐ 124/2004/QĐ-TTg, QĐ 19/2025/QĐ-TTg)."""
    name: str
    type: str
    """`Thành phố` or `Tỉnh`."""
    communes: int | None
    """Communes on 25 July 2026; None for a former province."""
    valid_from: date | None
    """None: before the tables begin."""
    valid_to: date | None
    """Exclusive; None: still valid."""
    successor: str | None
    """Code of the present unit that a former province became part of."""
    meridian: float
    """Central meridian in degrees: of cadastral maps for a former province (table of TT 25/2014/TT-BTNMT, line by
    line as the EPSG registry has it), of the administrative map for a present one (annex of TT 24/2025/TT-BNNMT)."""
    epsg: int
    """TM-3 grid (k0 0.9999) of that meridian."""
    confidence: str
    """Of the meridian: V read in a primary source, 2 in a secondary one, ? sources disagree."""

    @property
    def title_vi(self) -> str:
        return f"{self.type} {self.name}"

    def holds_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)


def _read_provinces() -> tuple[Province, ...]:
    text = files(__package__).joinpath("provinces.csv").read_text(encoding="utf-8")
    return tuple(map(_province_from_row, csv.DictReader(text.splitlines())))


def _province_from_row(row: dict[str, str]) -> Province:
    return Province(
        code=row["code"],
        name=row["name"],
        type=row["type"],
        communes=int(row["communes"]) if row["communes"] else None,
        valid_from=date.fromisoformat(row["valid_from"]) if row["valid_from"] else None,
        valid_to=date.fromisoformat(row["valid_to"]) if row["valid_to"] else None,
        successor=row["successor"] or None,
        meridian=float(row["meridian"]),
        epsg=int(row["epsg"]),
        confidence=row["confidence"],
    )


PROVINCES: tuple[Province, ...] = _read_provinces()
"""The 34 present units, then the 63 former provinces."""


def provinces(day: date | None = None) -> dict[str, Province]:
    """Code -> province as valid on a day; None: the present 34."""
    if day is None:
        return {province.code: province for province in PROVINCES if province.valid_to is None}
    return {province.code: province for province in PROVINCES if province.holds_on(day)}


def province(code: str, day: date | None = None) -> Province:
    """Return the province a two-digit code means on a day; None: the present meaning.

    Raises NotFound; for a code that only a former province had, its message names the present unit.
    """
    found = provinces(day).get(code)
    if found is not None:
        return found
    other = next((province for province in PROVINCES if province.code == code), None)
    if other is None:
        raise NotFound(f"'{code}' is no provincial code.", hint="Codes have two digits, from 01 to 96.")
    if other.successor is None:
        raise NotFound(f"'{code}' ({other.title_vi}) did not exist on {day}.")
    successor = provinces()[other.successor]
    raise NotFound(
        f"'{code}' was {other.title_vi} until {other.valid_to}.", hint=f"Now: {successor.code} {successor.title_vi}."
    )


def former_provinces(code: str) -> list[Province]:
    """The provinces before 1 July 2025 that make up a present unit, in the order of their codes. Raises NotFound."""
    unit = province(code)
    return [province for province in PROVINCES if province.successor == unit.code]


def cadastral_grids(province_code: str) -> list[int]:
    """EPSG codes in which cadastral data of a present unit may lie, its own code's former province first.

    Raises NotFound for a code that no present unit has.
    """
    former = sorted(former_provinces(province_code), key=lambda province: province.code != province_code)
    return list(dict.fromkeys(province.epsg for province in former))
