"""Forms that pages of this service send: their fields, and that no other site made a browser send them.

A browser sends a person's password by itself, so what another site made it send must not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from hmac import compare_digest
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

from sdi.contract.registry import Registry
from sdi.errors import BadRequest, NotAllowed
from sdi.service.state import Service
from sdi.store import engine
from sdi.store.audit import chain
from sdi.store.engine import Connection

MOST_FIELDS = 100


@dataclass(frozen=True)
class Actor:
    """Who sends a form: `member` and `key` as the doorkeeper knows them, and the number of the request."""

    agency: str
    member: str | None
    key: int | None
    request: str | None

    @classmethod
    def of(cls, request: Request, service: Service) -> Actor:
        state = request.state
        told = (getattr(state, name, None) for name in ("member", "key_id", "request"))
        return cls(service.agency.id, *told)

    @property
    def by(self) -> str:
        """As the register names them."""
        return f"{self.agency} ({self.member})" if self.member else self.agency

    @contextmanager
    def registering(self, service: Service) -> Iterator[Connection]:
        """A registrar's connection; what it writes is told of in the trail with who they are."""
        with engine.connect(service.reader.url, engine.REGISTRAR, application="sdi-service-registrar") as connection:
            chain.acting(connection, self.agency, self.member, self.key, self.request)
            yield connection


Form = Mapping[str, list[str]]


@dataclass(frozen=True)
class Task:
    """What a form asks for, and who does it."""

    connection: Connection
    registry: Registry
    form: Form
    by: str

    def text(self, name: str) -> str:
        """A field's last value; empty where it has none, as a list in JSON may."""
        return (self.form.get(name) or [""])[-1].strip()

    def line(self, name: str) -> str:
        """A field of several lines as one: tables have it in a row."""
        return " ".join(self.text(name).split())

    def maybe(self, name: str) -> str | None:
        return self.text(name) or None

    def number(self, name: str) -> int:
        if not re.fullmatch(r"\d{1,15}", self.text(name), re.ASCII):
            raise BadRequest(f"{name}: '{self.text(name)[:40]}' is not a whole number.")
        return int(self.text(name))

    def metres(self) -> float:
        """The step of a grid; 0 where none is said."""
        try:
            return float(self.text("metres") or 0)
        except ValueError:
            raise BadRequest(f"metres: '{self.text('metres')[:40]}' is not a number.") from None

    def day(self, name: str) -> date | None:
        try:
            return date.fromisoformat(self.text(name)) if self.text(name) else None
        except ValueError:
            raise BadRequest(f"{name}: '{self.text(name)[:40]}' is not a day.") from None

    def several(self, name: str) -> tuple[str, ...] | None:
        """Words with commas or blanks between."""
        return tuple(self.text(name).replace(",", " ").split()) or None


def is_text(value: str) -> bool:
    """Whether PostgreSQL takes it: no NUL, and no half of a character, as JSON can have it."""
    return not re.search("[\x00\ud800-\udfff]", value)


async def sent(request: Request, service: Service, proof: str) -> Form:
    """The fields of a form. Raises NotAllowed for one that another site sent, BadRequest."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    own = {urlsplit(service.url).netloc, request.headers.get("host")}
    if site not in (None, "same-origin") or (origin is not None and urlsplit(origin).netloc not in own):
        raise NotAllowed("The form was not sent by this page.")
    try:
        form = parse_qs((await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise BadRequest("The form cannot be read.") from None
    if not all(is_text(value) for values in form.values() for value in values):
        raise BadRequest("The form cannot be read.")
    if not compare_digest("".join(form.get("proof", [])).encode(), proof.encode()):
        raise NotAllowed("The form was not sent by this page.")
    return form
