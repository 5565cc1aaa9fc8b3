"""Who has all tables of a layer before them and works out what they do not tell: bounds by linear programming.

It knows nothing of how numbers are chosen to be hidden. Its unknowns are how many features have each combination of all
dimensions; what the tables tell are equations in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np

from sdi.access.disclosure import TOGETHER
from sdi.service.statistics.table import Group, Table

Combination = tuple[Any, ...]
_EPS = 1e-7


class Observer:
    """`domains`: the values of each dimension, the first of which stands in every table of two."""

    def __init__(self, domains: list[list[Any]]) -> None:
        self._combinations: list[Combination] = list(product(*domains))
        self._rows: list[np.ndarray] = []
        self._right: list[float] = []
        self._least: list[tuple[np.ndarray, float]] = []

    def reads(
        self, table: Table, places: tuple[int, ...], domains: list[list[Any]], number: Callable[[Group], float | None]
    ) -> None:  # fmt: skip
        """Take a table for known. `places`: which dimensions its own are. `number`: what a group tells, None: nothing.

        What stands in no group is empty; who stands in `together` by name is there.
        """
        self._know(lambda combination: True, number(table.total))
        groups = {group.values: number(group) for group in table.groups}
        few: list[set[Any]] = [set(names) if names else set() for names in table.together]
        told: list[list[Any]] = []
        for place, names, together in zip(places, few, table.together, strict=True):
            alone = [value for value in domains[place] if value not in names]
            if together is None:
                alone = []
            told.append(alone + ([TOGETHER] if names or together is None else []))
        for key in product(*told):
            self._know(self._within(key, places, few, table), groups.get(key, 0.0))
        for at, margin in enumerate(table.margins):
            for group in margin:
                within = self._within(group.values, places[at : at + 1], few[at : at + 1], table, at)
                self._know(within, number(group))

    def present(self, place: int, value: Any, least: float) -> None:
        """At least so much has a value."""
        self._least.append((self._vector(lambda combination: combination[place] == value), least))

    def bounds(self, questions: Iterable[Callable[[Combination], bool]]) -> list[tuple[float, float]]:
        """Between which numbers lies what fulfils each of them."""
        matrix, right = self._system()
        solver = _Simplex(matrix, right)
        width = matrix.shape[1]
        found = []
        for question in questions:
            aim = np.zeros(width)
            aim[: len(self._combinations)] = self._vector(question)
            found.append((-solver.most(-aim), solver.most(aim)))
        return found

    def _within(
        self, key: tuple[Any, ...], places: tuple[int, ...], few: list[set[Any]], table: Table, at: int = 0
    ) -> Callable[[Combination], bool]:  # fmt: skip
        def holds(combination: Combination) -> bool:
            for value, place, names, number in zip(key, places, few, range(at, at + len(key)), strict=True):
                everything = table.together[number] is None
                if value == TOGETHER:
                    if not everything and combination[place] not in names:
                        return False
                elif combination[place] != value:
                    return False
            return True

        return holds

    def _know(self, of: Callable[[Combination], bool], number: float | None) -> None:
        if number is not None:
            self._rows.append(self._vector(of))
            self._right.append(number)

    def _vector(self, of: Callable[[Combination], bool]) -> np.ndarray:
        return np.array([1.0 if of(combination) else 0.0 for combination in self._combinations])

    def _system(self) -> tuple[np.ndarray, np.ndarray]:
        """Equations; what is at least so much has an unknown of its own for what it has more."""
        more = len(self._least)
        rows = [np.concatenate([row, np.zeros(more)]) for row in self._rows]
        for number, (row, _) in enumerate(self._least):
            surplus = np.zeros(more)
            surplus[number] = -1.0
            rows.append(np.concatenate([row, surplus]))
        right = [*self._right, *(least for _, least in self._least)]
        system = np.unique(np.column_stack([np.array(rows), np.array(right)]), axis=0)
        return system[:, :-1], system[:, -1]


class _Simplex:
    """The two phases of Dantzig's method on a dense tableau, by Bland's rule."""

    def __init__(self, matrix: np.ndarray, right: np.ndarray) -> None:
        count, self._width = matrix.shape
        tableau = np.column_stack([matrix, np.eye(count), right])
        self._tableau, self._basis = tableau, [self._width + number for number in range(count)]
        aim = np.zeros(self._width + count)
        aim[self._width :] = -1.0
        worst, tableau, basis = self._climb(aim, self._tableau, self._basis, self._width + count)
        assert worst > -1e-5, "the tables contradict each other"
        # What is left of the helping unknowns stands for equations that say nothing new.
        for row in range(count):
            if basis[row] >= self._width:
                column = next((c for c in range(self._width) if abs(tableau[row, c]) > _EPS), None)
                if column is not None:
                    self._pivot(tableau, basis, row, column)
        kept = [row for row in range(count) if basis[row] < self._width]
        self._tableau = np.column_stack([tableau[kept, : self._width], tableau[kept, -1]])
        self._basis = [basis[row] for row in kept]

    def most(self, aim: np.ndarray) -> float:
        found, _, _ = self._climb(aim, self._tableau, self._basis, self._width)
        return found

    def _climb(
        self, aim: np.ndarray, tableau: np.ndarray, basis: list[int], width: int
    ) -> tuple[float, np.ndarray, list[int]]:  # fmt: skip
        tableau, basis = tableau.copy(), [*basis]
        while True:
            weights = aim[basis]
            gains = aim[:width] - weights @ tableau[:, :width]
            entering = next((c for c in range(width) if gains[c] > _EPS), None)
            if entering is None:
                return float(weights @ tableau[:, -1]), tableau, basis
            steep = [(tableau[r, -1] / tableau[r, entering], basis[r], r)
                     for r in range(len(basis)) if tableau[r, entering] > _EPS]  # fmt: skip
            assert steep, "nothing is unbounded: the total is told"
            least = min(ratio for ratio, _, _ in steep)
            row = min((name, r) for ratio, name, r in steep if ratio <= least + 1e-9)[1]
            self._pivot(tableau, basis, row, entering)

    @staticmethod
    def _pivot(tableau: np.ndarray, basis: list[int], row: int, column: int) -> None:
        tableau[row] /= tableau[row, column]
        for other in range(len(basis)):
            if other != row and abs(tableau[other, column]) > 1e-12:
                tableau[other] -= tableau[other, column] * tableau[row]
        basis[row] = column
