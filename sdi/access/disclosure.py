"""Which numbers of a table of counts may be told, so that no small group can be worked out from any of them.

A group of fewer than LEAST features is never told, nor anything that it could be worked out from. Two steps bring that
about, each of which decides by the visible rows alone, so that the same rows always give the same table:

1. Values of a dimension with too few features are put together, with as many of the next small ones as it takes for any
   of them to have had LEAST features as far as anybody can tell (`together`). They stand as one value, TOGETHER, in
   every table. So every margin can be told.
2. In a table of two dimensions every small cell is hidden, and with it a rectangle of others (`hidden`): as many
   features can move around the rectangle without changing any margin or any number that is told as the small cell lacks
   to LEAST. So every small cell may have LEAST features, as far as anybody can tell.

Tables that share nothing but one dimension whose margin is told can be made up independently of each other: for every
table that somebody might think of beside them there are features that give them all. That is why a contract's
dimensions are counted with its first one only (`sdi.contract.layer.Statistics`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import product

LEAST = 5
"""Features of the smallest group that is told."""
TOGETHER = "*"
"""Stands for all values that are put together; no code is written so."""
TRIED = 8
"""Cells of a row and of a column that are tried as corners of a rectangle, the ones that cost least."""

Value = str | None
Cell = tuple[Value, Value]


def together(counts: Mapping[Value, int]) -> tuple[Value, ...]:
    """The values of a dimension that are told as one, the smallest first; none where each has LEAST features.

    With k features of theirs in all, each of m values may have from 1 to k - m + 1, which is at least LEAST. Where even
    all values together have too few for that, they are all put together: see `nameless`.
    """
    order = sorted(counts, key=lambda value: (counts[value], value is None, value or ""))
    small = sum(counts[value] < LEAST for value in order)
    if not small:
        return ()
    for size in range(small, len(order)):
        if not nameless(counts, order[:size]):
            return tuple(order[:size])
    return tuple(order)


def nameless(counts: Mapping[Value, int], values: Iterable[Value]) -> bool:
    """Whether not even the names of values that are put together may be told: that each has a feature says too much."""
    values = list(values)
    return sum(counts[value] for value in values) - len(values) < LEAST - 1


def hidden(counts: Mapping[Cell, int]) -> frozenset[Cell]:
    """The cells of a table that are not told; its margins are, so each of them must be LEAST at least.

    `counts`: the cells that are not empty. Empty ones are told to be empty, unless they are hidden too.
    """
    found = {cell for cell, count in counts.items() if count < LEAST}
    rows: dict[Value, list[Cell]] = defaultdict(list)
    columns: dict[Value, list[Cell]] = defaultdict(list)
    for cell in counts:
        rows[cell[0]].append(cell)
        columns[cell[1]].append(cell)
    for cell in sorted(found, key=lambda cell: (counts[cell], *((part is None, part or "") for part in cell))):
        beside = [each for each in rows[cell[0]] if each != cell]
        above = [each for each in columns[cell[1]] if each != cell]
        found.update(_rectangle(cell, beside, above, counts, found) or _spread(cell, beside, above, counts))
    return frozenset(found)


def _rectangle(
    cell: Cell, beside: list[Cell], above: list[Cell], counts: Mapping[Cell, int], found: set[Cell]
) -> set[Cell]:  # fmt: skip
    """The other corners of the rectangle that hides least; nothing where no cells of the row and column can give what
    the cell lacks."""
    lacking, whole = LEAST - counts[cell], sum(counts[each] for each in beside) + 1

    def cost(each: Cell, gives: int) -> tuple[float, float]:
        """What hiding a cell costs: numbers that are lost first, large ones before small ones."""
        count = counts.get(each, 0)
        # What is emptied, or is empty, may be told apart by who knows better.
        doubt = 0.0 if count > gives else 10.0
        return (0.0 if each in found else 1.0 + count / (count + whole)) + doubt, float(count)

    def cheapest(cells: list[Cell]) -> list[tuple[float, Cell]]:
        able = [(cost(each, lacking), each) for each in cells if counts[each] >= lacking]
        able.sort(key=lambda told: (told[0], *((part is None, part or "") for part in told[1])))
        return [(price[0], each) for price, each in able[:TRIED]]

    best: tuple[float, set[Cell]] = (float("inf"), set())
    for (price, one), (other_price, other) in product(cheapest(beside), cheapest(above)):
        corner = (other[0], one[1])
        whole_price = price + other_price + cost(corner, 0)[0]
        if whole_price < best[0]:
            best = whole_price, {one, other, corner}
    return best[1]


def _spread(cell: Cell, beside: list[Cell], above: list[Cell], counts: Mapping[Cell, int]) -> set[Cell]:
    """Several cells of the row and of the column that together give what the cell lacks, and all corners between."""

    def enough(cells: list[Cell]) -> list[Cell]:
        taken: list[Cell] = []
        for each in sorted(cells, key=lambda each: (-counts[each], *((part is None, part or "") for part in each))):
            if sum(counts[one] for one in taken) < LEAST - counts[cell]:
                taken.append(each)
        return taken

    in_row, in_column = enough(beside), enough(above)
    corners = {(other[0], one[1]) for one, other in product(in_row, in_column)}
    return {*in_row, *in_column, *corners}
