"""A copy that was kept under one rule is brought to another by what differs, and is then what a download is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sdi.contract.query import FeatureQuery
from sdi.errors import Gone
from sdi.store.feed import page, rules, turning
from sdi.store.feed.page import Entry, Held, Marks, Place, Turn
from tests.store.feed.conftest import SIGHT, VIEWS, Things, download, view
from tests.store.feed.test_replay import nodes
from tests.store.test_edit_scripts import SCRIPT, Step, row_of


@dataclass
class Follower:
    """A copy of what rules show, one after another."""

    things: Things
    features: dict[str, object] = field(default_factory=dict)
    place: Place | Turn = field(default_factory=Place)
    under: str = ""
    again: int = 0
    marks: Marks = field(default_factory=Marks)

    def take(self, asked: FeatureQuery, limit: int) -> bool:
        """Replay a page under the rule that holds; whether there is more."""
        connection, layer = self.things.connection, self.things.layer
        readable = {attribute.name for attribute in layer.stored}
        name = kept(self.things, asked)
        mark = self.marks.of(layer, name)
        with connection.transaction():
            if self.under not in ("", name):
                try:
                    self.place = page.run(connection, turning.begin(layer, asked, self.under, self.place, mark))
                except Gone:
                    assert not is_of_one_state(self.place)
                    self.place, self.features, self.again = Place(), {}, self.again + 1
                else:
                    assert isinstance(self.place, Turn)
            self.under, turned = name, isinstance(self.place, Turn)
            found = page.run(connection, turning.follow(layer, asked, self.place, limit, readable, mark))
        assert len(found.entries) <= limit
        for entry in found.entries:
            self.replay(entry, turned)
        self.place = found.place
        return found.more

    def replay(self, entry: Entry, turned: bool) -> None:
        if turned:
            assert (entry.id in self.features) == (entry.action != "insert"), "only what one holds ends or changes"
        if entry.text is None:
            self.features.pop(entry.id, None)
            return
        told = json.loads(entry.text)
        assert not turned or told != self.features.get(entry.id), "only what differs is told"
        self.features[entry.id] = told

    def drain(self, asked: FeatureQuery, limit: int) -> None:
        while self.take(asked, limit):
            pass
        assert self.features == download(self.things, asked)


def is_of_one_state(place: Place | Turn) -> bool:
    """Whether a copy is of one rule's state, or of few rules' in pieces."""
    if isinstance(place, Place):
        return place.upto is None
    return place.exact and len(place.held) < turning.MOST


def kept(things: Things, asked: FeatureQuery) -> str:
    """The name under which a view's rule is kept."""
    told = rules.told(things.layer, asked)
    name = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    rules.keep(things.connection, things.layer, name, told)
    return name


@pytest.mark.usefixtures("small")
@settings(
    max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    script=SCRIPT.filter(lambda script: len(script) > 1),
    names=st.lists(st.sampled_from([SIGHT, *VIEWS]), min_size=8, max_size=8),
    limits=st.tuples(*[st.integers(1, 40)] * 3),
)
def test_a_copy_follows_loads_and_rules(
    things: Things, script: list[Step], names: list[str], limits: tuple[int, int, int]
) -> None:
    with things.connection.transaction(force_rollback=True):
        marks = Marks()
        steady, slow, idle = (Follower(things, marks=marks) for _ in range(3))
        loads: list[int] = []
        idle.drain(view(things.layer, names[-1]), limits[0])
        for step, name in zip(script, names, strict=False):
            if step.kind != "rollback" or loads:
                loads.append(things.do(step, loads).load_id)
            asked = view(things.layer, name)
            steady.drain(asked, limits[0])
            slow.take(asked, limits[1])
        for name in names[-3:]:  # no load any more, but other rules
            asked = view(things.layer, name)
            steady.drain(asked, limits[1])
            slow.take(asked, limits[1])
        for copy in (steady, slow, idle):
            copy.drain(asked, limits[2])
            place = copy.place
            copy.drain(asked, 1)
            assert copy.place == place
        assert steady.again == idle.again == 0, "who has all pages never begins again"


def test_from_any_number_of_rules_in_a_row(things: Things) -> None:
    """Each turn is left in the middle, as long as a place says from where to where."""
    with things.connection.transaction(force_rollback=True):
        bring(things, *"abcdefghij")
        names = [*VIEWS, SIGHT]
        copy = Follower(things)
        copy.drain(view(things.layer, names[0]), 3)
        for number in range(turning.MOST - 1):
            copy.take(view(things.layer, names[1 + number % 3]), 1)
        assert isinstance(copy.place, Turn)
        copy.drain(view(things.layer, names[0]), 2)
        copy.take(view(things.layer, names[1]), 1)
        bring(things, "a", "k")
        copy.take(view(things.layer, names[1]), 1)
        bring(things, "b", "l")
        copy.drain(view(things.layer, names[1]), 2)
        assert copy.again == 0


def bring(things: Things, *names: str) -> None:
    things.do(Step("partial", tuple(row_of(name, ord(name) * 997) for name in names)), [])


def test_differences_are_walked_along_an_index(things: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page reads what is on it, wherever in the layer it begins."""
    monkeypatch.setattr(turning, "BATCH", 100)
    former, asked = view(things.layer, "all"), view(things.layer, SIGHT)
    with things.connection.transaction(force_rollback=True):
        rows = tuple(row_of(f"n{number:05}", number) for number in range(5000))
        load = things.do(Step("partial", rows), []).load_id
        things.do(Step("partial", tuple({**row, "count": 7} for row in rows[2000:3000])), [])
        things.connection.execute("ANALYZE town.things, town.things__past")
        statement = turning.select_differences(things.layer, asked, former, Held("all", load, 0), "n02500")
        plan = things.connection.execute(
            sql.SQL("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT JSON) ") + statement.sql, statement.params
        ).fetchone()
        assert plan is not None
        scans = [node for node in nodes(plan[0][0]["Plan"]) if node.get("Relation Name", "").startswith("things")]
        assert {node["Relation Name"] for node in scans} == {"things", "things__past"}
        for node in scans:
            assert node["Node Type"] != "Seq Scan", node
            assert node["Actual Rows"] <= 100, node


def test_of_what_was_not_seen_no_id_is_told_and_of_the_former_rule_nothing_else(things: Things) -> None:
    with things.connection.transaction(force_rollback=True):
        rows = [{**row_of(name, 0), "listed": name in "ab", "ward": "1" if name in "bc" else None} for name in "abcd"]
        things.do(Step("partial", tuple(rows)), [])
        copy = Follower(things)
        copy.drain(view(things.layer, "without what is listed"), 10)
        assert set(copy.features) == {"c", "d"}
        asked = view(things.layer, "places alone")
        under, place = copy.under, copy.place
        copy.drain(asked, 10)
        assert set(copy.features) == {"b", "c"}
        turn = page.run(things.connection, turning.begin(things.layer, asked, under, place))
        steps = turning.follow(things.layer, asked, turn, 10, [each.name for each in things.layer.stored])
        told = page.run(things.connection, steps).entries
        assert [(entry.id, entry.action) for entry in told] == [("b", "insert"), ("c", "update"), ("d", "delete")]


def test_a_rule_that_is_not_kept_or_names_what_is_no_more_begins_again(things: Things) -> None:
    with things.connection.transaction(force_rollback=True):
        bring(things, "a", "b")
        copy, asked = Follower(things), view(things.layer, SIGHT)
        copy.drain(view(things.layer, "all"), 10)
        readable = {attribute.name for attribute in things.layer.stored}
        for under, may in (("unknown", readable), (copy.under, readable - {"uses"})):
            turn = page.run(things.connection, turning.begin(things.layer, asked, under, copy.place))
            with pytest.raises(Gone):
                page.run(things.connection, turning.follow(things.layer, asked, turn, 10, may))
        told = rules.told(things.layer, view(things.layer, "all"))
        assert rules.view_of(things.layer, {**told, "types": {**told["types"], "name": "integer"}}, readable) is None


def test_only_so_many_rules_are_kept_and_not_for_ever(things: Things) -> None:
    with things.connection.transaction(force_rollback=True):
        connection = things.connection
        connection.execute(
            "INSERT INTO sdi.rule (layer, rule, told, used_at) SELECT 'things', n::text, '{}',"
            " clock_timestamp() - n * interval '1 hour' FROM generate_series(1, 1500) n"
        )
        connection.execute(
            "INSERT INTO sdi.rule VALUES ('things', 'old', '{}', clock_timestamp() - interval '91 days')"
        )
        rules.keep(connection, things.layer, "new", {})
        row = connection.execute(
            "SELECT count(*), bool_or(rule = 'old'), bool_or(rule = 'new') FROM sdi.rule"
        ).fetchone()
        assert row == (1000, False, True)
