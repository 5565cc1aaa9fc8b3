"""The urban plan over the plots: function zones with their limits, red lines and building lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from sdi.demo.addresses import Directory
from sdi.demo.grounds import BY_USE
from sdi.demo.land import tiles, water_and_roads
from sdi.demo.site import Site
from sdi.demo.streets import FIELD, Fabricated, cutting_line, split
from sdi.demo.table import Array, Table, from_rows, geometries
from sdi.demo.units import Territory

SETBACK = {0: 3.0, 1: 2.0}
"""Metres between red line and building line by the street's level; the others build up to the red line."""
RED_LINED = 2
"""Streets of this level and above have red lines."""
PLAN = "992121000{:03d}"
"""maThongTinQH (TT 24/2025/TT-BXD Điều 4): province 99, year 21, level 2 (zoning plan), urban, first, and a number."""
HOUSING = (  # function, density %, floors: by fabric
    ("Đất nhóm nhà ở hiện trạng cải tạo, chỉnh trang", (90, 100), (6, 7)),
    ("Đất làng xóm, dân cư hiện có", (80, 90), (5, 6)),
    ("Đất nhóm nhà ở hiện trạng cải tạo, chỉnh trang", (85, 95), (6, 7)),
    ("Đất nhóm nhà ở mới", (75, 85), (5, 6)),
)
Zone = tuple[Any, int, str, str, float, float]
"""Geometry, commune, function, land-use code, density (%), floors."""
NONE = float("nan")


WATER = {"SON": "Mặt nước sông", "MNC": "Mặt nước hồ", "DKV": "Đất cây xanh công viên", "DGT": "Đất giao thông"}


def make_zones(rng: np.random.Generator, city: Fabricated, site: Site, territory: Territory) -> Table:
    """Zones by function; where nothing may be built, density, floors and far are NaN.

    Columns: plan, dossier, code, name, function, land, density, floors, far, people, decided, measured.
    """
    nodes = tiles(city, 13_000)
    found: list[Zone] = []
    for index in nodes:
        node = city.nodes[index]
        if node.use:
            kind = BY_USE[node.use]
            density = float(min(80, max(35, round(kind.built * 190)))) if kind.built else NONE
            label = f"Đất {kind.label.lower()}"
            found.append((node.polygon, node.commune, label, kind.code, density, float(kind.floors[1]) or NONE))
        elif node.fabric == FIELD:
            found.append((node.polygon, node.commune, "Đất nông nghiệp ngoài bãi", "HNK", NONE, NONE))
        else:
            function, densities, floors = HOUSING[node.fabric]
            for part, new in _halved(rng, node.polygon):
                title = "Đất nhóm nhà ở xây dựng mới" if new else function
                limit = float(rng.choice(densities)), float(rng.choice(floors))
                found.append((part, node.commune, title, "ODT", *limit))
    for code, commune, shape in water_and_roads(site, territory, geometries([city.nodes[i].polygon for i in nodes])):
        found.append((shape, commune, WATER[code], code, NONE, NONE))
    headings = "plan dossier code name function land density floors far people decided measured"
    return from_rows(headings, [zone[0] for zone in found], [_sheet(number, zone) for number, zone in enumerate(found)])


def _sheet(number: int, zone: Zone) -> tuple[Any, ...]:
    """What the plan's table says of a zone."""
    shape, commune, function, land, density, floors = zone
    sign = f"{chr(65 + commune)}{number // 40 + 1}-{land}{number + 1:03d}"
    dossier, people = f"99QPK12100{11 + commune}", int(shape.area / 55) if land == "ODT" else 0
    indicators = (density, floors, float(np.ceil(density * floors / 10 - 1e-9) / 10), people)
    return (PLAN.format(11 + commune), dossier, sign, f"Ô đất {sign}", function, land, *indicators, "2021-03-22",
            round(shape.area, 1))  # fmt: skip


def _halved(rng: np.random.Generator, polygon: Any) -> list[tuple[Any, bool]]:
    """A third of the zones is cut by a line drawn on the plan, across plots as plans do."""
    if rng.random() > 0.33 or polygon.area < 2500:
        return [(polygon, False)]
    parts = split(polygon, cutting_line(rng, polygon, across=True, turn=10, bend=0.0))
    return [(part, number > 0) for number, part in enumerate(parts)]


def limits(parcels: Table, zones: Table) -> tuple[Array, Array, Array]:
    """For each parcel: the least density (%) and floors of the zones it lies in (inf: no limit), and their number."""
    plot, zone = shapely.STRtree(zones.geometry).query(parcels.geometry, predicate="intersects")
    shared = np.bincount(plot, minlength=len(parcels))[plot] == 1
    several = np.flatnonzero(~shared)
    parts = shapely.intersection(parcels.geometry[plot[several]], zones.geometry[zone[several]])
    shared[several] = shapely.area(parts) > 0.02
    plot, zone = plot[shared], zone[shared]
    density, floors = np.full(len(parcels), np.inf), np.full(len(parcels), np.inf)
    np.minimum.at(density, plot, np.nan_to_num(zones["density"][zone], nan=np.inf))
    np.minimum.at(floors, plot, np.nan_to_num(zones["floors"][zone], nan=np.inf))
    return density, floors, np.bincount(plot, minlength=len(parcels))


def make_lines(directory: Directory, site: Site) -> tuple[Table, Table, Any]:
    """Red lines, building lines, and the ground between street and building line on which nothing may stand.

    Columns: plan, code, name, width, setback.
    """
    wide = np.flatnonzero(directory.levels <= RED_LINED)
    lines, half = directory.lines[wide], directory.widths[wide] / 2
    setback = np.array([SETBACK.get(int(level), 0.0) for level in directory.levels[wide]])
    kept = setback > 0
    streets = shapely.union_all(shapely.buffer(lines, half - 0.01, cap_style="flat"))
    free = shapely.union_all(shapely.buffer(lines[kept], (half + setback)[kept], cap_style="flat"))
    red = _offset(directory, wide, half, half * 0, shapely.union(streets, site.river))
    blocked = shapely.union_all([shapely.buffer(free, -0.01), streets, site.river])
    building = _offset(directory, wide[kept], (half + setback)[kept], setback[kept], blocked)
    return red, building, free


def _offset(directory: Directory, streets: Array, distance: Array, setback: Array, blocked: Any) -> Table:
    shapes: list[Any] = []
    rows: list[tuple[Any, ...]] = []
    for street, away, back in zip(streets, distance, setback, strict=True):
        for side in (1, -1):
            curve = shapely.difference(shapely.offset_curve(directory.lines[street], side * away), blocked)
            for part in shapely.get_parts(curve):
                if part.length > 3:
                    code, width = f"CG{len(rows) + 1:04d}", round(float(directory.widths[street]), 1)
                    name = directory.names[street]
                    rows.append((PLAN.format(1), code, name[0].upper() + name[1:], width, float(back)))
                    shapes.append(part)
    return from_rows("plan code name width setback", shapes, rows)
