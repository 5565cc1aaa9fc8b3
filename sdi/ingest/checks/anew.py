"""Looking again at a layer that was looked at before: only around what changed, the rest stands as it was told.

A finding between features depends on what lies within its check's reach of its place, and on nothing else. So what has
its place in a window around something that changed is found anew, with enough around it to be found as before; what
has its place elsewhere is carried over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.ingest import mapped
from sdi.ingest.checks.neighbourhood import Boxes
from sdi.ingest.findings import Block, Cells, Findings, Mask
from sdi.ingest.place import Placement
from sdi.national import vn2000

ALIKE = ("rule", "severity", "action", "attribute", "limit")
SLACK = 1.0
"""Metres added to every reach: places are kept in degrees, and boundaries that meet lie some millimetres apart."""


@dataclass(frozen=True)
class Anew:
    """What changed since the check of a load, and what that found."""

    load_id: int
    changed: Boxes
    """(n, 4) metres of the grid: every feature that changed, came or went, as it is and as it was."""
    found: pa.Table
    """As `standing.Checked.found`, with `feature_row` and `other_row`: rows of the delivery, -1: not in it."""

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(shapely.box(*self.changed.T))

    def near(self, boxes: Boxes, reach: float) -> Mask:
        """Which boxes must be at hand so that whatever lies in a window is found as in a whole check."""
        return self._meets(boxes, 3 * (reach + SLACK))

    def touched(self, places: NDArray[np.float64], where: Placement, reach: float) -> Mask:
        """Which places, (n, 2) longitude and latitude, lie in a window."""
        spots = vn2000.from_wgs84(places, where.grid)
        return self._meets(np.column_stack([spots, spots]), reach + SLACK)

    def _meets(self, boxes: Boxes, margin: float) -> Mask:
        meets: Mask = mapped.zeros(len(boxes), np.bool_)
        for part in mapped.blocks(len(boxes) if len(self.changed) else 0):
            some = part.start + np.flatnonzero(np.isfinite(boxes[part]).all(axis=1))
            grown = boxes[some] + margin * np.array([-1, -1, 1, 1])
            meets[some[np.unique(self._tree.query(shapely.box(*grown.T))[0])]] = True
        return meets

    def join(self, fresh: Findings, reach: float, where: Placement, findings: Findings) -> bool:
        """Tell what was found in the windows, and again what had been found elsewhere. False, and nothing told, where a
        crowd was found: what is told of it depends on what else lies there."""
        if any(block.rows is None or block.places is None for block in fresh.blocks()):
            return False
        for block in fresh.blocks():
            assert block.places is not None
            findings.enter(block.take(np.flatnonzero(self.touched(block.places, where, reach))))
        places = np.column_stack([self.found[name] for name in ("longitude", "latitude")]).astype(np.float64)
        elsewhere = self.found.filter(pa.array(~self.touched(places, where, reach)))
        alike: dict[tuple[object, ...], list[dict[str, Any]]] = {}
        for told in elsewhere.to_pylist():
            kind = (*(told[name] for name in ALIKE), told["other_row"] < 0, told["value"] is None)
            alike.setdefault(kind, []).append(told)
        for group in alike.values():
            findings.enter(_block(group, findings))
        return True


def _block(told: list[dict[str, Any]], findings: Findings) -> Block:
    """Findings that are alike in `ALIKE`. What was waived is judged again."""
    first = told[0]
    alone, limit = first["other_row"] < 0, first["limit"]
    values = None if first["value"] is None else np.array([json.loads(each["value"]) for each in told])
    return Block(
        first["rule"], first["severity"],
        findings.action(first["rule"]) if first["action"] == "waived" else first["action"], first["attribute"],
        np.array([each["feature_row"] for each in told], dtype=np.intp),
        Cells.of(values, None),
        Cells.of(None, None if limit is None else json.loads(limit)),
        Cells.of([each["other"] for each in told] if alone and first["other"] is not None else None, None),
        None if alone else np.array([each["other_row"] for each in told], dtype=np.intp),
        np.array([[each["longitude"], each["latitude"]] for each in told], dtype=np.float64).reshape(-1, 2),
    )  # fmt: skip


def turned(block: Block, count: int, names: list[str | None]) -> list[Block]:
    """A block in which rows from `count` on are features that the layer has already, `names` their ids: what lies
    between two of these is left out, and the others are told of the feature that is delivered."""
    assert block.rows is not None
    if block.other_rows is None:
        return [block.take(np.flatnonzero(block.rows < count))]
    one, two = block.rows, block.other_rows
    inner = block.take(np.flatnonzero((one < count) & (two < count)))
    outer = block.take(np.flatnonzero((one < count) != (two < count)))
    assert outer.rows is not None
    assert outer.other_rows is not None
    mine, theirs = np.minimum(outer.rows, outer.other_rows), np.maximum(outer.rows, outer.other_rows)
    others = Cells.of([names[row - count] for row in theirs], None)
    return [inner, replace(outer, rows=mine, others=others, other_rows=None)]
