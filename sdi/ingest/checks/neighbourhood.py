"""What a check between features may ask of a delivery: boxes of all of it, geometry and attributes of a part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Layer
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

    def ids(self, rows: Rows) -> list[str | None]:
        return [self.names[row] for row in rows]
