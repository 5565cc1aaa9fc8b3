"""Pages of changes as JSON, and as lines of JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service import fresh, links, words
from sdi.service.asked import Asked
from sdi.service.audit import reads
from sdi.service.cursors import Cursors
from sdi.service.feed import place
from sdi.service.feed.offered import FORMATS
from sdi.service.items import instant
from sdi.service.lanes import Lane
from sdi.service.parameters import limited
from sdi.service.state import Service, service_of
from sdi.store import engine, tables
from sdi.store.feed import page, rules, turning
from sdi.store.feed.page import Entry, Mark, Page, Place
from sdi.store.feed.walk import Steps


@dataclass(frozen=True)
class Told:
    """A page of changes, and the cursor behind it. `loads`: their names."""

    entries: list[Entry]
    loads: dict[int, str]
    cursor: str
    more: bool
    now: str | None = None
    """Of a page that begins with the latest change: the cursor of what comes after it."""


@dataclass(frozen=True)
class Asking:
    """How the changes exist for who asks: the view, the name of its rule, and what is remembered of it."""

    view: FeatureQuery
    under: str
    mark: Mark
    cursors: Cursors


async def asking(service: Service, layer: Layer) -> Asking:
    """It stands as before the rows are read: what changes meanwhile is told as having changed afterwards."""
    cursors = await service.cursors()
    view = await service.reader.with_codes(layer, place.view(service.agency, layer))
    beside = (await service.publications.current()).beside(view.sight)
    under = place.rule(layer, view, cursors, beside)
    # What was told beside other layers cannot be told again: they are others now.
    mark = await service.reader.keep(layer, under, None if beside else rules.told(layer, view))
    return Asking(view, under, mark, cursors)


async def read(service: Service, layer: Layer, since: str | None, limit: int) -> Told:
    """The changes behind `since`, as they exist for who asks. Raises BadRequest, Gone."""
    by = await asking(service, layer)
    readable = tables.readable(layer, restricted=service.reader.role == engine.STEWARD)

    def steps() -> Steps[Page]:
        begins = yield from place.begun(layer, by.view, since, by.under, by.cursors, service.agency, by.mark)
        return (yield from turning.follow(layer, by.view, begins, limit, readable, by.mark))

    async with service.reader.moment(Lane.SLOW) as connection:
        found = await page.run_async(connection, steps())
    behind = place.cursor(layer, place.content(by.under, found.place), by.cursors, service.agency)
    return Told(found.entries, _noted(layer, by, found), behind, found.more)


async def latest(service: Service, layer: Layer, before: str | None, limit: int) -> Told:
    """The changes from the last one back, or from before a page's cursor. Raises BadRequest, Gone."""
    by = await asking(service, layer)
    begins = None if before is None else place.earlier(layer, before, by.cursors, service.agency)

    def steps() -> Steps[tuple[Place, Page]]:
        newest = begins or (yield from page.newest(layer, by.view, mark=by.mark))
        return newest, (yield from page.latest(layer, by.view, limit, begins or replace(newest, id="")))

    async with service.reader.moment(Lane.SLOW) as connection:
        newest, found = await page.run_async(connection, steps())
    loads, last = _noted(layer, by, found), found.place
    assert isinstance(last, Place)
    behind = place.before(layer, last, by.cursors, service.agency)
    now = place.cursor(layer, place.content(by.under, newest), by.cursors, service.agency) if before is None else None
    return Told(found.entries, loads, behind, found.more, now)


def _noted(layer: Layer, by: Asking, found: Page) -> dict[int, str]:
    """The names of the loads; the trail is told what was read."""
    reads.told(layer.id, by.view.attributes, len(found.entries), (entry.id for entry in found.entries))
    return {load: place.name_of(layer, load, by.cursors) for load in {entry.load for entry in found.entries}}


async def answer(request: Request, asked: Asked, layer: Layer) -> Response:
    """A page. Who asks again with its cursor gets what came behind it."""
    service = service_of(request)
    limit = limited(asked.parameters, service.settings.default_limit, service.settings.max_limit)
    told = await read(service, layer, asked.parameters.get("since"), limit)
    request.state.rows = len(told.entries)
    answered = linked(service, asked, layer, told)
    headers = headers_of(service, asked, layer, answered)
    if asked.format == "ndjson":
        body = "".join(f"{line}\n" for line in lines(told))
        headers["OGC-NumberReturned"] = str(len(told.entries))
    else:
        body = document(layer, told, answered)
    return Response(body.encode(), headers=headers, media_type=FORMATS[asked.format].media_type)


def headers_of(service: Service, asked: Asked, layer: Layer, answered: list[dict[str, Any]]) -> dict[str, str]:
    return {
        "Content-Language": asked.language, "Link": links.header(answered),
        "Cache-Control": fresh.cache_control(service, layer),
    }  # fmt: skip


def lines(told: Told) -> list[str]:
    """Each change as JSON, without line breaks: PostgreSQL writes none into a feature."""
    return [_line(entry, told.loads[entry.load]) for entry in told.entries]


def _line(entry: Entry, load: str) -> str:
    told = {"action": entry.action, "load": load, "at": instant(entry.at), "id": entry.id}
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return text if entry.text is None else f'{text[:-1]},"feature":{entry.text}}}'


def document(layer: Layer, told: Told, answered: list[dict[str, Any]] | None) -> str:
    """A page as one JSON text, without line breaks."""
    rest: dict[str, Any] = {"numberReturned": len(told.entries), "cursor": told.cursor, "more": told.more}
    if answered is not None:
        rest["links"] = answered
    tail = json.dumps(rest, ensure_ascii=False, separators=(",", ":"))
    changes = ",".join(lines(told))
    return f'{{"collection":{json.dumps(layer.id)},"changes":[{changes}],{tail[1:]}'


def address(service: Service, layer: Layer, **parameters: Any) -> str:
    return links.address(service.url, "collections", layer.id, "changes", parameters=parameters or None)


def linked(service: Service, asked: Asked, layer: Layer, told: Told, *, back: bool = False) -> list[dict[str, Any]]:
    """self, alternate, collection; behind the page `next` where there is more, else where to look later: `monitor`.

    back: of a page of the latest changes, behind which are earlier ones.
    """
    _ = words.translator(asked.language)
    kept = {name: value for name, value in asked.parameters.items() if name not in ("f", "since", "cursor")}
    since = {name: value for name, value in asked.parameters.items() if name == "since"}
    own = FORMATS[asked.format].media_type
    answered = [
        links.link("self" if asked.format == each.name else "alternate",
                   address(service, layer, f=each.name, **kept, **since), each.media_type,
                   _("This document as {format}").format(format=each.label))
        for each in FORMATS.values()
    ]  # fmt: skip

    def behind(**at: str) -> str:
        return address(service, layer, f=asked.format, **kept, **at)

    if back and told.more:
        answered.append(links.link("next", behind(cursor=told.cursor), own, _("Earlier changes")))
    if told.more and not back:
        answered.append(links.link("next", behind(since=told.cursor), own, _("Next page")))
    after = told.now if back else None if told.more else told.cursor
    if after is not None:
        answered.append(links.link("monitor", behind(since=after), own, _("Changes from here on")))
    collection = links.address(service.url, "collections", layer.id)
    answered.append(links.link("collection", collection, "application/json", layer.title.in_language(asked.language)))
    return answered


def link_to(service: Service, layer: Layer, language: str) -> dict[str, Any]:
    """The link from the collection's document (`monitor`: RFC 5989)."""
    _ = words.translator(language)
    return links.link("monitor", address(service, layer), "application/json", _("Changes of the collection"))
