"""zstd or gzip on the way out, for who takes it: text, JSON and vector tiles, part by part as they come.

A compressed answer is another representation, so its tag is another: `"…-zstd"`, which comes back in If-None-Match
and If-Match.
What an endpoint has compressed itself, and says so, is sent as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection

from anyio import to_thread
from isal import isal_zlib
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.service.asked import weights

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVEL = 1
"""Of ISA-L's four. A page of 10,000 parcels, 6.5 MB: 523 kB in 2.9 ms of CPU, where zlib's 1 makes 598 kB in 15 and its
6, 471 kB in 39; at 2 it is as large, at 3 larger in four times the time."""
ZSTD_LEVEL = 1
"""The same page: 499 kB in 5.4 ms; at zstd's own 3, 485 kB in 6.7, and it takes four times the memory."""
_GZIP = 16 + isal_zlib.MAX_WBITS
LEAST = 1000
"""Bytes of a body that is worth it."""
BLOCKING = 200_000
"""Bytes from which on a body is compressed in a thread: it takes about a millisecond."""
_TYPES = re.compile(
    r"text/|application/([\w.+-]*\+)?(json|xml)\b|application/javascript|application/vnd\.mapbox-vector-tile|image/svg"
)

_OF_TAGS = (b"if-none-match", b"if-match")

Shrink = Callable[[bytes, bool], bytes]
"""Compresses the next part of a body; whether more follow. Flushed with each part: a client gets what is there."""


def _gzip() -> Shrink:
    made = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP)

    def shrink(body: bytes, more: bool) -> bytes:
        return made.compress(body) + made.flush(isal_zlib.Z_SYNC_FLUSH if more else isal_zlib.Z_FINISH)

    return shrink


def _zstd() -> Shrink:
    made = zstd.ZstdCompressor(level=ZSTD_LEVEL)

    def shrink(body: bytes, more: bool) -> bytes:
        return made.compress(body, made.FLUSH_BLOCK if more else made.FLUSH_FRAME)

    return shrink


_CODINGS: dict[str, Callable[[], Shrink]] = {"zstd": _zstd, "gzip": _gzip}
"""By their names in Accept-Encoding, the better one first."""


def pack(body: bytes, coding: str) -> bytes:
    """A whole body that will be kept. Of a tile of 636 kB zstd makes 277 kB in 1.7 ms of CPU, gzip 291 kB in 1.2."""
    return zstd.compress(body, ZSTD_LEVEL) if coding == "zstd" else isal_zlib.compress(body, GZIP_LEVEL, _GZIP)


def unpack(body: bytes, coding: str) -> bytes:
    return zstd.decompress(body) if coding == "zstd" else isal_zlib.decompress(body, _GZIP)


def taken(accepted: str) -> list[str]:
    """The codings that an Accept-Encoding takes, the one to send first; none where the answer is best as it is."""
    weight = weights(accepted)
    other, plain = weight.get("*", 0.0), weight.get("identity", 0.0)
    found = {name: quality for name in _CODINGS if (quality := weight.get(name, other)) and quality >= plain}
    return sorted(found, key=lambda name: -found[name])


class Compressed:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        codings = taken(headers.get("accept-encoding", ""))
        if not codings:
            await self._app(scope, receive, send)
            return
        held = [value for name, value in headers.items() if name == "if-none-match"]
        answer = _Answer(send, ", ".join(held), codings, whole=scope["method"] != "HEAD")
        # The same scope: what is noted in it is read again outside.
        scope["headers"] = [
            (name, _plain(value, codings)) if name in _OF_TAGS else (name, value) for name, value in headers.raw
        ]
        await self._app(scope, receive, answer)


class _Answer:
    """The `send` of one request."""

    def __init__(self, send: Send, held: str, codings: Collection[str], *, whole: bool) -> None:
        self._send, self._held, self._codings, self._whole = send, held, codings, whole
        self._start: Message = {}
        self._shrink: Shrink | None = None

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
            coding = self._told(start, len(body), more)
            self._shrink = _CODINGS[coding]() if coding is not None and self._whole else None
            await self._send(start)
        if self._shrink is not None:
            if len(body) >= BLOCKING:
                body = await to_thread.run_sync(self._shrink, body, more)
            else:
                body = self._shrink(body, more)
        await self._send({**message, "body": body})

    def _told(self, start: Message, size: int, more: bool) -> str | None:
        """How the answer is to be compressed; its headers are made to say it."""
        headers = MutableHeaders(scope=start)
        tag = headers.get("etag", "")
        if start["status"] == 304:
            for coding in self._codings:
                if _tagged(tag, coding) in self._held:
                    headers["etag"] = _tagged(tag, coding)
        done = headers.get("content-encoding")
        if done is not None and tag.startswith('"'):
            headers["etag"] = _tagged(tag, done)
        known = int(headers.get("content-length", size))
        if (
            start["status"] in (204, 206, 304)
            or done is not None
            or "repr-digest" in headers  # it is of the bytes as they are
            or not _TYPES.match(headers.get("content-type", ""))
            or (not more and known < LEAST)
        ):
            return None
        coding = next(iter(self._codings))
        headers["content-encoding"] = coding
        del headers["content-length"]
        if tag.startswith('"'):
            headers["etag"] = _tagged(tag, coding)
        return coding


def _plain(tags: bytes, codings: Collection[str]) -> bytes:
    """The tags of the same answers, not compressed."""
    for coding in codings:
        tags = tags.replace(b'-%b"' % coding.encode(), b'"')
    return tags


def _tagged(tag: str, coding: str) -> str:
    """The tag of the same answer, compressed."""
    return f'{tag[:-1]}-{coding}"'
