"""What every answer tells a browser about itself, and which other sites may read it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from sdi.service.door.credentials import in_address
from sdi.settings import Settings

_READ = [
    "Link", "Content-Crs", "Content-Language", "ETag", "X-Request-Id", "OGC-NumberReturned", "OGC-NumberMatched",
    "Repr-Digest", "Retry-After", "RateLimit", "RateLimit-Policy",
]  # fmt: skip
"""Headers that a script of another site may read."""
_CREDENTIALS = (b"authorization", b"x-api-key")
_SAME_SITE, _ANY_SITE = ((b"cross-origin-resource-policy", site) for site in (b"same-origin", b"cross-origin"))
_NONE = ("accelerometer", "camera", "geolocation", "gyroscope", "microphone", "payment", "usb")
"""What no page of ours uses, nor any that it might be made to frame."""


class Headers:
    """What stands in every answer: nothing is sniffed, framed elsewhere, or told of where a link leads."""

    def __init__(self, settings: Settings) -> None:
        told = {
            "x-content-type-options": "nosniff",
            "x-frame-options": "SAMEORIGIN",
            "referrer-policy": "strict-origin-when-cross-origin",
            "permissions-policy": ", ".join(f"{name}=()" for name in _NONE),
        }
        if settings.hsts and urlsplit(settings.url).scheme == "https":
            told["strict-transport-security"] = f"max-age={settings.hsts}"
        self._always = [(name.encode(), value.encode()) for name, value in told.items()]

    def of(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """What is told to who asks so."""
        # What needs no key may be shown by any site; what was shown for a key is for this one alone.
        carried, names = in_address(scope), {name for name, _ in scope["headers"]}
        keyed = carried or not names.isdisjoint(_CREDENTIALS)
        told = [*self._always, _SAME_SITE if keyed else _ANY_SITE]
        if carried:
            # A browser goes by the last policy that it knows: a page with a key in its address tells it nobody.
            told.append((b"referrer-policy", b"no-referrer"))
        if b"origin" not in names:
            told.append((b"vary", b"Origin"))
        return told


class OtherSites(CORSMiddleware):
    """Starlette's own, which makes ready for another site whoever asks: most are none, and cost as little as one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def other_sites(settings: Settings) -> Middleware:
    """CORS: every site may read what is public, never with a person's credentials; named ones may also send a key."""
    options: dict[str, Any] = {"allow_methods": ["GET", "HEAD", "OPTIONS"], "expose_headers": _READ}
    origins = settings.origins
    if origins == ("*",):
        return Middleware(OtherSites, allow_origins=["*"], **options)
    return Middleware(
        OtherSites, allow_origins=list(origins), allow_headers=[name.decode() for name in _CREDENTIALS], **options
    )
