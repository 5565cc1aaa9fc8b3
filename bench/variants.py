"""Defects of parcels that only other contracts than the shipped one look for; the truth as in defects.py."""

from __future__ import annotations

import numpy as np
import shapely
from defects import Town, attribute, moved

from sdi.contract.layer import Layer

VERTICES = 100
"""More than so many are too many, in the contract made here."""
CROWD = 55
"""Features upon each other, of which 50 overlaps are told."""
COUNTRY = (102.0, 8.0, 118.0, 24.0)
"""Where a delivery must lie, here: far beyond the zone of a grid."""
WORDS = {"id": "maThuaDat", "ended": "thaoTac"}


def varied(layer: Layer) -> Layer:
    """The contract of the parcels as it might be elsewhere: vertices counted and mended, decimals below a millimetre
    told, ids without a pattern, and rows that say that a feature has ended."""
    said = layer.model_dump(mode="json")
    others = {
        "geometry.repeated_vertex": {"action": "repair"},
        "geometry.precision": {"parameters": {"finer": True}},
    }
    checks = [check | others.get(check["rule"], {}) for check in said["checks"]]
    checks.append({"rule": "geometry.too_many_vertices", "tolerance": VERTICES})
    for each in said["attributes"]:
        if each["name"] == "national_parcel_id":
            each["pattern"] = None
    ended = {"sources": [WORDS["ended"]], "values": ["D"]}
    return Layer.model_validate(said | {"checks": checks, "load": said["load"] | {"ended": ended}})


def many_vertices(place: Town, row: int) -> None:
    x, y = next(place.free)
    circle = shapely.buffer(shapely.Point(x, y), 9.0, quad_segs=VERTICES)
    place.expect("geometry.too_many_vertices", place.add(circle, row))


def mended(place: Town, row: int) -> None:
    points = shapely.get_coordinates(place.lot())
    lot = place.add(shapely.polygons(np.insert(points, 2, points[2], axis=0)), row)
    place.expect("geometry.repeated_vertex", lot)
    place.expect("geometry.vertices_dropped", lot)


def fine(place: Town, row: int) -> None:
    place.expect("geometry.finer", place.add(moved(place.lot(), 0.000_37, 0.000_37), row))


def beyond(place: Town, row: int) -> None:
    """120 km east, in the zone of another grid, where no commune is."""
    lot = place.add(moved(place.lot(), 120_000.0, 0.0), row)
    for rule in ("place.zone", "place.commune", "place.nowhere"):
        place.expect(rule, lot)


def crowd(place: Town, row: int) -> None:
    lot = place.lot()
    rows = [place.add(lot, row) for _ in range(CROWD)]
    for rule in ("coverage.crowded", "coverage.overlap", "geometry.duplicate"):
        place.expect(rule, *rows)


def nameless_end(place: Town, row: int) -> None:
    place.expect("delivery.ended_nameless", place.add(None, row, ended="D", number=None))


VARIED = (
    many_vertices, mended, fine, beyond, crowd, nameless_end, attribute("identifier.malformed", id="không phải mã"),
)  # fmt: skip


def plant(place: Town, each: int) -> None:
    for defect in VARIED:
        for _ in range(each):
            defect(place, 0)
