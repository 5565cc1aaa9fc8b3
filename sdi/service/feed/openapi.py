"""The changes of a layer in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from sdi.contract.layer import Layer
from sdi.service.feed.offered import FORMATS, are_told

DESCRIPTION = (
    "What changed in the collection, as it exists for who asks, in the order of its loads: each feature at most once, "
    "with its latest state. Who replays all pages onto a copy has what a download has. The cursor of the last page is "
    "where to go on the next time, also when more or less is shown by then: what differs is told as changes are."
)


def parameters() -> dict[str, Any]:
    """Components that the operations refer to."""
    since = {
        "name": "since", "in": "query", "required": False, "schema": {"type": "string"},
        "description": "Where to begin: the 'cursor' of an earlier answer, the 'load' of a change, or an instant "
        "(RFC 3339), or 'now', all of which mean what comes after; without it from the beginning, as a download.",
    }  # fmt: skip
    offered = [*FORMATS]
    format_ = {"name": "f", "in": "query", "required": False,
               "schema": {"type": "string", "enum": offered, "default": offered[0]}}  # fmt: skip
    return {"since": since, "changes-f": format_}


def schemas() -> dict[str, Any]:
    change = {
        "type": "object", "required": ["action", "load", "at", "id"],
        "properties": {
            "action": {"type": "string", "enum": ["insert", "update", "delete"],
                       "description": "delete: the feature ended, or does not exist for who asks any more. insert and "
                       "update replace a feature with this id where there is one."},
            "load": {"type": "string", "description": "The name of a load after which the feature is so; names have no "
                     "order."},
            "at": {"type": "string", "format": "date-time", "description": "Record time: when that load was done."},
            "id": {"type": "string"},
            "feature": {"$ref": "#/components/schemas/featureGeoJSON"},
        },
    }  # fmt: skip
    page = {
        "type": "object", "required": ["collection", "changes", "numberReturned", "cursor", "more", "links"],
        "properties": {
            "collection": {"type": "string"},
            "changes": {"type": "array", "items": {"$ref": "#/components/schemas/change"}},
            "numberReturned": {"type": "integer", "minimum": 0},
            "cursor": {"type": "string", "description": "The 'since' of the next page, and of the next time."},
            "more": {"type": "boolean", "description": "Whether something is behind the page already."},
            "links": {"type": "array", "items": {"$ref": "#/components/schemas/link"}},
        },
    }  # fmt: skip
    return {"change": change, "changes": page}


def responses() -> dict[str, Any]:
    content: dict[str, Any] = {
        each.media_type: {"schema": {"type": "string"}} for each in FORMATS.values() if each.name != "json"
    }
    # Of a stream of events a schema tells one event.
    content["text/event-stream"] = {"schema": {
        "type": "object", "description": "An event: its id is a cursor, its data a page of changes as JSON.",
        "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    }}  # fmt: skip
    page = {"schema": {"$ref": "#/components/schemas/changes"}}
    return {"Changes": {"description": "A page of changes", "content": {"application/json": page} | content}}


def paths(layers: list[Layer]) -> dict[str, Any]:
    """The operation of each layer that has changes to tell."""
    return {f"/collections/{layer.id}/changes": _operation(layer) for layer in layers if are_told(layer)}


def _operation(layer: Layer) -> dict[str, Any]:
    word = "".join(part.capitalize() for part in layer.id.split("_"))
    names = ("since", "limit", "changes-f", "lang")
    return {
        "get": {
            "tags": [layer.id], "operationId": f"get{word}Changes", "summary": layer.title.en,
            "description": DESCRIPTION,
            "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
            "responses": {"200": {"$ref": "#/components/responses/Changes"},
                          "410": {"$ref": "#/components/responses/Problem"}},
        }
    }  # fmt: skip
