"""What a contract says of parents, of units and of reforms: each fault is named with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sdi.contract.registry import read_registry
from sdi.errors import ContractError

REFORM = "reform: {attribute: commune_code, former: old_commune_code, units: admin_units}"
UNITS = "units: {succeeds: succeeds, code: code, share: share}"
SHARE = "  share: 5\n"
BROKEN = [
    ("cadastral_parcels.yaml", REFORM, REFORM.replace("old_commune", "former_commune"), "no stored attribute 'former_"),
    ("cadastral_parcels.yaml", REFORM, REFORM.replace("old_commune_code", "valid_from"), "is of type 'date', not text"),
    ("cadastral_parcels.yaml", REFORM, REFORM.replace("old_commune_code", "address"), "one privacy"),
    ("cadastral_parcels.yaml", REFORM, REFORM.replace("admin_units", "admin_unit"), "Did you mean 'admin_units'?"),
    ("cadastral_parcels.yaml", REFORM, REFORM.replace("admin_units", "buildings"), "which units each one succeeded"),
    (
        "cadastral_parcels.yaml",
        "{old_commune_code}.{old_sheet_number}",
        "{old_sheet}",
        "no stored attribute 'old_sheet",
    ),
    ("cadastral_parcels.yaml", SHARE, "  share: 5\n  parent: x\n", "'genealogy.parent' is not a word"),
    ("admin_units.yaml", UNITS, UNITS.replace("share: share", "share: part"), "have no field 'part'"),
    ("admin_units.yaml", UNITS, UNITS.replace("succeeds: succeeds", "succeeds: name"), "'name' is no list"),
    ("admin_units.yaml", "frame: code\n", "", "units need 'frame'"),
    ("parcel_overview.yaml", "derived:", "genealogy: {share: 5}\nderived:", "only a layer that is delivered"),
]


def faults(folder: Path) -> list[str]:
    with pytest.raises(ContractError) as caught:
        read_registry(folder)
    return [str(fault) for fault in caught.value.faults]


def test_the_shipped_contracts_have_the_parts(folder: Path) -> None:
    for file, old, *_ in BROKEN[:8]:
        assert old in (folder / file).read_text(encoding="utf-8")
    assert read_registry(folder)["cadastral_parcels"].reform is not None


@pytest.mark.parametrize(("file", "old", "new", "said"), BROKEN, ids=[each[3] for each in BROKEN])
def test_a_fault_of_these_parts_is_named(
    folder: Path, edit: Callable[[str, str, str], int], file: str, old: str, new: str, said: str
) -> None:
    edit(file, old, new)
    assert any(said in fault and fault.startswith(file) for fault in faults(folder)), faults(folder)
