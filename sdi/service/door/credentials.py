"""What a request shows of who asks: a key in a header or in the address, or a token."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from hmac import compare_digest
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.types import Scope

from sdi.access import PUBLIC
from sdi.errors import BadRequest

PARAMETER = "key"
"""The parameter of an address that is a key; it is read here and known nowhere behind."""
_HEADERS = (b"authorization", b"x-api-key")
LONGEST = 8000
"""Characters of a key or a token that are looked at."""


@dataclass(frozen=True)
class Shown:
    """`agency`: whom a user name claims to be; None: nobody said. `secret`: None where it cannot be one at all.
    `carried`: whether it stands in the address.
    """

    agency: str | None
    secret: str | None
    carried: bool = False


def shown(request: Request) -> Shown | None:
    """What was shown; None: nothing, it is the public. Raises BadRequest where two different keys are shown.

    A key in the address is taken out of the request: nothing behind this, no log and no link, finds it there.
    """
    if not shows_key(request.scope):
        return None
    found = [_authorization(line) for line in request.headers.getlist("authorization")]
    found += [Shown(None, line.strip()[:LONGEST] or None) for line in request.headers.getlist("x-api-key")]
    found += [Shown(None, text[:LONGEST] or None, carried=True) for text in _taken(request.scope)]
    first = found[0]
    if any(not _same(first.secret, other.secret) for other in found[1:]):
        raise BadRequest("Two different keys are shown at once.", hint="Show one of them.")
    # A user name binds the key to its agency, wherever else the key stands.
    claims = {each.agency for each in found if each.agency is not None}
    if len(claims) > 1:
        raise BadRequest("Two different keys are shown at once.", hint="Show one of them.")
    return Shown(next(iter(claims), None), first.secret, any(each.carried for each in found))


def proof_of(what: Shown) -> str:
    """What stands in the forms of who shows a key: other sites can make a browser show it, but do not know it."""
    return hmac.digest((what.secret or "").encode(), b"sdi: a form of this page", "sha256").hex()


def shows_key(scope: Scope) -> bool:
    """Whether something is shown at all, be it wrong."""
    return any(name in _HEADERS for name, _ in scope["headers"]) or in_address(scope)


def in_address(scope: Scope) -> bool:
    """Whether a key stands in the address."""
    raw: bytes = scope.get("query_string", b"")
    return any(_name(pair) == PARAMETER.encode() for pair in raw.split(b"&")) if b"k" in raw or b"%" in raw else False


def _taken(scope: Scope) -> list[str]:
    """The keys in the query string, which is without them afterwards."""
    if not in_address(scope):
        return []
    pairs = scope["query_string"].split(b"&")
    keys = [pair.partition(b"=")[2] for pair in pairs if _name(pair) == PARAMETER.encode()]
    scope["query_string"] = b"&".join(pair for pair in pairs if _name(pair) != PARAMETER.encode())
    return [unquote_to_bytes(key.replace(b"+", b" ")).decode("utf-8", "replace").strip() for key in keys]


def _name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" "))


def _authorization(header: str) -> Shown:
    """Of a Basic header the agency and its key, of a Bearer one the key or the token."""
    scheme, _, rest = header[: LONGEST + 10].partition(" ")
    if scheme.lower() == "bearer":
        return Shown(None, rest.strip() or None)
    if scheme.lower() != "basic":
        return Shown(None, None)
    try:
        name, colon, key = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return Shown(None, None)
    return Shown(name, key) if colon and name and key and name != PUBLIC.id else Shown(None, None)


def _same(one: str | None, other: str | None) -> bool:
    return compare_digest((one or "").encode(), (other or "").encode())
