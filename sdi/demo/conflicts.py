"""Conflicts between the layers: what was built against permit, line, plan or the land's purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from sdi.demo.addresses import Directory
from sdi.demo.houses import REGISTER, frame, largest, strip
from sdi.demo.planning import RED_LINED, SETBACK
from sdi.demo.table import Array, Table, geometries
from sdi.demo.truth import Pool, Truth


def build_against(
    rng: np.random.Generator,
    parcels: Table,
    buildings: Table,
    zoning: tuple[Array, Array, Array],
    directory: Directory,
    free: Any,
    truth: Truth,
) -> Pool:
    """Change buildings so that they break a rule; permits come later, for what was allowed. Returns the others."""
    density, floors, zones = zoning
    plot = buildings["parcel"]
    level = directory.levels[parcels["street"][plot]]
    house = (parcels["side"][plot] != 0) & (parcels["main"][plot] == "ODT") & (buildings["use"] == "residential")
    house &= np.isfinite(density[plot]) & (zones[plot] == 1)
    recent, old = house & (buildings["year"] >= REGISTER + 2), house & (buildings["year"] < REGISTER)
    wide = np.flatnonzero(directory.levels <= RED_LINED)
    roads = shapely.buffer(directory.lines[wide], directory.widths[wide] / 2 + 0.2)
    roads = shapely.union(shapely.union_all(roads), free)
    pool, count = Pool(rng, np.flatnonzero(house)), truth.count
    _over_floors(buildings, pool.take(count, recent), floors, truth)
    _over_density(parcels, buildings, pool.take(3 * count, recent & (density[plot] <= 85)), density, free, truth)
    _outside(parcels, buildings, pool.take(12 * count, recent & (level >= 4)), density, roads, truth)
    lined = house & np.isin(level, list(SETBACK))
    _over_line(parcels, buildings, pool.take(3 * count, lined), density, free, truth)
    rows = pool.take(count, old)
    parcels["main"][plot[rows]] = parcels["purposes"][plot[rows]] = "CLN"
    truth.add("not_residential", "buildings", rows, buildings.geometry[rows], value="CLN", parcel=plot[rows])
    _spanning(parcels, buildings, pool.take(5 * count, old & (level > 1)), roads, truth)
    return pool


def _resize(buildings: Table, rows: Array, shapes: Array) -> None:
    buildings.geometry[rows] = shapes
    buildings["footprint"][rows] = np.round(shapely.area(shapes), 1)
    buildings["gross"][rows] = np.round(shapely.area(shapes) * buildings["floors"][rows], 1)


def _over_floors(buildings: Table, rows: Array, floors: Array, truth: Truth) -> None:
    allowed = floors[buildings["parcel"][rows]].astype(int)
    buildings["floors"][rows] = allowed + 1 + np.arange(len(rows)) % 3
    buildings["height"][rows] = np.round(buildings["floors"][rows] * 3.4 + 0.6, 1)
    _resize(buildings, rows, buildings.geometry[rows])
    truth.add(
        "over_floors", "buildings", rows, buildings.geometry[rows], built=buildings["floors"][rows], allowed=allowed
    )


def _over_density(parcels: Table, buildings: Table, rows: Array, density: Array, free: Any, truth: Truth) -> None:
    plots = buildings["parcel"][rows]
    shapes = shapely.buffer(parcels.geometry[plots], -0.08, join_style="mitre")
    ratio = shapely.area(shapes) / shapely.area(parcels.geometry[plots]) * 100
    keep = (ratio > density[plots] + 1.5) & ~shapely.intersects(shapes, free) & (shapely.get_type_id(shapes) == 3)
    keep &= np.cumsum(keep) <= truth.count
    rows, plots, shapes, ratio = rows[keep], plots[keep], shapes[keep], ratio[keep]
    _resize(buildings, rows, shapes)
    truth.add("over_density", "buildings", rows, shapes, built=np.round(ratio, 1), allowed=density[plots], parcel=plots)


def _outside(parcels: Table, buildings: Table, rows: Array, density: Array, roads: Any, truth: Truth) -> None:
    """The house reaches 0.9 to 1.3 m into the alley before it."""
    plots = buildings["parcel"][rows]
    axes = frame(parcels, rows=plots)
    jutting = strip(axes, np.full(len(rows), -1.3), np.full(len(rows), 3.0), widen=-0.5)
    others = shapely.STRtree(parcels.geometry)
    shapes = np.array([None] * len(rows), dtype=object)
    for number, (row, plot) in enumerate(zip(rows, plots, strict=True)):
        near = others.query(jutting[number], predicate="intersects")
        neighbours = shapely.buffer(shapely.union_all(parcels.geometry[near[near != plot]]), 0.05)
        shapes[number] = largest(
            np.array([shapely.difference(shapely.union(buildings.geometry[row], jutting[number]), neighbours)])
        )[0]
    over, area = (
        shapely.area(shapely.difference(shapes, parcels.geometry[plots])),
        shapely.area(parcels.geometry[plots]),
    )
    keep = (
        (over > 2)
        & (over > 0.04 * shapely.area(shapes))
        & (over < 0.45 * shapely.area(shapes))
        & shapely.is_valid(shapes)
    )
    keep &= shapely.area(shapely.intersection(shapes, parcels.geometry[plots])) / area < density[plots] / 100 - 0.01
    keep &= ~shapely.intersects(shapes, roads)
    keep &= np.cumsum(keep) <= truth.count
    rows, plots, shapes, over = rows[keep], plots[keep], shapes[keep], over[keep]
    _resize(buildings, rows, shapes)
    truth.add("outside_parcel", "buildings", rows, shapes, m2=np.round(over, 2), parcel=plots)


def _over_line(parcels: Table, buildings: Table, rows: Array, density: Array, free: Any, truth: Truth) -> None:
    """The house takes the ground between the building line and the street."""
    plots = buildings["parcel"][rows]
    axes = frame(parcels, rows=plots)
    forward = strip(axes, np.full(len(rows), 0.3), np.full(len(rows), 5.5))
    shapes = shapely.union(
        buildings.geometry[rows], shapely.buffer(shapely.intersection(parcels.geometry[plots], forward), -0.07)
    )
    shapes = largest(shapely.intersection(shapes, shapely.buffer(parcels.geometry[plots], -0.06)))
    depth = shapely.area(shapely.intersection(shapes, free))
    ratio = shapely.area(shapes) / shapely.area(parcels.geometry[plots]) * 100
    keep = (depth > 2.5) & (ratio < density[plots] - 1) & shapely.is_valid(shapes)
    keep &= np.cumsum(keep) <= truth.count
    rows, shapes, depth = rows[keep], shapes[keep], depth[keep]
    _resize(buildings, rows, shapes)
    truth.add("over_building_line", "buildings", rows, shapes, m2_before_the_line=np.round(depth, 2))


def _spanning(parcels: Table, buildings: Table, rows: Array, roads: Any, truth: Truth) -> None:
    """Old houses that stand on two plots: no defect, but a case to know."""
    built = set(buildings["parcel"].tolist())
    tree = shapely.STRtree(parcels.geometry)
    row_of = list(zip(parcels["node"].tolist(), parcels["side"].tolist(), strict=True))
    pairs: list[tuple[int, int]] = []
    for row in rows:
        plot, shape = buildings["parcel"][row], buildings.geometry[row]
        near = tree.query(shapely.buffer(shape, 0.6), predicate="intersects")
        beside = [int(other) for other in near if row_of[other] == row_of[plot] and other not in built]
        if not beside:
            continue
        second = parcels.geometry[beside[0]]
        more = shapely.intersection(second, shapely.buffer(shape, 1.9))
        joined = shapely.union(shapely.buffer(shape, 0.1), shapely.buffer(more, -0.02))
        ground = shapely.union(parcels.geometry[plot], second)
        joined = largest(geometries([shapely.intersection(joined, shapely.buffer(ground, -0.06))]))[0]
        if joined is None or not joined.is_valid or joined.intersects(roads) or joined.intersection(second).area < 2:
            continue
        _resize(buildings, np.array([row]), geometries([joined]))
        built.add(beside[0])
        pairs.append((int(row), beside[0]))
    done = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    shapes = buildings.geometry[done[:, 0]]
    truth.add("spanning", "buildings", done[:, 0], shapes, second_parcel=done[:, 1])


def break_permits(
    rng: np.random.Generator, parcels: Table, buildings: Table, permits: Table, pool: Pool, truth: Truth
) -> Table:
    """Permits that are missing, had run out, or lie elsewhere. Returns the permits that remain."""
    of_building = dict(zip(permits["building"].tolist(), range(len(permits)), strict=True))
    has = np.isin(np.arange(len(buildings)), permits["building"]) & (buildings["year"] >= REGISTER + 4)
    rows = pool.take(truth.count, has)
    lost = np.array([of_building[row] for row in rows], dtype=np.int64)
    buildings["permit"][rows] = ""
    truth.add("no_permit", "buildings", rows, buildings.geometry[rows], parcel=buildings["parcel"][rows])
    rows = pool.take(truth.count, has)
    late = np.array([of_building[row] for row in rows], dtype=np.int64)
    for permit, row in zip(late, rows, strict=True):
        year = int(buildings["year"][row])
        permits["issued"][permit], permits["expires"][permit] = f"{year - 4}-03-10", f"{year - 2}-03-10"
    permits["status"][late] = "expired"
    truth.add(
        "permit_expired",
        "buildings",
        rows,
        buildings.geometry[rows],
        expired_on=permits["expires"][late],
        built=buildings["year"][rows],
    )
    rows = pool.take(truth.count, has)
    away = np.array([of_building[row] for row in rows], dtype=np.int64)
    points = shapely.get_coordinates(permits.geometry[away])
    # Towards the middle of the district: a point outside of it would be another defect, and not a permit's.
    inward = np.median(points, axis=0) - points
    turn = np.arctan2(inward[:, 1], inward[:, 0]) + rng.uniform(-0.6, 0.6, len(away))
    points += np.column_stack([np.cos(turn), np.sin(turn)]) * rng.uniform(60, 180, len(away))[:, None]
    permits.geometry[away] = shapely.points(points)
    permits["keyed"][away] = permits["located"][away] = True
    kept = np.setdiff1d(np.arange(len(permits)), lost)
    place = {old: new for new, old in enumerate(kept.tolist())}
    rows = np.array([place[row] for row in away.tolist()], dtype=np.int64)
    truth.add("permit_elsewhere", "permits", rows, permits.geometry[away], parcel=permits["parcel"][away])
    return permits.take(kept)
