"""The dossier: one document on one feature, from a derived layer whose contract says so.

The derived row and its subject, which has the same id, with its geometry; and for each attribute that refers to another
layer the related features as far as they exist for who asks. No layer is known by name.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sdi.access import PUBLIC, rule_of, visible
from sdi.contract.layer import Attribute, Layer
from sdi.contract.query import Area, FeatureQuery
from sdi.contract.registry import Registry
from sdi.service import items, kin, links, naming, observe, plan, words
from sdi.service.asked import Asked
from sdi.service.crs import DEFAULT
from sdi.service.pages import Pages
from sdi.service.publications import Publications, Snapshot
from sdi.service.reader import Reader
from sdi.service.rights import seen
from sdi.service.state import Service, service_of
from sdi.settings import Settings
from sdi.store import engine

MOST_NEIGHBOURS = 400


async def document(
    service: Service, snapshot: Snapshot, derived: Layer, feature_id: str, asked: Asked
) -> dict[str, Any]:  # fmt: skip
    """The dossier with geometries in CRS84. Raises NotFound where subject or row do not exist for who asks."""
    assert derived.derived is not None
    subject, _ = snapshot[derived.derived.subject]
    feature = json.loads(await items.one(service, subject, feature_id, DEFAULT))
    row = json.loads(await items.one(service, derived, feature_id, DEFAULT))
    return {
        "id": feature_id,
        "title": derived.title.in_language(asked.language),
        "collection": derived.id,
        "properties": {name: value for name, value in row["properties"].items() if derived[name].refers_to is None},
        "subject": {"collection": subject.id, "title": subject.title.in_language(asked.language), "feature": feature},
        "related": [
            await _related(service, snapshot, attribute, found, asked.language)
            for attribute, found in _references(derived, row["properties"])
        ],
        **await kin.told(service, snapshot, subject, feature_id),
        "timeStamp": items.now(),
        "links": _links(service, derived, subject, feature_id, asked),
    }


def of_subject(settings: Settings, registry: Registry, path: str, feature_id: str, language: str) -> dict[str, Any]:
    """The dossier at `/{path}/{feature_id}/dossier` as the public sees it, without a running service."""

    observe.set_up_logs(logging.ERROR)

    async def ask() -> dict[str, Any]:
        reader = Reader(engine.database_url(settings), settings)
        await reader.open()
        try:
            publications = Publications(settings, registry, PUBLIC, reader)
            service = Service(settings, PUBLIC, reader, publications)
            snapshot = await publications.current()
            return await document(service, snapshot, snapshot.dossier_at(path), feature_id, Asked({}, language, "json"))
        finally:
            await reader.close()

    return asyncio.run(ask())


async def page(
    request: Request, snapshot: Snapshot, derived: Layer, document: dict[str, Any], asked: Asked
) -> Response:
    """The dossier to be read and printed on A4, with a plan of the subject, its neighbours and its relations."""
    service = service_of(request)
    subject, _ = snapshot[document["subject"]["collection"]]
    feature = document["subject"]["feature"]
    window = plan.window(feature["geometry"])
    drawing = None
    if window is not None:
        neighbours = await service.reader.features(subject, _inside(service, subject, window))
        drawn = [(snapshot.layers.get(part["collection"]), part["items"]) for part in document["related"]]
        drawing = plan.draw(window, subject, feature, neighbours, [(layer, found) for layer, found in drawn if layer])
    units = await naming.units_of(service, snapshot, subject, [feature["properties"]])
    pages: Pages = request.app.state.pages
    text = pages.render("dossier.html", asked.language, request, document=document, derived=derived, subject=subject,
                        units=units, layers=snapshot.layers, drawing=drawing)  # fmt: skip
    headers = {"Content-Language": asked.language, "Content-Security-Policy": pages.policy}
    return HTMLResponse(text, headers=headers)


def _references(derived: Layer, properties: dict[str, Any]) -> Iterator[tuple[Attribute, list[dict[str, Any]]]]:
    """The attributes that refer to a layer, each with its items; a single reference is one item with an id."""
    for name, value in properties.items():
        attribute = derived[name]
        if attribute.refers_to is None:
            continue
        if attribute.type == "list":
            yield attribute, [item for item in value or [] if isinstance(item, dict)]
        else:
            yield attribute, [{"id": value}] if value else []


async def _related(
    service: Service, snapshot: Snapshot, attribute: Attribute, found: list[dict[str, Any]], language: str
) -> dict[str, Any]:  # fmt: skip
    """One attribute's items joined with the features they name; those withheld from who asks are left out."""
    collection = attribute.refers_to
    assert collection is not None
    layer = snapshot.layers.get(collection)
    ids = tuple(dict.fromkeys(str(item["id"]) for item in found if item.get("id")))
    features: dict[str, Any] = {}
    if layer is not None and ids:
        rows = await service.reader.features(layer, items.by_ids(service, layer, ids, DEFAULT))
        features = {feature["id"]: feature for feature in rows}
    withholds = layer is not None and not rule_of(service.agency, layer).whole
    joined = [_joined(service, layer, item, features.get(str(item.get("id")))) for item in found
              if not withholds or str(item.get("id")) in features]  # fmt: skip
    return {
        "attribute": attribute.name,
        "title": attribute.title.in_language(language),
        "collection": collection,
        "items": joined,
    }


def _joined(
    service: Service, layer: Layer | None, item: dict[str, Any], feature: dict[str, Any] | None
) -> dict[str, Any]:
    feature_id = str(item.get("id"))
    joined: dict[str, Any] = {
        "id": feature_id,
        "relation": {name: value for name, value in item.items() if name != "id"},
        "properties": feature["properties"] if feature else None,
        "geometry": feature["geometry"] if feature else None,
    }
    if layer is not None and feature is not None:
        joined["href"] = links.address(service.url, "collections", layer.id, "items", feature_id)
    return joined


def _inside(service: Service, layer: Layer, window: tuple[float, float, float, float]) -> FeatureQuery:
    label = (layer.style.label,) if layer.style.label in visible(service.agency, layer) else ()
    query = FeatureQuery(layer.id, attributes=tuple(filter(None, label)), limit=MOST_NEIGHBOURS)
    shown = seen(service.agency, layer)
    return replace(query, area=Area.of_box(*window), filters=shown.filters, sight=shown.sight)


def _links(service: Service, derived: Layer, subject: Layer, feature_id: str, asked: Asked) -> list[dict[str, Any]]:
    _ = words.translator(asked.language)
    assert derived.dossier is not None
    path = derived.dossier.path

    def here(format_: str) -> str:
        return links.address(service.url, path, feature_id, "dossier", parameters={"f": format_})

    item = links.address(service.url, "collections", subject.id, "items", feature_id)
    row = links.address(service.url, "collections", derived.id, "items", feature_id)
    return [
        links.link("self" if asked.format == "json" else "alternate", here("json"), "application/json", "JSON"),
        links.link("alternate" if asked.format == "json" else "self", here("html"), "text/html", "HTML"),
        links.link("item", item, links.GEOJSON, subject.title.in_language(asked.language)),
        links.link("item", row, links.GEOJSON, derived.title.in_language(asked.language)),
    ]
