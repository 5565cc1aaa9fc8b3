"""The list of styles, and the styles themselves in their encodings."""

from __future__ import annotations

import json
from typing import Any

from sdi.catalog.qgis.project import MEDIA_TYPE
from sdi.catalog.styles import maplibre, qml, sld
from sdi.contract.layer import Layer
from sdi.service import links, words
from sdi.service.portrayal import project
from sdi.service.portrayal.encodings import DEFAULT, ENCODINGS, OF_DATASET
from sdi.service.publications import Snapshot
from sdi.service.state import Service
from sdi.service.tiles import matrix, tileset
from sdi.service.tiles.tileset import Shown, is_tiled

REL = "http://www.opengis.net/def/rel/ogc/1.0"


def styles(service: Service, layer: Layer | None, language: str) -> dict[str, Any]:
    """The list of styles of a layer or, None, of the dataset: one."""
    _ = words.translator(language)
    here = address(service, layer)
    offered = OF_DATASET if layer is None else ENCODINGS
    stylesheets = [
        links.link("stylesheet", f"{here}/{DEFAULT}?f={each.name}", each.media_type,
                   _("Style as {format}").format(format=each.label))
        for each in offered.values()
    ]  # fmt: skip
    own = links.link("self", f"{here}?f=json", "application/json", _("This document as JSON"))
    listed = {"id": DEFAULT, "title": _title(service, layer, language), "links": stylesheets}
    return {"default": DEFAULT, "styles": [listed], "links": [own]}


def stylesheet(service: Service, snapshot: Snapshot, layer: Layer, format_: str, language: str) -> bytes:
    """The style of a layer, UTF-8."""
    if format_ == "mapbox":
        return _map(service, snapshot, layer, [layer.id], language)
    encoded = {"qml": qml.document, "sld11": sld.document}[format_]
    return encoded(project.look(service, *snapshot[layer.id], language))


def of_dataset(service: Service, snapshot: Snapshot, language: str) -> bytes:
    """A map of the dataset's tiles: of all layers that are in them for who asks."""
    names = [name for name, layer in snapshot.layers.items() if is_tiled(layer) and layer.sharing.level != "steward"]
    return _map(service, snapshot, None, names, language)


def link_to(service: Service, layer: Layer | None, language: str) -> dict[str, Any]:
    """The link from a collection or, None, from the landing page to its styles."""
    title = words.translator(language)("Styles")
    return links.link(f"{REL}/styles", f"{address(service, layer)}?f=json", "application/json", title)


def link_to_project(service: Service, language: str) -> dict[str, Any]:
    """The link from the landing page to the QGIS project of who asks."""
    title = words.translator(language)("All layers as a QGIS project")
    return links.link("enclosure", links.address(service.url, "qgis", f"{service.agency.id}.qgz"), MEDIA_TYPE, title)


def address(service: Service, layer: Layer | None) -> str:
    steps = ("styles",) if layer is None else ("collections", layer.id, "styles")
    return links.address(service.url, *steps)


def _map(service: Service, snapshot: Snapshot, layer: Layer | None, names: list[str], language: str) -> bytes:
    tiles = ("tiles",) if layer is None else ("collections", layer.id, "tiles")
    described = links.address(service.url, *tiles, matrix.ID, parameters={"f": "tilejson"})
    extent = tileset.extent(Shown(*snapshot[name]) for name in names)
    stack = project.stacked(service, snapshot, names, language)[::-1]
    # As in a QGIS project: what is computed of other layers would hide them.
    shown = project.shown([snapshot.layers[each.id] for each in stack[::-1]]) if layer is None else frozenset(names)
    off = frozenset(names) - shown
    made = maplibre.document(_title(service, layer, language), described, stack, extent, off)
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()


def _title(service: Service, layer: Layer | None, language: str) -> str:
    if layer is not None:
        return layer.title.in_language(language)
    return service.settings.title_en if language == "en" else service.settings.title_vi
