"""Every check between the features of one delivery, tile by tile: none holds all geometry, none is quadratic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdi.contract.layer import Check
from sdi.ingest.cast import to_text
from sdi.ingest.checks.duplicates import find_duplicates
from sdi.ingest.checks.edges import GapCheck, MismatchCheck
from sdi.ingest.checks.neighbourhood import Neighbourhood
from sdi.ingest.checks.network import DangleCheck
from sdi.ingest.checks.overlaps import OverlapCheck
from sdi.ingest.checks.tiles import SIZE, Held, Tile, tiles
from sdi.ingest.findings import Findings
from sdi.ingest.place import Placement

THREADS = 2
"""Tiles that are looked at at once: GEOS and NumPy let go of the interpreter while they work."""

Groups = NDArray[np.int64]


class TileCheck(Protocol):
    """A check of what lies near each other. It looks at each tile by itself, and tells of all of them together, in an
    order that does not depend on how the plane was cut."""

    @property
    def reach(self) -> float:
        """Metres around a cell within which features count."""
        ...

    def look(self, held: Held) -> Any: ...
    def tell(self, seen: Sequence[Any], where: Placement, findings: Findings) -> None: ...


def check_between(
    neighbourhood: Neighbourhood, where: Placement, findings: Findings, *, size: int = SIZE, threads: int = THREADS
) -> None:
    """Run every check between features that the contract switches on, on what the neighbourhood calls usable; what a
    duplicate is put into quarantine for is not told a second time as an overlap. size: features of a tile."""
    for entry in neighbourhood.layer.checks:
        if entry.rule == "geometry.duplicate":
            find_duplicates(neighbourhood, entry, findings)
    checks = [CHECKS[entry.rule](neighbourhood, entry) for entry in neighbourhood.layer.checks if entry.rule in CHECKS]
    if not checks:
        return

    def look(tile: Tile) -> list[Any]:
        held = Held(tile, neighbourhood.shapes(tile.rows))
        return [check.look(held) for check in checks]

    usable = neighbourhood.usable & ~findings.quarantined
    cut = tiles(neighbourhood.boxes, usable, max(check.reach for check in checks), size)
    if not cut:
        return
    with ThreadPoolExecutor(max_workers=threads) as pool:
        seen = list(pool.map(look, cut))
    for number, check in enumerate(checks):
        check.tell([each[number] for each in seen], where, findings)
    if left_out := sum(tile.left_out for tile in cut):
        findings.add("coverage.uncompared", value=left_out)


def _overlap(neighbourhood: Neighbourhood, entry: Check) -> TileCheck:
    return OverlapCheck(entry, _within(neighbourhood, entry))


def _gap(neighbourhood: Neighbourhood, entry: Check) -> TileCheck:
    return GapCheck(entry, _within(neighbourhood, entry))


def _mismatch(neighbourhood: Neighbourhood, entry: Check) -> TileCheck:
    overlap = next((check for check in neighbourhood.layer.checks if check.rule == "coverage.overlap"), None)
    told = None if overlap is None else overlap.bound
    between = _numbers(neighbourhood, entry.parameters.get("between", []))
    return MismatchCheck(entry, _within(neighbourhood, entry), between, told)


def _dangle(neighbourhood: Neighbourhood, entry: Check) -> TileCheck:
    return DangleCheck(entry, _within(neighbourhood, entry))


CHECKS: Mapping[str, Callable[[Neighbourhood, Check], TileCheck]] = {
    "coverage.overlap": _overlap,
    "coverage.gap": _gap,
    "coverage.edge_mismatch": _mismatch,
    "network.dangle": _dangle,
}


def _within(neighbourhood: Neighbourhood, entry: Check) -> Groups | None:
    return _numbers(neighbourhood, entry.parameters.get("within", []))


def _numbers(neighbourhood: Neighbourhood, names: Sequence[str]) -> Groups | None:
    """By row, a number for each combination of values of the attributes; None where none is named."""
    if not names:
        return None
    numbers = np.zeros(neighbourhood.count, dtype=np.int64)
    for name in names:
        codes = pc.fill_null(to_text(neighbourhood.column(name)), "").dictionary_encode()
        numbers = numbers * (len(codes.dictionary) + 1) + np.asarray(codes.indices)
        _, numbers = np.unique(numbers, return_inverse=True)
    return numbers
