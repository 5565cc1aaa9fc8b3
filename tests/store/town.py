"""A small town for tests of the store: its contracts, and deliveries made in memory as ingest hands them over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import shapely

from sdi.contract.delivery import Delivery
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.contract.report import Finding, Found, Report
from sdi.national import vn2000
from sdi.store import derived, loader
from sdi.store.engine import Connection
from sdi.store.loader import Load

GRID = 9210
EAST, NORTH = 600_000.0, 1_190_000.0
"""A corner in EPSG:9210, in TP.HCM."""

HEAD = """\
id: {id}
version: 1.0.0
kind: {kind}
title: {{vi: {id}, en: {id}}}
description: {{vi: {id}, en: {id}}}
theme: town
steward: {{id: so_nnmt, name: {{vi: Sở, en: Department}}}}
legal_basis: []
licence: {{id: CC-BY-4.0, title: {{vi: Ghi công, en: Attribution}}}}
update_cycle: monthly
"""


def attribute(name: str, kind: str, more: str = "") -> str:
    return f"  - {{name: {name}, type: {kind}, title: {{vi: {name}, en: {name}}}{', ' + more if more else ''}}}\n"


ITEMS = (
    "items: [{name: id, type: text, title: {vi: mã, en: id}},"
    " {name: share, type: number, title: {vi: phần, en: share}}]"
)
PLOTS = (
    HEAD.format(id="plots", kind="features")
    + "identifier: {attribute: code}\ngeometry: {type: MultiPolygon}\nload: {mode: full, scope: ward}\n"
    + "temporal: {start: surveyed_on}\nattributes:\n"
    + attribute("code", "text", "required: true")
    + attribute("ward", "text")
    + attribute("use", "code", "code_list: use")
    + attribute("area", "decimal", "scale: 2")
    + attribute("floors", "integer")
    + attribute("ratio", "number")
    + attribute("listed", "boolean")
    + attribute("surveyed_on", "date")
    + attribute("seen_at", "datetime")
    + attribute("uses", "list", ITEMS)
    + attribute("owner", "text", "privacy: personal")
    + attribute("dispute", "text", "privacy: restricted")
    + attribute("remark", "text", "privacy: agency")
)
SHOPS = (
    HEAD.format(id="shops", kind="features")
    + "identifier: {attribute: number}\ngeometry: {type: Point, required: false}\nload: {mode: partial}\nattributes:\n"
    + attribute("number", "text")
    + attribute("plot", "text", "refers_to: plots")
)
ZONES = (
    HEAD.format(id="zones", kind="features")
    + "identifier: {attribute: zone}\ngeometry: {type: Polygon}\nattributes:\n"
    + attribute("zone", "text")
    + attribute("storeys", "integer")
)
HEIGHTS = (
    HEAD.format(id="heights", kind="coverage")
    + "coverage:\n  bands: [{name: height, title: {vi: độ cao, en: height}, unit: m}]\n  data_types: [float32]\n"
    + "  statistics: [{layer: plots, operations: [mean, max]}]\n"
)
PLOT_SUMMARY = (
    HEAD.format(id="plot_summary", kind="derived")
    + "geometry: {type: MultiPolygon}\nattributes:\n"
    + attribute("code", "text")
    + attribute("zoned", "number", "unit: m2")
    + attribute("zones", "list", ITEMS)
    + attribute("shops", "integer")
    + attribute("near", "integer")
    + attribute("height", "number")
    + "derived:\n  subject: plots\n  sql: plot_summary.sql\n  inputs:\n"
    + "    - {layer: zones}\n    - {layer: heights}\n"
    + "    - {layer: shops, by: [key, place], key: {plot: code}, reach: 30}\n"
)
PLOT_SUMMARY_SQL = """\
-- One row for each plot.
SELECT
    s.id,
    s.id AS subject_id,
    p.code,
    z.area AS zoned,
    coalesce(z.list, '[]') AS zones,
    (SELECT count(*) FROM town.shops AS k WHERE k.plot = p.code) AS shops,
    (SELECT count(*) FROM town.shops AS k
     WHERE k.geom_wgs84 && ST_Expand(s.geom_wgs84, 0.0004)
       AND ST_DWithin(s.geom, sdi.regrid(k.geom, ST_SRID(s.geom)), 30)) AS near,
    h.height_mean AS height,
    s.geom,
    s.geom_wgs84
FROM subject AS s
JOIN town.plots AS p ON p.id = s.id
LEFT JOIN town.heights__plots AS h ON h.id = s.id
LEFT JOIN LATERAL (
    SELECT sum(a.part) AS area, jsonb_agg(jsonb_build_object('id', a.id, 'share', a.part) ORDER BY a.id) AS list
    FROM (
        SELECT z.id, ST_Area(ST_Intersection(s.geom, sdi.regrid(z.geom, ST_SRID(s.geom)))) AS part
        FROM town.zones AS z
        WHERE s.geom_wgs84 && z.geom_wgs84 AND ST_Intersects(s.geom_wgs84, z.geom_wgs84)
    ) AS a
) AS z ON true;
"""
ZONE_SUMMARY = (
    HEAD.format(id="zone_summary", kind="derived")
    + "geometry: {type: Polygon}\nattributes:\n"
    + attribute("plots", "integer")
    + attribute("shops", "integer")
    + "derived:\n  subject: zones\n  sql: zone_summary.sql\n  inputs:\n    - {layer: plot_summary}\n"
)
ZONE_SUMMARY_SQL = """\
SELECT s.id, s.id AS subject_id, count(p.id) AS plots, coalesce(sum(p.shops), 0) AS shops, s.geom, s.geom_wgs84
FROM subject AS s
LEFT JOIN town.plot_summary AS p ON s.geom_wgs84 && p.geom_wgs84 AND ST_Intersects(s.geom_wgs84, p.geom_wgs84)
GROUP BY s.id, s.geom, s.geom_wgs84
"""
CODES = """\
code,label_vi,label_en,parent,valid_from,valid_to,successor,status,source
ODT,Đất ở tại đô thị,Urban housing,,2024-01-01,,,current,test
CLN,Đất trồng cây lâu năm,Perennial crops,,2024-01-01,,,current,test
"""

CONTRACTS = {
    "plots.yaml": PLOTS, "shops.yaml": SHOPS, "zones.yaml": ZONES, "heights.yaml": HEIGHTS,
    "plot_summary.yaml": PLOT_SUMMARY, "plot_summary.sql": PLOT_SUMMARY_SQL,
    "zone_summary.yaml": ZONE_SUMMARY, "zone_summary.sql": ZONE_SUMMARY_SQL, "code_lists/use.csv": CODES,
}  # fmt: skip


@dataclass
class Town:
    """The town's database, and what stewards do to it. `connection` is an owner's."""

    url: str
    registry: Registry
    connection: Connection

    def load(self, layer: str, rows: Sequence[dict[str, Any]], **more: Any) -> Load:
        """One delivery, loaded in one transaction with the derived layers brought along."""
        with self.connection.transaction():
            done = self.load_alone(layer, rows, **more)
            derived.refresh(self.connection, self.registry, done.load_id)
        return done

    def load_alone(
        self, layer: str, rows: Sequence[dict[str, Any]], *, quarantined: Sequence[dict[str, Any]] = (), **more: Any
    ) -> Load:
        """One delivery within the caller's transaction, derived layers untouched."""
        contract = self.registry[layer]
        report = Report(layer, contract.version, len(rows) + len(quarantined), len(rows), len(quarantined))
        report.findings = Found(Finding("attribute.required", "error", "quarantine", row["id"]) for row in quarantined)
        return loader.load(
            self.connection, contract, self.registry, features(contract, rows), held(quarantined),
            delivery(contract), report, **more,
        )  # fmt: skip

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, parameters or None).fetchall()

    def one(self, query: str, *parameters: Any) -> Any:
        return self.rows(query, *parameters)[0][0]

    def ids(self, layer: str) -> set[str]:
        return {row[0] for row in self.rows(f"SELECT id FROM town.{layer}")}


def plot(n: int, **values: Any) -> dict[str, Any]:
    """The nth plot of a row of squares of 20 m, five to a street."""
    x, y = EAST + n % 5 * 20, NORTH + n // 5 * 20
    row = {
        "id": f"P{n}", "code": f"P{n}", "ward": "00001", "use": "ODT", "area": Decimal("400.00"), "floors": n % 7,
        "ratio": n / 3, "listed": n % 2 == 0, "surveyed_on": date(2026, 7, 1),
        "seen_at": datetime(2026, 7, 1, 8, 30, tzinfo=UTC),
        "uses": [{"id": "ODT", "share": 1.0}], "dispute": None, "remark": "Thửa số «một»",
        "geom": shapely.multipolygons([shapely.box(x, y, x + 20, y + 20)]),
    }  # fmt: skip
    return row | values


def shop(number: str, place: float, plot_number: int | None = None, **values: Any) -> dict[str, Any]:
    x, y = EAST + place % 5 * 20 + 10, NORTH + place // 5 * 20 + 10
    key = None if plot_number is None else f"P{plot_number}"
    return {"id": number, "number": number, "plot": key, "geom": shapely.Point(x, y)} | values


def zone(name: str, street: float, storeys: int = 5, **values: Any) -> dict[str, Any]:
    y = NORTH + street * 20
    return {"id": name, "zone": name, "storeys": storeys, "geom": shapely.box(EAST, y, EAST + 100, y + 35)} | values


def features(layer: Layer, rows: Sequence[dict[str, Any]], grid: int = GRID) -> pa.Table:
    """Rows as ingest hands them over."""
    types = {
        "text": pa.string(), "code": pa.string(), "integer": pa.int64(), "decimal": pa.decimal128(38, 2),
        "number": pa.float64(), "boolean": pa.bool_(), "date": pa.date32(), "datetime": pa.timestamp("us", "UTC"),
        "list": pa.string(),
    }  # fmt: skip
    columns = {"id": pa.array([row["id"] for row in rows], pa.string())}
    for each in layer.stored:
        values = [row[each.name] for row in rows]
        if each.type == "list":
            values = [None if value is None else json.dumps(value) for value in values]
        columns[each.name] = pa.array(values, types[each.type])
    columns |= shapes([row["geom"] for row in rows], grid)
    columns["source_row"] = pa.array(range(1, len(rows) + 1), pa.int32())
    return pa.table(columns)


def shapes(geometries: Sequence[Any], grid: int = GRID) -> dict[str, pa.Array]:
    """`geom` in a grid and `geom_wgs84` as EWKB."""
    master = np.array(geometries, dtype=object)
    lonlat = shapely.transform(master, lambda xy: vn2000.to_wgs84(xy, grid)) if len(master) else master
    return {
        "geom": pa.array(shapely.to_wkb(shapely.set_srid(master, grid), include_srid=True), pa.binary()),
        "geom_wgs84": pa.array(shapely.to_wkb(shapely.set_srid(lonlat, 4326), include_srid=True), pa.binary()),
    }


def held(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Quarantined rows as ingest hands them over."""
    columns = {
        "source_row": pa.array(range(101, 101 + len(rows)), pa.int32()),
        "id": pa.array([row["id"] for row in rows], pa.string()),
        "findings": pa.array(['[{"rule": "attribute.required"}]'] * len(rows), pa.string()),
        "attributes": pa.array([json.dumps({"code": row["id"], "raw": "a\u0000b"}) for row in rows], pa.string()),
    }
    columns |= shapes([row["geom"] for row in rows])
    return pa.table(columns)


def delivery(layer: Layer, **values: Any) -> Delivery:
    facts: dict[str, Any] = {
        "file_name": f"{layer.id}.gpkg", "sha256": "ab" * 32, "size": 1000, "driver": "GPKG", "layer_in_file": layer.id,
        "feature_count": 0, "encoding": "UTF-8", "crs_declared": "EPSG:9210", "crs_used": "EPSG:9210", "grid": GRID,
        "operation": 6960, "steward": "chi_nhanh_q1",
    }  # fmt: skip
    return Delivery(**(facts | values))


def terminate(url: str, pid: int) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
