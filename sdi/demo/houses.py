"""Buildings: tube houses that fill most of their plot, and the larger works on reserved grounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from sdi.demo.grounds import BY_USE
from sdi.demo.streets import box
from sdi.demo.table import Array, Table, from_rows, geometries

JOINT = 0.06
"""Metres between a wall and the plot's edge."""
REGISTER = 2010
"""Permits are on record from this year; houses of before are marked as exempt from the comparison."""
USES = {
    "school": "education", "hospital": "health", "factory": "industry", "towers": "apartments", "sport": "sport",
    "shops": "commerce", "market": "commerce", "office": "public_administration", "police": "defence",
    "barracks": "defence", "pagoda": "religious", "communal": "religious", "culture": "culture",
    "substation": "technical",
}  # fmt: skip


def frame(parcels: Table, rows: Array) -> dict[str, Array]:
    """Each plot in its own axes: `way` towards its street, `t0 t1` along the row, `back front` towards the street."""
    along = np.column_stack([parcels["ux"][rows], parcels["uy"][rows]])
    way = np.column_stack([-along[:, 1], along[:, 0]]) * parcels["side"][rows][:, None]
    points, index = shapely.get_coordinates(parcels.geometry[rows], return_index=True)
    begins = np.searchsorted(index, np.arange(len(rows)))
    t, v = (points * along[index]).sum(axis=1), (points * way[index]).sum(axis=1)
    low, high = np.minimum.reduceat, np.maximum.reduceat
    return {
        "along": along,
        "way": way,
        "t0": low(t, begins),
        "t1": high(t, begins),
        "back": low(v, begins),
        "front": high(v, begins),
    }


def strip(axes: dict[str, Array], near: Array, far: Array, widen: float = 1.0) -> Array:
    """Rectangles over the whole width of each plot from `near` to `far`, metres behind the street side."""
    t0, t1 = axes["t0"] - widen, axes["t1"] + widen
    corners = [
        (t0, axes["front"] - near),
        (t1, axes["front"] - near),
        (t1, axes["front"] - far),
        (t0, axes["front"] - far),
    ]
    points = [t[:, None] * axes["along"] + v[:, None] * axes["way"] for t, v in corners]
    rectangles: Array = shapely.polygons(np.stack([*points, points[0]], axis=1))
    return rectangles


def footprints(parcels: Table, rows: Array, cover: Array, yard: Array, limit: Array, free: Any) -> Array:
    """House footprints off `free`: `cover` of the depth behind a `yard` (m), at most `limit` (share) of the plot."""
    axes = frame(parcels, rows)
    depth = axes["front"] - axes["back"]
    plots, areas = parcels.geometry[rows], shapely.area(parcels.geometry[rows])
    plots = shapely.buffer(plots, -JOINT, join_style="mitre", mitre_limit=2.0)
    shapes = shapely.intersection(plots, strip(axes, yard, yard + cover * (depth - yard)))
    while (over := (ratio := shapely.area(shapes) / areas) > limit).any():
        cover = np.where(over, cover * limit / np.maximum(ratio, 1e-6) * 0.98, cover)
        narrower = {name: values[over] for name, values in axes.items()}
        shapes[over] = shapely.intersection(
            plots[over], strip(narrower, yard[over], (yard + cover * (depth - yard))[over])
        )
    touching = shapely.intersects(shapes, free)
    shapes[touching] = shapely.difference(shapes[touching], shapely.buffer(free, 0.05))
    return largest(shapes)


def largest(shapes: Array) -> Array:
    """The largest polygon of each shape, None where it has none."""
    parts, index = shapely.get_parts(shapes, return_index=True)
    keep = shapely.get_type_id(parts) == 3
    parts, index = parts[keep], index[keep]
    order = np.argsort(shapely.area(parts), kind="stable")
    found = np.full(len(shapes), None, dtype=object)
    found[index[order]] = parts[order]
    return found


def make_buildings(rng: np.random.Generator, parcels: Table, density: Array, floors: Array, free: Any) -> Table:
    """All buildings as they are allowed to be.

    Columns: parcel (row), name, use, kind, class, floors, basements, height, footprint, gross, structure, year, exempt,
    permit, day.
    """
    rows = np.flatnonzero((parcels["side"] != 0) & ~parcels["vacant"])
    fabric = parcels["fabric"][rows]
    cover = np.clip(rng.normal(np.array([0.93, 0.72, 0.9, 0.86, 0.5])[fabric], 0.08), 0.35, 0.985)
    yard = np.where((fabric == 1) & (rng.random(len(rows)) < 0.45), rng.uniform(1, 4, len(rows)), 0.0)
    shapes = footprints(parcels, rows, cover, yard, np.minimum(density[rows], 100) / 100 - 0.03, free)
    good = shapely.area(shapes) > 11
    rows, shapes, fabric = rows[good], shapes[good], fabric[good]
    cap = np.minimum(floors[rows], 9)
    usual = np.array([3.6, 3.1, 4.1, 4.2, 1.0])[fabric]
    storeys = np.clip(np.round(rng.normal(usual, 1.25)), 1, cap).astype(int)
    base = np.array([1996, 2002, 1999, 2012, 2005])[fabric]
    year = np.clip(base + np.round(rng.normal(0, 9.5, len(rows))), 1954, 2025).astype(int)
    use = np.full(len(rows), "residential", dtype=object)
    use[rng.random(len(rows)) < 0.13] = "mixed"
    use[parcels["main"][rows] == "TMD"] = "commerce"
    houses = _table(parcels, rows, shapes, use, storeys, year, np.full(len(rows), "", dtype=object))
    return _describe(rng, _with_works(rng, parcels, houses, density, free))


def _table(parcels: Table, rows: Array, shapes: Array, use: Array, storeys: Array, year: Array, name: Array) -> Table:
    table = Table(shapes)
    table["parcel"], table["use"], table["floors"], table["year"], table["name"] = rows, use, storeys, year, name
    return table


def _with_works(rng: np.random.Generator, parcels: Table, houses: Table, density: Array, free: Any) -> Table:
    """The houses, then the works on reserved grounds."""
    shapes: list[Any] = []
    rows: list[tuple[Any, ...]] = []
    for row in np.flatnonzero((parcels["side"] == 0) & np.isin(parcels["use"], list(USES))):
        kind = BY_USE[str(parcels["use"][row])]
        for part in _bars(rng, parcels.geometry[row], kind.built, density[row], free):
            storeys, year = int(rng.integers(kind.floors[0], kind.floors[1] + 1)), int(rng.integers(1975, 2024))
            shapes.append(part)
            rows.append((int(row), USES[kind.use], storeys, year, kind.label))
    works = from_rows("parcel use floors year name", shapes, rows)
    joined = Table(np.concatenate([houses.geometry, works.geometry]))
    for name in houses.columns:
        joined[name] = np.concatenate([houses[name], works[name]])
    return joined


def _bars(rng: np.random.Generator, ground: Any, built: float, density: float, free: Any) -> list[Any]:
    """Long bars side by side across a ground, together no more than is allowed."""
    centre, along, aside, length, width = box(ground)
    inner = shapely.difference(shapely.buffer(ground, -min(3.0, width * 0.08)), shapely.buffer(free, 0.05))
    count = 1 if width < 26 else int(np.clip(width // 26, 1, 4))
    deep = built * width / count
    found: list[Any] = []
    for number in range(count):
        v = ((number + 0.5) / count - 0.5) * width * 0.84
        half = 0.5 * length * rng.uniform(0.62, 0.86)
        corners = np.array([(-half, v - deep / 2), (half, v - deep / 2), (half, v + deep / 2), (-half, v + deep / 2)])
        bar = shapely.Polygon(centre + corners[:, :1] * along + corners[:, 1:] * aside)
        part = largest(geometries([shapely.intersection(bar, inner)]))[0]
        total = sum(shape.area for shape in found)
        if part is not None and part.area > 18 and (total + part.area) / ground.area < min(density, 100) / 100 - 0.02:
            found.append(part)
    return found


def _describe(rng: np.random.Generator, table: Table) -> Table:
    count, area = len(table), np.round(shapely.area(table.geometry), 1)
    house = np.isin(table["use"], ["residential", "mixed", "commerce"]) & (table["name"] == "")
    table["kind"] = np.where(
        table["use"] == "industry", "industrial", np.where(table["use"] == "technical", "technical", "civil")
    ).astype(object)
    table["class"] = np.where(
        table["floors"] > 20,
        "I",
        np.where(table["floors"] > 8, "II", np.where(area * table["floors"] > 1000, "III", "IV")),
    ).astype(object)
    table["basements"] = np.where(table["floors"] > 8, 2, (rng.random(count) < 0.03).astype(int))
    table["height"] = np.round(table["floors"] * 3.4 + rng.uniform(0.2, 1.2, count), 1)
    table["footprint"], table["gross"] = area, np.round(area * table["floors"], 1)
    table["structure"] = rng.choice(
        np.array(["Bê tông cốt thép", "Tường gạch chịu lực", "Khung thép"], dtype=object), count, p=(0.72, 0.25, 0.03)
    )
    table["exempt"] = (~house | (table["year"] < REGISTER)).astype(int)
    table["permit"] = np.full(count, "", dtype=object)
    day = rng.integers(0, 28, count)
    table["day"] = np.array([f"2025-{1 + d % 9:02d}-{1 + d:02d}" for d in day], dtype=object)
    return table
