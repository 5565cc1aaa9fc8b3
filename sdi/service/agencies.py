"""Agencies at the door: who shows a key is served as that agency, who shows a wrong one is sent away.

HTTP Basic (user: the agency, password: its key) is what QGIS and GDAL can send; a script may send the key as Bearer or
X-API-Key; what can do neither has it in the address, as `key=`, and finds it in the links of its answers. Without any a
request is the public's. A key stands in no log, and in no answer to who did not put it into the address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest
from typing import TYPE_CHECKING

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.access import PUBLIC, Agency
from sdi.errors import SdiError, StoreError
from sdi.service import fresh, problems
from sdi.service.door.carried import Carried
from sdi.service.door.credentials import Shown, proof_of, shown
from sdi.service.publications import Publications
from sdi.service.reader import Reader
from sdi.service.state import Service
from sdi.store.sharing.keys import digest
from sdi.store.sharing.listening import heard
from sdi.store.sharing.register import Holder, Register

if TYPE_CHECKING:
    from sdi.service.door.tokens import Tokens

CHALLENGE = {"WWW-Authenticate": 'Basic realm="sdi", charset="UTF-8"', "Cache-Control": "no-store"}
EVERY = 0.5
"""Seconds between two looks whether the register has changed, besides those when the store tells of it."""

AGAIN = 0.05
"""Seconds between two looks because of a key that is not known: guessing keys must not keep the store busy."""

LISTEN_AGAIN = 5.0
"""Seconds until a lost connection to what the store tells is made anew."""

log = structlog.get_logger("sdi.service")


@dataclass(frozen=True)
class Caller:
    """Who asks with a key. `member`: the person or machine that the key was made for, where it was told. `key`: its
    number; None: a token.
    """

    service: Service
    member: str | None
    key: int | None


class Agencies:
    """The services of one application: the public's, and one for each agency that has come.

    Each is made for an agency with the grants that it has; another set of grants is another service, so what has begun
    ends under the rule that it began under.
    """

    def __init__(self, public: Service, stewards: Reader) -> None:
        self._base, self._reader = public, stewards
        self._services: dict[str, Service] = {}
        self._register = Register()
        self._version = -1
        self._looked = float("-inf")
        self._lock = asyncio.Lock()
        self._tokens: Tokens | None = None
        if public.settings.oidc_issuer:
            from sdi.service.door.tokens import Tokens  # what reads signatures is held by who needs it

            self._tokens = Tokens(public.settings)

    async def register(self) -> Register:
        """Who is known by which key and was granted what, at most EVERY seconds old. While the store is away the last
        one stands; raises StoreError where there is none.
        """
        if time.monotonic() - self._looked < EVERY or (self._lock.locked() and self._version >= 0):
            return self._register
        async with self._lock:
            if time.monotonic() - self._looked >= EVERY:
                await self._look()
        return self._register

    async def _look(self) -> None:
        try:
            version = await self._reader.version()
            ended = self._register.until is not None and self._register.until <= datetime.now(UTC)
            if version != self._version or ended:
                self._register = await self._reader.register(self._base.registry)
                self._version = version
        except StoreError:
            if self._version < 0:
                raise
        self._looked = time.monotonic()

    async def anonymous(self) -> Service:
        """The service as the public sees it."""
        if not self._base.agency.public:
            return self._base
        try:
            agency = (await self.register()).agency(PUBLIC.id)
        except StoreError:
            return self._base
        if agency == self._base.agency:
            return self._base
        # Where nothing was granted the database itself goes on keeping from everybody what is not open.
        return self._service(agency, self._reader if agency.grants else self._base.reader)

    async def listen(self) -> None:
        """Look at the register as soon as the store tells that it has changed, for as long as this runs.

        While nothing can be heard the looks by time go on; it is tried again.
        """
        while True:
            try:
                async with aclosing(heard(self._reader.url)) as told:
                    async for _ in told:
                        self._looked = float("-inf")
            except StoreError:
                log.warning("the register is not heard")
            await asyncio.sleep(LISTEN_AGAIN)

    async def known(self, shown: Shown) -> Caller | None:
        """Who acts for which agency by what was shown; None: it opens nothing."""
        name, key = shown.agency, shown.secret
        if key is None:
            return None
        if self._tokens is not None and key.count(".") == 2:  # no key has a dot
            return await self._told(self._tokens, shown, key)
        register = await self.register()
        holder = _holder(register.holders, key)
        if holder is None and time.monotonic() - self._looked > AGAIN:
            # It may have been made a moment ago.
            self._looked = float("-inf")
            register = await self.register()
            holder = _holder(register.holders, key)
        if holder is None:
            return None
        return self._caller(register, name, holder.agency, holder.member, holder.key_id)

    def claimed(self, shown: Shown) -> str | None:
        """The agency whose name came with a key, where there is one: whatever else is typed there may be a secret."""
        known = self._register.agencies.keys() | self._register.successors.keys()
        return shown.agency if shown.agency in known else None

    async def _told(self, tokens: Tokens, shown: Shown, token: str) -> Caller | None:
        """Whom a token tells, where the register has the agency; none in an address, which is kept in many places."""
        bearer = None if shown.carried else await run_in_threadpool(tokens.read, token)
        if bearer is None:
            return None
        register = await self.register()
        agency = register.successors.get(bearer.agency, bearer.agency)
        if agency not in register.agencies or agency == PUBLIC.id:
            log.warning("a token of no agency", member=bearer.member)
            return None
        return self._caller(register, shown.agency, agency, bearer.member)

    def _caller(
        self, register: Register, name: str | None, agency: str, member: str | None, key: int | None = None
    ) -> Caller | None:  # fmt: skip
        """`name`: whom a user name claims to be; another than the key's agency opens nothing."""
        meant = None if name is None else register.successors.get(name, name)
        if meant is not None and not compare_digest(meant.encode(), agency.encode()):
            return None
        return Caller(self._service(register.agency(agency), self._reader), member, key)

    def _service(self, agency: Agency, reader: Reader) -> Service:
        """`reader`: the stewards', which reads what only agencies see, and what a rule asks that is not shown."""
        known = self._services.get(agency.id)
        if known is None or known.agency != agency:
            publications = Publications(self._base.settings, self._base.registry, agency, reader)
            known = self._services[agency.id] = Service(self._base.settings, agency, reader, publications)
        return known


def _holder(holders: Sequence[Holder], key: str) -> Holder | None:
    """Whose key it is. Every digest is compared, each in constant time, so that the time tells nothing."""
    wanted, found = digest(key), None
    for holder in holders:
        if compare_digest(holder.sha256, wanted):
            found = holder
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
        agencies: Agencies = request.app.state.agencies
        try:
            what = shown(request)
        except SdiError as error:
            await problems.of_error(request, error)(scope, receive, send)
            return
        if what is None:
            if not scope["path"].startswith("/static/"):
                request.state.service = await agencies.anonymous()
            await self._app(scope, receive, send)
            return
        await self._known(request, agencies, what, send)

    async def _known(self, request: Request, agencies: Agencies, what: Shown, send: Send) -> None:
        scope, receive = request.scope, request.receive
        try:
            caller = await agencies.known(what)
        except SdiError as error:
            await problems.of_error(request, error)(scope, receive, send)
            return
        if caller is None:
            log.warning("wrong key", path=request.url.path)
            request.app.state.refusals.tell(request, 401, agencies.claimed(what))
            refused = "The key opens nothing."
            await problems.answer(request, 401, "Unauthorized", refused, CHALLENGE)(scope, receive, send)
            return
        request.state.service, request.state.member, request.state.key_id = caller.service, caller.member, caller.key
        if what.carried and what.secret is not None:
            # An address is kept by browsers and may be sent on: nobody administers by one.
            await self._app(scope, receive, Carried(send, what.secret, caller.service.url))
            return

        request.state.proof = proof_of(what)

        async def private(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("cache-control") != fresh.SECRET:
                    headers["cache-control"] = fresh.OWN
            await send(message)

        await self._app(scope, receive, private)
