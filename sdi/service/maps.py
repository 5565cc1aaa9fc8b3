"""What a page's map is told: where its data come from, how they look, and its few words. `static/map.js` reads it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np

from sdi.access import visible
from sdi.catalog.collection import VIETNAM
from sdi.catalog.style import map_style
from sdi.contract.layer import Layer
from sdi.national import vn2000
from sdi.service import links, words
from sdi.service.asked import Asked
from sdi.service.parameters import Question
from sdi.service.state import Service
from sdi.store.ledger import Publication

PREVIEW_CELLS = 500
"""Cells along the longer side of a coverage's preview."""


def of_collection(service: Service, layer: Layer, publication: Publication, language: str) -> dict[str, Any]:
    """The whole layer, asked again for each box in view; of a coverage a preview."""
    root = _root(service)
    if layer.coverage is not None:
        source = links.address(
            root, "collections", layer.id, "coverage", parameters={"f": "json", "scale-size": PREVIEW_CELLS}
        )
        return {**_common(service, layer, publication, language), "kind": "coverage", "source": source}
    source = links.address(root, "collections", layer.id, "items")
    return {**_common(service, layer, publication, language), "kind": "live", "source": source}


def of_features(
    service: Service, layer: Layer, publication: Publication, asked: Asked, source: str
) -> dict[str, Any]:  # fmt: skip
    """The features of one document, in CRS84; as of an instant, if that was asked, what they lead to as well."""
    told = _common(service, layer, publication, asked.language)
    return {**told, "kind": "page", "source": _root(service) + source, "item": told["item"] + kept(asked)}


def kept(asked: Asked) -> str:
    """The part of a query that links to other features repeat: `?as-of=…`, or nothing."""
    at = asked.parameters.get("as-of")
    return f"?{urlencode({'as-of': at})}" if at is not None else ""


def page_source(layer: Layer, asked: Asked, question: Question) -> str:
    """The GeoJSON of the same page."""
    kept = {name: value for name, value in asked.parameters.items() if name not in ("f", "lang", "crs", "skipGeometry")}
    needed = {"f": "json", "limit": question.query.limit}
    return links.address("", "collections", layer.id, "items", parameters={**kept, **needed})


def item_source(layer: Layer, feature_id: str, asked: Asked) -> str:
    kept = {name: value for name, value in asked.parameters.items() if name == "as-of"}
    return links.address("", "collections", layer.id, "items", feature_id, parameters={**kept, "f": "json"})


def corners(publication: Publication) -> list[list[float]]:
    """Top left, top right and bottom left of a coverage as (lon, lat): a grid's north is not quite north."""
    left, bottom, right, top = publication.facts["bounds"]
    found = vn2000.to_wgs84(np.array([(left, top), (right, top), (left, bottom)]), publication.grids[0])
    return [[float(lon), float(lat)] for lon, lat in found]


def _root(service: Service) -> str:
    return urlsplit(service.url).path


def _common(service: Service, layer: Layer, publication: Publication, language: str) -> dict[str, Any]:
    _ = words.translator(language)
    style = map_style(layer, service.registry.code_lists, language, visible(service.agency, layer))
    classify = style["classify"]
    return {
        "language": language,
        "extent": list(publication.extent or VIETNAM),
        "count": publication.count,
        "style": style,
        "item": links.address(_root(service), "collections", layer.id, "items") + "/{id}",
        "basemap": service.settings.basemap,
        "attribution": service.settings.basemap_attribution,
        "corners": None,
        "texts": {
            "open": _("Details"),
            "legend": layer[classify].title.in_language(language) if classify else "",
            "other": _("other or empty"),
            "all": _("{all} features in view"),
            "part": _("{shown} of {all} features in view are shown; zoom in to see all"),
            "values": _("{low} – {high}; the darker, the greater"),
            "failed": _("The features cannot be shown now."),
        },
    }
