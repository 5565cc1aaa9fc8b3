"""gzip on the way out, for who takes it: text and JSON, part by part as it comes.

A compressed answer is another representation, so its tag is another: `"…-gzip"`, which comes back in If-None-Match.
zstd would take a third of the time, but is in Python's own library only since 3.14, and behind a proxy it is the proxy
that compresses.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.service.asked import weights

LEVEL = 1
"""A page of 1,000 parcels, 643 kB: 58 kB in 2.8 ms of CPU; at zlib's own 6 it is 47 kB in 6.9 ms."""
LEAST = 1000
"""Bytes of a body that is worth it."""
BLOCKING = 200_000
"""Bytes from which on a body is compressed in a thread: it takes about a millisecond."""
_TYPES = re.compile(
    r"text/|application/([\w.+-]*\+)?(json|xml)\b|application/javascript|application/vnd\.mapbox-vector-tile|image/svg"
)
_SUFFIX = "-gzip"


class Compressed:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        accepted = weights(headers.get("accept-encoding", ""))
        if not accepted.get("gzip", accepted.get("*", 0.0)):
            await self._app(scope, receive, send)
            return
        held = [value for name, value in headers.items() if name == "if-none-match"]
        asked = MutableHeaders(raw=[pair for pair in headers.raw if pair[0] != b"if-none-match"])
        for each in held:
            asked.append("if-none-match", each.replace(f'{_SUFFIX}"', '"'))
        answer = _Answer(send, ", ".join(held), whole=scope["method"] != "HEAD")
        scope["headers"] = asked.raw  # the same scope: what is noted in it is read again outside
        await self._app(scope, receive, answer)


class _Answer:
    """The `send` of one request."""

    def __init__(self, send: Send, held: str, *, whole: bool) -> None:
        self._send, self._held, self._whole = send, held, whole
        self._start: Message = {}
        self._gzip: Any = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message  # what it says depends on the body's size
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start:
            start, self._start = self._start, {}
            if self._told(start, len(body), more):
                self._gzip = zlib.compressobj(LEVEL, wbits=zlib.MAX_WBITS | 16)
            await self._send(start)
        if self._gzip is not None and self._whole:
            shrink = to_thread.run_sync(self._shrink, body, more) if len(body) >= BLOCKING else None
            body = await shrink if shrink is not None else self._shrink(body, more)
        await self._send({**message, "body": body})

    def _shrink(self, body: bytes, more: bool) -> bytes:
        # Flushed with each part, so that a client gets what is there.
        compressed: bytes = self._gzip.compress(body)
        rest: bytes = self._gzip.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
        return compressed + rest

    def _told(self, start: Message, size: int, more: bool) -> bool:
        """Whether the answer is compressed; if so its headers are made to say it."""
        headers = MutableHeaders(scope=start)
        tag = headers.get("etag", "")
        if start["status"] == 304 and tag[:-1] + f'{_SUFFIX}"' in self._held:
            headers["etag"] = tag[:-1] + f'{_SUFFIX}"'
        known = int(headers.get("content-length", size))
        if (
            start["status"] in (204, 206, 304)
            or "content-encoding" in headers
            or "repr-digest" in headers  # it is of the bytes as they are
            or not _TYPES.match(headers.get("content-type", ""))
            or (not more and known < LEAST)
        ):
            return False
        headers["content-encoding"] = "gzip"
        del headers["content-length"]
        if tag.startswith('"'):
            headers["etag"] = tag[:-1] + f'{_SUFFIX}"'
        return True
