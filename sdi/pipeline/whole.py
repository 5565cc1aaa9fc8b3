"""A whole layer as a file, made by a process of its own: `python -m sdi.pipeline.whole`, with an `Order` on its input.

The process writes under a temporary name, and renames the file when it is whole; what says its checksum comes last. Of
several that are to make one file the first does it, whatever process started them: the lock goes with its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, Sight
from sdi.contract.registry import read_registry
from sdi.ingest import write
from sdi.store import columns, engine, forms, geoparquet, whole
from sdi.store.engine import Connection

MADE, TAKEN, SUPERSEDED = 0, 3, 4
"""How the process ends: the file is there, another process makes it, the layer has changed meanwhile."""
FORMATS = ("gpkg", "parquet", "fgb", "csv", "json")


@dataclass(frozen=True)
class Order:
    """What is to be made. `path`: the file's; its folder is one moment's of one view, those beside it are older."""

    database: str
    layers: Path
    layer: str
    generation: int
    changed_at: datetime
    seen_at: datetime
    """When what is seen in the file changed last."""
    role: str
    """As which the database is read."""
    attributes: tuple[str, ...]
    filters: tuple[dict[str, Any], ...]
    sight: Sight | None
    format: str
    crs: int
    north_first: bool
    path: Path
    beside: tuple[tuple[str, int, datetime], ...] = ()
    """(layer, generation, last change) of other layers that decide what is seen in the file."""

    @classmethod
    def read(cls, text: bytes) -> Self:
        """The order as the service writes it, in JSON."""
        told = json.loads(text)
        return cls(**told | {
            "layers": Path(told["layers"]), "path": Path(told["path"]), "attributes": tuple(told["attributes"]),
            "filters": tuple(told["filters"]), "sight": None if told["sight"] is None else Sight.of_json(told["sight"]),
            **{name: datetime.fromisoformat(told[name]) for name in ("changed_at", "seen_at")},
            "beside": tuple((name, number, datetime.fromisoformat(at)) for name, number, at in told["beside"]),
        })  # fmt: skip


def checksum_of(path: Path) -> Path:
    """The file beside `path` that holds its SHA-256 in hexadecimal digits; it is there once `path` is whole."""
    return path.with_name(f"{path.name}.sha256")


def count_of(path: Path) -> Path:
    """The file beside `path` that says how many features it holds."""
    return path.with_name(f"{path.name}.count")


def main() -> int:
    """Carry out the order on the standard input; how it ended."""
    order = Order.read(sys.stdin.buffer.read())
    os.nice(10)
    return make(order)


def make(order: Order) -> int:
    """Make the file, unless it is there. Raises SdiError, or OSError where there is no room."""
    order.path.parent.mkdir(parents=True, exist_ok=True)
    with order.path.with_name(f"{order.path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return TAKEN
        if checksum_of(order.path).exists():
            return MADE
        with engine.connect(order.database, order.role, application="sdi-export") as connection:
            return _made(connection, order)


def _made(connection: Connection, order: Order) -> int:
    layer = read_registry(order.layers)[order.layer]
    # Whoever began it before has died: the lock is ours.
    part = order.path.with_name(f"part-{order.path.name}")
    made_of = ((layer.id, order.generation, order.changed_at), *order.beside)
    with whole.standing(connection, made_of) as stands:
        if not stands:
            return SUPERSEDED
        for old in order.path.parent.parent.iterdir():
            if old != order.path.parent:
                shutil.rmtree(old, ignore_errors=True)
        try:
            part.unlink(missing_ok=True)
            count_of(order.path).write_text(str(_write(connection, layer, order, part)))
            with part.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            part.rename(order.path)
        finally:
            part.unlink(missing_ok=True)
    beside = order.path.with_name(f"part-{order.path.name}.sha256")
    beside.write_text(digest)
    beside.rename(checksum_of(order.path))
    return MADE


def _write(connection: Connection, layer: Layer, order: Order, path: Path) -> int:
    """How many features the file has."""
    query = FeatureQuery(
        layer.id,
        order.attributes,
        filters=order.filters,
        sight=order.sight,
        crs=order.crs,
        north_first=order.north_first,
        limit=None,
    )
    if order.format in ("csv", "json"):
        return _write_text(connection, layer, order.format, query, path)
    counts: list[int] = []
    wanted = columns.schema(layer, query)
    parts = _counted(whole.texts(connection, layer, query, forms.cells), counts)
    tables = (columns.read(b"\n".join(part), wanted) for part in parts)
    kind = columns.shape(layer, query)
    if order.format == "parquet":
        geoparquet.write(str(path), kind, wanted, tables, order.crs)
        return sum(counts)
    reader = columns.reader(wanted, tables)
    indexed = order.format != "fgb" or whole.everywhere(connection, layer, query)
    write.write_stream(path, layer.id, reader, order.crs, kind, order.seen_at, indexed=indexed)
    return sum(counts)


def _write_text(connection: Connection, layer: Layer, format_: str, query: FeatureQuery, path: Path) -> int:
    counts: list[int] = []
    with path.open("wb") as file:
        if format_ == "csv":
            file.write(forms.csv_head(layer, query).encode())
            for part in _counted(whole.texts(connection, layer, query, forms.csv), counts):
                file.write(b"\r\n".join([*part, b""]))
            return sum(counts)
        file.write(b'{"type":"FeatureCollection","features":[')
        file.writelines(_joined(_counted(whole.texts(connection, layer, query, forms.geojson), counts)))
        file.write(b"]}")
    return sum(counts)


def _counted(parts: Iterator[list[bytes]], counts: list[int]) -> Iterator[list[bytes]]:
    for part in parts:
        counts.append(len(part))
        yield part


def _joined(parts: Iterator[list[bytes]]) -> Iterator[bytes]:
    before = b"\n"
    for part in parts:
        yield before + b",\n".join(part)
        before = b",\n"


if __name__ == "__main__":
    sys.exit(main())
