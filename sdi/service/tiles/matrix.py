"""The one tile matrix set that is served, WebMercatorQuad (OGC 17-083r4, D.1), and which tile an address names."""

from __future__ import annotations

import math
import re
from typing import Any

from sdi.errors import BadRequest, NotFound, nearest
from sdi.store.tiles import Tile

ID = "WebMercatorQuad"
URI = f"http://www.opengis.net/def/tilematrixset/OGC/1.0/{ID}"
CRS = "http://www.opengis.net/def/crs/EPSG/0/3857"
MVT = "application/vnd.mapbox-vector-tile"
TILEJSON = "application/vnd.mapbox.tile+json"
DEEPEST = 24
"""The last tile matrix of the set."""
LAST = 22
"""The last one that tiles are made of: a step of such a tile is 2 mm."""

_HALF = math.pi * 6378137.0
"""Metres from the middle of the set to its edge."""
_PIXEL = 0.00028
"""Metres of the standard's pixel, by which a scale denominator is told."""


def definition() -> dict[str, Any]:
    """The set as OGC 17-083r4 writes it in JSON: 256 × 256 pixels a tile, in EPSG:3857, x east and y north."""
    return {
        "id": ID,
        "title": "Google Maps Compatible for the World",
        "uri": URI,
        "crs": CRS,
        "orderedAxes": ["X", "Y"],
        "wellKnownScaleSet": "http://www.opengis.net/def/wkss/OGC/1.0/GoogleMapsCompatible",
        "tileMatrices": [_matrix(zoom) for zoom in range(DEEPEST + 1)],
    }


def _matrix(zoom: int) -> dict[str, Any]:
    cell = 2 * _HALF / 256 / (1 << zoom)
    return {
        "id": str(zoom), "scaleDenominator": cell / _PIXEL, "cellSize": cell, "cornerOfOrigin": "topLeft",
        "pointOfOrigin": [-_HALF, _HALF], "tileWidth": 256, "tileHeight": 256,
        "matrixWidth": 1 << zoom, "matrixHeight": 1 << zoom,
    }  # fmt: skip


def known(name: str) -> None:
    """Raises NotFound for a set that is not served."""
    if name != ID:
        raise NotFound(f"There is no tile matrix set '{name[:100]}'.{nearest(name, [ID])}")


def tile_of(matrix: str, row: str, column: str) -> Tile:
    """The tile that an address names. Raises NotFound outside the set (/req/core/tc-error A), BadRequest for a row or a
    column that is no number; a matrix is named, not numbered, so one that is none is not found."""
    if not re.fullmatch(r"\d{1,2}", matrix, re.ASCII) or str(int(matrix)) != matrix or int(matrix) > DEEPEST:
        raise NotFound(f"There is no tile matrix '{matrix[:40]}'.", hint=f"0 to {DEEPEST}")
    count = 1 << int(matrix)
    place = []
    for name, text in (("tileRow", row), ("tileCol", column)):
        if not re.fullmatch(r"-?\d{1,20}", text, re.ASCII):
            raise BadRequest(f"{name}: '{text[:40]}' is not a whole number.")
        if not 0 <= int(text) < count:
            raise NotFound(f"{name}: {text[:40]} lies outside tile matrix {matrix}.", hint=f"0 to {count - 1}")
        place.append(int(text))
    return Tile(int(matrix), *place)
