"""Turns go round by caller: who asks much waits for itself, not the others for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

from sdi.service.lanes import Lane, Lanes
from sdi.service.wall import book
from sdi.service.wall.turns import CALLER, Shares, Turns
from sdi.store import engine
from sdi.store.sharing import keys
from tests.service.conftest import ROOT, Town, served


async def settled() -> None:
    """Everything that can run has run."""
    for _ in range(20):
        await asyncio.sleep(0)


class Crowd:
    """Callers at some turns; `order` tells who was let in, `leave` ends the oldest of a caller."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.order: list[str] = []
        self._inside: dict[str, list[asyncio.Event]] = {}

    def come(self, caller: str) -> asyncio.Task[None]:
        return asyncio.ensure_future(self._stay(caller))

    async def _stay(self, caller: str) -> None:
        async with self._turns.place(caller):
            self.order.append(caller)
            end = asyncio.Event()
            self._inside.setdefault(caller, []).append(end)
            await end.wait()

    async def leave(self, caller: str) -> None:
        self._inside[caller].pop(0).set()
        await settled()


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scene()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(whole())


def test_turns_go_round_whoever_asked_most() -> None:
    async def scene() -> None:
        crowd = Crowd(Turns(places=1, each=1))
        for caller in ["greedy"] * 50 + ["a", "b", "b"]:
            crowd.come(caller)
        await settled()
        for _ in range(6):
            await crowd.leave(crowd.order[-1])
        assert crowd.order == ["greedy", "greedy", "a", "b", "greedy", "b", "greedy"]

    run(scene)


def test_nobody_holds_more_than_its_part_even_where_nobody_else_waits() -> None:
    async def scene() -> None:
        crowd = Crowd(Turns(places=4, each=2))
        for caller in ["greedy"] * 10:
            crowd.come(caller)
        await settled()
        assert crowd.order == ["greedy"] * 2
        crowd.come("a")
        await settled()
        assert crowd.order[-1] == "a", "a place was free for another at once"

    run(scene)


def test_who_gives_up_leaves_its_turn_to_the_next() -> None:
    async def scene() -> None:
        turns = Turns(places=1, each=1)
        crowd = Crowd(turns)
        crowd.come("a")
        await settled()
        gone = [crowd.come("b") for _ in range(3)]
        stays = crowd.come("c")
        await settled()
        for task in gone:
            task.cancel()
        await settled()
        await crowd.leave("a")
        assert crowd.order == ["a", "c"]
        # One that is given its turn and gives up in the same moment gives it on.
        late = crowd.come("d")
        crowd.come("e")
        await settled()
        stays.cancel()
        late.cancel()
        await settled()
        assert crowd.order == ["a", "c", "e"]
        await crowd.leave("e")
        assert turns._free == 1
        assert not turns._held

    run(scene)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_who_had_much_waits_while_others_are_served_and_not_when_alone() -> None:
    clock = Clock()
    shares = Shares(share=0.1, burst=10.0, clock=clock)
    shares.seen("greedy")
    shares.spend("greedy", 1000.0)
    assert shares.left("greedy") == 10.0, "who is alone spends nothing"
    shares.seen("a")
    shares.spend("greedy", 4.0)
    assert shares.left("greedy") == 6.0
    assert shares.may("greedy")
    shares.spend("greedy", 8.0)
    assert not shares.may("greedy")
    assert shares.may("a")
    clock.now += 1.0
    shares.seen("greedy")
    shares.seen("greedy")
    assert not shares.may("greedy"), "the other was there a second ago"
    clock.now += 2.0
    assert shares.may("greedy"), "nobody else is there any more"
    shares.seen("a")
    assert not shares.may("greedy")
    clock.now += 30.0
    shares.seen("a")
    assert shares.may("greedy")
    assert shares.left("greedy") == pytest.approx(1.3)


def test_a_debt_has_an_end() -> None:
    clock = Clock()
    shares = Shares(share=0.1, burst=10.0, clock=clock)
    shares.seen("a")
    shares.spend("greedy", 10_000.0)
    clock.now += Shares.LONGEST_DEBT + 1
    shares.seen("a")
    assert shares.may("greedy")


def test_what_is_remembered_of_callers_is_bounded() -> None:
    shares = Shares(share=0.1, burst=10.0)
    for number in range(2 * book.PLACES):
        shares.seen(str(number))
        shares.spend(str(number), 1.0)
    assert len(shares.book._map) < 10**6
    remembered = [shares.book.left(str(number)) is not None for number in range(2 * book.PLACES)]
    assert book.PLACES / 2 < sum(remembered) <= book.PLACES
    assert all(remembered[-100:]), "the longest silent are forgotten"


def test_the_workers_of_a_machine_count_together(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "callers" / "book"
    one, two = (Shares(share=0.1, burst=10.0, clock=clock) for _ in range(2))
    for each in (one, two):
        each.book.open(path)
    one.seen("greedy")
    assert one.alone("greedy")
    two.seen("a")
    assert not one.alone("greedy"), "the other is at another worker"
    one.spend("greedy", 4.0)
    two.spend("greedy", 7.0)
    assert (one.left("greedy"), one.may("greedy"), two.may("greedy")) == (-1.0, False, False)
    one.book.close()
    assert path.exists()
    assert not two.may("greedy")
    two.book.close()
    assert not path.exists(), "who leaves last clears it away"


def test_of_what_processes_write_at_the_same_time_nothing_is_lost(tmp_path: Path) -> None:
    """Each takes a second a thousand times."""
    script = (
        "import sys; from pathlib import Path; from sdi.service.wall.turns import Shares\n"
        "shares = Shares(0.0, 10_000.0, lambda: 1000.0); shares.book.open(Path(sys.argv[1]))\n"
        "shares.seen('a'); shares.seen('b'); [shares.spend('c', 1.0) for _ in range(1000)]"
    )
    path = tmp_path / "book"
    here = Shares(0.0, 10_000.0, lambda: 1000.0)
    here.book.open(path)
    processes = [subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert here.left("c") == 7000.0
    here.book.close()


def test_the_lanes_count_by_who_the_request_is_answered_for() -> None:
    async def scene() -> None:
        own = Lanes(8, Shares(share=0.001, burst=0.0))
        served: list[str] = []

        async def slow(caller: str) -> None:
            CALLER.set(caller)
            async with own.turn(Lane.SLOW):
                served.append(caller)
                await asyncio.sleep(0.01)

        async def small(caller: str) -> None:
            CALLER.set(caller)
            async with own.turn(Lane.QUICK):
                pass

        await asyncio.create_task(small("a"))
        await asyncio.create_task(small("b"))
        assert not own.shares.may("greedy"), "others are there, and its burst is spent"
        waits = asyncio.create_task(slow("greedy"))
        await settled()
        assert served == []
        assert own.waiting[Lane.SLOW] == 1
        own.shares.book._map[:32] = bytes(32)  # the others have gone
        async with asyncio.timeout(60):
            await waits
        assert served == ["greedy"]

    run(scene)


def test_an_agency_and_the_public_share_the_time_of_one_worker(town: Town) -> None:
    """Each has a pool of its own, and both the same processor."""
    apps: list[FastAPI] = []
    with served(town.database, town.registry, apps.append) as other:
        with engine.connect(town.database) as connection:
            key = keys.make_key(connection, "so_thu")
        shares = apps[0].state.service.reader.lanes.shares
        slow = "/collections/plots/items?filter=number%3E1"
        assert other.ask(slow, Authorization=f"Bearer {key}").status == 200
        assert other.ask(slow).status == 200
        last, _, before, _ = book._SEEN.unpack_from(shares.book._map)
        assert {last, before} == {book.sign_of("so_thu"), book.sign_of("@127.0.0.1")}
