"""Code lists: versioned data with Vietnamese and English labels, one CSV each in `layers/code_lists/`."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sdi.contract.layer import Text
from sdi.errors import Fault, nearest

COLUMNS = ("code", "label_vi", "label_en", "parent", "valid_from", "valid_to", "successor", "status", "source")
OPTIONAL = ("colour",)
STATUSES = ("current", "superseded", "group", "overlay", "review")


@dataclass(frozen=True)
class Code:
    """One value. `valid_to` is exclusive. `colour`: how a map shows it, `#rrggbb`.

    `status`: current; superseded (a certain successor is named); group (a total, not a value of a feature); overlay (a
    statistical area); review (old, without a certain successor: a person decides).
    """

    code: str
    label_vi: str
    label_en: str
    parent: str | None
    valid_from: date | None
    valid_to: date | None
    successor: str | None
    status: str
    source: str
    colour: str | None = None

    def holds_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)

    def overlaps(self, other: Code) -> bool:
        """Whether there is a day on which both hold."""
        starts = [day for day in (self.valid_from, other.valid_from) if day is not None]
        ends = [day for day in (self.valid_to, other.valid_to) if day is not None]
        return not starts or not ends or max(starts) < min(ends)


@dataclass(frozen=True)
class CodeList:
    id: str
    codes: tuple[Code, ...]
    title: Text | None = None

    def values(self) -> list[str]:
        """All codes ever in the list, once each, in the file's order."""
        return list(dict.fromkeys(code.code for code in self.codes))

    def on(self, day: date) -> dict[str, Code]:
        """The codes in force on a day; a code stands once a day."""
        return {code.code: code for code in self.codes if code.holds_on(day)}

    def find(self, value: str, day: date) -> Code | None:
        """The entry in force on the day, else the newest entry with this code."""
        entries = [code for code in self.codes if code.code == value]
        return next((code for code in entries if code.holds_on(day)), entries[-1] if entries else None)


def read_code_list(path: Path) -> tuple[CodeList, list[Fault]]:
    """Read one CSV (UTF-8, header as COLUMNS and perhaps OPTIONAL, ISO dates); return the list and its faults."""
    name = f"{path.parent.name}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return CodeList(path.stem, ()), [Fault(name, 1, "is not UTF-8")]
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(rows.fieldnames or ()) not in (COLUMNS, COLUMNS + OPTIONAL):
        wanted = f"{','.join(COLUMNS)}[,{','.join(OPTIONAL)}]"
        return CodeList(path.stem, ()), [Fault(name, 1, f"the header must be {wanted}")]
    faults: list[Fault] = []
    lines: list[tuple[int, Code]] = []
    for row in rows:
        code, found = _code(row, len(rows.fieldnames or ()))
        faults += [Fault(name, rows.line_num, message) for message in found]
        lines += [(rows.line_num, code)] if code is not None else []
    faults += [Fault(name, line, message) for line, message in _faults(lines)]
    return CodeList(path.stem, tuple(code for _, code in lines)), faults


def _code(row: dict[str, str], width: int) -> tuple[Code | None, list[str]]:
    """One row's code and everything that is wrong with it; without a code no other row can name it."""
    if len(row) != width or None in row.values():
        return None, [f"the row must have {width} fields"]
    found = [f"'{name}' is required" for name in ("code", "label_vi", "label_en") if not row[name].strip()]
    if not unicodedata.is_normalized("NFC", "".join(row.values())):
        found.append("is not in Unicode NFC")
    if row["status"] not in STATUSES:
        found.append(f"status '{row['status']}' is none of {', '.join(STATUSES)}.{nearest(row['status'], STATUSES)}")
    if row.get("colour") and re.fullmatch(r"#[0-9a-fA-F]{6}", row["colour"]) is None:
        found.append(f"'{row['colour']}' is not a colour like '#1f8a70'")
    days: dict[str, date | None] = {}
    for name in ("valid_from", "valid_to"):
        try:
            days[name] = date.fromisoformat(row[name]) if row[name] else None
        except ValueError:
            days[name] = None
            found.append(f"{name} '{row[name]}' is not a day like 2024-08-01")
    if not row["code"]:
        return None, found
    code = Code(
        code=row["code"], label_vi=row["label_vi"], label_en=row["label_en"], parent=row["parent"] or None,
        valid_from=days["valid_from"], valid_to=days["valid_to"], successor=row["successor"] or None,
        status=row["status"], source=row["source"], colour=row.get("colour") or None,
    )  # fmt: skip
    return code, found


def _faults(lines: list[tuple[int, Code]]) -> Iterator[tuple[int, str]]:
    """What rows get wrong about each other."""
    known: dict[str, list[tuple[int, Code]]] = {}
    for line, code in lines:
        for before, other in known.get(code.code, []):
            if code.overlaps(other):
                yield line, f"code '{code.code}' holds on the same day as on line {before}"
        known.setdefault(code.code, []).append((line, code))
    for line, code in lines:
        for role, named in (("parent", code.parent), ("successor", code.successor)):
            if named is not None and named not in known:
                yield line, f"{role} '{named}' of code '{code.code}' is not in the list.{nearest(named, known)}"
        if code.valid_from is not None and code.valid_to is not None and code.valid_from >= code.valid_to:
            yield line, f"code '{code.code}' ends on {code.valid_to}, before it begins"
        if code.status == "superseded" and code.successor is None:
            yield line, f"code '{code.code}' is superseded but names no successor (or is its status 'review'?)"
        if code.status == "review" and code.successor is not None:
            yield line, f"code '{code.code}' has a successor, so its status is not 'review'"
        if code.parent is not None and _circular(code, known):
            yield line, f"code '{code.code}' is its own ancestor"


def _circular(code: Code, known: dict[str, list[tuple[int, Code]]]) -> bool:
    above, seen = code.parent, set[str]()
    while above is not None and above in known and above not in seen:
        if above == code.code:
            return True
        seen.add(above)
        above = known[above][-1][1].parent
    return False
