"""One request as the trail has it: who, for whom, what, by which question, how many, when, from where, what for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from starlette.types import Scope

from sdi.access import PUBLIC, Agency, rule_of
from sdi.contract.registry import Registry
from sdi.service.audit.reads import Read, quoted, write

LONGEST = 4000
"""Characters of an address, of a query and of a purpose that are kept; longer ones end with `…`."""
LONGEST_ID = 500
"""Characters of an id that was asked for: an index finds them, and takes no text of more than 2,700 bytes."""
MOST = 2000
"""Beginnings of entries that are remembered."""
SECRETS = frozenset(
    {"key", "apikey", "api-key", "api_key", "token", "accesstoken", "access-token", "access_token", "password"}
)
"""Parameters that open something, in small letters; they are cut out of what was asked, percent-encoded names too."""
_ACTIONS = {
    "items": "items", "export": "export", "coverage": "coverage", "tiles": "tiles", "changes": "changes",
    "schema": "description", "queryables": "description", "sortables": "description",
}  # fmt: skip


def is_recorded(agency: Agency) -> bool:
    """Whether what it asks may have to be recorded: whoever showed a key, and the public where it was granted more."""
    return not agency.public or bool(agency.grants) or not agency.ungranted


def exceeds(agency: Agency, registry: Registry, layers: tuple[str, ...]) -> bool:
    """Whether one of the layers shows the agency anything else than the contract shows everybody."""
    found = (registry.layers.get(name) for name in layers)
    everybody = replace(PUBLIC, withdrawn=agency.withdrawn)
    return any(layer is None or rule_of(agency, layer) != rule_of(everybody, layer) for layer in found)


@lru_cache(maxsize=200)
def action_of(route: str) -> str:
    """What is done at an address: item, items, tile, tiles, export, coverage, dossier, …, or read."""
    last = route.rpartition("/")[2]
    if "{column}" in route:
        return "tile"
    if route.endswith("/items/{feature:path}"):
        return "item"
    if last == "dossier":
        return "dossier"
    steps = route.split("/")
    return next((_ACTIONS[step] for step in reversed(steps) if step in _ACTIONS), last if last.isalpha() else "read")


class Answered(NamedTuple):
    """An answer, or a part of one, as it leaves: what its entry is made of, later and by another thread."""

    at: float
    """Seconds since 1970."""
    scope: Scope
    agency: Agency
    registry: Registry
    request: str
    status: int
    reads: list[Read]
    part: int
    """0 as an answer begins, then those that follow it."""
    ended: str | None
    """How one ended that had begun."""


def entry(answered: Answered) -> bytes | None:
    """The entry as a line of JSON; None: nothing that is not open to everybody was answered."""
    if is_open(answered):
        return None
    scope, agency, reads, layers = answered.scope, answered.agency, answered.reads, _layers(answered)
    state, found = scope["state"], scope.get("path_params") or {}
    client = state.get("address") or (scope.get("client") or (None,))[0]
    who = agency.id, state.get("member"), state.get("key_id"), client
    about = _about(agency, who, getattr(scope.get("route"), "path", "none"), layers)
    at = datetime.fromtimestamp(answered.at, UTC).isoformat(timespec="microseconds")
    told = [f'{{"at":"{at}",{about.all},"request":"{answered.request}","status":{answered.status}']
    told.append(f'"part":{answered.part}' if answered.part else _asked(scope, about))
    if "feature" in found:
        told.append(f'"asked":[{_text(found["feature"], LONGEST_ID)}]')
    if answered.ended:
        told.append(f'"ended":"{answered.ended}"')
    text = ",".join(told).encode("utf-8", "replace")
    if not reads:
        return text + b"}"
    return b"".join((text, b',"reads":[', b",".join([read.text for read in reads]), b"]}"))


def is_open(answered: Answered) -> bool:
    """Whether nothing that is not open to everybody was answered."""
    agency, registry = answered.agency, answered.registry
    return agency.public and not exceeds(agency, registry, _layers(answered))


def damaged(answered: Answered) -> bytes:
    """What is told in place of an entry that could not be made."""
    at = datetime.fromtimestamp(answered.at, UTC).isoformat(timespec="microseconds")
    told = {"at": at, "kind": "damaged", "action": "damaged", "agency": answered.agency.id, "layers": [],
            "request": answered.request, "status": answered.status}  # fmt: skip
    return write(told).encode("utf-8", "replace")


def _layers(answered: Answered) -> tuple[str, ...]:
    name = (answered.scope.get("path_params") or {}).get("collection")
    layers = tuple([read.layer for read in answered.reads])
    if layers == (name,):
        return layers
    return tuple(dict.fromkeys(layers + ((name,) if name in answered.registry.layers else ())))


class _About(NamedTuple):
    """What entries have in common, as JSON."""

    agency: Agency
    all: str
    """What is done with which layers, for whom, by whom, from where."""
    grants: str
    """By which grants."""
    purpose: str
    """Theirs, for where none is told."""


def _about(agency: Agency, who: _Who, route: str, layers: tuple[str, ...]) -> _About:
    key = (who, route, layers)
    found = _KNOWN.get(key)
    if found is None or found.agency is not agency:
        if len(_KNOWN) >= MOST:
            _KNOWN.clear()
        found = _KNOWN[key] = _make(agency, who, route, layers)
    return found


_Who = tuple[str, str | None, int | None, str | None]
"""Agency, name of the key, its number, address."""
_KNOWN: dict[tuple[_Who, str, tuple[str, ...]], _About] = {}


def _make(agency: Agency, who: _Who, route: str, layers: tuple[str, ...]) -> _About:
    _, member, key, client = who
    told = {"kind": "read", "action": action_of(route), "agency": agency.id, "layers": layers,
            "member": member or None, "key": key, "client": client}  # fmt: skip
    held = [grant for grant in agency.grants if grant.layer in layers]
    purposes = "; ".join(dict.fromkeys(grant.purpose for grant in held if grant.purpose))
    return _About(
        agency,
        write({name: value for name, value in told.items() if value is not None})[1:-1],
        f',"grants":{write([grant.grant_id for grant in held])}' if held else "",
        f',"purpose":{write(purposes)}' if purposes else "",
    )


def _asked(scope: Scope, about: _About) -> str:
    """What was asked, by which right and what for."""
    query, purpose = scope.get("query_string"), about.purpose
    for name, value in scope["headers"]:
        if name == b"x-purpose":
            purpose = f',"purpose":{_text(unquote(value.decode("utf-8", "replace"), errors="replace"))}'
            break
    asked = f',"query":{_text(without_secrets(query.decode("latin-1")))}' if query else ""
    return f'"method":{quoted(scope["method"])},"path":{_text(scope["path"])}{asked}{about.grants}{purpose}'


def without_secrets(query: str) -> str:
    """A query string as it was asked, without what opens anything."""
    return _short("&".join([pair for pair in query.split("&") if not _opens(pair)]))


def _opens(pair: str) -> bool:
    name, given, _ = pair.partition("=")
    return bool(given) and (unquote(name) if "%" in name else name).lower() in SECRETS


def _text(text: str, longest: int = LONGEST) -> str:
    """As JSON that PostgreSQL takes: it knows no NUL."""
    return quoted((text if len(text) <= longest else _short(text, longest)).replace("\0", "\ufffd"))


def _short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
