"""Every check between the features of one delivery, tile by tile: none holds all geometry, none is quadratic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Check, Layer
from sdi.ingest import mapped
from sdi.ingest.cast import to_text
from sdi.ingest.checks.anew import Anew, turned
from sdi.ingest.checks.duplicates import find_duplicates
from sdi.ingest.checks.edges import GapCheck, MismatchCheck
from sdi.ingest.checks.neighbourhood import InMemory, Neighbourhood, Rows, Widened
from sdi.ingest.checks.network import DangleCheck
from sdi.ingest.checks.overlaps import OverlapCheck
from sdi.ingest.checks.tiles import SIZE, Cell, Held, cut
from sdi.ingest.findings import Block, Findings, Mask
from sdi.ingest.place import Placement

THREADS = 2
"""Tiles that are looked at at once: GEOS and NumPy let go of the interpreter while they work."""

GROUPING = ("within", "between")
"""Parameters that name attributes."""

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
    neighbourhood: Neighbourhood,
    where: Placement,
    findings: Findings,
    *,
    anew: Anew | None = None,
    around: InMemory | None = None,
    size: int = SIZE,
    threads: int = THREADS,
) -> None:
    """Run every check between features that the contract switches on, on what the neighbourhood calls usable; what a
    duplicate is put into quarantine for is not told a second time as an overlap.

    anew: what changed since a check that counts; only that is looked at, and the rest told as it was. around: what the
    layer has beside the delivery. size: features of a tile.
    """
    if around is None and anew is None:
        _check(neighbourhood, where, findings, None, size, threads)
        return
    wide = neighbourhood if around is None else Widened(neighbourhood, around)
    told = Findings(neighbourhood.layer, wide.count)
    told.waived = findings.waived
    told.quarantined[: neighbourhood.count] = findings.quarantined
    _check(wide, where, told, anew, size, threads)
    names = [] if around is None else around.ids(np.arange(around.count))
    known: set[tuple[object, ...]] = set()
    for block in told.blocks():
        parts = [block] if block.rows is None else turned(block, neighbourhood.count, names)
        for part in parts:
            findings.enter(part if part.others.each is None else part.take(_first(part, known)))


def _first(block: Block, known: set[tuple[object, ...]]) -> Rows:
    """What is told of a feature and one outside the delivery, but once: a pair may have been told of either."""
    assert block.rows is not None
    chosen = []
    for position, row in enumerate(block.rows):
        place = None if block.places is None else tuple(block.places[position])
        key = (block.rule, block.limits.at(position), int(row), block.others.at(position), place)
        if key not in known:
            chosen.append(position)
        known.add(key)
    return np.array(chosen, dtype=np.intp)


def _check(
    neighbourhood: Neighbourhood, where: Placement, findings: Findings, anew: Anew | None, size: int, threads: int
) -> None:
    for entry in neighbourhood.layer.checks:
        if entry.rule == "geometry.duplicate":
            find_duplicates(neighbourhood, entry, findings)
    usable = neighbourhood.usable & ~findings.quarantined
    reach = reach_of(neighbourhood.layer)
    if reach is None:
        return
    if anew is not None:
        fresh = Findings(neighbourhood.layer, neighbourhood.count)
        _look(neighbourhood, where, fresh, usable & anew.near(neighbourhood.boxes, reach), size, threads)
        if anew.join(fresh, reach, where, findings):
            return
    _look(neighbourhood, where, findings, usable, size, threads)


def _look(
    neighbourhood: Neighbourhood, where: Placement, findings: Findings, usable: Mask, size: int, threads: int
) -> None:
    """Look at all tiles of what is usable, and tell of them."""
    checks = [CHECKS[entry.rule](neighbourhood, entry) for entry in neighbourhood.layer.checks if entry.rule in CHECKS]

    plane = cut(neighbourhood.boxes, usable, max(check.reach for check in checks), size)

    def look(cell: Cell) -> tuple[int, list[Any]] | None:
        tile = plane.tile(cell)
        if not len(tile.rows):
            return None
        held = Held(tile, neighbourhood.shapes(tile.rows))
        return tile.left_out, [check.look(held) for check in checks]

    with ThreadPoolExecutor(max_workers=threads) as pool:
        seen = [each for each in pool.map(look, plane.cells) if each is not None]
    if not seen:
        return
    for number, check in enumerate(checks):
        check.tell([told[number] for _, told in seen], where, findings)
    if left_out := sum(more for more, _ in seen):
        findings.add("coverage.uncompared", value=left_out)


@cache
def edition() -> str:
    """A name for these checks, another for each change of their code, of the rules or of GEOS: what was found by other
    checks is not carried over."""
    checks = [entry for entry in resources.files("sdi.ingest.checks").iterdir() if entry.name.endswith(".py")]
    files = [resources.files("sdi.contract") / "rules.yaml", *sorted(checks, key=lambda entry: entry.name)]
    made = sha256(shapely.geos_version_string.encode())
    for file in files:
        made.update(file.read_bytes())
    return made.hexdigest()[:16]


def grouping(layer: Layer) -> list[str]:
    """The attributes by which checks between features of a layer tell groups apart."""
    lists = [entry.parameters.get(key, []) for entry in layer.checks if entry.rule in CHECKS for key in GROUPING]
    return list(dict.fromkeys(name for names in lists for name in names))


def reach_of(layer: Layer) -> float | None:
    """Metres within which features of a layer count for each other; None: nothing is asked between them."""
    columns = {name: pa.array([], pa.string()) for name in grouping(layer)}
    nothing = InMemory(layer, np.empty(0, dtype=object), np.empty(0, dtype=bool), columns)
    checks = [CHECKS[entry.rule](nothing, entry) for entry in layer.checks if entry.rule in CHECKS]
    return max((check.reach for check in checks), default=None)


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


TELLING = (*CHECKS, "network.free_end")
"""Rules that these checks tell by."""


def _within(neighbourhood: Neighbourhood, entry: Check) -> Groups | None:
    return _numbers(neighbourhood, entry.parameters.get("within", []))


def _numbers(neighbourhood: Neighbourhood, names: Sequence[str]) -> Groups | None:
    """By row, a number for each combination of values of the attributes; None where none is named."""
    if not names:
        return None
    numbers, start = mapped.zeros(neighbourhood.count, np.int64), 0
    told: dict[tuple[str, ...], int] = {}
    for columns in neighbourhood.in_parts(names):
        codes = [pc.fill_null(to_text(values), "").dictionary_encode() for values in columns]
        kind = np.zeros(len(codes[0]), dtype=np.int64)
        for each in codes:
            kind = kind * (len(each.dictionary) + 1) + np.asarray(each.indices)
        _, first, kind = np.unique(kind, return_index=True, return_inverse=True)
        texts = zip(*(each.take(pa.array(first)).to_pylist() for each in codes), strict=True)
        found = np.array([told.setdefault(text, len(told)) for text in texts], dtype=np.int64)
        numbers[start : start + len(kind)] = found[kind]
        start += len(kind)
    return numbers
