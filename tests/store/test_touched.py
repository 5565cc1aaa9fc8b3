"""Which places a load touched is entered with it, exactly as long as that is not too much to keep."""

from __future__ import annotations

from typing import Any

import pytest

from sdi.store import ledger, restore, touched
from tests.store.town import Town, plot, shop


def entries(town: Town, layer: str) -> list[Any]:
    """The boxes of each generation; None: everywhere."""
    rows = touched.read(town.connection, [layer])
    told = [None if row[3] is None else [tuple(row[3][i : i + 4]) for i in range(0, len(row[3]), 4)] for row in rows]
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    return told


def box_of(town: Town, layer: str, feature: str) -> tuple[float, float, float, float]:
    query = f"SELECT geom_wgs84 AS g FROM town.{layer} WHERE id = %s"
    (row,) = town.rows(f"SELECT ST_XMin(g), ST_YMin(g), ST_XMax(g), ST_YMax(g) FROM ({query}) f", feature)
    return (row[0], row[1], row[2], row[3])


def test_the_first_load_touches_everything_and_the_next_one_what_it_changed(town: Town) -> None:
    town.load("plots", [plot(n) for n in range(10)])
    assert entries(town, "plots") == [None]
    old, moved, hit = box_of(town, "plots", "P3"), plot(3, geom=plot(30)["geom"]), box_of(town, "plots", "P5")
    town.load(
        "plots", [plot(n) for n in range(3)] + [moved, plot(4), plot(5, floors=99)] + [plot(n) for n in (6, 7, 8)]
    )
    assert entries(town, "plots") == [None, sorted([old, box_of(town, "plots", "P3"), hit, ended(town, "P9")])]


def ended(town: Town, feature: str) -> tuple[float, ...]:
    query = "SELECT geom_wgs84 AS g FROM town.plots__past WHERE id = %s"
    (row,) = town.rows(f"SELECT ST_XMin(g), ST_YMin(g), ST_XMax(g), ST_YMax(g) FROM ({query}) f", feature)
    return (row[0], row[1], row[2], row[3])


def test_a_load_that_changes_nothing_enters_nothing(town: Town) -> None:
    for _ in range(2):
        town.load("plots", [plot(n) for n in range(10)])
    assert entries(town, "plots") == [None]


def test_derived_rows_touch_their_own_places(settled: Town) -> None:
    before = len(entries(settled, "plot_summary"))
    settled.load("shops", [shop("S9", 7, 12)])
    told = entries(settled, "plot_summary")
    assert len(told) == before + 1
    assert box_of(settled, "plots", "P12") in told[-1]
    assert box_of(settled, "plots", "P7") in told[-1]
    assert box_of(settled, "plots", "P19") not in told[-1]


def test_what_has_no_shape_touches_no_place(settled: Town) -> None:
    before = entries(settled, "shops")
    settled.load("shops", [shop("S9", 7, 12, geom=None)])
    assert entries(settled, "shops") == [*before, []]


def test_a_rollback_touches_what_it_brings_back(town: Town) -> None:
    first = town.load("plots", [plot(n) for n in range(10)])
    town.load("plots", [plot(n, floors=n % 7 + (n == 4)) for n in range(10)])
    layer = town.registry["plots"]
    with town.connection.transaction():
        load_id = ledger.start(town.connection, layer, None, restores=first.load_id, steward="x")
        restore.restore(town.connection, layer, town.registry, first.load_id, load_id=load_id)
    assert entries(town, "plots") == [None, [box_of(town, "plots", "P4")], [box_of(town, "plots", "P4")]]


def test_many_changes_are_told_by_boxes_around_them(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.load("plots", [plot(n) for n in range(40)])
    boxes = [box_of(town, "plots", f"P{n}") for n in range(40)]
    monkeypatch.setattr(touched, "MOST", 9)
    monkeypatch.setattr(touched, "GROUP", 0.001)
    town.load("plots", [plot(n, floors=n % 7 + 1) for n in range(40)])
    told = entries(town, "plots")[-1]
    assert 1 <= len(told) <= 9
    for box in boxes:
        assert any(w <= box[0] and s <= box[1] and e >= box[2] and n >= box[3] for w, s, e, n in told)
    monkeypatch.setattr(touched, "GROUP", 0.00001)
    town.load("plots", [plot(n, floors=n % 7 + 2) for n in range(40)])
    assert entries(town, "plots") == [None]


def test_a_load_that_changes_too_much_to_look_at_touches_everything(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.load("plots", [plot(n) for n in range(20)])
    monkeypatch.setattr(touched, "LOOKED_AT", 39)
    town.load("plots", [plot(n, floors=n % 7 + 1) for n in range(20)])
    assert entries(town, "plots") == [None]
    monkeypatch.setattr(touched, "LOOKED_AT", 40)
    town.load("plots", [plot(n, floors=n % 7 + 2) for n in range(20)])
    assert [None if told is None else len(told) for told in entries(town, "plots")] == [None, 20]


def test_old_entries_become_one_that_stands_for_all_before(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.load("plots", [plot(n) for n in range(20)])
    monkeypatch.setattr(touched, "KEPT", 10)
    seen = set()
    for turn in range(30):
        town.load("plots", [plot(n, floors=n % 7 + (turn + 1) * (n == turn % 20)) for n in range(20)])
        rows = touched.read(town.connection, ["plots"])
        told = [row[3] for row in rows]
        assert told[0] is None
        assert None not in told[1:]
        assert [row[1] for row in rows] == list(range(rows[0][1], turn + 3))
        seen.add(len(rows))
    assert max(seen) <= 10
    assert rows[0][1] > 1
