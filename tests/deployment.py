"""Deployments for tests, loaded by tests/conftest.py: fresh ones, the demo city in one, and their service."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.contract.registry import Registry, read_registry
from sdi.demo import city
from sdi.service.app import create_app
from sdi.settings import ROOT, Settings
from sdi.store import engine, migrate
from sdi.store.engine import Connection

PARCELS = 1500


@dataclass(frozen=True)
class Deployment:
    """Settings, contracts and a migrated database."""

    settings: Settings
    registry: Registry

    @contextmanager
    def loader(self) -> Iterator[Connection]:
        with engine.connect(engine.database_url(self.settings), engine.LOADER) as connection:
            yield connection

    def deliver(self, layer: str, path: Path, **said: Any) -> pipeline.Outcome:
        request = Request(path, steward="test", **said)
        with self.loader() as connection:
            return pipeline.deliver(connection, self.settings, self.registry, layer, request)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with engine.connect(engine.database_url(self.settings)) as connection:
            return connection.execute(query.encode(), parameters).fetchall()


@dataclass(frozen=True)
class DemoCity(Deployment):
    folder: Path
    outcomes: list[pipeline.Outcome]
    planted: list[dict[str, Any]]

    def findings(self, layer: str) -> list[Any]:
        return [found for outcome in self.outcomes if outcome.layer.id == layer for found in outcome.report.findings]


@contextmanager
def serving(at: Deployment, also: Callable[[FastAPI], None] = lambda app: None) -> Iterator[str]:
    """The service on a free port of this machine, in a thread; gives its URL, with which its links begin.

    `also`: what else is done to the application before it runs.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = create_app(at.settings.model_copy(update={"url": url}), at.registry)
        also(app)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.02)
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="session")
def new_deployment(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Deployment]:
    """A fresh deployment; `layers`: another folder of contracts, `said`: other settings."""

    def make(layers: Path = ROOT / "layers", **said: Any) -> Deployment:
        url = new_database()
        registry = read_registry(layers)
        with engine.connect(url) as connection:
            migrate.apply(connection, registry)
        data = tmp_path_factory.mktemp("data")
        return Deployment(Settings(database_url=url, layers=layers, data=data, **said), registry)

    return make


@pytest.fixture(scope="session")
def demo_city(new_deployment: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory) -> DemoCity:
    """The demo city, delivered through the whole way into a real database, once for all tests."""
    folder = tmp_path_factory.mktemp("city")
    city.generate(folder, parcels=PARCELS)
    at = new_deployment()
    with at.loader() as connection:
        outcomes = [
            pipeline.deliver(connection, at.settings, at.registry, layer, request)
            for layer, request in city.deliveries(folder)
        ]
    planted = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["planted"]
    return DemoCity(at.settings, at.registry, folder, outcomes, planted)
