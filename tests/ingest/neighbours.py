"""Small coverages and networks in memory, and what the checks between features say of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from sdi.contract.layer import Check
from sdi.contract.report import Finding
from sdi.ingest.checks import between
from sdi.ingest.checks.neighbourhood import InMemory
from sdi.ingest.checks.shape import check_shapes
from sdi.ingest.findings import Findings
from sdi.ingest.place import Placement
from sdi.ingest.validity import vertices_of
from sdi.national import vn2000
from tests.ingest.plots import contract

WHERE = Placement("EPSG:5897", 5897, 5897, 6960)
EAST, NORTH = 580_000.0, 2_320_000.0
"""Metres: where the small pictures stand, so that coordinates are as long as real ones."""

LAYER = """
identifier: {template: "{number}"}
geometry: {type: MultiPolygon, repair_tolerance: 5.0}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: integer}
  - {name: sheet, title: {vi: Tờ, en: Sheet}, type: text}
"""


def polygon(*corners: tuple[float, float], holes: Sequence[Sequence[tuple[float, float]]] = ()) -> Any:
    def moved(ring: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x + EAST, y + NORTH) for x, y in ring]

    return shapely.Polygon(moved(corners), [moved(hole) for hole in holes])


def block(west: float, south: float, east: float, north: float) -> Any:
    return polygon((west, south), (east, south), (east, north), (west, north))


def line(*points: tuple[float, float]) -> Any:
    return shapely.LineString([(x + EAST, y + NORTH) for x, y in points])


def layer_with(*checks: dict[str, Any]) -> Any:
    return contract(LAYER).model_copy(update={"checks": [Check.model_validate(check) for check in checks]})


def said(findings: Findings) -> list[Finding]:
    """Every finding; features are called by their row from 0."""
    return list(findings.finish(lambda rows: [str(row) for row in rows], lambda rows: np.full((len(rows), 2), np.nan)))


def among(
    shapes: Sequence[Any], *checks: dict[str, Any], sheets: Sequence[str] | None = None, size: int = 50_000,
    threads: int = 2,
) -> list[Finding]:  # fmt: skip
    """What the checks say of features together."""
    master = np.array([*shapes, None], dtype=object)[:-1]
    layer = layer_with(*checks)
    findings = Findings(layer, len(master))
    columns = {} if sheets is None else {"sheet": pa.array(sheets)}
    usable = ~shapely.is_missing(master)
    between.check_between(InMemory(layer, master, usable, columns), WHERE, findings, size=size, threads=threads)
    return said(findings)


def alone(shape: Any, check: dict[str, Any], raw: Any = None) -> tuple[list[Finding], Any]:
    """What a check says of one feature by itself, and what became of it."""
    layer = layer_with(check)
    findings = Findings(layer, 1)
    master = np.array([shape, None], dtype=object)[:1]
    given = np.array([shape if raw is None else raw, None], dtype=object)[:1]
    check_shapes(layer, given, master, WHERE, findings, vertices_of(master))
    return said(findings), master[0]


def grid_place(finding: Finding) -> tuple[float, float]:
    """Where a finding stands, in the small pictures' metres."""
    assert finding.place is not None
    x, y = vn2000.from_wgs84(np.array([finding.place]), 5897, 6960)[0]
    return round(float(x - EAST), 2), round(float(y - NORTH), 2)
