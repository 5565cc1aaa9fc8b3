"""A delivery from end to end beside programs that only load: ogr2ogr with COPY, and geopandas.to_postgis.

In each round everybody takes the same file into a fresh database of one server, in turn; shown are medians. Ours is
`deliver()`: read, conformed, held against every check of the contract, loaded with history, indexed, what is derived of
it made, published. Then the same file with another address in every hundredth row, delivered whole. Memory is that of
the client's processes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from urllib.parse import urlsplit, urlunsplit

import psycopg
from land import arguments, show, write
from ours import STAGES
from process import Ran, run
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sdi.contract.registry import read_registry
from sdi.settings import ROOT
from sdi.store import cluster, engine, migrate

MOST = 3_000_000
DELTA = 0.01
FORMATS = {".gpkg": "GeoPackage", ".shp": "Shapefile"}
TEMPLATE, SCRATCH = "bench_template", "bench_scratch"


def main() -> None:
    parser = arguments(__doc__, MOST, usual=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are shown (3)")
    parser.add_argument("--memory", action="store_true", help="then ours with three times as many, for its memory")
    parser.add_argument("--geopandas", nargs=2, metavar=("URL", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.geopandas:
        geopandas(*asked.geopandas)
    else:
        with tempfile.TemporaryDirectory(prefix="sdi-bench-") as name, server(asked.server, Path(name)) as (url, pid):
            measure(asked, Path(name), url, pid)


# --- what is measured ---------------------------------------------------------------------------------------------


def geopandas(url: str, file: str) -> None:
    from geopandas import read_file
    from sqlalchemy import create_engine

    begun = perf_counter()
    frame = read_file(file, engine="pyogrio", use_arrow=True)
    read = perf_counter() - begun
    with create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url)).begin() as connection:
        frame.to_postgis("parcels", connection, chunksize=100_000)
    print(json.dumps({"stages": {STAGES[0]: read, STAGES[1]: perf_counter() - begun - read}}))


def ogr2ogr(url: str, file: Path) -> list[str]:
    return [
        "ogr2ogr", "-f", "PostgreSQL", f"PG:{make_conninfo(**conninfo_to_dict(url))}", str(file), "-nln", "parcels",
        "-nlt", "PROMOTE_TO_MULTI", "-lco", "SPATIAL_INDEX=GIST", "--config", "PG_USE_COPY", "YES",
    ]  # fmt: skip


# --- rounds -------------------------------------------------------------------------------------------------------


def measure(asked: argparse.Namespace, folder: Path, url: str, postmaster: int | None) -> None:
    count = asked.parcels
    files = {suffix: write(folder, count, suffix=suffix) for suffix in FORMATS}
    changed = write(folder, count, DELTA)
    ran: dict[str, list[Ran]] = {}
    for _ in range(asked.rounds):
        for suffix, file in files.items():
            also = [(f"sdi, {DELTA:.0%} changed", changed)] if suffix == ".gpkg" else []
            each_round(url, postmaster, file, FORMATS[suffix], also, folder, ran)
    version = subprocess.run(["ogr2ogr", "--version"], capture_output=True, text=True, check=True).stdout.split(",")[0]
    print(f"ogr2ogr: {version}; PostgreSQL: {server_version(url)}")
    table(f"{count:,} parcels, medians of {asked.rounds}", count, ran)
    if asked.memory:
        for file in (*files.values(), changed):
            file.unlink()
        more: dict[str, list[Ran]] = {}
        with database(url, TEMPLATE) as scratch:
            one("sdi, whole, GeoPackage", more, ours_of(scratch, write(folder, 3 * count), folder), postmaster)
        table(f"{3 * count:,} parcels", 3 * count, more)


def each_round(
    url: str, postmaster: int | None, file: Path, kind: str, also: list[tuple[str, Path]], folder: Path,
    ran: dict[str, list[Ran]],
) -> None:  # fmt: skip
    """Everybody takes a file once."""
    with database(url, TEMPLATE) as scratch:
        one(f"sdi, whole, {kind}", ran, ours_of(scratch, file, folder), postmaster)
        for what, other in also:
            one(what, ran, ours_of(scratch, other, folder), postmaster)
    with database(url) as scratch:
        one(f"ogr2ogr, {kind}", ran, ogr2ogr(scratch, file), postmaster)
    with database(url) as scratch:
        script = [sys.executable, __file__, "--geopandas", scratch, str(file)]
        one(f"geopandas, {kind}", ran, script, postmaster)


def ours_of(url: str, file: Path, folder: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("ours.py")), url, str(file), str(folder / "data")]


def one(what: str, ran: dict[str, list[Ran]], command: list[str], postmaster: int | None) -> None:
    ran.setdefault(what, []).append(run(command, postmaster, {"PYTHONPATH": str(ROOT)}))


def table(title: str, count: int, ran: dict[str, list[Ran]]) -> None:
    rows = []
    for what, runs in ran.items():
        stages = [json.loads(each.output)["stages"] for each in runs if each.output.startswith("{")]
        floor = next((f for name, f in ran.items() if name == f"ogr2ogr, {what.rpartition(', ')[2]}"), None)
        floor = floor or next((f for name, f in ran.items() if name.startswith("ogr2ogr")), None)
        least = median(each.seconds for each in floor) if floor else None
        rows.append(line(what, count, median(each.seconds for each in runs), least, runs))
        for stage in STAGES if stages else ():
            if any(stage in each for each in stages):
                rows.append(line(f"  {stage}", count, median(each.get(stage, 0.0) for each in stages), least, None))
    show(title, ("", "s", "rows/s", "× ogr2ogr's time", "client MiB", "server CPU s"), rows)


def line(what: str, count: int, seconds: float, floor: float | None, runs: list[Ran] | None) -> list[str]:
    peak = f"{max(each.peak for each in runs):,.0f}" if runs else ""
    known = [each.server for each in runs or () if each.server is not None]
    server = f"{median(known):.1f}" if known else ""
    rate, ratio = f"{count / max(seconds, 1e-9):,.0f}", f"{seconds / floor:.2f}" if floor else ""
    return [what, f"{seconds:.1f}", rate, ratio, peak, server]


# --- databases ----------------------------------------------------------------------------------------------------


@contextmanager
def server(given: str | None, folder: Path) -> Iterator[tuple[str, int | None]]:
    """A server with a migrated template, and the process id of its first process where it is our own."""
    root = given or cluster.start(folder / "cluster")
    try:
        with database(root, name=TEMPLATE) as url:
            with engine.connect(url) as connection:
                migrate.apply(connection, read_registry(ROOT / "layers"))
            yield root, None if given else cluster.status(folder / "cluster").pid
    finally:
        if given is None:
            cluster.remove(folder / "cluster")
            shutil.rmtree(folder / "cluster", ignore_errors=True)


@contextmanager
def database(root: str, template: str | None = None, name: str = SCRATCH) -> Iterator[str]:
    """A database of its own, with PostGIS, that is gone afterwards."""
    url = urlunsplit(urlsplit(root)._replace(path=f"/{name}"))
    with psycopg.connect(root, autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        connection.execute(drop)
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(made.format(sql.Identifier(name), sql.Identifier(template or "template1")))
        try:
            if template is None:
                with psycopg.connect(url) as inside:
                    inside.execute("CREATE EXTENSION IF NOT EXISTS postgis")
            connection.execute("CHECKPOINT")
            yield url
        finally:
            connection.execute(drop)


def server_version(url: str) -> str:
    with psycopg.connect(url) as connection:
        return str(connection.info.server_version)


if __name__ == "__main__":
    main()
