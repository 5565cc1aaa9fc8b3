"""Grids of Viet Nam and the one way between VN-2000 and WGS 84.

PROJ's default operation is never used: inside the Mekong box (9.35–11.04 N, 104.24–107.11 E: TP.HCM, Cần Thơ) it takes
EPSG:5194, which lies 0.69–0.81 m off the seven parameters of QĐ 05/2007/QĐ-BTNMT (EPSG:6960). Every pipeline here is
written out, so no database of operations and no network is asked.

Axis order is always x = E or longitude, y = N or latitude. The paper convention is the other one: X = north, Y = east.
VN-2000 to WGS 84 is known to about 1 m; the geometry in its own grid is the master.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.enums import TransformDirection

from sdi.errors import UsageError, nearest

Coordinates = NDArray[np.float64]
Box = tuple[float, float, float, float]

OFFICIAL = 6960
"""EPSG operation of the seven parameters of QĐ 05/2007/QĐ-BTNMT Điều 1, for the whole country."""

MERCATOR = 3857
COUNTRY = (102.0, 4.5, 118.0, 23.5)
"""West, south, east, north of the country with its islands, degrees: what a map of it shows (QCVN 80:2024/BTNMT 1.1,
read in a secondary source)."""

_HELMERT = {
    OFFICIAL: "-191.90441429 -39.30318279 -111.45032835 -0.00928836 0.01975479 -0.00427372 0.252906278",
    5194: "-192.873 -39.382 -111.202 0.00205 0.0005 -0.00335 0.0188",
}
"""dx dy dz (m), rx ry rz (arc-seconds), scale (ppm), VN-2000 -> WGS 84, *Coordinate Frame* rotation (EPSG:9607), the
signs of the Decision and of EPSG. `+towgs84` wants the rotations with the other sign; mixing them up moves points by
0.54 m."""

OPERATIONS = tuple(_HELMERT)
"""The operations between VN-2000 and WGS 84 by which files are made; 5194 only to read what another maker converted."""

_DEPRECATED = {6956: 5896, 6957: 5897, 6958: 5898, 6959: 5899}
_HANOI_1972 = {
    4147: "Hanoi 1972",
    2044: "Hanoi 1972 / Gauss-Krüger zone 18",
    2045: "Hanoi 1972 / Gauss-Krüger zone 19",
    2093: "Hanoi 1972 / GK 106 NE",
}
_ELLIPSOID = {"VN-2000": "WGS84", "WGS 84": "WGS84"}
_FIXED = {
    "mercator": "+proj=webmerc +ellps=WGS84",
    "lambert": "+proj=lcc +lat_0=46.5 +lon_0=3 +lat_1=49 +lat_2=44 +x_0=700000 +y_0=6600000 +ellps=GRS80",
    "nztm": "+proj=tmerc +lat_0=0 +lon_0=173 +k=0.9996 +x_0=1600000 +y_0=10000000 +ellps=GRS80",
}


@dataclass(frozen=True)
class Grid:
    """A coordinate reference system whose coordinates the house understands."""

    epsg: int
    name: str
    datum: Literal["VN-2000", "WGS 84", "RGF93", "NZGD2000"]
    kind: Literal["tm3", "utm", "geographic", "mercator", "lambert", "nztm"]
    meridian: float | None
    """Central meridian, degrees east."""
    scale: float | None
    """Scale factor on the central meridian."""
    area: Box
    """West, south, east, north in degrees: EPSG's area of use."""
    operation: int | None
    """EPSG operation to WGS 84; None for grids of WGS 84 itself."""

    @property
    def geographic(self) -> bool:
        """Whether coordinates are degrees."""
        return self.kind == "geographic"

    @property
    def projection(self) -> str:
        """PROJ string of the projection alone, without a datum: radians to metres."""
        if self.kind in _FIXED:
            return _FIXED[self.kind]
        return (
            f"+proj=tmerc +lat_0=0 +lon_0={self.meridian!r} +k={self.scale!r} +x_0=500000 +y_0=0"
            f" +ellps={_ELLIPSOID[self.datum]}"
        )


@dataclass(frozen=True)
class Proposal:
    """A reading of coordinates that puts them where they are expected. It is shown to a person, never applied."""

    epsg: int
    swapped: bool
    """Whether x and y must be exchanged (the paper convention X = north)."""
    inside: float
    """Share of the data's box inside the expected extent, 0 to 1."""
    centre: tuple[float, float]
    """Where this reading puts the middle of the data: longitude, latitude in WGS 84."""
    distance_m: float
    """Metres from there to the middle of the expected extent."""
    offset_m: float | None
    """Metres from there to where the declared CRS puts the middle of the data; None when none is declared."""


def _read_grids() -> dict[int, Grid]:
    text = files(__package__).joinpath("grids.csv").read_text(encoding="utf-8")
    return {grid.epsg: grid for grid in map(_grid_from_row, csv.DictReader(text.splitlines()))}


def _grid_from_row(row: dict[str, str]) -> Grid:
    return Grid(
        epsg=int(row["epsg"]),
        name=row["name"],
        datum=row["datum"],  # type: ignore[arg-type]
        kind=row["kind"],  # type: ignore[arg-type]
        meridian=float(row["meridian"]) if row["meridian"] else None,
        scale=float(row["scale"]) if row["scale"] else None,
        area=(float(row["west"]), float(row["south"]), float(row["east"]), float(row["north"])),
        operation=int(row["operation"]) if row["operation"] else None,
    )


GRIDS: dict[int, Grid] = _read_grids()
"""EPSG code -> grid, from `grids.csv` (EPSG registry; areas are EPSG's)."""


def grid(epsg: int) -> Grid:
    """Return the grid of an EPSG code.

    Raises UsageError: for the deprecated 6956–6959 naming their successor, for Hà Nội-72 with the legal ground why it
    is refused, for any other code with the nearest known ones.
    """
    found = GRIDS.get(epsg)
    if found is not None:
        return found
    if epsg in _DEPRECATED:
        successor = _DEPRECATED[epsg]
        raise UsageError(
            f"EPSG:{epsg} is a deprecated duplicate of EPSG:{successor} ({GRIDS[successor].name}).",
            hint=f"Use EPSG:{successor}; the coordinates stay as they are.",
        )
    if epsg in _HANOI_1972:
        raise UsageError(
            f"EPSG:{epsg} ({_HANOI_1972[epsg]}) is refused: no official parameters lead from Hà Nội-72 to VN-2000.",
            hint="TT 973/2001/TT-TCĐC Điều 6 asks for local coordinate increments at control points: have the survey"
            " authority convert the data to VN-2000 and deliver that.",
        )
    known = ", ".join(str(code) for code in GRIDS)
    raise UsageError(
        f"EPSG:{epsg} is not a known grid.{nearest(str(epsg), map(str, GRIDS))}", hint=f"Known grids: {known}."
    )


def to_wgs84(xy: Coordinates, epsg: int, operation: int | None = None) -> Coordinates:
    """Bring coordinates of a grid to WGS 84.

    xy: (n, 2) E, N in metres, or longitude, latitude in degrees for a geographic grid. operation: one of OPERATIONS
    for a VN-2000 grid; None is the official one. Other datums know one way only and do not use it. Returns (n, 2)
    longitude, latitude in degrees; what the projection cannot reach is inf. Heights are no matter here. Raises
    UsageError for an unknown grid or operation.
    """
    return _run(_to_wgs84(*_way(epsg, operation)), xy, TransformDirection.FORWARD)


def from_wgs84(lonlat: Coordinates, epsg: int, operation: int | None = None) -> Coordinates:
    """The inverse of `to_wgs84`: (n, 2) longitude, latitude in degrees to E, N of the grid."""
    return _run(_to_wgs84(*_way(epsg, operation)), lonlat, TransformDirection.INVERSE)


def regrid(xy: Coordinates, source: int, target: int) -> Coordinates:
    """Bring coordinates from one grid to another of the same datum: a change of projection, exact to well under 1 mm.

    Raises UsageError when the datums differ.
    """
    if source == target:
        return np.array(xy, dtype=np.float64)
    here, there = grid(source), grid(target)
    if here.datum != there.datum:
        raise UsageError(
            f"EPSG:{source} is on {here.datum} and EPSG:{target} on {there.datum}: that is no change of grid.",
            hint="Cross the datum once, with to_wgs84 or from_wgs84 and a named operation.",
        )
    return _run(_between(source, target), xy, TransformDirection.FORWARD)


def to_mercator(lonlat: Coordinates) -> Coordinates:
    """(n, 2) longitude, latitude in WGS 84 degrees to EPSG:3857 metres."""
    return from_wgs84(lonlat, MERCATOR)


def from_mercator(xy: Coordinates) -> Coordinates:
    """(n, 2) EPSG:3857 metres to longitude, latitude in WGS 84 degrees."""
    return to_wgs84(xy, MERCATOR)


def srid_rows() -> list[tuple[int, str, int, str, str]]:
    """Rows (srid, auth_name, auth_srid, srtext, proj4text) of `spatial_ref_sys` for every grid.

    PostGIS 3.3 lacks 9205–9218. srtext is WKT 1; proj4text carries the official parameters with `+towgs84`'s signs, for
    clients that read it. Neither makes ST_Transform take the official operation: EPSG's authority wins.
    """
    rows = []
    for known in GRIDS.values():
        crs = CRS.from_epsg(known.epsg)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pyproj warns that PROJ strings say less than WKT
            proj4 = str(crs.to_proj4()).replace(" +type=crs", "")
        if known.datum == "VN-2000":
            proj4 = proj4.replace(" +ellps=WGS84", f" +ellps=WGS84 +towgs84={_towgs84(OFFICIAL)}")
        rows.append((known.epsg, "EPSG", known.epsg, str(crs.to_wkt("WKT1_GDAL")), proj4))
    return rows


def propose_grids(bounds: Box, extent: Box, declared: int | None = None, likely: Sequence[int] = ()) -> list[Proposal]:
    """Say which grids, also with exchanged axes, put a file's coordinates into the extent where they are expected.

    bounds: min x, min y, max x, max y as the file has them. extent: west, south, east, north in WGS 84 degrees; the
    smaller (a commune's), the clearer the answer, for neighbouring meridians lie only 27 km apart. declared: the EPSG
    code the file names, known or not. likely: grids to prefer among equals, e.g. `units.cadastral_grids(province)`.
    Returns the best first: most inside, axes as they are, declared, likely, nearest to the middle. Applies nothing.
    """
    points = _sample(bounds)
    middle = _middle(extent)
    said = to_wgs84(_middle(bounds)[None, :], declared)[0] if declared in GRIDS else None
    proposals = []
    for known in GRIDS.values():
        if known.geographic and np.abs(points).max() > 360:
            continue  # metres are no degrees, and an angle of 540,000° would come back as some place on the Earth
        for swapped in (False, True):
            place = to_wgs84(points[:, ::-1] if swapped else points, known.epsg)
            inside = _share_inside(place, extent)
            if inside > 0:
                centre = place[len(place) // 2]
                offset = None if said is None else _metres_apart(said, centre)
                apart = _metres_apart(middle, centre)
                lon, lat = centre.tolist()
                proposals.append(Proposal(known.epsg, swapped, inside, (lon, lat), apart, offset))
    rank = {code: position for position, code in enumerate(likely)}

    def worth(proposal: Proposal) -> tuple[float, bool, bool, int, float]:
        order = rank.get(proposal.epsg, len(rank))
        return -round(proposal.inside, 2), proposal.swapped, proposal.epsg != declared, order, proposal.distance_m

    return sorted(proposals, key=worth)


def fit_operation(xy: Coordinates, epsg: int, lonlat: Coordinates) -> list[tuple[int, float]]:
    """Tell by control points which operation a file's maker used.

    xy: (n, 2) E, N in a VN-2000 grid; lonlat: the same n points in WGS 84. Returns (EPSG operation, median residual in
    metres), the best first. The two operations lie 0.7–0.8 m apart, so residuals far above that mean another error.
    Raises UsageError when the grid is not on VN-2000.
    """
    if grid(epsg).datum != "VN-2000":
        raise UsageError(f"EPSG:{epsg} is not on VN-2000: there is no operation to tell.")
    if not len(xy) or len(xy) != len(lonlat):
        raise UsageError("Control points need as many places in the grid as in WGS 84, and at least one.")
    fits = []
    for operation in OPERATIONS:
        apart = np.hypot(*(from_wgs84(lonlat, epsg, operation) - np.asarray(xy, dtype=np.float64)).T)
        fits.append((operation, float(np.median(apart))))
    return sorted(fits, key=lambda fit: fit[1])


def _way(epsg: int, operation: int | None) -> tuple[int, int]:
    """The key of a cached pipeline: grid and operation, 0 where there is nothing to choose."""
    known = grid(epsg)
    if known.datum != "VN-2000":
        return epsg, 0
    operation = OFFICIAL if operation is None else operation
    if operation not in _HELMERT:
        raise UsageError(
            f"EPSG:{operation} is not an operation between VN-2000 and WGS 84.",
            hint=f"Known: {', '.join(map(str, OPERATIONS))}; {OFFICIAL} is the official one (QĐ 05/2007/QĐ-BTNMT).",
        )
    return epsg, operation


@cache
def _to_wgs84(epsg: int, operation: int) -> Transformer:
    shift = _geocentric(_helmert(operation)) if operation else ""
    steps = [_unproject(grid(epsg)), shift, "+step +proj=unitconvert +xy_in=rad +xy_out=deg"]
    return Transformer.from_pipeline(" ".join(["+proj=pipeline", *filter(None, steps)]))


def pipeline_from_wgs84(epsg: int) -> str:
    """PROJ's pipeline from longitude, latitude (WGS 84, degrees) to E, N (metres) of a grid, by the official operation.

    For programs that must be told, lest they choose another. Raises UsageError for an unknown or geographic grid.
    """
    known = grid(epsg)
    if known.geographic:
        raise UsageError(f"EPSG:{epsg} is a geographic grid; a map needs metres.", hint="Name a projected grid.")
    _, operation = _way(epsg, None)
    shift = _geocentric(f"+inv {_helmert(operation)}") if operation else ""
    steps = ["+step +proj=unitconvert +xy_in=deg +xy_out=rad", shift, f"+step {known.projection}"]
    return " ".join(["+proj=pipeline", *filter(None, steps)])


def _helmert(operation: int) -> str:
    x, y, z, rx, ry, rz, s = _HELMERT[operation].split()
    return f"+proj=helmert +x={x} +y={y} +z={z} +rx={rx} +ry={ry} +rz={rz} +s={s} +convention=coordinate_frame"


def _geocentric(step: str) -> str:
    """A step between geocentric coordinates, from radians to radians; heights are put aside meanwhile."""
    return (
        f"+step +proj=push +v_3 +step +proj=cart +ellps=WGS84 +step {step}"
        " +step +inv +proj=cart +ellps=WGS84 +step +proj=pop +v_3"
    )


@cache
def _between(source: int, target: int) -> Transformer:
    there = grid(target)
    project = "+step +proj=unitconvert +xy_in=rad +xy_out=deg" if there.geographic else f"+step {there.projection}"
    return Transformer.from_pipeline(f"+proj=pipeline {_unproject(grid(source))} {project}")


def _unproject(known: Grid) -> str:
    """The step from a grid's own coordinates to radians on its own datum."""
    return "+step +proj=unitconvert +xy_in=deg +xy_out=rad" if known.geographic else f"+step +inv {known.projection}"


def _run(transformer: Transformer, xy: Coordinates, direction: TransformDirection) -> Coordinates:
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    x, y = transformer.transform(points[:, 0], points[:, 1], direction=direction)
    return np.column_stack([x, y])


def _towgs84(operation: int) -> str:
    """The parameters as `+towgs84` wants them: position vector, so the rotations change sign."""
    shift_and_turn = _HELMERT[operation].split()
    turned = [repr(-float(value)) if 3 <= i <= 5 else value for i, value in enumerate(shift_and_turn)]
    return ",".join(turned)


def _sample(bounds: Box) -> Coordinates:
    """5 by 5 points over a box, the middle one in the middle."""
    west, south, east, north = bounds
    x, y = np.meshgrid(np.linspace(west, east, 5), np.linspace(south, north, 5))
    return np.column_stack([x.ravel(), y.ravel()])


def _middle(box: Box) -> Coordinates:
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


def _share_inside(lonlat: Coordinates, extent: Box) -> float:
    west, south, east, north = extent
    lon, lat = lonlat.T
    return float(np.mean((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)))


def _metres_apart(a: Coordinates, b: Coordinates) -> float:
    """Great-circle metres between two places, on a sphere of 6,371 km: good to half a percent. A place that a
    projection has no coordinates for is as far away as can be."""
    if not np.isfinite([a, b]).all():
        return float(np.pi * 6_371_000)
    lon1, lat1, lon2, lat2 = np.radians([a[0], a[1], b[0], b[1]])
    h = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return float(2 * 6_371_000 * np.arcsin(np.sqrt(min(1.0, h))))
