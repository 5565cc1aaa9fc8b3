"""What a check between features may ask of a delivery: boxes of all of it, geometry and attributes of a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Layer
from sdi.ingest.cast import to_text
from sdi.ingest.findings import Mask
from sdi.ingest.geometry import Shapes

Rows = NDArray[np.intp]
"""Rows of a delivery, counted from 0."""
Boxes = NDArray[np.float64]
"""(n, 4) west, south, east, north in metres of the grid; NaN where there is no geometry."""


class Neighbourhood(Protocol):
    """A delivery whose geometry need not be in memory: checks ask for the rows of one tile at a time, from several
    threads at once."""

    @property
    def layer(self) -> Layer: ...
    @property
    def count(self) -> int: ...
    @property
    def boxes(self) -> Boxes: ...
    @property
    def usable(self) -> Mask:
        """What has geometry and is not in quarantine."""
        ...

    def shapes(self, rows: Rows) -> Shapes:
        """The master geometry of rows, in the grid; the caller's own, for two threads must not prepare one geometry."""
        ...

    def column(self, name: str) -> pa.Array:
        """A whole attribute, in the contract's type."""
        ...

    def in_parts(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        """Some attributes, a part of the features after the other."""
        ...

    def ids(self, rows: Rows) -> list[str | None]: ...


@dataclass(frozen=True)
class InMemory:
    """A neighbourhood whose features are all at hand."""

    layer: Layer
    master: Shapes
    usable: Mask
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    names: Sequence[str | None] = ()

    @property
    def count(self) -> int:
        return len(self.master)

    @cached_property
    def boxes(self) -> Boxes:
        found: Boxes = shapely.bounds(self.master)
        return found

    def shapes(self, rows: Rows) -> Shapes:
        own: Shapes = shapely.from_wkb(shapely.to_wkb(self.master[rows]))
        return own

    def column(self, name: str) -> pa.Array:
        return self.columns[name]

    def in_parts(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        yield [self.columns[name] for name in names]

    def ids(self, rows: Rows) -> list[str | None]:
        return [self.names[row] for row in rows]


@dataclass(frozen=True)
class Widened:
    """A delivery and, in the rows behind its own, features that its layer has around it already."""

    delivered: Neighbourhood
    around: InMemory

    @property
    def layer(self) -> Layer:
        return self.delivered.layer

    @property
    def count(self) -> int:
        return self.delivered.count + self.around.count

    @cached_property
    def boxes(self) -> Boxes:
        return np.concatenate([self.delivered.boxes, self.around.boxes])

    @cached_property
    def usable(self) -> Mask:
        return np.concatenate([self.delivered.usable, self.around.usable])

    def shapes(self, rows: Rows) -> Shapes:
        mine = rows < self.delivered.count
        found = np.empty(len(rows), dtype=object)
        found[mine] = self.delivered.shapes(rows[mine])
        found[~mine] = self.around.shapes(rows[~mine] - self.delivered.count)
        return found

    def column(self, name: str) -> pa.Array:
        return pa.concat_arrays([to_text(self.delivered.column(name)), to_text(self.around.column(name))])

    def in_parts(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        yield from self.delivered.in_parts(names)
        yield from self.around.in_parts(names)

    def ids(self, rows: Rows) -> list[str | None]:
        mine = rows < self.delivered.count
        found = np.empty(len(rows), dtype=object)
        found[mine] = self.delivered.ids(rows[mine])
        found[~mine] = self.around.ids(rows[~mine] - self.delivered.count)
        return list(found)
