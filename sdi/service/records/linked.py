"""The links that other documents have to the catalogue."""

from __future__ import annotations

from typing import Any

from sdi.catalog.entry import CATALOGUE, ISO19139, JSONLD
from sdi.catalog.record import GEOJSON, SPEC, TITLE
from sdi.contract.layer import Layer
from sdi.service import links, words
from sdi.service.state import Service

CONFORMANCE = [
    f"{SPEC}/conf/{name}"
    for name in (
        "record-core", "record-collection", "record-core-query-parameters", "records-api", "sorting",
        "searchable-catalog", "searchable-catalog/sorting", "autodiscovery", "json", "html", "oas30",
    )
]  # fmt: skip
CATALOG = "http://www.opengis.net/def/rel/ogc/1.0/ogc-catalog"
"""The relation of a page to a catalogue (OGC 20-004r1, /req/autodiscovery/links)."""


def listed(layer: Layer) -> bool:
    """Whether a layer that exists for who asks is a data set of its own; what tells of a layer's quality is none."""
    return layer.sharing.level != "steward"


def of_landing(service: Service, language: str) -> list[dict[str, Any]]:
    """From the landing page: to the searchable records, and to the whole in DCAT."""
    _ = words.translator(language)
    records = links.address(service.url, "collections", CATALOGUE, "items")
    return [
        links.link(CATALOG, records, GEOJSON, TITLE.in_language(language)),
        links.link("describedby", links.address(service.url, "catalogue"), JSONLD, _("The catalogue as DCAT-AP")),
    ]


def of_layer(service: Service, layer: Layer, language: str) -> list[dict[str, Any]]:
    """From a layer's collection: to its record, and to the same as ISO 19115."""
    if not listed(layer):
        return []
    _ = words.translator(language)
    here = links.address(service.url, "collections", CATALOGUE, "items", layer.id)
    return [
        links.link("describedby", f"{here}?f=json", GEOJSON, _("The metadata record")),
        links.link("describedby", f"{here}?f=iso19139", ISO19139, _("Metadata by ISO 19115 (XML)")),
    ]
