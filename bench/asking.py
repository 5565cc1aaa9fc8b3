"""A client that costs little: raw sockets in one thread, so that on a small machine the servers get the processor.

Every connection sends its next request when the answer before it has ended. Bodies are counted, not kept. The client's
own CPU time is told with each measurement, for it is taken from the servers.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_ROOM = 1 << 20
_PATIENCE = 60.0
"""Seconds that answers under way are waited for when the time is over."""


@dataclass
class Asked:
    """What one measurement saw.

    taken, first: seconds of each answer from its request to its last byte and to the first byte of its body. size:
    bytes of all bodies. errors: answers of another status, or cut off. abandoned: not answered in time. lasted:
    seconds; own: CPU seconds of this client.
    """

    taken: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    size: int = 0
    errors: int = 0
    abandoned: int = 0
    lasted: float = 0.0
    own: float = 0.0


def request(path: str, tag: str | None = None) -> bytes:
    """A GET as it goes over the wire; `tag`: ask whether that one still holds."""
    held = f"If-None-Match: {tag}\r\n" if tag else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n{held}\r\n".encode()


def ask(
    port: int, requests: Sequence[bytes], clients: int, seconds: float, statuses: Sequence[int] = (200, 204),
    times: int | None = None,
) -> Asked:  # fmt: skip
    """Let clients ask in turn for so long, each at least once, or together so many `times`, however long that takes.

    `statuses`: what is no error.
    """
    asked, before = Asked(), time.thread_time()
    begun = time.perf_counter()
    ends = begun + (seconds if times is None else float("inf"))
    left = float("inf") if times is None else times - clients
    with selectors.DefaultSelector() as ready:
        connections = [_Connection(port, requests, number * 7, asked, statuses) for number in range(clients)]
        for each in connections:
            each.open(ready)
        busy = set(connections)
        while busy and time.perf_counter() < ends + _PATIENCE:
            for key, _ in ready.select(1.0):
                connection: _Connection = key.data
                if connection.read(ready):
                    if time.perf_counter() < ends and left > 0:
                        left -= 1
                        connection.send(ready)
                    else:
                        busy.discard(connection)
        asked.abandoned = len(busy)
        for each in connections:
            each.close(ready)
    asked.lasted, asked.own = time.perf_counter() - begun, time.thread_time() - before
    return asked


class _Connection:
    """One client: its socket, and how far the answer under way has come."""

    def __init__(
        self, port: int, requests: Sequence[bytes], turn: int, asked: Asked, statuses: Sequence[int]
    ) -> None:  # fmt: skip
        self._port, self._requests, self._turn, self._asked, self._statuses = port, requests, turn, asked, statuses
        self._room = bytearray(_ROOM)
        self._socket: socket.socket | None = None

    def open(self, ready: selectors.BaseSelector) -> None:
        self._connect(ready)
        self.send(ready)

    def close(self, ready: selectors.BaseSelector) -> None:
        if self._socket is not None:
            ready.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def send(self, ready: selectors.BaseSelector) -> None:
        if self._socket is None:
            self._connect(ready)
        assert self._socket is not None
        self._head, self._left, self._chunked, self._last, self._line = b"", -1, False, False, b""
        self._good = self._first = False
        self._begun = time.perf_counter()
        # A request is some hundred bytes: an idle connection's buffer takes it at once.
        self._socket.sendall(self._requests[self._turn % len(self._requests)])
        self._turn += 1

    def read(self, ready: selectors.BaseSelector) -> bool:
        """Take what has come; True when the answer has ended."""
        assert self._socket is not None
        try:
            count = self._socket.recv_into(self._room)
        except ConnectionError:
            count = 0
        if not count:
            self.close(ready)
            return self._ended(whole=self._left == -2)
        data = memoryview(self._room)[:count]
        if self._left == -1:
            self._head += bytes(data)
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            data = memoryview(self._head)[end + 4 :]
            self._begin(bytes(self._head[:end]).lower())
            if not self._chunked and self._left == 0:
                return self._ended(whole=True)
        return self._body(data)

    def _connect(self, ready: selectors.BaseSelector) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready.register(self._socket, selectors.EVENT_READ, self)

    def _begin(self, head: bytes) -> None:
        """`_left`: bytes of the body, or of the chunk, that are still to come; -2: until the server closes."""
        lines = head.split(b"\r\n")
        status = int(lines[0].split()[1])
        self._good = status in self._statuses
        told = dict(line.split(b":", 1) for line in lines[1:])
        self._chunked = b"chunked" in told.get(b"transfer-encoding", b"")
        length = told.get(b"content-length")
        empty = status in (204, 304)
        self._left = 0 if self._chunked or empty else -2 if length is None else int(length)

    def _body(self, data: memoryview) -> bool:
        if len(data) and not self._first:
            self._asked.first.append(time.perf_counter() - self._begun)
            self._first = True
        self._asked.size += len(data)
        if self._left == -2:
            return False
        if not self._chunked:
            self._left -= len(data)
            return self._left <= 0 and self._ended(whole=True)
        return self._chunks(data)

    def _chunks(self, data: memoryview) -> bool:
        while len(data):
            if self._left:
                taken = min(self._left, len(data))
                self._left, data = self._left - taken, data[taken:]
            else:
                line, mark, _ = bytes(data[:32]).partition(b"\n")
                self._line += line
                data = data[len(line) + len(mark) :]
                if mark:
                    size = int(self._line.strip().split(b";")[0], 16)
                    self._line, self._last, self._left = b"", size == 0, size + 2
            if self._last and not self._left:
                return self._ended(whole=True)
        return False

    def _ended(self, *, whole: bool) -> bool:
        if whole and self._good:
            self._asked.taken.append(time.perf_counter() - self._begun)
        else:
            self._asked.errors += 1
        return True
