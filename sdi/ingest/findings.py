"""Findings while a delivery is checked: marked by row in columns, given feature ids and places at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload, override

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdi.contract.layer import Action, Check, Layer, Severity
from sdi.contract.naming import Naming
from sdi.contract.report import Finding, Found
from sdi.contract.rules import RULES
from sdi.ingest import mapped

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Ids = Callable[[Rows], Sequence[str | None]]
Places = Callable[[Rows], NDArray[np.float64]]
"""(n, 2) longitude and latitude of rows, NaN: nowhere."""


_RANK = {rule: rank for rank, rule in enumerate(RULES)}


@dataclass(frozen=True)
class Cells:
    """What one entry of each finding of a block is: the same for all, or one each."""

    single: Any = None
    each: NDArray[Any] | pa.Array | list[Any] | None = None

    @classmethod
    def of(cls, each: Sequence[Any] | NDArray[Any] | None, single: Any) -> Cells:
        if each is None:
            return cls(single)
        if isinstance(each, np.ndarray) and each.dtype != object:
            return cls(None, each.copy())
        values = list(each)
        if all(value is None or isinstance(value, str) for value in values):
            return cls(None, pa.array(values, pa.large_string()))
        return cls(None, values)

    def at(self, position: int) -> Any:
        if self.each is None:
            return plain(self.single)
        value = self.each[position]
        return value.as_py() if isinstance(value, pa.Scalar) else plain(value)

    def take(self, chosen: Rows) -> Cells:
        if self.each is None:
            return self
        if isinstance(self.each, list):
            return Cells(None, [self.each[position] for position in chosen])
        return Cells(None, self.each.take(pa.array(chosen) if isinstance(self.each, pa.Array) else chosen))


@dataclass(frozen=True)
class Block:
    """Findings of one rule that were made together. `rows` None: one finding on the delivery."""

    rule: str
    severity: str
    action: str
    attribute: str | None
    rows: Rows | None
    values: Cells
    limits: Cells
    others: Cells
    other_rows: Rows | None = None
    places: NDArray[np.float64] | None = None
    waived: NDArray[np.object_] | None = None
    """The reasons of those that are waived."""

    def __len__(self) -> int:
        return 1 if self.rows is None else len(self.rows)

    def take(self, chosen: Rows) -> Block:
        assert self.rows is not None
        return replace(
            self, rows=self.rows[chosen], values=self.values.take(chosen), limits=self.limits.take(chosen),
            others=self.others.take(chosen), other_rows=None if self.other_rows is None else self.other_rows[chosen],
            places=None if self.places is None else self.places[chosen],
        )  # fmt: skip

    def moved(self, start: int) -> Block:
        rows = None if self.rows is None else self.rows + start
        return replace(self, rows=rows, other_rows=None if self.other_rows is None else self.other_rows + start)


class Findings:
    """What was found in a delivery of `count` features, or in a part of one; rows are counted from 0 here and from 1 in
    a Finding. `waived`: rule -> row -> why a steward lets it pass."""

    def __init__(self, layer: Layer, count: int) -> None:
        self.layer = layer
        self.count = count
        self.quarantined: Mask = mapped.zeros(count, np.bool_)
        self.waived: Mapping[str, Mapping[int, str]] = {}
        self._blocks: list[Block] = []
        self._tallies: Counter[tuple[str, str | None, Any]] = Counter()
        self._throughout: dict[tuple[str, str | None, str], list[range | Rows]] = {}

    def check(self, rule: str, attribute: str | None = None) -> Check | None:
        """The contract's entry for a rule, the one for this attribute before the one for all."""
        named = [check for check in self.layer.checks if check.rule == rule]
        exact = [check for check in named if attribute is not None and check.parameters.get("attribute") == attribute]
        general = [check for check in named if "attribute" not in check.parameters or attribute is None]
        return next(iter(exact + general), None)

    @property
    def refused(self) -> bool:
        return any(block.action == "refuse" for block in self._blocks)

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
        entry: Check | None = None,
    ) -> None:
        """Mark rows (or the delivery, rows=None). `values`, `limits`, `others`, `places` are aligned with rows.

        `action` and `severity` are what the contract says elsewhere (e.g. geometry.on_invalid); an entry in the
        contract's `checks` goes before them, and the rule's own defaults come last. `entry`: the one that was checked,
        where the contract may have several of a rule.
        """
        entry = entry or self.check(rule, attribute)
        act = (entry.action if entry else None) or action or RULES[rule].action
        grade = (entry.severity if entry else None) or severity or RULES[rule].severity
        marked = None if rows is None else np.array(rows if isinstance(rows, np.ndarray) else list(rows), dtype=np.intp)
        if marked is not None and not len(marked):
            return
        if marked is None and act == "quarantine":
            act = "refuse"  # there is no feature to keep back: all of them are at fault
        self.enter(Block(
            rule, grade, act, attribute, marked, Cells.of(values, value), Cells.of(limits, limit),
            Cells.of(others, other), None if other_rows is None else np.array(other_rows, dtype=np.intp),
            None if places is None else np.array(places, dtype=np.float64).reshape(-1, 2),
        ))  # fmt: skip

    def tally(self, rule: str, count: int, *, attribute: str | None = None, limit: Any = None) -> None:
        """Count something up over the parts of a delivery; the sum is one finding on all of it."""
        if count:
            self._tallies[rule, attribute, limit] += int(count)

    def throughout(self, rule: str, attribute: str, action: Action) -> None:
        """Every feature of this part has it. Where all of the delivery has, that is said once, with `action`; else it
        is each feature's own finding, with the contract's."""
        self._throughout.setdefault((rule, attribute, action), []).append(range(self.count))

    def merge(self, part: Findings, start: int, without: Mask | None = None) -> None:
        """Take over what was found in a part whose first feature is row `start` here. `without`: rows of here whose
        findings are left out."""
        told = {_told(block) for block in self._blocks if block.rows is None}
        for block in part._blocks:
            moved = block.moved(start)
            if moved.rows is None:
                if _told(moved) not in told:
                    told.add(_told(moved))
                    self.enter(moved)
                continue
            kept = moved if without is None else moved.take(np.flatnonzero(~without[moved.rows]))
            self.enter(kept)
        self._tallies.update(part._tallies)
        for key, parts in part._throughout.items():
            self._throughout.setdefault(key, []).extend(_moved(rows, start, without) for rows in parts)

    def touched(self) -> Mask:
        """The rows in which something was found; all, where something was found in this part as a whole."""
        if self._tallies or self._throughout or any(block.rows is None for block in self._blocks):
            return np.ones(self.count, dtype=bool)
        mask = self.quarantined.copy()
        for block in self._blocks:
            mask[block.rows] = True
            if block.other_rows is not None:
                mask[block.other_rows] = True
        return mask

    def spread(self, rows: Rows, count: int) -> Findings:
        """The same, found in a part of `count` features of which only these rows were looked at."""
        wide = Findings(self.layer, count)
        wide.quarantined[rows] = self.quarantined
        wide._tallies.update(self._tallies)
        wide._throughout = {key: [rows[np.asarray(each)] for each in parts] for key, parts in self._throughout.items()}
        for block in self._blocks:
            moved = None if block.rows is None else rows[block.rows]
            others = None if block.other_rows is None else rows[block.other_rows]
            wide._blocks.append(replace(block, rows=moved, other_rows=others))
        return wide

    def settle(self) -> None:
        """Say what could be said only when all parts are there; decides who is in quarantine."""
        for (rule, attribute, limit), count in self._tallies.items():
            self.add(rule, attribute=attribute, value=count, limit=limit)
        for (rule, attribute, action), parts in self._throughout.items():
            whole = sum(map(len, parts)) == self.count
            if rule == "identifier.missing":  # each row is marked already, with what it lacks
                if whole:
                    self.add(rule, attribute=attribute, limit=self._withdraw(rule), action=action)  # type: ignore[arg-type]
            elif whole:
                self.add(rule, attribute=attribute, action=action)  # type: ignore[arg-type]
            else:
                self.add(rule, np.concatenate([np.asarray(rows, dtype=np.intp) for rows in parts]), attribute=attribute)
        self._tallies.clear()
        self._throughout.clear()

    def _withdraw(self, rule: str) -> str:
        """Take back a rule's findings on rows, which stay as marked as they are; returns the names in their limits."""
        taken = [block for block in self._blocks if block.rule == rule]
        self._blocks = [block for block in self._blocks if block.rule != rule]
        told = {block.limits.at(position) for block in taken for position in range(len(block))}
        return ", ".join(dict.fromkeys(name for limit in sorted(told) for name in limit.split(", ")))

    def enter(self, block: Block) -> None:
        """Keep a block; what a waiver covers apart from what none does."""
        if not len(block):
            return
        reasons = {} if block.rows is None or not RULES[block.rule].waivable else self.waived.get(block.rule, {})
        if reasons:
            assert block.rows is not None
            passed = np.isin(block.rows, np.fromiter(reasons, dtype=np.intp))
            waived = block.take(np.flatnonzero(passed))
            assert waived.rows is not None
            why = np.array([reasons[int(row)] for row in waived.rows], dtype=object)
            if len(waived):
                self._blocks.append(replace(waived, action="waived", waived=why))
            block = block.take(np.flatnonzero(~passed))
            if not len(block):
                return
        self._blocks.append(block)
        if block.action == "quarantine" and block.rows is not None:
            self.quarantined[block.rows] = True

    def blocks(self) -> Sequence[Block]:
        """What was found so far, apart from what is only said once all parts are there."""
        return tuple(self._blocks)

    def marked(self, rule: str) -> Mask:
        """The rows that have a finding of a rule."""
        rows = [block.rows for block in self._blocks if block.rule == rule and block.rows is not None]
        mask: Mask = np.zeros(self.count, dtype=bool)
        mask[np.concatenate([np.empty(0, dtype=np.intp), *rows])] = True
        return mask

    def finish(self, ids: Ids, places: Places, naming: Naming | None = None) -> Marked:
        """The findings, the delivery's first, then by row. `ids` and `places` are asked for the rows in them."""
        self.settle()
        return Marked(self._blocks, ids, places, naming or Naming(self.layer))


def _moved(rows: range | Rows, start: int, without: Mask | None) -> range | Rows:
    """Rows of a part as those of the whole, but for some."""
    if isinstance(rows, range):
        rows = range(start + rows.start, start + rows.stop)
        if without is None or not without[rows.start : rows.stop].any():
            return rows
        return rows.start + np.flatnonzero(~without[rows.start : rows.stop])
    moved = rows + start
    return moved if without is None else moved[~without[moved]]


def _told(block: Block) -> tuple[str, ...]:
    """What a finding on the whole delivery says; two that say the same are one."""
    said = (block.values.single, block.limits.single, block.others.single)
    return tuple(map(repr, (block.rule, block.attribute, *said)))


class Marked(Found):
    """Findings kept as columns: a Finding is made when it is asked for. One takes 12 bytes and its own values."""

    def __init__(self, blocks: Sequence[Block], ids: Ids, places: Places, naming: Naming) -> None:
        super().__init__()
        self._naming = naming
        self._blocks = list(blocks)
        rows = [np.array([-1]) if block.rows is None else block.rows for block in self._blocks]
        where = np.concatenate([np.empty(0, dtype=np.intp), *rows])
        # Of one row in the order of the rules, then of the attributes: not in that of the parts they were found in.
        ranks = [(_RANK[block.rule], block.attribute or "") for block in self._blocks]
        place_of = {each: number for number, each in enumerate(sorted(set(ranks)))}
        rank = np.repeat([place_of[each] for each in ranks], [len(each) for each in rows])
        order = np.lexsort((rank, where)) if len(where) else where
        self._rows = where[order].astype(np.int32)
        starts = np.cumsum([0, *map(len, self._blocks)])
        self._block = (np.searchsorted(starts, order, side="right") - 1).astype(np.int32)
        self._position = (order - starts[self._block]).astype(np.int32)
        others = [block.other_rows for block in self._blocks if block.other_rows is not None]
        named = np.unique(np.concatenate([where[where >= 0], *others])).astype(np.intp)
        self._named = named
        self._ids = pa.array(ids(named) if len(named) else [], pa.large_string())
        placed = [block.rows for block in self._blocks if block.rows is not None and block.places is None]
        self._placed = np.unique(np.concatenate([np.empty(0, dtype=np.intp), *placed]))
        self._places = places(self._placed) if len(self._placed) else np.empty((0, 2))

    def __len__(self) -> int:
        return len(self._rows) + super().__len__()

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> list[Finding]: ...
    @override
    def __getitem__(self, index: int | slice) -> Finding | list[Finding]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        before = super().__len__()
        return self._listed[index] if index < before else self._finding(index - before)

    def insert(self, index: int, finding: Finding) -> None:
        if index > len(self._listed):
            raise IndexError("what is put in comes before what was found")
        super().insert(index, finding)

    def of_row(self, row: int) -> Iterator[Finding]:
        """Those of one row, counted from 0."""
        first, last = np.searchsorted(self._rows, [row, row + 1])
        return (self._finding(int(index)) for index in range(first, last))

    @property
    @override
    def refused(self) -> bool:
        return any(block.action == "refuse" for block in self._blocks) or any(
            f.action == "refuse" for f in self._listed
        )

    @override
    def by_action(self) -> Counter[tuple[str, str]]:
        counts = Counter((finding.rule, finding.action) for finding in self._listed)
        for block in self._blocks:
            counts[block.rule, block.action] += len(block)
        return counts

    @override
    def of(self, rule: str, most: int | None = None) -> list[Finding]:
        blocks = [number for number, block in enumerate(self._blocks) if block.rule == rule]
        chosen = np.flatnonzero(np.isin(self._block, blocks))[:most]
        listed = [finding for finding in self._listed if finding.rule == rule]
        return [*listed, *(self._finding(int(index)) for index in chosen)][:most]

    def _finding(self, index: int) -> Finding:
        block, position = self._blocks[self._block[index]], int(self._position[index])
        row = int(self._rows[index])
        other = block.others.at(position)
        if block.other_rows is not None:
            other = self._name(int(block.other_rows[position]))
        return Finding(
            rule=block.rule, severity=block.severity, action=block.action,
            feature=None if row < 0 else self._id(row), row=None if row < 0 else row + 1, attribute=block.attribute,
            value=block.values.at(position), limit=block.limits.at(position), other=other,
            place=self._place(block, position, row),
            waived=None if block.waived is None else str(block.waived[position]), naming=self._naming,
        )  # fmt: skip

    def _id(self, row: int) -> str | None:
        found: str | None = self._ids[int(np.searchsorted(self._named, row))].as_py()
        return found

    def _name(self, row: int) -> str:
        return self._id(row) or f"#{row + 1}"

    def _place(self, block: Block, position: int, row: int) -> tuple[float, float] | None:
        if block.places is not None:
            lon, lat = block.places[position].tolist()
        elif row < 0:
            return None
        else:
            lon, lat = self._places[np.searchsorted(self._placed, row)].tolist()
        return (lon, lat) if math.isfinite(lon) and math.isfinite(lat) else None


def plain(value: Any) -> Any:
    """A value that JSON knows."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # a bow-tie has no area of which a repair could change a share
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
