"""CRSs as PROJJSON, for files that carry the definition with them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pyproj


@cache
def projjson(epsg: int) -> dict[str, Any]:
    """The PROJJSON of an EPSG code. Raises pyproj's CRSError for a code that PROJ does not know."""
    found: dict[str, Any] = pyproj.CRS.from_epsg(epsg).to_json_dict()
    return found
