"""Grounds that are not houses: schools, parks, pagodas, ponds; each takes a whole piece of the street plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdi.demo.streets import FIELD, Fabricated, box


@dataclass(frozen=True)
class Kind:
    use: str
    code: str
    """Land-use code (TT 08/2024/TT-BTNMT Phụ lục II)."""
    rate: float
    """Grounds per 1,000 plots."""
    smallest: float
    largest: float
    """m²"""
    label: str
    floors: tuple[int, int] = (0, 0)
    """Storeys of what stands on it; 0: nothing does."""
    built: float = 0.0
    """Share of the ground under buildings."""


KINDS = (
    Kind("barracks", "CQP", 0.10, 5000, 14000, "Doanh trại quân đội", (2, 4), 0.22),
    Kind("hospital", "DYT", 0.12, 3000, 9000, "Bệnh viện", (4, 7), 0.30),
    Kind("factory", "SKC", 0.20, 2500, 8000, "Xí nghiệp may", (1, 2), 0.50),
    Kind("school", "DGD", 0.50, 2500, 8000, "Trường tiểu học", (3, 4), 0.28),
    Kind("park", "DKV", 0.30, 2500, 12000, "Vườn hoa"),
    Kind("towers", "ODT", 0.35, 2500, 6500, "Chung cư", (9, 21), 0.30),
    Kind("sport", "DTT", 0.15, 2000, 7000, "Trung tâm thể thao", (1, 2), 0.20),
    Kind("cemetery", "NTD", 0.10, 1500, 4500, "Nghĩa trang"),
    Kind("shops", "TMD", 0.50, 1200, 5000, "Trung tâm thương mại", (5, 9), 0.45),
    Kind("market", "DCH", 0.20, 1500, 4500, "Chợ", (1, 2), 0.50),
    Kind("office", "TSC", 0.35, 900, 3500, "Trụ sở", (3, 6), 0.32),
    Kind("police", "CAN", 0.20, 900, 2500, "Công an phường", (3, 4), 0.32),
    Kind("pagoda", "TON", 0.35, 800, 3000, "Chùa", (1, 1), 0.22),
    Kind("culture", "DVH", 0.15, 800, 2500, "Nhà văn hóa", (2, 3), 0.30),
    Kind("garden", "CLN", 0.60, 450, 2000, "Vườn"),
    Kind("pond", "MNC", 0.35, 400, 2200, "Ao"),
    Kind("communal", "TIN", 0.30, 350, 1500, "Đình", (1, 1), 0.25),
    Kind("substation", "DNL", 0.15, 200, 700, "Trạm biến áp", (1, 1), 0.20),
)
BY_USE = {kind.use: kind for kind in KINDS}
EVERYWHERE = ("school", "park", "pagoda", "barracks", "garden", "pond", "office")
"""A district however small has one of these."""


def reserve(rng: np.random.Generator, city: Fabricated, parcels: int) -> None:
    """Reserve grounds of every kind; a ground is a compact piece with streets around it."""
    areas = np.array([node.polygon.area for node in city.nodes])
    compact = np.array([node.polygon.area / max(np.prod(box(node.polygon)[3:]), 1.0) > 0.7 for node in city.nodes])
    free = compact & np.array([node.fabric != FIELD for node in city.nodes])
    total = areas[[i for i, node in enumerate(city.nodes) if node.parent < 0]].sum()
    for kind in KINDS:
        largest = min(kind.largest, max(0.03 * total, 400))
        smallest = min(kind.smallest, 0.5 * largest)
        wanted = max(round(kind.rate * parcels / 1000), int(kind.use in EVERYWHERE))
        fit = np.flatnonzero(free & (areas >= smallest) & (areas <= largest))
        for index in rng.permutation(fit):
            if wanted == 0:
                break
            if free[index]:
                wanted -= 1
                free[city.prune(int(index), kind.use)] = False
                while index >= 0:
                    free[index] = False
                    index = city.nodes[index].parent
