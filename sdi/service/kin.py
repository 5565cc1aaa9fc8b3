"""Parents and children of a feature, as far as they exist for who asks; ended ones as they were when they ended.

Who does not see all of the layer is told the kind of a relation by the relatives that they see alone, and shares of
ground only where both places are told exactly. That two features that they see are related is told whatever is hidden
of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sdi.contract.layer import Layer
from sdi.service import items, links
from sdi.service.crs import DEFAULT
from sdi.service.publications import Snapshot
from sdi.service.rights import Seen, seen
from sdi.store.genealogy import MOST, SAME

States = dict[str, datetime | None]
"""Ids of features, and the instants as of which they are there; None: now."""


@dataclass(frozen=True)
class Relation:
    """One relative, in the columns of `genealogy.select_near`."""

    role: str
    id: str
    kind: str | None
    told_by: str
    shared: float | None
    of_parent: float | None
    of_child: float | None
    origin: int
    moment: datetime | None


async def told(
    service: Any, snapshot: Snapshot, layer: Layer, feature_id: str, known_at: datetime | None = None
) -> dict[str, Any]:
    """The members `parents` and `children`; none where the contract has no genealogy.

    `href` of one that has ended asks for it as of its last state: it answers no longer by itself.
    """
    if layer.genealogy is None:
        return {}
    rows = await service.reader.kin(layer, feature_id, known_at) if layer.id in snapshot.families else []
    relations = [Relation(*row) for row in rows]
    sight = seen(service.agency, layer)
    if relations and (sight.filters or sight.sight is not None):
        relations = await _as_seen(service, layer, feature_id, known_at, relations, sight)
    return {
        member: [_relation(service, layer, each) for each in relations[:MOST] if each.role == role]
        for role, member in (("parent", "parents"), ("child", "children"))
    }


async def _as_seen(
    service: Any, layer: Layer, own: str, known_at: datetime | None, relations: list[Relation], sight: Seen
) -> list[Relation]:  # fmt: skip
    """The relations that exist for who asks, with what of them may be told, in an order that tells no more."""
    around = await service.reader.kin_around(layer, own, known_at)
    shown = await _shown(service, layer, {row[3]: row[4] for row in around if row[3] != own}, sight) | {own}
    exact = shown
    if sight.sight is not None and sight.sight.places:
        states = {each.id: each.moment for each in relations if each.id in shown}
        exact = await _exact(service, layer, {**states, own: known_at}, sight)
    edges = {row[:3] for row in around if row[1] in shown and row[2] in shown}
    found = []
    for each in relations:
        if each.id in shown:
            if own not in exact or each.id not in exact:
                each = replace(each, shared=None, of_parent=None, of_child=None)
            found.append(replace(each, kind=_kind(each, own, edges)))
    return sorted(found, key=lambda each: (each.role, each.shared is None, -(each.shared or 0), each.id))


async def _exact(service: Any, layer: Layer, states: States, sight: Seen) -> set[str]:
    """Those whose places are told as they are stored."""
    assert sight.sight is not None
    where, precision, _ = sight.sight.places[0]
    if precision != "exact":
        return set()
    # Places are told exactly everywhere only where there are no ways of telling them at all.
    assert where is not None
    return await _shown(service, layer, states, replace(sight, sight=replace(sight.sight, rows=where)))


async def _shown(service: Any, layer: Layer, states: States, sight: Seen) -> set[str]:
    """Those that exist by the sight, each in its state."""
    at: dict[datetime | None, list[str]] = {}
    for name, moment in states.items():
        at.setdefault(moment, []).append(name)
    shown: set[str] = set()
    for moment, ids in at.items():
        query = replace(items.by_ids(service, layer, tuple(ids), DEFAULT, moment), sight=sight.sight)
        found = await service.reader.features(layer, replace(query, attributes=(), geometry=False))
        shown.update(feature["id"] for feature in found)
    return shown


def _kind(relation: Relation, own: str, edges: Iterable[tuple[int, str, str]]) -> str | None:
    """As `genealogy.record` has it, by the relatives that are seen; None: these do not tell.

    edges: origin, parent, child.
    """
    parent, child = (relation.id, own) if relation.role == "parent" else (own, relation.id)
    then = [each for each in edges if each[0] == relation.origin]
    children, parents = Counter(each[1] for each in then), Counter(each[2] for each in then)
    widest = max((parents[each[2]] for each in then if each[1] == parent), default=0)
    deepest = max((children[each[1]] for each in then if each[2] == child), default=0)
    if (children[parent] > 1 and widest > 1) or (parents[child] > 1 and deepest > 1):
        return "redivision"
    if children[parent] > 1 or parents[child] > 1:
        return "split" if children[parent] > 1 else "merge"
    whole = min(relation.of_parent or 0, relation.of_child or 0) >= SAME
    return "renumbering" if whole else None


def _relation(service: Any, layer: Layer, each: Relation) -> dict[str, Any]:
    as_of = {"as-of": items.instant(each.moment)} if each.moment else {}
    relation: dict[str, Any] = {"id": each.id} | ({"kind": each.kind} if each.kind else {}) | {"toldBy": each.told_by}
    if each.shared is not None and each.of_parent is not None and each.of_child is not None:
        relation |= {"sharedArea": round(each.shared, 2), "shareOfParent": round(each.of_parent, 2),
                     "shareOfChild": round(each.of_child, 2)}  # fmt: skip
    href = links.address(service.url, "collections", layer.id, "items", each.id, parameters=as_of)
    return relation | {"href": href} | ({"asOf": as_of["as-of"]} if as_of else {})
