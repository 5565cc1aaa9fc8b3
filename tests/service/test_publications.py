"""Publishing and withdrawing shows within a second, in every worker, without a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from sdi import diagnosis
from sdi.catalog.entry import CATALOGUE
from sdi.settings import Settings
from sdi.store import engine
from tests.service.conftest import Town, served, served_apart

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


@pytest.fixture
def ground(town: Town) -> Iterator[Path]:
    """The file of a coverage, which is there again at the end."""
    with engine.connect(town.database) as connection:
        (path,) = connection.execute("SELECT facts->>'file' FROM sdi.publication WHERE layer = 'ground'").fetchone()
    away = Path(path).with_suffix(".away")
    yield Path(path)
    if away.exists():
        away.rename(path)


def files_of_coverages(settings: Settings) -> list[str]:
    found = diagnosis.examine(settings)
    return [f"{each.state}: {each.finding}" for each in found if each.what == "files of coverages"]


def test_a_coverage_whose_file_is_not_there_takes_no_other_layer_with_it(
    town: Town, ground: Path, publish: Callable[[str], None]
) -> None:
    away = ground.with_suffix(".away")
    settings = Settings(database_url=SecretStr(town.database), layers=town.registry.folder)
    assert "ok: 1 there" in files_of_coverages(settings)
    ground.rename(away)
    assert "error: not there: ground" in files_of_coverages(settings)
    with served(town.database, town.registry) as without:
        named = {each["id"] for each in without.get("/collections")["collections"]}
        assert "plots" in named
        assert "ground" not in named
        assert "ground" not in {each["id"] for each in without.get(f"/collections/{CATALOGUE}/items")["features"]}
        assert without.ask("/collections/ground").status == 404
        assert without.ask("/collections/ground/coverage").status == 404
        away.rename(ground)
        publish("ground")
        wait_for(without, "/collections/ground/coverage", 200)
        ground.rename(away)  # under a running service: what is kept of the documents may still name it
        publish("works")
        wait_for(without, "/collections/ground", 404)
        assert without.ask("/collections").status == 200


def test_a_coverage_whose_file_goes_away_under_a_running_service_takes_no_other_layer_with_it(
    town: Town, ground: Path
) -> None:
    with served(town.database, town.registry) as running:
        assert running.ask("/conformance").status == 200
        ground.rename(ground.with_suffix(".away"))
        assert "plots" in {each["id"] for each in running.get("/collections")["collections"]}
        assert running.ask(f"/collections/{CATALOGUE}/items").status == 200
