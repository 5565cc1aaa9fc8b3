"""The grammar of filters continued: places, meant by shapely on the stored CRS84 geometry, and lists, meant by sets.

All corners lie on a lattice of 1/64 degree, which binary numbers hold exactly: what touches, touches, on both sides.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import shapely
from hypothesis import strategies as st

from tests.store.query.cql_grammar import ATOM, PREDICATE, Filter, Row, call, denied_tree, strictly

WEST, SOUTH, STEP = 108.0, 16.0, 1 / 64


def at(wkt: str) -> shapely.Geometry:
    """A geometry by its steps on the lattice."""
    return shapely.transform(shapely.from_wkt(wkt), lambda xy: xy * STEP + (WEST, SOUTH))


AREAS = [
    at(f"MULTIPOLYGON ({rings})")
    for rings in (
        "((0 0, 2 0, 2 2, 0 2, 0 0))",
        "((2 0, 4 0, 4 2, 2 2, 2 0))",
        "((1 1, 3 1, 3 3, 1 3, 1 1))",
        "((0 0, 8 0, 8 8, 0 8, 0 0), (2 2, 6 2, 6 6, 2 6, 2 2))",
        "((3 3, 5 3, 5 5, 3 5, 3 3))",
        "((2 2, 6 2, 6 6, 2 6, 2 2))",
        "((0 0, 1 0, 1 1, 0 1, 0 0)), ((4 4, 5 4, 5 5, 4 5, 4 4))",
        "((0 0, 2 0, 2 1, 1 1, 1 2, 0 2, 0 0))",
        "((7 7, 9 7, 8 9, 7 7))",
        "((0 0, 2 0, 2 2, 1 2, 0 2, 0 0))",
    )
]
"""What rows have: neighbours, a ring and its hole, parts, one twice with another number of corners."""
OTHERS = [
    at(wkt)
    for wkt in (
        "POINT (0 0)", "POINT (1 1)", "POINT (4 4)", "POINT (2 1)", "POINT (20 20)",
        "MULTIPOINT (0 0, 4 4)", "MULTIPOINT (1 1, 1.5 1.5)",
        "LINESTRING (0 1, 8 1)", "LINESTRING (0 0, 2 0)", "LINESTRING (1 -1, 1 9)", "LINESTRING (0 0, 8 8)",
        "MULTILINESTRING ((0 1, 2 1), (4 1, 8 1))",
        "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))", "POLYGON ((0.5 0.5, 1.5 0.5, 1 1.5, 0.5 0.5))",
        "POLYGON ((-1 -1, 9 -1, 9 9, -1 9, -1 -1), (2 2, 6 2, 6 6, 2 6, 2 2))",
    )
]  # fmt: skip
CODES = ["ODT", "ONT", "CLN", "Đất ở", "a'b", ""]
LISTS: list[list[str] | None] = [
    None,
    [],
    ["ODT"],
    ["ONT", "ODT"],
    ["ODT", "ODT"],
    ["CLN", "ONT", "Đất ở"],
    ["", "a'b"],
]


def place_of(number: int) -> shapely.Geometry | None:
    """The place of a row; every eleventh has none."""
    return None if number % 11 == 10 else AREAS[number % len(AREAS)]


class Place(NamedTuple):
    text: str
    tree: Any
    shape: shapely.Geometry | None
    """None: the row's."""


def literal(shape: shapely.Geometry) -> Place:
    return Place(shapely.to_wkt(shape, rounding_precision=12), json.loads(shapely.to_geojson(shape)), shape)


def box(corner: tuple[int, int], size: tuple[int, int]) -> Place:
    (x, y), (width, height) = corner, size
    shape = at(f"POLYGON (({x} {y}, {x + width} {y}, {x + width} {y + height}, {x} {y + height}, {x} {y}))")
    bounds = list(shapely.bounds(shape))
    return Place(f"BBOX({', '.join(map(repr, map(float, bounds)))})", {"bbox": [*map(float, bounds)]}, shape)


steps, sizes = st.integers(-1, 8), st.integers(1, 4)
places = st.one_of(
    st.just(Place("geometry", {"property": "geometry"}, None)),
    st.sampled_from(AREAS + OTHERS).map(literal),
    st.builds(box, st.tuples(steps, steps), st.tuples(sizes, sizes)),
)
PREDICATES = {
    "S_CONTAINS": shapely.contains, "S_CROSSES": shapely.crosses, "S_DISJOINT": shapely.disjoint,
    "S_EQUALS": shapely.equals, "S_INTERSECTS": shapely.intersects, "S_OVERLAPS": shapely.overlaps,
    "S_TOUCHES": shapely.touches, "S_WITHIN": shapely.within,
}  # fmt: skip


def located(name: str, left: Place, right: Place) -> Filter:
    def meaning(row: Row) -> Any:
        shapes = [row["geometry"] if place.shape is None else place.shape for place in (left, right)]
        return strictly(lambda a, b: bool(PREDICATES[name](a, b)))(*shapes)

    return Filter(f"{name}({left.text}, {right.text})", ATOM, meaning, call(name.lower(), left.tree, right.tree))


def placeless(negated: bool) -> Filter:
    tree = denied_tree(call("isNull", {"property": "geometry"}), negated)
    text = f"geometry IS {'NOT ' * negated}NULL"
    return Filter(text, PREDICATE, lambda row: (row["geometry"] is None) != negated, tree)


SETS = {
    "A_CONTAINS": lambda row, asked: row >= asked,
    "A_CONTAINEDBY": lambda row, asked: row <= asked,
    "A_EQUALS": lambda row, asked: row == asked,
    "A_OVERLAPS": lambda row, asked: bool(row & asked),
}


def listed(name: str, asked: list[str]) -> Filter:
    quoted = ", ".join("'" + code.replace("'", "''") + "'" for code in asked)
    op = {"A_CONTAINEDBY": "a_containedBy"}.get(name, name.lower())

    def meaning(row: Row) -> Any:
        return None if row["uses"] is None else SETS[name](set(row["uses"]), set(asked))

    return Filter(f"{name}(uses, ({quoted}))", ATOM, meaning, call(op, {"property": "uses"}, asked))


predicates = st.one_of(
    st.builds(located, st.sampled_from(sorted(PREDICATES)), places, places),
    st.builds(located, st.sampled_from(sorted(PREDICATES)), st.just(Place("geometry", {"property": "geometry"}, None)),
              places),
    st.builds(placeless, st.booleans()),
    st.builds(listed, st.sampled_from(sorted(SETS)), st.lists(st.sampled_from(CODES), min_size=1, max_size=3)),
)  # fmt: skip
