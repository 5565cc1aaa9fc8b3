"""A city around the parcels of land.py: communes, planning zones, permits and buildings, so that every check of the
contracts, those between layers too, has something to do.

How much of each is this benchmark's guess at a city: a commune of some 25,000 parcels, a zone of 100, a building on
each parcel, a permit for three buildings in ten. `flawed`: a share of them break each rule; else none does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import shapely
from land import CORNER, DEPTH, GRID, SHEET, WIDTH, parcels
from numpy.typing import NDArray

from sdi.national import parcel_id, vn2000

COMMUNE = 25_000
"""Parcels of a commune, about."""
ZONE = (20, 5)
"""Lots of a planning zone: along a row, and rows."""
BORDER = 400
"""Points of a commune's outline, about, as real ones have."""
PLANNED = ("ODT", "ODT", "CLN", "DGT", "TMD")
FLOORS, HEIGHT, DENSITY, RATIO = 6, 24.0, 80.0, 4.8
"""What a zone allows: floors, metres, percent, floor area to land."""
PLAN = "012521000001"
PARCELS, UNITS, ZONES, PERMITS, BUILDINGS = (
    "cadastral_parcels", "admin_units", "planning_zones", "construction_permits", "buildings",
)  # fmt: skip
KINDS = {PERMITS: "Point"}
"""Layer -> type of geometry in its file, where that is not MultiPolygon."""

Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class City:
    count: int
    flawed: bool = False

    def layers(self) -> Iterator[tuple[str, pa.Table]]:
        """The layers as files have them, each after those that its features are held against."""
        yield UNITS, self.communes()
        yield ZONES, self.zones()
        yield PARCELS, self.parcels()
        yield PERMITS, self.permits()
        yield BUILDINGS, self.buildings()

    @cached_property
    def lots(self) -> pa.Table:
        return parcels(self.count)

    @cached_property
    def shapes(self) -> NDArray[np.object_]:
        return np.asarray(shapely.from_wkb(self.lots["geom"].to_numpy()))

    @cached_property
    def middles(self) -> NDArray[np.float64]:
        """(n, 2) a place in each lot, metres in the grid."""
        return shapely.get_coordinates(shapely.centroid(self.shapes))

    @property
    def number(self) -> Numbers:
        return np.arange(self.count)

    @property
    def columns(self) -> int:
        return int(np.ceil(np.sqrt(self.count * DEPTH / WIDTH)))

    @property
    def rows(self) -> int:
        return -(-self.count // self.columns)

    @property
    def band(self) -> int:
        """Rows of lots of a commune."""
        return max(1, COMMUNE // self.columns)

    def among(self, share: int, rest: int) -> NDArray[np.bool_]:
        """Of the flawed city one lot in `share`, else none."""
        return (self.number % share == rest) & self.flawed

    # --- the layers

    def parcels(self) -> pa.Table:
        measured = self.lots["dienTich"].to_numpy()
        lonlat = vn2000.to_wgs84(np.where(self.among(150, 4)[:, None], self.middles + 40.0, self.middles), GRID)
        table = self.lots.drop_columns(["maXa", "mdsd"])
        for name, values in {
            "maXa": self._commune(), "mdsd": np.where(self.among(90, 5), "NTD", self._planned()),
            "dienTichPhapLy": np.round(measured * np.where(self.among(110, 6), 1.3, 1.01), 1),
            "maThuaDat": parcel_id.encode(*lonlat.T),
            "hieuLucTu": np.where(self.among(500, 7), "2199-01-01", "2015-01-01"),
            "hieuLucDen": pa.array(np.full(self.count, "2014-01-01"), mask=~self.among(300, 8)),
        }.items():  # fmt: skip
            table = table.append_column(name, pa.array(values))
        return table

    def communes(self) -> pa.Table:
        west, east = CORNER[0] - 500, CORNER[0] + self.columns * WIDTH + 500
        low = np.arange(0, self.rows, self.band)
        south, north = CORNER[1] + low * DEPTH, CORNER[1] + np.minimum(low + self.band, self.rows) * DEPTH
        south[0], north[-1] = south[0] - 500, north[-1] + 500
        shapes = shapely.box(west, south, east, north)
        shapes = shapely.segmentize(shapes, shapely.length(shapes) / BORDER)
        return pa.table({
            "maXa": [self._code(band) for band in range(len(low))], "capHanhChinh": ["commune"] * len(low),
            "ten": [f"Xã {band + 1}" for band in range(len(low))], "hieuLucTu": ["2015-01-01"] * len(low),
            "geom": pa.array(shapely.to_wkb(shapely.multipolygons(shapes[:, None])), pa.binary()),
        })  # fmt: skip

    def zones(self) -> pa.Table:
        across, up = np.meshgrid(np.arange(-(-self.columns // ZONE[0])), np.arange(-(-self.rows // ZONE[1])))
        across, up = across.ravel(), up.ravel()
        wide, deep = ZONE[0] * WIDTH, ZONE[1] * DEPTH
        x, y = CORNER[0] + across * wide, CORNER[1] + up * deep
        shapes = shapely.segmentize(shapely.box(x, y, x + wide, y + deep), 10.0)
        count = len(shapes)
        return pa.table({
            "maThongTinQH": [PLAN] * count, "maDoiTuong": [f"O{number}" for number in range(count)],
            "loaiDat": np.array(PLANNED)[(across + 2 * up) % len(PLANNED)], "capDoQH": ["2"] * count,
            "tangCaoToiDa": np.full(count, FLOORS), "chieuCaoToiDa": np.full(count, HEIGHT),
            "matDoXayDung": np.full(count, DENSITY), "heSoSuDungDat": np.full(count, RATIO),
            "geom": pa.array(shapely.to_wkb(shapely.multipolygons(shapes[:, None])), pa.binary()),
        })  # fmt: skip

    def permits(self) -> pa.Table:
        """One for each lot whose number ends in 0, 1 or 2; those in 1 have no place, only the parcel's number."""
        rows = np.flatnonzero(self.number % 10 < 3)
        kind = rows % 10
        strange = self.among(500, 11)[rows]
        points = shapely.points(self.middles[rows])
        points[kind == 1] = None
        return pa.table({
            "soGiayPhep": [f"GP-{row}" for row in rows], "maXa": self._commune()[rows],
            "soTo": (rows // SHEET + 1).astype(str),
            "soThua": np.where(strange, "99999", (rows % SHEET + 1).astype(str)),
            "soTang": np.where(self.among(700, 10)[rows], FLOORS + 4, rows % 5 + 1),
            "chieuCaoToiDa": np.where(self.among(700, 20)[rows], HEIGHT + 9, 3.6 * (rows % 5 + 1)),
            "matDoXayDung": np.where(self.among(700, 30)[rows], DENSITY + 9, DENSITY - 5),
            "heSoSuDungDat": np.where(self.among(700, 40)[rows], RATIO + 1, RATIO - 1),
            "ngayCap": ["2024-03-01"] * len(rows), "ngayHetHan": ["2026-03-01"] * len(rows),
            "geom": pa.array(shapely.to_wkb(points), pa.binary()),
        })  # fmt: skip

    def buildings(self) -> pa.Table:
        """A lot's outline on a smaller scale. Those whose lots end in 0 and 1 name their permit; 2 has one by its
        place; the others need none."""
        kind = self.number % 10
        floors = np.where(self.among(400, 9), FLOORS + 3, self.number % 5 + 1)
        height = np.where(self.among(400, 19), HEIGHT + 9, 3.6 * (self.number % 5 + 1))
        exempt = (kind > 2) & ~self.among(100, 29)
        return pa.table({
            "maCongTrinh": [f"CT-{number}" for number in range(self.count)], "maXa": self._commune(),
            "soTang": floors, "chieuCao": height, "congNang": ["residential"] * self.count,
            "tinhTrang": np.where(self.among(900, 39), "demolished", "existing"),
            "soGiayPhep": pa.array([f"GP-{number}" for number in range(self.count)], mask=kind > 1),
            "mienGiayPhep": exempt, "ngayGhiNhan": ["2024-05-01"] * self.count,
            "geom": pa.array(shapely.to_wkb(self._houses()), pa.binary()),
        })  # fmt: skip

    # --- of each lot

    def _commune(self) -> NDArray[np.str_]:
        names = np.array([self._code(band) for band in range(-(-self.rows // self.band))])
        return names[self.number // self.columns // self.band]

    @staticmethod
    def _code(band: int) -> str:
        return f"{10_001 + band:05d}"

    def _planned(self) -> NDArray[np.str_]:
        across, up = self.number % self.columns // ZONE[0], self.number // self.columns // ZONE[1]
        return np.array(PLANNED)[(across + 2 * up) % len(PLANNED)]

    def _houses(self) -> NDArray[np.object_]:
        """Four fifths of a lot's length and width; some of the flawed stand 3 m farther east, across the boundary."""
        points, of = shapely.get_coordinates(self.shapes, return_index=True)
        east = np.where(self.among(200, 49), 3.0, 0.0)
        moved = self.middles[of] + 0.8 * (points - self.middles[of])
        moved[:, 0] += east[of]
        made: NDArray[np.object_] = shapely.set_coordinates(self.shapes.copy(), np.round(moved, 3))
        return made
