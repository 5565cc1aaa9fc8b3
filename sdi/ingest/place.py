"""Where a delivery lies: the grid its coordinates are in, the grid it is kept in, and the way to WGS 84."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdi.contract.delivery import Request
from sdi.contract.rules import RULES
from sdi.errors import SourceError
from sdi.ingest import crs
from sdi.ingest.findings import Findings
from sdi.ingest.source import Facts
from sdi.national import vn2000

Coordinates = NDArray[np.float64]
Box = tuple[float, float, float, float]

PROPOSED = 4
"""How many proposals a person is shown."""
STRAY = 0.2
"""Share of features that may lie outside the expected place; each goes into quarantine as a single error. A wrong grid
moves all of them, by 27 km and more, so a higher share refuses the delivery."""
STRIPS = {"tm3": 1.5, "utm": 3.0}
"""Kind of grid -> degrees of longitude that its zone reaches to either side of the meridian."""
DEGREE = 111_200.0
"""Metres of a degree of a great circle, to half a percent."""
BY_CONVENTION = frozenset({"TopoJSON", "GeoJSON", "GeoJSONSeq", "KML", "LIBKML", "GPX"})
"""Formats whose coordinates are longitude and latitude when they say nothing (RFC 7946, OGC KML)."""


@dataclass(frozen=True)
class Placement:
    """`used`: EPSG code of the coordinates in the file; `grid`: of the master geometry. `operation`: the EPSG operation
    between the file's coordinates and WGS 84 where that was a choice, see Delivery.operation."""

    declared: str | None
    used: int
    grid: int
    operation: int | None

    @property
    def kept(self) -> bool:
        """The master keeps the file's coordinates bit for bit."""
        return self.used == self.grid

    def to_master(self, xy: Coordinates) -> Coordinates:
        """(n, 2) of the file to (n, 2) E, N of the grid."""
        if self.kept:
            return xy
        if vn2000.grid(self.used).datum == vn2000.grid(self.grid).datum and self.used != vn2000.MERCATOR:
            return vn2000.regrid(xy, self.used, self.grid)
        lonlat = xy if self.used == 4326 else vn2000.to_wgs84(xy, self.used)
        return vn2000.from_wgs84(lonlat, self.grid, self.operation)

    def to_wgs84(self, master: Coordinates) -> Coordinates:
        """(n, 2) of the grid to longitude, latitude, always by the official operation."""
        return vn2000.to_wgs84(master, self.grid)


def certain(facts: Facts, request: Request) -> bool:
    """Whether what the steward or the file says tells the grid, whatever the coordinates are."""
    return request.crs is not None or crs.recognise(facts.crs) not in (None, 4326, 4756)


def decide(
    facts: Facts, request: Request, grid: int, extent: Box | None, bounds: Box | None, hint: int | None
) -> Placement:
    """Decide what the coordinates are. `grid`: the deployment's; `bounds`: of the file's coordinates; `hint`: the EPSG
    code that the names of coordinate columns tell. Raises SourceError with proposals where nothing certain says it, and
    UsageError for a CRS that is refused."""
    declared = crs.recognise(facts.crs)
    used = crs.parse(request.crs) if request.crs is not None else declared or hint
    degrees = bounds is not None and np.abs(bounds).max() <= 360
    if request.crs is None and used is not None and used in (4326, 4756) and bounds is not None and not degrees:
        used = None  # GDAL says WGS 84 of every GeoJSON without `crs`; metres are no degrees
    if used is None and facts.crs is None and degrees and facts.driver in BY_CONVENTION:
        used = 4326
    if used is None and bounds is None:
        nowhere = request.grid or grid
        return Placement(crs.title(facts.crs), nowhere, nowhere, vn2000.grid(nowhere).operation)
    if used is None:
        raise _unknown(facts, grid, extent, bounds, declared)
    known, target = vn2000.grid(used), vn2000.grid(request.grid or grid)
    keeps = not known.geographic and used != vn2000.MERCATOR and (known.datum != "WGS 84" or target.datum == "WGS 84")
    kept = used if keeps else target.epsg
    crs.require_operation(request.operation, facts.file_name, used, kept)
    operation = request.operation if crs.crosses(used, kept) else vn2000.grid(kept).operation
    return Placement(crs.title(facts.crs), used, kept, operation)


def _unknown(facts: Facts, grid: int, extent: Box | None, bounds: Box | None, declared: int | None) -> SourceError:
    said = crs.title(facts.crs)
    if said is None or declared in (4326, 4756):
        what = f"{facts.file_name} does not say in which CRS its coordinates are."
    else:
        what = f"{facts.file_name} declares {said}, which is no registered grid."
    hint = "Say it with --crs EPSG:…, or hand in a file with its .prj."
    if bounds is not None:
        hint = f"{propose(bounds, extent or vn2000.grid(grid).area, None, (grid,))} {hint}".strip()
    return SourceError(what, hint=hint)


def propose(bounds: Box, extent: Box, declared: int | None, likely: tuple[int, ...]) -> str:
    """One sentence on the grids that put the coordinates into the extent; empty when none does. Nothing is applied."""
    found = vn2000.propose_grids(bounds, extent, declared, likely)[:PROPOSED]
    return f"The coordinates fit {'; '.join(map(_proposal, found))}." if found else ""


def _proposal(found: vn2000.Proposal) -> str:
    swapped = ", X and Y exchanged (--swap-axes)" if found.swapped else ""
    offset = "" if found.offset_m is None else f", {_distance(found.offset_m)} from where the declared CRS puts them"
    return (
        f"EPSG:{found.epsg} {vn2000.GRIDS[found.epsg].name}{swapped} ({found.inside:.0%} inside the expected extent,"
        f" {_distance(found.distance_m)} from its middle{offset})"
    )


def _distance(metres: float) -> str:
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:.0f} km"


def check_extent(
    lonlat: Coordinates, place: Placement, extent: Box | None, bounds: Box, findings: Findings, *, inside: int = 0
) -> bool:
    """Find features outside the expected extent (else the grid's area of use); many of them refuse the delivery.

    lonlat: (n, 2), one place a feature, NaN where it has none. inside: features that are NaN there and are known to lie
    in the extent. Returns whether the place can be believed.
    """
    box = extent or vn2000.grid(place.grid).area
    there = ~np.isnan(lonlat[:, 0])
    outside = there & ~_inside(lonlat, box)
    count = int(outside.sum())
    if not count:
        return True
    if count <= STRAY * (int(there.sum()) + inside):
        if findings.layer.frame is not None:  # a city's units may lie far out at sea: Hoàng Sa is Đà Nẵng's, 20333
            outside &= ~_inside(lonlat, vn2000.COUNTRY)
        findings.add("place.outside", np.flatnonzero(outside), value=1, limit=f"EPSG:{place.grid}", action="quarantine")
        return True
    findings.add("place.outside", value=count, limit=f"EPSG:{place.grid}")
    for found in vn2000.propose_grids(bounds, box, place.used, (place.grid,))[:PROPOSED]:
        exchanged = " (--swap-axes)" if found.swapped else ""
        findings.add("place.proposal", value=f"EPSG:{found.epsg} {vn2000.GRIDS[found.epsg].name}{exchanged}",
                     limit=f"{found.inside:.0%}", other=_distance(found.distance_m))  # fmt: skip
    return False


def _inside(lonlat: Coordinates, box: Box) -> NDArray[np.bool_]:
    west, south, east, north = box
    lon, lat = lonlat.T
    inside: NDArray[np.bool_] = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    return inside


def check_zone(lonlat: Coordinates, place: Placement, findings: Findings) -> None:
    """Find features beyond the zone of the grid they are kept in: beyond the strip of its projection (1.5° either side
    of the meridian for TM-3, 3° for UTM) and beyond the area that EPSG names for it, by more than the tolerance.

    lonlat: (n, 2), one place a feature, NaN where it has none. Lengths grow with the distance from the meridian: in the
    middle of the country by 0.2 mm a metre at the edge of a TM-3 zone, by 1.2 mm at twice that.
    """
    entry = findings.check("place.zone")
    if entry is None:
        return
    known = vn2000.grid(place.grid)
    west, south, east, north = known.area
    if known.meridian is not None and known.kind in STRIPS:
        half = STRIPS[known.kind]
        west, east = min(west, known.meridian - half), max(east, known.meridian + half)
        south, north = vn2000.grid(4756).area[1::2] if known.datum == "VN-2000" else (south, north)
    lon, lat = np.where(np.isfinite(lonlat), lonlat, np.nan).T
    across = np.fmax(np.fmax(west - lon, lon - east), 0.0) * np.cos(np.radians(lat))
    along = np.fmax(np.fmax(south - lat, lat - north), 0.0)
    metres = np.hypot(across, along) * DEGREE
    limit = RULES["place.zone"].tolerance if entry.tolerance is None else entry.tolerance
    rows = np.flatnonzero(np.isfinite(lon) & (metres > (limit or 0.0)))
    title = f"EPSG:{known.epsg} {known.name}"
    findings.add("place.zone", rows, values=np.round(metres[rows]), limit=title, entry=entry)
