"""What a steward handed in, and how it was read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

Mode = Literal["full", "partial"]


@dataclass(frozen=True)
class Request:
    """What the steward says about a file; None: find out, and propose where it is not certain."""

    path: Path
    layer_in_file: str | None = None
    crs: str | None = None
    """`EPSG:9210`; overrides what the file declares."""
    swapped: bool = False
    """The file has x = north and y = east, as Vietnamese paper has them (`--swap-axes`)."""
    encoding: str | None = None
    """`UTF-8`, `CP1258`, `TCVN3`, `VNI`, …"""
    operation: int = 6960
    """EPSG operation by which the file's maker went from VN-2000 to WGS 84; only for files in WGS 84."""
    grid: int | None = None
    """EPSG code of the grid in which features of a WGS 84 file are stored; None: the deployment's grid."""
    mapping: dict[str, str] = field(default_factory=dict)
    """Source column -> attribute (`--map`)."""
    constants: dict[str, str] = field(default_factory=dict)
    """Attribute -> value for every feature (`--set`)."""
    area: str | None = None
    """Code of the administrative unit that the data should lie in."""
    day: date | None = None
    """The date of the data, for code lists; None: today."""
    steward: str = "unknown"
    mode: Mode | None = None
    """full: what the file lacks has ended; partial: it adds and changes only; None: as the contract says."""
    ended: tuple[str, ...] = ()
    """Ids of features that have ended, besides those that the file says so of (`--ended-ids`)."""
    allow_shrink: bool = False
    """A full delivery may end more features than the rule `delivery.shrinks` lets pass."""
    check_all: bool = False
    """Hold all features against each other anew, though only some have changed (`--check-all`)."""


@dataclass(frozen=True)
class Delivery:
    """A delivery as it was read; stands in the ledger beside the load it became."""

    file_name: str
    sha256: str
    size: int
    """Bytes."""
    driver: str
    layer_in_file: str
    feature_count: int
    encoding: str
    """How text was decoded, e.g. `UTF-8`, `TCVN3`."""
    crs_declared: str | None
    crs_used: str
    """`EPSG:5897`; what the coordinates were taken to be."""
    grid: int
    """EPSG code of the stored geometry."""
    operation: int | None
    """EPSG operation between the grid and WGS 84; None where both have one datum."""
    steward: str
    mode: Mode | None = None
    """How it was loaded, where the steward said so; None: as the contract says."""
    ended: tuple[str, ...] = ()
    """Ids of features that it says have ended."""
    allow_shrink: bool = False
    checks: str | None = None
    """Of a full delivery: by which edition of the checks all its features were held against each other."""
    scope: tuple[str, ...] = ()
    """Of such a one: the values of the layer's scope that it has."""
    checked_since: int | None = None
    """The load whose check was counted on where nothing has changed since; None: all was looked at."""
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"received_at": self.received_at.isoformat()}
