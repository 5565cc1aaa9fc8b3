"""The OpenAPI document: pygeoapi's, made self-contained and true to our own routes (OpenAPI 3.0.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pygeoapi.openapi import get_oas

from sdi import __version__
from sdi.access import Agency
from sdi.catalog.entry import JSONLD
from sdi.contract.layer import Layer
from sdi.service import formats
from sdi.service.door import openapi as door
from sdi.service.feed import openapi as feed
from sdi.service.links import GEOJSON
from sdi.service.operations import Said, described
from sdi.service.parameters import FILTER_LANGUAGES, RESERVED, comparable, searched
from sdi.service.portrayal import openapi as portrayal
from sdi.service.provider import field
from sdi.service.records import openapi as records
from sdi.service.statistics import openapi as statistics
from sdi.service.tiles import openapi as tiles
from sdi.settings import Settings


def document(
    config: dict[str, Any], settings: Settings, layers: Mapping[str, Layer], agency: Agency,
    counted: Mapping[str, Layer], *, collects: bool,
) -> dict[str, Any]:  # fmt: skip
    """What the service offers now to an agency, which `collects` layers or not."""
    spoken = config["server"]["languages"]
    # The first one is that of the document; by default the service speaks another.
    server = {**config["server"], "languages": sorted(spoken)}
    oas: dict[str, Any] = get_oas({**config, "server": server}, fail_on_invalid_collection=False)
    oas["components"]["parameters"]["lang"]["schema"] |= {"enum": spoken, "default": spoken[0]}
    oas["openapi"] = "3.0.3"
    oas["info"]["version"] = __version__
    oas["servers"] = [{"url": config["server"]["url"]}]
    oas["components"] = _components(oas["components"], settings)
    paths = {path: {"get": about["get"]} for path, about in oas["paths"].items() if _ours(path)}
    for name, layer in layers.items():
        paths |= _of_layer(name, layer, agency)
    paths |= _of_service() | tiles.paths(layers.values()) | feed.paths([*layers.values()])
    paths |= portrayal.paths(layers.values()) | records.paths() | statistics.paths(counted.values(), agency)
    known = oas["components"]["securitySchemes"] = door.schemes(settings)
    oas["security"] = door.security(known)
    paths |= door.paths(known, agency, collects=collects)
    linked = ["/", "/collections", *(f"/collections/{name}" for name in layers)]
    answers = {"/openapi": "OpenAPI", **dict.fromkeys(linked, "Linked")}
    said = Said({**counted, **layers}, "en")
    for path, operation in ((path, each) for path, about in paths.items() for each in about.values()):
        # Each names its layer alone until here, where all layers' paths are known.
        operation["summary"] = said.summary(path, operation)
        if path.endswith("/coverage"):
            operation["responses"] = {"200": {"$ref": "#/components/responses/Coverage"}}
            bands = [each for each in operation["parameters"] if each.get("name") == "properties"]
            operation["parameters"] = _refs("coverage-f", "lang", "bbox", "bbox-crs", "scale-size") + bands
        if path in answers:
            operation["responses"] = {"200": {"$ref": f"#/components/responses/{answers[path]}"}}
        if path.endswith(("/queryables", "/openapi")):
            operation["parameters"] = _refs("f", "lang")  # pygeoapi's own takes more
        operation["responses"] = _responses(operation["responses"])
        if "parameters" in operation and not path.endswith("/items"):
            operation["parameters"] = [each if "$ref" in each else described(each) for each in operation["parameters"]]
    for tag in oas["tags"]:
        if "externalDocs" in tag and not tag["externalDocs"].get("url"):
            del tag["externalDocs"]
    oas["paths"] = dict(sorted(paths.items()))
    return _local(oas)  # type: ignore[no-any-return]


def _ours(path: str) -> bool:
    """pygeoapi's operations that we serve as it describes them; items are described below."""
    return "/items" not in path and not path.startswith(("/processes", "/jobs", "/TileMatrixSets", "/stac"))


def _components(pygeoapi: dict[str, Any], settings: Settings) -> dict[str, Any]:
    parameters = {name: pygeoapi["parameters"][name] for name in
                  ("f", "lang", "bbox", "bbox-crs", "crs", "offset", "skipGeometry", "properties")}  # fmt: skip
    # QGIS takes its page size from here, and falls back to 100 where it is missing.
    parameters["limit"] = _parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": settings.max_limit, "default": settings.default_limit}
    )
    for name, offered in (("items-f", formats.ITEMS), ("item-f", formats.ITEM), ("export-f", formats.EXPORTS)):
        parameters[name] = _parameter("f", {"type": "string", "enum": [*offered], "default": next(iter(offered))})
    parameters["datetime"] = _parameter("datetime", {"type": "string"}) | {
        "description": "An instant or an interval of time (RFC 3339): 2026-07-01, 2026-07-01T00:00:00Z, "
        "2026-01-01/2026-07-01, 2026-01-01/.., ../2026-07-01, or a start and a duration (ISO 8601), 2026-01-01/P6M. "
        "What has no time is found by each."
    }
    parameters["as-of"] = _parameter("as-of", {"type": "string"}) | {
        "description": "Record time: the features as the store knew them at this instant (RFC 3339), or at the end of "
        "this day in Viet Nam; 'datetime' filters by the time in which they hold in the world."
    }
    parameters["cursor"] = _parameter("cursor", {"type": "string"}) | {
        "description": "Where the page begins, as the links 'next' and 'prev' of a page give it; not beside 'offset'."
    }
    parameters["sortby"] = _parameter("sortby", {"type": "array", "minItems": 1, "items": {"type": "string"}})
    parameters["q"] = _parameter("q", {"type": "array", "items": {"type": "string"}}) | {
        "description": "Text search in the attributes that name a feature, without case and marks. Words parted by "
        "blanks must stand one after the other in one attribute; of what commas part, one is enough."
    }
    parameters["filter"] = _parameter("filter", {"type": "string"})
    parameters["filter-lang"] = _parameter(
        "filter-lang", {"type": "string", "enum": list(FILTER_LANGUAGES), "default": FILTER_LANGUAGES[0]}
    )
    parameters["filter-crs"] = _parameter("filter-crs", {"type": "string", "format": "uri"})
    parameters["featureId"] = {"name": "featureId", "in": "path", "required": True, "schema": {"type": "string"}}
    parameters |= tiles.parameters() | feed.parameters() | portrayal.parameters() | records.parameters()
    parameters |= statistics.parameters()
    parameters["coverage-f"] = _parameter("f", {"type": "string", "enum": ["json", "GTiff"], "default": "json"})
    parameters["scale-size"] = _parameter("scale-size", {"type": "integer", "minimum": 1, "maximum": 4096})
    parameters = {name: described(each) for name, each in parameters.items()}
    schemas = _SCHEMAS | feed.schemas() | records.schemas() | statistics.schemas()
    return {"parameters": parameters, "responses": _COMMON, "schemas": schemas}


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "style": "form", "explode": False}


def _refs(*names: str) -> list[dict[str, Any]]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _of_layer(name: str, layer: Layer, agency: Agency) -> dict[str, Any]:
    if layer.coverage is not None:
        return {}
    common = {"tags": [name], "description": layer.description.en}
    collection = f"/collections/{name}"
    compared = []
    for attribute in [each for each in comparable(agency, layer) if each.name not in RESERVED]:
        schema = {word: value for word, value in field(attribute).items() if word in ("type", "format")}
        told = attribute.title.en if attribute.description is None else attribute.description.en
        compared.append(_parameter(attribute.name, schema) | {"description": told})
    text = ["q"] if searched(agency, layer) else []
    items = _refs("items-f", "lang", "limit", "offset", "cursor", "bbox", "bbox-crs", "crs", "datetime", *text, "as-of",
                  "properties", "sortby", "skipGeometry", "filter", "filter-lang", "filter-crs")  # fmt: skip
    item = _refs("featureId", "item-f", "lang", "crs", "as-of")
    word = "".join(part.capitalize() for part in name.split("_"))
    paths = {
        f"{collection}/items": _get(f"get{word}Features", layer.title.en, "Features", items + compared, common),
        f"{collection}/items/{{featureId}}": _get(f"get{word}Feature", layer.title.en, "Feature", item, common),
        f"{collection}/sortables": _get(f"get{word}Sortables", layer.title.en, "Schema", _refs("f", "lang"), common),
    }
    if layer.sharing.level != "steward":
        whole = _refs("export-f", "lang", "crs")
        paths[f"{collection}/export"] = _get(f"get{word}Export", layer.title.en, "Export", whole, common)
        paths[f"{collection}/export/sha256"] = _get(f"get{word}Checksum", layer.title.en, "Checksum", whole, common)
    if layer.dossier is not None:
        path = f"/{layer.dossier.path}/{{featureId}}/dossier"
        paths[path] = _get(f"get{word}Dossier", layer.title.en, "Dossier", _refs("featureId", "f", "lang"), common)
    return paths


def _of_service() -> dict[str, Any]:
    tags = {"tags": ["server"]}
    return {
        "/health": _get("getHealth", "Whether the service and its store answer", "Document", [], tags),
        "/code-lists/{codeList}": _get(
            "getCodeList", "A code list with its labels and dates", "Document",
            [{"name": "codeList", "in": "path", "required": True, "schema": {"type": "string"}}, *_refs("f", "lang")],
            tags,
        ),
    }  # fmt: skip


def _get(
    operation: str, summary: str, response: str, parameters: list[dict[str, Any]], common: dict[str, Any]
) -> dict[str, Any]:  # fmt: skip
    ok = {"200": {"$ref": f"#/components/responses/{response}"}}
    return {"get": {**common, "operationId": operation, "summary": summary, "parameters": parameters, "responses": ok}}


_FAULTS = ("400", "401", "404", "413", "414", "429", "431", "500", "503")
"""What any address may answer: also that a key opens nothing, that it is too much, or not ready."""


def _responses(given: dict[str, Any]) -> dict[str, Any]:
    faults = {status: {"$ref": "#/components/responses/Problem"} for status in _FAULTS}
    more: dict[str, Any] = {status: given[status] for status in ("204", "403", "410") if status in given}
    return {"200": given["200"], **more, **faults}


def _local(node: Any) -> Any:
    """The document without references to other sites: a client behind a firewall reads it whole."""
    if isinstance(node, list):
        return [_local(each) for each in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        kind, name = re.sub(r".*#/components/", "", reference).rpartition("/")[::2]
        if kind == "responses":
            return {"$ref": f"#/components/responses/{name if name in _COMMON else 'Document'}"}
        return {"name": "subset", "in": "query", "required": False, "schema": {"type": "string"}}
    if isinstance(reference, str) and reference.startswith("#/components/responses/"):
        name = {"Queryables": "Schema"}.get(reference.rpartition("/")[2], reference.rpartition("/")[2])
        return {"$ref": f"#/components/responses/{name if name in _COMMON else 'Document'}"}
    return {key: _local(value) for key, value in node.items()}


def _answer(media_type: str, schema: dict[str, Any], description: str, *alike: str) -> dict[str, Any]:
    """`alike`: other media types of the same schema."""
    return {
        "description": description,
        "content": {**{each: {"schema": schema} for each in (media_type, *alike)},
                    "text/html": {"schema": {"type": "string"}}},
    }  # fmt: skip


_KIN: dict[str, Any] = {
    "type": "array",
    "description": "Features of the same collection that it was formed from (parents) or became (children).",
    "items": {
        "type": "object", "required": ["id", "toldBy", "href"],
        "properties": {
            "id": {"type": "string"},
            "kind": {"type": "string", "enum": ["split", "merge", "redivision", "renumbering", "replacement"]},
            "toldBy": {"type": "string", "enum": ["delivery", "geometry", "both"]},
            "sharedArea": {"type": "number", "description": "m²"},
            "shareOfParent": {"type": "number", "description": "%"},
            "shareOfChild": {"type": "number", "description": "%"},
            "asOf": {"type": "string", "format": "date-time", "description": "Of one that has ended: just before."},
            "href": {"type": "string"},
        },
    },
}  # fmt: skip

_SCHEMAS: dict[str, Any] = {
    "link": {
        "type": "object", "required": ["href", "rel"],
        "properties": {"href": {"type": "string"}, "rel": {"type": "string"}, "type": {"type": "string"},
                       "title": {"type": "string"}},
    },
    "featureGeoJSON": {
        "type": "object", "required": ["type", "geometry", "properties"],
        "properties": {
            "type": {"type": "string", "enum": ["Feature"]}, "id": {"type": "string"},
            "geometry": {"type": "object", "nullable": True}, "properties": {"type": "object", "nullable": True},
            "parents": _KIN, "children": _KIN,
            "links": {"type": "array", "items": {"$ref": "#/components/schemas/link"}},
        },
    },
    "featureCollectionGeoJSON": {
        "type": "object", "required": ["type", "features"],
        "properties": {
            "type": {"type": "string", "enum": ["FeatureCollection"]},
            "features": {"type": "array", "items": {"$ref": "#/components/schemas/featureGeoJSON"}},
            "numberMatched": {"type": "integer", "minimum": 0, "description": "Exact wherever it stands."},
            "numberMatchedAtLeast": {"type": "integer", "minimum": 0,
                                     "description": "In place of numberMatched where counting would take too long."},
            "numberReturned": {"type": "integer", "minimum": 0},
            "asOf": {"type": "string", "format": "date-time", "description": "As of when the features are."},
            "links": {"type": "array", "items": {"$ref": "#/components/schemas/link"}},
        },
    },
    "problem": {
        "type": "object",
        "properties": {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
                       "detail": {"type": "string"}, "instance": {"type": "string"}},
    },
    "dossier": {
        "type": "object", "required": ["id", "collection", "properties", "subject", "related", "links"],
        "properties": {
            "id": {"type": "string"}, "title": {"type": "string"}, "collection": {"type": "string"},
            "properties": {"type": "object", "description": "What the derived layer says of the subject."},
            "subject": {"type": "object", "required": ["collection", "title", "feature"],
                        "properties": {"collection": {"type": "string"}, "title": {"type": "string"},
                                       "feature": {"$ref": "#/components/schemas/featureGeoJSON"}}},
            "related": {"type": "array", "items": {"$ref": "#/components/schemas/dossierPart"}},
            "parents": _KIN, "children": _KIN,
            "links": {"type": "array", "items": {"$ref": "#/components/schemas/link"}},
        },
    },
    "dossierPart": {
        "type": "object", "required": ["attribute", "title", "collection", "items"],
        "properties": {
            "attribute": {"type": "string"}, "title": {"type": "string"}, "collection": {"type": "string"},
            "items": {"type": "array", "items": {
                "type": "object", "required": ["id", "properties"],
                "properties": {
                    "id": {"type": "string"},
                    "relation": {"type": "object", "description": "The list item's own fields, e.g. m² and %."},
                    "properties": {"type": "object", "nullable": True,
                                   "description": "The related feature's; null where its layer is not served."},
                    "geometry": {"type": "object", "nullable": True},
                    "href": {"type": "string"},
                },
            }},
        },
    },
}  # fmt: skip


def _features(description: str, schema: str, offered: Mapping[str, formats.Format]) -> dict[str, Any]:
    """Features in each format; only GeoJSON has a schema here."""
    answer = _answer(GEOJSON, {"$ref": f"#/components/schemas/{schema}"}, description)
    for each in offered.values():
        answer["content"].setdefault(each.media_type, {"schema": each.schema})
    return answer


_COMMON: dict[str, Any] = {
    **records.responses(),
    "Features": _features("Features", "featureCollectionGeoJSON", formats.ITEMS),
    "Export": {
        "description": "The whole layer as one file; 503 with Retry-After while it is being made. Repr-Digest "
        "(RFC 9530) has its SHA-256; Range is understood.",
        "content": {each.media_type: {"schema": each.schema} for each in formats.EXPORTS.values()},
    },
    "Checksum": {
        "description": "The file's SHA-256, as sha256sum --check reads it",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    "Feature": _features("A feature", "featureGeoJSON", formats.ITEM),
    "Schema": _answer("application/schema+json", {"type": "object"}, "A JSON Schema"),
    "Dossier": _answer("application/json", {"$ref": "#/components/schemas/dossier"}, "One document on one feature"),
    "Coverage": {
        "description": "A coverage: its values as CoverageJSON, or as a GeoTIFF",
        "content": {
            "application/prs.coverage+json": {"schema": {"type": "object"}},
            "image/tiff; application=geotiff": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "OpenAPI": _answer("application/vnd.oai.openapi+json;version=3.0", {"type": "object"}, "This document"),
    "Document": _answer("application/json", {"type": "object"}, "A document"),
    "Linked": _answer("application/json", {"type": "object"}, "A document", JSONLD),
    "Tile": tiles.tile_response(),
    "Tileset": tiles.tileset_response(),
    **feed.responses(),
    **portrayal.responses(),
    **statistics.responses(),
    "Problem": {
        "description": "What went wrong (RFC 9457)",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}},
            "text/html": {"schema": {"type": "string"}},
        },
        "headers": {
            "Retry-After": {"description": "Seconds, with 429 and 503", "schema": {"type": "integer", "minimum": 0}},
            "WWW-Authenticate": {"description": "With 401", "schema": {"type": "string"}},
        },
    },
}
