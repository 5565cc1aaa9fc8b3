"""What the service looks at when it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from psycopg import sql

from sdi.contract.registry import read_registry
from sdi.settings import ROOT
from sdi.store import definitions, engine, indexes, migrate, tables
from tests.service.conftest import TOWN, served

GEOMETRY = "plots__geom_wgs84__ix"
HEAVY = {"pyarrow", "pyogrio", "rasterio", "sqlalchemy", "geoalchemy2", "exactextract", "pgpq", "jwt", "cryptography"}
"""Libraries of which a worker has no use, or none until somebody asks for what they make."""


def warned(text: str) -> list[list[str]]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line["indexes"] for line in lines if line["event"] == "indexes are missing"]


def test_a_worker_holds_no_library_that_nobody_asked_for_yet() -> None:
    asked = f"import sys, sdi.service.app; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.split() == []


def test_the_indexes_that_are_looked_for_are_those_that_a_migration_makes() -> None:
    for folder in (TOWN, ROOT / "layers"):
        registry = read_registry(folder)
        made = {(str(table.schema), table.name): {str(index.name) for index in table.indexes}
                for table in definitions.tables(registry)}  # fmt: skip
        asked = {
            (layer.theme, table): names
            for layer in registry
            for table, names in tables.index_names(layer, registry).items()
        }
        assert asked == made
        keyed = {(str(table.schema), table.name) for table in definitions.tables(registry) if table.primary_key.columns}
        assert keyed == {key for key in asked if not key[1].endswith("__past")}


def test_a_missing_and_a_broken_index_are_told_and_the_service_starts(
    new_database: Callable[[], str], capfd: pytest.CaptureFixture[str]
) -> None:
    registry = read_registry(TOWN)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
        assert indexes.missing(connection, registry) == []
        assert indexes.examine(connection, registry).state == "ok"
        with served(database, registry) as town:
            assert town.ask("/health").status == 200
        assert warned(capfd.readouterr().err) == []
        connection.execute(sql.SQL("DROP INDEX testtown.{}").format(sql.Identifier(GEOMETRY)))
        connection.execute("ALTER TABLE testtown.works DROP CONSTRAINT works_pkey")
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'testtown.plots__load_id__ix'::regclass"
        )
        told = [f"testtown.{GEOMETRY}", "testtown.plots__load_id__ix", "testtown.works (primary key)"]
        assert sorted(indexes.missing(connection, registry)) == sorted(told)
        found = indexes.examine(connection, registry)
        assert found.state == "warning"
        assert GEOMETRY in found.finding
        with served(database, registry) as town:
            assert town.ask("/health").status == 200
        ((listed),) = warned(capfd.readouterr().err)
        assert sorted(listed) == sorted(told)
