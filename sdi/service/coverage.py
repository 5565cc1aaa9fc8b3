"""What is asked of a coverage, in the words of the provider that reads it (`raster`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdi.contract.layer import Layer
from sdi.errors import BadRequest
from sdi.national import vn2000
from sdi.service import crs
from sdi.service.asked import Asked
from sdi.store.ledger import Publication

PARAMETERS = ("bbox", "bbox-crs", "properties", "scale-size")


def coverage_path(publication: Publication, folder: Path) -> str:
    """The file of a published coverage."""
    path = Path(str(publication.facts["file"]))
    return str(path if path.is_absolute() else folder / path)


def window(asked: Asked, layer: Layer, publication: Publication) -> dict[str, str]:
    """The request in the words of the provider: a box in the coverage's grid, bands by name, a size in cells.

    Raises BadRequest.
    """
    grid = publication.grids[0]
    assert layer.coverage is not None
    names = [band.name for band in layer.coverage.bands]
    wanted = [name.strip() for name in asked.parameters.get("properties", "").split(",") if name.strip()]
    for name in wanted:
        if name not in names:
            raise BadRequest(f"properties: there is no band '{name}'.", hint=f"One of: {', '.join(names)}")
    question = {"properties": ",".join(wanted)} if wanted else {}
    if "bbox" in asked.parameters:
        question["bbox"] = ",".join(map(repr, _in_grid(asked, publication, grid)))
        question["bbox-crs"] = str(grid)
    elif "bbox-crs" in asked.parameters:
        raise BadRequest("bbox-crs stands without bbox.")
    return question


def size(asked: Asked) -> int | None:
    """The most cells along the longer side. Raises BadRequest."""
    text = asked.parameters.get("scale-size")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 4096:
        raise BadRequest("scale-size must be a whole number of cells along the longer side, from 1 to 4096.")
    return int(text)


def _in_grid(asked: Asked, publication: Publication, grid: int) -> tuple[float, float, float, float]:
    uri = asked.parameters.get("bbox-crs")
    box_crs = crs.resolve(uri, publication.grids, "bbox-crs") if uri is not None else crs.DEFAULT
    bounds = crs.box(asked.parameters["bbox"], box_crs)
    if bounds[0] > bounds[2]:
        raise BadRequest("bbox: the western bound is greater than the eastern bound.")
    if box_crs.epsg == grid:
        return bounds
    xy = vn2000.from_wgs84(np.array(crs.area(bounds, box_crs).ring), grid)
    if not np.isfinite(xy).all():
        raise BadRequest("bbox lies outside the area of the coverage's grid.")
    (west, south), (east, north) = xy.min(axis=0), xy.max(axis=0)
    return float(west), float(south), float(east), float(north)
