"""What is asked of the catalogue: the parameters of OGC API Records, checked as strictly as those of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdi.catalog.entry import Entry
from sdi.catalog.record import SORTABLES, sort_key
from sdi.catalog.search import Wanted, found
from sdi.contract.query import Interval
from sdi.errors import BadRequest, nearest
from sdi.service import crs
from sdi.service.parameters import limited, whole_number
from sdi.settings import Settings
from sdi.store import search

PARAMETERS = ("q", "bbox", "datetime", "type", "ids", "externalIds", "limit", "offset", "sortby")


@dataclass(frozen=True)
class Answer:
    """A page of entries. `matched`: how many there are in all."""

    entries: list[Entry]
    matched: int
    limit: int
    offset: int

    def around(self, parameters: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """`next` and `prev` with the parameters that lead to them, as far as there are such pages."""
        asked = {name: value for name, value in parameters.items() if value.strip() and name not in ("offset", "limit")}
        pages = {}
        if self.offset + self.limit < self.matched:
            pages["next"] = asked | {"limit": self.limit, "offset": self.offset + self.limit}
        if self.offset > 0:
            pages["prev"] = asked | {"limit": self.limit, "offset": max(0, self.offset - self.limit)}
        return pages


def chosen(
    entries: Mapping[str, Entry], parameters: Mapping[str, str], settings: Settings, language: str
) -> Answer:  # fmt: skip
    """The page of entries that is asked for. Raises BadRequest naming the parameter and what would be right.

    A parameter without a value is passed over (/req/record-core-query-parameters/empty-value).
    """
    asked = {name: value for name, value in parameters.items() if value.strip()}
    wanted = Wanted(
        words=search.groups(asked["q"]) if "q" in asked else None,
        box=crs.box(asked["bbox"], crs.DEFAULT) if "bbox" in asked else None,
        interval=Interval.parse(asked["datetime"]) if "datetime" in asked else None,
        types=_several(asked, "type"),
        ids=_several(asked, "ids"),
        external_ids=_several(asked, "externalIds"),
    )
    limit = limited(asked, settings.default_limit, settings.max_limit)
    offset = whole_number(asked, "offset", 0, minimum=0)
    matching = [entry for entry in entries.values() if found(entry, wanted)]
    for name, descending in reversed(_sort(asked)):
        matching.sort(key=lambda entry: sort_key(entry, name, language), reverse=descending)
    return Answer(matching[offset : offset + limit], len(matching), limit, offset)


def _several(parameters: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    if name not in parameters:
        return None
    return tuple(part.strip() for part in parameters[name].split(",") if part.strip())


def _sort(parameters: Mapping[str, str]) -> Sequence[tuple[str, bool]]:
    keys = []
    for part in parameters.get("sortby", "id").split(","):
        # A '+' in a query string is a blank once it is decoded.
        name = part.strip().removeprefix("+").strip()
        descending, name = name.startswith("-"), name.removeprefix("-")
        if name not in SORTABLES:
            raise BadRequest(f"sortby: '{name}' cannot be sorted by.{nearest(name, SORTABLES)}")
        keys.append((name, descending))
    return keys
