"""Whoever replays the changes from any place on has what a download has, for every view of a layer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, Sight
from sdi.contract.registry import read_registry
from sdi.contract.report import Report
from sdi.errors import Gone
from sdi.store import cql, engine, features, ledger, loader, migrate
from sdi.store.feed import entries, page
from sdi.store.feed.entries import Slice
from sdi.store.feed.page import Entry, Place
from tests.store.test_edit_scripts import SCRIPT, THINGS, Step, Things, row_of
from tests.store.town import delivery
from tests.store.town import features as features_of

VIEWS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "all": (("name", "ward", "amount", "count", "ratio", "listed", "uses"), None),
    "without what is listed": (("name", "amount"), "NOT (listed = true)"),
    "places alone": ((), "ward IS NOT NULL"),
}
"""Attributes and filter of each."""
SIGHT = "some of each, not everywhere as exactly"


def view(layer: Layer, name: str) -> FeatureQuery:
    def read(text: str) -> dict[str, Any]:
        return cql.parse_filter(text, "cql2-text", layer, tuple(attribute.name for attribute in layer.stored))

    if name == SIGHT:
        attributes = ("name", "amount", "listed")
        masks = (("amount", read("count IS NULL")),)
        places: Any = ((read("listed = true"), "exact", 0.0), (None, "generalised", 50.0))
        shown = Sight(attributes, read("ward IS NULL OR ratio IS NOT NULL"), masks, places)
        return FeatureQuery(layer.id, attributes=attributes, sight=shown, limit=None)
    attributes, rule = VIEWS[name]
    return FeatureQuery(layer.id, attributes=attributes, filters=() if rule is None else (read(rule),), limit=None)


@dataclass
class Copy:
    """What a client holds, and where it goes on."""

    things: Things
    view: FeatureQuery
    place: Place = field(default_factory=Place)
    features: dict[str, Any] = field(default_factory=dict)

    def take(self, limit: int, met: set[str] | None = None) -> bool:
        """Replay a page; whether there is more. `met`: what no page may tell again."""
        with self.things.connection.transaction():
            found = page.run(self.things.connection, page.read(self.things.layer, self.view, self.place, limit))
        assert len(found.entries) <= limit
        assert not found.more or len(found.entries) == limit
        names = {entry.id for entry in found.entries}
        assert len(names) == len(found.entries)
        if met is not None:
            assert not met & names, "each feature is told once"
            met |= names
        for entry in found.entries:
            if entry.text is None:
                self.features.pop(entry.id, None)
            else:
                self.features[entry.id] = json.loads(entry.text)
        self.place = found.place
        return found.more

    def drain(self, limit: int) -> None:
        met: set[str] = set()
        while self.take(limit, met):
            pass
        assert self.features == download(self.things, self.view)


def download(things: Things, asked: FeatureQuery) -> dict[str, Any]:
    statement = features.select_geojson(things.layer, asked)
    rows = things.connection.execute(statement.sql, statement.params).fetchall()
    return {feature["id"]: feature for feature in (json.loads(text) for (text,) in rows)}


@pytest.fixture(scope="module")
def things(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Things]:
    folder: Path = tmp_path_factory.mktemp("things")
    (folder / "things.yaml").write_text(THINGS, encoding="utf-8")
    registry, url = read_registry(folder), new_database()
    with engine.connect(url) as connection:
        migrate.apply(connection, registry)
        connection.execute("SET synchronous_commit = off")
        yield Things(connection, registry)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts so small that few rows make many of them."""
    monkeypatch.setattr(page, "BATCH", 10)
    monkeypatch.setattr(page, "TOGETHER", 40)
    monkeypatch.setattr(page, "LOADS", 2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", [SIGHT, *VIEWS])
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(script=SCRIPT, limits=st.tuples(*[st.integers(1, 40)] * 3))
def test_a_copy_is_what_a_download_is(
    things: Things, script: list[Step], name: str, limits: tuple[int, int, int]
) -> None:
    with things.connection.transaction(force_rollback=True):
        asked = view(things.layer, name)
        steady, slow = Copy(things, asked), Copy(things, asked)
        late: list[Copy] = []
        loads: list[int] = []
        for step in script:
            if step.kind == "rollback" and not loads:
                continue
            loads.append(things.do(step, loads).load_id)
            steady.drain(limits[0])
            slow.take(limits[1])  # its pages and the loads alternate
            begins = page.run(things.connection, page.at_load(things.layer, asked, loads[-1]))
            late.append(Copy(things, asked, begins, download(things, asked)))
        for copy in (slow, *late, Copy(things, asked)):
            copy.drain(limits[2])
            place = copy.place
            copy.drain(1)
            assert copy.place == place, "who has everything stays where they are"


def bring(things: Things, *names: str, load_id: int | None = None) -> int:
    """A partial delivery of some rows, by the load's connection; the id that it was given."""
    rows = [{**row_of(name, len(name)), "name": name} for name in names]
    said = delivery(things.layer, mode="partial", allow_shrink=True)
    report = Report("things", "1.0.0", read=len(rows), kept=len(rows))
    arrived = features_of(things.layer, rows)
    return loader.load(
        things.connection, things.layer, things.registry, arrived, None, said, report, load_id=load_id
    ).load_id  # fmt: skip


def test_a_load_that_is_overtaken_or_not_committed_makes_no_gap(things: Things) -> None:
    """The entry of the first load is made before that of the second, which is done before it."""
    asked = view(things.layer, "all")
    with engine.connect(things.connection.info.dsn) as other:
        reader = Copy(Things(other, things.registry), asked)
        entered = ledger.start(things.connection, things.layer, None)
        with things.connection.transaction():
            second = bring(things, "q", "r")
        reader.drain(1)
        assert set(reader.features) == {"q", "r"}
        assert entered < second
        with things.connection.transaction():
            first = bring(things, "a", "q", load_id=entered)
            assert first > second
            reader.drain(1)
            assert set(reader.features) == {"q", "r"}, "what is not committed is not there"
            place = reader.place
        reader.drain(1)
        assert set(reader.features) == {"a", "q", "r"}
        assert place.load == second
        assert reader.place.load == first
        other.execute("TRUNCATE town.things, town.things__past")


def test_a_place_of_a_history_that_was_replaced_is_gone(things: Things) -> None:
    asked = view(things.layer, "all")
    with things.connection.transaction(force_rollback=True):
        bring(things, "a", "b")
        copy = Copy(things, asked)
        copy.drain(10)
        with pytest.raises(Gone):
            page.run(things.connection, page.read(things.layer, asked, replace(copy.place, at=copy.place.at - 1), 10))


def test_what_came_and_went_before_one_began_is_not_told(things: Things) -> None:
    asked = view(things.layer, "all")
    with things.connection.transaction(force_rollback=True):
        loads = [things.do(Step("partial", tuple(row_of(name, 0) for name in "abc")), [])]
        loads += [things.do(Step("partial", ended=("b",)), [])]
        fresh, early = Copy(things, asked), Copy(things, asked)
        early.place = page.run(things.connection, page.at_load(things.layer, asked, loads[0].load_id))
        early.features = {name: {} for name in "abc"}
        assert [entry.id for entry in told(fresh)] == ["a", "c"]
        assert [(entry.id, entry.action) for entry in told(early)] == [("b", "delete")]
        # It ends while the pages are read: who has it already is told.
        slow = Copy(things, asked)
        assert slow.take(1)
        things.do(Step("partial", ended=("a",)), [])
        assert ("a", "delete") in [(entry.id, entry.action) for entry in told(slow)]


def told(copy: Copy) -> list[Entry]:
    """What the rest of the pages tells."""
    found: list[Entry] = []
    while True:
        with copy.things.connection.transaction():
            part = page.run(copy.things.connection, page.read(copy.things.layer, copy.view, copy.place, 2))
        found, copy.place = found + part.entries, part.place
        if not part.more:
            return found


def test_a_large_load_is_walked_along_an_index(things: Things) -> None:
    """Page by page, whatever lies behind: no page sorts or reads the whole load."""
    layer, asked = things.layer, view(things.layer, "all")
    with things.connection.transaction(force_rollback=True):
        load_id = bring(things, *(f"n{number:05}" for number in range(5000)))
        things.connection.execute("ANALYZE town.things, town.things__past")
        part = Slice(load_id, load_id, load_id, "n02500")
        statement = entries.select_entries(layer, asked, part, 0, 100)
        plan = things.connection.execute(
            sql.SQL("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT JSON) ") + statement.sql, statement.params
        ).fetchone()
        assert plan is not None
        scans = [node for node in nodes(plan[0][0]["Plan"]) if node.get("Relation Name", "").startswith("things")]
        assert scans
        for node in scans:
            assert node["Node Type"] != "Seq Scan" or node["Relation Name"] == "things__past"
            assert node["Actual Rows"] <= 101, node


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)
