"""Items and item as GeoJSON: text rows made in PostGIS, streamed as they come (OGC API Features Part 1, 7.15, 7.16)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sdi.access import visible
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import NotFound
from sdi.service import links, words
from sdi.service.asked import Asked
from sdi.service.crs import Crs
from sdi.service.parameters import Question, record_time, row_filters
from sdi.service.publications import Snapshot
from sdi.service.state import service_of

CHUNK = 64 * 1024
"""Characters gathered before they are sent."""


async def feature_collection(
    request: Request, asked: Asked, layer: Layer, question: Question, snapshot: Snapshot
) -> Response:
    """A page of features, streamed. The first row is fetched before the answer begins, so a fault has its status."""
    service = service_of(request)
    matched = await service.matched(snapshot, layer, question)
    answered = page_links(service.settings.url, asked, layer, question, matched)
    headers = {
        "Link": links.header(answered),
        "Content-Crs": f"<{question.crs.uri}>",
        "Content-Language": asked.language,
    }
    if request.method == "HEAD":
        return Response(None, headers=headers, media_type=links.GEOJSON)
    rows = service.reader.geojson(layer, question.query)
    first = await anext(rows, None)
    # Without `timeStamp`: the Date header tells it, and the same features are the same bytes.
    tail = {"numberMatched": matched, **told(question.query.as_of), "links": answered}
    body = _body(request, rows, first, tail)
    return StreamingResponse(body, headers=headers, media_type=links.GEOJSON)


async def _body(
    request: Request, rows: AsyncIterator[str], first: str | None, tail: dict[str, Any]
) -> AsyncIterator[bytes]:
    pieces, size, returned = ['{"type":"FeatureCollection","features":['], 0, 0
    if first is not None:
        pieces.append(first)
        returned = 1
    async for row in rows:
        pieces += (",\n", row)
        size += len(row)
        returned += 1
        if size > CHUNK:
            yield "".join(pieces).encode()
            pieces, size = [], 0
    request.state.rows = returned
    ending = json.dumps({"numberReturned": returned, **tail}, ensure_ascii=False, separators=(",", ":"))
    pieces += ("],", ending[1:])
    yield "".join(pieces).encode()


async def feature(
    request: Request, asked: Asked, layer: Layer, feature_id: str, crs: Crs, snapshot: Snapshot, kin: dict[str, Any]
) -> Response:
    """One feature with its links and its `kin`, parents and children. Raises NotFound."""
    service = service_of(request)
    known_at = record_time(asked.parameters)
    row = await one(service, layer, feature_id, crs, known_at)
    answered = item_links(service, asked, layer, feature_id, snapshot)
    headers = {
        "Link": links.header(answered),
        "Content-Crs": f"<{crs.uri}>",
        "Content-Language": asked.language,
    }
    request.state.rows = 1
    tail = json.dumps({**told(known_at), **kin, "links": answered}, ensure_ascii=False, separators=(",", ":"))
    return Response(f"{row[:-1]},{tail[1:]}", headers=headers, media_type=links.GEOJSON)


async def one(service: Any, layer: Layer, feature_id: str, crs: Crs, known_at: datetime | None = None) -> str:
    """The text of one feature that exists, or was known at an instant, for who asks. Raises NotFound."""
    query = by_ids(service, layer, (feature_id,), crs, known_at)
    row: str | None = await anext(service.reader.geojson(layer, query), None)
    if row is None:
        had = f"had, as of {instant(known_at)}," if known_at else "has"
        raise NotFound(f"Collection '{layer.id}' {had} no feature '{feature_id[:100]}'.")
    return row


def by_ids(
    service: Any, layer: Layer, ids: tuple[str, ...], crs: Crs, known_at: datetime | None = None
) -> FeatureQuery:
    """The features with these ids, as far as they exist for who asks."""
    filters = row_filters(service.agency, layer)
    return FeatureQuery(
        layer=layer.id,
        attributes=visible(service.agency, layer),
        ids=ids,
        filters=filters,
        as_of=known_at,
        latest=filters if known_at else (),
        crs=crs.epsg,
        north_first=crs.north_first,
        limit=len(ids),
    )


def page_links(base: str, asked: Asked, layer: Layer, question: Question, matched: int) -> list[dict[str, Any]]:
    """self, alternate, next, prev, collection; with every parameter that was asked."""
    _ = words.translator(asked.language)
    rest = {name: value for name, value in asked.parameters.items() if name not in ("f", "offset")}
    offset, limit = question.query.offset, question.query.limit or 0

    def page(format_: str, start: int) -> str:
        position = {"offset": start} if start else {}
        return links.address(base, "collections", layer.id, "items", parameters={"f": format_, **rest, **position})

    answered = [
        links.link("self" if asked.format == format_ else "alternate", page(format_, offset), type_, _(title))
        for format_, type_, title in (
            ("json", links.GEOJSON, "This document as GeoJSON"),
            ("html", "text/html", "This document as HTML"),
            ("jsonld", "application/ld+json", "This document as JSON-LD"),
            ("csv", "text/csv", "This document as CSV"),
        )
    ]
    own = next(each["type"] for each in answered if each["rel"] == "self")
    if offset + limit < matched:
        answered.append(links.link("next", page(asked.format, offset + limit), own, _("Next page")))
    if offset > 0:
        answered.append(links.link("prev", page(asked.format, max(0, offset - limit)), own, _("Previous page")))
    collection = links.address(base, "collections", layer.id)
    answered.append(links.link("collection", collection, "application/json", layer.title.in_language(asked.language)))
    return answered


def item_links(service: Any, asked: Asked, layer: Layer, feature_id: str, snapshot: Snapshot) -> list[dict[str, Any]]:
    """self, alternate, collection, and the dossiers in which the feature is the subject."""
    _ = words.translator(asked.language)
    base = service.settings.url
    rest = {name: value for name, value in asked.parameters.items() if name != "f"}

    def here(format_: str) -> str:
        return links.address(base, "collections", layer.id, "items", feature_id, parameters={"f": format_, **rest})

    answered = [
        links.link("self" if asked.format == format_ else "alternate", here(format_), type_, _(title))
        for format_, type_, title in (
            ("json", links.GEOJSON, "This document as GeoJSON"),
            ("html", "text/html", "This document as HTML"),
            ("jsonld", "application/ld+json", "This document as JSON-LD"),
        )
    ]
    collection = links.address(base, "collections", layer.id)
    answered.append(links.link("collection", collection, "application/json", layer.title.in_language(asked.language)))
    for derived in snapshot.dossiers_of(layer):
        assert derived.dossier is not None
        href = links.address(base, derived.dossier.path, feature_id, "dossier")
        answered.append(links.link("related", href, "application/json", derived.title.in_language(asked.language)))
    return answered


def now() -> str:
    """The time of an answer, RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(known_at: datetime | None) -> dict[str, str]:
    """The member that says as of when an answer is; nothing for one of now."""
    return {"asOf": instant(known_at)} if known_at else {}


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond where there are any."""
    return moment.isoformat().replace("+00:00", "Z")
