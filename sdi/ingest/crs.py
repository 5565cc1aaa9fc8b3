"""Which known grid a file's declared coordinate reference system is, however the file spells it."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from sdi.errors import UsageError
from sdi.national import vn2000
from sdi.national.text import fold

SAME = {4979: 4326, 4978: 4326, 900913: 3857, 102100: 3857, 102113: 3857, 3785: 3857}
"""Codes that mean the same coordinates as a known grid: three dimensions, old names of the web's Mercator."""

_OFFICIAL = (-191.90441429, -39.30318279, -111.45032835, 0.00928836, 0.01975479, 0.00427372, 0.252906278)
_OLD = (-192.873, -39.382, -111.202, 0.00205, 0.0005, 0.00335, 0.0188)
"""Seven parameters of EPSG:6960 and EPSG:5194 with unsigned rotations: either sign convention tells the datum."""


_NAMES = {
    "VN-2000": ("vn2000", "vietnam2000"),
    "RGF93": ("rgf93", "rgf1993", "reseaugeodesiquefrancais"),
    "NZGD2000": ("nzgd2000", "newzealandgeodeticdatum2000"),
    "WGS 84": ("wgs84", "wgs1984", "worldgeodeticsystem1984"),
}
"""Datum -> what its name contains in the spellings of EPSG, ESRI, IGN and MapInfo."""


def parse(code: str) -> int:
    """The EPSG code of `EPSG:9210` or `9210`, as a steward writes it. Raises UsageError."""
    found = re.fullmatch(r"(?:EPSG:{1,2})?(\d{4,6})", code.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"'{code}' is not a CRS.", hint="Write it as EPSG:9210.")
    return SAME.get(int(found[1]), int(found[1]))


def crosses(used: int, kept: int) -> bool:
    """Whether a file's own coordinates are brought from WGS 84 to VN-2000: by its maker's operation, which is asked."""
    return vn2000.grid(used).datum == "WGS 84" and vn2000.grid(kept).datum == "VN-2000"


def require_operation(operation: int, file_name: str, used: int, kept: int) -> None:
    """Raises UsageError where a steward names an operation that nothing is done by: what is in VN-2000 goes to WGS 84
    by the official one, whoever made the file."""
    if operation != vn2000.OFFICIAL and not crosses(used, kept):
        raise UsageError(
            f"--operation {operation} is for a file in WGS 84 that is kept in VN-2000; {file_name} is in EPSG:{used}"
            f" and kept in EPSG:{kept}.",
            hint=f"Leave it out: what is in VN-2000 goes to WGS 84 by the official EPSG:{vn2000.OFFICIAL}.",
        )


def recognise(declared: str | None) -> int | None:
    """The EPSG code of a declared CRS (`EPSG:…` or WKT); a code that may be unknown to us, None where it has none.

    Matches by the projection's parameters and the datum where the file names neither right: a MapInfo `CoordSys` of
    datum 9999 with the seven parameters is VN-2000, a Lambert-93 with its own name is EPSG:2154.
    """
    crs = _read(declared)
    if crs is None:
        return None
    code = crs.to_epsg(min_confidence=100)
    if code is not None:
        return SAME.get(code, code)
    if crs.to_authority() == ("OGC", "CRS84"):
        return 4326
    for grid in vn2000.GRIDS.values():
        if _datum(crs) == grid.datum and _same_projection(crs, grid):
            return grid.epsg
    found = crs.to_epsg(min_confidence=70)
    return SAME.get(found, found) if found is not None and found not in vn2000.GRIDS else None


def title(declared: str | None) -> str | None:
    """A short name of what the file declares, for people."""
    crs = _read(declared)
    if crs is None:
        return None
    authority = crs.to_authority(min_confidence=100)
    return (
        ":".join(authority)
        if authority
        else (crs.name if crs.name not in ("", "unnamed", "unknown") else "a CRS of its own")
    )


def _read(declared: str | None) -> CRS | None:
    if not declared:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            crs = CRS.from_user_input(declared)
            return crs.sub_crs_list[0] if crs.is_compound else crs
    except CRSError:
        return None


def _shift(crs: CRS) -> list[float]:
    """The parameters of a bound CRS's transformation to WGS 84."""
    return list(crs.coordinate_operation.towgs84) if crs.is_bound and crs.coordinate_operation else []


def _datum(crs: CRS) -> str | None:
    shift = _shift(crs)
    if len(shift) == 7:
        parameters = [*shift[:3], *(abs(value) for value in shift[3:6]), shift[6]]
        for known in (_OFFICIAL, _OLD):
            if all(math.isclose(a, b, abs_tol=2e-3, rel_tol=1e-4) for a, b in zip(parameters, known, strict=True)):
                return "VN-2000"
    if any(shift):
        return None
    base = crs.source_crs if crs.is_bound else crs
    geodetic = base.geodetic_crs if base is not None else None
    if geodetic is None:
        return None
    name = fold(geodetic.datum.name if geodetic.datum else "") + fold(geodetic.name)
    return next((datum for datum, words in _NAMES.items() if any(word in name for word in words)), None)


def _same_projection(crs: CRS, grid: vn2000.Grid) -> bool:
    base = crs.source_crs if crs.is_bound else crs
    if base is None:
        return False
    if grid.geographic or not base.is_projected:
        return grid.geographic and base.is_geographic
    ours, theirs = CRS.from_epsg(grid.epsg).coordinate_operation, base.coordinate_operation
    if ours is None or theirs is None or fold(ours.method_name) != fold(theirs.method_name):
        return False
    return _parameters(ours) == _parameters(theirs) and _in_metres(base)


def _parameters(operation: Any) -> dict[str, list[float]]:
    """The projection's parameters in degrees and metres; which of two standard parallels is the first is no matter."""
    found: dict[str, list[float]] = {}
    for parameter in operation.params:
        factor = math.degrees(parameter.unit_conversion_factor) if "degree" in parameter.unit_name else 1.0
        name = re.sub(r"1st |2nd ", "", parameter.name)
        found[name] = sorted([*found.get(name, []), round(float(parameter.value) * factor, 8)])
    return found


def _in_metres(crs: CRS) -> bool:
    return all(math.isclose(axis.unit_conversion_factor, 1.0) for axis in crs.axis_info)
