"""What the service looks at when it starts."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from psycopg import sql

from sdi.contract.registry import read_registry
from sdi.store import engine, indexes, migrate
from tests.service.conftest import TOWN, served

GEOMETRY = "plots__geom_wgs84__ix"


def warned(text: str) -> list[list[str]]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line["indexes"] for line in lines if line["event"] == "indexes are missing"]


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
