"""Derived layers follow every load, and what they hold is what a full rebuild would make."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import shapely

from sdi.contract.registry import read_registry
from sdi.contract.report import Report
from sdi.store import derived, ledger, loader, migrate, statistics
from tests.store.town import Town, delivery, plot, shop, zone


def summary(town: Town, column: str) -> dict[str, Any]:
    return dict(town.rows(f"SELECT id, {column} FROM town.plot_summary"))


def rebuilt(town: Town) -> list[int]:
    """How many rows a full rebuild would write into each derived layer that it changes; nothing when they are right."""
    with town.connection.transaction(force_rollback=True):
        return [made.written for made in derived.refresh(town.connection, town.registry, rebuild=True)]


def heights(town: Town, figures: dict[str, float], *, whole: bool = True, sha256: str = "cd" * 32) -> int:
    """A coverage with its statistics on plots, derived layers brought along."""
    coverage, plots = town.registry["heights"], town.registry["plots"]
    with town.connection.transaction():
        done = loader.enter_coverage(
            town.connection, coverage, delivery(coverage, sha256=sha256), Report("heights", "1.0.0"),
            extent=(106.6, 10.7, 106.7, 10.8), facts={"file": "heights.tif"},
        )  # fmt: skip
        table = pa.table(
            {
                "id": list(figures), "height_mean": list(figures.values()),
                "height_max": [value + 1 for value in figures.values()],
            }
        )  # fmt: skip
        written = statistics.write(town.connection, coverage, plots, table, whole=whole, load_id=done.load_id)
        derived.refresh(town.connection, town.registry, done.load_id)
    return written


def test_areas_are_measured_in_the_subjects_own_grid(settled: Town) -> None:
    zoned = summary(settled, "zoned")
    assert zoned["P0"] == pytest.approx(400)
    assert zoned["P5"] == pytest.approx(300)


def test_only_the_subjects_that_a_change_touches_are_made_anew(settled: Town) -> None:
    done = settled.load("zones", [zone("Z0", 0, storeys=0), zone("Z1", 2.5, storeys=1), zone("Z2", 4, storeys=2)])
    assert done.updated == 1
    touched = {row[0] for row in settled.rows("SELECT id FROM town.plot_summary WHERE load_id > %s", done.load_id)}
    assert "P12" in touched
    assert touched.isdisjoint({f"P{n}" for n in range(5)})
    assert rebuilt(settled) == []


def test_a_change_that_changes_no_result_writes_no_row(settled: Town) -> None:
    before = ledger.published(settled.connection)["plot_summary"].generation
    settled.load("zones", [zone("Z0", 0, storeys=9), zone("Z1", 2, storeys=1), zone("Z2", 4, storeys=2)])
    assert ledger.published(settled.connection)["plot_summary"].generation == before


def test_a_key_finds_the_subject_it_names_now_and_the_one_it_named_before(settled: Town) -> None:
    assert summary(settled, "shops") == {f"P{n}": int(n < 6) for n in range(20)}
    settled.load("shops", [shop("S0", 0, 17)])
    counted = summary(settled, "shops")
    assert (counted["P0"], counted["P17"]) == (0, 1)


def test_a_shop_without_a_place_is_found_by_its_key(settled: Town) -> None:
    settled.load("shops", [shop("S9", 0, 19, geom=None)])
    assert summary(settled, "shops")["P19"] == 1


def test_reach_finds_subjects_beyond_the_changed_shape(settled: Town) -> None:
    before = summary(settled, "near")
    settled.load("shops", [shop("S9", 12, None)])
    near = summary(settled, "near")
    assert {plot for plot in near if near[plot] > before[plot]} == {
        f"P{n}" for n in (2, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18)
    }
    assert rebuilt(settled) == []


def test_a_derived_row_is_hashed_when_it_is_first_compared(town: Town) -> None:
    lengths = "SELECT id, octet_length(row_hash) FROM town.plot_summary{} ORDER BY id"
    town.load("plots", [plot(0), plot(40)])
    assert town.rows(lengths.format("")) == [("P0", 0), ("P40", 0)]
    town.load("plots", [plot(0, remark="Khác"), plot(40)])
    assert town.rows(lengths.format("")) == [("P0", 0), ("P40", 0)], "nothing of its summary is another"
    town.load("shops", [shop("S0", 0, 0)])
    assert town.rows(lengths.format("")) == [("P0", 16), ("P40", 0)]
    assert town.rows(lengths.format("__past")) == [("P0", 16)]


def test_a_change_of_what_the_sql_does_not_read_touches_no_subject(settled: Town) -> None:
    def at(storeys: int, street: float) -> list[dict[str, Any]]:
        return [zone("Z0", street, storeys=storeys), zone("Z1", 2, storeys=1), zone("Z2", 4, storeys=2)]

    zones = next(source for source in settled.registry["plot_summary"].derived.inputs if source.layer == "zones")
    marked = "UPDATE town.plot_summary SET height = -1, row_hash = ''"
    for reads, anew in (([], False), (["storeys"], True), (None, True)):
        object.__setattr__(zones, "reads", reads)
        settled.load("shops", [shop("S0", 0, 0)])  # every row is right, and made by this contract
        settled.connection.execute(marked)
        settled.load("zones", at(100 + len(reads or "…"), 0))
        assert (summary(settled, "height")["P0"] is None) == anew
        settled.load("zones", at(0, 0))
    object.__setattr__(zones, "reads", [])
    settled.load("shops", [shop("S0", 0, 0)])
    settled.connection.execute(marked)
    settled.load("zones", at(0, 0.5))
    assert summary(settled, "height")["P0"] is None


def test_the_rows_of_an_ended_subject_end_with_it(settled: Town) -> None:
    done = settled.load("plots", [plot(n, ward="00001") for n in range(9)])
    assert "P9" not in settled.ids("plot_summary")
    assert settled.rows("SELECT id FROM town.plot_summary__past WHERE load_to > %s", done.load_id) == [("P9",)]


def test_a_change_goes_on_through_derived_layers(settled: Town) -> None:
    before = dict(settled.rows("SELECT id, shops FROM town.zone_summary"))
    settled.load("shops", [shop("S9", 0, 0)])
    after = dict(settled.rows("SELECT id, shops FROM town.zone_summary"))
    assert after["Z0"] == before["Z0"] + 1
    assert after["Z2"] == before["Z2"]


def test_another_sql_makes_every_row_anew_at_the_next_load(settled: Town) -> None:
    file = settled.registry.folder / "plot_summary.sql"
    file.write_text(file.read_text().replace("k.plot = p.code)", "k.plot = p.code) + 100"))
    settled.load("shops", [shop("S9", 0, 0)])
    assert set(summary(settled, "shops").values()) == {100, 101, 102}
    assert rebuilt(settled) == []


def test_a_code_list_that_the_sql_reads_makes_every_row_anew(settled: Town) -> None:
    layer = settled.registry["plot_summary"]
    (settled.registry.folder / "plot_summary.sql").write_text(
        settled.registry.sql(layer).replace(
            "p.code,", "p.code || (SELECT min(label_en) FROM sdi.code WHERE list = 'use') AS code,"
        )
    )
    settled.load("shops", [shop("S9", 0, 0)])
    assert summary(settled, "code")["P1"] == "P1Perennial crops"
    codes = settled.registry.folder / "code_lists" / "use.csv"
    codes.write_text(codes.read_text().replace("Perennial crops", "Orchards"), encoding="utf-8")
    changed = read_registry(settled.registry.folder)
    with settled.connection.transaction(force_rollback=True):
        migrate.apply(settled.connection, changed)
        derived.refresh(settled.connection, changed)
        assert summary(settled, "code")["P1"] == "P1Orchards"


def test_nothing_changed_nothing_made(settled: Town) -> None:
    with settled.connection.transaction():
        assert derived.refresh(settled.connection, settled.registry) == []


# --- coverages ----------------------------------------------------------------------------------------------------


def test_a_coverage_is_published_and_its_figures_reach_derived_layers(settled: Town) -> None:
    assert heights(settled, {f"P{n}": float(n) for n in range(20)}) == 20
    assert summary(settled, "height")["P7"] == 7.0
    publication = ledger.published(settled.connection)["heights"]
    assert (publication.facts, publication.extent) == ({"file": "heights.tif"}, (106.6, 10.7, 106.7, 10.8))


def test_only_figures_that_differ_are_written(settled: Town) -> None:
    heights(settled, {f"P{n}": float(n) for n in range(20)})
    before = settled.one("SELECT max(load_id) FROM sdi.load")
    assert heights(settled, {f"P{n}": float(n) for n in range(19)} | {"P3": 9.0}, sha256="ef" * 32) == 2
    assert settled.rows("SELECT id FROM town.heights__plots WHERE height_mean = 9 ORDER BY id") == [("P3",), ("P9",)]
    remade = settled.rows("SELECT id, height FROM town.plot_summary WHERE load_id > %s ORDER BY id", before)
    assert remade == [("P19", None), ("P3", 9.0)]


def test_the_same_coverage_again_changes_nothing(settled: Town) -> None:
    heights(settled, {"P1": 1.0})
    before = ledger.published(settled.connection)["heights"]
    with settled.connection.transaction():
        coverage = settled.registry["heights"]
        done = loader.enter_coverage(
            settled.connection, coverage, delivery(coverage, sha256="cd" * 32), Report("heights", "1.0.0"),
            extent=(106.6, 10.7, 106.7, 10.8), facts={},
        )  # fmt: skip
        assert statistics.due(settled.connection, settled.registry) == []
    assert (done.written, done.unchanged) == (0, 1)
    assert ledger.published(settled.connection)["heights"] == before


def test_changed_shapes_are_due_for_new_figures(settled: Town) -> None:
    heights(settled, {f"P{n}": float(n) for n in range(20)})
    with settled.connection.transaction():
        rows = [plot(n, ward="00001") for n in range(8)] + [plot(50), plot(51)]
        settled.load_alone("plots", rows)
        (due,) = statistics.due(settled.connection, settled.registry)
        assert (due.coverage.id, due.layer.id, due.ids) == ("heights", "plots", ("P50", "P51"))
        table = statistics.geometries(settled.connection, due.layer, due.ids)
    assert sorted(table["id"].to_pylist()) == ["P50", "P51"]
    shape = shapely.from_wkb(table["geom"][0].as_py())
    assert shapely.get_srid(shape) == 9210
    assert settled.one("SELECT count(*) FROM town.heights__plots WHERE id IN ('P8', 'P9')") == 0


def test_a_new_coverage_is_due_for_all_features(settled: Town) -> None:
    coverage = settled.registry["heights"]
    with settled.connection.transaction():
        loader.enter_coverage(
            settled.connection, coverage, delivery(coverage), Report("heights", "1.0.0"),
            extent=(106.6, 10.7, 106.7, 10.8), facts={},
        )  # fmt: skip
        (due,) = statistics.due(settled.connection, settled.registry)
        assert due.ids is None
        assert statistics.geometries(settled.connection, due.layer, due.ids).num_rows == 20


# --- the property -------------------------------------------------------------------------------------------------


class Script:
    """A random history of a town, and what its layers should hold."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.held: dict[str, dict[str, dict[str, Any]]] = {"plots": {}, "shops": {}, "zones": {}}

    def feature(self, layer: str) -> dict[str, Any]:
        pick = self.chance.randrange
        if layer == "plots":
            number = pick(30)
            row = plot(
                pick(30), floors=pick(4), area=Decimal(pick(4)), ward=self.chance.choice(["00001", "00002", "00003"])
            )
            return row | {"id": f"P{number}", "code": f"P{number}"}
        if layer == "shops":
            place = self.chance.choice([None, pick(300) / 10])
            row = shop(f"S{pick(15)}", place or 0, self.chance.choice([None, pick(30)]))
            return row | ({"geom": None} if place is None else {})
        return zone(f"Z{pick(6)}", pick(60) / 10, storeys=pick(3))

    def step(self, town: Town) -> None:
        layer = self.chance.choice(["plots", "shops", "zones"])
        fresh = {row["id"]: row for row in (self.feature(layer) for _ in range(self.chance.randrange(1, 8)))}
        held = self.held[layer]
        if layer == "shops":
            rows = fresh
            held |= fresh
        elif layer == "zones":
            kept = {key: row for key, row in held.items() if self.chance.random() < 0.8}
            self.held[layer] = rows = kept | fresh
        else:
            wards = {row["ward"] for row in fresh.values()}
            kept = {key: row for key, row in held.items() if row["ward"] in wards and self.chance.random() < 0.8}
            rows = kept | fresh
            wards |= {row["ward"] for row in rows.values()}
            self.held[layer] = {key: row for key, row in held.items() if row["ward"] not in wards} | rows
        order = list(rows.values())
        self.chance.shuffle(order)
        town.load(layer, order)

    def holds(self, town: Town) -> None:
        for layer, rows in self.held.items():
            found = dict(town.rows(f"SELECT id, ST_AsEWKB(geom) FROM town.{layer}"))
            assert found.keys() == rows.keys()
            for key, row in rows.items():
                shape = None if found[key] is None else shapely.from_wkb(bytes(found[key]))
                assert (shape is None) == (row["geom"] is None)
                assert shape is None or shapely.equals_identical(shape, row["geom"])


@pytest.mark.parametrize("seed", range(6))
def test_after_any_history_every_layer_holds_what_was_delivered_and_what_a_rebuild_makes(town: Town, seed: int) -> None:
    script = Script(seed)
    for _ in range(25):
        script.step(town)
        assert rebuilt(town) == [], f"seed {seed}"
    script.holds(town)
    history = town.rows("SELECT id, load_id, load_to FROM town.plots__past")
    assert all(born < ended for _, born, ended in history)


def test_a_load_of_very_much_makes_all_anew_and_right(town: Town) -> None:
    town.load("zones", [zone(f"Z{n}", n) for n in range(20)])
    done = town.load("plots", [plot(n) for n in range(1200)])
    entry = ledger.history(town.connection, "plot_summary")[0]
    assert (entry.cause, entry.inserted) == (done.load_id, 1200)
    assert rebuilt(town) == []
