"""A page from a file of texts is byte for byte the one that is rendered, whatever was loaded since it was made."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from sdi.errors import StoreError
from sdi.service.audit import reads
from sdi.service.lanes import Lane
from sdi.service.page import Page
from sdi.service.rights import open_view
from sdi.service.texts import pages
from sdi.service.texts.make import Large
from sdi.service.texts.ready import About, Ready, finish
from sdi.store import forms
from tests.service.texts.conftest import TOWN_BOX, Land, asked, both, changed, streamed, watched


@pytest.mark.parametrize("seed", range(3))
def test_after_any_loads_a_page_from_a_file_of_any_age_is_what_rendering_gives(
    land: Land, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FIRST", 3)
    monkeypatch.setattr(pages, "PART", 8)

    async def walked() -> int:
        chance, stretches = Random(seed), 0
        for _ in range(3):
            ready = await asyncio.to_thread(land.write)
            counted = spied(ready)
            async with land.readers(1, ready) as readers:
                for _ in range(3):
                    for _ in range(25):
                        query = asked(chance)
                        readers[0].texts.kept.share = chance.choice([0.0, 1.0])
                        taken, _, rendered = await both(readers, land.layer, query)
                        assert taken == rendered, query
                        assert await streamed(readers[0], land.layer, query) == rendered.text
                    await asyncio.to_thread(land.deliver, *changed(chance))
            stretches += len(counted)
        return stretches

    assert asyncio.run(walked()) > 50, "the file was asked"


def test_what_is_ready_is_rendered_for_nobody(land: Land) -> None:
    async def walked() -> tuple[list[str], list[Page]]:
        texts: list[str] = []
        view = open_view(land.layer)
        assert view is not None
        query = replace(view, area=TOWN_BOX, limit=30)
        async with land.readers(0, await asyncio.to_thread(land.write)) as (having, _, rendering):
            watched(having, texts)
            return texts, await both((having, rendering), land.layer, query)

    texts, (taken, rendered) = asyncio.run(walked())
    assert len(texts) == 1
    assert "ST_AsGeoJSON" not in texts[0]
    assert taken == rendered


def test_a_stream_from_a_file_holds_no_connection_and_is_of_the_moment_it_was_asked_for(
    land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though loads come between its parts, and what was loaded before it is in no file."""
    monkeypatch.setattr(pages, "FIRST", 3)

    async def walked() -> tuple[bytes, bytes, int]:
        view = open_view(land.layer)
        assert view is not None
        query, chance = replace(view, limit=200), Random(5)
        ready = await asyncio.to_thread(land.write)
        await asyncio.to_thread(land.deliver, *changed(chance))
        async with land.readers(1, ready) as (having, _, rendering):
            expected = (await rendering.page(land.layer, query, Lane.QUICK)).text
            _, parts = await having.walk(land.layer, query, forms.geojson, ",\n")
            held = having.lanes.running[Lane.LONG]
            text = await anext(parts)
            await asyncio.to_thread(land.deliver, *changed(chance))
            return bytes(text) + b"".join([part async for part in parts]), expected, held

    text, expected, held = asyncio.run(walked())
    assert text == expected
    assert held == 0


def test_a_stream_whose_file_fails_goes_on_as_long_as_nothing_was_loaded(
    land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FIRST", 3)

    async def walked(loaded: bool) -> tuple[bytes, bytes]:
        view = open_view(land.layer)
        assert view is not None
        query = replace(view, limit=200)
        ready = await asyncio.to_thread(land.write)
        async with land.readers(1, ready) as (having, _, rendering):
            expected = (await rendering.page(land.layer, query, Lane.QUICK)).text
            _, parts = await having.walk(land.layer, query, forms.geojson, ",\n")
            text = await anext(parts)
            ready._read = failing  # type: ignore[method-assign]
            if loaded:
                await asyncio.to_thread(land.deliver, *changed(Random(5)))
            return bytes(text) + b"".join([part async for part in parts]), expected

    text, expected = asyncio.run(walked(loaded=False))
    assert text == expected
    with pytest.raises(StoreError, match="can no longer be read"):
        asyncio.run(walked(loaded=True))


def failing(begin: int, length: int, how: int) -> Any:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("limit", [5, 200])
def test_whether_few_match_is_told_by_the_page_itself(land: Land, limit: int) -> None:
    async def walked() -> tuple[list[str], Page | None, Page]:
        texts: list[str] = []
        view = open_view(land.layer)
        assert view is not None
        query = replace(view, area=TOWN_BOX, limit=limit)
        async with land.readers(0, await asyncio.to_thread(land.write)) as (having, _, rendering):
            watched(having, texts)
            found = await having.few(land.layer, query, Lane.QUICK)
            assert await rendering.few(land.layer, query, Lane.QUICK) is None
            return texts, found, await rendering.page(land.layer, query, Lane.QUICK)

    texts, found, rendered = asyncio.run(walked())
    assert len(texts) == 1
    assert rendered.more == (limit == 5)
    assert found == (replace(rendered, text=b"") if rendered.more else rendered)


def test_two_versions_of_one_key_are_in_no_file(tmp_path: Path) -> None:
    path = tmp_path / "made.texts"
    keys = np.array([5, 2**63, 5, 2**64 - 1], np.uint64)
    with path.open("wb") as file:
        file.write(b"a,\nbb,\nccc,\ndddd,\n")
        finish(file, np.array([3, 7, 12, 18]), keys, About("view", "table", 4, 1, plain=True))
    ready = Ready(path)
    numbers = ready.found(np.array([2**64 - 1, 5, 7, 2**63], np.uint64).astype(">u8").tobytes())
    assert numbers.tolist() == [3, -1, -1, 1]
    assert asyncio.run(ready.joined(numbers, [b"x", b"y"])) == b"dddd,\nx,\ny,\nbb"
    assert asyncio.run(ready.joined(np.array([-1, 0, 1, 2, 3]), [b"x"])) == b"x,\na,\nbb,\nccc,\ndddd"
    assert asyncio.run(ready.joined(np.array([], int), [])) == b""


def test_a_key_is_found_among_many_that_begin_alike(tmp_path: Path) -> None:
    path, chance = tmp_path / "made.texts", np.random.default_rng(1)
    spread = chance.integers(0, 2**64, 3000, np.uint64, endpoint=False)
    keys = chance.permutation(np.concatenate([spread, np.arange(500, dtype=np.uint64), [2**64 - 1]]))
    with path.open("wb") as file:
        file.write(b"".join(b"%d,\n" % number for number in range(len(keys))))
        lengths = [len(b"%d,\n" % number) for number in range(len(keys))]
        finish(file, np.cumsum(lengths), keys, About("view", "table", len(keys), 1, plain=True))
    ready = Ready(path)
    for _ in range(50):
        numbers = chance.integers(0, len(keys), 200)
        if chance.random() < 0.5:
            numbers = np.sort(numbers)
        assert ready.found(keys[numbers].astype(">u8").tobytes()).tolist() == numbers.tolist()
        absent = np.where(chance.random(200) < 0.1, -1, numbers)
        told = asyncio.run(ready.joined(absent, [b"x"] * int((absent < 0).sum())))
        assert told == b",\n".join(b"x" if number < 0 else b"%d" % number for number in absent.tolist())
    assert set(ready.found(np.arange(500, 900, dtype=">u8").tobytes()).tolist()) == {-1}


@pytest.mark.parametrize("spoiled", [b"", b"{}", b"x" * 100, b'{"format":0}' + (12).to_bytes(8, "little")])
def test_what_is_no_file_of_texts_is_said_so(tmp_path: Path, spoiled: bytes) -> None:
    path = tmp_path / "made.texts"
    path.write_bytes(spoiled)
    with pytest.raises(ValueError, match=r"texts|Expecting"):
        Ready(path)


def test_a_file_that_would_be_too_large_is_not_made(land: Land) -> None:
    with pytest.raises(Large):
        land.write(most=1000)
    assert not list(land.folder.iterdir())


def spied(ready: Ready) -> list[int]:
    """How long the stretches are that are read of a file."""
    read, lengths = ready._read, list[int]()

    def noted(begin: int, length: int, how: int) -> Any:
        lengths.append(length)
        return read(begin, length, how)

    ready._read = noted  # type: ignore[method-assign]
    return lengths


def test_the_trail_has_of_a_stream_what_was_taken(land: Land) -> None:
    """And of one that was only asked for, as by HEAD, nothing."""

    async def walked(parts: int) -> list[str]:
        opened: list[Any] = []
        reads.OPENED.set(opened)
        view = open_view(land.layer)
        assert view is not None
        async with land.readers(0, await asyncio.to_thread(land.write)) as (having, *_):
            _, told = await having.walk(land.layer, replace(view, limit=200), forms.geojson, ",\n")
            for _ in range(parts):
                await anext(told)
            await told.aclose()
        return [read.text.decode() for read in opened]

    assert asyncio.run(walked(0)) == []
    (read,) = asyncio.run(walked(1))
    assert '"count":35' in read
    assert "00004.1.1" in read
