"""What is called valid by arithmetic is valid for GEOS too, and most parcels are told so."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from sdi.contract.registry import read_registry
from sdi.ingest import geometry
from sdi.ingest.degrees import in_degrees
from sdi.ingest.findings import Findings
from sdi.ingest.place import Placement
from sdi.ingest.validity import seen_whole, valid, vertices_of
from sdi.settings import ROOT

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
HOLE = [(4, 4), (6, 4), (6, 6), (4, 6)]
SHAPES = {
    "square": shapely.Polygon(SQUARE),
    "the other way round": shapely.Polygon(SQUARE[::-1]),
    "one of a multipolygon": shapely.MultiPolygon([shapely.Polygon(SQUARE)]),
    "a notch that the middle sees": shapely.Polygon([(0, 0), (10, 0), (10, 10), (5, 6), (0, 10)]),
    "a corner that it does not see": shapely.Polygon([(0, 0), (20, 0), (20, 2), (2, 2), (2, 20), (0, 20)]),
    "bow-tie": shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)]),
    "twice round": shapely.Polygon(SQUARE + SQUARE),
    "a star of five lines": shapely.Polygon([(np.sin(0.8 * np.pi * n), np.cos(0.8 * np.pi * n)) for n in range(5)]),
    "with a hole": shapely.Polygon(SQUARE, [HOLE]),
    "with a hole from the corner": shapely.Polygon(SQUARE, [[(0, 0), (1, 2), (2, 1)]]),
    "with a hole outside": shapely.Polygon(SQUARE, [[(20, 20), (21, 20), (21, 21)]]),
    "the same part twice": shapely.MultiPolygon([shapely.Polygon(SQUARE), shapely.Polygon(SQUARE)]),
    "two parts": shapely.MultiPolygon([shapely.Polygon(SQUARE), shapely.box(20, 20, 30, 30)]),
    "a vertex twice": shapely.Polygon([*SQUARE[:2], SQUARE[1], *SQUARE[2:]]),
    "a spike": shapely.Polygon([(0, 0), (10, 0), (20, 0), (10, 0), (10, 10), (0, 10)]),
    "flat": shapely.Polygon([(0, 0), (10, 0), (5, 0)]),
    "a hair that is no ring": shapely.Polygon([(0, 0), (1e-200, 0), (0, 1e-200)]),
    "not finite": shapely.Polygon([(0, 0), (np.inf, 0), (0, 10)]),
    "not a number": shapely.Polygon([(0, 0), (np.nan, 0), (0, 10)]),
    "too large for a product": shapely.Polygon([(-1e200, -1e200), (1e200, -1e200), (0, 1e200)]),
    "empty": shapely.Polygon(),
    "empty of several": shapely.MultiPolygon(),
    "a line": shapely.LineString([(0, 0), (1, 1)]),
    "a line of one place": shapely.LineString([(0, 0), (0, 0)]),
    "a point": shapely.Point(1, 2),
    "nothing": None,
}


def seen(shapes: np.ndarray) -> np.ndarray:
    begin = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(shapes))])
    return seen_whole(shapely.get_coordinates(shapes), begin)


def rings(count: int, wobble: float) -> np.ndarray:
    """Rings of 3 to 12 vertices about places of a city, each at its own distance; of a large wobble many cross
    themselves."""
    chance = np.random.default_rng(5897)
    made = []
    for _ in range(count):
        corners = int(chance.integers(3, 13))
        angle = np.sort(chance.uniform(0, 2 * np.pi, corners)) + wobble * chance.normal(0, 1, corners)
        away = chance.uniform(1, 20, corners)
        middle = chance.uniform((580_000, 2_320_000), (590_000, 2_330_000))
        xy = np.round(middle + np.column_stack([away * np.cos(angle), away * np.sin(angle)]), 3)
        made.append(shapely.Polygon(xy[::-1] if chance.integers(2) else xy))
    return np.array(made, dtype=object)


def test_each_kind_of_shape_is_as_valid_as_geos_says() -> None:
    shapes = np.array(list(SHAPES.values()), dtype=object)
    said = dict(zip(SHAPES, valid(shapes).tolist(), strict=True))
    assert said == dict(zip(SHAPES, shapely.is_valid(shapes).tolist(), strict=True))
    assert sum(said.values()) not in (0, len(said))


def test_only_one_ring_seen_from_its_middle_is_sure() -> None:
    polygons = {name: shape for name, shape in SHAPES.items() if shape is not None and shape.geom_type.endswith("gon")}
    sure = seen(np.array(list(polygons.values()), dtype=object))
    assert {name for name, each in zip(polygons, sure, strict=True) if each} == {
        "square", "the other way round", "one of a multipolygon", "a notch that the middle sees",
    }  # fmt: skip


def test_nothing_at_all_is_told() -> None:
    assert valid(np.array([], dtype=object)).tolist() == []
    assert seen_whole(np.empty((0, 2)), np.array([0])).tolist() == []


@pytest.mark.parametrize("wobble", [0.0, 0.2, 1.0])
def test_rings_by_chance_are_as_valid_as_geos_says(wobble: float) -> None:
    shapes = rings(4_000, wobble)
    truth = shapely.is_valid(shapes)
    assert (valid(shapes) == truth).all()
    sure = seen(shapes)
    assert truth[sure].all()
    assert sure.any()


def test_vertices_a_hair_from_the_line_between_their_neighbours_are_not_told_wrongly() -> None:
    """In degrees a millimetre is 1e-8; where a product's sign is rounding, GEOS is asked."""
    chance = np.random.default_rng(4)
    west, south = chance.uniform((105.0, 20.0), (107.0, 22.0), (2_000, 2)).T
    step = chance.integers(-3, 4, 2_000) * np.spacing(106.0)
    shapes = shapely.polygons(np.stack([
        np.column_stack([west, south]), np.column_stack([west + 1e-9, south + 1e-9 + step]),
        np.column_stack([west + 2e-9, south + 2e-9]), np.column_stack([west + 2e-9, south]),
    ], axis=1))  # fmt: skip
    assert (valid(shapes) == shapely.is_valid(shapes)).all()
    assert shapely.is_valid(shapes)[seen(shapes)].all()


def test_what_is_shown_is_what_each_geometry_would_be_brought_to() -> None:
    """The bytes that are put together are those that a geometry in degrees would be written to."""
    city = [shapely.transform(shape, lambda xy: xy * 0.5 + (587_000, 2_326_000)) for shape in SHAPES.values() if shape]
    shapes = np.array([*city[:4], None, *city[4:7], *city[8:13], *rings(500, 0.2)], dtype=object)
    shapes = shapes[shapely.is_valid(shapes) | shapely.is_missing(shapes)]
    shapes = np.concatenate([shapes, shapely.reverse(shapes)])
    where = Placement("EPSG:5897", 5897, 5897, None)
    nothing = np.full(len(shapes), None, dtype=object)
    findings = Findings(read_registry(ROOT / "layers")["cadastral_parcels"], len(shapes))
    lone = vertices_of(shapes).lone
    for some in (np.arange(len(shapes)), np.flatnonzero(lone), np.flatnonzero(~lone)):
        master, column = shapes[some], geometry.ewkb(shapes[some], 5897)
        made = in_degrees(master, column, vertices_of(master), nothing[some], where, findings)
        each = shapely.orient_polygons(geometry.to_wgs84(master, nothing[some], where, findings))
        assert made.column.equals(geometry.ewkb(each, 4326))
        assert np.array_equal(made.middles, geometry.middles(each), equal_nan=True)
        assert (shapely.to_wkb(made.shapes(np.arange(len(some)))) == shapely.to_wkb(each)).all()
    assert not len(findings.blocks())


def test_in_degrees_outer_rings_run_counterclockwise_and_holes_clockwise() -> None:
    """RFC 7946, 3.1.6; a Shapefile has them the other way round. Lines keep their direction."""
    box, line = shapely.box(0, 0, 40, 20), shapely.LineString([(0, 0), (5, 5), (9, 0)])
    holed = box.difference(shapely.box(5, 5, 9, 9))
    made = [box, holed, shapely.MultiPolygon([box, shapely.box(50, 0, 60, 9)]), line, shapely.reverse(line)]
    shapes = shapely.transform(
        np.array([*made, *shapely.reverse(made[:3])], object), lambda xy: xy + np.array([587_000, 2_326_000])
    )
    findings = Findings(read_registry(ROOT / "layers")["cadastral_parcels"], len(shapes))
    where, nothing = Placement("EPSG:5897", 5897, 5897, None), np.full(len(shapes), None, dtype=object)
    for some in (np.arange(len(shapes)), np.array([0, 5]), np.array([1, 6])):
        master, column = shapes[some], geometry.ewkb(shapes[some], 5897)
        degrees = in_degrees(master, column, vertices_of(master), nothing[some], where, findings)
        shown = degrees.shapes(np.arange(len(some)))
        for shape, before in zip(shown, master, strict=True):
            for part in shapely.get_parts(shape):
                if isinstance(part, shapely.Polygon):
                    assert part.exterior.is_ccw
                    assert not any(hole.is_ccw for hole in part.interiors)
                else:
                    assert part.coords[0][0] < part.coords[-1][0] or before.coords[0][0] > before.coords[-1][0]
            assert shape.equals_exact(shapely.transform(before, where.to_wgs84).normalize(), 1e-9, normalize=True)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_shape_of_one_vertex_takes_nothing_from_those_beside_it(place: int) -> None:
    """A file of points in which one has several parts, or a point among polygons."""
    shapes = np.array([shapely.MultiPoint([(0, 0), (1, 1)]), shapely.Polygon(SQUARE)], dtype=object)
    with_point = np.insert(shapes, place, shapely.Point(3, 3))
    assert vertices_of(with_point).lone.tolist() == [isinstance(each, shapely.Polygon) for each in with_point]
    assert valid(with_point).all()
