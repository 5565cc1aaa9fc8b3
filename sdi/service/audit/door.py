"""ASGI middleware, innermost: hands an answer to the recorder before its first byte is sent, each part before it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from contextlib import suppress
from time import time

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.errors import StoreError
from sdi.service import problems
from sdi.service.audit.kept import Given, Kept
from sdi.service.audit.reads import OPENED, Opened
from sdi.service.audit.record import Answered, client_of, is_recorded
from sdi.service.audit.recorder import Recorder
from sdi.service.state import Service

QUIET = ("/health", "/metrics")
"""They tell nothing of any layer."""


class _Unrecorded(Exception):
    """An answer was given up because it could not be recorded."""


class Audited:
    """Records what is asked by who showed a key, and by the public where it was granted more than everybody has."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app, self._recorder = app, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = scope["state"].get("service") if self._recorder.on and scope["type"] == "http" else None
        if service is None or not is_recorded(service.agency) or _is_quiet(scope["path"]):
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, service, self._recorder, send)
        before = OPENED.set(answer)
        try:
            await self._app(scope, receive, answer.send)
        except BaseException as error:
            if answer.refused is not None:
                await problems.of_error(Request(scope, receive), answer.refused)(scope, receive, send)
                return
            answer.end("broken off")
            if _is_ours(error):
                # The connection is cut: the only way left to say that the answer is not whole.
                raise ClientDisconnect from None
            raise
        finally:
            OPENED.reset(before)
        if answer.refused is not None:
            await problems.of_error(Request(scope, receive), answer.refused)(scope, receive, send)
            return
        if answer.is_in_parts:
            answer.end("whole")


class _Answer(Opened):
    """An answer on its way."""

    __slots__ = ("_part", "_recorder", "_scope", "_send", "_service", "_status", "refused")

    def __init__(self, scope: Scope, service: Service, recorder: Recorder, send: Send) -> None:
        self._scope, self._service, self._recorder, self._send = scope, service, recorder, send
        self._status = self._part = 0
        self.kept = None
        self.refused: StoreError | None = None

    def send(self, message: Message) -> Awaitable[None]:
        if self.refused is not None:
            raise _Unrecorded
        if message["type"] == "http.response.start":
            self._status = message["status"]
            try:
                self._record()
            except StoreError as error:
                self.refused = error
                raise _Unrecorded from None
        elif self:
            try:
                self._record()
            except StoreError:
                raise _Unrecorded from None
        return self._send(message)

    @property
    def is_in_parts(self) -> bool:
        """Whether more than its beginning is to be told of; one of a single part was recorded whole."""
        return self._part > 1 or bool(self)

    def end(self, how: str) -> None:
        """Tell how an answer that had begun ended."""
        if self._status:
            try:
                self._record(how)
            except StoreError:
                return  # it has been sent, and its parts are recorded

    def _record(self, ended: str | None = None) -> None:
        scope, part = self._scope, self._part
        self._part += 1
        if self.kept is not None and not part:
            self._recorder.add(_given(scope, self.kept, self._status))
            return
        reads = [*self]
        self.clear()
        agency, registry = self._service.agency, self._service.registry
        request = _number(scope)
        self._recorder.add(Answered(time(), scope, agency, registry, request, self._status, reads, part, ended))


def given(recorder: Recorder, scope: Scope, kept: Kept, status: int) -> StoreError | None:
    """Record a kept answer before it is sent; why it must not be."""
    try:
        recorder.add(_given(scope, kept, status))
    except StoreError as error:
        return error
    return None


def broken_off(recorder: Recorder, scope: Scope, service: Service, status: int) -> None:
    """Tell of an answer that was recorded whole and could not be sent so."""
    with suppress(StoreError):
        recorder.add(
            Answered(time(), scope, service.agency, service.registry, _number(scope), status, [], 1, "broken off")
        )


def _given(scope: Scope, kept: Kept, status: int) -> Given:
    # As `Given(…)`, `_number`, `client_of` and `purpose_of` have it, in one go: each call is cold in a request, and
    # costs several times what it does in a loop.
    told, purpose = scope["state"].get, None
    for name, value in scope["headers"]:
        if name == b"x-purpose":
            purpose = bytes(value)
            break
    number, client = told("request") or _number(scope), told("address") or client_of(scope)
    return tuple.__new__(Given, (time(), kept, number, status, told("member"), told("key_id"), client, purpose))


def _number(scope: Scope) -> str:
    """The request's number, as the log and the client have it."""
    state: dict[str, str] = scope["state"]
    return state.get("request") or state.setdefault("request", uuid.uuid4().hex)


def _is_quiet(path: str) -> bool:
    return path in QUIET or path.startswith("/static/")


def _is_ours(error: BaseException) -> bool:
    """Whether it is our own giving up, alone or in the group of a streamed answer's tasks."""
    if isinstance(error, BaseExceptionGroup):
        return any(_is_ours(each) for each in error.exceptions)
    return isinstance(error, _Unrecorded)
