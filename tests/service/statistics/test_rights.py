"""Who may not see a layer's features may be granted statistics of them: what the grant covers, small groups untold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from sdi.access import ACTIONS, Agency, Grant, counted, rule_of, sees
from sdi.contract.registry import read_registry
from sdi.store import engine, migrate
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import Answer, Town, deliver, plots, served

FOLDER = Path(__file__).parent / "town"
AT = "/collections/works/statistics"
WHOLE = frozenset({"open", "agency"})


@dataclass
class City:
    town: Town
    key: str
    loads: int = 0

    def ask(self, path: str) -> Answer:
        return self.town.ask(path, X_API_Key=self.key)

    def load(self, *floors: int) -> None:
        """Deliver works with so many floors each, then one plot more, and wait until the agency is told of that."""
        ids = [f"W{number:02}" for number in range(len(floors))]
        table = pa.table({
            "id": ids, "permit": ids, "floors": pa.array(floors, pa.int64()),
            "cost": pa.array([10.0 + number for number in range(len(floors))], pa.float64()),
        })  # fmt: skip
        shapes = [shape.centroid for shape in plots()[1][: len(floors)]]
        town = self.town
        deliver(town.database, town.registry, town.registry["works"], table, shapes, [5897] * len(floors))
        self.loads += 1
        names = [f"P{number}" for number in range(self.loads)]
        seen = pa.table({"id": names, "key": names, "block": pa.nulls(len(names), pa.int64())})
        deliver(
            town.database, town.registry, town.registry["plots"], seen, plots()[1][: len(names)], [5897] * len(names)
        )
        self.until("/collections/plots/items?f=json",
                   lambda answer: answer.status == 200 and answer.json["numberMatched"] == self.loads)  # fmt: skip

    def until(self, path: str, holds: Callable[[Answer], bool]) -> Answer:
        ends = time.monotonic() + 60
        while not holds(answer := self.ask(path)):
            assert time.monotonic() < ends, answer.text
            time.sleep(0.05)
        return answer


@pytest.fixture(scope="module")
def city(new_database: Callable[[], str]) -> Iterator[City]:
    registry, database = read_registry(FOLDER), new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
        agencies.add(connection, "counters", "department", "Cục Thống kê", "Statistics office")
        key = keys.make_key(connection, "counters")
    with served(database, registry, audit="off") as town:
        city = City(town, key)
        city.load(*[1] * 12, *[2] * 9, *[3] * 3)
        with engine.connect(database, engine.OWNER) as owner:
            grant = Grant(0, "counters", "works", WHOLE, rows="floors < 3", actions=frozenset({"statistics"}),
                          legal_basis="NĐ 194/2025/NĐ-CP", purpose="test")  # fmt: skip
            grants.give(owner, registry["works"], grant)
        city.until(AT, lambda answer: answer.status == 200)
        yield city


def test_the_grant_shows_numbers_and_no_feature(city: City) -> None:
    told = city.ask(f"{AT}?f=json").json
    assert [(group["floors"], group["count"]) for group in told["groups"]] == [("1", 12), ("2", 9)]
    assert told["total"] == {"count": 21, "cost": sum(10.0 + number for number in range(21))}
    assert [link["rel"] for link in told["links"] if link["rel"] == "collection"] == []
    for path in ("/collections/works", "/collections/works/items", "/collections/works/items/W00",
                 "/collections/works/tiles/WebMercatorQuad", "/collections/works/schema"):  # fmt: skip
        assert city.ask(path).status == 404, path
    assert "works" not in [each["id"] for each in city.ask("/collections?f=json").json["collections"]]
    assert AT in city.ask("/openapi?f=json").json["paths"]


def test_without_the_grant_there_is_nothing_not_even_a_sign_of_it(city: City) -> None:
    answer, other = city.town.ask(AT), city.town.ask("/collections/workz/statistics")
    assert (answer.status, other.status) == (404, 404)
    assert answer.text.replace("works", "workz") == other.text
    listed = [each["id"] for each in city.town.get("/statistics?f=json")["layers"]]
    assert "plots" in listed
    assert "works" not in listed
    assert "works" in city.ask("/statistics?f=json").text
    assert AT not in city.town.get("/openapi?f=json")["paths"]


def test_what_the_grant_does_not_cover_changes_no_byte_and_what_it_covers_does(city: City) -> None:
    paths = [f"{AT}?f={format_}" for format_ in ("json", "csv", "html")]
    before = [(answer.body, answer.headers["ETag"]) for answer in map(city.ask, paths)]
    city.load(*[1] * 12, *[2] * 9, *[3] * 8)
    assert [(answer.body, answer.headers["ETag"]) for answer in map(city.ask, paths)] == before
    city.load(*[1] * 13, *[2] * 9, *[3] * 8)
    after = city.ask(paths[0])
    assert after.json["total"]["count"] == 22
    assert after.headers["ETag"] != before[0][1]


def test_who_sees_features_has_statistics_of_what_they_see_and_no_more() -> None:
    layer = read_registry(FOLDER)["works"]
    numbers = Grant(1, "a", "works", WHOLE, actions=frozenset({"statistics"}))
    reading = Grant(2, "a", "works", frozenset({"open"}), rows="floors = 1")
    assert "statistics" in ACTIONS
    alone, both = Agency("a", grants=(numbers,)), Agency("a", grants=(numbers, reading))
    assert not sees(alone, layer)
    assert counted(alone, layer).attributes == ("permit", "floors", "cost")
    assert counted(both, layer) == rule_of(both, layer)
    assert not counted(Agency("b"), layer).parts
