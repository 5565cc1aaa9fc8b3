"""Communes before and after 1 July 2025, and the ground each gives to streets and blocks."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import LineString, Polygon

from sdi.demo.names import Names
from sdi.demo.site import Site
from sdi.demo.streets import FIELD, Fabricated, Street, cutting_line, divide, grow, split, within
from sdi.demo.table import Table, from_rows

COMMUNES = 5
PROVINCE = "99"
"""No province has this code; nor has any commune one that begins with it."""
BOULEVARD, AVENUE = 26.0, 15.0
REFORM = "2025-07-01"
OLD = "2004-07-01"
DECREE = "NQ 1656/NQ-UBTVQH15 (dữ liệu mẫu)"


@dataclass
class Territory:
    communes: list[Polygon]
    wards: list[Polygon]
    """Old communes' pieces; a piece lies in one commune."""
    ward_commune: list[int]
    ward_unit: list[int]
    """Which old commune a piece belongs to: one of them lies in two of today's."""
    boundaries: list[LineString]
    halves: list[LineString]

    @property
    def units(self) -> int:
        return max(self.ward_unit) + 1

    def unit_polygon(self, unit: int) -> shapely.Geometry:
        """The whole ground of an old commune, closed where its pieces meet."""
        pieces = [ward for ward, of in zip(self.wards, self.ward_unit, strict=True) if of == unit]
        return shapely.union_all(pieces).buffer(0.02, join_style="mitre").buffer(-0.02, join_style="mitre")


def make_territory(rng: np.random.Generator, site: Site) -> Territory:
    """Divide the district into communes, each made of two old ones, and let one old one have been split between two."""
    communes, boundaries = divide(rng, site, COMMUNES)
    wards: list[Polygon] = []
    owner: list[int] = []
    halves: list[LineString] = []
    for index, commune in enumerate(communes):
        parts: list[Polygon] = []
        while len(parts) != 2:
            line = cutting_line(rng, commune, across=True, turn=8, bend=0.03, shift=0.03)
            parts = split(commune, line)
        halves.append(within(line, commune))
        wards += parts
        owner += [index, index]
    shared = shapely.length(shapely.intersection(np.array(wards)[:, None], np.array(wards)[None, :]))
    shared[np.equal.outer(owner, owner)] = 0
    first, second = sorted(np.unravel_index(int(np.argmax(shared)), shared.shape))
    unit = [first if piece == second else piece - (piece > second) for piece in range(len(wards))]
    return Territory(communes, wards, owner, [int(u) for u in unit], boundaries, halves)


def make_streets(rng: np.random.Generator, site: Site, territory: Territory) -> Fabricated:
    """Streets on all boundaries of communes and old communes, then ever smaller ones in between."""
    city = Fabricated([], [])
    dry = shapely.difference(site.outline, shapely.union_all([site.river, site.lake.union(site.promenade).buffer(9)]))
    lines = [(line, BOULEVARD, 0) for line in territory.boundaries]
    lines += [(line, AVENUE, 1) for line in territory.halves] + [(site.dike_line, 18.0, 1)]
    lines += [(LineString(site.promenade.buffer(4.5).exterior), 9.0, 2)]
    for line, width, level in lines:
        inside = shapely.intersection(line, site.outline if level == 2 else dry)
        for part in shapely.get_parts(shapely.line_merge(inside)):
            if part.length > 20:
                city.streets.append(Street(part, width, level, -1))
    roads = shapely.union_all([line.buffer(width / 2, cap_style="flat") for line, width, _ in lines])
    for ward, (piece, commune) in enumerate(zip(territory.wards, territory.ward_commune, strict=True)):
        for ground, fabric in ((site.urban, -1), (site.foreshore, FIELD)):
            free = shapely.difference(shapely.intersection(piece, ground), roads)
            for part in shapely.get_parts(free):
                if part.geom_type == "Polygon" and part.area > 150:
                    grow(rng, part, commune, ward, fabric, city)
    return city


def unit_table(territory: Territory, names: Names) -> Table:
    """Province, communes of today, and old communes with what became of them.

    Columns: code, name, short, level, kind, parent, start, end, decree, km2, formed (names), succession (JSON).
    """
    whole = shapely.union_all(territory.communes)
    shapes = [whole, *territory.communes, *map(territory.unit_polygon, range(territory.units))]
    rows = [(PROVINCE, names.province, "province", "thanh_pho", "VN", "2008-08-01", "", "NQ 15/2008/QH12", "", "")]
    for index in range(len(territory.communes)):
        former = _former(territory, index)
        formed = ", ".join(names.wards[unit] for unit, _ in former)
        heirs = [{"id": f"{_old(u)}.{OLD}", "code": _old(u), "share": s, "legal_ref": DECREE} for u, s in former]
        row = (f"99{11 + 4 * index:03d}", names.communes[index], "commune", "phuong", PROVINCE, REFORM, "", DECREE)
        rows.append((*row, formed, json.dumps(heirs)))
    for unit in range(territory.units):
        row = (_old(unit), names.wards[unit], "commune", "phuong", PROVINCE, OLD, REFORM, "QĐ 124/2004/QĐ-TTg")
        rows.append((*row, "", ""))
    table = from_rows("code name level kind parent start end decree formed succession", shapes, rows)
    table["km2"] = np.round(shapely.area(table.geometry) / 1e6, 4)
    short = [name.removeprefix("Phường ").removeprefix("Thành phố ") for name in table["name"]]
    table["short"] = np.array(short, dtype=object)
    return table


def _old(unit: int) -> str:
    return f"99{101 + 3 * unit:03d}"


def _former(territory: Territory, commune: int) -> list[tuple[int, float]]:
    """The old communes that lie in a commune of today, with the share of their ground (%) that does."""
    polygon = territory.communes[commune]
    shares = [(unit, territory.unit_polygon(unit)) for unit in range(territory.units)]
    parts = [(unit, round(100 * shape.intersection(polygon).area / shape.area, 2)) for unit, shape in shares]
    return [(unit, share) for unit, share in parts if share > 0.01]
