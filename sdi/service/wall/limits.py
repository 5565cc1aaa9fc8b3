"""How large a request may be: its address, its headers, its body."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.service import problems

LONGEST_URL = 60_000
"""Bytes of path and query: a filter with a polygon of 2,000 vertices."""
LONGEST_HEADERS = 32 * 1024
"""Bytes of all header fields together."""
MOST_HEADERS = 100
_BODY = (b"content-length", b"transfer-encoding")
"""Without one of them a request has no body (RFC 9112, 6.3)."""
LARGEST_BODY = 1024 * 1024
"""Bytes. Layers come as files by a steward's hand, not by HTTP."""


class Limits:
    """ASGI middleware: refuses what is too large before anything else looks at it."""

    def __init__(self, app: ASGIApp, largest_body: int = LARGEST_BODY) -> None:
        self._app, self._largest_body = app, largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = refusal(Request(scope, receive), self._largest_body)
        if refused is not None:
            await refused(scope, receive, send)
            return
        if scope["method"] in ("GET", "HEAD") and not any(name in _BODY for name, _ in scope["headers"]):
            await self._app(scope, receive, send)  # there is no body
            return
        read, answered = 0, False

        async def counted() -> Message:
            """The body in parts; one that is longer than it said, or said nothing, is cut off as if nobody sent it."""
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._largest_body and message["type"] == "http.request":
                raise BodyTooLarge
            return message

        async def begun(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, begun)
        except BodyTooLarge:
            if answered:
                raise ClientDisconnect from None
            await _too_large(Request(scope, receive), self._largest_body)(scope, receive, send)


class BodyTooLarge(Exception):
    """More was sent than is taken; never shown."""


def refusal(request: Request, largest_body: int = LARGEST_BODY) -> Response | None:
    """The answer to a request that is too large: 414, 431 or 413, or names no host (RFC 9112, 3.2); None: it is not."""
    scope = request.scope
    path = scope.get("raw_path") or scope["path"].encode()
    if len(path) + len(scope.get("query_string", b"")) > LONGEST_URL:
        detail = f"The address is longer than {LONGEST_URL:,} bytes."
        return problems.answer(request, 414, "URI Too Long", detail)
    headers = scope["headers"]
    if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > LONGEST_HEADERS:
        detail = f"The request has more than {MOST_HEADERS} headers, or more than {LONGEST_HEADERS:,} bytes of them."
        return problems.answer(request, 431, "Request Header Fields Too Large", detail)
    if scope.get("http_version") == "1.1" and sum(name == b"host" for name, _ in headers) != 1:
        return problems.answer(request, 400, "Bad request", "The request has no Host, or more than one.")
    length = next((value.decode("latin-1") for name, value in headers if name == b"content-length"), "0")
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > largest_body):
        return _too_large(request, largest_body)
    return None


def _too_large(request: Request, largest_body: int) -> Response:
    detail = f"The body is larger than {largest_body:,} bytes."
    return problems.answer(request, 413, "Content Too Large", detail, {"Connection": "close"})
