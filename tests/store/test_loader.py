"""Loads are deltas in one transaction: what changed is written, what fails leaves the old layer."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest
import shapely

from sdi.contract.report import Finding, Found, Report
from sdi.errors import ContractError, NotFound, StoreError, UsageError
from sdi.store import derived, engine, findings, ledger, loader
from tests.store.town import Town, delivery, features, plot, shop, terminate, zone


def temporary_tables(town: Town) -> list[str]:
    return [row[0] for row in town.rows("SELECT relname FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'")]


def test_every_type_of_attribute_comes_back_as_it_was_delivered(town: Town) -> None:
    town.load("plots", [plot(3)])
    row = town.rows(
        "SELECT id, code, use, area, floors, ratio, listed, surveyed_on, seen_at, uses, dispute, remark FROM town.plots"
    )[0]
    assert row == (
        "P3", "P3", "ODT", Decimal("400.00"), 3, 1.0, False, date(2026, 7, 1), datetime(2026, 7, 1, 8, 30, tzinfo=UTC),
        [{"id": "ODT", "share": 1.0}], None, "Thửa số «một»",
    )  # fmt: skip


def test_the_master_geometry_keeps_its_grid_and_wgs84_stands_beside_it(town: Town) -> None:
    town.load("plots", [plot(0)])
    grid, area, code = town.rows("SELECT ST_SRID(geom), ST_Area(geom), ST_SRID(geom_wgs84) FROM town.plots")[0]
    assert (grid, code) == (9210, 4326)
    assert area == 400


def test_deliveries_of_one_layer_may_lie_in_two_grids(town: Town) -> None:
    town.load("zones", [zone("Z1", 0)])
    other = features(town.registry["zones"], [zone("Z2", 3)], grid=5899)
    rows = pa.concat_tables([features(town.registry["zones"], [zone("Z1", 0)]), other])
    with town.connection.transaction():
        layer = town.registry["zones"]
        loader.load(town.connection, layer, town.registry, rows, None, delivery(layer), Report("zones", "1.0.0"))
    assert ledger.published(town.connection)["zones"].grids == (5899, 9210)


def test_a_grid_that_nobody_knows_is_refused_by_the_table(town: Town) -> None:
    layer = town.registry["zones"]
    rows = features(layer, [zone("Z1", 0)])
    strange = shapely.to_wkb(shapely.set_srid(shapely.box(0, 0, 1, 1), 2044), include_srid=True)
    rows = rows.set_column(rows.column_names.index("geom"), "geom", pa.array([strange], pa.binary()))
    with pytest.raises(StoreError), town.connection.transaction():
        loader.load(town.connection, layer, town.registry, rows, None, delivery(layer), Report("zones", "1.0.0"))
    assert town.ids("zones") == set()


def test_personal_attributes_have_no_column(town: Town) -> None:
    columns = town.rows("SELECT attname FROM pg_attribute WHERE attrelid = 'town.plots'::regclass AND attnum > 0")
    assert ("remark",) in columns
    assert ("owner",) not in columns


def test_the_same_delivery_again_writes_nothing_and_keeps_the_generation(settled: Town) -> None:
    before = ledger.published(settled.connection)
    version = ledger.version(settled.connection)
    where = settled.rows("SELECT id, ctid::text, load_id FROM town.plots ORDER BY id")
    done = settled.load("plots", [plot(n, ward="00001" if n < 10 else "00002") for n in reversed(range(20))])
    after = ledger.published(settled.connection)
    assert (done.written, done.unchanged) == (0, 20)
    assert settled.rows("SELECT id, ctid::text, load_id FROM town.plots ORDER BY id") == where
    assert {name: p.generation for name, p in after.items()} == {name: p.generation for name, p in before.items()}
    assert after["plots"].load_id == done.load_id
    assert ledger.version(settled.connection) > version


def test_a_decimal_with_other_zeros_behind_the_point_is_no_change(town: Town) -> None:
    town.load("plots", [plot(1, area=Decimal("400.50"))])
    layer = town.registry["plots"]
    rows = features(layer, [plot(1, area=Decimal("400.50"))])
    index = rows.column_names.index("area")
    for column in (pa.array([Decimal("400.5")], pa.decimal128(38, 1)), pa.array([400.5], pa.float64())):
        with town.connection.transaction():
            done = loader.load(
                town.connection, layer, town.registry, rows.set_column(index, "area", column), None, delivery(layer),
                Report("plots", "1.0.0"),
            )  # fmt: skip
        assert done.written == 0


def test_only_what_changed_is_written_and_the_old_rows_move_to_the_past(settled: Town) -> None:
    rows = [plot(n, ward="00001" if n < 10 else "00002") for n in range(20)]
    rows[4]["floors"] = 99
    rows[5]["geom"] = shapely.multipolygons([shapely.box(600_000, 1_190_020, 600_020, 1_190_041)])
    rows[6] = plot(30, ward="00001")
    done = settled.load("plots", rows)
    assert (done.inserted, done.updated, done.deleted, done.unchanged) == (1, 2, 1, 17)
    assert settled.ids("plots") == {f"P{n}" for n in range(20)} - {"P6"} | {"P30"}
    past = settled.rows("SELECT id, floors, load_to FROM town.plots__past ORDER BY id")
    assert past == [("P4", 4, done.load_id), ("P5", 5, done.load_id), ("P6", 6, done.load_id)]
    touched = settled.rows("SELECT id FROM town.plots WHERE load_id = %s ORDER BY id", done.load_id)
    assert [row[0] for row in touched] == ["P30", "P4", "P5"]


def test_awkward_values_come_back_exactly(town: Town) -> None:
    early = datetime(1899, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    rows = [
        plot(0, area=Decimal("-0.01"), surveyed_on=date(1, 1, 1), seen_at=early, floors=-(2**63), ratio=1e-300),
        plot(1, area=Decimal("12345678901234567890.12"), surveyed_on=date(9999, 12, 31), floors=2**63 - 1, ratio=0.1),
        plot(2, area=Decimal("0.00"), remark="", code="P2", use="a\\b\t\"c\"\n'd' %s {x}"),
        plot(3, ward="w", area=None, floors=None, ratio=None, listed=None, surveyed_on=None, seen_at=None, uses=None),
        plot(
            4,
            area=Decimal("10000.00"),
            uses=[{"id": "Đ\u1ea5t", "share": 0.1 + 0.2}],
            seen_at=datetime(2038, 1, 20, tzinfo=UTC),
        ),
    ]
    assert town.load("plots", rows).inserted == 5
    names = ("area", "floors", "ratio", "listed", "surveyed_on", "seen_at", "uses", "remark", "use")
    found = town.rows(f"SELECT {', '.join(names)} FROM town.plots ORDER BY id")
    assert found == [tuple(row[name] for name in names) for row in rows]
    assert town.load("plots", rows).written == 0


def test_null_and_empty_text_are_two_things(town: Town) -> None:
    town.load("shops", [shop("S1", 0, None)])
    assert town.load("shops", [shop("S1", 0, None, plot="")]).updated == 1
    assert town.load("shops", [shop("S1", 0, None)]).updated == 1


def test_a_full_delivery_ends_what_is_absent_within_the_wards_it_delivers(settled: Town) -> None:
    done = settled.load("plots", [plot(n, ward="00001") for n in range(9)])
    assert done.deleted == 1
    assert settled.ids("plots") == {f"P{n}" for n in range(20)} - {"P9"}


def test_a_feature_that_moves_to_another_ward_is_changed_not_ended(settled: Town) -> None:
    done = settled.load("plots", [plot(n, ward="00002") for n in range(9, 20)])
    assert (done.inserted, done.updated, done.deleted) == (0, 1, 0)


def test_a_partial_delivery_never_ends_anything(settled: Town) -> None:
    done = settled.load("shops", [shop("S0", 1, 1)])
    assert (done.updated, done.deleted) == (1, 0)
    assert len(settled.ids("shops")) == 6


def test_a_full_delivery_without_scope_ends_all_that_is_absent(settled: Town) -> None:
    assert settled.load("zones", [zone("Z1", 2, storeys=1)]).deleted == 2


def test_a_full_delivery_without_a_good_feature_does_not_end_the_layer(settled: Town) -> None:
    with pytest.raises(UsageError, match="end all"):
        settled.load("zones", [])
    assert len(settled.ids("zones")) == 3


def test_a_feature_in_quarantine_keeps_its_old_state(settled: Town) -> None:
    rows = [plot(n, ward="00001", floors=50) for n in range(9)]
    done = settled.load("plots", rows, quarantined=[plot(9)])
    assert (done.deleted, done.kept, done.quarantined) == (0, 1, 1)
    assert settled.one("SELECT floors FROM town.plots WHERE id = 'P9'") == 2
    entry = ledger.history(settled.connection, "plots")[0]
    assert (entry.kept, entry.quarantined, entry.read) == (1, 1, 10)
    held = settled.rows("SELECT id, source_row, attributes ->> 'raw', ST_SRID(geom) FROM sdi.quarantine")
    assert held == [("P9", 101, "a\ufffdb", 9210)]
    assert [finding["feature"] for finding in findings.read(settled.connection, done.load_id)] == ["P9"]


def test_a_shape_that_no_library_reads_goes_to_quarantine_without_it(town: Town) -> None:
    layer = town.registry["zones"]
    open_ring = bytes.fromhex("01030000000100000003000000") + b"\0" * 24 + b"\x40" * 24
    held = pa.table(
        {
            "source_row": pa.array([7], pa.int32()), "id": pa.array([None], pa.string()), "findings": ["[]"],
            "attributes": ["{}"], "geom": pa.array([open_ring], pa.binary()), "geom_wgs84": pa.nulls(1),
        }
    )  # fmt: skip
    with town.connection.transaction():
        loader.load(
            town.connection, layer, town.registry, features(layer, [zone("Z1", 0)]), held, delivery(layer),
            Report("zones", "1.0.0", 2, 1, 1),
        )  # fmt: skip
    assert town.rows("SELECT source_row, geom FROM sdi.quarantine") == [(7, None)]


def test_features_come_as_a_stream_of_batches_too(town: Town) -> None:
    layer = town.registry["plots"]
    table = features(layer, [plot(n) for n in range(50)])

    def stream() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(table.schema, iter(table.to_batches(max_chunksize=7)))

    for written in (50, 0):
        with town.connection.transaction():
            done = loader.load(
                town.connection, layer, town.registry, stream, None, delivery(layer), Report("plots", "1.0.0", 50, 50)
            )
        assert done.written == written


# --- the ledger ---------------------------------------------------------------------------------------------------


def test_the_ledger_says_who_what_and_how(settled: Town) -> None:
    entry = ledger.history(settled.connection, "shops")[0]
    assert (entry.status, entry.kind, entry.mode) == ("done", "features", "partial")
    assert (entry.steward, entry.file_name, entry.sha256) == ("chi_nhanh_q1", "shops.gpkg", "ab" * 32)
    assert (entry.crs_used, entry.encoding, entry.grid, entry.operation) == ("EPSG:9210", "UTF-8", 9210, 6960)
    assert (entry.contract_version, entry.inserted) == ("1.0.0", 6)
    assert entry.delivery is not None
    assert entry.delivery["driver"] == "GPKG"
    assert entry.finished_at is not None


def test_a_derived_layers_entry_names_the_load_that_caused_it(settled: Town) -> None:
    done = settled.load("shops", [shop("S0", 19, 19)])
    entry = ledger.history(settled.connection, "plot_summary")[0]
    assert (entry.kind, entry.cause) == ("derived", done.load_id)


def test_a_refused_delivery_stands_in_the_ledger_and_the_old_layer_stays(settled: Town) -> None:
    layer = settled.registry["zones"]
    report = Report("zones", "1.0.0", 5, 0, 0)
    report.findings = Found(
        [Finding("place.outside", "error", "refuse", value=5, limit="EPSG:9210", place=(106.7, 10.8))]
    )
    before = ledger.published(settled.connection)
    load_id = ledger.refuse(settled.connection, layer, delivery(layer), report)
    entry = ledger.history(settled.connection, "zones")[0]
    assert (entry.load_id, entry.status, entry.read, entry.by_rule) == (load_id, "refused", 5, {"place.outside": 1})
    finding = findings.read(settled.connection, load_id)[0]
    assert finding["place"] == [106.7, 10.8]
    assert "nằm ngoài" in finding["vi"]
    assert ledger.published(settled.connection) == before
    with pytest.raises(RuntimeError), settled.connection.transaction():
        loader.load(
            settled.connection, layer, settled.registry, features(layer, []), None, delivery(layer), report
        )  # fmt: skip


# --- publishing ---------------------------------------------------------------------------------------------------


def test_the_first_load_publishes_and_says_count_extent_grids_and_time(settled: Town) -> None:
    plots = ledger.published(settled.connection)["plots"]
    assert (plots.count, plots.grids, plots.generation) == (20, (9210,), 1)
    assert plots.extent is not None
    west, south, east, north = plots.extent
    assert 106.66 < west < east < 106.67
    assert 10.7 < south < north < 10.8
    assert plots.time_start == datetime(2026, 7, 1, tzinfo=UTC)
    assert plots.time_end is None
    assert ledger.published(settled.connection)["plot_summary"].count == 20


def test_a_withdrawn_layer_stays_withdrawn_when_it_is_loaded(settled: Town) -> None:
    layer = settled.registry["zones"]
    version = ledger.version(settled.connection)
    ledger.withdraw(settled.connection, layer)
    assert ledger.version(settled.connection) == version + 1
    settled.load("zones", [zone("Z9", 1)])
    assert "zones" not in ledger.published(settled.connection)
    assert ledger.publications(settled.connection)["zones"].count == 1
    ledger.publish(settled.connection, layer)
    assert ledger.published(settled.connection)["zones"].count == 1


def test_a_layer_without_a_load_cannot_be_published(town: Town) -> None:
    with pytest.raises(NotFound, match="Nothing was loaded"):
        ledger.publish(town.connection, town.registry["zones"])


def test_services_are_notified_at_the_commit(settled: Town) -> None:
    with engine.connect(settled.url) as listener:
        listener.execute("LISTEN sdi")
        settled.load("zones", [zone("Z9", 1)])
        heard = {notice.payload for notice in listener.notifies(timeout=5, stop_after=1)}
        heard |= {notice.payload for notice in listener.notifies(timeout=0.2)}
    assert "zones" in heard
    assert "plot_summary" in heard


# --- who may ------------------------------------------------------------------------------------------------------


def test_the_loader_role_loads_and_cannot_change_tables(settled: Town) -> None:
    with engine.connect(settled.url, engine.LOADER) as connection:
        as_loader = Town(settled.url, settled.registry, connection)
        assert as_loader.load("zones", [zone("Z7", 1)]).inserted == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE town.plots")


def test_the_reader_sees_open_and_agency_columns_and_no_others(settled: Town) -> None:
    with engine.connect(settled.url, engine.READER) as reader:
        assert reader.execute("SELECT id, remark, geom, geom_wgs84, load_id FROM town.plots").fetchone() is not None
        for hidden in (
            "SELECT dispute FROM town.plots", "SELECT * FROM town.plots__past", "SELECT * FROM sdi.quarantine",
            "SELECT steward FROM sdi.load", "SELECT * FROM sdi.finding", "DELETE FROM town.plots",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(hidden)
        assert ledger.version(reader) > 0
        assert "plots" in ledger.published(reader)


# --- faults -------------------------------------------------------------------------------------------------------


def state(town: Town) -> list[list[tuple[object, ...]]]:
    tables = ("plots", "zones", "shops", "plot_summary", "zone_summary", "plots__past", "zones__past")
    rows = [town.rows(f"SELECT id, row_hash, load_id FROM town.{table} ORDER BY id, load_id") for table in tables]
    return [*rows, town.rows("SELECT layer, generation, count FROM sdi.publication ORDER BY layer")]


def test_bad_sql_of_a_derived_layer_leaves_the_old_layers_and_the_next_load_works(settled: Town) -> None:
    before = state(settled)
    file = settled.registry.folder / "plot_summary.sql"
    good = file.read_text()
    file.write_text(good.replace("p.code,", "p.kode,"))
    with pytest.raises(ContractError, match=r"plot_summary\.sql:5: .*kode"):
        settled.load("zones", [zone("Z5", 1)])
    file.write_text(good.replace("z.area AS zoned", "z.area / 0 AS zoned"))
    with pytest.raises(ContractError, match="SQLSTATE 22012"):
        settled.load("zones", [zone("Z5", 1)])
    assert state(settled) == before
    assert temporary_tables(settled) == []
    file.write_text(good)
    assert settled.load("zones", [zone("Z5", 1)]).inserted == 1


@pytest.mark.parametrize("when", ["while copying", "before the derived layers", "before the commit"])
def test_a_killed_connection_leaves_the_old_layers_and_the_next_load_works(settled: Town, when: str) -> None:
    before = state(settled)
    doomed = engine.connect(settled.url)
    layer = settled.registry["plots"]
    table = features(layer, [plot(n, floors=77, ward="00001") for n in range(3000)])
    pid = doomed.info.backend_pid

    def stream():  # type: ignore[no-untyped-def]
        for number, batch in enumerate(table.to_batches(max_chunksize=100)):
            if when == "while copying" and number == 20:
                terminate(settled.url, pid)
            yield batch

    def load() -> None:
        with ledger.recorded(doomed, layer, delivery(layer)) as load_id, doomed.transaction():
            loader.load(
                doomed,
                layer,
                settled.registry,
                lambda: pa.RecordBatchReader.from_batches(table.schema, stream()),
                None,
                delivery(layer),
                Report("plots", "1.0.0"),
                load_id=load_id,
            )
            if when == "before the derived layers":
                terminate(settled.url, pid)
            derived.refresh(doomed, settled.registry, load_id)
            if when == "before the commit":
                terminate(settled.url, pid)
                with engine.translated():
                    doomed.execute("SELECT 1")

    with pytest.raises(StoreError):
        load()
    assert state(settled) == before
    assert temporary_tables(settled) == []
    assert ledger.history(settled.connection, "plots")[0].status == "failed"
    done = settled.load("plots", [plot(n, floors=8, ward="00001") for n in range(10)])
    assert done.updated > 0
    entries = ledger.history(settled.connection, "plots")
    assert [entry.status for entry in entries[:2]] == ["done", "failed"]


def test_a_load_that_fails_in_python_is_entered_as_failed(settled: Town) -> None:
    layer = settled.registry["plots"]

    def load() -> None:
        with ledger.recorded(settled.connection, layer, delivery(layer)), settled.connection.transaction():
            settled.load_alone("plots", [plot(1)])
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        load()
    assert ledger.history(settled.connection, "plots")[0].status == "failed"
    assert len(settled.ids("plots")) == 20


def test_a_second_loader_of_one_layer_is_told_who_holds_it(settled: Town) -> None:
    layer = settled.registry["zones"]
    with (
        engine.connect(settled.url) as other,
        ledger.recorded(other, layer, delivery(layer, steward="an_other")) as load_id,
        other.transaction(),
    ):
        loader.load(
                other, layer, settled.registry, features(layer, [zone("Z8", 1)]), None, delivery(layer),
                Report("zones", "1.0.0"), load_id=load_id,
            )  # fmt: skip
        with pytest.raises(StoreError, match=f"load {load_id} by 'an_other'"):
            settled.load("zones", [zone("Z9", 1)])
    assert settled.ids("zones") == {"Z8"}


def test_two_layers_are_loaded_at_once_and_the_derived_layer_knows_both(settled: Town) -> None:
    def load(layer: str, rows: list[dict[str, object]]) -> None:
        with engine.connect(settled.url) as connection:
            Town(settled.url, settled.registry, connection).load(layer, rows)

    for turn in range(5):
        threads = [
            threading.Thread(target=load, args=("zones", [zone(f"Z{turn}", turn % 4)])),
            threading.Thread(target=load, args=("plots", [plot(n, floors=turn) for n in range(turn, 20)])),
            threading.Thread(target=load, args=("shops", [shop(f"S{turn}", turn * 3, turn)])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with settled.connection.transaction():
            assert derived.refresh(settled.connection, settled.registry, rebuild=True) == []
