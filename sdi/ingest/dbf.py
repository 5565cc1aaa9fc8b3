"""The text of a shapefile's table, a column at a time from the .dbf: GDAL, asked for one value after the other, needs
more than half of its time for it. Everything else of a feature is GDAL's, which also says which rows there are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdi.ingest import octets, shapefile

MOST = 1 << 31
"""Bytes of a .dbf that is read here: as far as its format was meant to go."""


@dataclass(frozen=True)
class Table:
    """A .dbf that is as long as it says. `start`, `length`: bytes of its header, and of each of its `rows`."""

    path: Path
    rows: int
    start: int
    length: int
    names: tuple[str, ...]
    places: tuple[tuple[int, int] | None, ...]
    """Of each column, where in a row it begins and how many bytes it has; None: it is not text."""

    @classmethod
    def of(cls, shp: Path, fields: Sequence[Sequence[str]]) -> Table | None:
        """The table of a shapefile whose columns GDAL calls so (name, OGR type); None: GDAL is to read all of it."""
        path = shp.with_suffix(".dbf")
        if not 32 < path.stat().st_size < MOST or shapefile.shortfall(shp) or not shapefile.has_sound_table(shp):
            return None
        shapes, rows = shapefile.records(shp)
        with path.open("rb") as file:
            raw = file.read(1 << 17)
        start, length = struct.unpack("<HH", raw[8:12])
        names, places = tuple(name for name, _ in fields), tuple(_places(raw))
        known = len(places) == len(names) == len(set(names)) and shapes == rows
        if not known or not any(places):
            return None
        if any(place and kind != "OFTString" for place, (_, kind) in zip(places, fields, strict=True)):
            return None
        return cls(path, rows, start, length, names, places)

    @property
    def others(self) -> list[str]:
        """The columns that are not text."""
        return [name for name, place in zip(self.names, self.places, strict=True) if place is None]

    def schema(self, read: pa.Schema) -> pa.Schema | None:
        """Of what `joined` gives, where GDAL reads (the row's number, `others`, geometry); None: it reads otherwise."""
        if read.names[1 : 1 + len(self.others)] != self.others or not 0 <= len(read) - len(self.others) - 1 <= 1:
            return None
        if read.field(0).type != pa.int64():
            return None
        made = [read.field(name) if place is None else pa.field(name, pa.string())
                for name, place in zip(self.names, self.places, strict=True)]  # fmt: skip
        return pa.schema([*made, *(read.field(at) for at in range(1 + len(self.others), len(read)))], read.metadata)

    def joined(self, read: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """What GDAL reads, with its text, which is taken while GDAL reads on."""
        waiting: Future[pa.RecordBatch] | None = None
        with ThreadPoolExecutor(max_workers=1) as worker:
            for batch in read:
                before, waiting = waiting, worker.submit(self._joined, batch, schema)
                if before is not None:
                    yield before.result()
            if waiting is not None:
                yield waiting.result()

    def _joined(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        numbers = np.asarray(batch.column(0))
        read = iter(batch.columns[1:])
        texts = self._texts(numbers)
        made = [next(read) if place is None else next(texts) for place in self.places]
        return pa.RecordBatch.from_arrays([*made, *read], schema=schema)

    def _texts(self, numbers: NDArray[np.int64]) -> Iterator[pa.Array]:
        """The text columns of rows whose numbers rise."""
        if not len(numbers):
            yield from (pa.array([], pa.string()) for place in self.places if place)
            return
        first, count = int(numbers[0]), int(numbers[-1] - numbers[0]) + 1
        if first + count > self.rows:
            raise ValueError(f"row {first + count} of {self.rows}")
        rows = np.memmap(self.path, np.uint8, "r", self.start + first * self.length, (count, self.length))
        for place in self.places:
            if place is not None:
                cells = rows[:, place[0] : place[0] + place[1]]
                yield text_of(cells if count == len(numbers) else cells[numbers - first])


def _places(raw: bytes) -> Iterator[tuple[int, int] | None]:
    """The columns by what a .dbf begins with: descriptors of 32 bytes up to the mark 0D, the type at byte 11, the
    length at byte 16. The first byte of a row says whether it was deleted."""
    at, place, end = 32, 1, min(len(raw), struct.unpack("<H", raw[8:10])[0])
    while at + 32 <= end and raw[at] != 0x0D:
        width = raw[at + 16]
        yield (place, width) if raw[at + 11] == ord("C") else None
        at, place = at + 32, place + width


def text_of(cells: NDArray[np.uint8]) -> pa.Array:
    """The texts of (n, width) bytes, as GDAL reads a .dbf: up to a NUL, without blanks around it, null where nothing is
    left; each byte as one Latin-1 character."""
    flat = np.array(cells, order="C")
    trimmed = _trimmed(flat)
    offsets, data = octets.parts(trimmed)
    if not data.all():
        flat[np.logical_or.accumulate(flat == 0, axis=1)] = ord(" ")
        offsets, data = octets.parts(_trimmed(flat))
    there = np.diff(offsets) > 0
    offsets, data = octets.widened(offsets, data)
    valid = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(pa.string(), len(flat), [valid, pa.py_buffer(offsets), pa.py_buffer(data)])


def _trimmed(flat: NDArray[np.uint8]) -> pa.Array:
    """Called strings, whatever bytes they are: blanks are looked for byte by byte."""
    count, width = flat.shape
    offsets = pa.py_buffer(np.arange(count + 1, dtype=np.int32) * np.int32(width))
    column = pa.Array.from_buffers(pa.string(), count, [None, offsets, pa.py_buffer(flat)])
    return pc.ascii_trim(column, " ")
