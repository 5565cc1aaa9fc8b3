"""Plans over the plots: function zones with their limits, red lines and building lines, land use now and planned, projects."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from sdi.demo.addresses import Directory
from sdi.demo.grounds import BY_USE
from sdi.demo.names import Names
from sdi.demo.site import Site
from sdi.demo.streets import FIELD, Fabricated, box, cutting_line, split
from sdi.demo.table import Array, Table, geometries
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


def _rows(headers: tuple[str, ...], shapes: list[Any], rows: list[tuple[Any, ...]]) -> Table:
    columns = zip(*rows, strict=True)
    table = Table(geometries(shapes))
    for header, column in zip(headers, columns, strict=True):
        whole = all(isinstance(value, int) for value in column)
        table.columns[header] = np.array(column, dtype=np.int64 if whole else object)
    return table


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


WATER = {"SON": "Mặt nước sông", "MNC": "Mặt nước hồ", "DKV": "Đất cây xanh công viên", "DGT": "Đất giao thông"}


def make_zones(rng: np.random.Generator, city: Fabricated, site: Site, territory: Territory) -> Table:
    """Zones by function. Columns: plan, dossier, code, name, function, land, density, floors, far, people, decided, measured.
    Where nothing may be built, density, floors and far are NaN."""
    shapes: list[Any] = []
    rows: list[tuple[Any, ...]] = []

    def add(shape: Any, commune: int, function: str, land: str, density: float, floors: float) -> None:
        number = len(rows) + 1
        plan = PLAN.format(11 + commune)
        far = np.ceil(density * floors / 10 - 1e-9) / 10
        people = int(shape.area / 55) if land == "ODT" else 0
        sign = f"{chr(65 + commune)}{number // 40 + 1}-{land}{number:03d}"
        dossier, name = f"99QPK12100{11 + commune}", f"Ô đất {sign}"
        rows.append((plan, dossier, sign, name, function, land, density, floors, far, people, "2021-03-22", round(shape.area, 1)))
        shapes.append(shape)

    nodes = tiles(city, 13_000)
    for index in nodes:
        node = city.nodes[index]
        if node.use:
            kind = BY_USE[node.use]
            density = float(min(80, max(35, round(kind.built * 190)))) if kind.built else np.nan
            add(node.polygon, node.commune, f"Đất {kind.label.lower()}", kind.code, density, kind.floors[1] or np.nan)
        elif node.fabric == FIELD:
            add(node.polygon, node.commune, "Đất nông nghiệp ngoài bãi", "HNK", np.nan, np.nan)
        else:
            function, density, floors = HOUSING[node.fabric]
            for part, new in _halved(rng, node.polygon):
                title = "Đất nhóm nhà ở xây dựng mới" if new else function
                add(part, node.commune, title, "ODT", float(rng.choice(density)), float(rng.choice(floors)))
    for code, commune, shape in water_and_roads(site, territory, geometries([city.nodes[i].polygon for i in nodes])):
        add(shape, commune, WATER[code], code, np.nan, np.nan)
    headers = ("plan", "dossier", "code", "name", "function", "land", "density", "floors", "far", "people", "decided", "measured")
    table = _rows(headers, shapes, rows)
    for name in ("density", "floors", "far", "measured"):
        table[name] = table[name].astype(float)
    return table


def _halved(rng: np.random.Generator, polygon: Any) -> list[tuple[Any, bool]]:
    """A third of the zones is cut by a line drawn on the plan, across plots as plans do."""
    if rng.random() > 0.33 or polygon.area < 2500:
        return [(polygon, False)]
    parts = split(polygon, cutting_line(rng, polygon, across=True, turn=10, bend=0.0))
    return [(part, number > 0) for number, part in enumerate(parts)]


def limits(parcels: Table, zones: Table) -> tuple[Array, Array, Array]:
    """For each parcel: the least density (%) and floors of the zones it lies in (NaN: no limit), and how many there are."""
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
    return _rows(("plan", "code", "name", "width", "setback"), shapes, rows)


def make_land_use(city: Fabricated, site: Site, territory: Territory, units: Table, parcels: Table) -> Table:
    """Current use in larger areas than plots. Columns: set, code, land, label, measured, commune_code, day."""
    nodes = tiles(city, 7_000)
    use = dict(zip(parcels["node"], parcels["main"], strict=True))
    pieces = [(_land(city, index, use), city.nodes[index].commune, city.nodes[index].polygon) for index in nodes]
    pieces += water_and_roads(site, territory, geometries([piece[2] for piece in pieces]))
    codes, rows = units["code"], []
    for number, (land, commune, shape) in enumerate(pieces, start=1):
        where = codes[1 + commune]
        rows.append((f"KK2024-{where}", f"KD{number:05d}", land, LAND_NAMES.get(land, "Đất khác"), round(shape.area, 1), where, "2024-12-31"))
    headers = ("set", "code", "land", "label", "measured", "commune_code", "day")
    table = _rows(headers, [piece[2] for piece in pieces], rows)
    table["measured"] = table["measured"].astype(float)
    return table


LAND_NAMES = {
    "ODT": "Đất ở tại đô thị", "HNK": "Đất trồng cây hằng năm khác", "CLN": "Đất trồng cây lâu năm", "NTS": "Đất nuôi trồng thủy sản",
    "LUC": "Đất chuyên trồng lúa", "NKH": "Đất nông nghiệp khác", "DGT": "Đất công trình giao thông", "SON": "Đất sông, ngòi",
    "MNC": "Đất có mặt nước ao, hồ", "DKV": "Đất khu vui chơi, giải trí công cộng", "DGD": "Đất cơ sở giáo dục", "DYT": "Đất cơ sở y tế",
    "TON": "Đất tôn giáo", "TIN": "Đất tín ngưỡng", "TSC": "Đất trụ sở cơ quan", "DCH": "Đất chợ", "CQP": "Đất quốc phòng",
    "CAN": "Đất an ninh", "TMD": "Đất thương mại, dịch vụ", "SKC": "Đất sản xuất phi nông nghiệp", "DTT": "Đất cơ sở thể thao",
    "NTD": "Đất nghĩa trang", "DVH": "Đất cơ sở văn hóa", "DNL": "Đất công trình năng lượng", "BCS": "Đất bằng chưa sử dụng",
}  # fmt: skip


def _land(city: Fabricated, index: int, use: dict[int, str]) -> str:
    node = city.nodes[index]
    if node.use:
        return BY_USE[node.use].code
    return use.get(index, "HNK") if node.fabric == FIELD else "ODT"


def make_land_plan(rng: np.random.Generator, city: Fabricated, site: Site, territory: Territory) -> Table:
    """The land-use plan to 2030. Columns: plan, code, name, land, now, label, measured, decision, start, end."""
    nodes = tiles(city, 22_000)
    pieces = [(_land(city, index, {}), city.nodes[index].commune, city.nodes[index].polygon) for index in nodes]
    pieces += water_and_roads(site, territory, geometries([piece[2] for piece in pieces]))
    rows = []
    for number, (land, _, shape) in enumerate(pieces, start=1):
        turn = rng.random()
        future = {"CLN": "DKV", "SKC": "TMD"}.get(land, "DKV" if land == "HNK" and turn < 0.35 else land)
        label = LAND_NAMES.get(future, "Đất khác")
        rows.append(("QHSDD2030-99", f"QH{number:04d}", f"Khu {number}", future, land, label, round(shape.area, 1),
                     "QĐ 412/QĐ-UBND (mẫu)", "2021-01-01", "2031-01-01"))  # fmt: skip
    headers = ("plan", "code", "name", "land", "now", "label", "measured", "decision", "start", "end")
    table = _rows(headers, [piece[2] for piece in pieces], rows)
    table["measured"] = table["measured"].astype(float)
    return table


def make_projects(rng: np.random.Generator, city: Fabricated, names: Names, count: int) -> Table:
    """Projects over whole pieces of town. Columns: code, name, status, investor, decision, measured, cost, start, end."""
    fit = [i for i, node in enumerate(city.nodes) if not node.gone and 1200 < node.polygon.area < 18_000 and box(node.polygon)[4] > 18]
    chosen = np.sort(rng.choice(fit, min(count, len(fit)), replace=False))
    status = ("proposed", "approved", "under_construction", "completed", "suspended")
    works = ("Cải tạo, chỉnh trang khu dân cư", "Xây dựng chung cư", "Hạ ngầm cáp và chiếu sáng ngõ xóm", "Bãi đỗ xe ngầm", "Trường mầm non")
    rows, shapes = [], []
    for number, index in enumerate(chosen, start=1):
        shape = shapely.buffer(shapely.convex_hull(city.nodes[index].polygon), 3.0, join_style="mitre")
        year = int(rng.integers(2018, 2026))
        street = names.streets[int(rng.integers(len(names.streets)))]
        rows.append((f"DA-99-{year}-{number:03d}", f"{works[number % 5]} {street}", status[int(rng.integers(5))],
                     f"Ban Quản lý dự án khu vực {number % 4 + 1}", f"QĐ {100 + number}/QĐ-UBND (mẫu)", round(shape.area, 1),
                     int(rng.integers(8, 900)) * 1_000_000_000, f"{year}-05-15", f"{year + 3}-12-31"))  # fmt: skip
        shapes.append(shape)
    headers = ("code", "name", "status", "investor", "decision", "measured", "cost", "start", "end")
    table = _rows(headers, shapes, rows)
    table["measured"] = table["measured"].astype(float)
    return table
