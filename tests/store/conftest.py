"""The small town's contracts, and its database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdi.contract.registry import Registry, read_registry
from sdi.store import engine, migrate
from tests.store.town import CONTRACTS, Town, plot, shop, zone


def write_contracts(folder: Path) -> Path:
    (folder / "code_lists").mkdir(parents=True)
    for name, text in CONTRACTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    """The town's folder of contracts."""
    return write_contracts(tmp_path / "layers")


@pytest.fixture
def registry(contracts: Path) -> Registry:
    return read_registry(contracts)


@pytest.fixture(scope="session")
def built(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a migrated database of the town."""
    url = new_database()
    with engine.connect(url) as connection:
        migrate.apply(connection, read_registry(write_contracts(tmp_path_factory.mktemp("town") / "layers")))
    return url


@pytest.fixture
def town(built: str, registry: Registry) -> Iterator[Town]:
    """An empty town."""
    with engine.connect(built) as connection:
        tables = connection.execute(
            "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'town' OR schemaname = 'sdi' AND tablename IN ('load', 'publication')"
        ).fetchone()
        assert tables is not None
        connection.execute(f"TRUNCATE {tables[0]} CASCADE".encode())
        connection.execute("UPDATE sdi.contract SET built_sha256 = NULL")
        yield Town(built, registry, connection)


@pytest.fixture
def settled(town: Town) -> Town:
    """A town of 20 plots in two wards, 6 shops and 3 zones."""
    town.load("zones", [zone(f"Z{n}", n * 2, storeys=n) for n in range(3)])
    town.load("plots", [plot(n, ward="00001" if n < 10 else "00002") for n in range(20)])
    town.load("shops", [shop(f"S{n}", n, n) for n in range(6)])
    return town
