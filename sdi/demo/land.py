"""What the land is used for now and by the plan, and the projects; pieces of ground that cover the district once."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from sdi.demo.grounds import BY_USE
from sdi.demo.names import Names
from sdi.demo.site import Site
from sdi.demo.streets import FIELD, Fabricated, box
from sdi.demo.table import Array, Table, from_rows, geometries
from sdi.demo.units import Territory

Piece = tuple[str, int, Any]
"""Land-use code, commune, geometry."""


def tiles(city: Fabricated, largest: float) -> list[int]:
    """Nodes that together cover all blocks and reserved grounds, none larger than `largest` m² if it can be split."""
    reserved = {index for index, node in enumerate(city.nodes) if node.use and not node.gone}
    above: set[int] = set()
    for index in reserved:
        parent = city.nodes[index].parent
        while parent >= 0:
            above.add(parent)
            parent = city.nodes[parent].parent
    found, waiting = [], [index for index, node in enumerate(city.nodes) if node.parent < 0 and not node.gone]
    while waiting:
        index = waiting.pop()
        node = city.nodes[index]
        if not node.children or (node.polygon.area <= largest and index not in above):
            found.append(index)
        else:
            waiting += node.children
    return sorted(found)


def water_and_roads(site: Site, territory: Territory, others: Array) -> list[tuple[str, int, shapely.Geometry]]:
    """Per commune: the river, the lake, its promenade, and what is left, the roads; as (code, commune, geometry)."""
    taken = shapely.union_all(others)
    found: list[tuple[str, int, shapely.Geometry]] = []
    for commune, polygon in enumerate(territory.communes):
        rest = shapely.difference(polygon, taken)
        for code, ground in (("SON", site.river), ("MNC", site.lake), ("DKV", site.promenade)):
            part = shapely.intersection(polygon, ground)
            rest = shapely.difference(rest, ground)
            if part.area > 30:
                found.append((code, commune, _polygonal(part)))
        found.append(("DGT", commune, _polygonal(rest)))
    return found


def _polygonal(shape: shapely.Geometry) -> shapely.Geometry:
    parts = shapely.get_parts(shape)
    return shapely.multipolygons(parts[(shapely.get_type_id(parts) == 3) & (shapely.area(parts) > 0.5)])


def _pieces(city: Fabricated, site: Site, territory: Territory, largest: float, use: dict[int, str]) -> list[Piece]:
    nodes = tiles(city, largest)
    pieces = [(_land(city, index, use), city.nodes[index].commune, city.nodes[index].polygon) for index in nodes]
    return pieces + water_and_roads(site, territory, geometries([shape for _, _, shape in pieces]))


def _land(city: Fabricated, index: int, use: dict[int, str]) -> str:
    node = city.nodes[index]
    if node.use:
        return BY_USE[node.use].code
    return use.get(index, "HNK") if node.fabric == FIELD else "ODT"


def make_land_use(
    city: Fabricated, site: Site, territory: Territory, units: Table, parcels: Table, names: Names
) -> Table:
    """Current use in larger areas than plots. Columns: set, code, land, label, measured, commune_code, day."""
    use = dict(zip(parcels["node"], parcels["main"], strict=True))
    pieces = _pieces(city, site, territory, 7_000, use)
    rows = []
    for number, (land, commune, shape) in enumerate(pieces, start=1):
        where = units["code"][1 + commune]
        area = round(shape.area, 1)
        rows.append((f"KK2024-{where}", f"KD{number:05d}", land, names.land[land], area, where, "2024-12-31"))
    return from_rows("set code land label measured commune_code day", [piece[2] for piece in pieces], rows)


def make_land_plan(rng: np.random.Generator, city: Fabricated, site: Site, territory: Territory, names: Names) -> Table:
    """The land-use plan to 2030. Columns: plan, code, name, land, now, label, measured, decision, start, end."""
    pieces = _pieces(city, site, territory, 22_000, {})
    rows = []
    for number, (now, _, shape) in enumerate(pieces, start=1):
        turn = rng.random()
        land = {"CLN": "DKV", "SKC": "TMD"}.get(now, "DKV" if now == "HNK" and turn < 0.35 else now)
        row = ("QHSDD2030-99", f"QH{number:04d}", f"Khu {number}", land, now, names.land[land], round(shape.area, 1))
        rows.append((*row, "QĐ 412/QĐ-UBND (mẫu)", "2021-01-01", "2031-01-01"))
    headings = "plan code name land now label measured decision start end"
    return from_rows(headings, [piece[2] for piece in pieces], rows)


STATES = ("proposed", "approved", "under_construction", "completed", "suspended")


def make_projects(rng: np.random.Generator, city: Fabricated, names: Names, count: int) -> Table:
    """Projects over pieces of town. Columns: code, name, status, investor, decision, measured, cost, start, end."""
    standing = [(index, node) for index, node in enumerate(city.nodes) if not node.gone]
    fit = [index for index, node in standing if 1200 < node.polygon.area < 18_000 and box(node.polygon)[4] > 18]
    rows, shapes = [], []
    for number, index in enumerate(np.sort(rng.choice(fit, min(count, len(fit)), replace=False)), start=1):
        shape = shapely.buffer(shapely.convex_hull(city.nodes[index].polygon), 3.0, join_style="mitre")
        year = int(rng.integers(2018, 2026))
        street = names.streets[int(rng.integers(len(names.streets)))]
        name = f"{names.works[number % len(names.works)]} {street}"
        row = (f"DA-99-{year}-{number:03d}", name, STATES[int(rng.integers(5))])
        office, decision = f"Ban Quản lý dự án khu vực {number % 4 + 1}", f"QĐ {100 + number}/QĐ-UBND (mẫu)"
        cost = int(rng.integers(8, 900)) * 1_000_000_000
        rows.append((*row, office, decision, round(shape.area, 1), cost, f"{year}-05-15", f"{year + 3}-12-31"))
        shapes.append(shape)
    return from_rows("code name status investor decision measured cost start end", shapes, rows)
