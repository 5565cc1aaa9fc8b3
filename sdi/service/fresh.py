"""Whether what a client holds is still what it would get: ETag, Last-Modified, 304 and 412 (RFC 9110, 8.8 and 13.1).

A page of features is tagged by what it is made of: the layer's generation, which grows exactly when a load wrote
something, the contracts, and the question. So a client that asks again is answered without a query. Everything else is
small, and tagged by a hash of its bytes. All tags are strong: equal tags mean equal bytes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sdi.contract.layer import Layer
from sdi.errors import Unmet
from sdi.service.asked import Asked
from sdi.service.hangup import unless_gone
from sdi.service.parameters import Question
from sdi.service.publications import Snapshot
from sdi.service.rights import seen
from sdi.service.state import Service, service_of
from sdi.store import succession
from sdi.store.ledger import Publication

OPEN = "public, max-age=0, s-maxage=1, must-revalidate"
"""A browser asks every time; a shared cache may spare the service the same question for a second."""
OWN = "private, no-cache"
"""What an agency is shown with its key: kept by its client alone, and asked about every time."""
SECRET = "no-store"
"""What only one agency sees."""
_MEANT = (b"content-type", b"content-crs", b"link")
"""Headers that are part of what is answered."""
KEPT = ("content-crs", "content-language", "link", "vary")
"""Headers that a 304 repeats, besides the validators and Cache-Control."""
_CONDITIONS = (b"if-none-match", b"if-match", b"if-modified-since", b"if-unmodified-since")
_WITHOUT = "Ask for it without the condition."
_write = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Validator:
    """`tag`: an entity tag without its quotes. `modified`: since when at the latest it is so; None: not known."""

    tag: str
    modified: datetime | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Last-Modified has whole seconds: it is the next one, told once that has come, so it never stands for two.

        And a second later, because the server's Date lags by as much.
        """
        told = {"ETag": f'"{self.tag}"'}
        if self.modified is not None:
            second = _next_second(self.modified)
            if second + timedelta(seconds=1) <= datetime.now(UTC):
                told["Last-Modified"] = format_datetime(second, usegmt=True)
        return told

    def holds(self, request: Request) -> bool:
        """Whether the client has it already. Raises Unmet where it wants another one."""
        return self.is_held(request.scope["headers"])

    def is_held(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """The same by a request's headers: what is said of tags goes before what is said of dates (13.2.2).

        A tag stands for the answer in each coding that the client takes: `compression` tells them apart.
        """
        given: dict[bytes, str] = {}
        for name, value in headers:
            if name in _CONDITIONS:
                told = value.decode("latin-1")
                given[name] = f"{given[name]},{told}" if name in given else told
        return bool(given) and self._holds(given)

    def _holds(self, given: dict[bytes, str]) -> bool:
        if (wanted := given.get(b"if-match")) is not None:
            if not self._is_among([tag.strip() for tag in wanted.split(",")]):  # a weak tag is none of them (13.1.1)
                raise Unmet("If-Match: what is here now has another tag.", hint=_WITHOUT)
        elif self._was_so(given.get(b"if-unmodified-since")) is False:
            raise Unmet("If-Unmodified-Since: what is here was changed later.", hint=_WITHOUT)
        if (held := given.get(b"if-none-match")) is not None:
            return self._is_among([tag.strip().removeprefix("W/") for tag in held.split(",")])
        return self._was_so(given.get(b"if-modified-since")) is True

    def _is_among(self, tags: list[str]) -> bool:
        return "*" in tags or f'"{self.tag}"' in tags

    def _was_so(self, date: str | None) -> bool | None:
        """At a date as clients write it; None: that is not known, or it is no date, and then it is passed over."""
        if date is None or self.modified is None:
            return None
        try:
            moment = parsedate_to_datetime(date)
        except ValueError:
            return None
        return _next_second(self.modified) <= (moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def tag_of(*about: Any) -> str:
    """The tag of an answer that is made of nothing else than this, JSON values and tuples."""
    return _digest(_write(about).encode())


def of_page(
    service: Service, snapshot: Snapshot, layer: Layer, publication: Publication, asked: Asked, question: Question
) -> Validator:  # fmt: skip
    """The validator of a page of features, in the format and the language asked for; costs no query."""
    shown = seen(service.agency, layer)
    about: list[Any] = [*_standing(service, snapshot, publication), shown.tag]
    about += [asked.format, asked.language, asked.parameters]
    modified: datetime | None = snapshot.since[layer.id]
    if asked.format == "html" and not service.agency.public:
        # The head of a page says who is signed in and what is theirs.
        about += [service.agency.names, service.agency.administers]
        modified = None
    named = {*layer.coded_by_unit.values()} & snapshot.layers.keys() if asked.format == "html" else ()
    if named:
        # Units stand there by their names, as far as who asks sees them, and by the day as such that ended.
        told = [(snapshot.publications[name], seen(service.agency, snapshot.layers[name])) for name in sorted(named)]
        about.append([(each.generation, str(each.changed_at), units.tag) for each, units in told])
        about.append(datetime.now(UTC).date().isoformat())
        modified = None
    if shown.sight is not None and shown.sight.beside:
        # Which ids are told is decided by the layers that they are of.
        about.append(snapshot.beside(shown.sight))
        modified = None
    if layer.reform is not None and succession.select_meant(layer, question.query) is not None:
        # What a code means is told by the layer of units, and by the day.
        units = snapshot.publications.get(layer.reform.units)
        about += [units and (units.generation, str(units.changed_at)), datetime.now(UTC).date().isoformat()]
        modified = None
    return Validator(_digest(_write(about).encode()), modified)


def of_file(service: Service, snapshot: Snapshot, publication: Publication) -> str:
    """The tag of a file that a layer was loaded from, which is another one after each load."""
    return tag_of(*_standing(service, snapshot, publication))


def cache_control(service: Service, layer: Layer | None = None) -> str:
    """Who may keep an answer, and for how long."""
    if layer is not None and layer.sharing.level == "steward":
        return SECRET
    return OPEN if service.agency.public else OWN


def validated(endpoint: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """A route whose 200 has a tag, and which says 304 to who holds it; one that has a tag already keeps it.

    Raises Unmet, as `Validator.holds` does.
    """

    @functools.wraps(endpoint)
    async def answered(request: Request, **path: str) -> Response:
        response = await unless_gone(request, endpoint(request, **path))
        if response.status_code != 200:
            return response
        # Names are in lower case there, and a look at each costs less than to ask for some.
        told = dict(response.raw_headers)
        if b"cache-control" not in told:
            kept = told[b"cache-control"] = cache_control(service_of(request)).encode()
            response.raw_headers.append((b"cache-control", kept))
        body = getattr(response, "body", None)
        tagged = b"etag" in told or told[b"cache-control"] == SECRET.encode()
        if tagged or not isinstance(body, bytes):
            return response
        meant = [told.get(name, b"") for name in _MEANT]
        validator = Validator(_digest(b"\n".join([*meant, body])))
        response.raw_headers.append((b"etag", f'"{validator.tag}"'.encode()))
        return not_modified(response.headers.items()) if validator.holds(request) else response

    return answered


def not_modified(headers: Iterable[tuple[str, str]]) -> Response:
    """A 304 with those headers of the 200 that belong to it."""
    kept = {*KEPT, "etag", "last-modified", "cache-control"}
    return Response(status_code=304, headers={name: value for name, value in headers if name.lower() in kept})


def _standing(service: Service, snapshot: Snapshot, publication: Publication) -> list[Any]:
    """What an answer rests on. A restored database counts its generations again: their instants tell them apart."""
    changed = publication.changed_at.isoformat()
    return [snapshot.edition, service.agency.id, publication.layer, publication.generation, changed]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=15).hexdigest()


def _next_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0) + timedelta(seconds=1)
