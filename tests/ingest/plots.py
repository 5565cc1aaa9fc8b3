"""Small contracts and files for the tests of ingest; contracts are told in YAML, as stewards write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdi.contract.codelist import Code, CodeList
from sdi.contract.document import read_document
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry

HEAD = {
    "id": "plots", "version": "1.0.0", "theme": "land", "title": {"vi": "Lô", "en": "Plots"},
    "description": {"vi": "Lô", "en": "Plots"}, "steward": {"id": "office", "name": {"vi": "Sở", "en": "Office"}},
    "legal_basis": [], "licence": {"id": "none", "title": {"vi": "Không", "en": "None"}}, "update_cycle": "asNeeded",
}  # fmt: skip

PARCELS = """
identifier: {template: "{sheet}.{number}", duplicates: suffix}
geometry: {type: MultiPolygon, repair_tolerance: 1.0}
attributes:
  - {name: sheet, title: {vi: Số tờ, en: Sheet}, type: integer, sources: [shbando, map]}
  - {name: number, title: {vi: Số thửa, en: Number}, type: integer, sources: [shthua]}
  - {name: area, title: {vi: Diện tích, en: Area}, type: decimal, scale: 1, sources: [dientich]}
  - {name: land_use, title: {vi: Loại đất, en: Use}, type: text, sources: [mdsd, loaidat]}
  - {name: address, title: {vi: Địa chỉ, en: Address}, type: text, sources: [diachi]}
  - {name: holder, title: {vi: Chủ, en: Holder}, type: text, privacy: personal, sources: [tenchusdd, chusd, cmnd]}
checks:
  - {rule: coverage.overlap, tolerance: 0.1}
  - {rule: area.legal, tolerance: 1.0, parameters: {attribute: area, percent: 1.0}}
"""

QUANG_NAM = (107.0, 14.9, 109.0, 16.3)
SOC_TRANG = (105.6, 9.3, 106.2, 9.95)
QUANG_NGAI = (108.0, 14.5, 109.2, 15.5)


def contract(text: str) -> Layer:
    """A layer from the part of a contract that a test is about."""
    tree: dict[str, Any] = read_document(text).value
    return Layer.model_validate(HEAD | tree)


def code(value: str, status: str = "current", **more: Any) -> Code:
    entry = Code(value, f"Mã {value}", f"Code {value}", None, None, None, None, status, "")
    return replace(entry, **more)


def registry(*codes: Code, name: str = "uses") -> Registry:
    return Registry(Path(), {}, {name: CodeList(name, tuple(codes))})


def geojson(path: Path, features: Iterable[tuple[Any, dict[str, Any]]], crs: int | None = None) -> Path:
    """Write a GeoJSON file of (geometry, properties); `crs` as an old `crs` member."""
    items = [{"type": "Feature", "geometry": shape, "properties": values} for shape, values in features]
    tree: dict[str, Any] = {"type": "FeatureCollection", "features": items}
    if crs is not None:
        tree["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{crs}"}}
    path.write_text(json.dumps(tree), encoding="utf-8")
    return path


def square(x: float, y: float, side: float = 10.0) -> dict[str, Any]:
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}
