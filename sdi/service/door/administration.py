"""The administrators' page: the register of agencies, their keys and grants, seen and changed without a terminal.

It exists for who shows the key, or the token, of an agency that administers, and for nobody else. All is written as the
registrars' role by the functions that the terminal uses. A form is taken only from this site: a browser sends a
person's password by itself, so what another site made it send must not count.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sdi.access import ACTIONS, Action, Grant, Kind
from sdi.contract.layer import Privacy
from sdi.contract.query import Precision
from sdi.errors import BadRequest, UsageError
from sdi.national.clock import VIETNAM
from sdi.service import asked, links
from sdi.service.door import form
from sdi.service.door.form import Actor, Form, Task
from sdi.service.pages import Pages
from sdi.service.state import Service, service_of
from sdi.store import engine
from sdi.store.sharing import agencies, grants, keys

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""All of them: to who is no administrator the address is not there, whatever is done to it."""


async def page(request: Request) -> Response:
    """GET shows the register, POST changes it. 404 for who is no administrator."""
    service = service_of(request)
    proof: str | None = getattr(request.state, "proof", None)
    if proof is None or service.agency.id not in (await request.app.state.agencies.register()).administrators:
        raise HTTPException(404)
    if request.method in ("GET", "HEAD"):
        asked.asked(request, ["html"])
        return await _shown(request, service, proof)
    if request.method != "POST":
        raise HTTPException(405)
    said = await form.sent(request, service, proof)
    made = await run_in_threadpool(_done, service, said, Actor.of(request, service))
    if made is not None:
        return await _shown(request, service, proof, made)
    return RedirectResponse(_address(request, service), 303, {"Cache-Control": "no-store"})


def _address(request: Request, service: Service) -> str:
    lang = request.query_params.get("lang")
    return links.address(service.url, "admin", "agencies", parameters={"lang": lang} if lang else None)


async def _shown(
    request: Request, service: Service, proof: str, made: tuple[str, str] | None = None
) -> HTMLResponse:  # fmt: skip
    """`made`: an agency and its new key, which is shown this once."""
    pages: Pages = request.app.state.pages
    language = asked.language(request)
    found = await run_in_threadpool(_read, service)
    text = pages.render(
        "agencies.html", language, request, proof=proof, made=made, kinds=agencies.KINDS[:-1], actions=ACTIONS,
        classes=grants.SHARED, layers=sorted(service.registry.layers.values(), key=lambda layer: layer.id),
        now=datetime.now(UTC), **found,
    )  # fmt: skip
    headers = {"Content-Language": language, "Content-Security-Policy": pages.policy, "Cache-Control": "no-store"}
    return HTMLResponse(text, headers=headers)


def _read(service: Service) -> dict[str, Any]:
    with engine.connect(service.reader.url, engine.REGISTRAR, application="sdi-service-registrar") as connection:
        entries, all_keys, given = agencies.entries(connection), keys.keys(connection), grants.given(connection)
    return {
        "entries": entries,
        "keys": {entry.id: [each for each in all_keys if each.agency == entry.id] for entry in entries},
        "grants": {entry.id: [each for each in given if each.grant.agency == entry.id] for entry in entries},
    }


def _done(service: Service, said: Form, actor: Actor) -> tuple[str, str] | None:
    """What the form asks for is done; the agency and its key where one was made."""
    task = _TASKS.get("".join(said.get("do", [])))
    if task is None:
        raise BadRequest("The form cannot be read.")
    with actor.registering(service) as connection:
        return task(Task(connection, service.registry, said, actor.by))


def _add(task: Task) -> None:
    kind = cast("Kind", task.text("kind"))
    names = task.text("name-vi"), task.text("name-en")
    agencies.add(task.connection, task.text("agency"), kind, *names, task.day("since"), by=task.by)


def _merge(task: Task) -> None:
    on = task.day("on")
    at = datetime.combine(on, time(), VIETNAM) if on else None
    agencies.merge(task.connection, task.text("agency"), task.text("into"), task.text("why"), at=at, by=task.by)


def _unmerge(task: Task) -> None:
    agencies.unmerge(task.connection, task.text("agency"), task.text("why"), by=task.by)


def _key(task: Task) -> tuple[str, str]:
    agency, days = task.text("agency"), task.number("days")
    if not 1 <= days <= 3650:
        raise UsageError("A key lasts from one day to ten years.")
    until = datetime.now(UTC) + timedelta(days=days)
    about = {"name": task.maybe("name"), "expires_at": until, "by": task.by}
    return agency, keys.make_key(task.connection, agency, task.maybe("note"), **cast("Any", about))


def _rotate(task: Task) -> tuple[str, str]:
    agency, overlap = task.text("agency"), float(task.number("overlap"))
    return agency, keys.rotate(task.connection, agency, task.number("key"), overlap=overlap, by=task.by)


def _revoke_key(task: Task) -> None:
    keys.revoke(task.connection, task.text("agency"), task.number("key"), by=task.by)


def _grant(task: Task) -> None:
    layer = task.registry[task.text("layer")]
    wanted = Grant(
        0, task.text("agency"), layer.id,
        classes=frozenset(cast("list[Privacy]", task.form.get("class", ["open"]))),
        attributes=task.several("attributes"), rows=task.maybe("rows"), communes=task.several("communes"),
        polygon=task.maybe("polygon"), precision=cast("Precision", task.text("precision")), metres=task.metres(),
        actions=frozenset(cast("list[Action]", task.form.get("action", ["read"]))),
        valid_from=task.day("from"), valid_to=task.day("to"), legal_basis=task.maybe("legal_basis"),
        purpose=task.maybe("purpose"),
    )  # fmt: skip
    grants.grounded(layer, wanted)
    grants.give(task.connection, layer, wanted, by=task.by)


def _revoke_grant(task: Task) -> None:
    grants.revoke(task.connection, task.number("grant"), task.text("why"), by=task.by)


_TASKS: dict[str, Callable[[Task], tuple[str, str] | None]] = {
    "add": _add, "merge": _merge, "unmerge": _unmerge, "key": _key, "rotate": _rotate, "revoke-key": _revoke_key,
    "grant": _grant, "revoke-grant": _revoke_grant,
}  # fmt: skip
