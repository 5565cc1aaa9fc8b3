"""The catalogue's documents that are not a record: the collection, a page of records, the open data, the changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from sdi.access import announced
from sdi.catalog import record
from sdi.catalog.entry import CATALOGUE, JSONLD, OGC_CATALOG, Entry, licence_at, stamp
from sdi.catalog.record import GEOJSON, SORTABLES, TITLE
from sdi.contract.layer import Layer
from sdi.service import links, words
from sdi.service.publications import Snapshot
from sdi.service.records.entries import Entries, publisher
from sdi.service.records.question import Answer
from sdi.service.state import Service
from sdi.store.events import Event

REL = "http://www.opengis.net/def/rel/ogc/1.0"


def collection(service: Service, of: Entries, language: str) -> dict[str, Any]:
    """The collection of records."""
    _ = words.translator(language)
    by = publisher(service)
    here, title = by.catalogue, TITLE.in_language(language)
    found = [
        links.link("self", f"{here}?f=json", "application/json", title),
        links.link("alternate", f"{here}?f=html", "text/html", title),
        links.link("alternate", f"{here}?f=ogc-catalog", OGC_CATALOG, title),
        links.link("alternate", f"{service.url}/catalogue?f=jsonld", JSONLD, _("The catalogue as DCAT-AP")),
        links.link("items", f"{here}/items?f=json", GEOJSON, _("The metadata records")),
        links.link("items", f"{here}/items?f=html", "text/html", _("The metadata records")),
        links.link(
            f"{REL}/sortables", f"{here}/sortables", "application/schema+json", _("Sortables of the collection")
        ),
        links.link("license", f"{service.url}/open-data?f=html", "text/html", _("As each layer states")),
        links.link("related", f"{service.url}/open-data", "application/json", _("Open data")),
        links.link("related", f"{service.url}/catalogue/changes", "application/json", _("Changes of the register")),
    ]
    return record.catalogue(by, list(of.values()), language, found)


def sortables(service: Service, language: str) -> dict[str, Any]:
    """What the records may be sorted by."""
    _ = words.translator(language)
    titles = {"id": _("Id"), "title": _("Title"), "created": _("First loaded"), "updated": _("Last loaded")}
    assert titles.keys() == set(SORTABLES)
    return record.sortables(publisher(service), titles | {"catalogue": TITLE.in_language(language)})


def page(service: Service, answer: Answer, parameters: Mapping[str, str], language: str) -> dict[str, Any]:
    """A page of records as a GeoJSON FeatureCollection."""
    _ = words.translator(language)
    here = links.address(service.url, "collections", CATALOGUE, "items")
    asked = {name: value for name, value in parameters.items() if name not in ("f", "lang")}
    title = TITLE.in_language(language)
    told = [
        links.link("self", links.address(here, parameters=asked | {"f": "json"}), GEOJSON, title),
        links.link("alternate", links.address(here, parameters=asked | {"f": "html"}), "text/html", title),
        links.link("collection", links.address(service.url, "collections", CATALOGUE), "application/json", title),
    ]
    titles = {"next": _("Next page"), "prev": _("Previous page")}
    for rel, leading in answer.around({**asked, **_said(parameters)}).items():
        told.append(links.link(rel, links.address(here, parameters=leading), GEOJSON, titles[rel]))
    return {
        "type": "FeatureCollection",
        "features": [record.record(entry, language) for entry in answer.entries],
        "numberMatched": answer.matched,
        "numberReturned": len(answer.entries),
        "links": told,
    }


def open_data(service: Service, of: Entries, language: str) -> dict[str, Any]:
    """The layers that are open, and those that are announced to become so."""
    _ = words.translator(language)
    here = f"{service.url}/open-data"
    layers = [entry for entry in of.values() if entry.layer.sharing.level == "open"]
    return {
        "title": _("Open data"),
        "layers": [_opened(entry, language) for entry in layers],
        "planned": [_planned(layer, language) for layer in _announced(service.registry.layers.values())],
        "links": [
            links.link("self", f"{here}?f=json", "application/json", _("Open data")),
            links.link("alternate", f"{here}?f=html", "text/html", _("Open data")),
            links.link("related", f"{service.url}/catalogue?f=jsonld", JSONLD, _("The catalogue as DCAT-AP")),
        ],
    }


def changes(
    service: Service, snapshot: Snapshot, found: tuple[list[Event], int], around: Mapping[str, Mapping[str, Any]],
    language: str,
) -> dict[str, Any]:  # fmt: skip
    """A page of the register's changes, the latest first. No names of persons or files, and no counts of rows."""
    _ = words.translator(language)
    events, matched = found
    here = f"{service.url}/catalogue/changes"
    told = [
        links.link("self", f"{here}?f=json", "application/json", _("Changes of the register")),
        links.link("alternate", f"{here}?f=html", "text/html", _("Changes of the register")),
    ]
    titles = {"next": _("Earlier changes"), "prev": _("Later changes")}
    for rel, leading in around.items():
        told.append(links.link(rel, links.address(here, parameters=leading), "application/json", titles[rel]))
    return {
        "title": _("Changes of the register"),
        "changes": [_change(event, snapshot, language) for event in events],
        "numberMatched": matched,
        "numberReturned": len(events),
        "links": told,
    }


def _opened(entry: Entry, language: str) -> dict[str, Any]:
    layer = entry.layer
    found = {
        "id": layer.id,
        "title": layer.title.in_language(language),
        "titles": {"vi": layer.title.vi, "en": layer.title.en},
        "steward": layer.steward.name.in_language(language),
        "licence": {"id": layer.licence.id, "title": layer.licence.title.in_language(language),
                    "href": licence_at(entry)},
        "formats": [name for name, _ in entry.formats],
        "updateCycle": layer.update_cycle,
        "updated": stamp(entry.updated),
        "links": [links.link("describedby", f"{entry.record}?f=json", GEOJSON, layer.title.in_language(language)),
                  *(dict(link) for link in entry.data_links if link["rel"] == "enclosure")],
    }  # fmt: skip
    return found | ({} if layer.coverage is not None else {"featureCount": entry.published.count})


def _announced(layers: Iterable[Layer]) -> list[Layer]:
    return sorted((layer for layer in layers if announced(layer)), key=_day)


def _day(layer: Layer) -> tuple[date, str]:
    assert layer.sharing.release is not None
    return layer.sharing.release.planned, layer.title.vi


def _planned(layer: Layer, language: str) -> dict[str, Any]:
    """What its steward announced, and no more: whether and what is in it yet is not for everybody."""
    release = layer.sharing.release
    assert release is not None
    return {
        "title": layer.title.in_language(language), "titles": {"vi": layer.title.vi, "en": layer.title.en},
        "steward": layer.steward.name.in_language(language), "planned": release.planned.isoformat(),
        "reason": release.reason.in_language(language),
    }  # fmt: skip


def _change(event: Event, snapshot: Snapshot, language: str) -> dict[str, Any]:
    told = {
        "at": stamp(event.at), "layer": event.layer, "title": snapshot.layers[event.layer].title.in_language(language),
        "what": event.what, "mode": event.mode, "contractVersion": event.contract_version,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}


def _said(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: parameters[name] for name in ("f", "lang") if name in parameters}
