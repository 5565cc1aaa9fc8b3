"""Tiles as a client reads them: GDAL's MVT driver decodes what the service answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely

from sdi.national import vn2000
from sdi.store.tiles import Tile, column_of, row_of
from tests.service.conftest import CORNER

QUAD = "tiles/WebMercatorQuad"


def tile_at(zoom: int, east: float = 0.0, north: float = 0.0) -> Tile:
    """The tile that holds a point, metres from the town's south-west corner."""
    ((longitude, latitude),) = vn2000.to_wgs84(np.array([(CORNER[0] + east, CORNER[1] + north)]), 5897)
    return Tile(zoom, row_of(latitude, zoom), column_of(longitude, zoom))


def address(tile: Tile, collection: str | None = None) -> str:
    head = "" if collection is None else f"/collections/{collection}"
    return f"{head}/{QUAD}/{tile.zoom}/{tile.row}/{tile.column}"


@dataclass
class Decoded:
    """A layer of a tile: its features' attributes, and their shapes in EPSG:3857."""

    fields: dict[str, list[Any]]
    shapes: list[Any]

    @property
    def ids(self) -> set[str]:
        return set(self.fields["id"])


@pytest.fixture
def decode(tmp_path: Path) -> Callable[[bytes, Tile], dict[str, Decoded]]:
    """The layers of a tile by name, as GDAL reads them."""

    def read(body: bytes, tile: Tile) -> dict[str, Decoded]:
        path = tmp_path / "tile.mvt"
        path.write_bytes(body)
        place = {"X": tile.column, "Y": tile.row, "Z": tile.zoom, "CLIP": "NO"}
        found = {}
        for name, _ in pyogrio.list_layers(path):
            meta, _, shapes, columns = pyogrio.raw.read(path, layer=name, **place)
            fields = {field: list(column) for field, column in zip(meta["fields"], columns, strict=True)}
            found[name] = Decoded(fields, list(shapely.from_wkb(shapes)))
        return found

    return read
