"""A delivery from end to end beside programs that only load: ogr2ogr with COPY, and geopandas.to_postgis.

In each round everybody takes the same file into a fresh database of one server, in turn; shown are medians. Ours is
`deliver()`: read, conformed, held against every check of the contract, loaded with history, indexed, what is derived of
it made, published. Then the same file with another address in every hundredth row, delivered whole, and the rollback
of that. Loading alone is what brings features that were read and held against each other into the database, with
nothing beside it; once more with no other indexes than ogr2ogr makes. Memory is that of the client's processes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from urllib.parse import urlsplit, urlunsplit

import psycopg
from land import arguments, named, show, write
from ours import FILLED, STAGES
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
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="only parts with TEXT in their names, e.g. alone"
    )
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="where written files are kept for the next time")
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


@dataclass(frozen=True)
class Part:
    """What takes a file in each round. `follows`: a delivery that is in the database before."""

    name: str
    how: str
    suffix: str
    changed: float = 0.0
    follows: str | None = None


WHOLE = "sdi, whole, GeoPackage"
CHANGED = f"sdi, {DELTA:.0%} changed"
PARTS = (
    Part(WHOLE, "whole", ".gpkg"),
    Part(CHANGED, "whole", ".gpkg", DELTA, follows=WHOLE),
    Part(f"sdi, {DELTA:.0%} taken back", "back", ".gpkg", DELTA, follows=CHANGED),
    Part("sdi, loading alone, GeoPackage", "alone", ".gpkg"),
    Part("sdi, loading alone, two indexes, GeoPackage", "alike", ".gpkg"),
    Part("ogr2ogr, GeoPackage", "ogr2ogr", ".gpkg"),
    Part("geopandas, GeoPackage", "geopandas", ".gpkg"),
    Part("sdi, whole, Shapefile", "whole", ".shp"),
    Part("sdi, loading alone, Shapefile", "alone", ".shp"),
    Part("sdi, loading alone, two indexes, Shapefile", "alike", ".shp"),
    Part("ogr2ogr, Shapefile", "ogr2ogr", ".shp"),
    Part("geopandas, Shapefile", "geopandas", ".shp"),
)


def chosen(only: Sequence[str] | None) -> list[Part]:
    """The parts that are asked for, and those that they follow."""
    asked = [part for part in PARTS if not only or any(text in part.name for text in only)]
    if not asked:
        sys.exit(f"No part is named so; there are: {'; '.join(part.name for part in PARTS)}")
    for part in reversed(PARTS):
        if part not in asked and part.name in {each.follows for each in asked}:
            asked.append(part)
    return [part for part in PARTS if part in asked]


def following(parts: Sequence[Part], part: Part) -> list[Part]:
    """A part and those that follow it, one after the other."""
    return [part, *(each for other in parts if other.follows == part.name for each in following(parts, other))]


def measure(asked: argparse.Namespace, folder: Path, url: str, postmaster: int | None) -> None:
    parts, files = chosen(asked.only), asked.files or folder
    files.mkdir(parents=True, exist_ok=True)
    ran: dict[str, list[Ran]] = {}
    for part in parts:
        written(files, asked.parcels, part)
    for _ in range(asked.rounds):
        for part in parts:
            if part.follows is None:
                each_round(url, postmaster, parts, part, asked.parcels, files, folder, ran)
    version = subprocess.run(["ogr2ogr", "--version"], capture_output=True, text=True, check=True).stdout.split(",")[0]
    print(f"ogr2ogr: {version}; PostgreSQL: {server_version(url)}")
    table(f"{asked.parcels:,} parcels, medians of {asked.rounds}", asked.parcels, ran)
    if asked.memory:
        more: dict[str, list[Ran]] = {}
        with database(url, TEMPLATE) as scratch:
            one(
                WHOLE, more, command(PARTS[0], scratch, written(files, 3 * asked.parcels, PARTS[0]), folder), postmaster
            )
        table(f"{3 * asked.parcels:,} parcels", 3 * asked.parcels, more)


def written(files: Path, count: int, part: Part) -> Path:
    """The part's file, which is written where it is not there yet."""
    path = named(files, count, part.changed, part.suffix)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=files) as fresh:
            write(Path(fresh), count, part.changed, part.suffix)
            # The one that is asked for last: a shapefile has others beside it.
            for made in sorted(Path(fresh).iterdir(), key=lambda each: each.suffix == part.suffix):
                made.rename(files / made.name)
    return path


def each_round(
    url: str, postmaster: int | None, parts: Sequence[Part], part: Part, count: int, files: Path, folder: Path,
    ran: dict[str, list[Ran]],
) -> None:  # fmt: skip
    """A part takes its file once, into a fresh database, and then those that follow it."""
    with database(url, TEMPLATE if part.how in ("whole", "alone", "alike") else None) as scratch:
        for each in following(parts, part):
            one(each.name, ran, command(each, scratch, written(files, count, each), folder), postmaster)
            if each.how in ("alone", "alike"):
                last = ran[each.name][-1]
                ran[each.name][-1] = replace(last, seconds=json.loads(last.output)["whole"])


def command(part: Part, url: str, file: Path, folder: Path) -> list[str]:
    if part.how == "ogr2ogr":
        return ogr2ogr(url, file)
    if part.how == "geopandas":
        return [sys.executable, __file__, "--geopandas", url, str(file)]
    ours = [sys.executable, str(Path(__file__).with_name("ours.py")), url, str(file), str(folder / "data")]
    return [*ours, part.how] if part.how in ("alone", "alike", "back") else ours


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
        for stage in (*STAGES, FILLED) if stages else ():
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
