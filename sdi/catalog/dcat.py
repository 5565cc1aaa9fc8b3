"""The catalogue in DCAT 3, by the application profile DCAT-AP 3, as JSON-LD whose context stands in it.

Text stands in both languages. What the profile asks controlled vocabularies for is named by the EU's authority tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdi.catalog.collection import crs_list
from sdi.catalog.entry import DOWNLOADS, Entry, Publisher, licence_at, ring, spdx, stamp
from sdi.catalog.record import DESCRIPTION, TITLE, TOPICS
from sdi.contract.elements import element
from sdi.contract.layer import Steward, Text

CONTEXT = {
    "dcat": "http://www.w3.org/ns/dcat#", "dct": "http://purl.org/dc/terms/", "foaf": "http://xmlns.com/foaf/0.1/",
    "vcard": "http://www.w3.org/2006/vcard/ns#", "spdx": "http://spdx.org/rdf/terms#", "dqv": "http://www.w3.org/ns/dqv#",
    "skos": "http://www.w3.org/2004/02/skos/core#", "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dcatap": "http://data.europa.eu/r5r/", "eli": "http://data.europa.eu/eli/ontology#",
    "geo": "http://www.opengis.net/ont/geosparql#",
}  # fmt: skip
EU = "http://publications.europa.eu/resource/authority"
IANA = "https://www.iana.org/assignments/media-types"
FREQUENCIES = {
    "continual": "UPDATE_CONT", "daily": "DAILY", "weekly": "WEEKLY", "monthly": "MONTHLY", "quarterly": "QUARTERLY",
    "annually": "ANNUAL", "asNeeded": "IRREG",
}  # fmt: skip
RIGHTS = {"open": "PUBLIC", "agency": "RESTRICTED", "restricted": "NON_PUBLIC"}
FILE_TYPES = {
    "application/geo+json": "GEOJSON", "application/ld+json": "JSON_LD", "text/csv": "CSV", "text/html": "HTML",
    "application/geopackage+sqlite3": "GPKG", "application/vnd.apache.parquet": "PARQUET",
}  # fmt: skip
"""Of the EU's table of file types, as far as it has them."""
ACCESS = {"items": "features", "http://www.opengis.net/def/rel/ogc/1.0/tilesets-vector": "tiles"}
"""Relations of links to a layer by a service, and the service."""
SERVICES: dict[str, tuple[Text, str]] = {
    "features": (Text(vi="Dịch vụ đối tượng OGC API Features", en="OGC API Features"),
                 "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core"),
    "tiles": (Text(vi="Dịch vụ ô bản đồ véc-tơ OGC API Tiles", en="OGC API Tiles: vector tiles"),
              "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/core"),
}  # fmt: skip


def catalogue(publisher: Publisher, entries: Sequence[Entry]) -> dict[str, Any]:
    """The whole catalogue: dcat:Catalog with its datasets, distributions and services."""
    found = {
        "@id": f"{publisher.url}/catalogue",
        "@type": "dcat:Catalog",
        "dct:title": _both(TITLE),
        "dct:description": _both(DESCRIPTION),
        "dct:publisher": _operator(publisher),
        "dct:language": [_is(f"{EU}/language/VIE"), _is(f"{EU}/language/ENG")],
        "foaf:homepage": _is(f"{publisher.url}/"),
        "dcat:themeTaxonomy": _is(f"{EU}/data-theme"),
        "dcat:dataset": [_dataset(entry) for entry in entries],
        "dcat:service": [_service(publisher, name, entries) for name in SERVICES],
    }
    if entries:
        found["dct:issued"] = _moment(stamp(min(entry.created for entry in entries)))
        found["dct:modified"] = _moment(stamp(max(entry.updated for entry in entries)))
    return {"@context": CONTEXT, **found}


def dataset(entry: Entry) -> dict[str, Any]:
    """One layer's dcat:Dataset as a document of its own."""
    return {"@context": CONTEXT, **_dataset(entry)}


def _dataset(entry: Entry) -> dict[str, Any]:
    layer, published = entry.layer, entry.published
    found: dict[str, Any] = {
        "@id": entry.collection,
        "@type": "dcat:Dataset",
        "dct:identifier": entry.collection,
        "dct:title": _both(layer.title),
        "dct:description": _both(layer.description),
        "dcat:keyword": [each for word in layer.keywords for each in _both(word)],
        "dcat:theme": [_is(f"{EU}/data-theme/REGI"), *(_is(f"{TOPICS}/{topic}") for topic in layer.topics)],
        "dct:publisher": _steward(entry.publisher, layer.steward),
        "dcat:contactPoint": _contact(entry.publisher, layer.steward),
        "dct:issued": _moment(stamp(entry.created)),
        "dct:modified": _moment(stamp(entry.updated)),
        "dct:accrualPeriodicity": _is(f"{EU}/frequency/{FREQUENCIES[layer.update_cycle]}"),
        "dct:accessRights": _is(f"{EU}/access-right/{RIGHTS[layer.sharing.level]}"),
        "dct:language": _is(f"{EU}/language/VIE"),
        "dct:conformsTo": [{"@id": uri, "@type": "dct:Standard"} for uri in crs_list(published.grids)],
        "dcat:landingPage": _is(entry.record),
        "dcat:distribution": [_distribution(entry, link) for link in entry.links if _leads_to_data(link)],
    }
    legal = [basis.reference for basis in layer.legal_basis if basis.confidence == "V"]
    if legal:
        found["dcatap:applicableLegislation"] = [{"@type": "eli:LegalResource", "dct:title": each} for each in legal]
    if published.extent is not None:
        box = ", ".join(f"{x} {y}" for x, y in ring(published.extent))
        literal = {"@type": "geo:wktLiteral", "@value": f"POLYGON(({box}))"}
        found["dct:spatial"] = {"@type": "dct:Location", "dcat:bbox": literal}
    if entry.interval is not None:
        ends = zip(("dcat:startDate", "dcat:endDate"), entry.interval, strict=True)
        found["dct:temporal"] = {"@type": "dct:PeriodOfTime", **{name: _moment(end) for name, end in ends if end}}
    if entry.rates:
        found["dqv:hasQualityMeasurement"] = [_measurement(entry, each.element, each.rate) for each in entry.rates]
    return found


def _leads_to_data(link: Mapping[str, Any]) -> bool:
    return link["rel"] in DOWNLOADS or (link["rel"] in ACCESS and link["type"] not in ("text/html",))


def _distribution(entry: Entry, link: Mapping[str, Any]) -> dict[str, Any]:
    media_type = str(link["type"])
    bare = media_type.partition(";")[0]
    found: dict[str, Any] = {
        "@id": f"{link['href']}#distribution",
        "@type": "dcat:Distribution",
        "dct:title": {"@value": str(link["title"])},
        "dcat:accessURL": _is(str(link["href"])),
        "dcat:mediaType": {"@id": f"{IANA}/{bare}", "@type": "dct:MediaType"},
        "dct:license": _licence(entry),
        "dct:issued": _moment(stamp(entry.created)),
        "dct:modified": _moment(stamp(entry.published.changed_at)),
    }
    if bare in FILE_TYPES:
        found["dct:format"] = {"@id": f"{EU}/file-type/{FILE_TYPES[bare]}", "@type": "dct:MediaTypeOrExtent"}
    if link["rel"] in DOWNLOADS:
        found["dcat:downloadURL"] = _is(str(link["href"]))
    else:
        found["dcat:accessService"] = _is(_service_at(entry.publisher, ACCESS[link["rel"]]))
    if made := entry.files.get(str(link["href"])):
        found["dcat:byteSize"] = {"@type": "xsd:nonNegativeInteger", "@value": str(made.size)}
        found["spdx:checksum"] = {
            "@type": "spdx:Checksum",
            "spdx:algorithm": _is("http://spdx.org/rdf/terms#checksumAlgorithm_sha256"),
            "spdx:checksumValue": {"@type": "xsd:hexBinary", "@value": made.sha256},
        }
    return found


def _licence(entry: Entry) -> dict[str, Any]:
    return {
        "@id": licence_at(entry),
        "@type": "dct:LicenseDocument",
        "dct:title": _both(entry.layer.licence.title),
        **({"dct:identifier": spdx(entry)} if spdx(entry) != "other" else {}),
    }


def _service(publisher: Publisher, name: str, entries: Sequence[Entry]) -> dict[str, Any]:
    title, standard = SERVICES[name]
    rels = {rel for rel, service in ACCESS.items() if service == name}
    served = [entry for entry in entries if any(link["rel"] in rels for link in entry.links)]
    return {
        "@id": _service_at(publisher, name),
        "@type": "dcat:DataService",
        "dct:title": _both(title),
        "dct:publisher": _operator(publisher),
        "dcat:endpointURL": _is(f"{publisher.url}/"),
        "dcat:endpointDescription": _is(f"{publisher.url}/openapi"),
        "dct:conformsTo": {"@id": standard, "@type": "dct:Standard"},
        "dcat:servesDataset": [_is(entry.collection) for entry in served],
    }


def _service_at(publisher: Publisher, name: str) -> str:
    return f"{publisher.url}/catalogue#{name}"


def _measurement(entry: Entry, name: str, rate: float) -> dict[str, Any]:
    known = element(name)
    metric = {"@type": "dqv:Metric", "skos:prefLabel": _both(known.title), "skos:definition": _both(known.measure)}
    value = {"@type": "xsd:decimal", "@value": f"{rate:.6f}"}
    return {"@type": "dqv:QualityMeasurement", "dqv:isMeasurementOf": metric, "dqv:value": value}


def _steward(publisher: Publisher, steward: Steward) -> dict[str, Any]:
    return {"@id": f"{publisher.url}/catalogue#{steward.id}", "@type": "foaf:Agent", "foaf:name": _both(steward.name)}


def _operator(publisher: Publisher) -> dict[str, Any]:
    return {"@id": f"{publisher.url}/catalogue#publisher", "@type": "foaf:Agent", "foaf:name": _both(publisher.title)}


def _contact(publisher: Publisher, steward: Steward) -> dict[str, Any]:
    """The agency, by the e-mail of who runs the service; no person."""
    found: dict[str, Any] = {"@type": "vcard:Organization", "vcard:fn": _both(steward.name)}
    return found | ({"vcard:hasEmail": _is(f"mailto:{publisher.email}")} if publisher.email else {})


def _is(uri: str) -> dict[str, str]:
    return {"@id": uri}


def _both(text: Text) -> list[dict[str, str]]:
    return [{"@language": "vi", "@value": text.vi}, {"@language": "en", "@value": text.en}]


def _moment(text: str) -> dict[str, str]:
    return {"@type": "xsd:dateTime" if "T" in text else "xsd:date", "@value": text}
