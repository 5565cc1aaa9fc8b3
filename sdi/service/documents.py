"""The JSON documents about the service and its collections: pygeoapi's, with our links in the asker's language."""

from __future__ import annotations

from typing import Any

from pygeoapi.api import describe_collections, landing_page

from sdi.access import may_export, visible
from sdi.catalog import schema
from sdi.contract.elements import STANDARD, element
from sdi.contract.layer import Layer
from sdi.service import datasets, formats, links, ogc, words
from sdi.service.feed import changes
from sdi.service.feed.offered import are_told
from sdi.service.portrayal import documents as portrayal
from sdi.service.publications import Snapshot
from sdi.service.records import linked
from sdi.service.rights import seen, told_shape
from sdi.service.state import Service
from sdi.service.statistics import documents as statistics
from sdi.service.statistics.question import dimensions
from sdi.service.tiles import documents as tiles
from sdi.service.tiles.tileset import is_tiled
from sdi.store.quality import Rate

REL = "http://www.opengis.net/def/rel/ogc/1.0"

COMMON = [
    f"http://www.opengis.net/spec/{path}"
    for path in (
        "ogcapi-common-1/1.0/conf/core",
        "ogcapi-common-1/1.0/conf/landing-page",
        "ogcapi-common-1/1.0/conf/json",
        "ogcapi-common-1/1.0/conf/html",
        "ogcapi-common-1/1.0/conf/oas30",
        "ogcapi-common-2/1.0/conf/collections",
        "ogcapi-features-1/1.0/conf/core",
        "ogcapi-features-1/1.0/conf/oas30",
        "ogcapi-features-1/1.0/conf/html",
        "ogcapi-features-1/1.0/conf/geojson",
        "ogcapi-features-2/1.0/conf/crs",
        "ogcapi-features-3/1.0/conf/queryables",
        "ogcapi-features-3/1.0/conf/queryables-query-parameters",
        "ogcapi-features-3/1.0/conf/filter",
        "ogcapi-features-3/1.0/conf/features-filter",
        "ogcapi-features-5/1.0/conf/schemas",
        "ogcapi-features-5/1.0/conf/advanced-property-roles",
        # The name that the class had before the standard was final; clients look for it.
        "ogcapi-features-5/1.0/conf/core-roles-features",
        "ogcapi-features-5/1.0/conf/returnables-and-receivables",
        "ogcapi-features-5/1.0/conf/queryables",
        "ogcapi-features-5/1.0/conf/sortables",
        "cql2/1.0/conf/cql2-text",
        "cql2/1.0/conf/cql2-json",
        "cql2/1.0/conf/basic-cql2",
        "cql2/1.0/conf/advanced-comparison-operators",
        "cql2/1.0/conf/case-insensitive-comparison",
        "cql2/1.0/conf/accent-insensitive-comparison",
        "cql2/1.0/conf/basic-spatial-functions",
        "cql2/1.0/conf/basic-spatial-functions-plus",
        "cql2/1.0/conf/spatial-functions",
        "cql2/1.0/conf/temporal-functions",
        "cql2/1.0/conf/property-property",
        "cql2/1.0/conf/arithmetic",
        # QGIS looks for the name that the class had before CQL2 was final.
        "cql2/1.0/conf/basic-spatial-operators",
    )
]
COVERAGES = [
    f"http://www.opengis.net/spec/ogcapi-coverages-1/1.0/conf/{name}"
    for name in ("core", "geodata-coverage", "coverage-bbox", "coverage-rangesubset")
]


def conformance(snapshot: Snapshot) -> dict[str, Any]:
    """What is declared, all of it tested; nothing of Part 4: features come by deliveries only."""
    coverages = any(layer.coverage is not None for layer in snapshot.layers.values())
    return {"conformsTo": sorted(COMMON + tiles.CONFORMANCE + linked.CONFORMANCE + (COVERAGES if coverages else []))}


async def landing(service: Service, snapshot: Snapshot, language: str, format_: str) -> Any:
    """The landing page's document; JSON-LD is pygeoapi's."""
    _, document = await ogc.call(snapshot.api, landing_page, language, format_)
    if format_ != "json":
        return document
    kept = ("self", "alternate", "service-desc", "service-doc", "conformance", "data")
    document["links"] = _translated([each for each in document["links"] if each["rel"] in kept], service, language)
    document["links"] += [tiles.link_to(service, None, language), tiles.link_to_matrix_sets(service, language)]
    document["links"] += [portrayal.link_to(service, None, language), portrayal.link_to_project(service, language)]
    document["links"] += linked.of_landing(service, language)
    document["links"].append(statistics.link_to_list(service, language))
    boxes = [snapshot.publications[name].extent for name in snapshot.layers]
    known = [box for box in boxes if box is not None]
    if known:
        west, south, east, north = zip(*known, strict=True)
        document["extent"] = {"spatial": {"bbox": [[min(west), min(south), max(east), max(north)]]}}
    return document


async def collections(service: Service, snapshot: Snapshot, language: str, format_: str) -> Any:
    """All collections, in the contracts' order of themes."""
    _, document = await ogc.call(snapshot.api, describe_collections, language, format_)
    if format_ != "json":
        told = await collections(service, snapshot, language, "json")
        return datasets.mended(document, told["collections"])
    for each in document["collections"]:
        _complete(each, service, snapshot, language)
    document["links"] = _translated(document["links"], service, language)
    return document


async def collection(service: Service, snapshot: Snapshot, name: str, language: str, format_: str) -> Any:
    """One collection. Raises NotFound."""
    snapshot[name]
    _, document = await ogc.call(snapshot.api, describe_collections, language, format_, name)
    if format_ != "json":
        return datasets.mended(document, [await collection(service, snapshot, name, language, "json")])
    return _complete(document, service, snapshot, language)


def feature_schema(service: Service, layer: Layer, language: str) -> dict[str, Any]:
    """What the collection's features have, as far as the asker sees it (Part 5)."""
    sight = seen(service.agency, layer).sight
    return schema.feature_schema(
        layer, service.registry.code_lists, attributes=visible(service.agency, layer),
        emptied=() if sight is None else sight.emptied,
        identifier=links.address(service.url, "collections", layer.id, "schema"),
        code_lists_at=f"{service.url}/code-lists", language=language, shape=told_shape(service.agency, layer),
    )  # fmt: skip


def queryables(service: Service, layer: Layer, language: str) -> dict[str, Any]:
    return schema.queryables(
        layer, service.registry.code_lists, attributes=visible(service.agency, layer),
        identifier=links.address(service.url, "collections", layer.id, "queryables"),
        code_lists_at=f"{service.url}/code-lists", language=language, shape=told_shape(service.agency, layer),
    )  # fmt: skip


def sortables(service: Service, layer: Layer, language: str) -> dict[str, Any]:
    found = schema.sortables(layer, queryables(service, layer, language))
    return found | {"$id": links.address(service.url, "collections", layer.id, "sortables")}


def code_list(service: Service, name: str, language: str) -> dict[str, Any]:
    """A code list with its title and labels in both languages, dates and successors."""
    codes = service.registry.code_lists[name]
    return {
        "id": name, **({"title": codes.title.model_dump()} if codes.title else {}),
        "codes": [
            {
                "code": code.code, "label": {"vi": code.label_vi, "en": code.label_en}, "parent": code.parent,
                "validFrom": code.valid_from and code.valid_from.isoformat(),
                "validTo": code.valid_to and code.valid_to.isoformat(),
                "successor": code.successor, "status": code.status, "source": code.source,
            }
            for code in codes.codes
        ],
    }  # fmt: skip


def _complete(document: dict[str, Any], service: Service, snapshot: Snapshot, language: str) -> dict[str, Any]:
    layer, _ = snapshot[document["id"]]
    # A coverage's page is its collection's page.
    unserved = ["text/html"] if may_export(service.agency, layer) else ["text/html", "image/tiff"]
    served = [each for each in document["links"]
              if each["rel"] != f"{REL}/coverage" or each["type"].partition(";")[0] not in unserved]  # fmt: skip
    document["links"] = _translated(served, service, language)
    if layer.coverage is None:
        _ = words.translator(language)
        document["links"] += [
            links.link("items", links.address(service.url, "collections", layer.id, "items",
                                              parameters={"f": each.name}),
                       each.media_type, _("Items as {format}").format(format=each.label))
            for each in formats.ITEMS.values() if each.name not in ("json", "html", "jsonld")
        ] + [
            links.link("enclosure", links.address(service.url, "collections", layer.id, "export",
                                                  parameters={"f": each.name}),
                       each.media_type, _("The whole layer as {format}").format(format=each.label))
            for each in formats.EXPORTS.values() if may_export(service.agency, layer)
        ]  # fmt: skip
        document["links"].append(links.link(
            f"{REL}/sortables", links.address(service.url, "collections", layer.id, "sortables"),
            "application/schema+json", words.translator(language)("Sortables of the collection"),
        ))  # fmt: skip
    if are_told(layer):
        document["links"].append(changes.link_to(service, layer, language))
    if dimensions(service.agency, layer):
        document["links"].append(statistics.link_to(service, layer, language))
    if is_tiled(layer):
        document["links"].append(tiles.link_to(service, layer, language))
    if layer.geometry is not None:
        document["links"].append(portrayal.link_to(service, layer, language))
    document["links"] += linked.of_layer(service, layer, language)
    # pygeoapi has a link of its own to CSV.
    document["links"] = list({(link["rel"], link["href"]): link for link in document["links"]}.values())
    if rates := snapshot.rates.get(layer.id):
        document["quality"] = quality(rates, language)
    document["attribution"] = layer.steward.name.in_language(language)
    return document


def quality(rates: list[Rate], language: str) -> dict[str, Any]:
    """How good a layer is after its last load: rates by data quality element, and no word of which feature or whose."""
    return {
        "standard": STANDARD,
        "evaluated": rates[0].evaluated_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "elements": [
            {
                "element": each.element, "title": known.title.in_language(language),
                "measure": known.measure.in_language(language), "measureId": known.measure_id,
                "rate": round(each.rate, 6),
            }
            for each in rates for known in [element(each.element)]
        ],
    }  # fmt: skip


def _translated(given: list[dict[str, Any]], service: Service, language: str) -> list[dict[str, Any]]:
    """pygeoapi's links with titles in the language, and a path in the landing page's address."""
    _ = words.translator(language)
    bare = f"{service.url}?"
    # pygeoapi's `hreflang` is the service's default language, not the document's.
    return [
        {name: value for name, value in each.items() if name != "hreflang"}
        | {"title": _(each["title"]), "href": each["href"].replace(bare, f"{service.url}/?")}
        for each in given
    ]
