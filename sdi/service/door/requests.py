"""Requests for layers: what an agency asked to be shown, and what those who collect the layers answer.

An agency finds here its own requests, and those for the layers whose steward it is. To the public the address is not
there. A person sends the page's forms, a program JSON with the same fields.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from sdi.access import Action
from sdi.contract.layer import Layer, Privacy
from sdi.errors import BadRequest, NotFound, nearest
from sdi.service import asked, links
from sdi.service.door import form
from sdi.service.door.form import Form, Task
from sdi.service.pages import Pages
from sdi.service.publications import Snapshot
from sdi.service.state import Service, service_of
from sdi.store import engine
from sdi.store.sharing import grants, requests

METHODS = ["GET", "HEAD", "POST"]
JSON = "application/json"
NO_STORE = {"Cache-Control": "no-store"}


async def page(request: Request) -> Response:
    """GET lists, POST asks or answers. 404 for who shows no key."""
    service = service_of(request)
    proof: str | None = getattr(request.state, "proof", None)
    if proof is None or service.agency.public:
        raise HTTPException(404)
    snapshot = await service.publications.current()
    if request.method in ("GET", "HEAD"):
        ask = asked.asked(request, ("json", "html"), ("all",))
        found = await run_in_threadpool(_read, service, ask.parameters.get("all") == "true")
        if ask.format == "json":
            return JSONResponse(_document(service, found), headers=NO_STORE)
        return _page(request, service, snapshot, proof, found)
    by_program = request.headers.get("content-type", "").partition(";")[0].strip() == JSON
    said = await (_of_json(request) if by_program else form.sent(request, service, proof))
    member = getattr(request.state, "member", None)
    by = f"{service.agency.id} ({member})" if member else service.agency.id
    number = await run_in_threadpool(_done, service, snapshot, said, by)
    if by_program:
        return JSONResponse({"request": number}, headers=NO_STORE)
    return RedirectResponse(links.address(service.url, "requests", parameters={"f": "html"}), 303, NO_STORE)


async def _of_json(request: Request) -> Form:
    """A flat JSON object as the fields of a form. No page of another site can make a browser send this type."""
    try:
        said = json.loads(await request.body())
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise BadRequest("The body is no JSON object.")
    fields = {name: value if isinstance(value, list) else [value] for name, value in said.items()}
    words = [each for value in fields.values() for each in value]
    if any(not isinstance(each, str | int | float) or "\x00" in str(each) for each in words):
        raise BadRequest("The body is no JSON object of texts, numbers and lists of them.")
    return {name: [str(each) for each in value] for name, value in fields.items()}


def _read(service: Service, answered: bool) -> list[requests.Request]:
    own = _collected(service)
    with engine.connect(service.reader.url, engine.STEWARD, application="sdi-service-requests") as connection:
        found = requests.requests(connection, answered=answered)
    return [each for each in found if each.agency == service.agency.id or each.layer in own]


def _collected(service: Service) -> dict[str, Layer]:
    """The layers whose steward the asker is."""
    layers = service.registry.layers
    return {name: layer for name, layer in layers.items() if layer.steward.id == service.agency.id}


def _document(service: Service, found: list[requests.Request]) -> dict[str, Any]:
    now, own = datetime.now(UTC), _collected(service)
    return {"requests": [
        {name: value for name, value in asdict(each).items() if name not in ("asked_by", "answered_by")}
        | {"classes": sorted(each.classes), "actions": sorted(each.actions), "overdue": each.overdue(now),
           "asked_at": each.asked_at.isoformat(), "due": each.due.isoformat(),
           "answered_at": each.answered_at and each.answered_at.isoformat(), "to_answer": _is_mine(each, own)}
        for each in found
    ]}  # fmt: skip


def _is_mine(request: requests.Request, own: dict[str, Layer]) -> bool:
    return request.answer is None and request.layer in own


def _page(
    request: Request, service: Service, snapshot: Snapshot, proof: str, found: list[requests.Request]
) -> HTMLResponse:  # fmt: skip
    pages: Pages = request.app.state.pages
    language, own = asked.language(request), _collected(service)
    text = pages.render(
        "requests.html", language, request, proof=proof, now=datetime.now(UTC), all_layers=service.registry.layers,
        mine=[each for each in found if each.agency == service.agency.id], classes=grants.SHARED,
        to_answer=[each for each in found if each.layer in own],
        last_minute=requests.last_minute, layers=sorted(_askable(snapshot), key=lambda layer: layer.id),
    )  # fmt: skip
    headers = {"Content-Language": language, "Content-Security-Policy": pages.policy, **NO_STORE}
    return HTMLResponse(text, headers=headers)


def _askable(snapshot: Snapshot) -> list[Layer]:
    """The layers that may be asked for here: those that exist for who asks, of which there may be more to see."""
    return [layer for layer in snapshot.layers.values() if layer.sharing.level != "steward"]


def _done(service: Service, snapshot: Snapshot, said: Form, by: str) -> int:
    with engine.connect(service.reader.url, engine.REGISTRAR, application="sdi-service-registrar") as connection:
        task = Task(connection, service.registry, said, by)
        match task.text("do"):
            case "ask":
                return _ask(task, service, snapshot)
            case "grant" | "refuse" as answer:
                return _answer(task, service, answer)
    raise BadRequest("do: it is none of ask, grant, refuse.")


def _ask(task: Task, service: Service, snapshot: Snapshot) -> int:
    known = {layer.id: layer for layer in _askable(snapshot)}
    name = task.text("layer")
    if name not in known:
        raise NotFound(f"There is no collection '{name[:100]}'.{nearest(name, known)}")
    return requests.ask(
        task.connection, known[name], service.agency.id, cast("list[Privacy]", task.form.get("class", ["agency"])),
        task.text("purpose"), task.text("legal_basis"), communes=task.several("communes"),
        actions=cast("list[Action]", task.form.get("action", ["read"])), by=task.by,
    )  # fmt: skip


def _answer(task: Task, service: Service, answer: str) -> int:
    wanted = requests.waiting(task.connection, task.number("request"))
    own = _collected(service)
    if wanted.layer not in own:
        # As if it were not there: who asked for what is between them and the steward.
        raise NotFound(f"No request {wanted.request_id} waits for an answer.", hint="See 'sdi requests list'.")
    if answer == "refuse":
        requests.refuse(task.connection, wanted, task.text("why"), by=task.by)
        return wanted.request_id
    given = replace(wanted.wanted(), attributes=task.several("attributes"), rows=task.maybe("rows"),
                    valid_to=task.day("to"))  # fmt: skip
    if "class" in task.form:
        given = replace(given, classes=frozenset(cast("list[Privacy]", task.form["class"])))
    if task.several("communes"):
        given = replace(given, communes=task.several("communes"))
    requests.grant(task.connection, own[wanted.layer], wanted, given, task.maybe("why"), by=task.by)
    return wanted.request_id
