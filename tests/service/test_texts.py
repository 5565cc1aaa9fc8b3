"""A page put together of texts that are kept is byte for byte the one that is rendered, whatever was loaded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

import pyarrow as pa
import pytest
import shapely

from sdi import pipeline
from sdi.contract.layer import Layer
from sdi.contract.query import Area, FeatureQuery, Position, Sight
from sdi.contract.registry import Registry, read_registry
from sdi.national.vn2000 import to_wgs84
from sdi.service.lanes import Lane
from sdi.service.page import Page
from sdi.service.reader import Reader
from sdi.service.texts import Texts
from sdi.settings import Settings
from sdi.store import engine, ledger, migrate
from tests.service.conftest import CORNER, SIZE, TOWN, deliver, plots

OPEN = ("key", "number", "owner_kind", "use", "legal_area", "height", "disputed", "valid_from", "changed_at", "uses")
TOWN_BOX = Area.of_box(105.0, 20.0, 107.0, 22.0)
GROUND = shapely.transform(
    shapely.box(CORNER[0], CORNER[1] - 10, CORNER[0] + 4.5 * SIZE, CORNER[1] + 500), lambda xy: to_wgs84(xy, 5897)
)
MET = {"op": "s_intersects", "args": [{"property": "geometry"}, json.loads(shapely.to_geojson(GROUND))]}
MASKED = Sight(OPEN, masks=(("owner_kind", MET), ("legal_area", MET)))
"""Two attributes are shown on a ground that plots are moved into and out of."""


@dataclass
class Land:
    """A database with plots that are delivered again and again."""

    database: str
    registry: Registry

    @property
    def layer(self) -> Layer:
        return self.registry["plots"]

    def deliver(self, table: pa.Table, shapes: list[Any]) -> None:
        deliver(self.database, self.registry, self.layer, table, shapes, [5897] * len(shapes))

    def loads(self) -> list[int]:
        with engine.connect(self.database) as connection:
            return [entry.load_id for entry in ledger.history(connection, "plots") if entry.status == "done"]

    def roll_back(self, to: int) -> None:
        with engine.connect(self.database, engine.LOADER) as connection:
            settings = Settings(database_url=self.database, layers=TOWN)
            pipeline.rollback(connection, settings, self.registry, "plots", to, steward="test")

    @asynccontextmanager
    async def readers(self, kept: int = 1) -> Any:
        """One that keeps texts, and one that does not."""
        keeping, rendering = (Reader(self.database, Settings(kept_text=each)) for each in (kept, 0))
        for reader in (keeping, rendering):
            await reader.open()
        try:
            yield keeping, rendering
        finally:
            for reader in (keeping, rendering):
                await reader.close()


@pytest.fixture
def land(new_database: Callable[[], str]) -> Land:
    registry, database = read_registry(TOWN), new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    found = Land(database, registry)
    found.deliver(*plots())
    return found


def changed(chance: Random) -> tuple[pa.Table, list[Any]]:
    """Some plots renamed, moved, revalued, ended."""
    table, shapes = plots()
    rows = table.to_pylist()
    for index, row in enumerate(rows):
        match chance.randrange(8):
            case 0:
                row["owner_kind"] = chance.choice(['"Ỷ Lan" \\ <b>', "Tổ chức", None])
            case 1:
                row |= {"legal_area": chance.random() * 1000, "valid_from": date(2020, 1, chance.randint(1, 28))}
            case 2:
                shapes[index] = shapely.affinity.translate(shapes[index], 0, SIZE * chance.randint(8, 40))
    staying = [index for index in range(len(rows)) if chance.random() < 0.95]
    return pa.Table.from_pylist([rows[index] for index in staying], table.schema), [shapes[i] for i in staying]


def asked(chance: Random) -> FeatureQuery:
    backward = chance.random() < 0.2
    place = Position((f"00004.{chance.randint(1, 5)}.4",), backward) if chance.random() < 0.4 else None
    return FeatureQuery(
        "plots",
        chance.choice([OPEN, OPEN[:3], ()]),
        ids=chance.choice([None, None, ("00004.1.1", "00004.2.2", "nope")]),
        area=chance.choice([None, TOWN_BOX]),
        sight=chance.choice([None, MASKED]),
        filters=chance.choice([(), ({"op": ">", "args": [{"property": "number"}, 9]},)]),
        sort=() if place else chance.choice([(), (("owner_kind", True),)]),
        crs=(crs := chance.choice([4326, 4326, 5897])),
        north_first=crs == 4326 and chance.random() < 0.2,
        geometry=chance.random() < 0.9,
        limit=chance.choice([1, 7, 100]),
        place=place,
    )


async def both(readers: tuple[Reader, Reader], layer: Layer, query: FeatureQuery) -> list[Page]:
    return [await reader.page(layer, query, Lane.QUICK, 100) for reader in readers]


@pytest.mark.parametrize("seed", range(3))
def test_after_any_loads_and_rollbacks_a_page_is_what_rendering_gives(land: Land, seed: int) -> None:
    async def walked() -> None:
        chance = Random(seed)
        async with land.readers() as readers:
            for _ in range(6):
                for _ in range(25):
                    query = asked(chance)
                    # As if much, or little, of what was asked for lately were kept.
                    readers[0].kept.share = chance.choice([0.0, 1.0])
                    kept, rendered = await both(readers, land.layer, query)
                    assert kept == rendered, query
                if chance.random() < 0.3:
                    await asyncio.to_thread(land.roll_back, chance.choice(land.loads()))
                else:
                    await asyncio.to_thread(land.deliver, *changed(chance))

    asyncio.run(walked())


def test_what_was_rendered_once_is_not_rendered_again(land: Land) -> None:
    async def walked() -> list[str]:
        texts: list[str] = []
        async with land.readers() as (keeping, _):
            keeping.kept.share = 1.0
            watched(keeping, texts)
            for area in (TOWN_BOX, None, TOWN_BOX):
                await keeping.page(land.layer, FeatureQuery("plots", OPEN, area=area, limit=30), Lane.QUICK)
        return texts

    texts = asyncio.run(walked())
    assert [("ST_AsGeoJSON" in text) for text in texts] == [False, True, False, False]


def test_a_page_is_rendered_as_it_is_found_while_little_of_what_is_asked_for_is_kept(land: Land) -> None:
    async def walked() -> list[str]:
        texts: list[str] = []
        async with land.readers() as (keeping, _):
            watched(keeping, texts)
            for _ in range(20):
                await keeping.page(land.layer, FeatureQuery("plots", OPEN, area=TOWN_BOX, limit=30), Lane.QUICK)
        return texts

    rendered = [("ST_AsGeoJSON" in text) for text in asyncio.run(walked())]
    assert len(rendered) == 20, "one statement a page"
    assert rendered == sorted(rendered, reverse=True)
    assert rendered[0]
    assert not rendered[-1], "what is asked for again and again is not rendered again and again"


def test_a_load_that_comes_between_finding_and_rendering_is_in_the_answer(land: Land) -> None:
    async def walked() -> list[Page]:
        table, shapes = plots()
        moved = table.set_column(table.column_names.index("use"), "use", pa.array(["DGT"] * len(shapes)))
        async with land.readers() as readers:
            loads = iter([lambda: land.deliver(moved, shapes)])
            readers[0].kept.share = 1.0
            watched(readers[0], [], lambda: next(loads, lambda: None)())
            return await both(readers, land.layer, FeatureQuery("plots", OPEN, limit=30))

    kept, rendered = asyncio.run(walked())
    assert b'"use":"DGT"' in kept.text
    assert kept == rendered


def test_a_table_in_the_place_of_another_has_texts_of_its_own(land: Land) -> None:
    """As after a restored backup, whose next loads bear the ids of ones that are lost."""

    async def walked() -> list[Page]:
        query = FeatureQuery("plots", OPEN, limit=30)
        async with land.readers() as readers:
            readers[0].kept.share = 1.0
            before = await both(readers, land.layer, query)
            with engine.connect(land.database) as connection, connection.transaction():
                connection.execute(
                    "CREATE TEMPORARY TABLE other AS SELECT * FROM testtown.plots; UPDATE other SET use = 'DGT';"
                    " TRUNCATE testtown.plots; INSERT INTO testtown.plots SELECT * FROM other"
                )
            return [*before, *await both(readers, land.layer, query)]

    before, same, kept, rendered = asyncio.run(walked())
    assert before == same
    assert kept == rendered != before


def test_texts_take_no_more_room_than_they_have() -> None:
    texts = Texts(100_000)
    for number in range(1000):
        texts.keep(number % 3, [b"1 %d" % number], [bytes(1000)])
        found = texts.found(number % 3, [b"1 %d" % number, b"1 none"])
        assert found == [bytes(1000), None]
        assert texts.found(0, [b"1 0"]) == [bytes(1000)], "what is asked for again and again stays"
    held = sum(texts.found(kind, [b"1 %d" % number]) != [None] for kind in range(3) for number in range(1000))
    assert 20 < held < 100


def watched(reader: Reader, texts: list[str], then: Callable[[], None] = lambda: None) -> None:
    """Note the statements that a reader sends, and do something after each."""
    send: Callable[..., Awaitable[Any]] = reader._rows_of

    async def noted(select: Any, layer: Layer, query: FeatureQuery, lane: Lane) -> Any:
        texts.append(select(layer, query).sql.as_string())
        rows = await send(select, layer, query, lane)
        await asyncio.to_thread(then)
        return rows

    reader._rows_of = noted  # type: ignore[method-assign]
