"""What is said about tiles: lists of tilesets, a tileset's metadata (OGC 17-083r4, clause 8), and TileJSON 3.0.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdi.access import visible
from sdi.contract.layer import COUNT, Attribute, Layer
from sdi.service import links, words
from sdi.service.rights import dimension
from sdi.service.state import Service
from sdi.service.tiles import matrix, tileset
from sdi.service.tiles.tileset import Shown
from sdi.store.tiles import is_of_areas

REL = "http://www.opengis.net/def/rel/ogc/1.0"
TEMPLATE = ("{tileMatrix}", "{tileRow}", "{tileCol}")
CONFORMANCE = [
    f"http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/{name}"
    for name in (
        "core", "tileset", "tilesets-list", "dataset-tilesets", "geodata-tilesets", "collections-selection", "mvt",
        "oas30",
    )
]  # fmt: skip
_TYPES = {"integer": "integer", "decimal": "number", "number": "number", "boolean": "boolean"}


def matrix_sets(service: Service, language: str) -> dict[str, Any]:
    """The list of tile matrix sets, of one."""
    _ = words.translator(language)
    here = links.address(service.url, "tileMatrixSets")
    item = links.link(f"{REL}/tiling-scheme", f"{here}/{matrix.ID}", "application/json", matrix.ID)
    own = links.link("self", here, "application/json", _("This document as JSON"))
    listed = {"id": matrix.ID, "title": matrix.ID, "uri": matrix.URI, "crs": matrix.CRS}
    return {"tileMatrixSets": [{**listed, "links": [{**item, "rel": "self"}, item]}], "links": [own]}


def tilesets(service: Service, layer: Layer | None, language: str) -> dict[str, Any]:
    """The list of tilesets of a layer or, None, of the dataset: one."""
    _ = words.translator(language)
    here = _address(service, layer)
    listed = _core(service, layer, language)
    listed["links"] = [_self(here, language), _scheme(service)]
    own = links.link("self", f"{here}?f=json", "application/json", _("This document as JSON"))
    page = links.link("alternate", f"{here}?f=html", "text/html", _("This document as HTML"))
    return {"tilesets": [listed], "links": [own, page]}


def metadata(
    service: Service, layer: Layer | None, shown: Sequence[Shown], language: str, chosen: str | None
) -> dict[str, Any]:  # fmt: skip
    """A tileset's metadata. `chosen`: the parameter `collections` as it was given, which the links repeat."""
    _ = words.translator(language)
    here = _address(service, layer)
    document = _core(service, layer, language)
    document["tileMatrixSetLimits"] = [
        {"tileMatrix": str(zoom), "minTileRow": at[0], "maxTileRow": at[1], "minTileCol": at[2], "maxTileCol": at[3]}
        for zoom in range(matrix.LAST + 1)
        if (at := tileset.limits(shown, zoom)) is not None
    ]
    if box := tileset.extent(shown):
        document["boundingBox"] = _box(box)
    document["layers"] = [_layer(service, each, language) for each in shown]
    document["links"] = [
        _self(here, language, chosen),
        links.link("alternate", _with(f"{here}/{matrix.ID}?f=html", chosen), "text/html", _("This document as HTML")),
        links.link("alternate", _with(f"{here}/{matrix.ID}?f=tilejson", chosen), matrix.TILEJSON, "TileJSON"),
        _scheme(service),
        links.link("item", _with(_template(here), chosen), matrix.MVT, _("Vector tiles"), templated=True),
    ]
    if layer is not None:
        data = links.address(service.url, "collections", layer.id)
        title = layer.title.in_language(language)
        document["links"].append(links.link(f"{REL}/geodata", data, "application/json", title))
    return document


def tilejson(
    service: Service, layer: Layer | None, shown: Sequence[Shown], language: str, chosen: str | None
) -> dict[str, Any]:  # fmt: skip
    """The same as TileJSON 3.0.0, for maps in a browser; `{y}` is the row, `{x}` the column."""
    template = _template(_address(service, layer))
    for name, short in zip(TEMPLATE, ("{z}", "{y}", "{x}"), strict=True):
        template = template.replace(name, short)
    box = tileset.extent(shown)
    document = {
        "tilejson": "3.0.0",
        "name": _title(service, layer, language),
        "scheme": "xyz",
        "tiles": [_with(template, chosen)],
        "minzoom": tileset.first(shown),
        "maxzoom": matrix.LAST,
        "attribution": ", ".join(dict.fromkeys(each.layer.steward.name.in_language(language) for each in shown)),
        "vector_layers": [_vector_layer(service, each, language) for each in shown],
    }
    if layer is not None:
        document["description"] = layer.description.in_language(language)
    if box is not None:
        document["bounds"] = list(box)
        document["center"] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, tileset.first(shown)]
    return document


def link_to(service: Service, layer: Layer | None, language: str) -> dict[str, Any]:
    """The link from a collection or, None, from the landing page to its tilesets."""
    title = words.translator(language)("Vector tiles")
    return links.link(f"{REL}/tilesets-vector", f"{_address(service, layer)}?f=json", "application/json", title)


def link_to_matrix_sets(service: Service, language: str) -> dict[str, Any]:
    title = words.translator(language)("Tile matrix sets")
    return links.link(f"{REL}/tiling-schemes", links.address(service.url, "tileMatrixSets"), "application/json", title)


def _core(service: Service, layer: Layer | None, language: str) -> dict[str, Any]:
    """What a list of tilesets must tell of each (/req/tilesets-list/tileset-links)."""
    return {
        "title": _title(service, layer, language), "dataType": "vector", "crs": matrix.CRS,
        "tileMatrixSetURI": matrix.URI, "tileMatrixSetId": matrix.ID,
    }  # fmt: skip


def _title(service: Service, layer: Layer | None, language: str) -> str:
    if layer is not None:
        return layer.title.in_language(language)
    return service.settings.title_en if language == "en" else service.settings.title_vi


def _address(service: Service, layer: Layer | None) -> str:
    steps = ("tiles",) if layer is None else ("collections", layer.id, "tiles")
    return links.address(service.url, *steps)


def _template(here: str) -> str:
    """Braces stand as they are: a URI template (RFC 6570)."""
    return "/".join([here, matrix.ID, *TEMPLATE])


def _with(address: str, chosen: str | None) -> str:
    return address if chosen is None else f"{address}{'&' if '?' in address else '?'}collections={chosen}"


def _self(here: str, language: str, chosen: str | None = None) -> dict[str, Any]:
    title = words.translator(language)("This document as JSON")
    return links.link("self", _with(f"{here}/{matrix.ID}?f=json", chosen), "application/json", title)


def _scheme(service: Service) -> dict[str, Any]:
    href = links.address(service.url, "tileMatrixSets", matrix.ID)
    return links.link(f"{REL}/tiling-scheme", href, "application/json", matrix.ID)


def _box(box: tuple[float, float, float, float]) -> dict[str, Any]:
    return {
        "lowerLeft": [box[0], box[1]], "upperRight": [box[2], box[3]],
        "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
    }  # fmt: skip


def _layer(service: Service, shown: Shown, language: str) -> dict[str, Any]:
    layer = shown.layer
    told_as = dimension(service.agency, layer)
    properties = {
        name: {"title": layer[name].title.in_language(language), "type": _type(layer[name])}
        for name in visible(service.agency, layer)
    }
    if is_of_areas(layer):
        properties[COUNT] = {"title": _counted(language), "type": "integer"}
    told: dict[str, Any] = {
        "id": layer.id, "title": layer.title.in_language(language),
        "description": layer.description.in_language(language), "dataType": "vector",
        **({"geometryDimension": told_as} if told_as is not None else {}),
        "minTileMatrix": str(shown.first), "maxTileMatrix": str(matrix.LAST),
        "propertiesSchema": {"type": "object", "properties": properties},
    }  # fmt: skip
    if shown.publication.extent is not None:
        told["boundingBox"] = _box(shown.publication.extent)
    return told


def _vector_layer(service: Service, shown: Shown, language: str) -> dict[str, Any]:
    layer = shown.layer
    fields = {name: layer[name].title.in_language(language) for name in visible(service.agency, layer)}
    return {
        "id": layer.id, "description": layer.description.in_language(language),
        "minzoom": shown.first, "maxzoom": matrix.LAST,
        "fields": fields | ({COUNT: _counted(language)} if is_of_areas(layer) else {}),
    }  # fmt: skip


def _counted(language: str) -> str:
    return words.translator(language)("Features that a square stands for, at zooms where they are too small")


def _type(attribute: Attribute) -> str:
    """The JSON type of an attribute in a tile; lists are JSON text."""
    return _TYPES.get(attribute.type, "string")
