"""Requests for layers: what an agency asked to be shown, and what those who collect the layers answer.

An agency finds here its own requests, and those for the layers whose steward it is, or for which it was granted to
approve; who administers also those for names that no layer has. Any name may be asked for: the answer is the same for a
layer that is hidden from who asks and for none, and it is the steward who tells. To the public the address is not
there. A person sends the page's forms, a program JSON with the same fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from sdi.access import ACTIONS, Action, Agency, announced, approves, may_give
from sdi.contract.layer import Layer, Privacy
from sdi.contract.query import Precision
from sdi.errors import BadRequest, NotAllowed, NotFound
from sdi.service import asked, links
from sdi.service.door import form
from sdi.service.door.form import Actor, Form, Task, is_text
from sdi.service.pages import Pages
from sdi.service.parameters import truth
from sdi.service.publications import Snapshot
from sdi.service.state import Service, service_of
from sdi.store import engine
from sdi.store.sharing import grants, requests
from sdi.store.sharing.register import Register

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
    register: Register = await request.app.state.agencies.register()
    desk = _Desk(service.agency, service.registry.layers, service.agency.id in register.administrators)
    if request.method in ("GET", "HEAD"):
        ask = asked.asked(request, ("json", "html"), ("all", "overdue"))
        listed = _Listed(truth(ask.parameters, "all"), truth(ask.parameters, "overdue"), datetime.now(UTC))
        found = await run_in_threadpool(_read, service, desk, listed)
        if ask.format == "json":
            return JSONResponse(_document(desk, listed, found), headers=NO_STORE)
        return _page(request, service, snapshot, proof, desk, listed, found, register)
    by_program = request.headers.get("content-type", "").partition(";")[0].strip() == JSON
    said = await (_of_json(request) if by_program else form.sent(request, service, proof))
    number = await run_in_threadpool(_done, service, snapshot, desk, said, Actor.of(request, service))
    if by_program:
        return JSONResponse({"request": number}, headers=NO_STORE)
    language = {name: value for name, value in request.query_params.items() if name == "lang"}
    back = links.address(service.url, "requests", parameters={"f": "html", **language})
    return RedirectResponse(back, 303, NO_STORE)


async def _of_json(request: Request) -> Form:
    """A flat JSON object as the fields of a form. No page of another site can make a browser send this type."""
    try:
        said = json.loads(await request.body())
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise BadRequest("The body is no JSON object.")
    fields = {name: value if isinstance(value, list) else [value] for name, value in said.items()}
    words = [each for value in fields.values() for each in value]
    if any(not isinstance(each, str | int | float) or not is_text(str(each)) for each in words):
        raise BadRequest("The body is no JSON object of texts, numbers and lists of them.")
    return {name: [str(each) for each in value] for name, value in fields.items()}


@dataclass(frozen=True)
class _Desk:
    """Which requests an agency answers."""

    agency: Agency
    layers: Mapping[str, Layer]
    administers: bool

    def own(self, name: str) -> Layer | None:
        """A layer whose steward it is, or for which it may decide in its steward's place."""
        layer = self.layers.get(name)
        return layer if layer is not None and approves(self.agency, layer) else None

    def answers(self, wanted: requests.Request) -> bool:
        """Whether a request is its to answer: for its layers those of others, or as their steward all, and those for
        names of no layer where it administers."""
        layer = self.own(wanted.layer)
        if layer is None:
            return self.administers and wanted.layer not in self.layers
        return layer.steward.id == self.agency.id or wanted.agency != self.agency.id


@dataclass(frozen=True)
class _Listed:
    """Which requests are listed: also those that have an answer, and only those answered too late, or not yet `now`."""

    answered: bool
    overdue: bool
    now: datetime

    def has(self, wanted: requests.Request) -> bool:
        return not self.overdue or wanted.overdue(self.now)


def _read(service: Service, desk: _Desk, listed: _Listed) -> list[requests.Request]:
    """Those of the desk, overdue or not."""
    with engine.connect(service.reader.url, engine.STEWARD, application="sdi-service-requests") as connection:
        found = requests.requests(connection, answered=listed.answered)
    return [each for each in found if each.agency == service.agency.id or desk.answers(each)]


def _document(desk: _Desk, listed: _Listed, found: list[requests.Request]) -> dict[str, Any]:
    return {"requests": [
        {name: value for name, value in asdict(each).items() if name not in ("asked_by", "answered_by")}
        | {"classes": sorted(each.classes), "actions": sorted(each.actions), "overdue": each.overdue(listed.now),
           "asked_at": _written(each.asked_at), "due": _written(each.due),
           "answered_at": each.answered_at and _written(each.answered_at),
           "to_answer": each.answer is None and desk.answers(each)}
        for each in found if listed.has(each)
    ]}  # fmt: skip


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _page(
    request: Request, service: Service, snapshot: Snapshot, proof: str, desk: _Desk, listed: _Listed,
    found: list[requests.Request], register: Register,
) -> HTMLResponse:  # fmt: skip
    pages: Pages = request.app.state.pages
    language, known = asked.language(request), _known(service, snapshot)
    to_answer = [each for each in found if desk.answers(each)]
    late = sum(each.answer is None and each.overdue(listed.now) for each in to_answer)
    text = pages.render(
        "requests.html", language, request, proof=proof, now=listed.now, listed=listed, late=late,
        called={name: agency.name(language) for name, agency in register.agencies.items()},
        titled=known | {name: layer for name, layer in desk.layers.items() if desk.own(name)}, own=desk.own,
        mine=[each for each in found if each.agency == service.agency.id and listed.has(each)],
        classes=grants.SHARED, actions=ACTIONS, to_answer=[each for each in to_answer if listed.has(each)],
        last_minute=requests.last_minute, layers=sorted(known.values(), key=lambda layer: layer.id),
    )  # fmt: skip
    headers = {"Content-Language": language, "Content-Security-Policy": pages.policy, **NO_STORE}
    return HTMLResponse(text, headers=headers)


def _known(service: Service, snapshot: Snapshot) -> dict[str, Layer]:
    """The layers whose names are told here: those that exist for who asks, and those that are announced to all."""
    planned = {name: layer for name, layer in service.registry.layers.items() if announced(layer)}
    return {name: layer for name, layer in (planned | snapshot.layers).items() if layer.sharing.level != "steward"}


def _done(service: Service, snapshot: Snapshot, desk: _Desk, said: Form, actor: Actor) -> int:
    with actor.registering(service) as connection:
        task = Task(connection, service.registry, said, actor.by)
        match task.text("do"):
            case "ask":
                return _ask(task, service, snapshot)
            case "grant" | "refuse" as answer:
                return _answer(task, desk, answer)
    raise BadRequest("do: it is none of ask, grant, refuse.")


def _ask(task: Task, service: Service, snapshot: Snapshot) -> int:
    name = task.text("layer")
    return requests.ask(
        task.connection, _known(service, snapshot).get(name, name), service.agency.id,
        cast("list[Privacy]", task.form.get("class", ["agency"])), task.line("purpose"), task.line("legal_basis"),
        communes=task.several("communes"), actions=cast("list[Action]", task.form.get("action", ["read"])), by=task.by,
    )  # fmt: skip


def _answer(task: Task, desk: _Desk, answer: str) -> int:
    wanted = requests.waiting(task.connection, task.number("request"))
    layer = desk.own(wanted.layer)
    if not desk.answers(wanted) or (layer is None and answer != "refuse"):
        # As if it were not there: who asked for what is between them and who answers.
        raise NotFound(f"No request {wanted.request_id} waits for an answer.", hint="See 'sdi requests list'.")
    if layer is None or answer == "refuse":
        requests.refuse(task.connection, wanted, task.text("why"), by=task.by)
        return wanted.request_id
    given = replace(wanted.wanted(), attributes=task.several("attributes"), rows=task.maybe("rows"),
                    valid_to=task.day("to"))  # fmt: skip
    if "class" in task.form:
        given = replace(given, classes=frozenset(cast("list[Privacy]", task.form["class"])))
    if task.several("communes"):
        given = replace(given, communes=task.several("communes"))
    if "action" in task.form:
        given = replace(given, actions=frozenset(cast("list[Action]", task.form["action"])))
    if task.maybe("precision"):
        given = replace(given, precision=cast("Precision", task.text("precision")), metres=task.metres())
    if not may_give(desk.agency, layer, given):
        raise NotAllowed(
            "Who may approve gives no class and no action that they were not granted themselves.",
            hint="Grant less and say why, or leave it to the layer's steward.",
        )
    requests.grant(task.connection, layer, wanted, given, task.maybe("why"), by=task.by)
    return wanted.request_id
