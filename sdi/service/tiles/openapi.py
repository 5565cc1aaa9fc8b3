"""The tile resources in the OpenAPI document, their operations named as OGC 20-057 asks (/req/oas30/operation-id)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sdi.contract.layer import Layer
from sdi.service.tiles import matrix
from sdi.service.tiles.tileset import is_tiled

_TMS = {"type": "string", "enum": [matrix.ID]}


def parameters() -> dict[str, Any]:
    """Components that the operations refer to."""
    number = {"type": "integer", "minimum": 0}
    within = {
        "tileMatrixSetId": _TMS,
        "tileMatrix": {"type": "string", "pattern": r"^\d{1,2}$"},
        "tileRow": number,
        "tileCol": number,
    }
    found: dict[str, Any] = {
        name: {"name": name, "in": "path", "required": True, "schema": schema} for name, schema in within.items()
    }
    for name, formats in (("tile-f", ["mvt"]), ("tilesets-f", ["json", "html"]),
                          ("tileset-f", ["json", "tilejson", "html"]), ("json-f", ["json"])):  # fmt: skip
        schema = {"type": "string", "enum": formats, "default": formats[0]}
        found[name] = {"name": "f", "in": "query", "required": False, "schema": schema}
    found["collections"] = {
        "name": "collections", "in": "query", "required": False, "style": "form", "explode": False,
        "description": "The collections that a tile shows, in this order; without it all.",
        "schema": {"type": "array", "items": {"type": "string"}},
    }  # fmt: skip
    return found


def tile_response() -> dict[str, Any]:
    return {"description": "A vector tile", "content": {matrix.MVT: {"schema": {"type": "string", "format": "binary"}}}}


def tileset_response() -> dict[str, Any]:
    """What is told of a tileset, in OGC's words or in TileJSON's."""
    document = {"schema": {"type": "object"}}
    content = {"application/json": document, matrix.TILEJSON: document, "text/html": {"schema": {"type": "string"}}}
    return {"description": "A tileset", "content": content}


def paths(layers: Iterable[Layer]) -> dict[str, Any]:
    """The operations on the tile matrix set, on the tiles of the dataset, and on those of each layer."""
    server = {"tags": ["server"]}
    found = {
        "/tileMatrixSets": _get("getTileMatrixSetsList", "Tile matrix sets", "Document", ["json-f", "lang"], server),
        "/tileMatrixSets/{tileMatrixSetId}": _get(
            "getTileMatrixSet", "A tile matrix set", "Document", ["tileMatrixSetId", "json-f", "lang"], server
        ),
        **_tilesets("", ".dataset", "Vector tiles", server, ["collections"]),
    }
    for layer in layers:
        if is_tiled(layer):
            about = {"tags": [layer.id], "description": layer.description.en}
            found |= _tilesets(f"/collections/{layer.id}", f"{layer.id}.collection", layer.title.en, about, [])
    return found


def _tilesets(at: str, operation: str, title: str, about: dict[str, Any], chosen: list[str]) -> dict[str, Any]:
    one = f"{at}/tiles/{{tileMatrixSetId}}"
    address = ["tileMatrixSetId", "tileMatrix", "tileRow", "tileCol"]
    tile = _get(f"{operation}.vector.getTile", title, "Tile", [*address, *chosen, "tile-f"], about)
    tile["get"]["responses"]["204"] = {"description": "The tile is empty."}
    return {
        f"{at}/tiles": _get(f"{operation}.vector.getTileSetsList", title, "Document", ["tilesets-f", "lang"], about),
        one: _get(
            f"{operation}.vector.getTileSet",
            title,
            "Tileset",
            ["tileMatrixSetId", *chosen, "tileset-f", "lang"],
            about,
        ),
        f"{one}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}": tile,
    }


def _get(operation: str, summary: str, response: str, names: list[str], about: dict[str, Any]) -> dict[str, Any]:
    refs = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    ok = {"200": {"$ref": f"#/components/responses/{response}"}}
    return {"get": {**about, "operationId": operation, "summary": summary, "parameters": refs, "responses": ok}}
