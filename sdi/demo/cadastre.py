"""Cadastral parcels: numbers, sheets, use purposes, areas and addresses for the plots."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from sdi.demo.addresses import Directory, address_of
from sdi.demo.grounds import BY_USE
from sdi.demo.site import Site
from sdi.demo.streets import FIELD, VILLAGE
from sdi.demo.table import Array, Table, concat, from_rows
from sdi.demo.units import Territory
from sdi.national import parcel_id, vn2000

GRID = 5897
SHEET = 250.0
"""Side of a 1:500 sheet in metres."""
HOUSE_LIMIT = 100.0
"""m² of homestead land at most in the old villages; the rest of a garden plot is CLN."""


def water_lots(site: Site, territory: Territory) -> Table:
    """The lake and its promenade, a parcel in each commune they lie in."""
    shapes: list[Any] = []
    rows: list[tuple[Any, ...]] = []
    for use, ground in (("lake", site.lake), ("promenade", site.promenade)):
        for ward, piece in enumerate(territory.wards):
            for part in shapely.get_parts(shapely.intersection(ground, piece)):
                if part.geom_type == "Polygon" and part.area > 60:
                    shapes.append(part)
                    rows.append((-1, use, 0, territory.ward_commune[ward], ward, 1.0, 0.0, 0))
    return from_rows("node use fabric commune ward ux uy side", shapes, rows)


def make_parcels(
    rng: np.random.Generator, lots: Table, site: Site, territory: Territory, units: Table, directory: Directory
) -> Table:
    """Give every plot its numbers and its rights. Adds: commune_code, ward_code, sheet, number, old_sheet, old_number,
    main (land-use code), purposes, measured, legal, id12, place, street, origin, vacant.
    """
    parcels = concat([lots, water_lots(site, territory)])
    middle = shapely.get_coordinates(shapely.centroid(parcels.geometry))
    codes = units["code"]
    parcels["commune_code"] = codes[1 + parcels["commune"]]
    unit = np.array(territory.ward_unit)[parcels["ward"]]
    parcels["ward_code"] = codes[1 + len(territory.communes) + unit]
    parcels["sheet"], parcels["number"] = _numbers(parcels["commune"], middle, SHEET)
    parcels["old_sheet"], parcels["old_number"] = _numbers(unit, middle, SHEET * 0.8)
    area = shapely.area(parcels.geometry)
    parcels["measured"] = np.round(area, 1)
    parcels["legal"] = np.round(area * (1 + np.clip(rng.normal(0, 0.003, len(area)), -0.008, 0.008)), 1)
    _purposes(rng, parcels, area)
    parcels["id12"] = identifiers(parcels.geometry)
    address_of(parcels, directory, units["name"][1 + parcels["commune"]])
    origin = rng.choice(4, len(parcels), p=(0.52, 0.28, 0.14, 0.06))
    parcels["origin"] = np.array(["CNQ-CTT", "DG-CTT", "NCN-DG-CTT", "DT-KTN"], dtype=object)[origin]
    return parcels


def identifiers(shapes: Array) -> Array:
    """National parcel ids: GeoHash of the pole of inaccessibility (TT 19/2026/TT-BNNMT Phụ lục I)."""
    tolerance = np.maximum(0.05, np.sqrt(shapely.area(shapes)) / 150)
    poles = shapely.get_point(shapely.maximum_inscribed_circle(shapes, tolerance=tolerance), 0)
    lonlat = vn2000.to_wgs84(shapely.get_coordinates(poles), GRID)
    return parcel_id.encode(lonlat[:, 0], lonlat[:, 1]).astype(object)


def _numbers(group: Array, middle: Array, side: float) -> tuple[Array, Array]:
    """Sheets numbered in each group from north-west to south-east; plots numbered in each sheet alike."""
    cell = np.floor(middle / side).astype(np.int64)
    sheets, sheet = np.unique(np.column_stack([group, -cell[:, 1], cell[:, 0]]), axis=0, return_inverse=True)
    sheet = sheet.ravel()
    first = np.searchsorted(sheets[:, 0], sheets[:, 0])
    order = np.lexsort((middle[:, 0], -np.floor(middle[:, 1] / 12), sheet))
    begins = np.searchsorted(sheet[order], np.arange(len(sheets)))
    number = np.empty(len(sheet), dtype=np.int64)
    number[order] = np.arange(len(sheet)) - begins[sheet[order]] + 1
    return np.arange(1, len(sheets) + 1)[sheet] - first[sheet], number


def _purposes(rng: np.random.Generator, parcels: Table, area: Array) -> None:
    count, use, fabric = len(parcels), parcels["use"], parcels["fabric"]
    main = np.full(count, "ODT", dtype=object)
    vacant = rng.random(count) < np.array([0.05, 0.11, 0.04, 0.24, 1.0])[fabric]
    farmed = (fabric == FIELD) & (use == "")
    main[farmed] = rng.choice(["HNK", "CLN", "NTS", "LUC", "NKH"], int(farmed.sum()), p=(0.5, 0.24, 0.12, 0.09, 0.05))
    house = ~farmed & (use == "")
    odd = rng.random(count)
    main[house & (odd < 0.012)] = "TMD"
    main[house & vacant & (odd > 0.86)] = "BCS"
    main[house & vacant & (fabric == VILLAGE) & (odd < 0.16)] = "CLN"
    for kind, ground in BY_USE.items():
        main[use == kind] = ground.code
    main[use == "lake"], main[use == "promenade"] = "MNC", "DKV"
    text = main.copy()
    mixed = house & (main == "ODT") & (fabric == VILLAGE) & (area > HOUSE_LIMIT + 12) & (rng.random(count) < 0.6)
    text[mixed] = [f"ODT({HOUSE_LIMIT:.2f});CLN({rest:.2f})" for rest in np.round(area[mixed], 1) - HOUSE_LIMIT]
    shop = house & (main == "ODT") & ~mixed & (rng.random(count) < 0.015) & (area > 60)
    text[shop] = [f"ODT({home:.2f});TMD({rest:.2f})" for home, rest in zip(*_halves(area[shop]), strict=True)]
    parcels["main"], parcels["purposes"], parcels["vacant"] = main, text, vacant | ~house


def _halves(area: Array) -> tuple[Array, Array]:
    total = np.round(area, 1)
    home = np.round(total * 0.6, 1)
    return home, total - home
