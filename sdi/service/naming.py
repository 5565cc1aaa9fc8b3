"""What administrative units are called whose codes stand in features, as far as they exist for who asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sdi.access import visible
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service.publications import Snapshot
from sdi.service.rights import seen
from sdi.service.state import Service

Names = dict[str, dict[str, str]]
"""Attribute -> code of a unit -> its name."""
_MOST = 10_000
"""Units that are looked at; the country has about 14,000 with all that ended."""


@dataclass(frozen=True)
class Unit:
    """`until`: the first day on which it is no more; None: it stands, or nothing is told of its end."""

    code: str
    name: str
    until: date | None

    def ended(self, day: date) -> bool:
        return self.until is not None and self.until <= day


async def units_of(service: Service, snapshot: Snapshot, layer: Layer, told: Iterable[Mapping[str, Any]]) -> Names:
    """What the units are called whose codes stand in features. `told`: what who asks was told of each; of what is not
    in it nothing is looked up. A code is of the unit that began last; one that a reform replaced, of one that ended.
    """
    told, found = list(told), Names()
    coded = {name: units for name, units in layer.coded_by_unit.items() if units in snapshot.layers}
    for units in dict.fromkeys(coded.values()):
        names = [name for name in coded if coded[name] == units]
        codes = sorted({str(each[name]) for each in told for name in names if each.get(name)})
        known = await _read(service, snapshot.layers[units], codes) if codes else []
        last = {each.code: each.name for each in known}
        former = last | {each.code: each.name for each in known if each.until is not None}
        replaced = layer.reform.former if layer.reform is not None else None
        found |= {name: former if name == replaced else last for name in names}
    return found


async def all_units(service: Service, snapshot: Snapshot, units: Layer) -> dict[str, Unit]:
    """Every unit by its code, in the order in which they began; where several had a code, the one that began last."""
    key = ("units", units.id)
    if key not in snapshot.kept:
        snapshot.kept[key] = {each.code: each for each in await _read(service, units)}
    found: dict[str, Unit] = snapshot.kept[key]
    return found


async def _read(service: Service, units: Layer, codes: list[str] | None = None) -> list[Unit]:
    """The units that have or had one of the codes, all where none are named; those that began last come last."""
    code, label, shown = units.frame, units.style.label, visible(service.agency, units)
    if code is None or label is None or not {code, label} <= set(shown):
        return []
    time, sight = units.temporal, seen(service.agency, units)
    start, end = (time.start, time.end) if time is not None else (None, None)
    among = () if codes is None else ({"op": "in", "args": [{"property": code}, codes]},)
    wanted = dict.fromkeys(name for name in (code, label, end) if name is not None and name in shown)
    query = FeatureQuery(
        units.id, tuple(wanted), filters=(*sight.filters, *among), sight=sight.sight,
        sort=((start, False),) if start is not None and start in shown else (), geometry=False, limit=_MOST,
    )  # fmt: skip
    told = [each["properties"] for each in await service.reader.features(units, query)]
    return [Unit(str(each[code]), str(each[label]), _day(each.get(end or ""))) for each in told
            if each[code] and each[label]]  # fmt: skip


def _day(value: Any) -> date | None:
    """Of a date, or of an instant; None: there is none."""
    return date.fromisoformat(str(value)[:10]) if value else None
