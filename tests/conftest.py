"""A real PostGIS server, fresh databases in it, and the real files, for every test that needs them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

pytest_plugins = ["tests.deployment"]

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SDI_SHARED_DATA", ROOT.parent / "shared" / "data"))

for name in [
    name for name in os.environ if name.startswith("SDI_") and not name.startswith(("SDI_TEST_", "SDI_SHARED_"))
]:
    del os.environ[name]


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """The folder of a set of real files; skips by the set's name where it is absent."""

    def folder(name: str) -> Path:
        path = SHARED / name
        if not path.is_dir():
            pytest.skip(f"real data set '{name}' is not on this machine")
        return path

    return folder


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a superuser's maintenance database on a real PostgreSQL server with PostGIS."""
    given = os.environ.get("SDI_TEST_SERVER_URL")
    if given:
        yield given
        return
    from sdi.store import cluster

    folder = tmp_path_factory.mktemp("cluster")
    url = cluster.start(folder)
    yield url
    cluster.remove(folder)


def with_database(url: str, name: str) -> str:
    """The same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def new_database(server_url: str) -> Iterator[Callable[[], str]]:
    """Make an empty database; all are dropped when the session ends."""
    made: list[str] = []

    def create() -> str:
        name = f"t_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        made.append(name)
        return with_database(server_url, name)

    yield create
    with psycopg.connect(server_url, autocommit=True) as connection:
        for name in made:
            drop = psycopg.sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(drop.format(psycopg.sql.Identifier(name)))
