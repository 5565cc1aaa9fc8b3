"""The statistics of layers in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sdi.access import Agency
from sdi.access.disclosure import LEAST
from sdi.contract.layer import Layer
from sdi.service.statistics.question import FORMATS, tables

DESCRIPTION = (
    f"Counts and sums by groups of features, as they exist for who asks. A group of fewer than {LEAST} is not told, "
    "nor what it could be worked out from: small values stand together as '*', and cells are suppressed."
)


def parameters() -> dict[str, Any]:
    """Components that the operations refer to."""
    schema = {"type": "string", "enum": [*FORMATS], "default": next(iter(FORMATS))}
    return {"statistics-f": {"name": "f", "in": "query", "required": False, "schema": schema}}


def schemas() -> dict[str, Any]:
    count = {"type": "integer", "nullable": True, "description": "null where it is not told."}
    numbers = {"type": "object", "required": ["count"],
               "properties": {"count": count, "suppressed": {"type": "boolean"}}}  # fmt: skip
    dimension = {
        "type": "object", "required": ["name", "title", "titles"],
        "properties": {
            "name": {"type": "string"}, "title": {"type": "string"},
            "titles": {"type": "object", "additionalProperties": {"type": "string"}},
            "together": {"type": "array", "nullable": True, "items": {"type": "string", "nullable": True},
                         "description": "The values that stand as '*'; null where it is not told which."},
        },
    }  # fmt: skip
    measure = {"type": "object", "required": ["name", "title"],
               "properties": {name: {"type": "string"} for name in ("name", "title", "unit")}}  # fmt: skip
    table = {
        "type": "object",
        "required": ["collection", "by", "least", "dimensions", "measures", "total", "groups", "links"],
        "properties": {
            "collection": {"type": "string"}, "title": {"type": "string"},
            "by": {"type": "array", "items": {"type": "string"}}, "least": {"type": "integer"},
            "dimensions": {"type": "array", "items": dimension}, "measures": {"type": "array", "items": measure},
            "total": numbers, "groups": {"type": "array", "items": numbers},
            "links": {"type": "array", "items": {"$ref": "#/components/schemas/link"}},
        },
    }  # fmt: skip
    return {"statistics": table}


def responses() -> dict[str, Any]:
    content: dict[str, Any] = {each.media_type: {"schema": {"type": "string"}} for each in FORMATS.values()}
    content["application/json"] = {"schema": {"$ref": "#/components/schemas/statistics"}}
    return {"Statistics": {"description": "A table of statistics", "content": content}}


def paths(layers: Iterable[Layer], agency: Agency) -> dict[str, Any]:
    """The list, and the operation of each of these layers; all have statistics for who asks."""
    listed = {
        "get": {
            "tags": ["server"], "operationId": "getStatistics", "summary": "Statistics",
            "description": "The layers of which there are statistics for who asks.",
            "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in ("f", "lang")],
            "responses": {"200": {"$ref": "#/components/responses/Document"}},
        }
    }  # fmt: skip
    found = {f"/collections/{layer.id}/statistics": _operation(layer, agency) for layer in layers}
    return {"/statistics": listed, **found}


def _operation(layer: Layer, agency: Agency) -> dict[str, Any]:
    word = "".join(part.capitalize() for part in layer.id.split("_"))
    offered = [",".join(by) for by in tables(agency, layer)]
    by = {"name": "by", "in": "query", "required": False, "description": "The dimensions of the table.",
          "schema": {"type": "string", "enum": offered, "default": offered[0]}}  # fmt: skip
    refs = [{"$ref": f"#/components/parameters/{name}"} for name in ("statistics-f", "lang")]
    return {
        "get": {
            "tags": ["server"], "operationId": f"get{word}Statistics", "summary": layer.title.en,
            "description": DESCRIPTION, "parameters": [by, *refs],
            "responses": {"200": {"$ref": "#/components/responses/Statistics"}},
        }
    }  # fmt: skip
