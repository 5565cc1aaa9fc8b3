"""Kept tiles: after any load no tile is old, tiles of other places are not made again, and a tile is made once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from fastapi import FastAPI

from sdi.access import PUBLIC
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry, read_registry
from sdi.national import vn2000
from sdi.pipeline.history import rollback
from sdi.service.tiles.cache import ENTRY, Kept
from sdi.service.tiles.packing import Tiles
from sdi.service.tiles.tileset import Shown
from sdi.settings import Settings
from sdi.store import engine, ledger, migrate, tiles
from sdi.store.tiles import BUFFER, Tile, column_of, row_of
from tests.service.conftest import CORNER, SIZE, TOWN, Answer, Town, deliver, plots, served, works
from tests.service.tiles.conftest import address

ROWS, COLUMNS = 24, 40
ZOOMS = (18, 19)
LAYERS = ("plots", "plot_card")


@dataclass
class Plot:
    east: float
    north: float
    height: float
    use: str

    @property
    def shape(self) -> shapely.MultiPolygon:
        x, y = CORNER[0] + self.east, CORNER[1] + self.north
        return shapely.MultiPolygon([shapely.box(x, y, x + SIZE, y + SIZE)])

    @property
    def box(self) -> tuple[float, float, float, float]:
        moved = shapely.transform(self.shape, lambda xy: vn2000.to_wgs84(xy, 5897))
        west, south, east, north = moved.bounds
        return west, south, east, north


@dataclass
class City:
    """A town of some thousand plots, served by two workers."""

    database: str
    registry: Registry
    workers: list[tuple[Town, FastAPI]]
    plots: dict[str, Plot] = field(default_factory=dict)

    def load(self) -> None:
        model, _ = plots()
        count = len(self.plots)
        table = model.take([0] * count)
        told = {
            "id": pa.array(self.plots), "key": pa.array(self.plots),
            "height": pa.array([each.height for each in self.plots.values()]),
            "use": pa.array([each.use for each in self.plots.values()]),
        }  # fmt: skip
        for name, column in told.items():
            table = table.set_column(table.column_names.index(name), name, column)
        shapes = [each.shape for each in self.plots.values()]
        deliver(self.database, self.registry, self.registry["plots"], table, shapes, [5897] * count)

    def settle(self) -> None:
        """Wait until every worker has seen the last load."""
        with engine.connect(self.database) as connection:
            version = ledger.version(connection)
        for town, app in self.workers:
            while app.state.service.publications.latest.version != version:
                town.ask("/conformance")

    def tiles(self) -> list[Tile]:
        found = []
        for zoom in ZOOMS:
            corners = np.array([CORNER, (CORNER[0] + COLUMNS * SIZE, CORNER[1] + ROWS * SIZE)])
            (west, south), (east, north) = vn2000.to_wgs84(corners, 5897)
            rows = range(row_of(north, zoom), row_of(south, zoom) + 1)
            columns = range(column_of(west, zoom), column_of(east, zoom) + 1)
            found += [Tile(zoom, row, column) for row in rows for column in columns]
        return found

    def fresh(self, layers: list[Layer], tile: Tile) -> bytes:
        """A tile made now, past every cache."""
        with engine.connect(self.database, engine.READER) as connection:
            known = ledger.published(connection)
            parts = [Shown(layer, known[layer.id]).part(PUBLIC, tile.zoom) for layer in layers]
            statement = tiles.select_tile(tile, parts)
            row = connection.execute(statement.sql, statement.params).fetchone()
            assert row is not None
            return bytes(row[0])


@pytest.fixture(scope="module")
def city(new_database: Callable[[], str]) -> Iterator[City]:
    registry = read_registry(TOWN)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    table, shapes = works()
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    apps: list[FastAPI] = []
    with served(database, registry, also=apps.append) as one, served(database, registry, also=apps.append) as two:
        found = City(database, registry, [(one, apps[0]), (two, apps[1])])
        for row in range(ROWS):
            for column in range(COLUMNS):
                use = "CQP" if (row + column) % 11 == 10 else "ODT"
                found.plots[f"{row}.{column}"] = Plot(column * SIZE, row * SIZE, 3.0, use)
        found.load()
        found.settle()
        yield found


def overlaps(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] <= other[2] and one[2] >= other[0] and one[1] <= other[3] and one[3] >= other[1]


def edit(city: City, dice: random.Random) -> list[tuple[float, float, float, float]]:
    """Change four plots at random; return the boxes of what they were and are."""
    chosen = dice.sample(sorted(city.plots), 4)
    before = [city.plots[name].box for name in chosen]
    higher, moved, ended, hidden = (city.plots[name] for name in chosen)
    higher.height += 1
    moved.east += dice.uniform(-300, 300)
    hidden.use = "ODT" if hidden.use == "CQP" else "CQP"
    del city.plots[chosen[2]]
    came = f"new {dice.random()}"
    city.plots[came] = Plot(ended.north, ended.east % (ROWS * SIZE), 9.0, "ODT")
    return [*before, *(city.plots[name].box for name in (chosen[0], chosen[1], chosen[3], came))]


def ask_all(city: City, asked: list[Tile]) -> dict[tuple[int, Tile], Answer]:
    answers = {}
    for number, (town, _) in enumerate(city.workers):
        for tile in asked:
            answers[number, tile] = answer = town.ask(f"{address(tile)}?collections={','.join(LAYERS)}")
            assert answer.status in (200, 204)
    return answers


def take_back(city: City, folder: Path) -> None:
    """Roll the plots back by one load."""
    with engine.connect(city.database) as connection:
        _, before = ledger.history(connection, "plots", 2)
        settings = Settings(database_url=city.database, data=folder)
        assert rollback(connection, settings, city.registry, "plots", before.load_id, steward="test").load.updated


def test_after_random_edits_no_tile_is_old_and_those_of_other_places_are_kept(city: City, tmp_path: Path) -> None:
    dice, asked = random.Random(6960), city.tiles()
    layers = [city.registry[name] for name in LAYERS]
    held = ask_all(city, asked)
    changed, former = list[tuple[float, float, float, float]](), dict[str, Plot]()
    unrelated, kept = 0, 0
    for turn in range(5):
        if turn == 3:
            take_back(city, tmp_path)
            city.plots = former  # in the same places as the load before
        else:
            former = {name: Plot(**vars(each)) for name, each in city.plots.items()}
            changed = edit(city, dice)
            city.load()
        city.settle()
        elsewhere = [tile for tile in asked if not any(overlaps(tile.box(BUFFER), box) for box in changed)]
        assert len(elsewhere) > len(asked) / 2
        made = sum(app.state.tiles.made for _, app in city.workers)
        answers = ask_all(city, elsewhere)
        unrelated, kept = unrelated + len(answers), kept + len(answers) + made
        kept -= sum(app.state.tiles.made for _, app in city.workers)
        answers |= ask_all(city, [tile for tile in asked if tile not in elsewhere])
        for tile in asked:
            fresh = city.fresh(layers, tile)
            for number in range(len(city.workers)):
                answer, before = answers[number, tile], held[number, tile]
                assert answer.body == fresh, (turn, number, tile)
                assert answer.body == before.body or answer.headers["ETag"] != before.headers["ETag"]
        assert any(answer.body != held[key].body for key, answer in answers.items())
        held = answers
    assert kept >= 0.95 * unrelated, (kept, unrelated)


def test_who_holds_a_tile_is_answered_without_making_it(city: City) -> None:
    town, app = city.workers[0]
    path = address(city.tiles()[-1], "plots")
    tag = town.ask(path).headers["ETag"]
    made, found = app.state.tiles.made, app.state.tiles.found
    assert town.ask(path).headers["ETag"] == tag
    assert town.ask(path, If_None_Match=tag).status == 304
    assert (app.state.tiles.made, app.state.tiles.found) == (made, found + 2)


def test_of_a_layer_that_everybody_sees_whole_who_holds_a_tile_is_answered_without_having_it(city: City) -> None:
    """Where something is hidden only the tile's bytes may tell it from another, so it has to be there."""
    town, app = city.workers[0]
    path = address(city.tiles()[-1], "works")
    tag = town.ask(path).headers["ETag"]
    app.state.tiles = Tiles()
    assert town.ask(path, If_None_Match=tag).status == 304
    assert (app.state.tiles.made, app.state.tiles.found) == (0, 0)


def test_the_same_file_again_keeps_every_tile(city: City) -> None:
    town, app = city.workers[0]
    paths = [address(tile, "plots") for tile in city.tiles()[:20]]
    held = [town.ask(path).headers["ETag"] for path in paths]
    made = app.state.tiles.made
    city.load()
    city.settle()
    assert [town.ask(path).headers["ETag"] for path in paths] == held
    assert app.state.tiles.made == made


def test_a_tile_is_made_once_for_all_who_ask_at_a_time() -> None:
    async def run() -> tuple[list[bytes], int]:
        tiles, go = Kept[bytes](1000), asyncio.Event()

        async def make() -> bytes:
            await go.wait()
            return b"tile"

        asking = [asyncio.ensure_future(tiles.of("tag", make)) for _ in range(5)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.wait({asking[0]})
        go.set()
        return await asyncio.gather(*asking[1:]), tiles.made

    assert asyncio.run(run()) == ([b"tile"] * 4, 1)


def test_a_tile_that_nobody_waits_for_any_more_is_given_up() -> None:
    async def run() -> list[str]:
        tiles, told = Kept[bytes](1000), list[str]()

        async def make() -> bytes:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("given up")
                raise
            return b""

        asking = [asyncio.ensure_future(tiles.of("tag", make)) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for each in asking:
            each.cancel()
        await asyncio.wait(asking)
        assert await tiles.of("tag", _made) == b"made"
        return told

    assert asyncio.run(run()) == ["given up"]


async def _made() -> bytes:
    return b"made"


def test_a_fault_while_a_tile_is_made_is_told_to_each_and_not_kept() -> None:
    async def run() -> list[Any]:
        tiles = Kept[bytes](1000)

        async def fail() -> bytes:
            await asyncio.sleep(0)
            raise ValueError("no")

        faults = await asyncio.gather(*(tiles.of("tag", fail) for _ in range(3)), return_exceptions=True)
        return [*map(str, faults), await tiles.of("tag", _made)]

    assert asyncio.run(run()) == ["no", "no", "no", b"made"]


def test_what_was_asked_least_lately_makes_room() -> None:
    async def run() -> tuple[int, int]:
        tiles = Kept[bytes](room=3 * (10 + ENTRY))

        async def make() -> bytes:
            return b"0123456789"

        for tag in ("a", "b", "c", "a", "d", "a", "c", "d"):
            await tiles.of(tag, make)
        assert tiles.taken == 3 * (10 + ENTRY)
        await tiles.of("b", make)
        return tiles.made, tiles.found

    assert asyncio.run(run()) == (5, 4)
