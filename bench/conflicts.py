"""Defects between layers, planted into the buildings and permits of a city in which there are none, and lines of a
network; the truth as in defects.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import shapely
from defects import Town, moved, town
from land import CORNER
from neighbours import BUILDINGS, DENSITY, FLOORS, HEIGHT, PERMITS, PLAN, RATIO, City

from sdi.contract.layer import Layer

Conflict = Callable[[Town, int], None]


def as_named(table: pa.Table) -> Town:
    """A town whose columns defects call as its file does."""
    return town(table, {name: name for name in table.column_names if name != "geom"})


def said(*rules: str, **values: object) -> Conflict:
    """A feature that is wrong in its attributes, and what has to be said of it."""

    def plant(place: Town, row: int) -> None:
        place.put(row, **values)
        for rule in rules:
            place.expect(rule, row)

    return plant


# --- buildings --------------------------------------------------------------------------------------------------------


def across(place: Town, row: int) -> None:
    """It stands on its neighbour's land, with a third of its ground, and on the neighbour's house."""
    place.shapes[row] = moved(place.shapes[row], 3.0, 0.0)
    place.put(row, mienGiayPhep=True)
    place.expect("layer.crosses", row)
    place.expect("coverage.overlap", row, row + 1)


OF_BUILDINGS: tuple[tuple[int, Conflict], ...] = (
    (4, across),
    (5, said("layer.missing", mienGiayPhep=False)),
    (6, said("layer.missing", mienGiayPhep=False, soGiayPhep="GP-nobody's")),
    (7, said("layer.exceeds", soTang=FLOORS + 1)),
    (8, said("layer.exceeds", chieuCao=HEIGHT + 0.5)),
)
"""(last digit of the lots on which they are planted, defect)."""


# --- permits ----------------------------------------------------------------------------------------------------------

OF_PERMITS: tuple[tuple[int, Conflict], ...] = (
    (1, said("layer.missing", "reference.missing", soThua="99999")),
    (2, said("reference.missing", soThua="99998")),
    (0, said("layer.exceeds", soTang=FLOORS + 1)),
    (0, said("layer.exceeds", chieuCaoToiDa=HEIGHT + 0.5)),
    (0, said("layer.exceeds", matDoXayDung=DENSITY + 1)),
    (0, said("layer.exceeds", heSoSuDungDat=RATIO + 0.1)),
)
"""Those on 1 have no place, so a parcel that is not there leaves nothing; those on 2 still lie in one."""
CONFLICTS = {BUILDINGS: OF_BUILDINGS, PERMITS: OF_PERMITS}


def plant(city: City, layer: str, place: Town, each: int) -> None:
    """Plant each kind of conflict, `each` times or as often as there are lots, three columns and two rows apart."""
    names = place.columns["soGiayPhep" if layer == PERMITS else "maCongTrinh"]
    lot = np.array([int(str(name).partition("-")[2]) for name in names])
    across_, up = lot % city.columns, lot // city.columns
    usable = (across_ % 3 == 1) & (up % 2 == 1) & (across_ < city.columns - 2)
    taken: set[int] = set()
    for digit, conflict in CONFLICTS[layer]:
        free = [int(row) for row in np.flatnonzero(usable & (lot % 10 == digit)) if row not in taken]
        for row in np.random.default_rng(digit).permutation(free)[:each].tolist():
            taken.add(row)
            conflict(place, row)


# --- a network --------------------------------------------------------------------------------------------------------

STREET = 100.0
"""Metres from one street of the net to the next."""


def networked(layer: Layer) -> Layer:
    """A contract of lines, with checks as one of pipes would have them: every end touches another line."""
    check = {"rule": "network.dangle", "tolerance": 0.5, "parameters": {"free_ends": False}}
    return Layer.model_validate(layer.model_dump(mode="json") | {"checks": [check]})


def network(each: int) -> Town:
    """A square net: lines from south to north, and from each to the next one line for each crossing, a few of which are
    too short, too long, or end nowhere."""
    kinds = (("network.dangle", (-0.2, 0.0)), ("network.dangle", (0.3, 0.2)), ("network.free_end", (-30.0, 0.0)))
    side = int(np.ceil(np.sqrt(4 * len(kinds) * each))) + 2
    along = [((x, 0), (x, side - 1)) for x in range(side)]
    between = [((x, y), (x + 1, y)) for x in range(side - 1) for y in range(side)]
    ends = STREET * np.array([*along, *between], dtype=float) + CORNER
    count = len(ends)
    free = [row for row in range(len(along), count) if 0 < between[row - len(along)][0][1] < side - 1]
    chosen = np.random.default_rng(3).permutation(free)[: len(kinds) * each].tolist()
    truth = []
    for position, row in enumerate(chosen):
        rule, metres = kinds[position % len(kinds)]
        ends[row, 1] += metres
        truth.append((rule, frozenset([row])))
    columns: dict[str, list[object]] = {
        "maThongTinQH": [PLAN] * count, "loaiChiGioi": ["red_line"] * count,
        "maDoiTuong": [f"L{row}" for row in range(count)],
    }  # fmt: skip
    return Town(np.asarray(shapely.linestrings(ends)), columns, {}, truth)
