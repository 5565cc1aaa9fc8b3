"""JSON Schemas made from contracts: of a layer's features (OGC API Features Part 5), its queryables, contracts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sdi.contract.codelist import CodeList
from sdi.contract.layer import Attribute, Band, Item, Layer
from sdi.contract.registry import Registry

DRAFT = "https://json-schema.org/draft/2020-12/schema"
LONGEST_ENUMERATION = 400
"""Code lists with more values (the communes) are named by their URI only."""

_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "code": {"type": "string"},
    "integer": {"type": "integer"},
    "decimal": {"type": "number"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
}
"""One word each, though GeoJSON has null where there is no value: that is told by what is absent from `required`.

The schema is a logical model, whatever the format (OGC 23-058, 7): a time SHALL be a "string" (/req/schemas/properties,
D), and null is understood unless a property is required (opengeospatial/ogcapi-features, issue 868). QGIS takes a
property whose type is a list for a text, and passes it over among the queryables: we are not asked to filter by it.
"""


def feature_schema(
    layer: Layer,
    code_lists: Mapping[str, CodeList],
    *,
    attributes: Iterable[str] | None = None,
    emptied: Collection[str] = (),
    identifier: str | None = None,
    code_lists_at: str = "../code_lists",
    language: str | None = None,
    shape: str | None = None,
) -> dict[str, Any]:
    """The schema of a layer's features: JSON Schema 2020-12 with the roles, units and code lists of Part 5.

    `attributes`: the names that are shown, None for all that are stored; `emptied`: those that are hidden in some
    features, whatever is promised of them; `identifier`: the `$id`; `code_lists_at`: the URI below which code lists are
    found; `language`: of titles, None for Vietnamese with English beside it; `shape`: the type of geometry that is
    told, `Unknown` for several, None for the contract's.
    """
    names = [attribute.name for attribute in layer.stored] if attributes is None else list(attributes)
    properties: dict[str, Any] = {
        "id": {"type": "string", "x-ogc-role": "id", "x-ogc-propertySeq": 1, "readOnly": True}
    }
    if layer.geometry is not None:
        properties["geometry"] = {
            "x-ogc-role": "primary-geometry",
            "x-ogc-propertySeq": 2,
            "format": "geometry-any" if shape == "Unknown" else f"geometry-{(shape or layer.geometry.type).lower()}",
        }
    for sequence, name in enumerate(names, start=3):
        attribute = layer[name]
        properties[name] = _property(attribute, code_lists, code_lists_at, language) | {"x-ogc-propertySeq": sequence}
        if role := _role(layer, name):
            properties[name]["x-ogc-role"] = role
    if layer.coverage is not None:
        properties = {band.name: _band(band, language) for band in layer.coverage.bands}
    schema = {
        "$schema": DRAFT,
        "$id": identifier or f"{layer.id}.json",
        "type": "object",
        **_texts(layer, language),
        "properties": properties,
        "additionalProperties": False,
    }
    required = [name for name in names if layer[name].required and name not in emptied]
    return schema | ({"required": required} if required else {})


def queryables(
    layer: Layer, code_lists: Mapping[str, CodeList], *, attributes: Iterable[str], identifier: str,
    code_lists_at: str, language: str, shape: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The schema of what a filter may name (OGC API Features Part 3): id, geometry, the queryable attributes."""
    names = [name for name in attributes if layer[name].queryable]
    schema = feature_schema(
        layer, code_lists, attributes=names, identifier=identifier, code_lists_at=code_lists_at, language=language,
        shape=shape,
    )  # fmt: skip
    schema.pop("required", None)
    for about in schema["properties"].values():
        about.pop("x-ogc-propertySeq", None)
        about.pop("readOnly", None)
    return schema


def sortables(layer: Layer, schema: dict[str, Any]) -> dict[str, Any]:
    """The part of a queryables schema that `sortby` may name: everything with an order."""
    ordered = {
        name: shape
        for name, shape in schema["properties"].items()
        if name == "id" or (name in layer.by_name and layer[name].type != "list")
    }
    return schema | {"properties": ordered}


def layer_schema() -> dict[str, Any]:
    """The schema of a contract file: what editors complete and explain in `layers/*.yaml`."""
    return {"$schema": DRAFT, "$id": "layer.schema.json", **Layer.model_json_schema()}


def generated(registry: Registry) -> dict[str, str]:
    """All files of `schemas/`, by path below it, with their text (UTF-8, ends in a newline)."""
    files: dict[str, dict[str, Any]] = {"layer.schema.json": layer_schema()}
    for layer in registry:
        # The JSON answer holds dates, decimals and lists as JSON has them; restricted attributes are named here too:
        # the contract is public, the values are not.
        files[f"features/{layer.id}.json"] = feature_schema(
            layer, registry.code_lists, code_lists_at="../../layers/code_lists"
        )
    return {path: json.dumps(schema, ensure_ascii=False, indent=2) + "\n" for path, schema in sorted(files.items())}


def _texts(named: Layer | Attribute | Item | Band, language: str | None) -> dict[str, Any]:
    description = getattr(named, "description", None)
    texts: dict[str, Any] = {"title": named.title.in_language(language or "vi")}
    if description is not None:
        texts["description"] = description.in_language(language or "vi")
    if language is None:
        english = {"title": named.title.en} | ({"description": description.en} if description is not None else {})
        texts["x-en"] = english
    return texts


def _property(
    attribute: Attribute, code_lists: Mapping[str, CodeList], code_lists_at: str, language: str | None
) -> dict[str, Any]:
    shape = _texts(attribute, language)
    if attribute.type == "list":
        items = {item.name: _value(item, code_lists, code_lists_at, language) for item in attribute.items or []}
        shape |= {"type": "array", "items": {"type": "object", "properties": items}}
    else:
        shape |= _value(attribute, code_lists, code_lists_at, language)
    bounds = {"pattern": attribute.pattern, "minimum": attribute.minimum, "maximum": attribute.maximum,
              "maxLength": attribute.max_length}  # fmt: skip
    shape |= {word: bound for word, bound in bounds.items() if bound is not None}
    if attribute.official_name:
        shape["x-sdi-officialName"] = attribute.official_name
    return shape


def _value(
    part: Attribute | Item, code_lists: Mapping[str, CodeList], code_lists_at: str, language: str | None
) -> dict[str, Any]:
    shape = (_texts(part, language) if isinstance(part, Item) else {}) | _TYPES[part.type]
    if part.unit:
        shape |= {"x-ogc-unit": part.unit, "x-ogc-unitLang": "UCUM"}
    if part.code_list:
        shape["x-ogc-codelistUri"] = f"{code_lists_at}/{part.code_list}"
        shape |= _enumeration(code_lists.get(part.code_list), language)
    return shape


def _enumeration(codes: CodeList | None, language: str | None) -> dict[str, Any]:
    if codes is None or not 0 < len(codes.values()) <= LONGEST_ENUMERATION:
        return {}
    newest = {code.code: code for code in codes.codes}
    english = language == "en"
    return {"oneOf": [{"const": value, "title": newest[value].label_en if english else newest[value].label_vi}
                      for value in codes.values()]}  # fmt: skip


def _band(band: Band, language: str | None) -> dict[str, Any]:
    return _texts(band, language) | {"type": "number", "x-ogc-unit": band.unit, "x-ogc-unitLang": "UCUM"}


def _role(layer: Layer, name: str) -> str | None:
    temporal = layer.temporal
    roles = (
        {
            temporal.start: "primary-interval-start",
            temporal.end: "primary-interval-end",
            temporal.instant: "primary-instant",
        }
        if temporal
        else {}
    )
    return roles.get(name)
