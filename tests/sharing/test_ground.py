"""What a rule shows on a ground is what meets it to the last digit, however a feature is told to do so."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import shapely

from sdi.access import Agency, Grant
from sdi.contract.query import Area, FeatureQuery
from sdi.service import crs
from sdi.service.rights import seen
from sdi.store import engine, features
from sdi.store.cql_place import boxes
from tests.service.conftest import CORNER, SIZE
from tests.sharing.city import City, placed

WHOLE = frozenset({"open", "agency", "restricted"})


@dataclass
class Land:
    """A layer's rows as they are stored, and a connection that may read all of them."""

    city: City
    reader: engine.Connection
    layer: str
    rows: dict[str, tuple[Any, shapely.Geometry]]
    """Id: a value that only a grant shows, and the place."""

    def found(self, area: Area | None, ground: shapely.Geometry) -> list[str]:
        """The features that a page shows to who has a grant for the ground."""
        layer = self.city.town.registry[self.layer]
        given = Grant(1, "a", self.layer, WHOLE, polygon=shapely.to_geojson(ground))
        shown = seen(Agency("a", grants=(given,)), layer)
        query = FeatureQuery(
            self.layer, shown.attributes, area=area, filters=shown.filters, sight=shown.sight, limit=99
        )
        statement = features.select_geojson(layer, query)
        return [text for (text,) in self.reader.execute(statement.sql, statement.params)]


COLUMN = {"plots": "note", "works": "cost"}


@pytest.fixture(params=["plots", "works"])
def land(city: City, request: pytest.FixtureRequest) -> Iterator[Land]:
    """Of plots everybody sees the places and a grant shows more; works are there for who has a grant only."""
    schema, table = city.town.registry[request.param].table
    with engine.connect(city.town.database, engine.STEWARD) as reader:
        stored = reader.execute(
            f"SELECT id, {COLUMN[request.param]}, ST_AsBinary(geom_wgs84) FROM {schema}.{table}"  # type: ignore[arg-type]
        ).fetchall()
        yield Land(city, reader, request.param, {row[0]: (row[1], shapely.from_wkb(bytes(row[2]))) for row in stored})


def star(chance: random.Random, x: float, y: float, corners: int) -> shapely.Polygon:
    """A crooked polygon around a point of the town, metres east and north of its corner, in degrees."""
    turns = np.sort([chance.uniform(0, 2 * np.pi) for _ in range(corners)])
    far = np.array([chance.uniform(15, 90) for _ in range(corners)])
    ring = np.column_stack([x + far * np.cos(turns), y + far * np.sin(turns)])
    shape = placed({}, shapely.Polygon(ring + CORNER))["place"]
    return shape if shape.is_valid else shapely.convex_hull(shape)


def grounds(chance: random.Random, land: Land) -> Iterator[shapely.Geometry]:
    """Crooked ones, and ones whose borders are those of plots, to the last digit."""
    places = [place for _, place in land.rows.values()]
    for corners in (4, 7, 40, 300):
        yield star(chance, chance.uniform(0, 8 * SIZE), chance.uniform(0, 5 * SIZE), corners)
    yield shapely.box(*shapely.total_bounds(chance.sample(places, 5)))
    yield shapely.box(*shapely.total_bounds(places))
    parts = [star(chance, x, 50, 9) for x in (-40.0, 190.0)]
    yield shapely.MultiPolygon([parts[0], shapely.difference(parts[1], shapely.buffer(parts[0], 1e-5))])


def areas(chance: random.Random, land: Land, ground: shapely.Geometry) -> Iterator[Area]:
    """Boxes inside, outside, across the border and on it, without width, and of another grid."""
    for _ in range(12):
        x, y = (sorted(chance.uniform(-10, most) for _ in range(2)) for most in (8 * SIZE + 10, 5 * SIZE + 10))
        corners = placed({}, shapely.LineString(np.column_stack([x, y]) + CORNER))
        yield Area.of_box(*shapely.bounds(corners["place"]))
    inside = shapely.maximum_inscribed_circle(ground)
    middle, reach = inside.coords[0], inside.length
    for share in (0.02, 0.3, 0.6):
        yield Area.of_box(*shapely.bounds(shapely.Point(middle).buffer(reach * share)))
    west, south, east, north = shapely.bounds(ground)
    yield Area.of_box(west, south, east, north)
    yield Area.of_box(middle[0], middle[1], middle[0], middle[1] + reach / 2)
    yield Area.of_box(east, south, west, north)
    yield Area.of_box(*shapely.bounds(chance.choice(list(land.rows.values()))[1]))
    yield crs.area((CORNER[0] + 30, CORNER[1] + 20, CORNER[0] + 70, CORNER[1] + 60), crs.Crs("", 5897, False))


def test_a_ground_shows_what_meets_it_whatever_is_told_by_boxes(land: Land) -> None:
    chance = random.Random(0)
    told = [0, 0, 0, 0]
    for ground in (*grounds(chance, land), *grounds(chance, land)):
        shapely.prepare(ground)
        near = boxes(shapely.to_geojson(ground))
        inside, outside = ([shapely.box(*each) for each in every] for every in (near.inside, near.outside))
        assert near.outer == tuple(shapely.bounds(ground))
        assert all(ground.contains_properly(each.buffer(1.5e-5)) for each in inside)
        assert all(ground.disjoint(each.buffer(1.5e-5)) for each in outside)
        for area in [None, *areas(chance, land, ground)]:
            shown = {feature["id"]: feature["properties"] for feature in map(json.loads, land.found(area, ground))}
            for name, (value, place) in land.rows.items():
                met = bool(shapely.intersects(ground, place))
                by_box = any(each.contains(place) for each in (inside if met else outside))
                told[2 * by_box + met] += 1
                if name in shown:
                    assert shown[name][COLUMN[land.layer]] == (value if met else None)
                    assert met or (land.layer == "plots" and shown[name]["use"] != "CQP")
                elif area is None:
                    assert not met
    assert min(told) > 40, told


def test_a_ground_without_room_for_a_box_shows_what_meets_it(land: Land) -> None:
    place = next(place for _, place in land.rows.values())
    x, y = shapely.get_coordinates(place)[0]
    needle = shapely.Polygon([(x - 1e-6, y - 1e-6), (x + 1e-6, y - 1e-6), (x, y + 1e-6)])
    for ground in (needle, shapely.Polygon()):
        assert not boxes(shapely.to_geojson(ground)).inside
        shown = [json.loads(text) for text in land.found(None, ground)]
        met = {name for name, (_, place) in land.rows.items() if place.intersects(ground)}
        told = {each["id"] for each in shown if each["properties"][COLUMN[land.layer]] is not None}
        assert told == {name for name in met if land.rows[name][0] is not None}
