"""The trail for stewards: who read and who changed the layers that an agency collects, and nothing of others."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sdi.access import PUBLIC
from sdi.contract.query import instant
from sdi.errors import BadRequest, NotFound, nearest
from sdi.service import fresh, links, words
from sdi.service.asked import Asked, asked
from sdi.service.audit.deeds import changed, deed
from sdi.service.pages import Pages
from sdi.service.state import Service, service_of
from sdi.store.audit.search import MOST, Entry, Wanted
from sdi.store.sharing.register import Register

PARAMETERS = ("layer", "feature", "agency", "from", "to", "before", "limit")
USUAL = 100
"""Entries of a page where no limit is asked."""
NAMED = 3
"""Ids that the table names of an entry."""
_OWN = ("at", "kind", "action", "operation", "request", "agency", "member", "key", "login", "client", "part", "status",
        "ended", "grants", "purpose")  # fmt: skip
"""What is told of an entry that is of other layers, too."""

_TIMES = ("at", "until", "row")
"""Where an entry has instants; a row's are written by PostgreSQL, `+00:00`, as those of older entries are."""
_OFFSET = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d:\d\d", re.ASCII)


def addresses() -> list[tuple[str, Any]]:
    return [("/audit", trail)]


async def trail(request: Request) -> Response:
    """A page of entries, the newest first. Raises NotFound for who collects no layer, as if it were not there."""
    service = service_of(request)
    own = {name for name, layer in service.registry.layers.items() if layer.steward.id == service.agency.id}
    if service.agency.public or not own:
        raise NotFound("There is no such address.")
    ask = asked(request, ("json", "html"), PARAMETERS)
    wanted = _wanted(ask, own)
    found = await service.reader.trail(wanted)
    entries = [shown(entry, own) for entry in found]
    further = found[-1].seq if len(found) == wanted.limit else None
    answered = _links(service, ask, further)
    headers = {"Content-Language": ask.language, "Cache-Control": fresh.SECRET, "Link": links.header(answered)}
    if ask.format == "html":
        pages: Pages = request.app.state.pages
        layers = {name: service.registry.layers[name] for name in sorted(own)}
        register = await request.app.state.agencies.register()
        rows = [_row(entry, register, ask.language) for entry in entries]
        kept = {name: ask.parameters.get(name, "") for name in PARAMETERS}
        text = pages.render("audit.html", ask.language, request, rows=rows, layers=layers, ask=kept,
                            agencies={each["agency"]: each["name"] for each in rows if each["agency"]},
                            links=answered)  # fmt: skip
        return HTMLResponse(text, headers={**headers, "Content-Security-Policy": pages.policy})
    body = json.dumps({"entries": entries, "links": answered}, ensure_ascii=False, separators=(",", ":"))
    return Response(body.encode(), headers=headers, media_type="application/json")


def shown(entry: Entry, own: Collection[str]) -> dict[str, Any]:
    """An entry as far as it is of these layers; what was asked of others with it stays untold."""
    body = {name: _in_utc(value) if name in _TIMES else value for name, value in entry.body.items()}
    told: dict[str, Any] = {"seq": entry.seq, "recordedAt": _written(entry.recorded_at)}
    if set(body.get("layers", ())) <= set(own):
        return told | body
    told |= {name: body[name] for name in _OWN if name in body}
    told["layers"] = [name for name in body["layers"] if name in own]
    reads = [read for read in body.get("reads", ()) if read["layer"] in own]
    return told | ({"reads": reads} if reads else {})


def _row(told: dict[str, Any], register: Register, language: str) -> dict[str, Any]:
    """An entry as the table has it."""
    agency = told.get("agency")
    reads = told.get("reads", [])
    counts = [read["count"] for read in reads if "count" in read]
    ids = [name for read in reads for name in read.get("ids", ())]
    more = len(ids) > NAMED or any("versions" in read for read in reads)
    return {
        "seq": told["seq"], "at": told["at"], "agency": agency,
        "name": _name(agency, register, language) if agency else "",
        "who": told.get("member") or told.get("login"), "purpose": told.get("purpose"), "status": told.get("status"),
        "what": deed(told), "mode": told.get("row", {}).get("mode"), "changed": changed(told),
        "layers": told.get("layers", []),
        "count": sum(counts) if counts else None, "ids": ", ".join(ids[:NAMED]) + (" …" if more else ""),
    }  # fmt: skip


def _name(agency: str, register: Register, language: str) -> str:
    """What an agency is called; one that was merged into another as it was told, by its id."""
    if agency == PUBLIC.id:
        return words.translator(language)("The public")
    known = register.agencies.get(agency)
    return agency if known is None else known.name(language)


def _wanted(ask: Asked, own: Collection[str]) -> Wanted:
    parameters = ask.parameters
    layer = parameters.get("layer") or None
    if layer is not None and layer not in own:
        raise BadRequest(f"layer: '{layer[:100]}' is none that you collect.{nearest(layer, own)}")
    return Wanted(
        agency=parameters.get("agency") or None, layers=sorted(own) if layer is None else [layer],
        feature=parameters.get("feature") or None, since=_moment(parameters, "from"), until=_moment(parameters, "to"),
        before=_whole(parameters, "before", 2**63 - 1), limit=_whole(parameters, "limit", MOST) or USUAL,
    )  # fmt: skip


def _moment(parameters: dict[str, str], name: str) -> datetime | None:
    return instant(parameters[name])[0] if parameters.get(name) else None


def _whole(parameters: dict[str, str], name: str, most: int) -> int | None:
    text = parameters.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < 1:
        raise BadRequest(f"{name} must be a whole number, at least {1}.")
    return min(int(text), most)


def _links(service: Service, ask: Asked, further: int | None) -> list[dict[str, Any]]:
    here = {name: value for name, value in ask.parameters.items() if name != "f"}
    media = {"json": "application/json", "html": "text/html"}
    answered = [
        links.link("self" if each == ask.format else "alternate",
                   links.address(service.url, "audit", parameters={**here, "f": each}), media[each], each.upper())
        for each in media
    ]  # fmt: skip
    if further is not None:
        href = links.address(service.url, "audit", parameters={**here, "f": ask.format, "before": further})
        answered.append(links.link("next", href, media[ask.format], "next"))
    return answered


def _in_utc(value: Any) -> Any:
    """With each instant in it as all others are told; the trail itself keeps what was hashed."""
    match value:
        case dict():
            return {name: _in_utc(each) for name, each in value.items()}
        case list():
            return [_in_utc(each) for each in value]
        case str() if _OFFSET.fullmatch(value):
            return _written(datetime.fromisoformat(value))
    return value


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
