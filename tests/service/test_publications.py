"""Publishing and withdrawing shows within a second, in every worker, without a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sdi.catalog.entry import CATALOGUE
from tests.service.conftest import Town, served_apart

WITHIN = 1.0
"""Seconds that the requirement gives."""
MADE_FROM_WORKS = {"map_area", "work_count"}
"""The attributes of a plot's card that name no input, so that they may be made of any."""


def wait_for(town: Town, path: str, status: int) -> float:
    began = time.monotonic()
    while town.ask(path).status != status:
        assert time.monotonic() - began < 10, f"{path} did not become {status}"
        time.sleep(0.02)
    return time.monotonic() - began


def until(holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < 60
        time.sleep(0.02)


@pytest.fixture
def back(publish: Callable[[str], None]) -> Iterator[None]:
    yield
    publish("works")
    time.sleep(0.6)


@pytest.mark.usefixtures("back")
def test_withdrawing_and_publishing_show_everywhere_within_a_second(
    town: Town, publish: Callable[[str], None], withdraw: Callable[[str], None]
) -> None:
    assert town.ask("/collections/works/items").status == 200
    assert "works" in town.ask("/collections?f=html").text
    withdraw("works")
    assert wait_for(town, "/collections/works/items", 404) < WITHIN
    for path in (
        "/collections/works",
        "/collections/works/schema",
        "/collections/works/items/02",
        "/collections/works/items?f=csv",
    ):
        assert town.ask(path).status == 404
    assert "Công trình thử" not in town.ask("/?f=html").text
    assert "Công trình thử" not in town.ask("/collections?f=html").text
    assert "/collections/works" not in town.ask("/openapi").text
    assert [each["id"] for each in town.get("/collections")["collections"]] == [
        "ground",
        "plot_card",
        "plots",
        CATALOGUE,
    ]
    assert (
        "/collections/works"
        not in town.ask("/catalogue").text + town.ask("/open-data").text + town.ask("/catalogue/changes").text
    )
    # Nor is anything told of its features where another layer refers to them, or is made from them.
    cards = "/collections/plot_card/items?limit=30"
    until(lambda: "GPXD" not in town.ask(cards).text)
    assert [part["items"] for part in town.get("/lots/00004.1.1/dossier")["related"]] == [[]]
    (made,) = {frozenset(each["properties"]) for each in town.get(cards)["features"]}
    assert not MADE_FROM_WORKS & made
    publish("works")
    assert wait_for(town, "/collections/works/items", 200) < WITHIN
    until(lambda: "GPXD" in town.ask(cards).text)
    assert set(town.get(cards)["features"][0]["properties"]) >= MADE_FROM_WORKS


@pytest.mark.usefixtures("back")
def test_requests_go_on_while_a_layer_comes_and_goes(
    town: Town, publish: Callable[[str], None], withdraw: Callable[[str], None]
) -> None:
    seen: set[int] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.add(town.ask("/collections/plots/items?limit=5").status)
            seen.add(town.ask("/collections?f=html&lang=en").status)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        withdraw("works")
        time.sleep(0.6)
        publish("works")
        time.sleep(0.6)
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == {200}


@pytest.mark.usefixtures("back")
def test_several_workers_agree(town: Town, withdraw: Callable[[str], None]) -> None:
    with served_apart(town, workers=2) as apart:
        assert {apart.ask("/collections/works/items").status for _ in range(30)} == {200}
        withdraw("works")
        time.sleep(WITHIN)
        assert {apart.ask("/collections/works/items").status for _ in range(30)} == {404}
