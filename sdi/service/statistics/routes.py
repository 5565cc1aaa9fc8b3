"""The address of a layer's statistics."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from sdi.errors import NotFound
from sdi.service import links, pages
from sdi.service.asked import asked, checked_path
from sdi.service.formats import disposition
from sdi.service.state import service_of
from sdi.service.statistics import documents, question
from sdi.service.statistics.page import shown
from sdi.service.statistics.table import tabulated

Endpoint = Callable[..., Awaitable[Response]]


def addresses() -> list[tuple[str, Endpoint]]:
    """Paths and their endpoints."""
    return [("/statistics", listed), ("/collections/{collection}/statistics", statistics_of)]


async def listed(request: Request) -> Response:
    """The layers of which there are statistics for who asks."""
    ask = asked(request, ("json", "html"))
    service = service_of(request)
    snapshot = await service.publications.current()
    document = documents.listed(service, snapshot, ask.language)
    if ask.format == "html":
        return pages.answered(request, ask.language, "statistics_list.html", document=document)
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, headers={"Content-Language": ask.language}, media_type="application/json")


async def statistics_of(request: Request, collection: str) -> Response:
    service = service_of(request)
    snapshot = await service.publications.current()
    layer = snapshot.counted.get(collection)
    if layer is None:
        # Which says of a hidden layer what it says of one that never was.
        layer, _ = snapshot[checked_path(collection)]
        raise NotFound(f"Collection '{layer.id}' has no statistics.")
    ask = asked(request, question.FORMATS, ("by",))
    by = question.chosen(service.agency, layer, ask.parameters.get("by"))
    table = await tabulated(request.app.state.tables, service, snapshot, layer, by)
    named = {name: await documents.titles(service, snapshot, layer, name, ask.language) for name in by}
    if ask.format == "html":
        about = shown(service, layer, table, named, ask.language)
        return pages.answered(
            request, ask.language, "statistics.html", layer=layer, seen=layer.id in snapshot.layers, **about
        )
    document = documents.document(service, snapshot, layer, table, named, ask.language)
    headers = {"Content-Language": ask.language, "Link": links.header(document["links"])}
    if ask.format == "csv":
        text = documents.lines(table, named, ask.language)
        headers |= disposition(f"{layer.id}_by_{'_'.join(by)}", question.FORMATS["csv"])
        return Response(text.encode(), headers=headers, media_type="text/csv")
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, headers=headers, media_type="application/json")
