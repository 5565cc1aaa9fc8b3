"""An answer that is kept is the one that would be made, for whoever asks, and is let go of with what it was made of."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi import FastAPI

from sdi.contract.registry import read_registry
from sdi.service import lanes
from sdi.service.answers import LARGEST, Answers
from sdi.service.texts.make import Order, make
from sdi.service.texts.ready import Ready
from sdi.store import engine, ledger, migrate
from sdi.store.sharing import agencies, keys
from tests.service.conftest import TOWN, Town, deliver, plots, served

PLOTS = "/collections/plots/items"
ADDRESSES = [
    PLOTS,
    f"{PLOTS}?limit=7",
    f"{PLOTS}?limit=7&f=jsonfg",
    f"{PLOTS}?limit=7&lang=en",
    f"{PLOTS}?bbox=105.8,20.9,105.9,21.1&limit=20",
    f"{PLOTS}?filter=number%3C5&sortby=-use",
    f"{PLOTS}?f=csv",
    f"{PLOTS}/00004.1.1",
    f"{PLOTS}/00004.1.1?f=jsonfg",
    f"{PLOTS}/00004.1.1?f=html",
    f"{PLOTS}/nothing",
]
HEADERS: list[dict[str, str]] = [
    {},
    {"Accept_Language": "en"},
    {"Accept": "text/html"},
    {"Accept": "application/vnd.ogc.fg+json"},
    {"Accept_Encoding": "gzip"},
    {"Origin": "https://elsewhere.example"},
]
OWN = ("date", "x-request-id", "last-modified", "etag", "content-length")
"""Headers that are another each time or for each address of a service, or that come after a while."""


@dataclass
class Pair:
    """The same town served twice: by who keeps answers, and by who makes each anew."""

    keeping: Town
    making: Town
    app: FastAPI

    def deliver(self, height: float) -> None:
        table, shapes = plots()
        column = pa.array([height] * 40, pa.float64())
        table = table.set_column(table.column_names.index("height"), "height", column)
        deliver(
            self.keeping.database, self.keeping.registry, self.keeping.registry["plots"], table, shapes, [5897] * 40
        )

    @property
    def answers(self) -> Answers:
        found: Answers = self.app.state.answers
        return found


@pytest.fixture(scope="module")
def pair(new_database: Callable[[], str]) -> Iterator[Pair]:
    registry, database = read_registry(TOWN), new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    apps: list[FastAPI] = []
    with (
        served(database, registry, also=apps.append, kept_answers=16) as keeping,
        served(database, registry, kept_answers=0) as making,
    ):
        found = Pair(keeping, making, apps[0])
        found.deliver(1.5)
        yield found


def told(town: Town, path: str, **headers: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer without what differs between any two, and without the addresses, which are the service's own."""
    answer = town.ask(path, **headers)
    own = town.url.encode()
    body = gzip.decompress(answer.body) if answer.headers.get("Content-Encoding") == "gzip" else answer.body
    kept = sorted((name.lower(), value.replace(town.url, "")) for name, value in answer.headers.items()
                  if name.lower() not in OWN)  # fmt: skip
    return answer.status, kept, body.replace(own, b"")


@pytest.mark.parametrize("path", ADDRESSES)
def test_what_is_kept_is_what_would_be_made(pair: Pair, path: str) -> None:
    for headers in HEADERS:
        made = told(pair.making, path, **headers)
        for _ in range(3):
            assert told(pair.keeping, path, **headers) == made
        tag = pair.keeping.ask(path, **headers).headers.get("ETag", "")
        assert pair.keeping.ask(path, If_None_Match=tag, **headers).status == (304 if tag else made[0])


def test_an_answer_is_made_once_and_anew_after_a_load(pair: Pair) -> None:
    def heights() -> set[float]:
        found = pair.keeping.get(f"{PLOTS}?limit=20")["features"]
        return {each["properties"]["height"] for each in found}

    pair.deliver(2.5)
    _await_version(pair)
    assert heights() == {2.5}
    size = pair.answers.size
    assert heights() == {2.5}
    assert pair.answers.size == size
    pair.deliver(3.5)
    _await_version(pair)
    assert heights() == {3.5}


def test_nobody_is_answered_with_what_was_kept_for_another(pair: Pair) -> None:
    with engine.connect(pair.keeping.database, engine.OWNER) as owner:
        agencies.add(owner, "readers", "department", "Sở Đọc", "Department of Reading")
        key = keys.make_key(owner, "readers")
    address = f"{PLOTS}?limit=3"
    public = pair.keeping.ask(address)
    for _ in range(2):
        own = pair.keeping.ask(address, Authorization=f"Bearer {key}")
        assert own.headers["Cache-Control"].startswith("private")
        assert pair.keeping.ask(address, Authorization="Bearer wrong").status == 401
        assert pair.keeping.ask(address).headers["Cache-Control"] == public.headers["Cache-Control"]
    assert b"key=" in pair.keeping.ask(f"{address}&key={key}").body
    assert b"key=" not in pair.keeping.ask(address).body


def test_who_wants_no_kept_answer_gets_one_that_is_made(pair: Pair) -> None:
    path = f"{PLOTS}/00004.1.2"
    pair.deliver(4.5)
    _await_version(pair)
    assert pair.keeping.get(path)["properties"]["height"] == 4.5
    pair.deliver(5.5)
    assert pair.keeping.get(path, Cache_Control="no-cache")["properties"]["height"] == 5.5


def test_which_features_a_long_page_has_is_found_once_and_anew_after_a_load(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "HELD", 5)
    texts, found, path = pair.app.state.service.reader.texts, list[str](), f"{PLOTS}?limit=20"

    def written() -> Ready:
        file = tmp_path / "plots.texts"
        make(Order(pair.keeping.database, str(TOWN), "plots", str(file), 2**20))
        return Ready(file)

    async def noted(select: Any, *asked: Any) -> Any:
        found.append(path)
        return await rows_of(select, *asked)

    def heights(**headers: str) -> set[float]:
        return {each["properties"]["height"] for each in pair.keeping.get(path, **headers)["features"]}

    rows_of, files = texts._rows_of, [written()]
    monkeypatch.setattr(texts, "_rows_of", noted)
    monkeypatch.setattr(texts, "ready", lambda view: files[-1] if view == files[-1].about.view else None)
    before = heights()
    assert [heights() == before, len(found)] == [True, 1]
    assert [heights(Cache_Control="no-cache") == before, len(found)] == [True, 2]
    pair.deliver(6.5)
    _await_version(pair)
    assert heights() == {6.5}
    files.append(written())
    assert [heights(), heights(), told(pair.keeping, path)] == [{6.5}, {6.5}, told(pair.making, path)]
    assert told(pair.keeping, path, Accept_Encoding="gzip") == told(pair.making, path, Accept_Encoding="gzip")
    with engine.connect(pair.keeping.database, engine.OWNER) as owner:
        agencies.add(owner, "fetchers", "department", "Sở Tải", "Department of Fetching")
        key = keys.make_key(owner, "fetchers")
    for _ in range(2):
        own = pair.keeping.get(f"{path}&key={key}")
        assert own["features"] == pair.making.get(path)["features"]
        assert {f"key={key}" in link["href"] for link in own["links"]} == {True}


def test_what_is_kept_stays_within_its_room(pair: Pair) -> None:
    answers = Answers(4 * LARGEST)
    kept = pair.answers.of(next(iter(pair.answers._kept)))
    assert kept is not None
    for number in range(400):
        answers.keep((object(), f"/{number}", b"", ()), kept)
        assert answers.size <= 4 * LARGEST
    assert len(answers._kept) < 400


def test_what_a_client_says_that_it_accepts_counts_as_room(pair: Pair) -> None:
    answers = Answers(4 * LARGEST)
    kept = next(iter(pair.answers._kept.values()))
    for number in range(100):
        answers.keep((object(), f"/{number}", b"", ((b"accept", b"x" * 30_000),)), kept)
    assert 0 < len(answers._kept) <= 4 * LARGEST / 30_000


def _await_version(pair: Pair) -> None:
    with engine.connect(pair.keeping.database) as connection:
        version = ledger.version(connection)
    while pair.app.state.service.publications.latest.version != version:
        pair.keeping.ask("/conformance")
