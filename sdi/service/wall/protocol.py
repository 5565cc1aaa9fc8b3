"""HTTP as it comes in: a head that is too large, or does not come to its end, costs no memory and holds no socket.

uvicorn's own protocol keeps whatever headers are sent, however many, and waits for them for ever.
"""

from __future__ import annotations

from asyncio import BaseTransport, TimerHandle
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sdi.service.wall.limits import LONGEST_HEADERS, LONGEST_URL

HEAD = 2 * (LONGEST_URL + LONGEST_HEADERS)
"""Bytes of a head that are read; up to here the service itself says what was too much."""
IN_TIME = 20.0
"""Seconds in which a connection must have sent the head of its request, once it has begun."""


class Guarded(HttpToolsProtocol):
    """uvicorn's protocol over httptools, with a limit of size and of time to each head."""

    _unread = 0
    _late: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast("Any", transport))
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._late
        super().data_received(data)
        if self._late is None or self._late is not before:
            self._unread = 0  # what came was a body, or ended with the beginning of another head
            return
        self._unread += len(data)
        if self._unread > HEAD:
            self._end(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        self._came()
        # Longer ones the parser cannot take apart; so much of it is enough to be told that it is too long.
        self.url = self.url[: LONGEST_URL + 2]
        super().on_headers_complete()

    def _expect(self) -> None:
        """A head begins."""
        if self._late is None:
            self._late = self.loop.call_later(IN_TIME, self._end, b"408 Request Timeout")

    def _came(self) -> None:
        """A head is whole, or nobody waits for it any more."""
        self._unread = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self, status: bytes) -> None:
        self._came()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
