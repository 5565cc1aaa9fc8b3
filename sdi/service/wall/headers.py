"""What every answer tells a browser about itself, and which other sites may read it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.service.door.credentials import in_address
from sdi.settings import Settings

_READ = [
    "Link", "Content-Crs", "Content-Language", "ETag", "X-Request-Id", "OGC-NumberReturned", "OGC-NumberMatched",
    "Repr-Digest", "Retry-After", "RateLimit", "RateLimit-Policy",
]  # fmt: skip
"""Headers that a script of another site may read."""
_CREDENTIALS = ("authorization", "x-api-key")
_NONE = ("accelerometer", "camera", "geolocation", "gyroscope", "microphone", "payment", "usb")
"""What no page of ours uses, nor any that it might be made to frame."""


class Headers:
    """ASGI middleware, outermost: nothing is sniffed, framed elsewhere, or told of where a link leads."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        told = {
            "x-content-type-options": "nosniff",
            "x-frame-options": "SAMEORIGIN",
            "referrer-policy": "strict-origin-when-cross-origin",
            "permissions-policy": ", ".join(f"{name}=()" for name in _NONE),
        }
        if settings.hsts and urlsplit(settings.url).scheme == "https":
            told["strict-transport-security"] = f"max-age={settings.hsts}"
        self._always = [(name.encode(), value.encode()) for name, value in told.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # What needs no key may be shown by any site; what was shown for a key is for this one alone.
        carried = in_address(scope)
        keyed = carried or any(name.decode("latin-1") in _CREDENTIALS for name, _ in scope["headers"])
        owner = (b"cross-origin-resource-policy", b"same-origin" if keyed else b"cross-origin")

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A browser goes by the last policy that it knows: a page with a key in its address tells it nobody.
                secret = [(b"referrer-policy", b"no-referrer")] if carried else []
                message["headers"] = [*message.get("headers", []), *self._always, *secret, owner]
            await send(message)

        await self._app(scope, receive, told)


class OtherSites(CORSMiddleware):
    """Starlette's own, which makes ready for another site whoever asks: most are none, and cost as little as one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"vary", b"Origin")]
            await send(message)

        await self.app(scope, receive, told)


def other_sites(settings: Settings) -> Middleware:
    """CORS: every site may read what is public, never with a person's credentials; named ones may also send a key."""
    options: dict[str, Any] = {"allow_methods": ["GET", "HEAD", "OPTIONS"], "expose_headers": _READ}
    origins = settings.origins
    if origins == ("*",):
        return Middleware(OtherSites, allow_origins=["*"], **options)
    return Middleware(OtherSites, allow_origins=list(origins), allow_headers=list(_CREDENTIALS), **options)
