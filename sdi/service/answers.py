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

from sdi.service import fresh
from sdi.service.audit.reads import OPENED, Read
from sdi.service.formats import ITEMS
from sdi.service.state import service_of

LARGEST = 128 * 1024
"""Bytes of a body that is kept: a box of 100 parcels has 70 kB; larger ones are put together from kept features."""
ENTRY = 1500
"""Bytes that an answer takes besides what is written in it and in its key, about."""
_KINDS = tuple(ITEMS[name].media_type.encode() for name in ("json", "jsonfg"))
_ACCEPTED = (b"accept", b"accept-language")


@dataclass(frozen=True, slots=True)
class Answer:
    validator: fresh.Validator
    headers: list[tuple[bytes, bytes]]
    """The others."""
    body: bytes
    reads: tuple[Read, ...]
    """What the trail is told of it."""
    rows: int

    def response(self, request: Request) -> Response:
        """The answer, or a 304 for who has it; the trail and the metrics hear of it as of any other."""
        opened = OPENED.get()
        if opened is not None:
            opened.extend(self.reads)
        request.state.rows = self.rows
        response = Response(self.body)
        response.raw_headers = [*self.headers]
        response.headers.update(self.validator.headers)  # Last-Modified is told only after a while
        return fresh.not_modified(response.headers.items()) if self.validator.holds(request) else response


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
    told = sum(len(name) + len(value) for name, value in pairs) + sum(read.size for read in answer.reads)
    return len(answer.body) + len(key[1]) + len(key[2]) + told + ENTRY


def kept(endpoint: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """A route whose GeoJSON and JSON-FG answers are kept, small ones that may be kept by others too."""

    @wraps(endpoint)
    async def answered(request: Request, **path: str) -> Response:
        answers: Answers | None = request.app.state.answers
        if answers is None or request.method != "GET" or _wants_new(request):
            return await endpoint(request, **path)
        key = await _key(request)
        answer = answers.of(key)
        if answer is not None:
            return answer.response(request)
        opened = OPENED.get()
        before = len(opened) if opened is not None else 0
        response = await endpoint(request, **path)
        if _may_be_kept(response):
            reads = tuple(opened[before:]) if opened is not None else ()
            answers.keep(key, _answer(request, response, reads))
        return response

    return answered


def _wants_new(request: Request) -> bool:
    """Whether a client says that nothing kept will do (RFC 9111, 5.2.1.4), as browsers do that load a page again."""
    return any(name == b"cache-control" and b"no-cache" in value.lower() for name, value in request.scope["headers"])


def _answer(request: Request, response: Response, reads: tuple[Read, ...]) -> Answer:
    state: dict[str, Any] = request.scope["state"]
    validator = state.get("validator") or fresh.Validator(response.headers["etag"].strip('"'))
    others = [pair for pair in response.raw_headers if pair[0] not in (b"etag", b"last-modified")]
    return Answer(validator, others, bytes(response.body), reads, state.get("rows", 0))


async def _key(request: Request) -> Any:
    snapshot = await service_of(request).publications.current()
    scope = request.scope
    accepted = tuple(pair for pair in scope["headers"] if pair[0] in _ACCEPTED)
    return snapshot.mark, scope["path"], scope["query_string"], accepted, datetime.now(UTC).date()


def _may_be_kept(response: Response) -> bool:
    body = getattr(response, "body", None)
    if response.status_code != 200 or not isinstance(body, bytes) or len(body) > LARGEST:
        return False
    told = dict(response.raw_headers)
    kind, cache = told.get(b"content-type", b"").partition(b";")[0], told.get(b"cache-control", b"").decode()
    return kind in _KINDS and b"etag" in told and cache in (fresh.OPEN, fresh.OWN)
