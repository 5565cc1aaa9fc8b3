"""The names of administrative units in the headings of features, as far as they exist for who asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sdi.access import visible
from sdi.contract.faults import fields_of
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service.publications import Snapshot
from sdi.service.rights import seen
from sdi.service.state import Service

Names = dict[str, dict[str, str]]
"""Attribute of a heading -> code of a unit -> its name."""
_UNITS = 10_000
"""Units looked at that have or had one of the codes of a page; the country has about 14,000 with all that ended."""


async def units_of(service: Service, snapshot: Snapshot, layer: Layer, told: Iterable[Mapping[str, Any]]) -> Names:
    """What the units are called whose codes stand in the headings of features. `told`: what who asks was told of each
    feature; of what is not in it nothing is looked up.
    """
    fields = {name for part in layer.heading for text in (part.vi, part.en) for name in fields_of(text)}
    told, found = list(told), Names()
    for name, units in layer.coded_by_unit.items():
        codes = sorted({str(each[name]) for each in told if each.get(name)}) if name in fields else []
        if codes and units in snapshot.layers:
            found[name] = await _names(service, snapshot.layers[units], codes)
    return found


async def _names(service: Service, units: Layer, codes: list[str]) -> dict[str, str]:
    """The names of units by their codes; where several had a code, of the one that began last."""
    code, label, shown = units.frame, units.style.label, visible(service.agency, units)
    if code is None or label is None or not {code, label} <= set(shown):
        return {}
    start = units.temporal.start if units.temporal is not None else None
    sight = seen(service.agency, units)
    query = FeatureQuery(
        units.id, tuple(dict.fromkeys((code, label))),
        filters=(*sight.filters, {"op": "in", "args": [{"property": code}, codes]}), sight=sight.sight,
        sort=((start, False),) if start is not None and start in shown else (), geometry=False, limit=_UNITS,
    )  # fmt: skip
    told = [each["properties"] for each in await service.reader.features(units, query)]
    return {str(each[code]): str(each[label]) for each in told if each[code] and each[label]}
