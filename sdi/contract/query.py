"""One question to one layer; every output (GeoJSON, HTML, CSV, export, dossier) is an answer to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Area:
    """A polygon in CRS84 that stands for a bbox given in any CRS; a ring of (lon, lat), edges densified if they bend."""

    ring: tuple[tuple[float, float], ...]
    rectangle: bool
    """The ring is an axis-parallel rectangle in CRS84."""


@dataclass(frozen=True)
class Interval:
    """A closed interval of time; None: open. start == end: an instant."""

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True)
class FeatureQuery:
    """All names are attribute names of the layer, already checked by who built the query."""

    layer: str
    attributes: tuple[str, ...]
    """What is answered, in this order; what the asker may not see is not among it."""
    ids: tuple[str, ...] | None = None
    area: Area | None = None
    interval: Interval | None = None
    equals: tuple[tuple[str, Any], ...] = ()
    filters: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    """CQL2-JSON expressions, all of which must hold; coordinates in CRS84."""
    sort: tuple[tuple[str, bool], ...] = ()
    """(attribute or `id`, descending)."""
    crs: int = 4326
    """EPSG code of the answered coordinates; 4326 stands for CRS84 unless `north_first`."""
    north_first: bool = False
    """Answer (north, east), as the CRS's authority orders its axes."""
    geometry: bool = True
    limit: int | None = 10
    offset: int = 0
