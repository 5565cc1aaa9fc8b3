"""Parents and children of a feature, as far as they exist for who asks; ended ones as of their last state."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sdi.contract.layer import Layer
from sdi.service import items, links
from sdi.service.crs import DEFAULT
from sdi.service.publications import Snapshot


async def told(
    service: Any, snapshot: Snapshot, layer: Layer, feature_id: str, known_at: datetime | None = None
) -> dict[str, Any]:
    """The members `parents` and `children`; none where the contract has no genealogy.

    `href` of one that has ended asks for it as of its last state: it answers no longer by itself.
    """
    if layer.genealogy is None:
        return {}
    asked = layer.id in snapshot.families
    rows = await service.reader.kin(layer, feature_id, known_at) if asked else []
    last_seen: dict[datetime | None, list[str]] = {}
    for row in rows:
        last_seen.setdefault(row[7], []).append(row[1])
    shown: set[str] = set()
    for moment, ids in last_seen.items():
        query = items.by_ids(service, layer, tuple(dict.fromkeys(ids)), DEFAULT, moment)
        found = await service.reader.features(layer, replace(query, attributes=(), geometry=False))
        shown.update(feature["id"] for feature in found)
    return {
        member: [_relation(service, layer, row) for row in rows if row[0] == role and row[1] in shown]
        for role, member in (("parent", "parents"), ("child", "children"))
    }


def _relation(service: Any, layer: Layer, row: tuple[Any, ...]) -> dict[str, Any]:
    _, name, kind, told_by, shared, of_parent, of_child, moment = row
    as_of = {"as-of": items.instant(moment)} if moment else {}
    relation: dict[str, Any] = {"id": name, "kind": kind, "toldBy": told_by}
    if shared is not None:
        relation |= {"sharedArea": round(shared, 2), "shareOfParent": round(of_parent, 2),
                     "shareOfChild": round(of_child, 2)}  # fmt: skip
    href = links.address(service.url, "collections", layer.id, "items", name, parameters=as_of)
    return relation | {"href": href} | ({"asOf": as_of["as-of"]} if as_of else {})
