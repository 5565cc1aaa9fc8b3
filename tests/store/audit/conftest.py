"""One database for all: entries are only added, so the tests look at what they added themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdi.contract.registry import Registry, read_registry
from sdi.store import engine, migrate
from tests.store.conftest import write_contracts


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_contracts(tmp_path_factory.mktemp("audited") / "layers")


@pytest.fixture(scope="module")
def registry(contracts: Path) -> Registry:
    return read_registry(contracts)


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str], registry: Registry) -> str:
    url = new_database()
    with engine.connect(url) as connection:
        migrate.apply(connection, registry)
    return url


@pytest.fixture
def owner(database: str) -> Iterator[engine.Connection]:
    with engine.connect(database, engine.OWNER) as connection:
        yield connection


@pytest.fixture
def tampered(database: str) -> Callable[[str], object]:
    """Around a look at the trail: a superuser's hand in it, taken back afterwards."""

    @contextmanager
    def tamper(*statements: str) -> Iterator[engine.Connection]:
        with engine.connect(database) as root, root.transaction(force_rollback=True):
            root.execute("SET LOCAL session_replication_role = replica")  # no trigger fires
            for statement in statements:
                root.execute(statement.encode())
            yield root

    return tamper
