"""Records and their catalogue as OGC API Records Part 1 (OGC 20-004r1) writes them: GeoJSON and the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sdi.catalog.collection import CRS84, VIETNAM, crs_list, storage_crs
from sdi.catalog.entry import CATALOGUE, ISO19139, Entry, Publisher, licence_at, ring, spdx, stamp
from sdi.contract.elements import STANDARD, element
from sdi.contract.layer import Text

SPEC = "http://www.opengis.net/spec/ogcapi-records-1/1.0"
TOPICS = "http://inspire.ec.europa.eu/metadata-codelist/TopicCategory"
GEOJSON = "application/geo+json"
SORTABLES = ("id", "title", "created", "updated")
LANGUAGES = {
    "vi": {"code": "vi", "name": "Tiếng Việt", "alternate": "Vietnamese"},
    "en": {"code": "en", "name": "English"},
}
TITLE = Text(vi="Danh mục dữ liệu của đô thị", en="The city's data catalogue")
DESCRIPTION = Text(
    vi="Mỗi lớp dữ liệu một bản ghi siêu dữ liệu, lập từ hợp đồng dữ liệu và sổ nạp: số lượng, phạm vi, ngày tháng và "
    "chất lượng luôn là của chính dữ liệu.",
    en="One record for each layer, made from its contract and the ledger of loads: counts, extents, dates and quality "
    "are always those of the data.",
)


def record(entry: Entry, language: str) -> dict[str, Any]:
    """A layer's record as a GeoJSON Feature; its geometry is the layer's box in CRS84 (lon, lat), null when empty."""
    extent = entry.published.extent
    return {
        "id": entry.layer.id,
        "type": "Feature",
        "conformsTo": [f"{SPEC}/req/record-core"],
        "geometry": extent and {"type": "Polygon", "coordinates": [ring(extent)]},
        "time": _time(entry),
        "properties": _described(entry, language) | _promised(entry, language) | _counted(entry, language),
        "links": _links(entry, language),
    }


def catalogue(
    publisher: Publisher, entries: Sequence[Entry], language: str, links: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    """The collection of records. Its extent is that of the layers, its dates those of the first and the last load."""
    boxes = [entry.published.extent for entry in entries if entry.published.extent is not None]
    west, south, east, north = zip(*(boxes or [VIETNAM]), strict=True)
    found = {
        "id": CATALOGUE,
        "type": "Collection",
        "itemType": "record",
        "title": TITLE.in_language(language),
        "description": DESCRIPTION.in_language(language),
        "conformsTo": [f"{SPEC}/req/record-collection"],
        "keywords": list(dict.fromkeys(word for entry in entries for word in _keywords(entry, language))),
        "extent": {"spatial": {"bbox": [[min(west), min(south), max(east), max(north)]], "crs": CRS84}},
        "crs": [CRS84],
        "language": LANGUAGES[language],
        "languages": list(LANGUAGES.values()),
        "recordLanguages": list(LANGUAGES.values()),
        "contacts": [_operator(publisher, language)],
        "license": "other",
        "defaultSortOrder": [{"field": "id", "direction": "asc"}],
        "links": list(links),
    }
    if entries:
        found["created"] = stamp(min(entry.created for entry in entries))
        found["updated"] = stamp(max(entry.updated for entry in entries))
    return found


def sortables(publisher: Publisher, titles: Mapping[str, str]) -> dict[str, Any]:
    """The JSON Schema of what `sortby` may name. `titles`: in the asker's language."""
    forms: dict[str, dict[str, str]] = {name: {"type": "string"} for name in SORTABLES}
    for name in ("created", "updated"):
        forms[name]["format"] = "date-time"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{publisher.catalogue}/sortables",
        "type": "object",
        "title": titles["catalogue"],
        "properties": {name: {"title": titles[name], **form} for name, form in forms.items()},
        "additionalProperties": False,
    }


def sort_key(entry: Entry, name: str, language: str) -> str | datetime:
    """What entries are sorted by; the names are SORTABLES."""
    keys: dict[str, str | datetime] = {
        "id": entry.layer.id, "title": entry.layer.title.in_language(language).casefold(),
        "created": entry.created, "updated": entry.updated,
    }  # fmt: skip
    return keys[name]


def quality(entry: Entry, language: str) -> dict[str, Any]:
    """The rates of ISO 19157-1 after the last load; of no feature in particular."""
    return {
        "standard": STANDARD,
        "evaluated": stamp(entry.rates[0].evaluated_at),
        "elements": [
            {"element": each.element, "title": known.title.in_language(language),
             "measure": known.measure.in_language(language), "measureId": known.measure_id,
             "rate": round(each.rate, 6)}
            for each in entry.rates for known in [element(each.element)]
        ],
    }  # fmt: skip


def _time(entry: Entry) -> dict[str, Any] | None:
    if entry.interval is None:
        return None
    return {"interval": [end or ".." for end in entry.interval]}


def _described(entry: Entry, language: str) -> dict[str, Any]:
    """What the standard names."""
    layer = entry.layer
    themes = [{"scheme": f"{entry.publisher.url}/collections", "concepts": [{"id": layer.theme}]}]
    if layer.topics:
        concepts = [{"id": topic, "url": f"{TOPICS}/{topic}"} for topic in layer.topics]
        themes.append({"scheme": TOPICS, "concepts": concepts})
    found = {
        "type": "dataset",
        "title": layer.title.in_language(language),
        "description": layer.description.in_language(language),
        "created": stamp(entry.created),
        "updated": stamp(entry.updated),
        "keywords": _keywords(entry, language),
        "themes": themes,
        "language": LANGUAGES[language],
        "languages": list(LANGUAGES.values()),
        "resourceLanguages": [LANGUAGES["vi"]],
        "formats": [{"name": name, "mediaType": media_type} for name, media_type in entry.formats],
        "contacts": [_steward(entry, language), _operator(entry.publisher, language)],
        "license": spdx(entry),
        "rights": layer.licence.title.in_language(language),
    }
    if layer.official_name:
        found["externalIds"] = [{"scheme": "officialName", "value": layer.official_name}]
    return found


def _promised(entry: Entry, language: str) -> dict[str, Any]:
    """What the contract says besides; a legal basis that nobody read in the primary text says so."""
    layer = entry.layer
    other = "en" if language == "vi" else "vi"
    return {
        "titles": {"vi": layer.title.vi, "en": layer.title.en},
        "descriptions": {"vi": layer.description.vi, "en": layer.description.en},
        "keywordsInOtherLanguage": _keywords(entry, other),
        "updateCycle": layer.update_cycle,
        "accessLevel": layer.sharing.level,
        "legalBasis": [
            {"reference": basis.reference, "verified": basis.confidence == "V"} for basis in layer.legal_basis
        ],
        "contractVersion": layer.version,
    }


def _counted(entry: Entry, language: str) -> dict[str, Any]:
    """What the data is now."""
    published = entry.published
    found: dict[str, Any] = {"crs": crs_list(published.grids), "storageCrs": storage_crs(published.grids)}
    if entry.layer.coverage is None:
        found["featureCount"] = published.count
    if entry.rates:
        found["quality"] = quality(entry, language)
    return found


def _links(entry: Entry, language: str) -> list[dict[str, Any]]:
    title = entry.layer.title.in_language(language)
    here, there = entry.record, entry.publisher.catalogue
    licence = entry.layer.licence.title.in_language(language)
    data = [dict(link) for link in entry.data_links if link["rel"] not in ("license", "collection")]
    return [
        {"rel": "self", "type": GEOJSON, "title": title, "href": f"{here}?f=json"},
        {"rel": "alternate", "type": "text/html", "title": title, "href": f"{here}?f=html"},
        {"rel": "alternate", "type": "application/ld+json", "title": "DCAT-AP", "href": f"{here}?f=jsonld"},
        {"rel": "alternate", "type": ISO19139, "title": "ISO 19115", "href": f"{here}?f=iso19139"},
        {"rel": "collection", "type": "application/json", "title": TITLE.in_language(language), "href": there},
        {"rel": "describes", "type": "application/json", "title": title, "href": entry.collection},
        {"rel": "license", "type": "text/html", "title": licence, "href": licence_at(entry)},
        *data,
    ]


def _keywords(entry: Entry, language: str) -> list[str]:
    return [word.in_language(language) for word in entry.layer.keywords]


def _steward(entry: Entry, language: str) -> dict[str, Any]:
    steward = entry.layer.steward
    return {"identifier": steward.id, "organization": steward.name.in_language(language), "roles": ["custodian"]}


def _operator(publisher: Publisher, language: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "organization": publisher.title.in_language(language),
        "links": [{"rel": "about", "type": "text/html", "href": f"{publisher.url}/"}],
        "roles": ["distributor", "pointOfContact"],
    }
    return found | ({"emails": [{"value": publisher.email}]} if publisher.email else {})
