"""Whoever replays the changes from any place on has what a download has, for every view of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sdi.contract.query import FeatureQuery
from sdi.contract.report import Report
from sdi.errors import Gone
from sdi.store import engine, ledger, loader
from sdi.store.feed import entries, page
from sdi.store.feed.entries import Slice
from sdi.store.feed.page import Entry, Mark, Place
from tests.store.feed.conftest import SIGHT, VIEWS, Copy, download, view
from tests.store.test_edit_scripts import SCRIPT, Step, Things, row_of
from tests.store.town import delivery
from tests.store.town import features as features_of


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
        mark = Mark()
        steady, slow = Copy(things, asked, mark=mark), Copy(things, asked, mark=mark)
        late: list[Copy] = []
        loads: list[int] = []
        for step in script:
            if step.kind == "rollback" and not loads:
                continue
            loads.append(things.do(step, loads).load_id)
            steady.drain(limits[0])
            slow.take(limits[1])  # its pages and the loads alternate
            begins = page.run(things.connection, page.newest(things.layer, asked, mark=mark))
            assert begins == page.run(things.connection, page.at_load(things.layer, asked, loads[-1]))
            late.append(Copy(things, asked, begins, download(things, asked), mark))
        for copy in (slow, *late, Copy(things, asked, mark=mark)):
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
        # What was remembered of the former history is not counted on.
        assert copy.mark.passed is not None
        copy.mark.passed = replace(copy.mark.passed, load=copy.mark.passed.load + 1000)
        bring(things, "c")
        copy.drain(10)
        assert set(copy.features) == {"a", "b", "c"}


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


class Counting:
    """A connection that counts what it is asked, and the rows that are looked at."""

    def __init__(self, things: Things) -> None:
        self.things, self.statements, self.rows = things, 0, 0

    def read(self, asked: FeatureQuery, place: Place, mark: Mark) -> page.Page:
        self.statements = self.rows = 0
        steps = page.read(self.things.layer, asked, place, 10, mark)
        try:
            statement = next(steps)
            while True:
                found = self.things.connection.execute(statement.sql, statement.params).fetchall()
                self.statements, self.rows = self.statements + 1, self.rows + len(found)
                statement = steps.send(found)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def test_many_hidden_changes_are_looked_through_once_and_show_nowhere(things: Things) -> None:
    asked = view(things.layer, "without what is listed")
    with things.connection.transaction(force_rollback=True):
        first = {**row_of("a", 0), "listed": False}
        things.do(Step("partial", (first,)), [])
        copy, counting = Copy(things, asked), Counting(things)
        copy.drain(10)
        place, mark = copy.place, copy.mark
        hidden = tuple({**row_of(f"n{number:05}", 0), "listed": True} for number in range(6000))
        things.do(Step("partial", hidden), [])
        for number in range(5):
            things.do(Step("partial", ({**row_of(f"m{number}", 0), "listed": True},)), [])
        counting.read(asked, place, Mark())
        assert counting.rows > 6000, "who remembers nothing looks at all of it"
        assert counting.statements < 20, "and at more and more at a time"
        assert counting.read(asked, place, mark) == page.Page([], place, more=False)
        assert counting.rows > 6000
        for _ in range(2):
            assert counting.read(asked, place, mark) == page.Page([], place, more=False)
            assert (counting.statements, counting.rows) == (3, 2), "two loads are in the history, and no more come"
            assert page.run(things.connection, page.newest(things.layer, asked, mark=mark)) == place
        things.do(Step("partial", ({**first, "amount": Decimal("1.50")},)), [])
        found = counting.read(asked, place, mark)
        assert [entry.id for entry in found.entries] == ["a"]
        assert counting.rows < 10


def test_who_was_cut_off_among_hidden_changes_goes_on_there(things: Things) -> None:
    asked, mark = view(things.layer, "without what is listed"), Mark()
    with things.connection.transaction(force_rollback=True):
        hidden = tuple({**row_of(f"n{number:05}", 0), "listed": True} for number in range(3000))
        things.do(Step("partial", (*hidden, {**row_of("z", 0), "listed": False})), [])
        steps = page.read(things.layer, asked, Place(), 10, mark)
        statement = next(steps)
        for _ in range(3):
            statement = steps.send(things.connection.execute(statement.sql, statement.params).fetchall())
        steps.close()
        counting = Counting(things)
        found = counting.read(asked, Place(), mark)
        assert [entry.id for entry in found.entries] == ["z"]
        assert counting.rows < 3000
