"""Record time: states by load and by instant, versions, differences, rollbacks, and a thousand histories."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import shapely
from psycopg import sql

from sdi.contract.report import Report
from sdi.errors import NotFound, StoreError, UsageError
from sdi.national import vn2000
from sdi.store import delta, derived, difference, engine, history, hold, ledger, loader, restore, tables
from tests.store.town import EAST, NORTH, Town, delivery, features, plot, shop, zone

State = dict[str, tuple[Any, ...]]


def state(town: Town, layer: str, load: int) -> State:
    """id -> the whole content of each row as a load left it, geometry as bytes."""
    contract = town.registry[layer]
    relation = history.as_of(contract, sql.Literal(load))
    names = [name for name in tables.columns(contract) if name not in ("load_id", "geom", "geom_wgs84")]
    columns = sql.SQL(", ").join(sql.SQL("s.{}::text").format(sql.Identifier(name)) for name in names)
    query = sql.SQL("SELECT s.id, {}, ST_AsEWKB(s.geom), ST_AsEWKB(s.geom_wgs84) FROM ({}) s").format(columns, relation)
    rows = town.connection.execute(query).fetchall()
    assert len(rows) == len({row[0] for row in rows}), "one feature, one state"
    return {row[0]: row[1:] for row in rows}


def present(town: Town, layer: str) -> State:
    """The same of the table of now."""
    last = town.one("SELECT max(load_id) FROM sdi.load WHERE layer = %s AND status = 'done'", layer)
    rows = state(town, layer, last)
    assert set(rows) == town.ids(layer)
    return rows


def instant_of(town: Town, load: int) -> datetime:
    moment: datetime = town.one("SELECT finished_at FROM sdi.load WHERE load_id = %s", load)
    return moment


def roll_back(town: Town, layer: str, to_load: int) -> loader.Load:
    contract = town.registry[layer]
    with (
        ledger.recorded(town.connection, contract, None, steward="b", restores=to_load) as load_id,
        town.connection.transaction(),
    ):
        done = restore.restore(town.connection, contract, town.registry, to_load, load_id=load_id)
        derived.refresh(town.connection, town.registry, done.load_id)
    return done


def row_of_plots(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [plot(n) | change for n, change in enumerate(changes)]


# --- states -------------------------------------------------------------------------------------------------------


def test_every_load_left_a_state_that_comes_back(town: Town) -> None:
    states = {}
    for rows in ([{}, {}, {}], [{"floors": 9}, {}, {}], [{"floors": 9}, {"use": None}], [{"floors": 0}, {}, {}, {}]):
        done = town.load("plots", row_of_plots(*rows))
        states[done.load_id] = present(town, "plots")
    assert len({frozenset(rows.items()) for rows in states.values()}) == 4
    for load, rows in states.items():
        assert state(town, "plots", load) == rows
    assert state(town, "plots", history.START) == {}


def test_an_instant_means_the_last_load_committed_by_then(town: Town) -> None:
    first = town.load("plots", row_of_plots({})).load_id
    second = town.load("plots", row_of_plots({"floors": 5})).load_id
    layer = town.registry["plots"]
    microsecond = timedelta(microseconds=1)

    def resolve(moment: datetime) -> int:
        return history.resolve(town.connection, layer, moment.isoformat())

    assert resolve(instant_of(town, first) - microsecond) == history.START
    assert resolve(instant_of(town, first)) == first
    assert resolve(instant_of(town, second) - microsecond) == first
    assert resolve(instant_of(town, second)) == resolve(datetime(2999, 1, 1, tzinfo=UTC)) == second
    assert history.resolve(town.connection, layer, "now") == second
    assert history.resolve(town.connection, layer, str(first)) == first
    assert history.resolve(town.connection, layer, "2001-01-01") == history.START


def test_the_instant_is_the_commits_and_not_the_end_of_the_writing(town: Town) -> None:
    """Between the two a reader saw the old state."""
    contract = town.registry["zones"]
    with town.connection.transaction():
        done = town.load_alone("zones", [zone("Z1", 0)])
        written = town.one("SELECT finished_at FROM sdi.load WHERE load_id = %s", done.load_id)
        town.connection.execute("SELECT pg_sleep(0.05)")
        between = town.one("SELECT clock_timestamp()")
    assert written < between < instant_of(town, done.load_id)
    assert history.resolve(town.connection, contract, between.isoformat()) == history.START


def test_a_load_and_what_it_changes_have_one_instant(settled: Town) -> None:
    done = settled.load("plots", row_of_plots({"floors": 50}))
    moments = settled.rows(
        "SELECT count(*), count(DISTINCT finished_at) FROM sdi.load WHERE %s IN (load_id, cause)", done.load_id
    )
    assert moments == [(3, 1)]
    for name in ("plot_summary", "zone_summary"):
        layer = settled.registry[name]
        assert history.resolve(settled.connection, layer, str(done.load_id)) == settled.one(
            "SELECT load_id FROM sdi.load WHERE layer = %s AND cause = %s", name, done.load_id
        )


def test_instants_grow_even_when_the_clock_is_set_back(town: Town) -> None:
    town.connection.execute("UPDATE sdi.state SET committed_at = '2999-01-01'")
    first = town.load("zones", [zone("Z1", 0)]).load_id
    second = town.load("shops", [shop("S1", 1)]).load_id
    town.connection.execute("UPDATE sdi.state SET committed_at = NULL")
    assert datetime(2999, 1, 1, tzinfo=UTC) < instant_of(town, first) < instant_of(town, second)


def test_a_load_that_was_entered_first_and_committed_last_comes_last(town: Town) -> None:
    layer = town.registry["plots"]
    overtaken = ledger.start(town.connection, layer, delivery(layer))
    first = town.load("plots", row_of_plots({}, {})).load_id
    assert first > overtaken
    late = town.load("plots", row_of_plots({"floors": 8}), load_id=overtaken).load_id
    assert late > first
    assert town.one("SELECT count(*) FROM sdi.load WHERE load_id = %s", overtaken) == 0
    assert town.one("SELECT status FROM sdi.load WHERE load_id = %s", late) == "done"
    assert set(state(town, "plots", first)) == {"P0", "P1"}
    assert set(state(town, "plots", late)) == {"P0"}
    assert [entry.load_id for entry in ledger.history(town.connection, "plots")] == [late, first]


def test_an_overtaken_load_that_fails_is_entered_as_failed(town: Town) -> None:
    layer = town.registry["plots"]
    entered = []

    def break_off() -> None:
        with ledger.recorded(town.connection, layer, delivery(layer)) as load_id:
            entered.append(load_id)
            town.load("plots", row_of_plots({}))
            with town.connection.transaction():
                entered.append(town.load_alone("plots", row_of_plots({"floors": 8}), load_id=load_id).load_id)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert entered[1] > entered[0]
    assert town.one("SELECT status FROM sdi.load WHERE load_id = %s", entered[0]) == "failed"


_MANY = """
WITH made AS (SELECT n::text AS id, ST_SetSRID(ST_MakePoint(106 + n % 300 * 1e-4, 10 + n / 300 * 1e-4), 4326) AS point
    FROM generate_series(1, 60000) n),
shaped AS (SELECT id, ST_Multi(ST_Envelope(ST_Expand(point, 4e-5)))::geometry(MultiPolygon, 4326) AS shape FROM made),
kept AS (INSERT INTO town.plots (id, geom_wgs84, row_hash, load_id)
    SELECT id, shape, '\\x00', 1 + id::int % 2 FROM shaped)
INSERT INTO town.plots__past (id, geom_wgs84, row_hash, load_id, load_to) SELECT id, shape, '\\x01', 1, 2 FROM shaped
"""


def test_a_state_of_the_past_is_searched_by_indexes(town: Town) -> None:
    contract = town.registry["plots"]
    town.connection.execute(_MANY)
    town.connection.execute("ANALYZE town.plots; ANALYZE town.plots__past")
    relation = history.as_of(contract, history.load_at(sql.SQL("'plots'"), sql.SQL("now()")), ["id", "geom_wgs84"])
    box = "geom_wgs84 && ST_MakeEnvelope(106.001, 10.001, 106.0015, 10.0015, 4326)"
    for condition in (box, "id = '77'", "id = ANY (ARRAY['5', '6'])"):
        found = town.connection.execute(sql.SQL("EXPLAIN SELECT id FROM ({}) s WHERE " + condition).format(relation))
        plan = "\n".join(row[0] for row in found)
        for table in ("plots", "plots__past"):
            assert f"Seq Scan on {table} " not in plan, plan
        assert "plots__past__" in plan, plan
    town.connection.execute("SET enable_seqscan = off")
    found = town.connection.execute(
        sql.SQL("EXPLAIN {}").format(difference._select(contract, 1, 2, [sql.SQL("1")]))
    ).fetchall()
    town.connection.execute("RESET enable_seqscan")
    plan = "\n".join(row[0] for row in found)
    assert "plots__past__load_to__ix" in plan, plan
    assert "Seq Scan on plots" not in plan, plan


# --- one feature --------------------------------------------------------------------------------------------------


def test_the_versions_of_a_feature_say_who_when_and_what(town: Town) -> None:
    moved = shapely.multipolygons([shapely.box(EAST, NORTH, EAST + 20, NORTH + 21)])
    loads = [
        town.load("plots", row_of_plots({})).load_id,
        town.load("plots", row_of_plots({"floors": 3, "area": Decimal("420.00"), "geom": moved})).load_id,
        town.load("plots", row_of_plots({"floors": 3, "area": Decimal("420.0"), "geom": moved})).load_id,
        town.load("plots", [plot(7)]).load_id,
        town.load(
            "plots", row_of_plots({"floors": 3, "use": None, "surveyed_on": datetime(2027, 1, 1).date()})
        ).load_id,
    ]
    one, two, three = history.versions(town.connection, town.registry["plots"], "P0")
    assert [(v.load_id, v.load_to) for v in (one, two, three)] == [
        (loads[0], loads[1]),
        (loads[1], loads[3]),
        (loads[4], None),
    ]
    assert two.changed == {"floors": (0, 3), "area": (Decimal("400.00"), Decimal("420.00"))}
    assert (one.reshaped, two.reshaped) == (False, True)
    assert (one.ended_by, two.ended_by, three.ended_by) == (None, "chi_nhanh_q1", None)
    assert three.changed == {}
    assert (two.known_from, two.known_to) == (instant_of(town, loads[1]), instant_of(town, loads[3]))
    assert [v.valid_from.isoformat() for v in (one, three) if v.valid_from] == ["2026-07-01", "2027-01-01"]
    assert one.steward == "chi_nhanh_q1"
    assert one.file_name == "plots.gpkg"
    with pytest.raises(NotFound):
        history.versions(town.connection, town.registry["plots"], "P99")


def test_words_that_name_no_state_are_refused(town: Town) -> None:
    layer = town.registry["plots"]
    for word in ("yesterday", "", "-1", "1.5", "2026-02-30"):
        with pytest.raises(UsageError):
            history.resolve(town.connection, layer, word)
    for number in ("999999", "9" * 30):
        with pytest.raises(NotFound):
            history.resolve(town.connection, layer, number)


# --- differences --------------------------------------------------------------------------------------------------


def test_a_difference_counts_and_names_what_changed(settled: Town) -> None:
    contract = settled.registry["plots"]
    before = history.resolve(settled.connection, contract, "now")
    rows = [plot(n, ward="00001" if n < 10 else "00002") for n in range(20)]
    rows[4] |= {"floors": 99, "use": None}
    rows[5]["geom"] = shapely.multipolygons([shapely.box(EAST, NORTH + 20, EAST + 20, NORTH + 43)])
    rows[6] = plot(30, ward="00001")
    after = settled.load("plots", rows).load_id
    found = difference.diff(settled.connection, contract, before, after)
    assert (found.added, found.changed, found.ended, found.reshaped) == (1, 2, 1, 1)
    assert found.attributes == {"use": 1, "floors": 1}
    changes = {change.id: change for change in difference.changes(settled.connection, contract, before, after)}
    assert {name: change.kind for name, change in changes.items()} == {
        "P30": "added", "P4": "changed", "P5": "changed", "P6": "ended",
    }  # fmt: skip
    assert changes["P4"].attributes == {"floors": (4, 99), "use": ("ODT", None)}
    assert (changes["P4"].reshaped, changes["P4"].moved) == (False, None)
    assert changes["P5"].reshaped
    assert changes["P5"].moved == pytest.approx(3.0)
    assert (changes["P5"].area_before, changes["P5"].area_after) == (400.0, pytest.approx(460.0))
    assert changes["P30"].attributes["code"] == (None, "P30")
    assert changes["P6"].attributes["code"] == ("P6", None)
    assert {change.load_id for change in changes.values()} == {after}
    back = difference.diff(settled.connection, contract, after, before)
    assert (back.added, back.changed, back.ended) == (1, 2, 1)
    turned = {change.id: change for change in difference.changes(settled.connection, contract, after, before)}
    assert turned["P4"].attributes == {"floors": (99, 4), "use": (None, "ODT")}
    assert (turned["P30"].kind, turned["P6"].kind) == ("ended", "added")
    listed = difference.changes(settled.connection, contract, before, after)
    assert [(change.kind, change.id) for change in listed] == [
        ("added", "P30"), ("ended", "P6"), ("changed", "P4"), ("changed", "P5"),
    ]  # fmt: skip
    assert difference.changes(settled.connection, contract, before, after, limit=2) == listed[:2]


def test_what_changed_and_changed_back_is_no_difference(town: Town) -> None:
    first = town.load("plots", row_of_plots({}, {})).load_id
    middle = town.load("plots", row_of_plots({"floors": 7})).load_id
    last = town.load("plots", row_of_plots({}, {})).load_id
    layer = town.registry["plots"]
    assert difference.diff(town.connection, layer, first, last).total == 0
    assert difference.diff(town.connection, layer, first, middle).total == 2
    assert difference.diff(town.connection, layer, last, last).total == 0
    assert difference.diff(town.connection, layer, history.START, last).added == 2


def test_a_shape_that_moved_to_another_grid_is_measured_in_metres(town: Town) -> None:
    contract = town.registry["zones"]
    first = town.load("zones", [zone("Z1", 0)]).load_id
    shape = shapely.transform(zone("Z1", 0)["geom"], lambda xy: vn2000.regrid(xy, 9210, 5899))
    rows = features(contract, [zone("Z1", 0) | {"geom": shape}], grid=5899)
    with town.connection.transaction():
        second = loader.load(
            town.connection, contract, town.registry, rows, None, delivery(contract), Report("zones", "1.0.0")
        ).load_id
    (change,) = difference.changes(town.connection, contract, first, second)
    assert change.reshaped
    assert change.moved == pytest.approx(0, abs=1e-6)
    assert difference.grid(town.connection, contract) == 4326


# --- rollbacks ----------------------------------------------------------------------------------------------------


def test_a_rollback_brings_a_state_back_bit_for_bit_and_is_taken_back_itself(settled: Town) -> None:
    first = history.resolve(settled.connection, settled.registry["plots"], "now")
    was, cards = present(settled, "plots"), present(settled, "plot_summary")
    rows = [plot(n, ward="00001" if n < 10 else "00002") for n in range(20)]
    rows[4] |= {"floors": 99, "use": None, "ratio": 1e-300, "area": Decimal("-0.5"), "uses": None}
    rows[5]["geom"] = shapely.multipolygons([shapely.box(EAST, NORTH + 20, EAST + 20, NORTH + 43)])
    rows[6] = plot(30, ward="00001")
    second = settled.load("plots", rows).load_id
    became, new_cards = present(settled, "plots"), present(settled, "plot_summary")
    done = roll_back(settled, "plots", first)
    assert (done.inserted, done.updated, done.deleted, done.unchanged) == (1, 2, 1, 17)
    assert present(settled, "plots") == was
    assert present(settled, "plot_summary") == cards
    entry = ledger.history(settled.connection, "plots")[0]
    assert (entry.load_id, entry.mode, entry.restores, entry.steward) == (done.load_id, "rollback", first, "b")
    assert state(settled, "plots", second) == became
    again = roll_back(settled, "plots", second)
    assert present(settled, "plots") == became
    assert present(settled, "plot_summary") == new_cards
    assert roll_back(settled, "plots", again.load_id).written == 0
    assert state(settled, "plots", first) == was


def test_a_first_load_is_taken_back_to_nothing_and_that_too(settled: Town) -> None:
    contract = settled.registry["plots"]
    last = history.resolve(settled.connection, contract, "now")
    made = settled.registry["plot_summary"]
    was, shown = present(settled, "plots"), history.resolve(settled.connection, made, "now")
    done = roll_back(settled, "plots", history.START)
    assert (done.inserted, done.updated, done.deleted) == (0, 0, len(was))
    assert settled.ids("plots") == set()
    assert settled.ids("plot_summary") == set()
    assert ledger.published(settled.connection)["plots"].count == 0
    assert difference.diff(settled.connection, contract, history.resolve(settled.connection, contract, "0"), last).added
    roll_back(settled, "plots", last)
    assert present(settled, "plots") == was
    assert difference.diff(settled.connection, made, shown, history.resolve(settled.connection, made, "now")).total == 0


def test_what_was_never_loaded_is_not_taken_back(town: Town) -> None:
    with pytest.raises(NotFound, match="no load 0"):
        roll_back(town, "plots", history.START)


def test_a_rolled_back_layer_has_a_new_generation_and_the_next_load_is_a_delta(settled: Town) -> None:
    first = history.resolve(settled.connection, settled.registry["shops"], "now")
    settled.load("shops", [shop("S1", 9), shop("S77", 3)])
    before = ledger.published(settled.connection)["shops"]
    roll_back(settled, "shops", first)
    after = ledger.published(settled.connection)["shops"]
    assert after.generation == before.generation + 1
    assert after.count == 6
    assert settled.load("shops", [shop(f"S{n}", n, n) for n in range(6)]).written == 0


def test_rows_that_a_rollback_need_not_touch_stay_where_they_are(settled: Town) -> None:
    first = history.resolve(settled.connection, settled.registry["plots"], "now")
    rows = [plot(n, ward="00001" if n < 10 else "00002") for n in range(20)]
    rows[4]["floors"] = 99
    settled.load("plots", rows)
    where = settled.rows("SELECT id, ctid::text, load_id FROM town.plots WHERE id <> 'P4' ORDER BY id")
    roll_back(settled, "plots", first)
    assert settled.rows("SELECT id, ctid::text, load_id FROM town.plots WHERE id <> 'P4' ORDER BY id") == where


def test_what_cannot_be_rolled_back_is_said(settled: Town) -> None:
    connection, registry = settled.connection, settled.registry
    loads = {name: history.resolve(connection, registry[name], "now") for name in ("plots", "zones", "plot_summary")}
    with pytest.raises(UsageError, match="is made from plots"):
        restore.may_restore(connection, registry["plot_summary"], loads["plot_summary"])
    with pytest.raises(UsageError, match="coverage"):
        restore.may_restore(connection, registry["heights"], 1)
    for load in (loads["zones"], 999_999, -1, 10**30):
        with pytest.raises(NotFound):
            restore.may_restore(connection, registry["plots"], load)


def test_a_rollback_waits_for_no_load_and_leaves_nothing_when_the_layer_is_held(settled: Town) -> None:
    first = history.resolve(settled.connection, settled.registry["plots"], "now")
    settled.load("plots", row_of_plots({"floors": 1}))
    became = present(settled, "plots")
    with engine.connect(settled.url) as other, other.transaction():
        hold.require(other, "plots")
        with pytest.raises(StoreError):
            roll_back(settled, "plots", first)
    assert present(settled, "plots") == became
    assert ledger.history(settled.connection, "plots")[0].status == "failed"


def test_readers_see_a_rollback_whole_or_not_at_all(settled: Town) -> None:
    first = history.resolve(settled.connection, settled.registry["plots"], "now")
    settled.load("plots", [plot(n, ward="00001", floors=100) for n in range(10)])
    seen: list[set[int]] = []
    stop = threading.Event()

    def watch() -> None:
        with psycopg.connect(settled.url, autocommit=True) as connection:
            while not stop.is_set():
                rows = connection.execute(
                    "SELECT DISTINCT floors = 100 FROM town.plots WHERE ward = '00001'"
                ).fetchall()
                seen.append({row[0] for row in rows})

    watching = threading.Thread(target=watch)
    watching.start()
    roll_back(settled, "plots", first)
    stop.set()
    watching.join()
    assert seen
    assert all(len(each) == 1 for each in seen)
    assert delta.is_empty(settled.connection, settled.registry["plots"]) is False
