"""Make the whole city and hand it in: `generate` writes the files and the truth, `deliveries` says how to read them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

from sdi.contract.delivery import Request
from sdi.demo import (
    addresses,
    cadastre,
    conflicts,
    files,
    grounds,
    houses,
    land,
    permits,
    planning,
    relief,
    site,
    truth,
    units,
)
from sdi.demo.lots import make_lots
from sdi.demo.names import Names, read_description, read_names
from sdi.demo.streets import Fabricated
from sdi.demo.table import Array, Table
from sdi.national import vn2000

DAY = date(2026, 7, 1)
"""The day of the data: both levels of government in place, NĐ 217/2026 in force."""
STAGES = ("site", "territory", "streets", "grounds", "lots", "names", "parcels", "plans", "buildings", "conflicts",
          "permits", "defects", "relief")  # fmt: skip
"""Each draws its own random numbers, so that a change to one leaves the others as they are."""


@dataclass
class City:
    """What was made. Geometries in EPSG:5897 (E, N)."""

    folder: Path
    seed: int
    tables: dict[str, Table]
    """As delivered, with the defects."""
    truth: truth.Truth
    extent: tuple[float, float, float, float]
    """West, south, east, north in degrees."""
    files: list[Path] = field(default_factory=list)


class Handover(NamedTuple):
    """One delivery: the contract it comes under, and what the steward says about the file."""

    layer: str
    request: Request


@dataclass
class _Making:
    """The city while it is made; later stages read what earlier ones laid down."""

    random: dict[str, np.random.Generator]
    site: site.Site
    territory: units.Territory
    streets: Fabricated
    names: Names
    directory: addresses.Directory
    units: Table


def generate(folder: Path, *, seed: int = 950, parcels: int = 20000) -> City:
    """Write the delivery files of a generated district and `truth.json` into `folder`.

    `parcels`: about how many. The same seed and count give the same features. Raises nothing but OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    making = _lay_out(seed, parcels)
    planted = truth.Truth(int(np.clip(parcels // 1000, 4, 20)))
    tables = _build(making, parcels, planted)
    outline = making.site.outline
    lonlat = vn2000.to_wgs84(shapely.get_coordinates(outline), cadastre.GRID)
    (west, south), (east, north) = lonlat.min(axis=0).tolist(), lonlat.max(axis=0).tolist()
    city = City(folder, seed, tables, planted, (west, south, east, north))
    _write(city, making)
    return city


def deliveries(folder: Path) -> list[Handover]:
    """The deliveries of a city that was generated into `folder`, in the order in which they are to be loaded."""
    found = []
    for entry in read_description()["deliveries"]:
        request = Request(folder / entry["file"], **entry.get("say", {}), day=DAY, steward="demo")
        found.append(Handover(entry["layer"], request))
    return found


def _lay_out(seed: int, parcels: int) -> _Making:
    random = {stage: np.random.default_rng([seed, number]) for number, stage in enumerate(STAGES)}
    ground = site.make_site(random["site"], parcels)
    territory = units.make_territory(random["territory"], ground)
    streets = units.make_streets(random["streets"], ground, territory)
    grounds.reserve(random["grounds"], streets, parcels)
    names = read_names()
    directory = addresses.make_directory(random["names"], streets.streets, names)
    return _Making(random, ground, territory, streets, names, directory, units.unit_table(territory, names))


def _build(making: _Making, wanted: int, planted: truth.Truth) -> dict[str, Table]:
    random, city, ground, territory = making.random, making.streets, making.site, making.territory
    lots = make_lots(random["lots"], city)
    parcels = cadastre.make_parcels(random["parcels"], lots, ground, territory, making.units, making.directory)
    zones = planning.make_zones(random["plans"], city, ground, territory)
    zoning = planning.limits(parcels, zones)
    red, building_lines, free = planning.make_lines(making.directory, ground)
    buildings = houses.make_buildings(random["buildings"], parcels, zoning[0], zoning[1], free)
    pool = conflicts.build_against(random["conflicts"], parcels, buildings, zoning, making.directory, free, planted)
    granted = permits.make_permits(random["permits"], parcels, buildings, zoning[0], zoning[1], round(wanted * 0.2))
    granted = conflicts.break_permits(random["conflicts"], parcels, buildings, granted, pool, planted)
    land_use = land.make_land_use(city, ground, territory, making.units, parcels, making.names)
    tables = {
        "units": making.units, "parcels": parcels, "zones": zones, "red_lines": red, "building_lines": building_lines,
        "buildings": buildings, "permits": granted, "land_use": land_use,
        "land_plan": land.make_land_plan(random["plans"], city, ground, territory, making.names),
        "projects": land.make_projects(random["plans"], city, making.names, max(6, wanted // 800)),
    }  # fmt: skip
    _finish(tables)
    return tables | _spoil(random["defects"], tables, pool, planted)


def _finish(tables: dict[str, Table]) -> None:
    """Columns that are only told when all is made: codes, Vietnamese dates, X north and Y east."""
    buildings, parcels, granted = tables["buildings"], tables["parcels"], tables["permits"]
    for name in ("commune_code", "place"):
        buildings[name] = parcels[name][buildings["parcel"]]
    buildings["code"] = np.array(
        [f"CT{c}{n:06d}" for n, c in enumerate(buildings["commune_code"], start=1)], dtype=object
    )
    buildings["owner"], parcels["holder"], parcels["remark"] = "(tên mẫu)", "(tên mẫu)", ""
    for column in ("owner",):
        buildings[column] = buildings[column].astype(object)
    for column in ("holder", "remark"):
        parcels[column] = parcels[column].astype(object)
    parcels["sheet"] = parcels["sheet"].astype(str).astype(object)
    for name in ("issued", "expires"):
        granted[f"{name}_vn"] = np.array(["/".join(reversed(day.split("-"))) for day in granted[name]], dtype=object)
    points = np.round(shapely.get_coordinates(granted.geometry), 3)
    granted["north"] = np.where(granted["located"], points[:, 1], np.nan)
    granted["east"] = np.where(granted["located"], points[:, 0], np.nan)
    for name in ("sheet", "number"):
        granted[name] = np.where(granted["keyed"], granted[name].astype(str), "").astype(object)


def _spoil(
    rng: np.random.Generator, tables: dict[str, Table], pool: truth.Pool, planted: truth.Truth
) -> dict[str, Table]:
    parcels, buildings = tables["parcels"], tables["buildings"]
    used = np.zeros(len(parcels), dtype=bool)
    used[buildings["parcel"]] = True
    used[tables["permits"]["parcel"]] = True
    for entry in planted.entries:
        if entry.rule == "spanning":
            used[entry.detail["second_parcel"]] = True
    free = np.zeros(len(buildings), dtype=bool)
    free[pool.rows] = True
    free &= buildings["exempt"] == 1
    return {
        "parcels": truth.spoil_parcels(rng, parcels, ~used, planted),
        "buildings": truth.spoil_buildings(rng, buildings, free, planted, files.written(buildings["name"], "TCVN3")),
    }


def _write(city: City, making: _Making) -> None:
    for entry in read_description()["deliveries"]:
        (city.folder / entry["file"]).unlink(missing_ok=True)  # GDAL adds to a GeoPackage or KML that is there
    places: dict[str, tuple[Array, Array]] = {}
    rasters: list[Path] = []
    for entry in read_description()["deliveries"]:
        path = city.folder / entry["file"]
        if path not in city.files:
            city.files.append(path)
        if "table" not in entry:
            rasters.append(path)
            continue
        table = city.tables[entry["table"]]
        rows = _rows(table, entry.get("only"))
        file_of, row_of = places.setdefault(
            entry["table"], (np.full(len(table), "", dtype=object), np.zeros(len(table), dtype=int))
        )
        file_of[rows], row_of[rows] = entry["file"], np.arange(1, len(rows) + 1)
        crs, encoding = entry.get("crs", cadastre.GRID), entry.get("encoding", "UTF-8")
        files.write(files.Form(path, entry["columns"], entry["name"], crs, encoding), table.take(rows))
    relief.write_rasters(making.random["relief"], making.site, rasters[0], rasters[1], cadastre.GRID)
    _write_truth(city, places)


def _rows(table: Table, only: dict[str, Any] | None) -> Array:
    keep = np.ones(len(table), dtype=bool)
    if only is not None:
        values = table[only["column"]].astype(str)
        keep &= np.isin(values, only["in"]) if "in" in only else keep
        keep &= values >= only["from"] if "from" in only else keep
        keep &= values < only["before"] if "before" in only else keep
    return np.flatnonzero(keep)


def _write_truth(city: City, places: dict[str, tuple[Array, Array]]) -> None:
    """`truth.json`: rule, layer, key, file, row (from 1), place (lon, lat) and detail of everything planted."""
    description = read_description()
    keys = {entry["table"]: entry["key"] for entry in description["deliveries"] if "table" in entry}
    found = []
    for entry, (lon, lat) in zip(city.truth.entries, city.truth.lonlat(), strict=True):
        file_of, row_of = places[entry.table]
        detail = dict(entry.detail)
        for name in ("parcel", "other", "same_as", "second_parcel"):
            if name in detail:
                detail[f"{name}_row"] = int(places["parcels"][1][detail[name]])
                detail[name] = _key(keys["parcels"], city.tables["parcels"], detail[name])
        place = None if np.isnan(lon) else [round(float(lon), 8), round(float(lat), 8)]
        key = _key(keys[entry.table], city.tables[entry.table], entry.row)
        where = {"file": file_of[entry.row], "row": int(row_of[entry.row]), "place": place}
        layer = description["tables"][entry.table]
        found.append({"rule": entry.rule, "layer": layer, "key": key, **where, "detail": detail})
    counts = {name: len(table) for name, table in city.tables.items()}
    whole = {"seed": city.seed, "day": DAY.isoformat(), "extent": city.extent, "counts": counts, "planted": found}
    text = json.dumps(whole, ensure_ascii=False, indent=1)
    (city.folder / "truth.json").write_text(text, encoding="utf-8")


def _key(template: str, table: Table, row: int) -> str:
    return template.format(**{name: column[row] for name, column in table.columns.items()})
