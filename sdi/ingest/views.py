"""What others see of a delivery that was worked through: the checks between features, its layer's store, the loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdi.contract.layer import Layer
from sdi.ingest import mapped
from sdi.ingest.chunk import split
from sdi.ingest.findings import Mask, Rows
from sdi.ingest.geometry import Shapes
from sdi.ingest.spill import kept
from sdi.ingest.whole import Whole


@dataclass(frozen=True)
class Spilled:
    """A `standing.Delivered` of a delivery."""

    whole: Whole
    usable: Mask

    @property
    def layer(self) -> Layer:
        return self.whole.reading.layer

    @property
    def boxes(self) -> NDArray[np.float64]:
        return self.whole.boxes

    @property
    def count(self) -> int:
        return len(self.whole.boxes)

    def shapes(self, rows: Rows) -> Shapes:
        return self.whole.shapes(rows)

    def column(self, name: str) -> pa.Array:
        return self.whole.column(name)

    def in_parts(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        return self.whole.in_parts(names)

    def ids(self, rows: Rows) -> list[str | None]:
        return self.whole.names(rows)

    @cached_property
    def hashes(self) -> NDArray[np.int64]:
        if not self.whole.renamed:
            return self.whole.hashes
        made: NDArray[np.int64] = mapped.zeros(self.count, np.int64)
        made[:] = self.whole.hashes
        for row, name in self.whole.renamed.items():
            made[row] = hash(name)
        return made

    def heads(self, rows: Rows) -> tuple[pa.Array, pa.Array]:
        return self.whole.heads(rows)

    def rows_of(self, ids: pa.Array) -> Rows:
        return self.whole.rows_of(ids, self.hashes)


@dataclass(frozen=True)
class Features:
    """The features of a delivery that are kept: all of them, or what is asked for and no more."""

    whole: Whole
    keep: Mask

    @property
    def count(self) -> int:
        return int(self.keep.sum())

    def __call__(self) -> pa.RecordBatchReader:
        """id, the stored attributes, geom (EWKB in its grid), geom_wgs84 (EWKB 4326), source_row (from 1), and row_hash
        where the layer's store was there to make it."""
        return pa.RecordBatchReader.from_batches(self.whole.spill.schema, self.whole.kept(self.keep))

    def heads(self, names: Sequence[str]) -> pa.RecordBatchReader | None:
        """These columns alone; None: they are not at hand without all else."""
        if not self.whole.complete >= set(names):
            return None
        spill, renamed = self.whole.spill, self.whole.renamed
        schema = pa.schema([spill.schema.field(name) for name in names])
        return pa.RecordBatchReader.from_batches(schema, (b.select(names) for b in kept(spill, self.keep, renamed)))

    def chosen(self, which: Mask) -> pa.RecordBatchReader:
        """Some of them, with all their columns."""
        rows = np.flatnonzero(self.keep)[which]
        return pa.RecordBatchReader.from_batches(self.whole.spill.schema, self._chosen(rows))

    def _chosen(self, rows: Rows) -> Iterator[pa.RecordBatch]:
        for number, inside, positions in split(rows, self.whole.spill.starts):
            batch = self.whole.taken(number, inside)
            yield batch.set_column(0, "id", pa.array(self.whole.names(rows[positions]), pa.string()))
