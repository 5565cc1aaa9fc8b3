"""One request as the trail has it: who, for whom, what, by which question, how many, when, from where, what for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from starlette.types import Scope

from sdi.access import PUBLIC, Agency, rule_of
from sdi.contract.registry import Registry
from sdi.service.audit.reads import Read, quoted, write

if TYPE_CHECKING:
    from sdi.service.audit.kept import Given

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

    @property
    def layers(self) -> tuple[str, ...]:
        return layers_of(self.scope, self.registry, self.reads)

    @property
    def is_open(self) -> bool:
        """Whether nothing that is not open to everybody was answered."""
        return self.agency.public and not exceeds(self.agency, self.registry, self.layers)

    def entry(self) -> bytes | None:
        """The entry as a line of JSON; None: nothing that is not open to everybody was answered."""
        if self.is_open:
            return None
        scope, state = self.scope, self.scope["state"]
        who = self.agency.id, state.get("member"), state.get("key_id"), client_of(scope)
        about = about_of(self.agency, who, getattr(scope.get("route"), "path", "none"), self.layers)
        if self.part:
            told = f',"part":{self.part}'
        else:
            told = question(scope["method"], scope["path"], scope.get("query_string")) + about.right(purpose_of(scope))
        told += asked((scope.get("path_params") or {}).get("feature"))
        if self.ended:
            told += f',"ended":"{self.ended}"'
        begin = beginning(self.at, about, self.request, self.status)
        return f"{begin}{told}".encode("utf-8", "replace") + end(self.reads)


def damaged(answered: Answered | Given) -> bytes:
    """What is told in place of an entry that could not be made."""
    told = {"at": instant(answered.at), "kind": "damaged", "action": "damaged", "agency": answered.agency.id,
            "layers": [], "request": answered.request, "status": answered.status}  # fmt: skip
    return write(told).encode("utf-8", "replace")


def layers_of(scope: Scope, registry: Registry, reads: Sequence[Read]) -> tuple[str, ...]:
    """What was read, and the layer that was asked for."""
    name = (scope.get("path_params") or {}).get("collection")
    layers = tuple([read.layer for read in reads])
    if layers == (name,):
        return layers
    return tuple(dict.fromkeys(layers + ((name,) if name in registry.layers else ())))


def client_of(scope: Scope) -> str | None:
    """The client's address."""
    return scope["state"].get("address") or (scope.get("client") or (None,))[0]


def purpose_of(scope: Scope) -> bytes | None:
    """The purpose as it was sent; None: none was."""
    for name, value in scope["headers"]:
        if name == b"x-purpose":
            return bytes(value)
    return None


class About(NamedTuple):
    """What entries have in common, as JSON."""

    agency: Agency
    all: str
    """What is done with which layers, for whom, by whom, from where."""
    grants: str
    """By which grants."""
    purpose: str
    """Theirs, for where none is told."""

    def right(self, purpose: bytes | None) -> str:
        """By which right something is asked, and what for."""
        if purpose is None:
            return self.grants + self.purpose
        return f'{self.grants},"purpose":{_text(unquote(purpose.decode("utf-8", "replace"), errors="replace"))}'


def about_of(agency: Agency, who: _Who, route: str, layers: tuple[str, ...]) -> About:
    key = (who, route, layers)
    found = _KNOWN.get(key)
    if found is None or found.agency is not agency:
        if len(_KNOWN) >= MOST:
            _KNOWN.clear()
        found = _KNOWN[key] = _make(agency, who, route, layers)
    return found


_Who = tuple[str, str | None, int | None, str | None]
"""Agency, name of the key, its number, address."""
_KNOWN: dict[tuple[_Who, str, tuple[str, ...]], About] = {}


def _make(agency: Agency, who: _Who, route: str, layers: tuple[str, ...]) -> About:
    _, member, key, client = who
    told = {"kind": "read", "action": action_of(route), "agency": agency.id, "layers": layers,
            "member": member or None, "key": key, "client": client}  # fmt: skip
    held = [grant for grant in agency.grants if grant.layer in layers]
    purposes = "; ".join(dict.fromkeys(grant.purpose for grant in held if grant.purpose))
    return About(
        agency,
        write({name: value for name, value in told.items() if value is not None})[1:-1],
        f',"grants":{write([grant.grant_id for grant in held])}' if held else "",
        f',"purpose":{write(purposes)}' if purposes else "",
    )


def instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def beginning(at: float, about: About, request: str, status: int) -> str:
    return f'{{"at":"{instant(at)}",{about.all},"request":"{request}","status":{status}'


def question(method: str, path: str, query: bytes | None) -> str:
    """What was asked."""
    told = f',"query":{_text(without_secrets(query.decode("latin-1")))}' if query else ""
    return f',"method":{quoted(method)},"path":{_text(path)}{told}'


def asked(feature: str | None) -> str:
    """Which feature was asked for; None: not one."""
    return "" if feature is None else f',"asked":[{_text(feature, LONGEST_ID)}]'


def end(reads: Sequence[Read]) -> bytes:
    return b',"reads":[%b]}' % b",".join([read.text for read in reads]) if reads else b"}"


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
