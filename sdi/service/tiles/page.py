"""What the page of a tileset shows: the addresses that a map takes, and what is in the tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdi.contract.layer import Layer
from sdi.service import links
from sdi.service.portrayal import documents as portrayal
from sdi.service.portrayal.encodings import DEFAULT
from sdi.service.state import Service
from sdi.service.tiles import documents, matrix
from sdi.service.tiles.tileset import Shown


def shown(
    service: Service, layer: Layer | None, tiles: Sequence[Shown], language: str, chosen: str | None
) -> dict[str, Any]:  # fmt: skip
    """What the template is given; see `tileset.html`. `chosen`: as in `documents.metadata`."""
    described = documents.tilejson(service, layer, tiles, language, chosen)
    metadata = documents.metadata(service, layer, tiles, language, chosen)
    tilejson = next(each["href"] for each in metadata["links"] if each["type"] == matrix.TILEJSON)
    # A style is of one layer, or of all that are shared.
    style = links.address(portrayal.address(service, layer), DEFAULT, parameters={"f": "mapbox"})
    return {
        "layer": layer, "title": described["name"], "address": described["tiles"][0], "tilejson": tilejson,
        "style": style if chosen is None else None, "first": described["minzoom"], "last": described["maxzoom"],
        "layers": [each.layer for each in tiles], "firsts": {each.layer.id: each.first for each in tiles},
        "fields": {each["id"]: each["fields"] for each in described["vector_layers"]},
    }  # fmt: skip
