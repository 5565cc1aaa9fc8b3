"""What both measurements stand on: generated parcels, and a fresh database that is gone afterwards."""

from __future__ import annotations

import argparse
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import psycopg
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray
from psycopg import sql
from rich.console import Console
from rich.table import Table

from sdi.contract.registry import Registry, read_registry
from sdi.settings import ROOT, Settings
from sdi.store import cluster, engine, migrate

GRID = 5897
LAYER = "cadastral_parcels"
WIDTH, DEPTH = 6.0, 18.0
"""Metres of a parcel's sides."""
CORNER = (580_000.0, 2_320_000.0)
CONNECTIONS = 200
"""Of an embedded cluster; by itself it has 80."""
SHEET = 150
"""Parcels on a map sheet."""
BLOCK = 100_000
"""Parcels made at a time, about."""
STREETS = ("Phố Hàng Bạc", "Đường Nguyễn Trãi", "Ngõ Huế", "Phố Trần Quốc Toản", "Đường Âu Cơ")
USES = ("ODT", "CLN", "DGT", "ODT", "ODT")


def parcels(count: int, changed: float = 0.0) -> pa.Table:
    """All of `blocks` at once."""
    return pa.Table.from_batches(blocks(count, changed))


def blocks(count: int, changed: float = 0.0) -> Iterator[pa.RecordBatch]:
    """A city of crooked lots that share their corners, seven points each, as a steward's file has them, row by row of
    lots from the south, so that any number of them takes little memory.

    `changed`: share of the lots that have another address than in the file before.
    """
    columns = int(np.ceil(np.sqrt(count * DEPTH / WIDTH)))
    rows = -(-count // columns)
    at_once = max(1, BLOCK // columns)
    for first in range(0, rows, at_once):
        last = min(first + at_once, rows)
        shapes = _lots(columns, first, last)
        number = np.arange(first * columns, min(last * columns, count))
        yield _described(number, shapes[: len(number)], changed)


def _lots(columns: int, first: int, last: int) -> NDArray[np.object_]:
    """The shapes of some rows of lots. A line of corners is drawn by its own number, so both its sides agree."""
    lines = range(2 * first, 2 * last + 1)
    shift = np.array([np.random.default_rng((5897, line)).uniform(-0.8, 0.8, (columns + 1, 2)) for line in lines])
    north, east = np.meshgrid(np.array(lines), np.arange(columns + 1), indexing="ij")
    point = np.round(np.stack([east * WIDTH, north * DEPTH / 2], axis=-1) + CORNER + shift, 3)
    low, middle, high = point[:-1:2], point[1::2], point[2::2]
    ring = np.stack([low[:, :-1], low[:, 1:], middle[:, 1:], high[:, 1:], high[:, :-1], middle[:, :-1], low[:, :-1]], 2)
    return np.asarray(shapely.multipolygons(shapely.polygons(ring.reshape(-1, 7, 2))[:, None]))


def _described(number: NDArray[np.intp], shapes: NDArray[np.object_], changed: float) -> pa.RecordBatch:
    count = len(number)
    street = np.array(STREETS)[number % len(STREETS)]
    moved = number % 100 < round(changed * 100)
    house = np.char.add(np.where(moved, "mới ", "").astype("U8"), (number // 7).astype(str))
    return pa.record_batch({
        "maXa": np.full(count, "00070"),
        "soTo": (number // SHEET + 1).astype(str),
        "soThua": (number % SHEET + 1).astype(str),
        "mdsd": np.array(USES)[number % len(USES)],
        "dienTich": np.round(shapely.area(shapes), 1),
        "diaChi": np.char.add(np.char.add(house, " "), street),
        "tenChu": np.full(count, "Nguyễn Văn A"),
        "geom": pa.array(shapely.to_wkb(shapes), pa.binary()),
    })  # fmt: skip


def named(folder: Path, count: int, changed: float, suffix: str) -> Path:
    """Where `write` writes."""
    return folder / f"parcels_{count}_{round(changed * 100)}{suffix}"


def write(folder: Path, count: int, changed: float = 0.0, suffix: str = ".gpkg") -> Path:
    """The parcels as a GeoPackage or Shapefile in EPSG:5897, written block by block."""
    path = named(folder, count, changed, suffix)
    made = blocks(count, changed)
    first = next(made)
    shapefile = suffix == ".shp"
    pyogrio.write_arrow(
        pa.RecordBatchReader.from_batches(first.schema, chain([first], made)),
        path,
        layer=path.stem if shapefile else "ThuaDat",
        driver="ESRI Shapefile" if shapefile else "GPKG",
        geometry_name="geom",
        geometry_type="Polygon" if shapefile else "MultiPolygon",
        crs=f"EPSG:{GRID}",
        **({"encoding": "UTF-8"} if shapefile else {}),
    )
    return path


def write_table(path: Path, name: str, table: pa.Table, grid: int = GRID, kind: str = "Unknown") -> None:
    """A table with a WKB column `geom` as a GeoPackage, byte for byte, whatever is wrong with it."""
    pyogrio.write_arrow(
        table, path, layer=name, driver="GPKG", geometry_name="geom", geometry_type=kind, crs=f"EPSG:{grid}"
    )


@contextmanager
def deployment(server: str | None, keep: Path | None = None) -> Iterator[tuple[Settings, Registry, Path]]:
    """Settings with a migrated database, the contracts, and a folder; `server`: None starts an embedded cluster.
    `keep`: a folder that stays, with the cluster and the database, for the next run; None: all is gone afterwards."""
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sdi-bench-")))
        root = server or _started(folder / "cluster")
        database = "bench_kept" if keep else f"bench_{uuid.uuid4().hex[:8]}"
        url = urlunsplit(urlsplit(root)._replace(path=f"/{database}"))
        registry = read_registry(ROOT / "layers")
        try:
            with psycopg.connect(root, autocommit=True) as connection:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
            with engine.connect(url) as connection:
                migrate.apply(connection, registry)
            yield Settings(database_url=url, data=folder / "data"), registry, folder
        finally:
            if keep is None:
                with psycopg.connect(root, autocommit=True) as connection:
                    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                    connection.execute(drop.format(sql.Identifier(database)))
            if server is None:
                (cluster.stop if keep else cluster.remove)(folder / "cluster")


def _started(folder: Path) -> str:
    """An embedded cluster in which all servers of a measurement find connections for 32 clients."""
    root = cluster.start(folder)
    with psycopg.connect(root, autocommit=True) as connection:
        ((most,),) = connection.execute("SELECT current_setting('max_connections')::int").fetchall()
        if most >= CONNECTIONS:
            return root
        connection.execute(sql.SQL("ALTER SYSTEM SET max_connections = {}").format(CONNECTIONS))
    cluster.stop(folder)
    return cluster.start(folder)


def arguments(description: str | None, most: int, usual: int = 200_000) -> argparse.ArgumentParser:
    def bounded(text: str) -> int:
        count = int(text)
        if not 1000 <= count <= most:
            raise argparse.ArgumentTypeError(f"between 1000 and {most}")
        return count

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--parcels", type=bounded, default=usual)
    parser.add_argument("--server", help="postgresql://… of a superuser; left out: an embedded cluster")
    return parser


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    table = Table(title=f"{title} · {date.today()} · {os.cpu_count()} cores, load {load}", title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)
