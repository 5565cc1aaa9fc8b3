"""Items and item as GeoJSON: text made in PostGIS, sent on as it comes (OGC API Features Part 1, 7.15, 7.16)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sdi.access import Itself, visible
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import NotFound
from sdi.service import links, words
from sdi.service.asked import Asked
from sdi.service.crs import DEFAULT, Crs
from sdi.service.formats import ITEM, ITEMS
from sdi.service.hangup import Stream, unsent
from sdi.service.page import Matched, Page, around
from sdi.service.parameters import Question, record_time
from sdi.service.publications import Snapshot
from sdi.service.rights import dimension, seen
from sdi.service.state import Service, service_of
from sdi.store import forms
from sdi.store.forms import Form

BEGINNING = b'{"type":"FeatureCollection","features":['
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
JSON_FG = [f"http://www.opengis.net/spec/json-fg-1/1.0/conf/{name}" for name in ("core", "types-schemas")]
"""What documents of OGC Features and Geometries JSON declare."""


async def feature_collection(
    request: Request, asked: Asked, layer: Layer, question: Question, snapshot: Snapshot, validity: dict[str, str]
) -> Response:
    """A page of features as GeoJSON or JSON-FG; one that is too large to be held is streamed.

    `validity`: headers that say how long the answer holds. Without `timeStamp`: the Date header tells it, and the same
    features are the same bytes.
    """
    service = service_of(request)
    headers = {**validity, "Content-Crs": f"<{question.crs.uri}>", "Content-Language": asked.language}
    question, page = await service.held(snapshot, layer, question, form_of(asked))
    if page is None:
        return await _streamed(request, asked, layer, question, snapshot, headers)
    matched = await service.matched(snapshot, layer, question, page)
    answered = await written_page_links(service, asked, layer, question, page, snapshot)
    request.state.rows = page.returned
    headers = headers if matched.settled else unsettled(headers)
    begun = _beginning(service, asked, layer, question.crs)
    content = b"".join((begun, page.text, _tail(question, page, matched, answered)))
    return Response(content, headers={**headers, "Link": answered.header}, media_type=ITEMS[asked.format].media_type)


def form_of(asked: Asked) -> Form:
    """What a feature is written as in the format that is asked for; other formats are made from GeoJSON."""
    return forms.json_fg if asked.format == "jsonfg" else forms.geojson


def _beginning(service: Service, asked: Asked, layer: Layer, crs: Crs) -> bytes:
    """What stands before the first feature."""
    if asked.format != "jsonfg":
        return BEGINNING
    members = {"type": "FeatureCollection", **_json_fg(service, layer, crs)}
    return _write(members).encode()[:-1] + b',"features":['


def _json_fg(service: Service, layer: Layer, crs: Crs) -> dict[str, Any]:
    """The members by which a JSON-FG document says what it is about; `place` is in `coordRefSys`."""
    schema = links.address(service.url, "collections", layer.id, "schema")
    told_as = dimension(service.agency, layer)
    return {
        "conformsTo": JSON_FG,
        "featureType": layer.id,
        "featureSchema": schema,
        **({"coordRefSys": crs.uri} if crs != DEFAULT else {}),
        **({"geometryDimension": told_as} if told_as is not None else {}),
    }


async def _streamed(
    request: Request, asked: Asked, layer: Layer, question: Question, snapshot: Snapshot, headers: dict[str, str]
) -> Response:  # fmt: skip
    """A long page. What is told of it is known before its first feature is sent, so the Link header has it too."""
    service, media_type = service_of(request), ITEMS[asked.format].media_type
    # Who says that nothing kept will do is not told which features were found for others (RFC 9111, 5.2.1.4).
    mark = None if "no-cache" in request.headers.get("cache-control", "").lower() else snapshot.mark
    page, parts = await service.reader.walk(layer, question.query, form_of(asked), ",\n", mark)
    try:
        matched = await service.matched(snapshot, layer, question, page)
        answered = await written_page_links(service, asked, layer, question, page, snapshot)
        headers["Link"] = answered.header
        request.state.rows = page.returned
        if request.method == "HEAD":
            await parts.aclose()
            return unsent(headers, media_type)
    except BaseException:
        await parts.aclose()
        raise
    begun, tail = _beginning(service, asked, layer, question.crs), _tail(question, page, matched, answered)
    return Stream(_between(begun, parts, tail), headers=headers, media_type=media_type)


async def _between(
    begun: bytes, parts: AsyncGenerator[bytes | memoryview], tail: bytes
) -> AsyncGenerator[bytes | memoryview]:
    async with aclosing(parts):
        yield begun
        async for part in parts:
            yield part
    yield tail


def _tail(question: Question, page: Page, matched: Matched, answered: links.Written) -> bytes:
    told_of = {"numberReturned": page.returned, **matched.told, **told(question.query.as_of)}
    members = _write(told_of)
    return f'],{members[1:-1]},"links":{answered.document}}}'.encode()


def unsettled(headers: dict[str, str]) -> dict[str, str]:
    """The headers of an answer that may be another the next time, though nothing has changed."""
    kept = {name: value for name, value in headers.items() if name not in ("ETag", "Last-Modified")}
    return {**kept, "Cache-Control": "no-store"}


def feature(
    request: Request, asked: Asked, layer: Layer, feature_id: str, row: str, crs: Crs, snapshot: Snapshot,
    kin: dict[str, Any],
) -> Response:  # fmt: skip
    """One feature, its text as `one` found it in the form asked for, with its links, its parents and children."""
    service = service_of(request)
    known_at = record_time(asked.parameters)
    answered = _written_item_links(service, asked, layer, feature_id, snapshot)
    headers = {"Link": answered.header, "Content-Crs": f"<{crs.uri}>", "Content-Language": asked.language}
    request.state.rows = 1
    about = _json_fg(service, layer, crs) if asked.format == "jsonfg" else {}
    told_of = _write({**about, **told(known_at), **kin})[1:-1] if about or known_at or kin else ""
    text = f'{row[:-1]},{told_of}{"," if told_of else ""}"links":{answered.document}}}'
    return Response(text, headers=headers, media_type=ITEMS[asked.format].media_type)


async def one(
    service: Any, layer: Layer, feature_id: str, crs: Crs, known_at: datetime | None = None, form: Form = forms.geojson
) -> str:
    """The text of one feature that exists, or was known at an instant, for who asks. Raises NotFound."""
    row: str | None
    if known_at is None:
        mark = service.agency, Itself(layer), crs.epsg, crs.north_first, form
        row = await service.reader.item(mark, layer, lambda: by_ids(service, layer, (), crs), form, feature_id)
    else:
        row = await service.reader.text(layer, by_ids(service, layer, (feature_id,), crs, known_at), form)
    if row is None:
        had = f"had, as of {instant(known_at)}," if known_at else "has"
        raise NotFound(f"Collection '{layer.id}' {had} no feature '{feature_id[:100]}'.")
    return row


def by_ids(
    service: Any, layer: Layer, ids: tuple[str, ...], crs: Crs, known_at: datetime | None = None
) -> FeatureQuery:
    """The features with these ids, as far as they exist for who asks."""
    shown = seen(service.agency, layer)
    return FeatureQuery(
        layer=layer.id,
        attributes=visible(service.agency, layer),
        ids=ids,
        filters=shown.filters,
        as_of=known_at,
        latest=shown.latest if known_at else (),
        sight=shown.sight,
        crs=crs.epsg,
        north_first=crs.north_first,
        limit=len(ids),
    )


async def page_links(
    service: Service, asked: Asked, layer: Layer, question: Question, page: Page
) -> list[dict[str, Any]]:  # fmt: skip
    """self, alternate, next, prev, collection; with every parameter that was asked."""
    return _page_links(service, asked, layer, **await _page_parts(service, asked, question, page))


async def written_page_links(
    service: Service, asked: Asked, layer: Layer, question: Question, page: Page, snapshot: Snapshot
) -> links.Written:  # fmt: skip
    """The same, written out."""
    make = partial(_page_links, service, asked, layer)
    parts = await _page_parts(service, asked, question, page)
    return snapshot.frames.filled(("page", layer.id, asked.language, asked.format), make, **parts)


async def _page_parts(service: Service, asked: Asked, question: Question, page: Page) -> dict[str, str]:
    """What the addresses of a page and of those around it are made of: the places, where there are such pages."""
    cursors = await service.cursors()
    there: dict[str, dict[str, Any]] = {
        rel: {"cursor": cursors.seal(cursor, question.query, service.agency)}
        for rel, cursor in around(question, page).items()
    }
    if not page.returned and question.query.offset:
        there["prev"] = {"offset": max(0, question.query.offset - (question.query.limit or 0))}
    here = {name: value for name, value in asked.parameters.items() if name in ("offset", "cursor")}
    return {
        "rest": _rest(asked, "offset", "cursor"), "here": links.query(here),
        "after": links.query(there.get("next", {})), "before": links.query(there.get("prev", {})),
    }  # fmt: skip


def _page_links(
    service: Service, asked: Asked, layer: Layer, rest: str, here: str, after: str, before: str
) -> list[dict[str, Any]]:  # fmt: skip
    _ = words.translator(asked.language)
    path = links.address(service.url, "collections", layer.id, "items")
    answered = [
        links.link("self" if asked.format == each.name else "alternate",
                   links.in_format(path, each.name, rest, here), each.media_type,
                   _("This document as {format}").format(format=each.label))
        for each in ITEMS.values()
    ]  # fmt: skip
    own = ITEMS[asked.format].media_type
    for rel, place, title in (("next", after, "Next page"), ("prev", before, "Previous page")):
        if place:
            answered.append(links.link(rel, links.in_format(path, asked.format, rest, place), own, _(title)))
    collection = links.address(service.url, "collections", layer.id)
    answered.append(links.link("collection", collection, "application/json", layer.title.in_language(asked.language)))
    return answered


def item_links(service: Any, asked: Asked, layer: Layer, feature_id: str, snapshot: Snapshot) -> list[dict[str, Any]]:
    """self, alternate, collection, and the dossiers in which the feature is the subject."""
    return _item_links(service, asked, layer, snapshot, quote(feature_id, safe=""), _rest(asked))


def _written_item_links(
    service: Any, asked: Asked, layer: Layer, feature_id: str, snapshot: Snapshot
) -> links.Written:  # fmt: skip
    kind = ("item", layer.id, asked.language, asked.format)
    make = partial(_item_links, service, asked, layer, snapshot)
    return snapshot.frames.filled(kind, make, id_=quote(feature_id, safe=""), rest=_rest(asked))


def _rest(asked: Asked, *besides: str) -> str:
    """The parameters that were asked, as they stand in a URL, without `f` and those that are told `besides`."""
    kept = {name: value for name, value in asked.parameters.items() if name != "f" and name not in besides}
    return links.query(kept)


def _item_links(
    service: Any, asked: Asked, layer: Layer, snapshot: Snapshot, id_: str, rest: str
) -> list[dict[str, Any]]:  # fmt: skip
    """`id_`, `rest`: parts of addresses."""
    _ = words.translator(asked.language)
    base = service.settings.url
    path = f"{links.address(base, 'collections', layer.id, 'items')}/{id_}"
    answered = [
        links.link("self" if asked.format == each.name else "alternate", links.in_format(path, each.name, rest),
                   each.media_type,
                   _("This document as {format}").format(format=each.label))
        for each in ITEM.values()
    ]  # fmt: skip
    collection = links.address(base, "collections", layer.id)
    answered.append(links.link("collection", collection, "application/json", layer.title.in_language(asked.language)))
    for derived in snapshot.dossiers_of(layer):
        assert derived.dossier is not None
        href = f"{links.address(base, derived.dossier.path)}/{id_}/dossier"
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
