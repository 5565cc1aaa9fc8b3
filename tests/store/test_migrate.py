"""The database follows the contracts: what is missing is added, what would lose something asks for a written file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from sdi.contract.registry import Registry, read_registry
from sdi.errors import ContractError, StoreError
from sdi.national import vn2000
from sdi.settings import ROOT
from sdi.store import check, definitions, engine, migrate, tables
from sdi.store.engine import Connection
from tests.store.town import Town, attribute, plot, shop


@pytest.fixture
def connection(new_database: Callable[[], str]) -> Iterator[Connection]:
    """An owner's connection to an empty database."""
    with engine.connect(new_database()) as connection:
        yield connection


@pytest.fixture
def changed(town: Town, contracts: Path) -> Iterator[Callable[..., Registry]]:
    """Change a file of the contracts; the database is brought back at the end."""

    def change(name: str, old: str, new: str) -> Registry:
        file = contracts / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
        return read_registry(contracts)

    with town.connection.transaction(force_rollback=True):
        yield change


def sentences(changes: list[migrate.Change]) -> list[str]:
    return [change.sentence for change in changes]


def catalogue(connection: Connection) -> list[tuple[object, ...]]:
    """What the database is made of, without what it holds."""
    return connection.execute(
        "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attacl::text,"
        " pg_get_indexdef(i.indexrelid), (SELECT string_agg(pg_get_constraintdef(k.oid), ';' ORDER BY k.conname)"
        " FROM pg_constraint k WHERE k.conrelid = c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE n.nspname IN ('sdi', 'town') ORDER BY 1, 2, 3"
    ).fetchall()


def test_what_is_planned_is_what_is_done_and_twice_is_nothing(connection: Connection, registry: Registry) -> None:
    planned = migrate.plan(connection, registry)
    assert connection.execute("SELECT to_regnamespace('sdi')").fetchone() == (None,)
    done = migrate.apply(connection, registry)
    assert sentences(done) == sentences(planned)
    assert "Create table town.plots." in sentences(done)
    assert migrate.apply(connection, registry) == []
    status = migrate.status(connection, registry)
    assert "sdi 0001_foundation" in status.applied
    assert status.pending == []


def test_the_grids_that_postgis_lacks_are_there_as_epsg(town: Town) -> None:
    rows = town.rows(
        "SELECT srid, auth_name, auth_srid FROM spatial_ref_sys WHERE srid BETWEEN 9205 AND 9218 ORDER BY 1"
    )
    assert rows == [(srid, "EPSG", srid) for srid in range(9205, 9219)]
    assert set(vn2000.GRIDS) <= {row[0] for row in town.rows("SELECT srid FROM spatial_ref_sys")} | {4326, 3857}


def test_a_change_of_grid_is_exact_and_never_crosses_the_datum(town: Town) -> None:
    point = "ST_SetSRID(ST_MakePoint(600000, 1190000), 9210)"
    east, north = town.rows(f"SELECT ST_X(g), ST_Y(g) FROM sdi.regrid({point}, 5899) g")[0]
    wanted = vn2000.regrid(np.array([[600000.0, 1190000.0]]), 9210, 5899)[0]
    assert (east, north) == pytest.approx(tuple(wanted), abs=1e-4)
    assert town.one(f"SELECT ST_SRID(sdi.regrid({point}, 9210))") == 9210
    for target in (4326, 32648, 3857, 1234):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="not grids of one datum"):
            town.rows(f"SELECT sdi.regrid({point}, {target})")


def test_rings_that_were_stored_the_other_way_round_are_turned_and_nothing_else_changes(town: Town) -> None:
    town.load("plots", [plot(n) for n in range(5)])
    town.load("plots", [plot(n, floors=9 if n < 2 else 1) for n in range(5)])
    town.load("shops", [shop("K1", 1)])
    tables = ("town.plots", "town.plots__past", "town.plot_summary")
    asked = "SELECT to_jsonb(t) - 'geom_wgs84', ST_Normalize(geom_wgs84) FROM {} t ORDER BY 1"
    for table in tables:
        town.rows(f"UPDATE {table} SET geom_wgs84 = ST_ForcePolygonCW(geom_wgs84) RETURNING 1")
    before = {table: town.rows(asked.format(table)) for table in tables}
    town.connection.execute((ROOT / "sdi/store/sql/0027_oriented.sql").read_text(encoding="utf-8"))
    for table in tables:
        assert town.rows(f"SELECT DISTINCT ST_IsPolygonCCW(geom_wgs84) FROM {table}") == [(True,)]
        assert town.rows(asked.format(table)) == before[table]
    assert town.one("SELECT ST_AsText(geom_wgs84) FROM town.shops").startswith("POINT")


def test_a_new_attribute_becomes_a_column_and_old_rows_do_not_look_changed(
    town: Town, changed: Callable[..., Registry]
) -> None:
    town.load("plots", [plot(n) for n in range(5)])
    registry = changed(
        "plots.yaml",
        attribute("floors", "integer"),
        attribute("floors", "integer") + attribute("alley", "code", "code_list: use"),
    )
    done = sentences(migrate.apply(town.connection, registry))
    assert "Add column 'alley' to town.plots." in done
    assert "Create index plots__alley__known__ix." in done
    assert "Show to the reader in town.plots: alley." in done
    assert migrate.apply(town.connection, registry) == []
    town.registry = registry
    assert town.load("plots", [plot(n, alley=None) for n in range(5)]).unchanged == 5
    assert town.load("plots", [plot(n, alley="ODT" if n == 2 else None) for n in range(5)]).updated == 1


def test_what_loses_something_is_refused_with_the_migration_to_write(
    town: Town, changed: Callable[..., Registry]
) -> None:
    changed("plots.yaml", attribute("floors", "integer"), "")
    changed("plots.yaml", attribute("ratio", "number"), attribute("ratio", "text"))
    registry = changed("zones.yaml", "type: Polygon", "type: MultiPolygon")
    with pytest.raises(ContractError) as refused:
        migrate.apply(town.connection, registry)
    text = str(refused.value)
    assert "ALTER TABLE town.plots DROP COLUMN floors;" in text
    assert "column 'ratio' of town.plots is double precision, the contract asks for text" in text
    assert "column 'geom' of town.zones is geometry(Polygon), the contract asks for geometry(MultiPolygon)" in text
    assert "layers/migrations/NNNN_" in text


def test_a_written_migration_makes_room_for_the_contract_and_runs_once(
    town: Town, changed: Callable[..., Registry], contracts: Path
) -> None:
    registry = changed("plots.yaml", attribute("floors", "integer"), "")
    (contracts / "migrations").mkdir()
    file = contracts / "migrations" / "0001_floors.sql"
    file.write_text("ALTER TABLE town.plots DROP COLUMN floors; ALTER TABLE town.plots__past DROP COLUMN floors;")
    assert sentences(migrate.apply(town.connection, registry))[0] == "Run 0001_floors.sql."
    assert migrate.apply(town.connection, registry) == []
    file.write_text("SELECT 1;")
    with pytest.raises(StoreError, match=r"0001_floors\.sql was changed after"):
        migrate.apply(town.connection, registry)


def test_an_attribute_that_becomes_restricted_is_hidden_from_the_reader(
    town: Town, changed: Callable[..., Registry]
) -> None:
    registry = changed("plots.yaml", "remark, en: remark}, privacy: agency", "remark, en: remark}, privacy: restricted")
    assert "Hide from the reader in town.plots: remark." in sentences(migrate.apply(town.connection, registry))
    assert town.one("SELECT has_column_privilege('sdi_reader', 'town.plots', 'remark', 'SELECT')") is False


def test_code_lists_are_written_and_follow_their_files(town: Town, changed: Callable[..., Registry]) -> None:
    assert town.rows("SELECT code, label_vi FROM sdi.code ORDER BY ordinal") == [
        ("ODT", "Đất ở tại đô thị"), ("CLN", "Đất trồng cây lâu năm"),
    ]  # fmt: skip
    registry = changed(
        "code_lists/use.csv",
        "Perennial crops,,2024-01-01,,,current",
        "Perennial crops,,2024-01-01,2026-07-01,ODT,superseded",
    )
    assert sentences(migrate.apply(town.connection, registry)) == ["Write code list 'use' (2 entries)."]
    assert town.one("SELECT successor FROM sdi.code WHERE code = 'CLN'") == "ODT"


def test_sql_of_a_derived_layer_that_does_not_fit_the_tables_is_refused(
    town: Town, changed: Callable[..., Registry]
) -> None:
    changed("zone_summary.sql", "count(p.id)", "count(p.idd)")
    registry = changed("plot_summary.sql", "town.heights__plots", "town.depths__plots")
    with pytest.raises(ContractError) as refused:
        migrate.apply(town.connection, registry)
    assert [(fault.file, fault.line) for fault in refused.value.faults] == [
        ("plot_summary.sql", 17),
        ("zone_summary.sql", 1),
    ]


def test_migrated_step_by_step_is_the_same_as_made_at_once(
    connection: Connection, new_database: Callable[[], str], contracts: Path
) -> None:
    whole = read_registry(contracts)
    parts = {path.name: path.read_text(encoding="utf-8") for path in contracts.glob("*.*")}
    for path in contracts.glob("*.*"):
        path.unlink()
    for names in (["zones.yaml"], ["plots.yaml"], ["shops.yaml", "heights.yaml"], list(parts)):
        for name in names:
            (contracts / name).write_text(parts[name], encoding="utf-8")
        migrate.apply(connection, read_registry(contracts))
    with engine.connect(new_database()) as other:
        migrate.apply(other, whole)
        assert catalogue(connection) == catalogue(other)


def test_a_failing_migration_changes_nothing(connection: Connection, registry: Registry, contracts: Path) -> None:
    (contracts / "migrations").mkdir()
    (contracts / "migrations" / "0001_bad.sql").write_text("CREATE TABLE sdi.half (a int); SELECT 1/0;")
    with pytest.raises(StoreError):
        migrate.apply(connection, registry)
    assert connection.execute("SELECT to_regnamespace('sdi')").fetchone() == (None,)


# --- the doctor ---------------------------------------------------------------------------------------------------


def examined(connection: Connection) -> dict[str, str]:
    return {found.what: found.state for found in check.examine(connection)}


def test_a_sound_database_is_found_sound(town: Town) -> None:
    assert set(examined(town.connection).values()) == {"ok"}


def test_an_empty_database_is_told_to_be_migrated(connection: Connection) -> None:
    found = list(check.examine(connection))
    assert found[-1].state == "error"
    assert found[-1].cure == "Run 'sdi db migrate'."


def test_a_private_reference_system_of_ogr2ogr_is_found(town: Town) -> None:
    with town.connection.transaction(force_rollback=True):
        town.connection.execute(
            "INSERT INTO spatial_ref_sys SELECT 900914, auth_name, auth_srid, srtext, proj4text"
            " FROM spatial_ref_sys WHERE srid = 9210;"
            " CREATE TABLE town.stray (geom geometry(Point, 900914)); DELETE FROM spatial_ref_sys WHERE srid = 9213"
        )
        found = examined(town.connection)
    assert (found["grids"], found["reference systems"], found["geometry columns"]) == ("error", "warning", "warning")


def test_the_types_that_are_written_are_those_of_the_tables() -> None:
    registry = read_registry(ROOT / "layers")
    made = {(table.schema, table.name): table for table in definitions.tables(registry)}
    for layer in registry:
        if layer.coverage is None:
            table = made[layer.theme, layer.id]
            assert tables.types(layer) == {column.name: definitions.type_of(column) for column in table.columns}
