"""Which entries a search in the catalogue finds, by the core query parameters of OGC API Records; all must hold."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, time

from sdi.catalog.entry import Entry
from sdi.contract.query import Interval

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Wanted:
    """`words`: groups of which one must be found, the words of each one after the other. `box`: west, south, east,
    north in CRS84; west > east crosses the antimeridian. None: not asked for."""

    words: tuple[tuple[str, ...], ...] | None = None
    box: Box | None = None
    interval: Interval | None = None
    types: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    external_ids: tuple[str, ...] | None = None


def found(entry: Entry, wanted: Wanted) -> bool:
    """Whether an entry fulfils all that is asked for."""
    return (
        (wanted.ids is None or entry.layer.id in wanted.ids)
        and (wanted.types is None or "dataset" in wanted.types)
        and (wanted.external_ids is None or _has_external(entry, wanted.external_ids))
        and (wanted.box is None or _meets(entry.published.extent, wanted.box))
        and (wanted.interval is None or _in_time(entry, wanted.interval))
        and (wanted.words is None or _says(entry, wanted.words))
    )


def plain(text: str) -> str:
    """Lower case without marks, đ as d: `Thửa đất` is `thua dat`."""
    parts = unicodedata.normalize("NFD", text.casefold())
    return "".join(sign for sign in parts if unicodedata.category(sign) != "Mn").replace("đ", "d")


def _says(entry: Entry, groups: tuple[tuple[str, ...], ...]) -> bool:
    texts = [plain(text) for text in _texts(entry)]
    patterns = [re.compile(r"\s+".join(re.escape(plain(word)) for word in group)) for group in groups]
    return any(pattern.search(text) for pattern in patterns for text in texts)


def _texts(entry: Entry) -> list[str]:
    """What a word is looked for in, in both languages whichever is read."""
    layer = entry.layer
    both = [layer.title, layer.description, *layer.keywords, layer.steward.name, layer.licence.title]
    own = [layer.id, layer.theme, *layer.topics, *filter(None, [layer.official_name])]
    return [*own, *(each for text in both for each in (text.vi, text.en)), *(b.reference for b in layer.legal_basis)]


def _has_external(entry: Entry, wanted: tuple[str, ...]) -> bool:
    """`value`, `scheme:value`, or a scheme alone with its colon."""
    own = entry.layer.official_name
    if own is None:
        return False
    return any(each in (own, f"officialName:{own}", "officialName:", "officialName") for each in wanted)


def _meets(extent: Box | None, box: Box) -> bool:
    if extent is None:
        return False
    west, south, east, north = box
    across = extent[0] <= east or extent[2] >= west if west > east else extent[0] <= east and extent[2] >= west
    return across and extent[1] <= north and extent[3] >= south


def _in_time(entry: Entry, wanted: Interval) -> bool:
    """A layer that tells no time is found at any; an end that is open holds on."""
    if entry.interval is None:
        return True
    first, last = entry.published.time_start, entry.published.time_end
    if last is not None and last.astimezone(UTC).time() == time():
        last = datetime.combine(last.astimezone(UTC).date(), time.max, UTC)
    begins = wanted.end is None or first is None or first <= wanted.end
    return begins and (wanted.start is None or last is None or last >= wanted.start)
