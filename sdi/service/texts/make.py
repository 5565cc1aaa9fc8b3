"""Makes a file of texts that are ready, in a process of its own: `python -m sdi.service.texts.make`, an Order on stdin.

It reads as the public's role does, page after page in the order of the ids, and holds no snapshot: a text and its key
come of one statement, and a feature that changes meanwhile has another key. Who starts it holds the folder's lock, and
leaves it to this process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, Position
from sdi.contract.registry import read_registry
from sdi.errors import SdiError
from sdi.service.rights import open_view
from sdi.service.texts.ready import BETWEEN, About, Keys, Numbers, finish, view_of
from sdi.store import engine, versions
from sdi.store.statement import as_bytes

PAGE = 5000
"""Features at a time: some four megabytes of text."""
MADE, FAILED, LARGE = 0, 1, 3
"""Exit codes: done; the database or the disk is away, or the layer is another one meanwhile; the file would be larger
than it may be."""
_ESCAPED = bytes({*range(0x20), 0x22, 0x5C})
"""What JSON writes otherwise than it is."""


@dataclass(frozen=True)
class Order:
    """`url`: the database's. `layers`: the folder of the contracts. `path`: what is made. `most`: bytes it may have."""

    url: str
    layers: str
    layer: str
    path: str
    most: int

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Large(Exception):
    """The file would be larger than it may be."""


def make(order: Order) -> None:
    """Write the file, whole or not at all. Raises SdiError, OSError, Large; ValueError: the layer is another now."""
    layer = read_registry(Path(order.layers))[order.layer]
    query = open_view(layer)
    if query is None:
        raise ValueError("there is no open view")
    half = Path(f"{order.path}.half")
    try:
        with (
            half.open("wb") as file,
            engine.connect(order.url, engine.READER, application="sdi-service-texts") as connection,
            engine.translated(),
        ):
            _write(file, connection, layer, query, order.most)
            file.flush()
            os.fsync(file.fileno())
        half.replace(order.path)
    finally:
        half.unlink(missing_ok=True)


def _write(file: BinaryIO, connection: engine.Connection, layer: Layer, query: FeatureQuery, most: int) -> None:
    state = versions.select_state(layer, 0, 0)
    ((_, load, table),) = connection.execute(state.sql, state.params).fetchall()
    lengths: list[Numbers] = []
    keys: list[Keys] = []
    plain, size = True, 0
    for text, lines, found, now in _pages(connection, layer, query):
        texts = text.split(BETWEEN)
        if now.decode() != table or len(texts) * versions.KEY != len(found):
            raise ValueError("the layer was filled anew meanwhile")
        file.write(text + BETWEEN)
        lengths.append(np.fromiter(map(len, texts), np.int64, len(texts)) + len(BETWEEN))
        keys.append(np.frombuffer(found, ">u8").astype(np.uint64))
        plain = plain and len(lines.translate(None, _ESCAPED)) == len(lines) - len(texts) + 1
        size += len(text) + len(BETWEEN) + 28 * len(texts)
        if size > most:
            raise Large
    if not keys:
        raise ValueError("the public sees no feature")
    ends = np.cumsum(np.concatenate(lengths))
    finish(file, ends, np.concatenate(keys), About(view_of(layer, query), table, len(ends), load, plain))


def _pages(connection: engine.Connection, layer: Layer, query: FeatureQuery) -> Iterator[tuple[bytes, ...]]:
    """The texts, the versions, the keys and the table of each page."""
    place: Position | None = None
    while True:
        page = versions.select_keyed_texts(layer, replace(query, limit=PAGE, place=place), BETWEEN.decode())
        with connection.cursor(binary=True) as cursor:
            as_bytes(cursor)
            cursor.execute(page.sql, page.params)
            ((text, lines, keys, number, _, last, _, table),) = cursor.fetchall()
        if number:
            yield text, lines, keys, table
        if number <= PAGE:
            return
        place = Position(tuple(json.loads(last)))


def main() -> int:
    os.nice(10)  # who asks comes first
    os.umask(0o077)
    order = Order(**json.load(sys.stdin))
    try:
        make(order)
    except Large:
        return LARGE
    except (SdiError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    return MADE


if __name__ == "__main__":
    sys.exit(main())
