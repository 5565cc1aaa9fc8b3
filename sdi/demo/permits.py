"""Building permits: for what was built since the register began, and some for what is still to come."""

from __future__ import annotations

import numpy as np
import shapely

from sdi.demo.table import Array, Table, geometries


def make_permits(
    rng: np.random.Generator, parcels: Table, buildings: Table, density: Array, floors: Array, wanted: int
) -> Table:
    """Give every building that needs one its permit (`permit` in `buildings`), and add permits for open plots.

    Columns: parcel (row), building (row or -1), code, kind, status, works, type, class, commune_code, sheet, number,
    place, footprint, gross, floors, basements, height, density, far, level, issuer, issued, expires, investor, keyed,
    located.
    """
    built = np.flatnonzero(buildings["exempt"] == 0)
    homes = ~np.isin(np.arange(len(parcels)), buildings["parcel"]) & (parcels["side"] != 0) & (parcels["main"] == "ODT")
    open_plots = np.flatnonzero(homes)
    more = min(max(wanted - len(built), wanted // 40), len(open_plots) // 2)
    plots = np.concatenate([buildings["parcel"][built], np.sort(rng.choice(open_plots, more, replace=False))])
    building = np.concatenate([built, np.full(more, -1)])
    count, new = len(plots), building < 0
    table = Table(geometries(list(shapely.point_on_surface(parcels.geometry[plots]))))
    table["parcel"], table["building"] = plots, building
    year = np.where(new, rng.integers(2023, 2027, count), buildings["year"][building] - (rng.random(count) < 0.4))
    month, day = rng.integers(1, np.where(year == 2026, 7, 13)), rng.integers(1, 29, count)
    table["issued"] = _days(year, month, day)
    table["expires"] = _days(year + 3, month, day)
    late = rng.choice(
        np.array(["in_force", "issued", "started", "under_review"], dtype=object), count, p=(0.4, 0.3, 0.2, 0.1)
    )
    table["status"] = np.where(new, late, "accepted")
    table["kind"] = np.where(rng.random(count) < 0.9, "house", "repair").astype(object)
    table["kind"][new] = "house"
    _indicators(rng, table, parcels, buildings, density, floors)
    for name in ("commune_code", "sheet", "number", "place"):
        table[name] = parcels[name][plots]
    order = np.lexsort((np.arange(count), table["issued"]))
    table = table.take(order)
    number = np.arange(1, count + 1)
    table["code"] = np.array([f"{n}/{d[:4]}/GPXD" for n, d in zip(number, table["issued"], strict=True)], dtype=object)
    known = table["building"] >= 0
    buildings["permit"][table["building"][known]] = table["code"][known]
    chance = rng.random(count)
    table["keyed"], table["located"] = chance < 0.88, chance > 0.64
    return table


def _days(year: Array, month: Array, day: Array) -> Array:
    return np.array([f"{y}-{m:02d}-{d:02d}" for y, m, d in zip(year, month, day, strict=True)], dtype=object)


def _indicators(
    rng: np.random.Generator, table: Table, parcels: Table, buildings: Table, density: Array, floors: Array
) -> None:
    """What the permit allows: at least what was built, at most what the plan allows."""
    plots, building, count = table["parcel"], table["building"], len(table)
    new, area = building < 0, shapely.area(parcels.geometry[table["parcel"]])
    most = np.where(np.isfinite(floors[plots]), floors[plots], 6).astype(int)
    table["floors"] = np.where(new, np.minimum(rng.integers(3, 6, count), most), buildings["floors"][building])
    ground = np.where(new, area * 0.7, buildings["footprint"][building])
    table["footprint"] = np.round(ground + 0.2, 1)
    table["basements"] = np.where(new, 0, buildings["basements"][building])
    table["gross"] = np.round(table["footprint"] * table["floors"], 1)
    table["height"] = np.where(new, table["floors"] * 3.6 + 1.5, buildings["height"][building] + 0.5).round(1)
    table["density"] = np.minimum(
        np.ceil(table["footprint"] / area * 100) + 1, np.where(np.isfinite(density[plots]), density[plots], 100)
    )
    table["far"] = np.round(table["density"] * table["floors"] / 100 + 0.05, 1)
    table["level"] = np.round(rng.uniform(6.2, 7.9, count), 2)
    table["type"], table["class"] = "civil", np.where(table["floors"] > 7, "II", "III").astype(object)
    table["type"] = table["type"].astype(object)
    table["works"] = np.full(count, "Nhà ở riêng lẻ", dtype=object)
    table["issuer"] = np.array(["UBND phường", "UBND quận (cũ)"], dtype=object)[(rng.random(count) < 0.7).astype(int)]
    table["investor"] = np.full(count, "(dữ liệu mẫu)", dtype=object)
