"""Findings while a delivery is checked: marked by row, given feature ids and places at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdi.contract.layer import Action, Check, Layer, Severity
from sdi.contract.report import Finding
from sdi.contract.rules import RULES

Mask = NDArray[np.bool_]


@dataclass
class _Mark:
    rule: str
    severity: str
    action: str
    row: int | None
    attribute: str | None
    value: Any
    limit: Any
    other: Any
    other_row: int | None
    place: tuple[float, float] | None


class Findings:
    """What was found in a delivery of `count` features; rows are counted from 0 here and from 1 in a Finding."""

    def __init__(self, layer: Layer, count: int) -> None:
        self.layer = layer
        self.quarantined: Mask = np.zeros(count, dtype=bool)
        self.marks: list[_Mark] = []

    def check(self, rule: str, attribute: str | None = None) -> Check | None:
        """The contract's entry for a rule, the one for this attribute before the one for all."""
        named = [check for check in self.layer.checks if check.rule == rule]
        exact = [check for check in named if attribute is not None and check.parameters.get("attribute") == attribute]
        general = [check for check in named if "attribute" not in check.parameters or attribute is None]
        return next(iter(exact + general), None)

    def action(self, rule: str, attribute: str | None = None) -> str:
        found = self.check(rule, attribute)
        return (found.action if found else None) or RULES[rule].action

    def add(
        self,
        rule: str,
        rows: Iterable[int] | NDArray[Any] | None = None,
        *,
        attribute: str | None = None,
        values: Sequence[Any] | NDArray[Any] | None = None,
        value: Any = None,
        limits: Sequence[Any] | NDArray[Any] | None = None,
        limit: Any = None,
        others: Sequence[Any] | NDArray[Any] | None = None,
        other: Any = None,
        other_rows: Sequence[int] | NDArray[Any] | None = None,
        places: Sequence[tuple[float, float]] | NDArray[Any] | None = None,
        action: Action | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Mark rows (or the delivery, rows=None). `values`, `limits`, `others`, `places` are aligned with rows.

        `action` and `severity` are what the contract says elsewhere (e.g. geometry.on_invalid); an entry in the
        contract's `checks` goes before them, and the rule's own defaults come last.
        """
        entry = self.check(rule, attribute)
        act = (entry.action if entry else None) or action or RULES[rule].action
        grade = (entry.severity if entry else None) or severity or RULES[rule].severity
        indices = [None] if rows is None else [int(row) for row in rows]
        pick = _picker
        each_value, each_limit, each_other = pick(values, value), pick(limits, limit), pick(others, other)
        each_row, each_place = pick(other_rows, None), pick(places, None)
        for position, row in enumerate(indices):
            place = each_place(position)
            self.marks.append(_Mark(
                rule, grade, act, row, attribute, each_value(position), each_limit(position), each_other(position),
                each_row(position), None if place is None else (float(place[0]), float(place[1])),
            ))  # fmt: skip
        if act == "quarantine" and rows is not None:
            self.quarantined[np.array(indices, dtype=np.intp)] = True

    def finish(
        self, ids: Sequence[str | None], places: Callable[[NDArray[np.intp]], NDArray[np.float64]]
    ) -> list[Finding]:
        """The findings, the delivery's first, then by row. `places` gives (n, 2) lon, lat of rows, NaN: nowhere."""
        wanted = sorted({mark.row for mark in self.marks if mark.row is not None and mark.place is None})
        found = places(np.array(wanted, dtype=np.intp))
        place_of = {row: (float(lon), float(lat)) for row, (lon, lat) in zip(wanted, found, strict=True) if lon == lon}

        def name(row: int | None) -> str | None:
            return None if row is None else ids[row] or f"#{row + 1}"

        return [
            Finding(
                rule=mark.rule, severity=mark.severity, action=mark.action,
                feature=None if mark.row is None else ids[mark.row], row=None if mark.row is None else mark.row + 1,
                attribute=mark.attribute, value=plain(mark.value), limit=plain(mark.limit),
                other=plain(mark.other) if mark.other_row is None else name(int(mark.other_row)),
                place=mark.place or (None if mark.row is None else place_of.get(mark.row)),
            )
            for mark in sorted(self.marks, key=lambda mark: -1 if mark.row is None else mark.row)
        ]  # fmt: skip


def _picker(each: Sequence[Any] | NDArray[Any] | None, single: Any) -> Callable[[int], Any]:
    return (lambda _: single) if each is None else (lambda position: each[position])


def plain(value: Any) -> Any:
    """A value that JSON knows."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
