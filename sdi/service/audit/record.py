"""One request as the trail has it: who, for whom, what, by which question, how many, when, from where, what for."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from starlette.types import Scope

from sdi.access import PUBLIC, Agency, rule_of
from sdi.contract.registry import Registry
from sdi.service.audit.reads import Read, write

LONGEST = 4000
"""Characters of an address, of a query and of a purpose that are kept; longer ones end with `…`."""
SECRET = re.compile(r"(^|&)(?:key|api[-_]?key|token|access[-_]?token|password)=[^&]*", re.IGNORECASE)
"""Parameters that open something; they are cut out of what was asked, percent-encoded names and all."""
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
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
    return any(layer is None or rule_of(agency, layer) != rule_of(PUBLIC, layer) for layer in found)


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


def entry(
    scope: Scope, agency: Agency, registry: Registry, request_id: str, status: int, reads: list[Read], part: int,
    ended: str | None = None,
) -> bytes | None:  # fmt: skip
    """The entry as a line of JSON; None: nothing that is not open to everybody was answered.

    part: 0 as an answer begins, then those that follow it. ended: how one ended that had begun.
    """
    found = scope.get("path_params") or {}
    layers = tuple(dict.fromkeys([read.layer for read in reads] + _named(found, registry)))
    if agency.public and not exceeds(agency, registry, layers):
        return None
    told: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="microseconds"), "kind": "read",
        "action": action_of(getattr(scope.get("route"), "path", "none")), "request": request_id, "agency": agency.id,
    }  # fmt: skip
    state = scope.get("state") or {}
    if state.get("member"):
        told["member"] = state["member"]
    if state.get("key_id") is not None:
        told["key"] = state["key_id"]
    client = state.get("address") or (scope.get("client") or (None,))[0]
    if client:
        told["client"] = client
    if part:
        told["part"] = part
    else:
        told |= _asked(scope, agency, layers)
    told["status"] = status
    told["layers"] = layers
    if "feature" in found:
        told["asked"] = [found["feature"][:LONGEST]]
    if ended:
        told["ended"] = ended
    # What PostgreSQL does not take as JSON, and no id has.
    text = write(told).replace("\\u0000", "\\ufffd")
    if reads:
        text = f'{text[:-1]},"reads":[{",".join(read.written for read in reads)}]}}'
    return text.encode("utf-8", "replace")


def _named(found: dict[str, Any], registry: Registry) -> list[str]:
    """The layer that the address names, where there is one, whether it was answered or refused."""
    name = found.get("collection")
    return [name] if name in registry.layers else []


def _asked(scope: Scope, agency: Agency, layers: tuple[str, ...]) -> dict[str, Any]:
    told: dict[str, Any] = {"method": scope["method"], "path": _short(scope["path"])}
    if scope.get("query_string"):
        told["query"] = without_secrets(scope["query_string"].decode("latin-1"))
    grants, purposes = _grants(agency, layers)
    if grants:
        told["grants"] = grants
    for name, value in scope["headers"]:
        if name == b"x-purpose":
            told["purpose"] = _short(unquote(value.decode("utf-8", "replace"), errors="replace"))
            break
    else:
        if purposes:
            told["purpose"] = "; ".join(purposes)
    return told


@lru_cache(maxsize=2000)
def _grants(agency: Agency, layers: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    held = [grant for grant in agency.grants if grant.layer in layers]
    return tuple(grant.grant_id for grant in held), tuple(
        dict.fromkeys(grant.purpose for grant in held if grant.purpose)
    )


def without_secrets(query: str) -> str:
    """A query string as it was asked, without what opens anything."""
    if "%" not in query and not SECRET.search(query):
        return _short(query)
    kept = [pair for pair in query.split("&") if not SECRET.match(_plain(pair))]
    return _short("&".join(kept))


def _plain(pair: str) -> str:
    return unquote(pair) if "%" in pair.partition("=")[0] else pair


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
