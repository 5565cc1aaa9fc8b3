"""A published layer as a resource of pygeoapi's configuration: titles, extent, links, CRSs and provider."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from sdi.contract.layer import Layer, Text
from sdi.national import vn2000
from sdi.settings import Settings

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
VIETNAM = (102.0, 7.0, 118.0, 24.0)
"""lon/lat box (w, s, e, n) of a layer that is published but has no feature."""


class Published(Protocol):
    """What the ledger says about a published layer; `extent` is (w, s, e, n) in CRS84, `grids` are EPSG codes.

    `time_end` is None where something is still valid.
    """

    @property
    def extent(self) -> tuple[float, float, float, float] | None: ...
    @property
    def grids(self) -> Sequence[int]: ...
    @property
    def time_start(self) -> datetime | None: ...
    @property
    def time_end(self) -> datetime | None: ...


def crs_uri(epsg: int) -> str:
    """The URI of an EPSG code, as OGC API Features Part 2 names CRSs."""
    return f"http://www.opengis.net/def/crs/EPSG/0/{epsg}"


def crs_list(grids: Sequence[int]) -> list[str]:
    """The CRSs that a layer with rows in these grids is answered in; the first is the default."""
    codes = [4326, 3857, *(grid for grid in grids if grid not in (4326, 3857))]
    return [CRS84, *map(crs_uri, codes)]


def storage_crs(grids: Sequence[int]) -> str:
    """The grid in which the master geometry stands; CRS84 where the rows stand in several or in a geographic one.

    Never EPSG:4326 or 4756: clients take a storage CRS of north-east order for lon/lat (pygeoapi #2010, #2102).
    """
    if len(grids) == 1 and vn2000.grid(grids[0]).kind != "geographic":
        return crs_uri(grids[0])
    return CRS84


def resource(
    layer: Layer, publication: Published, settings: Settings, *, coverage: str | None = None
) -> dict[str, Any]:
    """The layer's entry below `resources`; `coverage` is the path of a coverage's Cloud Optimized GeoTIFF."""
    described: dict[str, Any] = {
        "type": "collection",
        "title": _both(layer.title),
        "description": _both(layer.description),
        "keywords": {"vi": [word.vi for word in layer.keywords], "en": [word.en for word in layer.keywords]},
        "links": _links(layer, settings),
        "extents": {"spatial": {"bbox": list(publication.extent or VIETNAM), "crs": CRS84}},
        "providers": [_coverage(layer, publication, coverage) if coverage else _features(layer, publication)],
        "limits": {"default_items": settings.default_limit, "max_items": settings.max_limit, "on_exceed": "throttle"},
    }
    if layer.temporal is not None:
        described["extents"]["temporal"] = {"begin": publication.time_start, "end": publication.time_end}
    return described


def _features(layer: Layer, publication: Published) -> dict[str, Any]:
    temporal = layer.temporal
    return {
        "type": "feature",
        "name": "sdi.service.provider.LayerProvider",
        "data": layer.id,
        "id_field": "id",
        "time_field": (temporal.instant or temporal.start) if temporal else None,
        "crs": crs_list(publication.grids),
        "storage_crs": storage_crs(publication.grids),
    }


def _coverage(layer: Layer, publication: Published, path: str) -> dict[str, Any]:
    bands = layer.coverage.bands if layer.coverage else []
    return {
        "type": "coverage",
        "name": "sdi.service.raster.CoverageProvider",
        "data": path,
        "grid": publication.grids[0],
        "bands": [{"name": band.name, "title": _both(band.title), "unit": band.unit} for band in bands],
        "format": {"name": "GTiff", "mimetype": "image/tiff; application=geotiff; profile=cloud-optimized"},
    }


def _links(layer: Layer, settings: Settings) -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = []
    if layer.licence.url:
        links.append(
            {"rel": "license", "type": "text/html", "title": _both(layer.licence.title), "href": layer.licence.url}
        )
    return links


def _both(text: Text) -> dict[str, str]:
    return {"vi": text.vi, "en": text.en}
