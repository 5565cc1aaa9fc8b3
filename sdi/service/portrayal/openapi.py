"""Styles and QGIS projects in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sdi.catalog.qgis.project import MEDIA_TYPE
from sdi.contract.layer import Layer
from sdi.service.portrayal.encodings import DEFAULT, ENCODINGS, OF_DATASET, Encoding


def parameters() -> dict[str, Any]:
    """Components that the operations refer to."""
    found: dict[str, Any] = {
        "styleId": {"name": "styleId", "in": "path", "required": True, "schema": {"type": "string", "enum": [DEFAULT]}},
        "agencyId": {"name": "agencyId", "in": "path", "required": True, "schema": {"type": "string"},
                     "description": "'public', or the agency whose key is shown."},
    }  # fmt: skip
    for name, formats in (("style-f", [*ENCODINGS]), ("dataset-style-f", [*OF_DATASET]), ("qgz-f", ["qgz"])):
        schema = {"type": "string", "enum": formats, "default": formats[0]}
        found[name] = {"name": "f", "in": "query", "required": False, "schema": schema}
    return found


def responses() -> dict[str, Any]:
    project = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "Style": _styles(ENCODINGS),
        "DatasetStyle": _styles(OF_DATASET),
        "QgisProject": {"description": "A QGIS project with all that the agency may see", "content": project},
    }  # fmt: skip


def _styles(offered: Mapping[str, Encoding]) -> dict[str, Any]:
    types = {each.media_type: "object" if "json" in each.media_type else "string" for each in offered.values()}
    return {"description": "A style", "content": {name: {"schema": {"type": kind}} for name, kind in types.items()}}


def paths(layers: Iterable[Layer]) -> dict[str, Any]:
    """The operations on the styles of the dataset and of each layer, and on projects."""
    server = {"tags": ["server"]}
    found = _paths("", "dataset", "Styles", server, "DatasetStyle", "dataset-style-f")
    found["/qgis/{agencyId}.qgz"] = _get("getQgisProject", "QGIS", "QgisProject", ["agencyId", "qgz-f", "lang"], server)
    for layer in layers:
        if layer.geometry is not None:
            about = {"tags": [layer.id], "description": layer.description.en}
            found |= _paths(f"/collections/{layer.id}", layer.id, layer.title.en, about, "Style", "style-f")
    return found


def _paths(at: str, name: str, title: str, about: dict[str, Any], response: str, format_: str) -> dict[str, Any]:
    return {
        f"{at}/styles": _get(f"{name}.getStyles", title, "Document", ["json-f", "lang"], about),
        f"{at}/styles/{{styleId}}": _get(f"{name}.getStyle", title, response, ["styleId", format_, "lang"], about),
    }


def _get(operation: str, summary: str, response: str, names: list[str], about: dict[str, Any]) -> dict[str, Any]:
    refs = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    ok = {"200": {"$ref": f"#/components/responses/{response}"}}
    return {"get": {**about, "operationId": operation, "summary": summary, "parameters": refs, "responses": ok}}
