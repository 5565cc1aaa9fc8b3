"""The catalogue's resources in the OpenAPI document (OGC 20-004r1, /req/oas30)."""

from __future__ import annotations

from typing import Any

from sdi.catalog.entry import CATALOGUE, ISO19139, JSONLD, OGC_CATALOG
from sdi.catalog.record import GEOJSON, SORTABLES

_TEXTS = {"type": "array", "items": {"type": "string"}}
_LINK = {"$ref": "#/components/schemas/link"}


def parameters() -> dict[str, Any]:
    """Components that the operations refer to."""
    found = {
        name: {"name": name, "in": "query", "required": False, "schema": _TEXTS, "style": "form", "explode": False,
               "description": told}
        for name, told in (
            ("type", "Types of what a record describes; here there are data sets only."),
            ("ids", "Ids of records."),
            ("externalIds", "Official names, each as value, scheme:value or scheme:."),
        )
    }  # fmt: skip
    for name, formats in (
        ("catalogue-f", ["jsonld", "html"]), ("catalog-f", ["json", "html", "ogc-catalog"]),
        ("record-f", ["json", "html", "jsonld", "iso19139"]), ("records-f", ["json", "html"]),
    ):  # fmt: skip
        schema = {"type": "string", "enum": formats, "default": formats[0]}
        found[name] = {"name": "f", "in": "query", "required": False, "schema": schema}
    found["record-sortby"] = {
        "name": "sortby", "in": "query", "required": False, "style": "form", "explode": False,
        "schema": {"type": "array", "minItems": 1,
                   "items": {"type": "string", "pattern": f"^[+-]?({'|'.join(SORTABLES)})$"}},
    }  # fmt: skip
    found["recordId"] = {"name": "recordId", "in": "path", "required": True, "schema": {"type": "string"}}
    found["collection"] = {"name": "collection", "in": "query", "required": False, "schema": {"type": "string"}}
    return found


def schemas() -> dict[str, Any]:
    """What records, the open-data list and the changes look like."""
    record = {
        "type": "object", "required": ["id", "type", "time", "geometry", "properties", "links"],
        "properties": {
            "id": {"type": "string"}, "type": {"type": "string", "enum": ["Feature"]},
            "time": {"type": "object", "nullable": True}, "geometry": {"type": "object", "nullable": True},
            "properties": {"type": "object", "required": ["type", "title"]},
            "links": {"type": "array", "items": _LINK},
        },
    }  # fmt: skip
    of_records = {
        "type": "object", "required": ["type", "features", "links"],
        "properties": {
            "type": {"type": "string", "enum": ["FeatureCollection"]},
            "features": {"type": "array", "items": {"$ref": "#/components/schemas/recordGeoJSON"}},
            "numberMatched": {"type": "integer", "minimum": 0}, "numberReturned": {"type": "integer", "minimum": 0},
            "links": {"type": "array", "items": _LINK},
        },
    }  # fmt: skip
    return {"recordGeoJSON": record, "recordCollectionGeoJSON": of_records}


def responses() -> dict[str, Any]:
    """By name, as the operations refer to them."""
    page = {"schema": {"type": "string"}}
    anything = {"schema": {"type": "object"}}
    return {
        "Catalogue": {"description": "The catalogue in DCAT-AP", "content": {JSONLD: anything, "text/html": page}},
        "Catalog": {"description": "The collection of records", "content": {
            "application/json": anything, OGC_CATALOG: anything, "text/html": page}},
        "Records": {"description": "Records", "content": {
            GEOJSON: {"schema": {"$ref": "#/components/schemas/recordCollectionGeoJSON"}}, "text/html": page}},
        "Record": {"description": "A record", "content": {
            GEOJSON: {"schema": {"$ref": "#/components/schemas/recordGeoJSON"}}, "text/html": page, JSONLD: anything,
            ISO19139: {"schema": {"type": "string"}}}},
    }  # fmt: skip


def paths() -> dict[str, Any]:
    """The operations."""
    at = f"/collections/{CATALOGUE}"
    searching = ["q", "bbox", "datetime", "type", "ids", "externalIds", "limit", "offset", "record-sortby"]
    return {
        "/catalogue": _get("getCatalogue", "The whole catalogue", "Catalogue", "catalogue-f"),
        "/catalogue/changes": _get("getRegisterChanges", "What changed in the register, the latest first", "Document",
                                   "records-f", "collection", "datetime", "limit", "offset"),
        "/open-data": _get("getOpenData", "The open layers, and those announced", "Document", "records-f"),
        at: _get("describeCatalogue", "The collection of records", "Catalog", "catalog-f"),
        f"{at}/sortables": _get("getCatalogueSortables", "What records are sorted by", "Schema", "json-f"),
        f"{at}/items": _get("getRecords", "Records", "Records", "records-f", *searching),
        f"{at}/items/{{recordId}}": _get("getRecord", "A record", "Record", "record-f", "recordId"),
    }  # fmt: skip


def _get(operation: str, summary: str, response: str, form: str, *names: str) -> dict[str, Any]:
    refs = [{"$ref": f"#/components/parameters/{name}"} for name in (form, "lang", *names)]
    ok = {"200": {"$ref": f"#/components/responses/{response}"}}
    return {"get": {"tags": ["catalogue"], "operationId": operation, "summary": summary, "parameters": refs,
                    "responses": ok}}  # fmt: skip
