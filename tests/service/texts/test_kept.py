"""A page put together of texts that are kept is byte for byte the one that is rendered, whatever was loaded."""

from __future__ import annotations

import asyncio
from random import Random

import pyarrow as pa
import pytest

from sdi.contract.query import FeatureQuery
from sdi.service.lanes import Lane
from sdi.service.page import Page
from sdi.service.texts.kept import Texts
from sdi.store import engine
from tests.service.conftest import plots
from tests.service.texts.conftest import OPEN, TOWN_BOX, Land, asked, both, changed, watched


@pytest.mark.parametrize("seed", range(3))
def test_after_any_loads_and_rollbacks_a_page_is_what_rendering_gives(land: Land, seed: int) -> None:
    async def walked() -> None:
        chance = Random(seed)
        async with land.readers() as readers:
            for _ in range(6):
                for _ in range(25):
                    query = asked(chance)
                    # As if much, or little, of what was asked for lately were kept.
                    readers[0].texts.kept.share = chance.choice([0.0, 1.0])
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
            keeping.texts.kept.share = 1.0
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
            readers[0].texts.kept.share = 1.0
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
            readers[0].texts.kept.share = 1.0
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
