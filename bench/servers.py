"""Our service, a bare route and stock pygeoapi, each as worker processes of uvicorn on a free port of this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from bare import statements
from cases import NATIVE, USE, Contender, at_bare, ogc
from land import LAYER
from process import tree

from sdi.access import PUBLIC, visible
from sdi.contract.layer import Layer
from sdi.service.texts.shelf import LEAST, LOOK, SUFFIX
from sdi.settings import ROOT, Settings
from sdi.store import engine

TILE = "/tiles/WebMercatorQuad/{z}/{y}/{x}?f=mvt"
MVT = "application/vnd.mapbox-vector-tile"
TEXTS = {"SDI_READY_TEXT": "16384"}
"""Megabytes: ten million parcels need 6,700."""
PATIENCE = 1800
"""Seconds until texts are ready."""
FILTER = "filter=" + quote(f"land_use_code='{USE}'")
NATIVE_TABLE = "parcels_native"
_CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"


@contextmanager
def ours(settings: Settings, workers: int, *, anew: bool = False) -> Iterator[Contender]:
    """The service as `sdi serve` runs it. `anew`: it keeps no answer as it was given, and no tile."""
    environment = {"SDI_DATABASE_URL": engine.database_url(settings), "SDI_DATA": str(settings.data), **TEXTS}
    environment |= {"SDI_KEPT_ANSWERS": "0"} if anew else {}
    application = "kept:anew" if anew else "sdi.service.app:from_environment"
    more = ("--factory", "--app-dir", str(Path(__file__).parent))
    with uvicorn(application, environment, workers, *more) as (port, process):
        native = f"/items?crs={quote(NATIVE, safe='')}"
        address = ogc(f"/collections/{LAYER}", filters=FILTER, native=native, tile=TILE)
        wait_for_texts(settings)
        name = "sdi anew" if anew else "sdi"
        yield Contender(name, port, address, [process.pid], f"/collections/{LAYER}")


def wait_for_texts(settings: Settings) -> None:
    """Until the layer's texts are ready, and every worker has found them. They are made anew when PostgreSQL starts."""
    with engine.connect(engine.database_url(settings)) as connection:
        ((started, count),) = connection.execute(
            "SELECT extract(epoch FROM pg_postmaster_start_time()), count FROM sdi.publication WHERE layer = %s",
            [LAYER],
        ).fetchall()
    begun = time.monotonic()
    while count >= LEAST and time.monotonic() - begun < PATIENCE:
        files = list((settings.data / "texts").glob(f"{LAYER}-*{SUFFIX}"))
        if any(file.stat().st_mtime > started for file in files):
            time.sleep(3 * LOOK)
            return
        time.sleep(0.2)
    if count >= LEAST:
        sys.exit("the texts were not made ready")


@contextmanager
def bare(settings: Settings, layer: Layer, folder: Path, workers: int) -> Iterator[Contender]:
    """The bare route over the same table."""
    file = folder / "statements.json"
    file.write_text(json.dumps(statements(layer)), encoding="utf-8")
    environment = {"BARE_DATABASE": engine.database_url(settings), "BARE_STATEMENTS": str(file)}
    more = ("--factory", "--app-dir", str(Path(__file__).parent))
    with uvicorn("bare:application", environment, workers, *more) as (port, process):
        yield Contender("bare", port, at_bare, [process.pid])


@contextmanager
def stock(settings: Settings, layer: Layer, folder: Path, workers: int) -> Iterator[Contender | None]:
    """pygeoapi as it comes, its PostgreSQL and MVT providers on the layer's table; None without psycopg2."""
    if importlib.util.find_spec("psycopg2") is None:
        yield None
        return
    from pygeoapi.openapi import generate_openapi_document

    with free() as port:
        configuration, description = folder / "pygeoapi.json", folder / "openapi.json"
        configuration.write_text(json.dumps(_configuration(settings, layer, port)), encoding="utf-8")
        description.write_text(generate_openapi_document(configuration, "json"), encoding="utf-8")
    environment = {"PYGEOAPI_CONFIG": str(configuration), "PYGEOAPI_OPENAPI": str(description)}
    with uvicorn("pygeoapi.starlette_app:APP", environment, workers, port=port) as (_, process):
        native = f"_native/items?crs={quote(NATIVE, safe='')}"
        address = ogc(f"/collections/{LAYER}", filters=FILTER, native=native, tile=TILE)
        yield Contender("pygeoapi", port, address, [process.pid], f"/collections/{LAYER}")


def _configuration(settings: Settings, layer: Layer, port: int) -> dict[str, Any]:
    """Only what the public sees of the table, in WGS 84 as it is stored; beside it a table in the grid as it is."""
    schema, table = layer.table
    url = urlunsplit(urlsplit(engine.database_url(settings))._replace(scheme="postgresql+psycopg2"))
    provider = {
        "type": "feature", "name": "PostgreSQL", "data": url, "options": {"search_path": [schema, "public"]},
        "table": table, "id_field": "id", "geom_field": "geom_wgs84", "properties": list(visible(PUBLIC, layer)),
    }  # fmt: skip
    native = provider | {
        "table": NATIVE_TABLE, "options": {"search_path": ["bench", "public"]}, "geom_field": "geom",
        "storage_crs": NATIVE, "crs": [_CRS84, NATIVE],
    }  # fmt: skip
    options = provider["options"] | {"zoom": {"min": 0, "max": 22}}
    tile = provider | {
        "type": "tile", "name": "MVT-postgresql", "format": {"name": "pbf", "mimetype": MVT}, "options": options,
    }  # fmt: skip
    text = {"title": "bench", "description": "bench", "keywords": ["bench"]}
    extents = {"spatial": {"bbox": [102, 7, 118, 24], "crs": _CRS84}}
    collection = {"type": "collection", **text, "links": [], "extents": extents}
    here = f"http://127.0.0.1:{port}"
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port}, "url": here, "mimetype": "application/json",
            "encoding": "utf-8", "languages": ["en-US"], "limits": {"default_items": 10, "max_items": 10_000},
            "map": {"url": "https://127.0.0.1/{z}/{x}/{y}.png", "attribution": "none"},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {**text, "terms_of_service": "none", "url": here},
            "license": {"name": "none", "url": here}, "provider": {"name": "bench", "url": here},
            "contact": {"name": "bench", "url": here},
        },
        "resources": {
            LAYER: collection | {"providers": [provider, tile]},
            f"{LAYER}_native": collection | {"providers": [native]},
        },
    }  # fmt: skip


# --- processes ----------------------------------------------------------------------------------------------------


@contextmanager
def free() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        yield int(listening.getsockname()[1])


@contextmanager
def uvicorn(
    application: str, environment: Mapping[str, str], workers: int, *more: str, python: str = sys.executable,
    port: int | None = None, ready: str = "/conformance?f=json",
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:  # fmt: skip
    """Worker processes of an ASGI application: the port and the first process."""
    if port is None:
        with free() as port:
            pass
    command = [
        python, "-m", "uvicorn", application, "--host", "127.0.0.1", "--port", str(port), "--log-level", "error",
        "--no-access-log", "--timeout-keep-alive", "600", "--workers", str(workers), *more,
    ]  # fmt: skip
    # Links of our service begin with its own address, for clients that follow them.
    told = {"SDI_URL": f"http://127.0.0.1:{port}", **environment}
    with running(command, told) as process:
        wait(application, port, ready, process)
        yield port, process


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], stdin: Any = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:  # fmt: skip
    """A server's process, ended with the block."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("SDI_", "PYGEOAPI_", "TIPG_"))
    }
    process = subprocess.Popen(
        command, env={**inherited, "PYTHONPATH": str(ROOT), **environment}, stdin=stdin,
        stdout=subprocess.DEVNULL, stderr=None if "BENCH_LOUD" in os.environ else subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        processes = tree(process.pid)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            # MapServer ends with its next request only, a worker of uvicorn with the statement under way.
            for each in processes:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            process.wait(30)


def wait(name: str, port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers; ends the measurement when it does not."""
    begun = time.monotonic()
    while not _answers(port, path):
        if process.poll() is not None or time.monotonic() - begun > 300:
            sys.exit(f"{name} did not start")
        time.sleep(0.1)


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
