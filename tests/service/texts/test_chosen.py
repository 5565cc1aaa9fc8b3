"""Which features a long page has is found once for all who ask under one snapshot."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Hashable
from dataclasses import replace
from random import Random
from weakref import ref

import numpy as np
import pytest

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service.page import Page
from sdi.service.reader import Reader
from sdi.service.rights import open_view
from sdi.service.texts import pages
from sdi.service.texts.pages import Chosen
from sdi.store import forms
from tests.service.texts.conftest import TOWN_BOX, Land, changed, watched


async def taken(reader: Reader, layer: Layer, query: FeatureQuery, mark: Hashable) -> tuple[Page, bytes]:
    page, parts = await reader.walk(layer, query, forms.geojson, ",\n", mark)
    return page, b"".join([part async for part in parts])


def whole(land: Land) -> FeatureQuery:
    view = open_view(land.layer)
    assert view is not None
    return replace(view, limit=200)


def test_the_same_page_is_looked_for_once_under_one_snapshot(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "FIRST", 3)

    async def walked() -> None:
        texts: list[str] = []
        query, mark = whole(land), object()
        others = [replace(query, limit=7), replace(query, area=TOWN_BOX), replace(query, sort=(("id", True),))]
        async with land.readers(1, await asyncio.to_thread(land.write)) as (having, _, rendering):
            watched(having, texts)
            for number, each in enumerate([query, *others], 1):
                first = await taken(having, land.layer, each, mark)
                assert await taken(having, land.layer, each, mark) == first
                assert len(texts) == number
                assert first == await taken(rendering, land.layer, each, None)
            await taken(having, land.layer, query, object())
            await taken(having, land.layer, query, None)
            await taken(having, land.layer, query, None)
            assert len(texts) == 1 + len(others) + 3

    asyncio.run(walked())


def test_a_page_with_features_that_are_not_in_the_file_is_looked_for_again(land: Land) -> None:
    async def walked() -> None:
        texts: list[str] = []
        query, mark = whole(land), object()
        ready = await asyncio.to_thread(land.write)
        await asyncio.to_thread(land.deliver, *changed(Random(5)))
        async with land.readers(0, ready) as (having, _, rendering):
            watched(having, texts)
            first = await taken(having, land.layer, query, mark)
            asked = len(texts)
            assert await taken(having, land.layer, query, mark) == first == await taken(rendering, land.layer, query, 0)
            assert len(texts) == 2 * asked

    asyncio.run(walked())


def test_what_is_known_of_one_file_is_not_told_of_another(land: Land) -> None:
    """A load that comes between, and a file that is made anew: the same numbers are other features there."""

    async def walked() -> None:
        query = whole(land)
        files = [await asyncio.to_thread(land.write)]
        async with land.readers(1, *files) as (having, _, rendering):
            assert having.texts is not None
            having.texts.ready = lambda view: files[-1] if view == files[-1].about.view else None
            before = []
            for seed in (7, 8, 9):
                mark = object()
                await taken(having, land.layer, query, mark)
                before.append(ref(files[0]))
                await asyncio.to_thread(land.deliver, *changed(Random(seed)))
                files[:] = [await asyncio.to_thread(land.write)]
                assert await taken(having, land.layer, query, mark) == await taken(rendering, land.layer, query, None)
            gc.collect()
            # The first one is the reader's. What is open is on the disk still, though it was replaced.
            assert [each() for each in before[1:]] == [None, None]

    asyncio.run(walked())


def test_a_file_that_fails_is_not_held_against_who_asks_again(land: Land) -> None:
    async def walked() -> None:
        query, mark = whole(land), object()
        ready = await asyncio.to_thread(land.write)
        async with land.readers(1, ready) as (having, _, rendering):
            expected = await taken(rendering, land.layer, query, None)
            await taken(having, land.layer, query, mark)
            read, ready._read = ready._read, failing  # type: ignore[method-assign]
            with pytest.raises(Exception, match="can no longer be read"):
                await taken(having, land.layer, query, mark)
            # Its features are looked for, and so they can be rendered.
            assert await taken(having, land.layer, query, mark) == expected
            ready._read = read  # type: ignore[method-assign]
            assert await taken(having, land.layer, query, mark) == expected

    asyncio.run(walked())


def failing(begin: int, length: int, how: int) -> np.ndarray:
    raise OSError(5, "Input/output error")


def test_only_so_many_bytes_are_remembered_the_latest_asked_for(land: Land) -> None:
    ready = land.write()
    page = Page(b"", 1000, False, None, None)
    found = pages._Found(page, np.arange(1000), b"1 x", True)
    chosen = Chosen(20_000)
    keys = [(number, "x" * 400) for number in range(6)]
    for key in keys:
        chosen.keep(key, ready, found)
        assert chosen.of(keys[0], ready) is not None
    assert [chosen.of(key, ready) is not None for key in keys] == [True, False, False, True, True, True]
    chosen.keep("too long" * 2000, ready, found)
    assert chosen.of("too long" * 2000, ready) is None
    assert chosen.of(keys[0], ready) is not None
    none = Chosen(0)
    none.keep(keys[0], ready, found)
    assert none.of(keys[0], ready) is None
