"""What was planted where: the findings that a check of the deliveries must make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from sdi.demo.table import Array, Table
from sdi.national import vn2000

GRID = 5897


@dataclass
class Entry:
    rule: str
    """A rule of a report (`coverage.overlap`) or of the comparison between layers (`over_floors`)."""
    table: str
    """Which of the city's tables it is in."""
    row: int
    """Index in that table as it is delivered."""
    place: tuple[float, float]
    """E, N in EPSG:5897."""
    detail: dict[str, Any]


@dataclass
class Truth:
    count: int
    """How many of each kind are planted."""
    entries: list[Entry] = field(default_factory=list)

    def add(self, rule: str, table: str, rows: Array, shapes: Array, **detail: Any) -> None:
        """Note one rule for many rows; a detail that is an array has a value for each row."""
        points = shapely.point_on_surface(shapes)
        places = np.where(
            shapely.is_empty(points) | ~shapely.is_geometry(points), shapely.Point(np.nan, np.nan), points
        )
        for number, row in enumerate(rows):
            own = {name: _plain(values[number] if np.ndim(values) else values) for name, values in detail.items()}
            place = shapely.get_coordinates(places[number])
            self.entries.append(Entry(rule, table, int(row), tuple(place[0]) if len(place) else (np.nan, np.nan), own))

    def lonlat(self) -> Array:
        places = np.array([entry.place for entry in self.entries], dtype=float).reshape(-1, 2)
        return vn2000.to_wgs84(places, GRID)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


class Pool:
    """Rows that may be spoiled, each at most once."""

    def __init__(self, rng: np.random.Generator, rows: Array) -> None:
        self.rows = list(rng.permutation(rows))

    def take(self, count: int, fit: Array | None = None) -> Array:
        """Up to `count` rows (of those where `fit` is true), in ascending order."""
        chosen = [row for row in self.rows if fit is None or fit[row]][:count]
        self.leave(np.array(chosen))
        return np.sort(np.array(chosen, dtype=np.int64))

    def leave(self, rows: Array) -> None:
        """Let nothing happen to these rows."""
        taken = set(rows.tolist())
        self.rows = [row for row in self.rows if row not in taken]


def spoil_parcels(rng: np.random.Generator, parcels: Table, free: Array, truth: Truth) -> Table:
    """The parcels as they are delivered: with defects in some of the rows `free`, and some rows twice."""
    table, count = parcels.copy(), truth.count
    area = shapely.area(parcels.geometry)
    corners = shapely.get_num_coordinates(parcels.geometry)
    pool = Pool(rng, np.flatnonzero(free & (area > 28) & (parcels["side"] != 0)))

    def note(rule: str, rows: Array, **detail: Any) -> None:
        truth.add(rule, "parcels", rows, parcels.geometry[rows], **detail)

    _overlap(table, pool, truth)
    rows = pool.take(count, corners <= 6)
    table.geometry[rows] = [_bow_tie(shape) for shape in parcels.geometry[rows]]
    rows = rows[~shapely.is_valid(table.geometry[rows])]
    note("geometry.invalid", rows, kind="bow_tie")
    rows = pool.take(count)
    table.geometry[rows] = [_loop(shape) for shape in parcels.geometry[rows]]
    note("geometry.repaired", rows, kind="small_loop")
    _codes(table, pool, note, count)
    rows = pool.take(count)
    table["sheet"][rows] = ""
    note("identifier.missing", rows, kind="missing_sheet_number")
    rows = pool.take(count)
    table["measured"][rows] = np.round(area[rows] * 1.3, 1)
    table["legal"][rows] = table["measured"][rows]
    note(
        "area.legal",
        rows,
        kind="area_off_by_30_percent",
        map_m2=np.round(area[rows], 2),
        recorded_m2=table["measured"][rows],
    )
    rows = pool.take(count)
    table["id12"][rows] = parcels["id12"][(rows + len(parcels) // 2) % len(parcels)]
    note("identifier.place", rows, kind="identifier_of_another_place")
    rows = pool.take(max(count // 2, 2))
    table.geometry[rows] = None
    note("geometry.missing", rows, kind="no_geometry")
    return _twice(table, parcels, pool, truth)


def _codes(table: Table, pool: Pool, note: Any, count: int) -> None:
    for rule, codes, kind in (
        ("code.unknown", ("XXX", "ODTT"), "wrong_code"),
        ("code.superseded", ("LUN", "DSH", "BHK"), "superseded_code"),
        ("code.review", ("SKX", "DTS", "SKT"), "code_for_review"),
    ):
        rows = pool.take(count)
        given = np.array([codes[number % len(codes)] for number in range(len(rows))], dtype=object)
        table["main"][rows] = table["purposes"][rows] = given
        note(rule, rows, kind=kind, value=given)


def _twice(table: Table, parcels: Table, pool: Pool, truth: Truth) -> Table:
    """Parcels with another's number, and rows that repeat a geometry under a new number."""
    count = truth.count
    first = pool.take(count)
    pairs = [(row, pool.take(1, parcels["commune"] == parcels["commune"][row])) for row in first]
    rows = np.array([other[0] for _, other in pairs if len(other)], dtype=np.int64)
    first = np.array([row for row, other in pairs if len(other)], dtype=np.int64)
    for name in ("sheet", "number", "old_sheet", "old_number", "ward_code"):
        table[name][rows] = parcels[name][first]
    truth.add("identifier.duplicate", "parcels", rows, parcels.geometry[rows], kind="duplicate_key", same_as=first)
    rows = pool.take(count)
    again = table.take(rows)
    again["number"] = 9000 + np.arange(len(rows))
    delivered = Table(np.concatenate([table.geometry, again.geometry]))
    for name in table.columns:
        delivered[name] = np.concatenate([table[name], again[name]])
    new = len(table) + np.arange(len(rows))
    truth.add("geometry.duplicate", "parcels", new, again.geometry, kind="exact_duplicate", same_as=rows)
    truth.add("coverage.overlap", "parcels", new, again.geometry, kind="exact_duplicate", same_as=rows,
              m2=np.round(shapely.area(again.geometry), 2))  # fmt: skip
    return delivered


def _overlap(table: Table, pool: Pool, truth: Truth) -> None:
    """Draw parcels 0.9 m too far, over their neighbours; the recorded area is that of the wrong boundary."""
    tree = shapely.STRtree(table.geometry)
    for row in pool.take(truth.count):
        wide = shapely.buffer(table.geometry[row], 0.9, join_style="mitre")
        near = tree.query(wide, predicate="intersects")
        near = near[near != row]
        shared = shapely.intersection(table.geometry[near], wide)
        if not len(near) or shapely.area(shared).max() < 3:
            continue
        other = near[int(np.argmax(shapely.area(shared)))]
        shape = shapely.union(
            table.geometry[row], shapely.buffer(shapely.intersection(table.geometry[other], wide), 1e-4)
        )
        if shape.geom_type != "Polygon":
            continue
        pool.leave(near)
        table.geometry[row] = shape
        table["measured"][row] = table["legal"][row] = np.round(shape.area, 1)
        covered = shapely.intersection(table.geometry[other], shape)
        truth.add("coverage.overlap", "parcels", np.array([row]), np.array([covered]), kind="overlap", other=int(other),
                  m2=round(covered.area, 2))  # fmt: skip


def _bow_tie(shape: Any) -> Any:
    ring = shapely.get_coordinates(shape)
    ring[[1, 2]] = ring[[2, 1]]
    return shapely.Polygon(ring)


def _loop(shape: Any) -> Any:
    """A small crossing loop in the middle of the first side, as a slip of the mouse leaves it."""
    ring = shapely.get_coordinates(shapely.force_2d(shapely.orient_polygons(shape)))
    way = (ring[1] - ring[0]) / np.hypot(*(ring[1] - ring[0])) * 0.05
    inward, middle = np.array([-way[1], way[0]]) * 2, (ring[0] + ring[1]) / 2
    slip = [middle - way, middle + way + inward, middle - way + inward, middle + way]
    return shapely.Polygon([ring[0], *slip, *ring[1:]])


def spoil_buildings(rng: np.random.Generator, buildings: Table, free: Array, truth: Truth, legacy: Array) -> Table:
    """The buildings as they are delivered: without geometry, with NaN, with names of TCVN3 bytes in a UTF-8 file."""
    table = buildings.copy()
    pool = Pool(rng, np.flatnonzero(free))
    rows = pool.take(truth.count)
    table.geometry[rows] = None
    truth.add("geometry.missing", "buildings", rows, buildings.geometry[rows], kind="no_geometry")
    rows = pool.take(max(truth.count // 2, 2))
    for row in rows:
        ring = shapely.get_coordinates(buildings.geometry[row])
        ring[1] = np.nan
        with np.errstate(invalid="ignore"):
            table.geometry[row] = shapely.Polygon(ring)
    truth.add("geometry.not_finite", "buildings", rows, buildings.geometry[rows], kind="nan_coordinate")
    table["name"] = legacy
    named = np.flatnonzero(legacy != "")
    truth.add("text.converted", "buildings", named, buildings.geometry[named], kind="tcvn3_in_utf8", attribute="name")
    return table
