"""The names of administrative units in a feature's heading, as far as they exist for who asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdi.access import visible
from sdi.contract.faults import fields_of
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service.publications import Snapshot
from sdi.service.rights import seen
from sdi.service.state import Service

_BEARERS = 100
"""Units looked at that have or had one code."""


async def units_of(
    service: Service, snapshot: Snapshot, layer: Layer, told: Mapping[str, Any]
) -> dict[str, str]:  # fmt: skip
    """Attribute of the heading -> the name of the unit whose code it holds. `told`: what who asks was told of the
    feature; of an attribute that is not in it nothing is looked up.
    """
    names = {name for part in layer.heading for text in (part.vi, part.en) for name in fields_of(text)}
    found: dict[str, str] = {}
    for name, units in layer.coded_by_unit.items():
        if name in names and told.get(name) and units in snapshot.layers:
            called = await _name(service, snapshot.layers[units], told[name])
            found |= {name: called} if called else {}
    return found


async def _name(service: Service, units: Layer, value: str) -> str | None:
    """The name of the unit with a code; where several had it, of the one that began last."""
    code, label, shown = units.frame, units.style.label, visible(service.agency, units)
    if code is None or label is None or not {code, label} <= set(shown):
        return None
    start = units.temporal.start if units.temporal is not None else None
    sight = seen(service.agency, units)
    query = FeatureQuery(
        units.id, tuple(dict.fromkeys((code, label))),
        filters=(*sight.filters, {"op": "=", "args": [{"property": code}, value]}), sight=sight.sight,
        sort=((start, False),) if start is not None and start in shown else (), geometry=False, limit=_BEARERS,
    )  # fmt: skip
    names = [each["properties"][label] for each in await service.reader.features(units, query)]
    return next((str(each) for each in reversed(names) if each), None)
