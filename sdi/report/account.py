"""What a report tells; gathered from a check in memory or from the store, and the same for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sdi.contract.layer import Layer

Box = tuple[float, float, float, float]
Ring = Sequence[tuple[float, float]]

MOST_LISTED = 40
"""Findings of one rule that are listed one by one."""
MOST_PLACES = 5_000
"""Findings that become a mark on the map."""
MOST_OUTLINES = 4_000
"""Features that are drawn below them."""


@dataclass(frozen=True)
class RuleCount:
    """`action`: refuse, quarantine, warn, repair, waived."""

    rule: str
    severity: str
    action: str
    count: int


@dataclass(frozen=True)
class Listed:
    """One finding. `place`: longitude, latitude (WGS 84)."""

    rule: str
    severity: str
    action: str
    vi: str
    en: str
    feature: str | None = None
    row: int | None = None
    value: Any = None
    place: tuple[float, float] | None = None
    waived: str | None = None


@dataclass(frozen=True)
class Mark:
    """A finding's place on the map: longitude, latitude (WGS 84)."""

    lon: float
    lat: float
    severity: str


@dataclass(frozen=True)
class Outline:
    """A feature's shape in metres east and north of the grid, thinned; `held`: it is in quarantine."""

    rings: Sequence[Ring]
    kind: str
    """polygon, line, point."""
    held: bool = False


@dataclass(frozen=True)
class Waived:
    """A waiver as the report tells it."""

    rule: str
    feature: str
    reason: str
    steward: str
    given_at: datetime
    until: str | None
    state: str


@dataclass(frozen=True)
class Quality:
    """A data quality element of the layer after the load; counts are features, rate 0 to 1."""

    element: str
    evaluated: int
    faulty: int
    waived: int
    rate: float


@dataclass(frozen=True)
class Account:
    """One delivery to one layer. `status`: done, refused, checked (nothing was written)."""

    layer: Layer
    status: str
    moment: datetime
    steward: str
    delivery: dict[str, Any]
    """As in the ledger: file_name, sha256, size (bytes), driver, layer_in_file, encoding, crs_declared, crs_used, …"""
    grid: int
    """EPSG code of the layer's grid, in which places are told and the map is drawn."""
    read: int
    quarantined: int
    dropped: int
    contract_version: str
    load_id: int | None = None
    mode: str | None = None
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    kept: int = 0
    """Features whose old state stays, for the new one is in quarantine."""
    rules: list[RuleCount] = field(default_factory=list)
    findings: list[Listed] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    places: int = 0
    """Findings that have a place, drawn or not."""
    outlines: list[Outline] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    """Of the features that this load put in quarantine: how many are in which state by now."""
    waivers: list[Waived] = field(default_factory=list)
    quality: list[Quality] = field(default_factory=list)

    @property
    def good(self) -> int:
        """Features without a fault that keeps them out."""
        return self.read - self.quarantined - self.dropped

    @property
    def count(self) -> int:
        return sum(rule.count for rule in self.rules)
