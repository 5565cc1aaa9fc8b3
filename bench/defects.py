"""Known defects planted at known places, into generated and into real parcels, and what a check should say of each.

A defect is planted in one parcel, its site, or set beside the town; sites lie so far apart that none reaches another.
The truth says which rule must name which feature. What a rule says of anything else is a false alarm.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

APART = 60.0
"""Metres: a site stands in every second cell of so wide a net, in both directions."""
AWAY = 20_000.0
"""Metres: a town with what is beside it reaches no farther east; there begins the next commune, which ends half as far
north of the town's end. Farther north lies nobody's land."""
FREE = 40.0
"""Metres from the last parcel to the first feature that is set beside the town, and from each such to the next."""


@dataclass
class Town:
    """Parcels that defects are planted into: shapes in a grid (metres), columns as a steward's file names them."""

    shapes: NDArray[np.object_]
    columns: dict[str, list[object]]
    names: dict[str, str]
    """What a defect calls a column -> what the file calls it."""
    truth: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    """(rule, the rows from 0 of which the rule must name one)."""
    beside: list[tuple[shapely.Geometry | bytes | None, dict[str, object]]] = field(default_factory=list)
    """Features set beside the town, behind its own; bytes: WKB that is none."""

    @cached_property
    def tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.shapes)

    @cached_property
    def free(self) -> Iterator[tuple[float, float]]:
        """Places east of the town, in columns."""
        _, south, east, north = shapely.total_bounds(self.shapes)
        north = max(north, south + 2_000.0)
        return ((east + FREE * column, float(y)) for column in count(1) for y in np.arange(south, north, FREE))

    def expect(self, rule: str, *rows: int) -> None:
        self.truth.append((rule, frozenset(rows)))

    def put(self, row: int, **values: object) -> None:
        for name, value in values.items():
            self.columns[self.names[name]][row] = value

    def reshape(self, row: int, shape: shapely.Geometry) -> None:
        """Give a parcel another shape, and the area that goes with it."""
        self.shapes[row] = shapely.multipolygons([shape]) if shape.geom_type == "Polygon" else shape
        if shapely.is_valid(shape):
            self.put(row, area=round(float(shapely.area(shape)), 1))

    def add(self, shape: shapely.Geometry | bytes | None, like: int, **values: object) -> int:
        """Set a feature beside the town, with the attributes of a parcel; return its row."""
        attributes = {name: column[like] for name, column in self.columns.items()}
        attributes[self.names["number"]] = f"9{len(self.beside):06d}"
        if isinstance(shape, shapely.Polygon):
            attributes[self.names["area"]] = round(float(shapely.area(shape)), 2)
            shape = shapely.multipolygons([shape])
        self.beside.append((shape, attributes | {self.names[name]: value for name, value in values.items()}))
        return len(self.shapes) + len(self.beside) - 1

    def lot(self, width: float = 8.0, depth: float = 15.0) -> shapely.Geometry:
        x, y = next(self.free)
        return shapely.box(x, y, x + width, y + depth)

    def table(self) -> pa.Table:
        more = (shape if isinstance(shape, bytes) else shapely.to_wkb(shape) for shape, _ in self.beside)
        columns = {
            name: _array([*column, *(row[name] for _, row in self.beside)]) for name, column in self.columns.items()
        }
        return pa.table({**columns, "geom": pa.array([*shapely.to_wkb(self.shapes), *more], pa.binary())})


def _array(values: list[object]) -> pa.Array:
    """A column; one word among numbers makes it text, as it does in a file. Nothing at all is empty text."""
    try:
        made = pa.array(values)
        return made.cast(pa.string()) if pa.types.is_null(made.type) else made
    except pa.ArrowInvalid:
        return pa.array([None if value is None else str(value) for value in values])


def town(table: pa.Table, names: dict[str, str]) -> Town:
    """A town of a table with a WKB column `geom` in a grid. Columns that defects need and the table lacks are empty."""
    columns = {name: table[name].to_pylist() for name in table.column_names if name != "geom"}
    for name in names.values():
        columns.setdefault(name, [None] * table.num_rows)
    return Town(shapely.from_wkb(table["geom"].to_numpy()), columns, names)


# --- where ----------------------------------------------------------------------------------------------------------


def sites(place: Town, avoid: Iterable[int] = (), seed: int = 950) -> Iterator[int]:
    """Rows of parcels that lie apart and whose whole boundary is shared with neighbours, in a random order. avoid: rows
    that were not sound before; a site lies more than half a net's width from them."""
    bounds = shapely.bounds(place.shapes)
    middle = (bounds[:, :2] + bounds[:, 2:]) / 2
    cell = np.floor((middle - middle.min(axis=0)) / APART).astype(np.int64)
    slim = (bounds[:, 2:] - bounds[:, :2]).max(axis=1) < APART
    usable = (cell % 2 == 0).all(axis=1) & slim & (shapely.area(place.shapes) > 60) & shapely.is_valid(place.shapes)
    sick = shapely.box(*bounds[sorted(avoid)].T) if avoid else np.empty(0, object)
    usable[place.tree.query(sick, predicate="dwithin", distance=APART / 2)[1]] = False
    offset = np.abs((middle - middle.min(axis=0)) / APART % 1 - 0.5).max(axis=1)  # nearest to a cell's middle first
    order = np.lexsort([offset, cell[:, 1], cell[:, 0]])
    order = order[usable[order]]
    _, first = np.unique(cell[order], axis=0, return_index=True)
    chosen = order[first]
    yield from np.random.default_rng(seed).permutation(chosen[_enclosed(place, chosen)]).tolist()


def _enclosed(place: Town, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether neighbours lie along the whole of a parcel's boundary and upon none of its ground."""
    left, right = place.tree.query(place.shapes[rows], predicate="intersects")
    left, right = left[right != rows[left]], right[right != rows[left]]
    sound = shapely.is_valid(place.shapes[right])
    left, right = left[sound], right[sound]
    shared = shapely.intersection(shapely.boundary(place.shapes[rows[left]]), shapely.boundary(place.shapes[right]))
    length = np.bincount(left, shapely.length(shared), len(rows))
    upon = np.bincount(
        left, shapely.area(shapely.intersection(place.shapes[rows[left]], place.shapes[right])), len(rows)
    )
    enclosed: NDArray[np.bool_] = (upon < 1e-6) & (length > 0.999 * shapely.length(place.shapes[rows]))
    return enclosed


def neighbour(place: Town, row: int) -> int:
    """The neighbour with the longest shared boundary."""
    found = np.array([other for other in place.tree.query(place.shapes[row], predicate="intersects") if other != row])
    shared = shapely.intersection(shapely.boundary(place.shapes[row]), shapely.boundary(place.shapes[found]))
    return int(found[np.argmax(shapely.length(shared))])


def ring(place: Town, row: int) -> NDArray[np.float64]:
    """(n, 2) the outer ring, closed."""
    return shapely.get_coordinates(shapely.get_exterior_ring(shapely.get_geometry(place.shapes[row], 0)))


def longest(points: NDArray[np.float64]) -> int:
    """The number of the longest side."""
    return int(np.argmax(np.hypot(*np.diff(points, axis=0).T)))


# --- defects of shape -----------------------------------------------------------------------------------------------


def overlap(place: Town, row: int) -> None:
    other = neighbour(place, row)
    reach = shapely.buffer(place.shapes[row], 0.8, join_style="mitre")
    place.reshape(row, shapely.union(place.shapes[row], shapely.intersection(place.shapes[other], reach)))
    place.expect("coverage.overlap", row, other)


def gap(place: Town, row: int) -> None:
    other = neighbour(place, row)
    # A round end of the strip would bend the edge of a third parcel: a mismatch, where that is of another sheet.
    strip = shapely.buffer(place.shapes[other], 0.3, join_style="mitre")
    place.reshape(row, shapely.difference(place.shapes[row], strip))
    place.expect("coverage.gap", row, other)


def mismatch(place: Town, row: int) -> None:
    """A new corner on a side, 2 cm inside it: less than the boundary may be wrong, and no longer the neighbour's."""
    points = ring(place, row)
    side = longest(points)
    a, b = points[side], points[side + 1]
    across = np.array([a[1] - b[1], b[0] - a[0]]) / np.hypot(*(b - a))
    inward = (a + b) / 2 + 0.02 * across * (1 if shapely.is_ccw(shapely.linearrings(points)) else -1)
    place.reshape(row, shapely.polygons(np.insert(points, side + 1, inward, axis=0)))
    place.expect("coverage.edge_mismatch", row, *_beside(place, row))
    place.expect("coverage.gap", row, *_beside(place, row))


def _beside(place: Town, row: int) -> list[int]:
    return [int(other) for other in place.tree.query(place.shapes[row]) if other != row]


def duplicate(place: Town, row: int) -> None:
    lot = place.lot()
    first = place.add(lot, row)
    second = place.add(shapely.reverse(lot), row)
    place.expect("geometry.duplicate", first, second)
    place.expect("coverage.overlap", first, second)


def sliver(place: Town, row: int) -> None:
    place.expect("geometry.sliver", place.add(place.lot(0.02, 12.0), row))


def bow_tie(place: Town, row: int) -> None:
    x, y = next(place.free)
    points = [(x, y), (x + 8, y + 15), (x + 8, y), (x, y + 14), (x, y)]
    place.expect("geometry.invalid", place.add(shapely.polygons(points), row, area=60))


def ear(place: Town, row: int) -> None:
    """A loop of some square millimetres at a corner, as digitising leaves it; mended, it is a part of its own."""
    x, y = next(place.free)
    points = [(x, y), (x + 8, y), (x + 8, y + 15), (x - 0.005, y + 15), (x + 0.003, y + 15.004), (x, y)]
    mended = place.add(shapely.polygons(points), row, area=120)
    place.expect("geometry.repaired", mended)
    place.expect("geometry.tiny_part", mended)


def repeated(place: Town, row: int) -> None:
    points = ring(place, row)
    place.reshape(row, shapely.polygons(np.insert(points, 2, points[2], axis=0)))
    place.expect("geometry.repeated_vertex", row)


def spike(place: Town, row: int) -> None:
    x, y = next(place.free)
    points = [(x, y), (x + 8, y), (x + 8, y + 7), (x + 14, y + 7.001), (x + 8, y + 7.002), (x + 8, y + 15), (x, y + 15)]
    place.expect("geometry.spike", place.add(shapely.polygons([*points, points[0]]), row))


def crumb(place: Town, row: int) -> None:
    """A second part of 25 cm²."""
    lot = place.lot()
    x, y = shapely.get_coordinates(lot)[0]
    parts = [lot, shapely.box(x + 12, y, x + 12.05, y + 0.05)]
    place.expect("geometry.tiny_part", place.add(shapely.multipolygons(parts), row, area=120.0))


def missing_shape(place: Town, row: int) -> None:
    place.expect("geometry.missing", place.add(None, row))


def not_a_number(place: Town, row: int) -> None:
    x, y = next(place.free)
    points = np.array([(x, y), (x + 8, y), (x + 8, np.nan), (x, y + 15), (x, y)])
    with np.errstate(invalid="ignore"):
        place.expect("geometry.not_finite", place.add(shapely.polygons(points), row, area=120))


def no_ring(place: Town, row: int) -> None:
    place.expect("geometry.empty", place.add(shapely.MultiPolygon(), row, area=120))


def coarse(place: Town, row: int) -> None:
    """Drawn on whole metres."""
    corners = np.floor(shapely.get_coordinates(place.lot()))
    place.expect("geometry.precision", place.add(shapely.polygons(corners), row))


def far_corners(place: Town, row: int) -> None:
    west, south, _, _ = shapely.total_bounds(place.shapes)
    y = south + FREE * sum(rule == "geometry.vertex_spacing" for rule, _ in place.truth)
    strip = shapely.box(west - AWAY / 2, y, west - AWAY / 2 + 1_200.4, y + 2.0)
    place.expect("geometry.vertex_spacing", place.add(strip, row))


def stray(place: Town, row: int) -> None:
    place.expect("place.outside", place.add(moved(place.lot(), 900_000.0, 0.0), row))


def moved(shape: shapely.Geometry, east: float, north: float) -> shapely.Geometry:
    return shapely.transform(shape, lambda xy: xy + np.array([east, north]))


def next_commune(place: Town, row: int) -> None:
    """It bears the town's code and lies in the commune beside it."""
    place.expect("place.commune", place.add(moved(place.lot(), AWAY, 0.0), row))


def nobodys_land(place: Town, row: int) -> None:
    _, south, _, north = shapely.total_bounds(place.shapes)
    lost = place.add(moved(place.lot(), AWAY, north - south + 0.6 * AWAY), row)
    place.expect("place.nowhere", lost)
    place.expect("place.commune", lost)


def a_point(place: Town, row: int) -> None:
    place.expect("geometry.type", place.add(shapely.Point(next(place.free)), row))


def no_geometry(place: Town, row: int) -> None:
    """A ring whose last point is not its first."""
    whole = shapely.to_wkb(place.lot(), byte_order=1)
    place.expect("geometry.unreadable", place.add(whole[:-8] + struct.pack("<d", 1.0), row))


def planned(place: Town) -> shapely.Geometry:
    """Ground west of the town, in its commune, that is planned for dwelling."""
    west, south, _, north = shapely.total_bounds(place.shapes)
    return shapely.box(west - 0.95 * AWAY, south - FREE, west - 0.9 * AWAY, north + AWAY)


def against_plan(place: Town, row: int) -> None:
    """Two lots on that ground: one is used so, the other is not."""
    west, south, _, _ = shapely.bounds(planned(place))
    y = south + FREE * (1 + sum(rule == "layer.differs" for rule, _ in place.truth))
    place.add(shapely.box(west + 20.4, y + 0.3, west + 28.4, y + 15.3), row, use="ODT")
    place.expect("layer.differs", place.add(shapely.box(west + 60.4, y + 0.3, west + 68.4, y + 15.3), row, use="CLN"))


# --- defects of attributes ------------------------------------------------------------------------------------------


def attribute(*rules: str, **values: object) -> Callable[[Town, int], None]:
    """A feature beside the town that is wrong in its attributes alone, and what has to be said of it."""

    def plant(place: Town, row: int) -> None:
        wrong = place.add(place.lot(), row, **values)
        for rule in rules:
            place.expect(rule, wrong)

    return plant


def same_key(place: Town, row: int) -> None:
    first = place.add(place.lot(), row)
    number = place.beside[-1][1][place.names["number"]]
    second = place.add(place.lot(9.0), row, number=number)
    place.expect("identifier.duplicate", first, second)
    place.expect("attribute.unique", first, second)


def wrong_area(place: Town, row: int) -> None:
    place.put(row, area=round(float(shapely.area(place.shapes[row])) * 1.1 + 5, 1))
    place.expect("area.legal", row)


Defect = Callable[[Town, int], None]
IN_PLACE: dict[str, Defect] = {
    "overlap": overlap, "gap": gap, "mismatch": mismatch, "repeated": repeated, "wrong area": wrong_area,
}  # fmt: skip
"""Planted in a parcel, so each needs a site."""
BESIDE: dict[str, Defect] = {
    "duplicate": duplicate, "sliver": sliver, "bow tie": bow_tie, "ear": ear, "spike": spike, "crumb": crumb,
    "no shape": missing_shape, "no ring": no_ring, "NaN": not_a_number, "stray": stray, "coarse": coarse,
    "far corners": far_corners, "a point": a_point, "no geometry": no_geometry, "against plan": against_plan,
    "next commune": next_commune, "nobody's land": nobodys_land, "same key": same_key,
    "no commune": attribute("attribute.required", "identifier.missing", commune=None),
    "no number": attribute("identifier.missing", number=None),
    "commune of letters": attribute("attribute.pattern", commune="0007X"),
    "area of words": attribute("attribute.type", area="rộng"),
    "negative area": attribute("attribute.range", "area.legal", area=-120.0),
    "long number": attribute("attribute.length", sheet="tờ bản đồ số hai mươi mốt"),
    "unknown code": attribute("code.unknown", use="XYZ"),
    "code to review": attribute("code.review", use="SKX"),
    "old code": attribute("code.superseded", use="LUN"),
    "commune unknown": attribute("place.unknown", commune="99999"),
    "not yet": attribute("time.future", start="2199-01-01"),
    "no GeoHash": attribute("attribute.pattern", id="ailo00000000"),
    "garbled": attribute("text.garbled", address="12 Ph\N{REPLACEMENT CHARACTER} Hu\N{REPLACEMENT CHARACTER}"),
    "ends before it starts": attribute("time.order", start="2024-05-01", end="2023-05-01"),
    "id elsewhere": attribute("identifier.place", id="w7er8u0k2b3c"),
}  # fmt: skip


def plant(place: Town, each: int, avoid: Iterable[int] = ()) -> dict[str, int]:
    """Plant every kind of defect, `each` times or as often as there are sites; return how often. avoid: see `sites`."""
    free = list(sites(place, avoid))
    planted = {}
    for number, (name, defect) in enumerate(IN_PLACE.items()):
        rows = free[number :: len(IN_PLACE)][:each]
        planted[name] = len(rows)
        for row in rows:
            defect(place, row)
    like = int(np.flatnonzero(shapely.is_valid(place.shapes))[0])
    for name, defect in BESIDE.items():
        planted[name] = each
        for _ in range(each):
            defect(place, like)
    return planted
