"""What each operation of the OpenAPI document does: in English there, on its page in the reader's language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sdi.contract.layer import Layer
from sdi.service import words

_TILE = "/tiles/{tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}"
OF_LAYER = {
    "": "About {layer}",
    "/changes": "Changes of {layer}",
    "/coverage": "Values of {layer}",
    "/dossier": "The dossier of a feature: {layer}",
    "/export": "Download all of {layer}",
    "/export/sha256": "Checksum of the download of {layer}",
    "/items": "Features of {layer}",
    "/items/{featureId}": "A feature of {layer}",
    "/queryables": "What {layer} can be filtered by",
    "/schema": "What every feature of {layer} has",
    "/sortables": "What {layer} can be sorted by",
    "/statistics": "Statistics of {layer}",
    "/styles": "Styles of {layer}",
    "/styles/{styleId}": "A style of {layer}",
    "/tiles": "Vector tiles of {layer}",
    "/tiles/{tileMatrixSetId}": "The tileset of {layer}",
    _TILE: "A vector tile of {layer}",
}
"""By what follows the layer in the path."""
OF_SERVICE = {
    "/": "Landing page",
    "/collections": "All layers",
    "/conformance": "The requirements classes of OGC standards that this service keeps.",
    "/openapi": "This document",
    "/qgis/{agencyId}.qgz": "All layers in a QGIS project",
    "/statistics": "Layers of which there are statistics",
    "/styles": "Styles of all layers together",
    "/styles/{styleId}": "A style of all layers together",
    "/tiles": "Vector tiles of all layers together",
    "/tiles/{tileMatrixSetId}": "The tileset of all layers together",
    _TILE: "A vector tile of all layers together",
}
"""By path; what is not here says it itself."""

PARAMETERS = {
    "f": "The format of the answer; without it the Accept header says which.",
    "lang": "The language of titles, descriptions and pages; without it the Accept-Language header says which.",
    "bbox": "Only what meets a box: four numbers, the least of both axes and then the greatest, in "
    "'bbox-crs'; or six with heights.",
    "bbox-crs": "The coordinate system of 'bbox' by its URI; without it CRS84, longitude before latitude.",
    "crs": "The coordinate system of the answer by its URI; without it CRS84, longitude before latitude.",
    "limit": "How many a page has at most.",
    "offset": "How many are passed over before the page begins; far from the beginning 'cursor' is faster.",
    "skipGeometry": "'true': the features without their geometries.",
    "properties": "The attributes that the answer has, of a coverage its bands, by name, with commas between.",
    "sortby": "What to sort by, with commas between; the greatest first of what has '-' before it.",
    "filter": "A condition that each feature fulfils, in CQL2.",
    "filter-lang": "How 'filter' is written: as CQL2 text or as CQL2 JSON.",
    "filter-crs": "The coordinate system of places in 'filter' by its URI; without it CRS84, longitude before "
    "latitude.",
    "featureId": "The feature's id.",
    "recordId": "The record's id, which is the layer's.",
    "collection": "Only what was changed of this layer.",
    "codeList": "The code list's id.",
    "styleId": "The style's id; each layer has one.",
    "tileMatrixSetId": "The scheme by which the world is cut into tiles.",
    "tileMatrix": "The zoom level.",
    "tileRow": "The tile's row, from the north.",
    "tileCol": "The tile's column, from the west.",
    "scale-size": "How many cells the answer has at most along its longer side.",
    "agency": "Only what this agency did, by its id.",
    "feature": "Only entries on the feature with this id.",
    "layer": "Only entries on this layer.",
    "from": "The first instant or day (UTC) of the entries.",
    "to": "The instant or day (UTC) before which the entries were made.",
    "before": "Only entries before the one with this number, as the link 'next' gives it.",
}
"""What each parameter does that does not say it itself, by its name."""


def described(parameter: dict[str, Any]) -> dict[str, Any]:
    """A parameter with what it does."""
    told = PARAMETERS.get(parameter["name"], parameter.get("description"))
    return parameter | ({"description": told} if told else {})


class Said:
    """What the operations at the addresses of these layers do, in one language."""

    def __init__(self, layers: Mapping[str, Layer], language: str) -> None:
        self._layers, self._language = layers, language
        self._dossiers = {
            f"/{each.dossier.path}/{{featureId}}/dossier": each for each in layers.values() if each.dossier is not None
        }

    def summary(self, path: str, operation: Mapping[str, Any]) -> str:
        _ = words.translator(self._language)
        layer, rest = self._at(path)
        if layer is not None and rest in OF_LAYER:
            return _(OF_LAYER[rest]).format(layer=layer.title.in_language(self._language))
        return _(OF_SERVICE.get(path, operation["summary"]))

    def parameter(self, path: str, parameter: Mapping[str, Any], *, common: bool) -> str:
        """The description of a parameter; of an attribute by which features are asked for it is the contract's.
        `common`: it is one of those that operations refer to.
        """
        layer, rest = self._at(path)
        if common or layer is None or rest != "/items":
            return words.translator(self._language)(str(parameter.get("description", "")))
        attribute = layer[parameter["name"]]
        return (attribute.description or attribute.title).in_language(self._language)

    def _at(self, path: str) -> tuple[Layer | None, str]:
        if path in self._dossiers:
            return self._dossiers[path], "/dossier"
        found = re.fullmatch(r"/collections/([^/]+)(.*)", path)
        return (self._layers.get(found[1]), found[2]) if found else (None, "")
