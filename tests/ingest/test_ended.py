"""Rows that say a feature has ended: they are no features, and nothing is found in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry, read_registry
from sdi.ingest.deliver import Received, receive
from sdi.settings import ROOT

OPERATION = {"sources": ["thaoTac", "operation"], "values": ["D", "X", "xóa"]}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry(ROOT / "layers")


@pytest.fixture(scope="module")
def parcels(registry: Registry) -> Layer:
    layer = registry["cadastral_parcels"]
    said = layer.model_dump(mode="json")
    return Layer.model_validate(said | {"load": {"mode": "partial", "ended": OPERATION}})


def received(registry: Registry, layer: Layer, folder: Path, rows: list[dict[str, Any]]) -> Received:
    """Parcels in a row; a row without a place has `geometry: False`."""
    made = []
    for position, row in enumerate(rows):
        west = 105.85 + position * 1e-4
        ring = [[west, 21.028], [west + 9e-5, 21.028], [west + 9e-5, 21.0281], [west, 21.0281], [west, 21.028]]
        shape = {"type": "Polygon", "coordinates": [ring]} if row.pop("geometry", True) else None
        properties = {"maXa": "00070", "soTo": "7", "soThua": str(position), "mdsd": "ODT"} | row
        made.append({"type": "Feature", "properties": properties, "geometry": shape})
    path = folder / "thua.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": made}), encoding="utf-8")
    return receive(Request(path), layer, registry, grid=5897)


def ids(delivered: Received) -> list[str]:
    return [name for batch in delivered.features() for name in batch["id"].to_pylist()]


@pytest.mark.parametrize("word", ["D", "d", " X ", "Xóa", "xoa", "XO\u0301A"])
def test_a_row_that_says_so_ends_its_feature_and_needs_no_more_than_an_id(
    registry: Registry, parcels: Layer, tmp_path: Path, word: str
) -> None:
    rows = [
        {"thaoTac": "U"}, {"thaoTac": None}, {"thaoTac": word, "geometry": False, "mdsd": "không rõ"}, {"thaoTac": "S"},
    ]  # fmt: skip
    with received(registry, parcels, tmp_path, rows) as found:
        assert found.delivery.ended == ("00070.7.2",)
        assert ids(found) == ["00070.7.0", "00070.7.1", "00070.7.3"]
        assert (found.report.read, found.report.kept, found.report.quarantined) == (4, 3, 0)
        rules = set(found.report.by_rule())
        assert not rules & {"geometry.missing", "code.unknown", "file.column_unknown"}, rules


def test_the_end_of_a_feature_and_its_new_state_are_no_duplicates(
    registry: Registry, parcels: Layer, tmp_path: Path
) -> None:
    rows = [{"operation": "D", "soThua": "9"}, {"operation": "I", "soThua": "9"}]
    with received(registry, parcels, tmp_path, rows) as found:
        assert ids(found) == ["00070.7.9"]
        assert found.delivery.ended == ("00070.7.9",)
        assert not [rule for rule in found.report.by_rule() if "duplicate" in rule]


def test_an_end_without_an_id_is_found_and_kept_apart(registry: Registry, parcels: Layer, tmp_path: Path) -> None:
    with received(registry, parcels, tmp_path, [{}, {"thaoTac": "D", "soThua": None}]) as found:
        assert found.delivery.ended == ()
        assert found.report.by_rule()["delivery.ended_nameless"] == 1
        assert found.report.quarantined == 1


def test_without_a_word_in_the_contract_a_row_is_a_feature(registry: Registry, tmp_path: Path) -> None:
    layer = registry["cadastral_parcels"]
    assert layer.load.ended is None
    with received(registry, layer, tmp_path, [{"thaoTac": "D"}, {}]) as found:
        assert ids(found) == ["00070.7.0", "00070.7.1"]
        assert found.delivery.ended == ()
        assert "file.column_unknown" in found.report.by_rule()
