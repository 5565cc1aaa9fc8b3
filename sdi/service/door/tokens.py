"""Tokens of one OpenID Connect issuer: who its signature says stands at the door, and for which agency.

The keys come from the configured issuer and from nowhere else: no redirect is followed, and keys that it keeps on
another host are not fetched unless a setting names that place. Nothing in a token chooses where is looked.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt
import structlog

from sdi.settings import Settings

FRESH = 600.0
"""Seconds after which the issuer's keys are fetched again: one that it has withdrawn opens nothing from then on."""
LONGEST = 86400.0
"""Seconds for which the last keys stand where the issuer cannot be asked for newer ones."""
AGAIN = 30.0
"""Seconds between two looks because of a key that is not known: who makes up tokens must not keep the issuer busy."""
WITHIN = 5.0
"""Seconds that the issuer may take to answer."""
_LARGEST = 2**20
_KINDS = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("EdDSA",)}
"""Kinds of keys, and how the signatures that are made with them are called: none of them can be made with what is
public.
"""

log = structlog.get_logger("sdi.service")


@dataclass(frozen=True)
class Bearer:
    """Who a token was made for: an agency by its id, and the person or machine by the issuer's `sub`."""

    agency: str
    member: str


class Tokens:
    """Reads the tokens of the issuer that the settings name. It fetches and blocks: not for an event loop."""

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_issuer is not None
        self._settings, self._issuer = settings, settings.oidc_issuer
        self._keys: dict[str, Mapping[str, Any]] = {}
        self._fetched = self._tried = float("-inf")
        self._lock = threading.Lock()

    def read(self, token: str) -> Bearer | None:
        """Whom a token tells; None: it opens nothing."""
        try:
            header = jwt.get_unverified_header(token)
            alg, kid = header.get("alg"), header.get("kid")
            told = jwt.decode(token, options={"verify_signature": False})
            if alg not in self._settings.oidc_algorithms or not isinstance(kid, str) or told.get("iss") != self._issuer:
                return None
            key = self._key(kid)
            if key is None or not _signs(key, alg):
                return None
            claims = jwt.decode(
                token, jwt.PyJWK(dict(key), algorithm=alg), algorithms=[alg], audience=self._settings.oidc_audience,
                issuer=self._issuer, leeway=self._settings.oidc_leeway,
                options={"require": ["exp", "iss", "aud", "sub"], "verify_sub": True},
            )  # fmt: skip
        except jwt.PyJWTError:
            return None
        agency = self._agency(claims)
        return None if agency is None else Bearer(agency, str(claims["sub"]))

    def _agency(self, claims: Mapping[str, Any]) -> str | None:
        """The agency that the claim names; None: none, or more than one."""
        known = self._settings.oidc_agencies
        named = {each for each in _values(claims, self._settings.oidc_claim) if isinstance(each, str)}
        found = {known[each] for each in named if each in known} if known else named
        return found.pop() if len(found) == 1 else None

    def _key(self, kid: str) -> Mapping[str, Any] | None:
        now = time.monotonic()
        if now - self._fetched > LONGEST:
            self._keys = {}
        wanted = kid not in self._keys or now - self._fetched > FRESH
        # While one asks the issuer, the others go by what is known; where nothing is, they wait.
        if wanted and now - self._tried > AGAIN and self._lock.acquire(blocking=not self._keys):
            try:
                if time.monotonic() - self._tried > AGAIN:
                    self._fetch()
            finally:
                self._lock.release()
        return self._keys.get(kid)

    def _fetch(self) -> None:
        try:
            found = _got(self._place()).get("keys")
            keys = found if isinstance(found, list) else []
            self._keys = {str(each["kid"]): each for each in keys if isinstance(each, dict) and each.get("kid")}
            self._fetched = time.monotonic()
        except (OSError, ValueError) as error:
            # What is known stands: an issuer that is away for a while locks nobody out.
            log.warning("the issuer's keys cannot be fetched", why=type(error).__name__)
        finally:
            self._tried = time.monotonic()

    def _place(self) -> str:
        """Where the keys are. Raises OSError, ValueError."""
        if self._settings.oidc_jwks is not None:
            return self._settings.oidc_jwks
        told = _got(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        place = told.get("jwks_uri")
        if told.get("issuer") != self._issuer or not isinstance(place, str):
            raise ValueError("not the issuer's own configuration")
        if urlsplit(place)[:2] != urlsplit(self._issuer)[:2]:
            raise ValueError("keys on another host")
        return place


def _signs(key: Mapping[str, Any], alg: str) -> bool:
    """Whether a key is there for signatures of this kind."""
    named, use = key.get("alg", alg), key.get("use", "sig")
    return bool(named == alg and use == "sig" and alg.startswith(_KINDS.get(str(key.get("kty")), ("-",))))


def _values(claims: Mapping[str, Any], claim: str) -> Iterator[Any]:
    """What a claim says, one or several; `a.b` is the member b of a, unless a claim has that very name."""
    value: Any = claims
    for step in [claim] if claim in claims else claim.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    yield from value if isinstance(value, list) else [value]


class _Nowhere(HTTPRedirectHandler):
    """Follows no redirect: it is an error like any other status."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _got(address: str) -> dict[str, Any]:
    """The JSON object at an address. Raises OSError, ValueError."""
    asked = Request(address, headers={"Accept": "application/json"})
    with build_opener(_Nowhere).open(asked, timeout=WITHIN) as answer:
        text = answer.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError("too long")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found
