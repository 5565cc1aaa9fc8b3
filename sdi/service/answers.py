"""Answers that a worker process has given, kept for who asks the same again.

An answer follows from the address, what was accepted, the day (what a unit's code means may change with it), and the
snapshot of who asks: a load, a grant, a contract makes another one, and nothing is struck out for being old. So what
is kept is at most as old as a snapshot is, half a second. Callers' limits, the trail of reads and the tag are asked of
each request as if the answer were made anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sdi.errors import SdiError, Unmet
from sdi.service import fresh, problems
from sdi.service.audit.door import broken_off, given
from sdi.service.audit.kept import Kept
from sdi.service.audit.reads import OPENED, Opened
from sdi.service.audit.recorder import Recorder
from sdi.service.formats import ITEMS
from sdi.service.state import Service, service_of

LARGEST = 128 * 1024
"""Bytes of a body that is kept: a box of 100 parcels has 70 kB; larger ones are put together from kept features."""
ENTRY = 2000
"""Bytes that an answer takes besides what is written in it and in its key, about."""
_KINDS = tuple(ITEMS[name].media_type.encode() for name in ("json", "jsonfg"))
_ACCEPTED = (b"accept", b"accept-language")
_KEY = "kept_by"
"""Where a request has the key that its answer may be kept by."""


@dataclass(frozen=True, slots=True)
class Answer:
    validator: fresh.Validator
    headers: list[tuple[bytes, bytes]]
    """The others."""
    body: bytes
    told: Kept | None
    """What the trail is told of it; None: nothing."""
    rows: int
    route: Any
    found: dict[str, Any]
    """What the address was taken for, and what was found in it."""

    def response(self, request: Request) -> Response:
        """The answer, or a 304 for who has it; the log and the metrics hear of it as of any other. Raises Unmet."""
        scope, held = request.scope, self.validator.holds(request)
        scope["route"], scope["path_params"], scope["state"]["rows"] = self.route, self.found, self.rows
        response = Response(self.body)
        response.raw_headers = [*self.headers]
        response.headers.update(self.validator.headers)  # Last-Modified is told only after a while
        return fresh.not_modified(response.headers.items()) if held else response


class Answers:
    """At most about `room` bytes of answers, the latest asked for."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.size = 0
        self._kept: OrderedDict[Any, Answer] = OrderedDict()

    def of(self, key: Any) -> Answer | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Any, answer: Answer) -> None:
        if key not in self._kept:
            self._kept[key] = answer
            self.size += _size(key, answer)
        while self.size > self._room:
            self.size -= _size(*self._kept.popitem(last=False))


def _size(key: Any, answer: Answer) -> int:
    # What was accepted may be as long as all headers: it is the client's to say, and is kept with the key.
    pairs = (*key[3], *answer.headers)
    told = sum(len(name) + len(value) for name, value in pairs) + (answer.told.size if answer.told else 0)
    return len(answer.body) + len(key[1]) + len(key[2]) + told + ENTRY


class AtHand:
    """ASGI middleware, before the one that records and all that takes an address apart: gives what is kept, and records
    it itself. To go through the others takes 25 of 170 µs."""

    def __init__(self, app: ASGIApp, answers: Answers, recorder: Recorder) -> None:
        self._app, self._answers, self._recorder = app, answers, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = await _key(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        answer = None if key is None else self._answers.of(key)
        if answer is None:
            if key is not None:
                scope["state"][_KEY] = key
            await self._app(scope, receive, send)
            return
        try:
            response, told = answer.response(Request(scope, receive)), answer.told
        except Unmet:
            await self._app(scope, receive, send)  # refused there, and recorded as any refusal
            return
        refused = None if told is None else given(self._recorder, scope, told, response.status_code)
        if refused is not None:
            await problems.of_error(Request(scope, receive), refused)(scope, receive, send)
            return
        try:
            await response(scope, receive, send)
        except BaseException:
            if told is not None:
                broken_off(self._recorder, scope, service_of(Request(scope)), response.status_code)
            raise


def kept(endpoint: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """A route whose GeoJSON and JSON-FG answers are kept, small ones that may be kept by others too."""

    @wraps(endpoint)
    async def answered(request: Request, **path: str) -> Response:
        response = await endpoint(request, **path)
        key = request.scope["state"].get(_KEY)
        if key is not None and _may_be_kept(response):
            request.app.state.answers.keep(key, _answer(request, response))
        return response

    return answered


def _answer(request: Request, response: Response) -> Answer:
    state: dict[str, Any] = request.scope["state"]
    validator = state.get("validator") or fresh.Validator(response.headers["etag"].strip('"'))
    others = [pair for pair in response.raw_headers if pair[0] not in (b"etag", b"last-modified")]
    opened = OPENED.get()
    told = None if opened is None else _told(request, opened)
    scope = request.scope
    return Answer(
        validator, others, bytes(response.body), told, state.get("rows", 0), scope["route"], scope["path_params"]
    )


def _told(request: Request, opened: Opened) -> Kept:
    service = service_of(request)
    told = opened.kept = Kept(request.scope, service.agency, service.registry, tuple(opened))
    opened.clear()
    return told


async def _key(scope: Scope) -> Any:
    """What an answer follows from; None: none of it is kept, or the client says that nothing kept will do (RFC 9111,
    5.2.1.4), as browsers do that load a page again."""
    if "/items" not in scope["path"]:  # of nothing else answers are kept here
        return None
    accepted = []
    for pair in scope["headers"]:
        if pair[0] in _ACCEPTED:
            accepted.append(pair)
        elif pair[0] == b"cache-control" and b"no-cache" in pair[1].lower():
            return None
    service: Service = scope["state"].get("service") or scope["app"].state.service
    try:
        snapshot = await service.publications.current()
    except SdiError:
        return None  # told where it is asked for again
    return snapshot.mark, scope["path"], scope["query_string"], tuple(accepted), datetime.now(UTC).date()


def _may_be_kept(response: Response) -> bool:
    body = getattr(response, "body", None)
    if response.status_code != 200 or not isinstance(body, bytes) or len(body) > LARGEST:
        return False
    told = dict(response.raw_headers)
    kind, cache = told.get(b"content-type", b"").partition(b";")[0], told.get(b"cache-control", b"").decode()
    return kind in _KINDS and b"etag" in told and cache in (fresh.OPEN, fresh.OWN)
