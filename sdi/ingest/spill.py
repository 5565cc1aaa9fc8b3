"""Conformed features on disk: written part by part, read by part or by row, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdi.ingest.chunk import split
from sdi.ingest.findings import Mask, Rows
from sdi.ingest.mapped import no_room
from sdi.ingest.scratch import Scratch


class Spill:
    """Record batches in an Arrow file. It has no name once it is written: it is gone when this is closed, or the
    process is."""

    def __init__(self) -> None:
        self._folder = Scratch("spill")
        self._path = str(Path(self._folder.name, "rows.arrow"))
        self._sink = pa.OSFile(self._path, "wb")
        self._file: pa.NativeFile | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._readers: dict[tuple[str, ...], pa.ipc.RecordBatchFileReader] = {}
        self._lock = Lock()
        self._starts = [0]
        self.schema: pa.Schema = pa.schema([])

    @property
    def starts(self) -> NDArray[np.intp]:
        """The row of each part's first feature."""
        return np.array(self._starts[:-1], dtype=np.intp)

    @property
    def parts(self) -> int:
        return len(self._starts) - 1

    @property
    def count(self) -> int:
        return self._starts[-1]

    def write(self, batch: pa.RecordBatch) -> None:
        """Raises StoreError where the disk is full."""
        try:
            if self._writer is None:
                self.schema = batch.schema
                self._writer = pa.ipc.new_file(self._sink, batch.schema)
            self._writer.write_batch(batch)
        except OSError as error:
            raise no_room() from error
        self._starts.append(self._starts[-1] + batch.num_rows)

    def finish(self) -> None:
        """Nothing more is written; from now on it is read."""
        if self._writer is not None:
            self._writer.close()
        self._sink.close()
        self._file = pa.OSFile(self._path, "rb")
        self._folder.cleanup()

    def part(self, number: int, names: Sequence[str] = ()) -> pa.RecordBatch:
        """All columns of a part, or these, in this order."""
        return self._read(tuple(dict.fromkeys(names)), number).select(list(names)) if names else self._read((), number)

    def column(self, name: str) -> pa.Array:
        """A column of all rows."""
        # A part's column hangs on the buffer that its whole part was read into: 500 bytes a feature, if it were kept.
        memory = pa.default_cpu_memory_manager()
        parts = [self.part(number, [name]).column(0).copy_to(memory) for number in range(self.parts)]
        return pa.concat_arrays(parts)

    def in_parts(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        """Some columns, part by part."""
        for number in range(self.parts):
            yield self.part(number, names).columns

    def some(self, names: Sequence[str], rows: Rows) -> list[pa.Array]:
        """Columns of rows, which ascend."""
        found = [
            self.part(number, names).take(pa.array(inside)).columns for number, inside, _ in split(rows, self.starts)
        ]
        return [pa.concat_arrays(each) for each in zip(*found, strict=True)]

    def take(self, name: str, rows: Rows) -> list[Any]:
        """A column's values in some rows, in their order."""
        found = np.empty(len(rows), dtype=object)
        for number, inside, positions in split(rows, self.starts):
            chosen = self.part(number, [name]).column(0).take(pa.array(inside))
            found[positions] = np.fromiter(chosen.to_pylist(), dtype=object, count=len(inside))
        return list(found)

    def _read(self, names: tuple[str, ...], number: int) -> pa.RecordBatch:
        with self._lock:
            if names not in self._readers:
                fields = [self.schema.get_field_index(name) for name in names]
                options = pa.ipc.IpcReadOptions(included_fields=fields or None)
                self._readers[names] = pa.ipc.open_file(self._file, options=options)
            return self._readers[names].get_batch(number)

    def close(self) -> None:
        self._sink.close()
        self._folder.cleanup()
        if self._file is not None:
            self._file.close()


def names(spill: Spill, renamed: Mapping[int, str], rows: Rows) -> list[str | None]:
    """The ids of rows."""
    return [renamed.get(int(row), name) for row, name in zip(rows, spill.take("id", rows), strict=True)]


def kept(spill: Spill, keep: Mask, renamed: Mapping[int, str]) -> Iterator[pa.RecordBatch]:
    """The rows that are kept, part by part, by their final ids."""
    for number, start in enumerate(spill.starts):
        batch = spill.part(number)
        batch = rename(batch, int(start), renamed)
        mask = keep[start : start + batch.num_rows]
        yield batch if mask.all() else batch.filter(pa.array(mask))


def rename(batch: pa.RecordBatch, start: int, renamed: Mapping[int, str]) -> pa.RecordBatch:
    inside = [row for row in renamed if start <= row < start + batch.num_rows]
    if not inside:
        return batch
    ids: Sequence[str | None] = batch["id"].to_pylist()
    changed = [renamed.get(start + row, name) for row, name in enumerate(ids)]
    return batch.set_column(0, "id", pa.array(changed, pa.string()))
