"""Cursors: the place where a page begins, sealed, so that a client hands back only what it was given.

A cursor is bound to the collection, to what was filtered and sorted by, and to who asked; how many features a page has,
in which format, language and CRS may change on the way. Its content is veiled: of a place in a layer's changes it has
the numbers of loads, from which the number of all other loads between them could be told.
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
_BLOCK = 32
"""Bytes to whose next multiple a content is filled up: its length would tell how long its numbers are."""
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
        self._veil = hmac.digest(key, b"veil of cursors", "sha256")

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
        """The text of JSON values, which opens only together with what it is about; equal ones have one text, and who
        only has the text cannot tell what it is of."""
        payload = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        payload += b" " * (-len(payload) % _BLOCK)
        seal = self._seal(payload, about)
        return urlsafe_b64encode(seal + self._veiled(payload, seal)).decode().rstrip("=")

    def opened(self, text: str, about: list[Any]) -> list[Any] | None:
        """What was sealed; None: it was not, or not about this."""
        try:
            raw = urlsafe_b64decode(text[:LONGEST].encode("ascii") + b"=" * (-len(text[:LONGEST]) % 4))
        except (Error, UnicodeEncodeError, ValueError):
            raw = b""
        seal, veiled = raw[:_SEAL], raw[_SEAL:]
        # Until 2026-11 a cursor was not veiled; copies that are kept by the changes still hold such ones.
        for payload in (self._veiled(veiled, seal), veiled):
            if payload and hmac.compare_digest(seal, self._seal(payload, about)):
                content: list[Any] = json.loads(payload)
                return content
        return None

    def named(self, content: Any) -> str:
        """A name of JSON values: equal ones have one name, and who only has the name cannot tell what it is of."""
        about = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        return hmac.digest(self._key, b"name of " + about, "sha256").hex()[:_SEAL]

    def _veiled(self, payload: bytes, seal: bytes) -> bytes:
        """Bytes combined with others that the key makes of their seal (SIV, RFC 5297); once more, and they are bare."""
        blocks = range(-(-len(payload) // _BLOCK))
        veil = b"".join(hmac.digest(self._veil, seal + number.to_bytes(4), "sha256") for number in blocks)
        # As two numbers: byte by byte it takes ten times as long, and each page seals two cursors and opens one.
        size = len(payload)
        return (int.from_bytes(payload) ^ int.from_bytes(veil[:size])).to_bytes(size)

    def _seal(self, payload: bytes, about: list[Any]) -> bytes:
        bound = hashlib.sha256(repr(about).encode()).digest()
        return hmac.digest(self._key, bound + payload, "sha256")[:_SEAL]


def _asked(query: FeatureQuery, agency: Agency) -> list[Any]:
    q = query
    return [
        agency.id, q.layer, q.ids, q.area, q.interval, q.equals, q.search, q.filters, q.as_of, q.latest, q.keys,
    ]  # fmt: skip
