"""Agencies at the door: who shows a key is served as that agency, who shows a wrong one is sent away.

HTTP Basic (user: the agency, password: its key) is what QGIS and GDAL can send; a script may send the key as Bearer.
Without either a request is the public's. A key stands in no log, no answer and no address.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hmac import compare_digest

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.access import PUBLIC, Agency
from sdi.errors import SdiError
from sdi.service import fresh, problems
from sdi.service.publications import Publications
from sdi.service.reader import Reader
from sdi.service.state import Service
from sdi.store.agency import digest

CHALLENGE = {"WWW-Authenticate": 'Basic realm="sdi", charset="UTF-8"', "Cache-Control": "no-store"}
LONGEST = 1000
"""Characters of an Authorization header that are looked at."""

log = structlog.get_logger("sdi.service")


class Agencies:
    """The services of one application, one for each agency that has come."""

    def __init__(self, public: Service, reader: Reader) -> None:
        self._public, self._reader = public, reader
        self._services: dict[str, Service] = {}

    async def known(self, authorization: str) -> Service | None:
        """The service as the agency sees it that the header's key belongs to; None: no key that opens anything."""
        shown = _shown(authorization)
        if shown is None:
            return None
        name, key = shown
        holder = _holder(await self._reader.holders(), key)
        if holder is None or (name is not None and not compare_digest(name.encode(), holder.encode())):
            return None
        return self._service(holder)

    def _service(self, name: str) -> Service:
        if name not in self._services:
            agency = Agency(name)
            publications = Publications(self._public.settings, self._public.registry, agency, self._reader)
            self._services[name] = Service(self._public.settings, agency, self._reader, publications)
        return self._services[name]


def _shown(authorization: str) -> tuple[str | None, str] | None:
    """(agency, key) of a Basic header, (None, key) of a Bearer one; None: neither."""
    scheme, _, rest = authorization[:LONGEST].partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return None, rest.strip()
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, key = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, key) if colon and name and key and name != PUBLIC.id else None


def _holder(holders: Sequence[tuple[str, str]], key: str) -> str | None:
    """Whose key it is. Every digest is compared, each in constant time, so that the time tells nothing."""
    wanted, found = digest(key), None
    for agency, sha256 in holders:
        if compare_digest(sha256, wanted):
            found = agency
    return found


class Doorkeeper:
    """ASGI middleware: finds the agency of a request, and keeps what it is answered out of shared caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        authorization = request.headers.get("authorization")
        if authorization is None:
            await self._app(scope, receive, send)
            return
        try:
            service = await request.app.state.agencies.known(authorization)
        except SdiError as error:
            await problems.of_error(request, error)(scope, receive, send)
            return
        if service is None:
            log.warning("wrong key", path=request.url.path)
            refused = "The key opens nothing."
            await problems.answer(request, 401, "Unauthorized", refused, CHALLENGE)(scope, receive, send)
            return
        request.state.service = service

        async def private(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("cache-control") != fresh.SECRET:
                    headers["cache-control"] = fresh.OWN
            await send(message)

        await self._app(scope, receive, private)
