"""Who calls, and how often they may: an agency by its key, the public by address.

A bucket of tokens for each caller: one a request, `burst` at most, refilled at the configured rate; and the bytes of a
day. The workers of a machine count together (`sdi.service.wall.book`); what several machines may take is the proxy's
to say. Told as draft-ietf-httpapi-ratelimit-headers has it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.service import problems
from sdi.service.door.credentials import shows_key
from sdi.service.state import service_of
from sdi.service.wall.book import Book
from sdi.service.wall.turns import CALLER
from sdi.settings import Settings

FREE = ("/health", "/metrics", "/static/")
"""Addresses that cost nothing, or that must be answered in a rush too."""
WRONG = 10
"""Requests that a wrong key counts as."""
_SITE = 64
"""Bits of an IPv6 address that name a site; one household has 2^64 addresses."""

Network = IPv4Network | IPv6Network


class Rates:
    """The buckets of one kind of callers. `rate`: tokens a second; `burst`: what a bucket holds."""

    def __init__(
        self, kind: str, rate: float, burst: float, book: Book, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self.kind, self.rate, self.burst = kind, rate, burst
        self._book, self._clock = book, clock

    def left(self, caller: str) -> float:
        """Tokens that a caller has now."""
        tokens, since = self._book.left(f"{self.kind} {caller}") or (self.burst, 0.0)
        passed = self._clock() - since
        # A book that outlived a restart of the machine may tell times to come.
        return min(self.burst, tokens + passed * self.rate) if passed >= 0 else self.burst

    def take(self, caller: str, tokens: float = 1.0) -> bool:
        """Take tokens where there is at least one. What is taken beyond is owed. Of two workers that take in the same
        microsecond one may go uncounted: to hold the others off would cost every request more than that is worth."""
        left = self.left(caller)
        if left < 1:
            return False
        self._book.write(f"{self.kind} {caller}", left - tokens, self._clock())
        return True

    def wait(self, caller: str) -> int:
        """Whole seconds until there is a token again."""
        return max(1, math.ceil((1 - self.left(caller)) / self.rate))

    def headers(self, caller: str) -> list[tuple[bytes, bytes]]:
        """RateLimit-Policy and RateLimit: what a bucket holds and how long it takes to fill, and what is left."""
        left = max(0.0, self.left(caller))
        window, full = math.ceil(self.burst / self.rate), math.ceil((self.burst - left) / self.rate)
        return [
            (b"ratelimit-policy", f'"{self.kind}";q={int(self.burst)};w={window}'.encode()),
            (b"ratelimit", f'"{self.kind}";r={int(left)};t={full}'.encode()),
        ]


class Quotas:
    """Bytes that each caller was sent today (UTC), before compression. `most`: a day; 0: any number."""

    def __init__(
        self, most: int, book: Book, clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._most, self._book, self._clock, self._now = most, book, clock, now
        self.are_kept = bool(most)

    def left(self, caller: str) -> bool:
        return not self._most or self._left(self._name(caller)) > 0

    def sent(self, caller: str, size: int) -> None:
        if not self._most:
            return
        name = self._name(caller)
        with self._book.writing():
            self._book.write(name, self._left(name) - size, self._clock())

    def _left(self, name: str) -> float:
        return (self._book.left(name) or (self._most, 0.0))[0]

    def _name(self, caller: str) -> str:
        """Another each day, so that a new day begins with nothing sent."""
        return f"{self._now().date()} {caller}"

    def wait(self) -> int:
        """Seconds until tomorrow."""
        now = self._now()
        tomorrow = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        return max(1, math.ceil((tomorrow - now).total_seconds()))


def trusted(networks: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ip_network(each, strict=False) for each in networks)


@lru_cache(maxsize=10_000)
def address_of(peer: str | None, forwarded: tuple[str, ...], proxies: tuple[Network, ...]) -> str:
    """The client's address: of an IPv4 host or an IPv6 site; `local`: a socket of this machine.

    `forwarded`: the X-Forwarded-For headers. They are read from the right, as far as a trusted proxy has written them;
    what stands further left is what anyone may write, and is not believed.
    """
    found = _ip(peer)
    if found is None:
        return "local"
    for text in reversed(",".join(forwarded).split(",")):
        if not any(found in network for network in proxies):
            break
        before = _ip(text.strip())
        if before is None:
            break
        found = before
    return str(found) if isinstance(found, IPv4Address) else str(ip_network((found, _SITE), strict=False))


def _ip(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text or "")
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


class Gate:
    """ASGI middleware before the doorkeeper: finds the address, and slows down who tries keys."""

    def __init__(self, app: ASGIApp, settings: Settings, book: Book) -> None:
        self._app = app
        self._proxies = trusted(settings.trusted_proxies)
        self._wrong = Rates("wrong", settings.rate_public, settings.burst, book) if settings.rate_public else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        peer = scope.get("client")
        forwarded = tuple(value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
        address = address_of(peer[0] if peer else None, forwarded, self._proxies)
        request.state.address = address
        wrong = self._wrong
        if wrong is None or not shows_key(scope):
            await self._app(scope, receive, send)
            return
        if wrong.left(address) < 1:
            await _refused(request, wrong.wait(address))(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                wrong.take(address, WRONG)
            await send(message)

        await self._app(scope, receive, watched)


class Turnstile:
    """ASGI middleware behind the doorkeeper: counts each caller's requests and bytes, and says whose turn it is."""

    def __init__(self, app: ASGIApp, settings: Settings, book: Book) -> None:
        self._app = app
        kinds = {"public": settings.rate_public, "agency": settings.rate_agency}
        self._rates = {kind: Rates(kind, rate, settings.burst, book) for kind, rate in kinds.items() if rate}
        self._quotas = Quotas(settings.quota * 10**6, book)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        agency = service_of(request).agency
        # The public is still everybody when something was granted to it.
        kind = "public" if agency.public else "agency"
        # An address has signs that no agency's id has, so neither is ever taken for the other.
        caller = f"@{request.state.address}" if agency.public else agency.id
        CALLER.set(caller)
        rates = self._rates.get(kind)
        # Who is answered from memory is there, too.
        request.app.state.service.reader.lanes.shares.seen(caller)
        if scope["path"].startswith(FREE):
            rates = None
        elif not self._quotas.left(caller):
            await _spent(request, self._quotas.wait())(scope, receive, send)
            return
        elif rates is not None and not rates.take(caller):
            refused = _refused(request, rates.wait(caller))
            refused.raw_headers.extend(rates.headers(caller))
            await refused(scope, receive, send)
            return

        if rates is None and not self._quotas.are_kept:
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start" and rates is not None:
                message["headers"] = [*message.get("headers", []), *rates.headers(caller)]
            elif message["type"] == "http.response.body":
                self._quotas.sent(caller, len(message.get("body", b"")))
            await send(message)

        await self._app(scope, receive, counted)


def _refused(request: Request, wait: int) -> Response:
    request.app.state.refusals.tell(request, 429)
    detail = f"That is too much at once: try again in {wait} seconds."
    return problems.answer(request, 429, "Too Many Requests", detail, {"Retry-After": str(wait)})


def _spent(request: Request, wait: int) -> Response:
    request.app.state.refusals.tell(request, 429)
    detail = "What may be sent to you in one day was sent: come again tomorrow."
    return problems.answer(request, 429, "Too Many Requests", detail, {"Retry-After": str(wait)})
