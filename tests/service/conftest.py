"""A small town with contracts of its own, in a real PostGIS, served by a real uvicorn on a free loopback port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
import uvicorn
from fastapi import FastAPI
from rasterio.transform import from_origin

from sdi.contract.delivery import Delivery
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry, read_registry
from sdi.contract.report import Finding, Found, Report
from sdi.national import vn2000
from sdi.service import create_app, lanes
from sdi.service.wall.protocol import Guarded
from sdi.settings import Settings
from sdi.store import derived, engine, ledger, loader, migrate
from sdi.store.sharing import agencies

ROOT = Path(__file__).resolve().parents[2]
TOWN = Path(__file__).parent / "town"
CORNER = (588000.0, 2326000.0)
"""South-west corner of the town in EPSG:5897, near Hoàn Kiếm."""
SIZE = 20.0
"""Metres along a plot's side."""
ROWS, COLUMNS = 5, 8
AWKWARD = 'Cá nhân <b>"Nguyễn & Ỷ Lan"</b> \\ </script>'


@dataclass
class Town:
    """The served town. `get` asks the service as a client does."""

    url: str
    database: str
    registry: Registry
    settings: Settings
    process: int | None = None
    """The number of the process that serves it, where that is one of its own."""

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        host, port = self.url.removeprefix("http://").split(":")
        connection = HTTPConnection(host, int(port), timeout=60)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Any:
        """The JSON of a 200."""
        answer = self.ask(path, **headers)
        assert answer.status == 200, (path, answer.status, answer.body[:500])
        return json.loads(answer.body)


@dataclass
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def plot_ring(row: int, column: int) -> shapely.MultiPolygon:
    x, y = CORNER[0] + column * SIZE, CORNER[1] + row * SIZE
    return shapely.MultiPolygon([shapely.box(x, y, x + SIZE, y + SIZE)])


def plots() -> tuple[pa.Table, list[shapely.Geometry]]:
    """40 plots; every seventh is defence land, one has awkward text, one a number beyond 2^53."""
    cells = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
    shapes = [plot_ring(*cell) for cell in cells]
    ids = [f"00004.{row + 1}.{column + 1}" for row, column in cells]
    count = len(cells)
    uses = ["CQP" if index % 7 == 6 else "CLN" if index % 3 == 1 else "ODT" for index in range(count)]
    uses[3] = None
    kinds = ["Cá nhân" if index % 2 else "Tổ chức" for index in range(count)]
    kinds[0] = AWKWARD
    columns = {
        "id": pa.array(ids),
        "key": pa.array(ids),
        "number": pa.array([2**53 + 1 if index == 1 else index + 1 for index in range(count)], pa.int64()),
        "owner_kind": pa.array(kinds),
        "use": pa.array(uses),
        "legal_area": pa.array([400.1 + index for index in range(count)], pa.float64()),
        "height": pa.array([None if index == 5 else 5.5 + index for index in range(count)], pa.float64()),
        "disputed": pa.array([index % 5 == 0 for index in range(count)]),
        "valid_from": pa.array([date(2020 + index % 6, 1, 15) for index in range(count)]),
        "valid_to": pa.array([date(2025, 7, 1) if index % 10 == 9 else None for index in range(count)]),
        "changed_at": pa.array(
            [datetime(2026, 1, 1, 8, index, tzinfo=UTC) for index in range(count)], pa.timestamp("us", "UTC")
        ),
        "uses": pa.array([json.dumps([{"code": "ODT", "area": 300.5}, {"code": "CLN", "area": 99.6}])] * count),
        "hidden_note": pa.array(["mật"] * count),
        "unfindable": pa.array(["x"] * count),
    }
    return pa.table(columns), shapes


def works() -> tuple[pa.Table, list[shapely.Geometry]]:
    """Four permits in EPSG:5897, of which one has a slash in its number, and one in EPSG:3405."""
    ids = ["01/GPXD", "02", "03", "04", "05"]
    shapes = [shapely.Point(CORNER[0] + 10 + SIZE * index, CORNER[1] + 10) for index in range(4)]
    far = vn2000.regrid(np.array([(CORNER[0] + 1000, CORNER[1] + 1000)]), 5897, 3405)[0]
    columns = {
        "id": pa.array(ids),
        "permit": pa.array(ids),
        "floors": pa.array([1, 2, 3, 4, 5], pa.int64()),
        "issued": pa.array([date(2026, month, 1) for month in range(1, 6)]),
    }
    return pa.table(columns), [*shapes, shapely.Point(*far)]


def deliver(
    database: str, registry: Registry, layer: Layer, table: pa.Table, shapes: list[Any], grids: list[int],
    findings: Iterable[Finding] = (), *, held: pa.Table | None = None, file_name: str | None = None,
) -> None:  # fmt: skip
    """Load features as the pipeline does, derived layers included. `held`: rows for the quarantine."""
    wgs84, native = [], []
    for shape, grid in zip(shapes, grids, strict=True):
        native.append(shapely.to_wkb(shapely.set_srid(shape, grid), include_srid=True))
        moved = shapely.transform(shape, lambda xy, grid=grid: vn2000.to_wgs84(xy, grid))
        wgs84.append(shapely.to_wkb(shapely.set_srid(moved, 4326), include_srid=True))
    table = table.append_column("geom", pa.array(native, pa.binary()))
    table = table.append_column("geom_wgs84", pa.array(wgs84, pa.binary()))
    table = table.append_column("source_row", pa.array(range(1, len(table) + 1), pa.int32()))
    count = len(table), 0 if held is None else len(held)
    report = Report(layer.id, layer.version, sum(count), *count, findings=Found(findings))
    handed_in = delivery(layer, grids[0])
    if file_name is not None:
        handed_in = replace(handed_in, file_name=file_name)
    with engine.connect(database) as connection, connection.transaction():
        loader.load(connection, layer, registry, table, held, handed_in, report)
        derived.refresh(connection, registry)


def delivery(layer: Layer, grid: int) -> Delivery:
    return Delivery(
        file_name=f"{layer.id}.gpkg",
        sha256="0" * 64,
        size=1,
        driver="GPKG",
        layer_in_file=layer.id,
        feature_count=1,
        encoding="UTF-8",
        crs_declared=None,
        crs_used=f"EPSG:{grid}",
        grid=grid,
        operation=6960,
        steward="test",
    )


def enter_ground(database: str, registry: Registry, folder: Path) -> None:
    """A 40 × 30 coverage of 5 m cells over the town, with two bands and a hole."""
    path = folder / "ground.tif"
    elevation = np.arange(30 * 40, dtype="float32").reshape(30, 40) / 10
    elevation[0, 0] = -9999
    profile = {
        "driver": "GTiff",
        "width": 40,
        "height": 30,
        "count": 2,
        "dtype": "float32",
        "crs": "EPSG:5897",
        "transform": from_origin(CORNER[0], CORNER[1] + 150, 5, 5),
        "nodata": -9999,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(elevation, 1)
        file.write(elevation / 100, 2)
    bounds = [CORNER[0], CORNER[1], CORNER[0] + 200, CORNER[1] + 150]
    corners = vn2000.to_wgs84(np.array([(bounds[0], bounds[1]), (bounds[2], bounds[3])]), 5897)
    extent = (*corners[0].tolist(), *corners[1].tolist())
    layer = registry["ground"]
    with engine.connect(database) as connection, connection.transaction():
        facts = {"file": str(path), "bounds": bounds}
        report = Report(layer.id, layer.version)
        loader.enter_coverage(connection, layer, delivery(layer, 5897), report, extent=extent, facts=facts)


@pytest.fixture(scope="session")
def town(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    registry = read_registry(TOWN)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
        agencies.add(connection, "so_thu", "department", "Sở Thử nghiệm", "Department of Tests")
    table, shapes = works()
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    secret = pa.table({"id": ["a"], "name": ["a"]})
    deliver(database, registry, registry["secrets"], secret, [shapely.Point(*CORNER)], [5897])
    enter_ground(database, registry, tmp_path_factory.mktemp("ground"))
    with served(database, registry, data=tmp_path_factory.mktemp("data")) as found:
        yield found


class served:
    """A running service over a database; a context manager."""

    def __init__(
        self, database: str, registry: Registry, also: Callable[[FastAPI], None] = lambda app: None, **settings: Any
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        told = {"title_vi": "Thị trấn thử", "title_en": "Test town", "max_limit": 30, "default_limit": 10} | settings
        # A kept answer may be half a second old; a test asks right after a load.
        told = {"kept_answers": 0} | told
        self.settings = Settings(url=url, **told)
        app = create_app(self.settings, registry, url=database)
        also(app)
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="warning", access_log=False, http=Guarded, ws="none",
            proxy_headers=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.town = Town(url, database, registry, self.settings)

    def __enter__(self) -> Town:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the service did not start"
            time.sleep(0.02)
        return self.town

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


@contextmanager
def served_apart(
    town: Town, workers: int = 1, *, factory: str = "sdi.service.app:from_environment", log: IO[bytes] | None = None,
    **said: str,
) -> Iterator[Town]:  # fmt: skip
    """The same town served by processes of their own: GDAL holds the interpreter's lock while it asks.

    `log`: a file that takes what they write. `said`: other settings, as environment variables.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "SDI_DATABASE_URL": town.database,
        "SDI_LAYERS": str(TOWN),
        "SDI_URL": url,
        "SDI_DEFAULT_LIMIT": "10",
        "SDI_MAX_LIMIT": "30",
        "PYTHONPATH": str(ROOT),
        **said,
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        factory,
        "--port",
        str(port),
        "--workers",
        str(workers),
        "--log-level",
        "warning",
        "--no-access-log",
        "--no-proxy-headers",
    ]
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=log or subprocess.DEVNULL, stderr=log or subprocess.DEVNULL
    )
    apart = Town(url, town.database, town.registry, town.settings, process.pid)
    try:
        began = time.monotonic()
        while not _answers(apart):
            assert process.poll() is None, "the service did not start"
            assert time.monotonic() - began < 120, "the service did not start"
            time.sleep(0.1)
        yield apart
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _answers(town: Town) -> bool:
    try:
        return town.ask("/health").status == 200
    except OSError:
        return False


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it makes every page too large to be held."""

    def run() -> None:
        monkeypatch.setattr(lanes, "HELD", 0)

    return run


@pytest.fixture
def publish(town: Town) -> Callable[[str], None]:
    def run(layer: str) -> None:
        with engine.connect(town.database) as connection:
            ledger.publish(connection, town.registry[layer])

    return run


@pytest.fixture
def withdraw(town: Town) -> Callable[[str], None]:
    def run(layer: str) -> None:
        with engine.connect(town.database) as connection:
            ledger.withdraw(connection, town.registry[layer])

    return run
