"""Tiles are sent first and packed afterwards: the same bytes and tag, nothing stale, and only so much waits."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
from fastapi import FastAPI

from sdi.contract.registry import read_registry
from sdi.service.compression import zstd
from sdi.service.tiles import packing
from sdi.service.tiles.packing import Tiles
from sdi.store import engine, ledger, migrate
from tests.service.conftest import TOWN, Answer, Town, deliver, plots, served, works
from tests.service.tiles.conftest import address, tile_at

UNPACK: dict[str | None, Callable[[bytes], bytes]] = {
    None: lambda body: body, "gzip": gzip.decompress, "zstd": zstd.decompress,
}  # fmt: skip
ACCEPTED = {"identity": None, "gzip": "gzip", "zstd, gzip;q=0": "zstd", "gzip, deflate, br, zstd": "zstd"}


@pytest.fixture(scope="module")
def own(new_database: Callable[[], str]) -> Iterator[tuple[Town, FastAPI, list[str]]]:
    """The town, which may be loaded again, its application, and addresses of tiles: one of what everybody sees whole,
    and one of what is hidden in part, whose tag its bytes tell."""
    registry = read_registry(TOWN)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    table, shapes = works()
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    apps: list[FastAPI] = []
    with served(database, registry, also=apps.append) as town:
        place = tile_at(16, 10, 10)
        yield town, apps[0], [address(place, "works"), address(place, "plots")]


def emptied(app: FastAPI, monkeypatch: pytest.MonkeyPatch, after: float) -> Tiles:
    """`after`: seconds until what was made is packed."""
    monkeypatch.setattr(packing, "AFTER", after)
    app.state.tiles = tiles = Tiles()
    return tiles


def packed(town: Town, tiles: Tiles) -> None:
    while tiles.waiting:
        town.ask("/conformance")


def plain_tag(answer: Answer) -> str:
    """The tag of the same answer without a coding."""
    coding, tag = answer.headers["Content-Encoding"], answer.headers["ETag"]
    if coding is None:
        return tag
    assert tag.endswith(f'-{coding}"')
    return tag.replace(f"-{coding}", "")


@pytest.mark.parametrize("first", ACCEPTED)
def test_a_kept_tile_is_the_sent_one_byte_for_byte_under_the_same_tag(
    own: tuple[Town, FastAPI, list[str]], monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    town, app, paths = own
    for path in paths:
        tiles = emptied(app, monkeypatch, 3600.0)
        answers = [made := town.ask(path, Accept_Encoding=first)]
        assert made.headers["Content-Encoding"] == ACCEPTED[first]
        assert len(tiles.waiting) == (ACCEPTED[first] is None), "packed only for who takes it so"
        answers += [town.ask(path, Accept_Encoding=each) for each in ACCEPTED]
        assert tiles.made == 1
        tiles = emptied(app, monkeypatch, 0.0)
        town.ask(path, Accept_Encoding=first)
        packed(town, tiles)
        answers += [town.ask(path, Accept_Encoding=each) for each in ACCEPTED]
        assert tiles.made == 1
        assert len({UNPACK[each.headers["Content-Encoding"]](each.body) for each in answers}) == 1
        assert len({plain_tag(each) for each in answers}) == 1
        told: dict[str, bytes] = {}
        for answer in answers:
            # A strong tag stands for the same bytes, whenever they were packed and for whom.
            assert told.setdefault(answer.headers["ETag"], answer.body) == answer.body
            assert answer.headers["Content-Length"] == str(len(answer.body))
            assert "Accept-Encoding" in ", ".join(answer.headers.get_all("Vary", []))
        assert len(told) == 3


def test_while_it_waits_a_tile_is_told_and_held_as_it_is_when_kept(
    own: tuple[Town, FastAPI, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    town, app, paths = own
    for path in paths:
        for after in (3600.0, 0.0):
            tiles = emptied(app, monkeypatch, after)
            made = town.ask(path)
            if not after:
                packed(town, tiles)
            for accepted in ("identity", "gzip, zstd"):
                again = town.ask(path, If_None_Match=made.headers["ETag"], Accept_Encoding=accepted)
                assert (again.status, again.body, again.headers["ETag"]) == (304, b"", made.headers["ETag"])
            head = town.ask(path, "HEAD")
            told = ("ETag", "Content-Length", "Content-Type", "Content-Encoding", "Cache-Control")
            assert (head.status, head.body) == (200, b"")
            assert [head.headers[name] for name in told] == [made.headers[name] for name in told]
            assert tiles.made == 1


def test_a_load_between_sending_and_keeping_leaves_nothing_stale(
    own: tuple[Town, FastAPI, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    town, app, (_, path) = own
    tiles = emptied(app, monkeypatch, 3600.0)
    before = town.ask(path)
    assert len(tiles.waiting) == 1
    table, shapes = plots()
    deliver(town.database, town.registry, town.registry["plots"], table[1:], shapes[1:], [5897] * len(shapes[1:]))
    with engine.connect(town.database) as connection:
        version = ledger.version(connection)
    while app.state.service.publications.latest.version != version:
        town.ask("/conformance")
    (late,) = tiles.waiting
    after = town.ask(path)  # before the former one is kept, and after it
    assert after.body != before.body
    assert after.headers["ETag"] != before.headers["ETag"]
    monkeypatch.setattr(packing, "AFTER", 0.0)
    tiles._soon = None
    town.ask(path.replace("plots", "works"))
    packed(town, tiles)
    assert tiles.kept.get(late) is not None, "kept, under a tag that nobody asks for any more"
    for accepted in ACCEPTED:
        again = town.ask(path, Accept_Encoding=accepted, If_None_Match=before.headers["ETag"])
        assert again.status == 200
        assert UNPACK[again.headers["Content-Encoding"]](again.body) == after.body
    assert tiles.made == 3


async def until_packed(tiles: Tiles) -> None:
    while tiles.waiting:
        await asyncio.sleep(0.001)


def made_of(body: bytes) -> Callable[[], Awaitable[bytes]]:
    async def make() -> bytes:
        return body

    return make


def test_only_so_many_bytes_wait_and_what_has_no_place_is_given_but_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "AFTER", 3600.0)
    bodies = {str(number): os.urandom(3_000) for number in range(20)}

    async def all_at_once() -> None:
        tiles = Tiles(most=10_000)
        given = await asyncio.gather(*(tiles.of(tag, made_of(body)) for tag, body in bodies.items()))
        assert [each.content for each in given] == list(bodies.values())
        assert (len(tiles.waiting), tiles.backlog) == (3, 9_000)
        taken = await tiles.as_taken("19", given[19], ["zstd"])
        tiles._begin()
        await until_packed(tiles)
        kept = {tag: found for tag in bodies if (found := tiles.kept.get(tag)) is not None}
        assert [(tag, each.coding) for tag, each in kept.items()] == [
            ("0", "gzip"), ("1", "gzip"), ("2", "gzip"), ("19", "zstd")
        ]  # fmt: skip
        assert kept["19"] == taken
        for tag, body in bodies.items():
            again = await tiles.as_taken(tag, await tiles.of(tag, made_of(body)), [])
            assert again.content == body
        assert tiles.made == 20 + 16

    asyncio.run(all_at_once())


def test_one_that_is_larger_than_what_may_wait_is_kept_where_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "AFTER", 0.0)

    async def one() -> None:
        tiles = Tiles(most=10)
        await tiles.of("large", made_of(os.urandom(3_000)))
        await until_packed(tiles)
        assert tiles.kept.get("large") is not None

    asyncio.run(one())


def test_who_hangs_up_while_a_tile_is_packed_for_him_leaves_it_to_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "AFTER", 0.0)

    async def gone() -> None:
        tiles = Tiles()
        body = await tiles.of("tag", made_of(os.urandom(2 * packing.BLOCKING)))
        asking = asyncio.ensure_future(tiles.as_taken("tag", body, ["gzip"]))
        await asyncio.sleep(0)
        asking.cancel()
        await until_packed(tiles)
        kept = tiles.kept.get("tag")
        assert kept is not None
        assert await tiles.as_taken("tag", kept, []) == body

    asyncio.run(gone())


def test_what_is_kept_as_gzip_stays_so_and_what_is_kept_as_zstd_becomes_so() -> None:
    async def asked() -> None:
        tiles = Tiles()
        for codings, kept_as in ((["zstd", "gzip"], "zstd"), ([], "zstd"), (["gzip"], "gzip"), (["zstd"], "gzip"),
                                 (["zstd", "gzip"], "gzip")):  # fmt: skip
            body = await tiles.as_taken("tag", await tiles.of("tag", made_of(b"tile" * 100)), codings)
            assert UNPACK[body.coding](body.content) == b"tile" * 100
            kept = tiles.kept.get("tag")
            assert kept is not None
            assert kept.coding == kept_as
        assert tiles.made == 1

    asyncio.run(asked())
