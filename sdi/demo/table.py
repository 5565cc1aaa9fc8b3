"""A table of features while the city is being made: columns of equal length, one of them perhaps of geometries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class Table:
    geometry: Array
    """shapely geometries, x = east, y = north in metres of EPSG:5897; None where a feature has none."""
    columns: dict[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.geometry)

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def __setitem__(self, name: str, values: Any) -> None:
        array = np.asarray(values)
        self.columns[name] = np.full(len(self), values) if array.ndim == 0 else array

    def take(self, rows: Array) -> Table:
        return Table(self.geometry[rows], {name: values[rows] for name, values in self.columns.items()})

    def copy(self) -> Table:
        return Table(self.geometry.copy(), {name: values.copy() for name, values in self.columns.items()})


def concat(tables: list[Table]) -> Table:
    """The rows of all tables under the first one's columns."""
    names = list(tables[0].columns)
    columns = {name: np.concatenate([table[name] for table in tables]) for name in names}
    return Table(np.concatenate([table.geometry for table in tables]), columns)


def geometries(items: list[Any]) -> Array:
    """An object array of geometries; numpy would otherwise unpack multi-part ones."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def from_rows(headings: str, shapes: list[Any], rows: list[tuple[Any, ...]]) -> Table:
    """A table of rows; `headings` are words. Columns of numbers become int64 or float64, all others objects."""
    table = Table(geometries(shapes))
    for heading, column in zip(headings.split(), zip(*rows, strict=True), strict=True):
        whole = all(isinstance(value, int | np.integer) for value in column)
        number = not whole and all(isinstance(value, int | float | np.number) for value in column)
        table.columns[heading] = np.array(column, dtype=np.int64 if whole else np.float64 if number else object)
    return table
