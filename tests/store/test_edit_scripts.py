"""A thousand random histories of one small layer against a model: every state comes back bit for bit.

Always the same 1,000 scripts, in 40 sequences of loads: each sequence carries 25 scripts side by side, every one with
features and wards of its own; what kind a load is, full, partial or a rollback, the 25 have in common. HISTORIES=1000
runs so many sequences, 25 scripts each, with new chance each time; what fails is printed with its seed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from math import prod
from pathlib import Path
from typing import Any, Literal

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.registry import Registry, read_registry
from sdi.contract.report import Report
from sdi.store import difference, engine, history, ledger, loader, migrate, restore
from sdi.store.engine import Connection
from tests.store.town import EAST, HEAD, ITEMS, NORTH, attribute, delivery, features

SCRIPTS, TOGETHER = 1000, 25
"""So many scripts, and so many of them side by side in one layer: a load carries one step of each."""
FRESH = int(os.environ.get("HISTORIES", "0"))
"""Sequences of loads of a long look, with new chance; 0: the same ones always."""
THINGS = (
    HEAD.format(id="things", kind="features")
    + "identifier: {attribute: name}\ngeometry: {type: MultiPolygon, required: false}\n"
    + "load: {mode: full, scope: ward}\nattributes:\n"
    + attribute("name", "text", "required: true")
    + attribute("ward", "text")
    + attribute("amount", "decimal", "scale: 2")
    + attribute("count", "integer")
    + attribute("ratio", "number")
    + attribute("listed", "boolean")
    + attribute("uses", "list", ITEMS)
)
Row = dict[str, Any]


def _square(x: float, size: float, turned: bool = False) -> shapely.MultiPolygon:
    square = shapely.box(EAST + x, NORTH, EAST + x + size, NORTH + size, ccw=not turned)
    return shapely.multipolygons([square])


SHAPES = (None, _square(0, 10), _square(0, 10, turned=True), _square(0.001, 10), _square(500, 0.1 + 0.2))
VALUES: dict[str, tuple[Any, ...]] = {
    "ward": (None, "1", "2"),
    "amount": (None, Decimal("0.00"), Decimal("1.50"), Decimal("-12345678901234567890.01")),
    "count": (None, 0, 2**63 - 1),
    "ratio": (None, 0.0, -0.0, 0.1 + 0.2, 1e-300, float("inf")),
    "listed": (None, True, False),
    "uses": (None, [], [{"id": "Đ\u1ea5t", "share": 0.1}], [{"id": "a", "share": None}, {"id": "", "share": 1}]),
    "geom": SHAPES,
}


@dataclass(frozen=True)
class Step:
    """A full or partial delivery with the ids it names as ended, or a rollback `back` loads."""

    kind: Literal["full", "partial", "rollback"]
    rows: tuple[Row, ...] = field(default=(), hash=False)
    ended: tuple[str, ...] = ()
    back: int = 0


def row_of(name: str, number: int) -> Row:
    """The row that a number stands for: a digit for each attribute."""
    row: Row = {"id": name}
    for column, values in VALUES.items():
        number, place = divmod(number, len(values))
        row[column] = values[place]
    return row


def side_by_side(rows: tuple[list[Row], ...], ended: tuple[list[str], ...], kind: Literal["full", "partial"]) -> Step:
    """One load with a step of each script; every script has ids and wards of its own."""
    mine = [
        {**row, "id": f"{number}{row['id']}", "ward": row["ward"] and f"{number}{row['ward']}"}
        for number, each in enumerate(rows) for row in each
    ]  # fmt: skip
    return Step(kind, tuple(mine), tuple(f"{number}{name}" for number, each in enumerate(ended) for name in each))


IDS = st.sampled_from("abcd")
ROW = st.builds(row_of, IDS, st.integers(0, prod(map(len, VALUES.values())) - 1))
ROWS = st.tuples(*[st.lists(ROW, max_size=4, unique_by=lambda row: row["id"])] * TOGETHER)
ENDED = st.tuples(*[st.lists(IDS, max_size=2, unique=True)] * TOGETHER)
NONE_ENDED: tuple[list[str], ...] = ([],) * TOGETHER
STEP = st.one_of(
    st.builds(side_by_side, ROWS, st.just(NONE_ENDED), st.just("full")),
    st.builds(side_by_side, ROWS, ENDED, st.just("partial")),
    st.builds(Step, st.just("rollback"), back=st.integers(0, 5)),
)
SCRIPT = st.lists(STEP, min_size=1, max_size=6)


# --- the model ----------------------------------------------------------------------------------------------------


def content(row: Row) -> tuple[str, ...]:
    """What makes a row: its values as text, so that -0.0 is another number than 0.0."""
    shape = "" if row["geom"] is None else shapely.to_wkb(row["geom"], hex=True)
    return (*(json.dumps(row[name], default=str) for name in VALUES if name != "geom"), shape)


def after(state: dict[str, Row], step: Step, states: list[dict[str, Row]]) -> dict[str, Row]:
    """The state that a step leaves. `states`: those that the loads before left, the oldest first."""
    if step.kind == "rollback":
        return [{}, *states][max(0, len(states) - step.back)]
    delivered = {row["id"]: row for row in step.rows}
    wards = {row["ward"] for row in step.rows} - {None}
    lacking = {name for name, row in state.items() if row["ward"] in wards}
    gone = lacking if step.kind == "full" else set(step.ended)
    return {name: row for name, row in state.items() if name not in gone} | delivered


def differs(one: dict[str, Row], other: dict[str, Row]) -> dict[str, str]:
    """id -> added, changed or ended, from one state to the other."""
    kinds = {name: "ended" if name not in other else "added" for name in one.keys() ^ other.keys()}
    return kinds | {name: "changed" for name in one.keys() & other.keys() if content(one[name]) != content(other[name])}


# --- the layer ----------------------------------------------------------------------------------------------------


@dataclass
class Things:
    """The layer in its database."""

    connection: Connection
    registry: Registry

    @property
    def layer(self) -> Layer:
        return self.registry["things"]

    def do(self, step: Step, loads: list[int]) -> loader.Load:
        """One step as a load of its own."""
        if step.kind == "rollback":
            target = [history.START, *loads][max(0, len(loads) - step.back)]
            load_id = ledger.start(self.connection, self.layer, None, restores=target)
            return restore.restore(self.connection, self.layer, self.registry, target, load_id=load_id)
        rows = [{**row, "name": row["id"]} for row in step.rows]
        said = delivery(self.layer, mode=step.kind, ended=step.ended, allow_shrink=True)
        report = Report("things", "1.0.0", read=len(rows), kept=len(rows))
        return loader.load(
            self.connection, self.layer, self.registry, features(self.layer, rows), None, said, report
        )  # fmt: skip

    def states(self, loads: list[int]) -> dict[int, dict[str, tuple[Any, ...]]]:
        """Load -> id -> every column of the rows that it left, geometry as bytes; all in one statement."""
        names = [name for name in history.tables.columns(self.layer) if name not in ("geom", "geom_wgs84", "load_id")]
        columns = sql.SQL(", ").join(sql.SQL("s.{}::text").format(sql.Identifier(name)) for name in names)
        relation = history.as_of(self.layer, sql.SQL("l.load"))
        query = sql.SQL(
            "SELECT l.load, s.id, {}, ST_AsEWKB(s.geom), ST_AsEWKB(s.geom_wgs84)"
            " FROM unnest(%s::bigint[]) l (load) CROSS JOIN LATERAL ({}) s"
        ).format(columns, relation)
        found: dict[int, dict[str, tuple[Any, ...]]] = {load: {} for load in loads}
        for load, name, *row in self.connection.execute(query, [loads]).fetchall():
            assert name not in found[load], "two states of one feature at once"
            found[load][name] = tuple(row)
        return found

    def overlapping(self) -> int:
        """Pairs of versions of one feature whose record times overlap."""
        query = """
            WITH v AS (SELECT id, load_id, 'infinity'::float8 AS load_to, 'now' AS place FROM town.things
                UNION ALL SELECT id, load_id, load_to, ctid::text FROM town.things__past)
            SELECT count(*) FROM v JOIN v w ON w.id = v.id AND w.place < v.place
            WHERE w.load_id < v.load_to AND v.load_id < w.load_to"""
        row = self.connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(scope="module")
def things(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Things]:
    folder: Path = tmp_path_factory.mktemp("things")
    (folder / "things.yaml").write_text(THINGS, encoding="utf-8")
    registry, url = read_registry(folder), new_database()
    with engine.connect(url) as connection:
        migrate.apply(connection, registry)
        connection.execute("SET synchronous_commit = off")
        yield Things(connection, registry)


@settings(
    max_examples=FRESH or SCRIPTS // TOGETHER, deadline=None, derandomize=not FRESH, database=None, print_blob=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(script=SCRIPT, pair=st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_every_state_of_a_thousand_histories_comes_back(
    things: Things, script: list[Step], pair: tuple[int, int]
) -> None:
    with things.connection.transaction(force_rollback=True):
        check(things, script, pair)


def check(things: Things, script: list[Step], pair: tuple[int, int]) -> None:
    loads: list[int] = []
    model: list[dict[str, Row]] = []
    seen: list[dict[str, tuple[Any, ...]]] = []
    for step in script:
        if step.kind == "rollback" and not loads:
            continue
        before = model[-1] if model else {}
        wanted = after(before, step, model)
        done = things.do(step, loads)
        assert done.written == len(differs(before, wanted))
        assert not loads or done.load_id > loads[-1]
        loads.append(done.load_id)
        model.append(wanted)
        seen.append(things.states([done.load_id])[done.load_id])
    if not loads:
        return
    states = things.states(loads)
    for load, wanted, had in zip(loads, model, seen, strict=True):
        assert states[load] == had, "a past state comes back bit for bit"
        assert set(had) == set(wanted)
    digests = {
        (name, content(model[at][name]), row[-4]) for at, state in enumerate(seen) for name, row in state.items()
    }
    assert len(digests) == len({digest[:2] for digest in digests}) == len({digest[::2] for digest in digests})
    assert things.overlapping() == 0
    one, other = pair[0] % len(loads), pair[1] % len(loads)
    found = difference.changes(things.connection, things.layer, loads[one], loads[other])
    assert {change.id: change.kind for change in found} == differs(model[one], model[other])
    counted = difference.diff(things.connection, things.layer, loads[one], loads[other])
    assert counted.total == len(found)
    repeated = Step("rollback") if script[-1].kind == "rollback" else script[-1]
    assert things.do(repeated, loads).written == 0, "the same again writes nothing"
