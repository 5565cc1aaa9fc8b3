"""Cursors: the place where a page begins, sealed, so that a client hands back only what it was given.

A cursor is bound to the collection, to what was filtered and sorted by, and to who asked; how many features a page has,
in which format, language and CRS may change on the way. It tells no more than the page did that it came with.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass
from typing import Any

from sdi.access import Agency
from sdi.contract.query import FeatureQuery, Position
from sdi.errors import BadRequest

_SEAL = 16
"""Bytes of the HMAC-SHA256 that a cursor begins with."""
LONGEST = 8000
"""Characters of a cursor that are looked at; web servers take no longer addresses."""


@dataclass(frozen=True)
class Cursor:
    """`passed`: features before the place when it was told, as far as is known."""

    place: Position
    passed: int


class Cursors:
    """Seals and opens with the deployment's key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, cursor: Cursor, query: FeatureQuery, agency: Agency) -> str:
        """The text of a cursor for this question."""
        content = [int(cursor.place.backward), max(0, cursor.passed), *cursor.place.keys]
        return self.sealed(content, _asked(query, agency))

    def open(self, text: str, query: FeatureQuery, agency: Agency) -> Cursor:
        """Raises BadRequest for what was not sealed here for this question."""
        content = self.opened(text, _asked(query, agency))
        if content is None:
            raise BadRequest(
                "cursor: it was not given for this question.", hint="Follow the links 'next' and 'prev' of an answer."
            )
        backward, passed, *keys = content
        return Cursor(Position(tuple(keys), bool(backward)), passed)

    def sealed(self, content: list[Any], about: list[Any]) -> str:
        """The text of JSON values, which opens only together with what it is about."""
        payload = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        return urlsafe_b64encode(self._seal(payload, about) + payload).decode().rstrip("=")

    def opened(self, text: str, about: list[Any]) -> list[Any] | None:
        """What was sealed; None: it was not, or not about this."""
        try:
            raw = urlsafe_b64decode(text[:LONGEST].encode("ascii") + b"=" * (-len(text[:LONGEST]) % 4))
        except (Error, UnicodeEncodeError, ValueError):
            raw = b""
        seal, payload = raw[:_SEAL], raw[_SEAL:]
        if not payload or not hmac.compare_digest(seal, self._seal(payload, about)):
            return None
        content: list[Any] = json.loads(payload)
        return content

    def named(self, content: Any) -> str:
        """A name of JSON values: equal ones have one name, and who only has the name cannot tell what it is of."""
        about = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        return hmac.digest(self._key, b"name of " + about, "sha256").hex()[:_SEAL]

    def _seal(self, payload: bytes, about: list[Any]) -> bytes:
        bound = hashlib.sha256(repr(about).encode()).digest()
        return hmac.digest(self._key, bound + payload, "sha256")[:_SEAL]


def _asked(query: FeatureQuery, agency: Agency) -> list[Any]:
    q = query
    return [
        agency.id, q.layer, q.ids, q.area, q.interval, q.equals, q.search, q.filters, q.as_of, q.latest, q.keys,
    ]  # fmt: skip
