"""Proof that nobody looked: a port that counts who knocks, and the kernel's word on which files were opened."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from pathlib import Path
from typing import Self

IN_ACCESS, IN_OPEN = 0x01, 0x20


class Watch:
    """Whether files are opened or read while the block runs (inotify)."""

    def __init__(self, *paths: Path) -> None:
        self.kernel = ctypes.CDLL(None, use_errno=True)
        self.handle = self.kernel.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in paths:
            assert self.kernel.inotify_add_watch(self.handle, os.fsencode(path), IN_ACCESS | IN_OPEN) >= 0
        self.touched = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.touched = bool(os.read(self.handle, 1 << 16))
        except BlockingIOError:
            self.touched = False
        os.close(self.handle)


class Listener:
    """A port of this machine that takes every connection and counts them."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.knocks = 0
        self.thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        while True:
            try:
                visitor, _ = self.socket.accept()
            except OSError:
                return
            self.knocks += 1
            visitor.close()

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()
