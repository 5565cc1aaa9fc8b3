"""The addresses of the catalogue: records, DCAT, the open-data list, and what changed in the register."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sdi.catalog import dcat, iso19139, record
from sdi.catalog.entry import CATALOGUE, ISO19139, JSONLD, OGC_CATALOG
from sdi.catalog.record import GEOJSON
from sdi.contract.elements import element
from sdi.contract.query import Interval
from sdi.errors import NotFound, nearest
from sdi.national import vn2000
from sdi.service import links
from sdi.service.asked import Asked, asked, checked_path
from sdi.service.formats import LABELS
from sdi.service.pages import answered
from sdi.service.parameters import limited, whole_number
from sdi.service.publications import Snapshot
from sdi.service.records import documents, question
from sdi.service.records.entries import Entries, entries, publisher, with_files
from sdi.service.state import Service, service_of

Endpoint = Callable[..., Awaitable[Response]]
HERE = f"/collections/{CATALOGUE}"
CHANGES = 100
"""Changes of the register on a page where no limit is asked."""


def items() -> list[tuple[str, Endpoint]]:
    """Paths and endpoints of records; they stand before those of features. A layer's id has no hyphen."""
    return [(f"{HERE}/items", records), (f"{HERE}/items/{{record_id}}", one_record)]


def addresses() -> list[tuple[str, Endpoint]]:
    """Paths and endpoints of the rest; they stand before those of layers."""
    return [
        ("/catalogue", whole), ("/catalogue/changes", changes), ("/open-data", open_data), (HERE, collection),
        (f"{HERE}/sortables", sortables),
    ]  # fmt: skip


async def whole(request: Request) -> Response:
    ask = asked(request, ("jsonld", "html"))
    service, snapshot, known = await _known(request, ask)
    if ask.format == "html":
        return await _page_of_records(request, ask, service, snapshot, known)
    document = dcat.catalogue(publisher(service), await with_files(service, snapshot, known))
    return _answer(ask, document, JSONLD)


async def collection(request: Request) -> Response:
    ask = asked(request, ("json", "html", "ogc-catalog"))
    service, snapshot, known = await _known(request, ask)
    if ask.format == "html":
        return await _page_of_records(request, ask, service, snapshot, known)
    media_type = OGC_CATALOG if ask.format == "ogc-catalog" else "application/json"
    return _answer(ask, documents.collection(service, known, ask.language), media_type)


async def sortables(request: Request) -> Response:
    ask = asked(request, ("json",))
    return _answer(ask, documents.sortables(service_of(request), ask.language), "application/schema+json")


async def records(request: Request) -> Response:
    ask = asked(request, ("json", "html"), question.PARAMETERS)
    service, snapshot, known = await _known(request, ask)
    if ask.format == "html":
        return await _page_of_records(request, ask, service, snapshot, known)
    answer = question.chosen(known, ask.parameters, service.settings, ask.language)
    return _answer(ask, documents.page(service, answer, ask.parameters, ask.language), GEOJSON)


async def one_record(request: Request, record_id: str) -> Response:
    ask = asked(request, ("json", "html", "jsonld", "iso19139"))
    service, snapshot, known = await _known(request, ask)
    name = checked_path(record_id)
    if name not in known:
        raise NotFound(f"There is no record '{name[:100]}'.{nearest(name, known)}")
    entry = known[name]
    if ask.format == "jsonld":
        (entry,) = await with_files(service, snapshot, {name: entry})
        return _answer(ask, dcat.dataset(entry), JSONLD)
    if ask.format == "iso19139":
        headers = {"Content-Language": ask.language}
        return Response(iso19139.metadata(entry, ask.language), headers=headers, media_type=ISO19139)
    if ask.format == "html":
        return answered(request, ask.language, "record.html", entry=entry, layer=entry.layer, element=element,
                        publication=entry.published, grids=[vn2000.grid(epsg) for epsg in entry.published.grids],
                        downloads=[link for link in entry.data_links if link["rel"] == "enclosure"],
                        rates=entry.rates)  # fmt: skip
    return _answer(ask, record.record(entry, ask.language), GEOJSON)


async def open_data(request: Request) -> Response:
    ask = asked(request, ("json", "html"))
    service, _, known = await _known(request, ask)
    document = documents.open_data(service, known, ask.language)
    if ask.format == "html":
        return answered(request, ask.language, "open_data.html", document=document, labels=LABELS)
    return _answer(ask, document)


async def changes(request: Request) -> Response:
    ask = asked(request, ("json", "html"), ("collection", "datetime", "limit", "offset"))
    service, snapshot, known = await _known(request, ask)
    names, wanted = list(known), ask.parameters.get("collection")
    if wanted is not None:
        if wanted not in known:
            raise NotFound(f"There is no collection '{wanted[:100]}'.{nearest(wanted, known)}")
        names = [wanted]
    within = Interval.parse(ask.parameters["datetime"]) if "datetime" in ask.parameters else None
    limit = limited(ask.parameters, CHANGES, service.settings.max_limit)
    offset = whole_number(ask.parameters, "offset", 0, minimum=0)
    loads = {name: snapshot.publications[name].load_id for name in names}
    # What is not told as the ledger has it is seen in part.
    whole = {name for name in names if snapshot.publications[name] is snapshot.stored.get(name)}
    found = await service.reader.events(loads, whole, within, limit, offset)
    around = question.Answer([], found[1], limit, offset).around(ask.parameters)
    document = documents.changes(service, snapshot, found, around, ask.language)
    if ask.format == "html":
        return answered(request, ask.language, "changes.html", document=document)
    return _answer(ask, document)


async def _page_of_records(
    request: Request, ask: Asked, service: Service, snapshot: Snapshot, known: Entries
) -> Response:  # fmt: skip
    """The page that a person reads and searches on."""
    asked_for = {"sortby": "title", **ask.parameters}
    answer = question.chosen(known, asked_for, service.settings, ask.language)
    found = documents.page(service, answer, asked_for, ask.language)
    return answered(request, ask.language, "catalogue.html", answer=answer, links=found["links"], snapshot=snapshot,
                    asked=asked_for, all=len(known), catalogue=CATALOGUE)  # fmt: skip


async def _known(request: Request, ask: Asked) -> tuple[Service, Snapshot, Entries]:
    service = service_of(request)
    snapshot = await service.publications.current()
    return service, snapshot, await entries(service, snapshot, ask.language)


def _answer(ask: Asked, content: dict[str, Any], media_type: str = "application/json") -> Response:
    headers = {"Content-Language": ask.language}
    if "links" in content:
        headers["Link"] = links.header(content["links"])
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, headers=headers, media_type=media_type)
