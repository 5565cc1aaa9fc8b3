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

    def parameter(self, path: str, parameter: Mapping[str, Any]) -> str:
        """The description of a parameter; of an attribute by which features are asked for it is the contract's."""
        layer, rest = self._at(path)
        if layer is None or rest != "/items" or "$ref" in parameter:
            return str(parameter.get("description", ""))
        attribute = layer[parameter["name"]]
        return (attribute.description or attribute.title).in_language(self._language)

    def _at(self, path: str) -> tuple[Layer | None, str]:
        if path in self._dossiers:
            return self._dossiers[path], "/dossier"
        found = re.fullmatch(r"/collections/([^/]+)(.*)", path)
        return (self._layers.get(found[1]), found[2]) if found else (None, "")
