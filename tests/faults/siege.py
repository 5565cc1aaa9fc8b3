"""A small town that is loaded and broken off: files of an old and a new state, and a reader who never looks away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import rasterio
from rasterio.transform import from_origin

from sdi.contract.delivery import Request
from sdi.national import vn2000
from tests.conftest import ROOT
from tests.deployment import Deployment
from tests.store.town import EAST, GRID, NORTH

COUNT = 240
LAYERS = ("plots", "shops", "zones", "plot_summary", "zone_summary", "heights__plots")


@dataclass
class Breaker:
    """Loads in processes of their own that something happens to."""

    process: subprocess.Popen[str]
    order: dict[str, Any]

    def __call__(self, layer: str, path: Path | None, **said: Any) -> dict[str, Any]:
        """Run one load; `status` is the process's exit code, negative for the signal that ended it."""
        order = {**self.order, "layer": layer, "path": str(path), "clock": "wire", "at": 0, **said}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        said_by_it = Path(order["answer"])
        assert answer["status"] in (0, -9), answer
        told = json.loads(said_by_it.read_text()) if said_by_it.exists() else {"error": None, "sites": []}
        return answer | told


@dataclass(frozen=True)
class Besieged(Deployment):
    """The town's deployment, the files of its states, and who breaks its loads."""

    folder: Path
    temporary: Path
    files: dict[str, Path]
    breaker: Breaker
    connection: psycopg.Connection[Any]

    def state(self) -> str:
        return state_of(self.connection)

    def settle(self) -> None:
        """Bring the town to its old state."""
        for layer in ("zones", "shops", "plots"):
            assert self.load(layer, self.files[f"{layer}_old"]) is not None

    def load(self, layer: str, path: Path, **said: Any) -> Any:
        with self.loader() as connection:
            from sdi import pipeline

            request = Request(path, steward="chi_nhanh_q1", **said)
            outcome = pipeline.deliver(connection, self.settings, self.registry, layer, request, wait=20.0)
        assert outcome.load is not None, outcome.report.to_json()
        assert outcome.report.quarantined == 0, outcome.report.by_rule()
        return outcome.load

    def wait_for_quiet(self) -> None:
        """Until the server has noticed that its client is gone."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sdi'"
        until = time.monotonic() + 20
        while self.connection.execute(query).fetchone() != (0,):
            assert time.monotonic() < until, "a loader's server process outlives its client"
            time.sleep(0.005)

    def catalogue(self) -> list[tuple[Any, ...]]:
        """Every table and index that there is, whatever schema, and whether it may be used."""
        return self.connection.execute(
            "SELECT n.nspname, c.relname, c.relkind, c.relpersistence, i.indisvalid, i.indisready"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i"
            " ON i.indexrelid = c.oid WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
            " AND c.relname !~ '^pg_toast' ORDER BY 1, 2"
        ).fetchall()

    def running(self) -> int:
        row = self.connection.execute("SELECT count(*) FROM sdi.load WHERE status = 'running'").fetchone()
        assert row is not None
        return int(row[0])

    def left_behind(self) -> list[str]:
        """Files of the loads' temporary folder."""
        found = [path.relative_to(self.temporary).as_posix() for path in self.temporary.rglob("*") if path.is_file()]
        return [name for name in found if not Path(name).name.startswith(".sdi-work")]


def state_of(connection: psycopg.Connection[Any]) -> str:
    """What is served, as one value from one statement: every row of every layer, and what is said of them."""
    rows = ", ".join(
        f"(SELECT md5(string_agg(md5({hashed(name)}), '' ORDER BY id)) FROM town.{name} t)" for name in LAYERS
    )
    row = connection.execute(
        f"SELECT concat_ws(' ', {rows}, (SELECT string_agg(concat_ws('|', layer, published, count, west, south, east,"
        " north, grids, (SELECT status FROM sdi.load l WHERE l.load_id = p.load_id)), ' ' ORDER BY layer)"
        " FROM sdi.publication p))".encode()
    ).fetchone()
    assert row is not None
    return str(row[0])


def hashed(name: str) -> str:
    """A derived row's hash is not part of its state: it is made when the row is first compared."""
    if name == "heights__plots":
        return "t::text"
    beside = "- 'load_id' - 'source_row'" + (" - 'row_hash'" if name in ("plot_summary", "zone_summary") else "")
    return f"(to_jsonb(t) {beside})::text"


@contextmanager
def watched(url: str, look: Callable[[psycopg.Connection[Any]], str] = state_of) -> Iterator[set[str]]:
    """Somebody reads all the while; gives the states that he sees."""
    seen: set[str] = set()
    over = threading.Event()
    failed: list[BaseException] = []

    def read() -> None:
        try:
            with psycopg.connect(url, autocommit=True, application_name="faults") as connection:
                while not over.is_set():
                    seen.add(look(connection))
                    time.sleep(0.04)
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
    assert not failed, failed


# --- files --------------------------------------------------------------------------------------------------------


def square(x: float, y: float, side: float) -> list[list[list[float]]]:
    ring = np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]])
    return [vn2000.to_wgs84(ring, GRID).round(9).tolist()]


def collection(path: Path, kind: str, features: list[tuple[dict[str, Any], Any]]) -> Path:
    made = [
        {"type": "Feature", "properties": said, "geometry": {"type": kind, "coordinates": place}}
        for said, place in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": made}), encoding="utf-8")
    return path


def plots(path: Path, numbers: range, floors: int, ward: str = "00001") -> Path:
    """Squares of 20 m, sixteen to a street; in each state all have one number of floors."""
    return collection(path, "Polygon", [
        ({"code": f"P{n}", "ward": ward, "use": "ODT", "area": 400, "floors": floors},
         square(EAST + n % 16 * 20, NORTH + n // 16 * 20, 20))
        for n in numbers
    ])  # fmt: skip


def heights(path: Path, metres: float) -> Path:
    profile = {
        "driver": "GTiff", "width": 40, "height": 40, "count": 1, "dtype": "float32", "crs": f"EPSG:{GRID}",
        "nodata": -9999.0, "transform": from_origin(EAST - 50, NORTH + 400, 12, 12),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(np.full((1, 40, 40), metres, "float32"))
    return path


def files(folder: Path) -> dict[str, Path]:
    def shops(path: Path, count: int) -> Path:
        return collection(path, "Point", [
            ({"number": f"S{n}", "plot": f"P{n}"}, square(EAST + n * 20 + 5, NORTH + 5, 1)[0][0]) for n in range(count)
        ])  # fmt: skip

    return {
        "zones_old": collection(folder / "zones_old.geojson", "Polygon", [
            ({"zone": f"Z{n}", "storeys": 5}, square(EAST + n * 80, NORTH, 79)) for n in range(4)
        ]),
        "shops_old": shops(folder / "shops_old.geojson", 12),
        "plots_old": plots(folder / "plots_old.geojson", range(COUNT), 1),
        "plots_new": plots(folder / "plots_new.geojson", range(40, COUNT + 40), 2),
        "heights_old": heights(folder / "heights_old.tif", 3.0),
        "heights_new": heights(folder / "heights_new.tif", 7.0),
    }  # fmt: skip


@contextmanager
def besieged(at: Deployment, folder: Path) -> Iterator[Besieged]:
    temporary = folder / "tmp"
    temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SDI_", "PG"))}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "OPENBLAS_NUM_THREADS": "1"}
    assert at.settings.database_url is not None
    url = at.settings.database_url.get_secret_value()
    order = {
        "url": url, "layers": str(at.settings.layers), "data": str(at.settings.data), "grid": GRID,
        "steward": "chi_nhanh_q1", "answer": str(folder / "answer.json"),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(Path(__file__).with_name("interrupted.py"))],
        env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process, psycopg.connect(url, autocommit=True, application_name="faults") as connection:
        yield Besieged(at.settings, at.registry, folder, temporary, files(folder), Breaker(process, order), connection)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
