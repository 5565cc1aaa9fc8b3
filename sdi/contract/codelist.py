"""Code lists: versioned data with Vietnamese and English labels, one CSV each in `layers/code_lists/`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sdi.errors import Fault

COLUMNS = ("code", "label_vi", "label_en", "parent", "valid_from", "valid_to", "successor", "status", "source")
STATUSES = ("current", "superseded", "group", "overlay", "review")


@dataclass(frozen=True)
class Code:
    """One value. `valid_to` is exclusive. `status`: current; superseded (a certain successor is named); group (a total,
    not a value of a feature); overlay (a statistical area); review (old, without a certain successor: a person decides)."""

    code: str
    label_vi: str
    label_en: str
    parent: str | None
    valid_from: date | None
    valid_to: date | None
    successor: str | None
    status: str
    source: str

    def holds_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True)
class CodeList:
    id: str
    codes: tuple[Code, ...]

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
    """Read one CSV (UTF-8, header as COLUMNS, ISO dates); return the list and its faults."""
    faults: list[Fault] = []
    codes: list[Code] = []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            return CodeList(path.stem, ()), [Fault(str(path), 1, f"the header must be {','.join(COLUMNS)}")]
        for row in rows:
            try:
                codes.append(_code(row))
            except (ValueError, TypeError) as error:
                faults.append(Fault(str(path), rows.line_num, str(error)))
    known = {code.code for code in codes}
    for line, code in enumerate(codes, start=2):
        for role, other in (("parent", code.parent), ("successor", code.successor)):
            if other is not None and other not in known:
                faults.append(Fault(str(path), line, f"{role} '{other}' of code '{code.code}' is not in the list"))
    return CodeList(path.stem, tuple(codes)), faults


def _code(row: dict[str, str]) -> Code:
    def day(name: str) -> date | None:
        return date.fromisoformat(row[name]) if row[name] else None

    if not row["code"] or not row["label_vi"] or not row["label_en"]:
        raise ValueError("code, label_vi and label_en are required")
    if row["status"] not in STATUSES:
        raise ValueError(f"status '{row['status']}' is none of {', '.join(STATUSES)}")
    return Code(
        code=row["code"], label_vi=row["label_vi"], label_en=row["label_en"], parent=row["parent"] or None,
        valid_from=day("valid_from"), valid_to=day("valid_to"), successor=row["successor"] or None,
        status=row["status"], source=row["source"],
    )  # fmt: skip
