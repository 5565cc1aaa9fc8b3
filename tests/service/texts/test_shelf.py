"""Which files of texts are made, and when; by one process of a machine, for all."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from sdi.access import PUBLIC
from sdi.contract.query import FeatureQuery
from sdi.service.lanes import Lane
from sdi.service.publications import Publications
from sdi.service.reader import Reader
from sdi.service.rights import open_view
from sdi.service.texts.ready import Ready, view_of
from sdi.service.texts.shelf import Shelf
from sdi.settings import Settings
from sdi.store import engine, ledger
from tests.service.conftest import TOWN, plots
from tests.service.texts.conftest import OPEN, Land


@dataclass
class Worker:
    """As a worker process has them."""

    shelf: Shelf
    publications: Publications
    reader: Reader

    async def look(self) -> None:
        self.publications._looked = float("-inf")
        await self.shelf.look(await self.publications.current(), TOWN, self.reader)

    @property
    def has(self) -> Ready | None:
        layer = self.publications.registry["plots"]
        query = open_view(layer)
        assert query is not None
        return self.shelf.of(view_of(layer, query))


@asynccontextmanager
async def worker(land: Land, least: int = 1, room: int = 1) -> AsyncIterator[Worker]:
    settings = Settings(data=land.folder, layers=TOWN, ready_text=room)
    shelf = Shelf(settings, land.database, least)
    reader = Reader(land.database, settings, ready=shelf.of)
    await reader.open()
    try:
        yield Worker(shelf, Publications(settings, land.registry, PUBLIC, reader), reader)
    finally:
        await reader.close()


@pytest.fixture
def published(land: Land) -> Land:
    with engine.connect(land.database) as connection, connection.transaction():
        ledger.publish(connection, land.layer)
        ledger.withdraw(connection, land.registry["plot_card"])
    return land


def files(land: Land) -> list[Path]:
    return sorted((land.folder / "texts").glob("plots-*.texts*"))


def renamed(land: Land, number: int) -> None:
    """So many plots get another owner."""
    table, shapes = plots()
    owners = [
        f"mới {index}" if index < number else owner for index, owner in enumerate(table["owner_kind"].to_pylist())
    ]
    land.deliver(table.set_column(table.column_names.index("owner_kind"), "owner_kind", pa.array(owners)), shapes)


def test_a_file_is_made_once_for_all_and_again_when_much_has_changed(published: Land) -> None:
    async def walked() -> None:
        async with worker(published) as one, worker(published) as other:
            await one.look()
            first = one.has
            assert first is not None
            assert first.about.features == 35, "what the public does not see is not in it"
            assert [path.stat().st_mode & 0o077 for path in files(published)] == [0]
            await other.look()
            assert other.has is not None
            assert other.has.mark == first.mark, "found, not made"
            await asyncio.to_thread(renamed, published, 1)
            await one.look()
            assert one.has is first, "one of 40 is no reason"
            await asyncio.to_thread(renamed, published, 10)
            await one.look()
            await other.look()
            assert one.has is not None
            assert other.has is not None
            assert first.mark != one.has.mark == other.has.mark
            assert len(files(published)) == 1
            query = FeatureQuery("plots", OPEN, limit=100)
            page = await other.reader.page(published.layer, query, Lane.QUICK)
            assert page.text.count("mới".encode()) == 10

    asyncio.run(walked())


def test_what_is_lost_or_spoiled_is_made_again(published: Land) -> None:
    async def walked() -> None:
        async with worker(published) as one:
            await one.look()
            for spoil in (lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 1000)):
                (path,) = files(published)
                before = one.has
                await asyncio.to_thread(spoil, path)
                await one.look()
                assert one.has is not None
                assert one.has is not before
                assert one.has.about.features == 35

    asyncio.run(walked())


def test_of_a_table_in_the_place_of_another_a_new_one_is_made(published: Land) -> None:
    """As after a restored backup, and after PostgreSQL's restart."""

    async def walked() -> None:
        query = FeatureQuery("plots", OPEN, limit=100)
        async with worker(published) as one:
            await one.look()
            before = one.has
            with engine.connect(published.database) as connection:
                connection.execute("UPDATE testtown.plots SET use = 'DGT'")
                connection.execute("VACUUM FULL testtown.plots")
            page = await one.reader.page(published.layer, query, Lane.QUICK)
            assert page.text.count(b'"use":"DGT"') == 40
            assert one.has is None, "it is asked no more"
            await one.look()
            assert one.has not in (None, before)
            assert await one.reader.page(published.layer, query, Lane.QUICK) == page

    asyncio.run(walked())


def test_while_another_process_makes_one_nobody_else_does(published: Land) -> None:
    async def walked() -> None:
        folder = published.folder / "texts"
        folder.mkdir()
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with worker(published) as one:
            await one.look()
            assert one.has is None
            os.close(lock)
            await one.look()
            assert one.has is not None

    asyncio.run(walked())


def test_there_is_none_of_a_small_layer_or_of_one_that_is_withdrawn(published: Land) -> None:
    async def walked() -> None:
        async with worker(published, least=36) as one:
            await one.look()
            assert one.has is None, "the public sees 35 of its 40"
        async with worker(published) as one:
            await one.look()
            assert one.has is not None
            with engine.connect(published.database) as connection, connection.transaction():
                ledger.withdraw(connection, published.layer)
            await one.look()
            assert one.has is None

    asyncio.run(walked())


def test_one_that_finds_no_room_is_not_tried_again_and_again(
    published: Land, capfd: pytest.CaptureFixture[str]
) -> None:
    async def walked() -> None:
        async with worker(published) as one:
            one.shelf._most = 100
            for _ in range(3):
                await one.look()
            assert one.has is None
            assert files(published) == []

    asyncio.run(walked())
    assert "".join(capfd.readouterr()).count("there is no room") == 1


def test_what_was_left_half_done_and_what_nobody_wants_goes(published: Land) -> None:
    async def walked() -> None:
        folder = published.folder / "texts"
        folder.mkdir()
        half, old, others = folder / "plots-0.texts.half", folder / "plots-0.texts", folder / "plots-1.texts"
        for path in (half, old, others):
            path.write_bytes(b"x")
        os.utime(old, (0, 0))
        async with worker(published) as one:
            await one.look()
            assert one.has is not None
        assert not half.exists()
        assert not old.exists()
        assert others.exists(), "another service's, perhaps"

    asyncio.run(walked())
