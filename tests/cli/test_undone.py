"""A rollback brings back what was known to be wrong, through the commands that a steward types."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdi.store import engine
from tests.cli.test_history import Terminal, collection

LAYER = "cadastral_parcels"
BAD, OTHER = {"mdsd": "QQQ"}, {"mdsd": "RRR"}


class Desk(Terminal):
    """What the register says: by the command, by the quality collections, by the rates, and by the report."""

    def load(self, numbers: list[int], **changed: Any) -> int:
        path = self.folder / "thua.geojson"
        path.write_text(collection(numbers, **changed), encoding="utf-8")
        outcome = self.json("load", LAYER, str(path), "--steward", "binh", "--grid", "5897")
        assert outcome["load"] is not None, outcome["report"]
        return int(outcome["load_id"])

    def rollback(self, to: int) -> int:
        return int(self.json("rollback", LAYER, "--to", str(to), "--yes", "--steward", "binh")["load"]["load_id"])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with engine.connect(self.environment["SDI_DATABASE_URL"]) as connection:
            return connection.execute(query.encode()).fetchall()

    def standing(self) -> dict[str, Any]:
        held = {(row["id"], row["load_id"], row["attributes"]["land_use_code"])
                for row in self.json("quarantine", LAYER)}  # fmt: skip
        seen = self.rows(f"SELECT qa_feature, qa_load, land_use_code FROM qa.{LAYER}__quarantine")
        assert (set(seen), len(seen)) == (held, len(held)), "the command and the collection agree"
        return {
            "quarantine": held,
            "findings": set(self.rows(f"SELECT load, feature, rule, found FROM qa.{LAYER}__findings")),
            "rates": {(each["element"], each["evaluated"], each["faulty"]) for each in self.json("quality", LAYER)},
        }

    def report(self, what: str) -> str:
        assert self("report", what, "--to", str(self.folder / "x.html")).returncode == 0
        return (self.folder / "x.html").read_text(encoding="utf-8")


@pytest.fixture
def desk(new_database: Callable[[], str], tmp_path: Path) -> Desk:
    return Desk({"SDI_DATABASE_URL": new_database(), "SDI_DATA": str(tmp_path / ".sdi"), "COLUMNS": "300"}, tmp_path)


def test_what_a_load_had_ended_stands_again_when_it_is_undone_and_is_ended_when_that_is_undone(desk: Desk) -> None:
    bad = desk.load([1, 2, 3], p2=BAD)
    before = desk.standing()
    assert before["quarantine"] == {("00070.7.2", bad, "QQQ")}
    corrected = desk.load([1, 2, 3], p3=OTHER)
    after = desk.standing()
    assert after["quarantine"] == {("00070.7.3", corrected, "RRR")}

    undone = desk.rollback(bad)
    assert desk.standing() == before
    assert "<b>1</b> open" in desk.report(LAYER)
    assert "<b>1</b> taken back with its load" in desk.report(str(corrected))

    desk.rollback(corrected)
    assert desk.standing() == after
    assert "<b>1</b> corrected" in desk.report(str(bad))
    (was,) = desk.json("quarantine", LAYER, "--load", str(bad))
    assert was["state"] == "corrected"

    desk.rollback(undone)
    assert desk.standing() == before, "a rollback's own state is one to come back to"


def test_every_state_of_the_register_comes_back_in_whatever_order(desk: Desk) -> None:
    """Bad, worse, refused, waived, partly corrected, ended: each left a state, and each can be gone back to."""
    states: dict[int, dict[str, Any]] = {}

    def note(load: int) -> None:
        states[load] = desk.standing()

    note(desk.load([1, 2, 3, 4], p2=BAD, p3=BAD))
    note(desk.load([1, 2, 3, 4], p2=OTHER))
    far = json.loads(collection([1]))
    far["features"][0]["geometry"]["coordinates"] = [[[0, 0], [0, 1e-4], [1e-4, 1e-4], [0, 0]]]
    (desk.folder / "xa.geojson").write_text(json.dumps(far), encoding="utf-8")
    assert desk("load", LAYER, str(desk.folder / "xa.geojson"), "--grid", "5897").returncode == 1
    note(desk.load([1, 2, 4], p4=BAD))
    note(desk.load([1]))
    note(desk.load([1, 2, 3], p1=BAD, p3=OTHER))
    loads = list(states)
    for to in (loads[0], loads[3], loads[1], loads[4], loads[2], loads[0], loads[4]):
        back = desk.rollback(to)
        assert desk.standing() == states[to], f"load {to}"
        states[back] = states[to]
    for to in reversed(list(states)):
        desk.rollback(to)
        assert desk.standing() == states[to], f"load {to}"


def test_nothing_of_the_history_is_lost_by_a_rollback(desk: Desk) -> None:
    bad = desk.load([1, 2], p2=BAD)
    desk.load([1, 2])
    told = "SELECT load_id, ordinal, rule, feature, sentence_en FROM sdi.finding ORDER BY 1, 2"
    everything = desk.rows(told)
    back = desk.rollback(bad)
    assert desk.rows(told) == everything
    assert desk.rows(
        "SELECT register, load_id, ended_as, reopened_by FROM sdi.reopened WHERE register = 'quarantine'"
    ) == [("quarantine", bad, "corrected", back)]
