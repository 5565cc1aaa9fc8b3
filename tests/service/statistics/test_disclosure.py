"""Nobody works out a small group from all tables that there are, taken together."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdi.access.disclosure import LEAST, TOGETHER, hidden, together
from sdi.service.statistics.table import Table, table_of
from tests.service.statistics.observer import Combination, Observer

COUNTS = [0, 0, 0, 1, 1, 2, 3, 4, 5, 7, 12, 40]


@st.composite
def cubes(draw: st.DrawFn) -> tuple[list[list[str]], dict[Combination, int]]:
    """How many features have each combination of three dimensions."""
    sizes = [draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 3))]
    domains = [[f"{letter}{number}" for number in range(size)] for letter, size in zip("hxy", sizes, strict=True)]
    combinations: list[Combination] = [(h, x, y) for h in domains[0] for x in domains[1] for y in domains[2]]
    counts = draw(st.lists(st.sampled_from(COUNTS), min_size=len(combinations), max_size=len(combinations)))
    return domains, dict(zip(combinations, counts, strict=True))


def published(cube: dict[Combination, int], areas: dict[Combination, Decimal]) -> dict[tuple[int, ...], Table]:
    """Every table that a layer with these features has: by each dimension, and by the first with each other one."""
    tables = {}
    for places in ((0,), (1,), (2,), (0, 1), (0, 2)):
        rows: dict[Any, Any] = {}
        for combination, count in cube.items():
            if count:
                key = tuple(combination[place] for place in places)
                before, (area,) = rows.get(key, (0, (Decimal(0),)))
                rows[key] = before + count, (area + areas[combination],)
        tables[places] = table_of(tuple(f"d{place}" for place in places), ("area",), rows)
    return tables


def secrets(
    tables: dict[tuple[int, ...], Table], cube: dict[Combination, int]
) -> list[tuple[str, Any, int]]:  # fmt: skip
    """What is not told, as a name, the condition that a combination fulfils, and the truth."""
    few = {place: tables[(place,)].together[0] for place in (0, 1, 2)}
    found: list[tuple[str, Any, int]] = []

    def stands(place: int, combination: Combination, value: Any) -> bool:
        names = few[place]
        if value == TOGETHER:
            return names is None or combination[place] in names
        return bool(combination[place] == value)

    for places, table in tables.items():
        for group in table.groups:
            if group.count is None:
                held = lambda c, p=places, v=group.values: all(stands(*each) for each in zip(p, (c, c), v, strict=True))  # noqa: E731
                found.append((f"{places} {group.values}", held, sum(n for c, n in cube.items() if held(c))))
    for place, names in few.items():
        for value in names or ():
            held = lambda c, p=place, v=value: c[p] == v  # noqa: E731
            found.append((f"{place} {value}", held, sum(n for c, n in cube.items() if held(c))))
    return found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cubes())
@example(
    ([["h0", "h1", "h2", "h3"], ["x0"], ["y0"]], {(f"h{number}", "x0", "y0"): 1 + number // 2 for number in range(4)})
)
def test_no_small_group_can_be_worked_out_from_all_tables_together(
    drawn: tuple[list[list[str]], dict[Combination, int]],
) -> None:
    domains, cube = drawn
    chance = random.Random(sum(cube.values()))
    areas = {each: Decimal(chance.randint(1, 10**6)) / 100 * count for each, count in cube.items()}
    tables = published(cube, areas)
    untold = secrets(tables, cube)
    for kind in ("count", "area"):
        observer = Observer(domains)
        for places, table in tables.items():
            assert all(group.count is None or group.count >= LEAST for group in table.groups)
            assert all((group.count is None) == (group.sums[0] is None) for group in table.groups)
            observer.reads(table, places, domains, lambda g, kind=kind: g.count if kind == "count" else g.sums[0])  # type: ignore[misc]
            for place, names in zip(places, table.together, strict=True):
                for value in names or ():
                    observer.present(place, value, 1.0 if kind == "count" else 0.0)
        for (name, _, truth), (least, most) in zip(untold, observer.bounds(held for _, held, _ in untold), strict=True):
            assert most - least > 1e-4, (kind, name, truth, least, most)
            if kind == "count" and 0 < truth < LEAST:
                assert most >= LEAST - 1e-5, (name, truth, least, most)


def test_the_observer_finds_what_a_careless_table_gives_away() -> None:
    """One hidden cell in a row and a column of told ones: the difference to the margin is what it holds."""
    rows = {("a", "x"): (3, ()), ("a", "y"): (20, ()), ("b", "x"): (30, ()), ("b", "y"): (40, ())}
    table = table_of(("h", "x"), (), rows)
    assert sum(group.count is None for group in table.groups) == 4
    counts = {values: None if found[0] < LEAST else found[0] for values, found in rows.items()}
    careless = replace(table, groups=tuple(replace(group, count=counts[group.values]) for group in table.groups))
    for shown, exact in ((careless, True), (table, False)):
        observer = Observer([["a", "b"], ["x", "y"]])
        observer.reads(shown, (0, 1), [["a", "b"], ["x", "y"]], lambda g: g.count)
        ((least, most),) = observer.bounds([lambda c: c == ("a", "x")])
        assert (most - least < 1e-6) == exact


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"a": 9, "b": 100}, ()),
        ({"a": 3, "b": 4, "c": 100}, ("a", "b")),
        ({"a": 1, "b": 6, "c": 100}, ("a", "b")),
        ({"a": 1, "b": 1, "c": 1, "d": 100}, ("a", "b", "c", "d")),
        ({None: 2, "b": 50, "c": 100}, (None, "b")),
    ],
)
def test_small_values_stand_together_with_as_many_others_as_it_takes(
    counts: dict[str | None, int], expected: tuple[str | None, ...]
) -> None:
    assert together(counts) == expected


def test_a_layer_of_fewer_than_five_tells_nothing() -> None:
    table = table_of(("h", "x"), ("area",), {("a", "x"): (4, (Decimal(1),))})
    assert (table.total.count, table.total.sums, table.groups, table.margins) == (None, (None,), (), ())


def test_a_city_is_hidden_in_few_cells_and_soon() -> None:
    """126 communes by 40 codes, most of them rare: the work grows with the small cells, and little else is lost."""
    chance = random.Random(1)
    counts = {(f"{h:05}", f"{x}"): int(chance.paretovariate(0.7)) for h in range(126) for x in range(40)
              if chance.random() < 0.6}  # fmt: skip
    small = {cell for cell, count in counts.items() if count < LEAST}
    found = hidden(counts)
    assert small <= found
    assert len(found) < len(counts)
    told = sum(count for cell, count in counts.items() if cell not in found)
    assert told > 0.9 * sum(counts.values())
