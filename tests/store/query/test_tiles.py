"""Tiles of a town that is denser than a tile can draw: what is covered looks covered, what is empty looks empty."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyogrio
import pytest
import shapely

from sdi.contract.query import Sight
from sdi.store import tiles
from sdi.store.tiles import CAP, CELL, CELLS, COARSE, SIMPLIFIED, UNITS, Part, Tile
from tests.store.query.conftest import CROWDED, Store, make_layer

HALF = 20037508.342789244
TOWN = (108.0, 16.0, 108.03, 16.02)


class Drawn:
    """A tile as GDAL reads it: attributes and shapes, these in steps of the tile from its north-western corner."""

    def __init__(self, body: bytes, tile: Tile, folder: Path) -> None:
        path = folder / "tile.mvt"
        path.write_bytes(body)
        meta, _, wkb, columns = pyogrio.raw.read(path, X=tile.column, Y=tile.row, Z=tile.zoom, CLIP="NO")
        told = dict(zip(meta["fields"], columns, strict=True))
        self.fields = {name: told[name] for name in told if name != "mvt_id"}
        self.shapes = steps(shapely.from_wkb(wkb), tile)
        counts = np.asarray(self.fields.get("sdi_count", np.zeros(len(self.shapes))), float)
        self.counts = np.nan_to_num(counts).astype(int)

    @property
    def own(self) -> set[str]:
        return {name for name in self.fields.get("id", ()) if name}

    def far(self, points: Any) -> Any:
        """How far each point lies from what is drawn."""
        _, found = shapely.STRtree(self.shapes).query_nearest(points, return_distance=True, all_matches=False)
        return found


def steps(shapes: Any, tile: Tile) -> Any:
    """Shapes of EPSG:3857 in steps of a tile."""
    west, north, step = tile.metres
    return shapely.transform(shapes, lambda xy: (xy - (west, north)) * (1, -1) / step)


def middles(rows: range, tile: Tile) -> Any:
    """The middles of places of the district, in steps of a tile."""
    at = np.array(rows)
    lon, lat = 108.00004 + at % 300 * 0.0001, 16.00004 + at // 300 * 0.0001
    xy = np.column_stack([lon / 180 * HALF, np.arctanh(np.sin(np.radians(lat))) * HALF / np.pi])
    return steps(shapely.points(xy), tile)


def tile_in(store: Store, tile: Tile, folder: Path, part: Part | None = None) -> Drawn:
    statement = tiles.select_tile(tile, [part or Part(store.layer, ("name", "floors"))])
    return Drawn(bytes(store.run(statement)[0][0]), tile, folder)


def over(zoom: int, longitude: float = 108.012, latitude: float = 16.01) -> Tile:
    return Tile(zoom, tiles.row_of(latitude, zoom), tiles.column_of(longitude, zoom))


@pytest.mark.parametrize("zoom", [9, 11, 12, 13, 14, 15])
def test_no_place_of_a_dense_town_looks_empty_and_nothing_looks_built_where_nothing_is(
    district: Store, tmp_path: Path, zoom: int
) -> None:
    tile = over(zoom)
    drawn = tile_in(district, tile, tmp_path)
    frame = shapely.box(0, 0, UNITS, UNITS)
    there = middles(range(CROWDED), tile)
    there = there[shapely.contains(frame, there)]
    assert len(there)
    assert drawn.far(there).max() <= CELL, "each feature lies in a cell that is drawn, or in one beside it"
    # The other way round: what is drawn lies within a cell of the town, and as much is drawn as is covered.
    town = shapely.buffer(shapely.box(*steps(shapely.box(*edges(TOWN)), tile).bounds), 2 * CELL)
    assert shapely.contains(town, drawn.shapes).all()
    covered = 0.64 * shapely.intersection(steps(shapely.box(*edges(TOWN)), tile), frame).area
    if covered > 100 * CELL * CELL:
        assert shapely.area(shapely.intersection(drawn.shapes, frame)).sum() == pytest.approx(covered, rel=0.1)


def edges(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A box of degrees in EPSG:3857."""
    x = [each / 180 * HALF for each in box[::2]]
    y = [float(np.arctanh(np.sin(np.radians(each)))) * HALF / np.pi for each in box[1::2]]
    return x[0], y[0], x[1], y[1]


def test_what_is_too_small_is_counted_where_it_lies(district: Store, tmp_path: Path) -> None:
    tile = over(14)
    drawn = tile_in(district, tile, tmp_path)
    assert drawn.own == set(), "0.00008 degrees are 15 steps"
    assert len(drawn.counts[drawn.counts > 0]) <= CELLS**2
    inside = shapely.contains(shapely.box(0, 0, UNITS, UNITS), middles(range(CROWDED), tile))
    # Those of the buffer are counted in the tile that they lie in.
    assert drawn.counts.sum() == inside.sum() > 1000
    far = tile_in(district, over(11), tmp_path)
    assert far.own == set()
    assert far.counts.sum() == CROWDED, "the town lies in one tile"


SMALL_AMONG = """
INSERT INTO sites.places (id, name, geom, geom_wgs84, row_hash, load_id)
SELECT to_char(i, 'FM000000'), 'Nhà ' || i, ST_SetSRID(geom, 5899), ST_SetSRID(geom, 4326), '', 1
FROM generate_series(0, %s - 1) AS i,
     LATERAL (SELECT 150 * %s AS width, %s AS west, %s AS south) AS part,
     LATERAL (SELECT west + (i %% 150) * width / 150 AS x, south + (i / 150) * width / 150 AS y,
                     width / 150 * CASE WHEN i %% 21 = 0 THEN 0.6 ELSE 0.9 END AS size) AS place,
     LATERAL (SELECT ST_Multi(ST_MakeEnvelope(x, y, x + size, y + size)) AS geom) AS square
"""
"""One of 21 is smaller than the others."""


def test_where_there_are_too_many_it_is_the_smallest_that_are_drawn_together(
    district: Store, make_store: Any, tmp_path: Path
) -> None:
    store, many, tile = make_store(district.layer, []), CAP // 20 * 21, over(COARSE)
    west, south, east, north = tile.box()
    apart = 0.9 * (north - south) / 150
    at = [west + 0.04 * (east - west), south + 0.04 * (north - south)]
    store.connection.execute(SMALL_AMONG, [many, apart, *at])
    drawn = tile_in(store, tile, tmp_path)
    assert drawn.own == {f"{number:06}" for number in range(many) if number % 21}
    assert drawn.counts.sum() == many - CAP


@pytest.mark.parametrize("zoom", [COARSE, COARSE + 1, COARSE + 3])
@pytest.mark.parametrize("sight", [None, Sight(("name", "floors"), places=((None, "generalised", 3.0),))])
def test_without_a_crowd_each_is_drawn_as_it_is_in_one(
    district: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoom: int, sight: Sight | None
) -> None:
    part = Part(district.layer, ("name", "floors"), sight=sight)
    every = tile_in(district, over(zoom), tmp_path, part)
    monkeypatch.setattr(tiles, "CAP", len(every.shapes) * 2 // 3)
    crowd = tile_in(district, over(zoom), tmp_path, part)
    own = crowd.counts == 0
    # A few that are found lie beyond the buffer, and are drawn in neither.
    assert 30 < 0.8 * tiles.CAP < own.sum() <= tiles.CAP
    assert (every.shapes[: own.sum()] == crowd.shapes[own]).all(), "in the same order, the largest first"
    assert set(every.fields) | {"sdi_count"} == set(crowd.fields)
    for name, values in every.fields.items():
        assert values[: own.sum()].tolist() == crowd.fields[name][own].tolist(), name


def test_a_crowd_that_is_hidden_changes_no_byte(district: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    low = {"op": "<", "args": [{"property": "floors"}, 4]}
    for part in (
        Part(district.layer, ("name", "floors"), (low,)),
        Part(district.layer, ("name", "floors"), sight=Sight(("name", "floors"), rows=low)),
        Part(district.layer, ("name", "floors"), sight=Sight(("name", "floors"), low, places=((None, "centroid", 0),))),
    ):
        made = []
        # Of the 3,000 places of the tile 1,800 are seen.
        for room in (CAP, 2500):
            monkeypatch.setattr(tiles, "CAP", room)
            ((body,),) = district.run(tiles.select_tile(over(COARSE + 1), [part]))
            made.append(bytes(body))
        assert len(made[0]) > 10_000
        assert made[0] == made[1]


def test_what_no_step_of_a_far_tile_tells_apart_is_not_drawn(district: Store, make_store: Any, tmp_path: Path) -> None:
    # Teeth of a ring, 0.8 steps high a zoom below SIMPLIFIED, that is 1.6 steps where shapes are drawn as they are.
    far = over(SIMPLIFIED - 1, 108.01, 16.01)
    west, _, east, _ = far.box()
    step = (east - west) / UNITS
    teeth = [(108.0 + i * 4 * step, 16.0 + (i % 2) * 0.8 * step) for i in range(400)]
    ring = shapely.MultiPolygon([shapely.Polygon([*teeth, (teeth[-1][0], 16.01), (108.0, 16.01)])])
    store = make_store(district.layer, [])
    store.connection.execute(
        "INSERT INTO sites.places (id, name, geom, geom_wgs84, row_hash, load_id)"
        " SELECT 'a', 'a', ST_SetSRID(g, 5899), ST_SetSRID(g, 4326), '', 1 FROM ST_GeomFromText(%s) AS g",
        [ring.wkt],
    )
    corners = {
        tile.zoom: shapely.get_num_coordinates(tile_in(store, tile, tmp_path).shapes).sum()
        for tile in (far, over(SIMPLIFIED, 108.001, 16.001))
    }
    assert corners[far.zoom] < 10
    assert corners[SIMPLIFIED] > 100


def test_where_nobody_crowds_a_near_tile_its_place_is_counted_and_searched_once(
    district: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile, part = over(COARSE), Part(district.layer, ("name", "floors"))
    there = "SELECT count(*) FROM sites.places WHERE geom_wgs84 && ST_MakeEnvelope(%s, %s, %s, %s, 4326)"
    ((found,),) = district.connection.execute(there, tile.box(tiles.BUFFER)).fetchall()
    for room, times in ((CAP, 2), (found, 2), (found - 1, 3)):
        monkeypatch.setattr(tiles, "CAP", room)
        plan = district.explain(tiles.select_tile(tile, [part]))
        looked_for = [line for line in plan.splitlines() if ' on places "' in line]
        assert ["never executed" in line for line in looked_for].count(False) == times, (room, plan)


@pytest.mark.parametrize("zoom", [12, 13, 14])
def test_neighbouring_tiles_count_each_feature_once(district: Store, tmp_path: Path, zoom: int) -> None:
    west, south, east, north = TOWN
    rows = range(tiles.row_of(north, zoom), tiles.row_of(south, zoom) + 1)
    columns = range(tiles.column_of(west, zoom), tiles.column_of(east, zoom) + 1)
    found = [tile_in(district, Tile(zoom, row, column), tmp_path) for row in rows for column in columns]
    own = set().union(*(each.own for each in found))
    counted = sum(each.counts.sum() for each in found)
    # A tile draws its largest features as themselves: at an edge one may be itself in a tile and counted in the next.
    assert counted + len(own) >= CROWDED
    assert counted + len(own) <= CROWDED * 1.02


def test_a_square_has_the_class_of_most_of_its_ground_and_nothing_of_one_feature(
    district: Store, tmp_path: Path
) -> None:
    coloured = make_layer(style={"classify": "floors"})
    drawn = tile_in(district, over(12), tmp_path, Part(coloured, ("name", "floors")))
    assert set(drawn.fields) == {"floors", "sdi_count"}
    assert set(drawn.fields["floors"]) <= set(range(7))
    # Where each feature has another class, all of them are met somewhere.
    assert len(Counter(drawn.fields["floors"])) > 1
    plain = tile_in(district, over(12), tmp_path)
    assert set(plain.fields) == {"sdi_count"}


def test_what_does_not_exist_for_who_asks_is_in_no_square(district: Store, tmp_path: Path) -> None:
    low = {"op": "<", "args": [{"property": "floors"}, 2]}
    seen = sum(number % 7 < 2 for number in range(CROWDED))
    filtered = tile_in(district, over(11), tmp_path, Part(district.layer, ("name",), (low,)))
    assert filtered.counts.sum() == seen
    sight = Sight(("name",), rows=low)
    assert tile_in(district, over(11), tmp_path, Part(district.layer, ("name",), sight=sight)).counts.sum() == seen


@pytest.mark.parametrize("kind", ["Point", "LineString"])
def test_of_points_and_lines_one_stands_in_each_cell(
    district: Store, make_store: Any, tmp_path: Path, kind: str
) -> None:
    layer = make_layer(geometry={"type": kind})
    store = make_store(layer, [])
    shape = "ST_Centroid(geom_wgs84)"
    if kind == "LineString":
        shape = "ST_MakeLine(ST_StartPoint(ring), ST_PointN(ring, 3))"
        shape = f"(SELECT {shape} FROM (SELECT ST_ExteriorRing(ST_GeometryN(geom_wgs84, 1)) AS ring) AS r)"
    copy_places(district, store, shape)
    tile = over(13)
    drawn = tile_in(store, tile, tmp_path)
    frame = shapely.box(0, 0, UNITS, UNITS)
    there = middles(range(CROWDED), tile)
    there = there[shapely.contains(frame, there)]
    assert len(drawn.shapes) < len(there)
    assert len(set(drawn.fields["id"])) == len(drawn.shapes)
    assert drawn.far(there).max() <= CELL * 2**0.5


def copy_places(district: Store, store: Store, shape: str) -> None:
    with psycopg.connect(district.connection.info.dsn) as source, source.cursor() as read:
        query = f"COPY (SELECT id, name, floors, ST_AsHEXEWKB(ST_SetSRID({shape}, 5899)), ST_AsHEXEWKB({shape}), '', 1"
        into = "COPY sites.places (id, name, floors, geom, geom_wgs84, row_hash, load_id) FROM STDIN"
        taken = f"{query} FROM sites.places) TO STDOUT".encode()
        with read.copy(taken) as rows, store.connection.cursor() as write, write.copy(into) as copied:
            for row in rows:
                copied.write(row)
    store.connection.execute("ANALYZE sites.places")
