"""What the contracts withhold from the public, asked of the database with the filter that the service uses."""

from __future__ import annotations

from typing import Any

import pytest

from sdi.access import PUBLIC, row_filter
from sdi.contract.query import FeatureQuery
from sdi.contract.registry import Registry
from sdi.store.cql import parse_filter
from sdi.store.features import select_count

WITHHOLDING = [
    "cadastral_parcels", "land_use", "land_use_plan", "planning_zones", "buildings", "parcel_overview",
    "permit_conflicts", "building_permits", "permit_parcels",
]  # fmt: skip


def public_count(town: Any, layer: str) -> int:
    contract = town.registry[layer]
    text = row_filter(PUBLIC, contract)
    assert text is not None
    names = [attribute.name for attribute in contract.stored]
    query = FeatureQuery(layer, attributes=(), filters=(parse_filter(text, "cql2-text", contract, names),))
    statement = select_count(contract, query)
    return int(town.connection.execute(statement.sql, statement.params).fetchone()[0])


def test_just_these_layers_withhold_features(registry: Registry) -> None:
    assert {layer.id for layer in registry if row_filter(PUBLIC, layer)} == set(WITHHOLDING)


@pytest.mark.parametrize("layer", ["cadastral_parcels", "land_use", "land_use_plan", "planning_zones"])
def test_defence_and_security_land_is_withheld_and_land_of_unknown_use_is_not(town: Any, box: Any, layer: str) -> None:
    for index, code in enumerate(["ODT", "CQP", "CAN", None]):
        town.add(layer, f"F{index}", box(30 * index, 0, 30 * index + 20, 10), land_use_code=code)
    assert public_count(town, layer) == 2


def test_defence_buildings_are_withheld_with_their_parcel_its_conflicts_and_their_permit(lot: Any, box: Any) -> None:
    lot.add("cadastral_parcels", "31120.1.2", box(20, 0, 40, 10), parcel_key="31120.1.2", land_use_code="ODT")
    lot.add("buildings", "house", box(21, 1, 30, 9), building_use="residential", permit_number="1")
    lot.add("buildings", "depot", box(1, 1, 13, 9), building_use="defence", permit_number="2")
    lot.add("buildings", "unknown", box(14, 1, 19, 9))
    for number in ("1", "2"):
        lot.add("construction_permits", number, None, permit_number=number, status="revoked")
    lot.refresh()
    assert public_count(lot, "buildings") == 2
    assert public_count(lot, "parcel_overview") == 1
    assert public_count(lot, "building_permits") == 1
    assert lot.conflicts() == [
        ("no_permit", "unknown", None), ("permit_revoked", "depot", "2"), ("permit_revoked", "house", "1"),
    ]  # fmt: skip
    assert public_count(lot, "permit_conflicts") == 1


def test_a_permit_whose_key_names_withheld_land_is_linked_as_if_that_were_not_there(lot: Any, box: Any) -> None:
    def public() -> list[Any]:
        rows = {layer: lot.rows(layer) for layer in ("permit_parcels", "parcel_overview", "permit_conflicts")}
        return [{**row, "geom": None} for layer in rows for row in rows[layer] if not row["withheld"]]

    lot.add("construction_permits", "depot", [(5, 5)], permit_number="9", parcel_key="31120.1.9", status="issued")
    lot.add("construction_permits", "inside", [(45, 5)], permit_number="8", parcel_key="31120.1.9", status="issued")
    before = public()
    assert [row["id"] for row in before] == ["depot:31120.1.1", "31120.1.1"]
    lot.add("cadastral_parcels", "31120.1.9", box(40, 0, 60, 10), parcel_key="31120.1.9", land_use_code="CQP")
    assert public() == before
    linked = [(row["id"], row["basis"]) for row in lot.rows("permit_parcels")]
    assert linked == [("depot:31120.1.1", "place"), ("depot:31120.1.9", "key"), ("inside:31120.1.9", "key")]
