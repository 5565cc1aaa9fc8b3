"""Features that are asked for at the same time, found by one statement: each is told what it would be told alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from sdi.access import Itself
from sdi.contract.query import FeatureQuery
from sdi.errors import StoreError
from sdi.service.audit.reads import OPENED, Read
from sdi.service.lanes import Lane
from sdi.service.reader import Reader
from sdi.service.together import MOST, RUNNING, Line
from sdi.service.wall.turns import CALLER
from sdi.settings import Settings
from sdi.store import engine, forms
from sdi.store.statement import Statement
from tests.service.conftest import Town
from tests.service.test_lanes import until_nobody_waits

ASKED = FeatureQuery("plots", ("number",), ids=())
ABSENT = ["nowhere", "two\nlines", 'a,"b}', "back\\slash", "00004.1.1 "]


class Counting(Reader):
    """Notes how many statements it has sent."""

    statements = 0

    async def _fetched(self, statement: Statement, lane: Lane) -> list[tuple[Any, ...]]:
        self.statements += 1
        return await super()._fetched(statement, lane)


@asynccontextmanager
async def opened(town: Town) -> Any:
    own = Counting(town.database, Settings(pool_size=4, kept_text=0))
    await own.open()
    try:
        yield own
    finally:
        await own.close()


def ids_of(town: Town) -> list[str]:
    return [each["id"] for each in town.get("/collections/plots/items?limit=20")["features"]]


async def item(own: Reader, town: Town, name: str, query: FeatureQuery = ASKED) -> str | None:
    layer = town.registry["plots"]
    return await own.item((query.attributes, Itself(layer)), layer, lambda: query, forms.geojson, name)


def test_each_is_told_what_it_would_be_told_alone(town: Town) -> None:
    names = [*ids_of(town), *ABSENT]
    names += names[:3]
    more = replace(ASKED, attributes=("number", "use"))

    async def told() -> Any:
        async with opened(town) as own:
            alone = [await item(own, town, name) for name in names]
            before = own.statements
            at_once = await asyncio.gather(*(item(own, town, name) for name in names))
            sent = own.statements - before
            mixed = await asyncio.gather(*(item(own, town, name, query) for name in names for query in (ASKED, more)))
            return alone, before, at_once, sent, mixed

    alone, before, at_once, sent, mixed = asyncio.run(told())
    assert [each and json.loads(each)["id"] for each in alone] == [None if name in ABSENT else name for name in names]
    assert (before, sent) == (len(names), RUNNING + 1), "the first each alone, all others together"
    assert at_once == alone == mixed[::2]
    assert {len(json.loads(each)["properties"]) for each in mixed[1::2] if each} == {2}


def test_the_trail_is_told_of_each_its_own(town: Town) -> None:
    names = ids_of(town)

    async def asked(own: Reader, name: str) -> list[Read]:
        opened: list[Read] = []
        OPENED.set(opened)
        await item(own, town, name)
        return opened

    async def told() -> list[list[Read]]:
        async with opened(town) as own:
            return await asyncio.gather(*(asyncio.create_task(asked(own, name)) for name in [*names, *ABSENT]))

    reads = [[json.loads(each.text) for each in found] for found in asyncio.run(told())]
    assert reads[: len(names)] == [
        [{"layer": "plots", "fields": ["number"], "count": 1, "ids": [name]}] for name in names
    ]
    assert reads[len(names) :] == [[] for _ in ABSENT]


def test_what_nobody_waits_for_any_more_is_let_go_of_and_who_stays_is_answered(town: Town) -> None:
    names = ids_of(town)[:4]

    async def told(connection: engine.Connection) -> tuple[bool, Any]:
        async with opened(town) as own:
            with connection.transaction():
                connection.execute("LOCK TABLE testtown.plots")
                asking = [asyncio.create_task(item(own, town, name)) for name in names]
                await asyncio.sleep(0.5)
                assert own.statements == RUNNING + 1
                for each in asking:
                    each.cancel()
                await asyncio.wait(asking)
                gone = await asyncio.to_thread(until_nobody_waits, connection)
                asking = [asyncio.create_task(item(own, town, name)) for name in names]
                await asyncio.sleep(0.5)
                for each in asking[:-1]:
                    each.cancel()
                await asyncio.wait(asking, timeout=0.1)
            return gone, await asking[-1]

    with engine.connect(town.database) as connection:
        gone, text = asyncio.run(told(connection))
    assert gone, "a statement that was given up goes on in the database"
    assert json.loads(text)["id"] == names[-1]


class Held:
    """Answers when it is let to; notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.callers: list[str] = []
        self.may = asyncio.Event()

    async def texts(self, names: tuple[str, ...]) -> Mapping[str, bytes]:
        self.asked.append(names)
        self.callers.append(CALLER.get())
        if "stuck" in names:
            await self.may.wait()
        if "wrong" in names:
            raise StoreError("Away.")
        return {name: name.encode() for name in names}


async def _stuck(line: Line) -> list[asyncio.Task[bytes | None]]:
    """As many that wait as there are statements at a time."""
    asking = [asyncio.create_task(line.text("stuck")) for _ in range(RUNNING)]
    await asyncio.sleep(0)
    return asking


def run(told: Callable[[Held, Line], Awaitable[None]]) -> None:
    async def begun() -> None:
        held = Held()
        await told(held, Line((), held.texts))

    asyncio.run(begun())


def test_one_that_takes_long_holds_nobody_up() -> None:
    async def told(held: Held, line: Line) -> None:
        stuck = await _stuck(line)
        assert await asyncio.gather(line.text("a"), line.text("b")) == [b"a", b"b"]
        assert held.asked == [("stuck",)] * RUNNING + [("a", "b")]
        assert not any(each.done() for each in stuck)
        held.may.set()
        assert await asyncio.gather(*stuck) == [b"stuck"] * RUNNING

    run(told)


def test_nobody_is_told_what_was_asked_before_them() -> None:
    async def told(held: Held, line: Line) -> None:
        asking = [*await _stuck(line), *await _stuck(line)]
        held.may.set()
        assert await asyncio.gather(*asking) == [b"stuck"] * 2 * RUNNING
        assert held.asked == [("stuck",)] * (RUNNING + 1)

    run(told)


def test_what_goes_wrong_is_told_to_all_who_are_concerned_and_to_nobody_else() -> None:
    async def told(held: Held, line: Line) -> None:
        stuck = await _stuck(line)
        others = await asyncio.gather(line.text("wrong"), line.text("a"), return_exceptions=True)
        assert [type(each) for each in others] == [StoreError, StoreError]
        held.may.set()
        assert await asyncio.gather(*stuck) == [b"stuck"] * RUNNING
        with pytest.raises(StoreError):
            await line.text("wrong")
        assert await line.text("a") == b"a"

    run(told)


def test_who_gives_up_at_once_leaves_nothing_behind() -> None:
    async def told(held: Held, line: Line) -> None:
        for _ in range(3):
            stuck = await _stuck(line)
            waiting = [asyncio.create_task(line.text("a")) for _ in range(3)]
            await asyncio.sleep(0)
            stuck[0].cancel()
            await asyncio.sleep(0)
            for each in (*stuck, *waiting):
                each.cancel()
            await asyncio.wait([*stuck, *waiting])
        held.asked.clear()
        assert await asyncio.gather(*map(line.text, "abc")) == [b"a", b"b", b"c"]
        assert held.asked == [("a",), ("b",), ("c",)], "who went before is still counted"

    run(told)


def test_who_waits_is_known_to_the_lanes_and_nobody_else() -> None:
    """A caller that is none would be another one for who has had their share of slow work."""

    async def asked(line: Line, caller: str, name: str) -> None:
        CALLER.set(caller)
        await line.text(name)

    async def told(held: Held, line: Line) -> None:
        stuck = [asyncio.create_task(asked(line, "first", "stuck")) for _ in range(RUNNING)]
        await asyncio.sleep(0)
        await asyncio.gather(*(asyncio.create_task(asked(line, caller, "a")) for caller in ("second", "third")))
        held.may.set()
        await asyncio.gather(*stuck)
        assert held.callers == ["first"] * RUNNING + ["second"]

    run(told)


def test_a_statement_asks_for_no_more_than_it_may() -> None:
    async def told(held: Held, line: Line) -> None:
        names = [f"n{number}" for number in range(2 * MOST + 1)]
        stuck = await _stuck(line)
        assert await asyncio.gather(*map(line.text, names)) == [name.encode() for name in names]
        assert [len(each) for each in held.asked[RUNNING:]] == [MOST, MOST, 1]
        held.may.set()
        await asyncio.gather(*stuck)

    run(told)
