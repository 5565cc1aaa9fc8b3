"""Our service, a bare route and stock pygeoapi, each as worker processes of uvicorn on a free port of this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sdi.access import PUBLIC, visible
from sdi.contract.layer import Layer
from sdi.settings import ROOT, Settings
from sdi.store import engine


@contextmanager
def ours(settings: Settings, workers: int) -> Iterator[int]:
    """The port of the service as `sdi serve` runs it."""
    environment = {"SDI_DATABASE_URL": engine.database_url(settings), "SDI_DATA": str(settings.data)}
    with _running("sdi.service.app:from_environment", environment, workers, "--factory") as port:
        yield port


@contextmanager
def bare(settings: Settings, statements: list[str], folder: Path, workers: int) -> Iterator[int]:
    """The port of the bare route over these statements."""
    file = folder / "statements.json"
    file.write_text(json.dumps(statements), encoding="utf-8")
    environment = {"BARE_DATABASE": engine.database_url(settings), "BARE_STATEMENTS": str(file)}
    with _running(
        "bare:application", environment, workers, "--factory", "--app-dir", str(Path(__file__).parent)
    ) as port:
        yield port


@contextmanager
def stock(settings: Settings, layer: Layer, limit: int, folder: Path, workers: int) -> Iterator[int | None]:
    """The port of pygeoapi as it comes, its PostgreSQL provider on the layer's table; None without psycopg2."""
    if importlib.util.find_spec("psycopg2") is None:
        yield None
        return
    from pygeoapi.openapi import generate_openapi_document

    configuration, description = folder / "pygeoapi.json", folder / "openapi.json"
    configuration.write_text(json.dumps(_configuration(settings, layer, limit)), encoding="utf-8")
    description.write_text(generate_openapi_document(configuration, "json"), encoding="utf-8")
    environment = {"PYGEOAPI_CONFIG": str(configuration), "PYGEOAPI_OPENAPI": str(description)}
    with _running("pygeoapi.starlette_app:APP", environment, workers) as port:
        yield port


def _configuration(settings: Settings, layer: Layer, limit: int) -> dict[str, Any]:
    """Only what the public sees of the table, in WGS 84 as it is stored: nothing is transformed."""
    schema, table = layer.table
    url = urlunsplit(urlsplit(engine.database_url(settings))._replace(scheme="postgresql+psycopg2"))
    provider = {
        "type": "feature", "name": "PostgreSQL", "data": url, "options": {"search_path": [schema]}, "table": table,
        "id_field": "id", "geom_field": "geom_wgs84", "properties": list(visible(PUBLIC, layer)),
    }  # fmt: skip
    text = {"title": "bench", "description": "bench", "keywords": ["bench"]}
    extents = {"spatial": {"bbox": [102, 7, 118, 24], "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}}
    collection = {"type": "collection", **text, "links": [], "extents": extents, "providers": [provider]}
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": 5000}, "url": "http://127.0.0.1:5000", "mimetype": "application/json",
            "encoding": "utf-8", "languages": ["en-US"], "limits": {"default_items": 10, "max_items": limit},
            "map": {"url": "https://127.0.0.1/{z}/{x}/{y}.png", "attribution": "none"},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {**text, "terms_of_service": "none", "url": "http://127.0.0.1:5000"},
            "license": {"name": "none", "url": "http://127.0.0.1:5000"}, "provider": {"name": "bench", "url": "http://127.0.0.1:5000"},
            "contact": {"name": "bench", "url": "http://127.0.0.1:5000"},
        },
        "resources": {layer.id: collection},
    }  # fmt: skip


@contextmanager
def _running(application: str, environment: dict[str, str], workers: int, *more: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [
        sys.executable, "-m", "uvicorn", application, "--host", "127.0.0.1", "--port", str(port),
        "--log-level", "error", "--no-access-log", "--timeout-keep-alive", "600", "--workers", str(workers), *more,
    ]  # fmt: skip
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SDI_", "PYGEOAPI_"))}
    process = subprocess.Popen(
        command,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        begun = time.monotonic()
        while not _answers(port):
            if process.poll() is not None or time.monotonic() - begun > 120:
                sys.exit(f"{application} did not start")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/conformance?f=json")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
