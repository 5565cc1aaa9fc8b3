"""Which statistics there are of a layer for who asks, and which of them are asked for."""

from __future__ import annotations

from sdi.access import Agency, counted
from sdi.contract.layer import Layer
from sdi.errors import BadRequest, nearest
from sdi.service.formats import Format

FORMATS = {
    each.name: each
    for each in (
        Format("json", "application/json", "JSON"),
        Format("html", "text/html", "HTML"),
        Format("csv", "text/csv", "CSV", "csv"),
    )
}
"""The first is the default."""


def dimensions(agency: Agency, layer: Layer) -> tuple[str, ...]:
    """The attributes by which who asks may have the layer counted; none: there are no statistics of it."""
    if layer.statistics is None or layer.coverage is not None or layer.sharing.level == "steward":
        return ()
    shown = counted(agency, layer).attributes
    return tuple(name for name in layer.statistics.by if name in shown)


def measures(agency: Agency, layer: Layer) -> tuple[str, ...]:
    """The attributes that are added up for who asks."""
    shown = counted(agency, layer).attributes
    return () if layer.statistics is None else tuple(name for name in layer.statistics.sum if name in shown)


def tables(agency: Agency, layer: Layer) -> list[tuple[str, ...]]:
    """The tables there are: by each dimension, and by the contract's first one with each of the others."""
    found = dimensions(agency, layer)
    assert layer.statistics is not None
    first = layer.statistics.by[0]
    pairs = [(first, other) for other in found if other != first] if first in found else []
    return [*((name,) for name in found), *pairs]


def chosen(agency: Agency, layer: Layer, text: str | None) -> tuple[str, ...]:
    """The dimensions that `by` names, the contract's first one first; without it the first that there is.

    Raises BadRequest.
    """
    known = dimensions(agency, layer)
    if text is None:
        return known[:1]
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise BadRequest(f"by: the features are not counted by '{name[:100]}'.{nearest(name, known)}")
    wanted = tuple(name for name in known if name in names)
    offered = tables(agency, layer)
    if wanted not in offered:
        told = "; ".join(",".join(each) for each in offered)
        raise BadRequest(f"by: {', '.join(names)} are not counted together.", hint=f"One of: {told}")
    return wanted
