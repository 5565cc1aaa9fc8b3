"""The service in a process that notes every way out of it: a factory for uvicorn."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

OUTWARD = {
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto",
    "socket.sendmsg", "urllib.Request", "ftplib.connect", "smtplib.connect", "subprocess.Popen", "os.system",
    "os.exec", "os.posix_spawn", "os.fork", "webbrowser.open", "ctypes.dlopen",
}  # fmt: skip
"""Python's audit events of reaching something else. The database's driver is a C library and raises none."""


def application() -> FastAPI:
    """The service as it is, watched from the moment it is ready."""
    from sdi.service.app import from_environment

    found = from_environment()
    place = os.environ["SDI_TEST_NOTES"]

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in OUTWARD:
            with open(place, "a", encoding="utf-8") as file:  # noqa: PTH123  Path.open would be looked up within
                file.write(f"{event} {arguments!r}\n")

    sys.addaudithook(note)
    found.router.routes.append(Route("/outward", _outward))
    return found


def _outward(request: Request) -> PlainTextResponse:
    """What no route of the service does: it calls somebody, and waits until it is answered."""
    port = int(request.query_params["port"])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as calling:
        return PlainTextResponse(str(calling.recv(1)))
