"""One question to one layer; every output (GeoJSON, HTML, CSV, export, dossier) is an answer to it."""

from __future__ import annotations

import hashlib
import json
import re
from calendar import monthrange
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, time, timedelta, timezone
from functools import cached_property
from typing import Any, Literal, Self

from sdi.errors import BadRequest


@dataclass(frozen=True)
class Area:
    """A polygon in CRS84 that stands for a bbox given in any CRS: a ring of (lon, lat), densified if its edges bend."""

    ring: tuple[tuple[float, float], ...]
    rectangle: bool
    """The ring is an axis-parallel rectangle in CRS84, from its south-west corner on."""

    @classmethod
    def of_box(cls, west: float, south: float, east: float, north: float) -> Self:
        """The rectangle of a bbox in CRS84; west > east: across the antimeridian (RFC 7946 5.2)."""
        return cls(((west, south), (east, south), (east, north), (west, north), (west, south)), rectangle=True)

    @cached_property
    def boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """West, south, east, north of a rectangle, degrees; two boxes where it crosses the antimeridian."""
        (west, south), (east, north) = self.ring[0], self.ring[2]
        if west <= east:
            return ((west, south, east, north),)
        return ((west, south, 180.0, north), (-180.0, south, east, north))


@dataclass(frozen=True)
class Interval:
    """A closed interval of time; None: open. start == end: an instant."""

    start: datetime | None
    end: datetime | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the parameter `datetime` (OGC API Features Part 1, 7.15.4).

        An instant or `start/end`, each an RFC 3339 date-time or a full date, `..` or empty for an open end. A date
        stands for its whole day in UTC. Beyond the standard the end may be a duration (ISO 8601, `P2D`), for
        OGC's executable test suite asks for such intervals. Raises BadRequest.
        """
        parts = text.strip().split("/")
        if len(parts) > 2 or all(part in _OPEN for part in parts):
            raise BadRequest(f"datetime '{text[:80]}' is neither an instant nor an interval.", hint=_TIMES)
        start = None if parts[0] in _OPEN else _instant(parts[0], last=False)
        if start is not None and len(parts) == 2 and parts[1].startswith("P"):
            return cls(start, _after(*instant(parts[0]), parts[1]))
        end = None if parts[-1] in _OPEN else _instant(parts[-1], last=True)
        if start is not None and end is not None and start > end:
            raise BadRequest(f"datetime '{text[:80]}' ends before it starts.")
        return cls(start, end)


_OPEN = ("", "..")
_TIMES = "Write 2026-07-01, 2026-07-01T00:00:00Z or 2026-01-01/.. ."
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)
_DURATION = re.compile(
    r"P(?=.)(?:(\d{1,4})Y)?(?:(\d{1,5})M)?(?:(\d{1,6})W)?(?:(\d{1,7})D)?"
    r"(?:T(?=.)(?:(\d{1,8})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?", re.ASCII
)  # fmt: skip


def instant(text: str) -> tuple[datetime, bool]:
    """Read an RFC 3339 date-time or full date: the instant in UTC, and whether it is a date (then its first moment).

    Without an offset the time is taken as UTC. Raises BadRequest.
    """
    found = _DATE_TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        day, clock, offset = found.groups()
        if clock is None:
            return datetime.combine(datetime.fromisoformat(day), time(), UTC), True
        clock = clock[:15]  # microseconds: what PostgreSQL keeps
        return datetime.fromisoformat(f"{day}T{clock}{(offset or 'Z').upper()}").astimezone(UTC), False
    except (ValueError, OverflowError):
        raise BadRequest(f"'{text[:40]}' is not a date or a time (RFC 3339).", hint=_TIMES) from None


def _instant(text: str, *, last: bool) -> datetime:
    moment, whole_day = instant(text)
    return datetime.combine(moment, time.max, UTC) if whole_day and last else moment


def _after(moment: datetime, whole_day: bool, text: str) -> datetime:
    """The end of a duration (ISO 8601). From a date on: the last moment before what it reaches; P2D are two days."""
    found = _DURATION.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        years, months, weeks, days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
        year, month = divmod(moment.year * 12 + moment.month - 1 + years * 12 + months, 12)
        day = min(moment.day, monthrange(year, month + 1)[1])  # a month after 31 January is the end of February
        end = moment.replace(year, month + 1, day) + timedelta(weeks * 7 + days, seconds, 0, 0, minutes, hours)
    except (ValueError, OverflowError):
        raise BadRequest(f"'{text[:40]}' is not a date or a time (RFC 3339).", hint=_TIMES) from None
    return end - timedelta(microseconds=1) if whole_day and end > moment else end


def as_of(text: str) -> datetime:
    """Read a record time: an RFC 3339 date-time, or a full date, which stands for the end of that day in Viet Nam.

    The instant in UTC. Raises BadRequest.
    """
    moment, whole_day = instant(text.strip())
    return datetime.combine(moment, time.max, _VIETNAM).astimezone(UTC) if whole_day else moment


_VIETNAM = timezone(timedelta(hours=7))
"""`sdi.national.clock.VIETNAM`, which stands on this floor: a contract imports from below alone."""


@dataclass(frozen=True)
class Position:
    """A place in the order of a query: that of a feature, told by its values of what it is sorted by, and its id.

    `keys`: as PostgreSQL writes them, in the order of `FeatureQuery.keys`; None where empty. The feature itself lies
    neither behind the place nor before it, and it need not be there any more.
    """

    keys: tuple[str | None, ...]
    backward: bool = False
    """The features before the place are asked for, not those behind it."""


Precision = Literal["exact", "generalised", "centroid", "none"]
"""How exactly the place of a feature is told: as stored; each vertex on a grid of so many metres; its centre; not."""


Existence = tuple[str, dict[str, Any] | None, Any]
"""Which features of a layer exist for who asks, not all of them: the layer, what a feature must fulfil (CQL2-JSON, as
in a sight; None: nothing) and, of a derived layer, which subjects do: again an Existence, or None where all do."""


@dataclass(frozen=True, eq=False)
class Sight:
    """A layer's features as who asks sees them, where that is not all of each one; equal to itself alone.

    The expressions are CQL2-JSON over the features as they are stored, whatever of them is hidden; codes of
    administrative units in them stand for themselves. An unknown answer hides.
    """

    attributes: tuple[str, ...]
    """Those that exist."""
    rows: dict[str, Any] | None = None
    """What a feature must fulfil to exist; None: every one does."""
    masks: tuple[tuple[str, dict[str, Any]], ...] = ()
    """(attribute, where it is shown); elsewhere it is empty."""
    places: tuple[tuple[dict[str, Any] | None, Precision, float], ...] = ()
    """(where, how exactly a place is told there, metres of the grid): the first that holds; none at all: exactly."""
    references: tuple[tuple[str, Existence], ...] = ()
    """(attribute, which features of the layer that it refers to exist): the ids of others are left out."""
    subject: Existence | None = None
    """Of a derived layer: which subjects exist; rows of others do not. None: that is not to be looked at."""
    bare: tuple[str, ...] = ()
    """Lists of whose items only the ids are told, each once."""

    @cached_property
    def key(self) -> str:
        """Tells sights apart by what they show."""
        about = [self.attributes, self.rows, self.masks, self.places, self.references, self.subject, self.bare]
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def emptied(self) -> frozenset[str]:
        """The attributes that may be empty here whatever their contract promises."""
        return frozenset((*(name for name, _ in (*self.masks, *self.references)), *self.bare))

    @property
    def reach(self) -> float | None:
        """Metres by which a place that is told may lie outside the stored shape's box; None: all are told exactly."""
        told = [metres if precision == "generalised" else 0.0
                for _, precision, metres in self.places if precision != "exact"]  # fmt: skip
        return max(told, default=None)

    @cached_property
    def beside(self) -> tuple[str, ...]:
        """The other layers on whose features it depends what is seen."""
        found: dict[str, None] = {}
        asked = [existence for _, existence in self.references] + [self.subject]
        while asked:
            existence = asked.pop()
            if existence is not None:
                found[existence[0]] = None
                asked.append(existence[2])
        return tuple(sorted(found))

    def to_json(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Self:
        """What `to_json` gave, lists in the place of tuples."""
        return cls(tuple(told["attributes"]), told["rows"], tuple(map(tuple, told["masks"])),
                   tuple(map(tuple, told["places"])), tuple(map(tuple, told["references"])),
                   told["subject"], tuple(told.get("bare", ())))  # fmt: skip


@dataclass(frozen=True)
class FeatureQuery:
    """All names are attribute names of the layer, already checked by who built the query."""

    layer: str
    attributes: tuple[str, ...]
    """What is answered, in this order; what the asker may not see is not among it."""
    ids: tuple[str, ...] | None = None
    area: Area | None = None
    interval: Interval | None = None
    equals: tuple[tuple[str, Any], ...] = ()
    """(attribute, value): a value of the attribute's type or its text; None: the attribute is empty."""
    search: tuple[tuple[str, ...], ...] = ()
    """Groups of words: one group must stand, in its order and with nothing but blanks between, in one of `searched`."""
    searched: tuple[str, ...] = ()
    """The attributes that are searched; the layer's own, as far as the asker sees them."""
    filters: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    """CQL2-JSON expressions, all of which must hold; coordinates in CRS84."""
    as_of: datetime | None = None
    """The features as the store knew them at that instant (record time); None: as it knows them now."""
    latest: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    """With `as_of`: CQL2-JSON expressions that must also hold of a feature's latest state, whatever it was then."""
    sight: Sight | None = None
    """What who asks sees of the features; None: all of each one that fulfils the filters."""
    meant: tuple[tuple[str, str, str], ...] | None = None
    """(asked, role, code): what codes of administrative units mean on the day; None: it is looked up on the way."""
    sort: tuple[tuple[str, bool], ...] = ()
    """(attribute or `id`, descending)."""
    crs: int = 4326
    """EPSG code of the answered coordinates; 4326 stands for CRS84 unless `north_first`."""
    north_first: bool = False
    """Answer (north, east), as the CRS's authority orders its axes."""
    geometry: bool = True
    limit: int | None = 10
    offset: int = 0
    place: Position | None = None
    """Where the page begins or, backward, ends; instead of an offset."""

    def of_ids(self, ids: tuple[str, ...]) -> FeatureQuery:
        """The same for the features with these ids, whose number is no matter: `replace` would take ten times as long,
        a good part of what it takes to find one."""
        other = object.__new__(FeatureQuery)
        other.__dict__.update(self.__dict__, ids=ids, limit=None)
        return other

    @property
    def keys(self) -> tuple[tuple[str, bool], ...]:
        """The whole order: (attribute or `id`, descending), each once, up to `id`, which leaves nothing undecided."""
        order: dict[str, bool] = {}
        for name, descending in (*self.sort, ("id", False)):
            order.setdefault(name, descending)
            if name == "id":
                break
        return tuple(order.items())
