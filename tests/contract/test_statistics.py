"""What a contract has counted are groups and amounts, and units that have names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sdi.contract.registry import read_registry
from sdi.errors import ContractError

LINE = "  by: [commune_code, building_use, floors, status]"
"""Of `buildings.yaml`."""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("  by: [comune_code]", "Did you mean 'commune_code'?"),
        ("  by: [owner]", "no stored attribute 'owner'"),
        ("  by: [commune_code, commune_code]", "'commune_code' stands twice"),
        ("  by: [commune_code, name]", "'name' makes no groups"),
        ("  by: [commune_code, height]", "'height' makes no groups"),
        ("  by: [floors]", "there is no attribute 'commune_code' in 'by'"),
        ("  by: []", "at least 1 item"),
    ],
)
def test_what_makes_no_groups_is_refused(folder: Path, edit: Callable[..., int], written: str, said: str) -> None:
    edit("buildings.yaml", LINE, written)
    with pytest.raises(ContractError) as caught:
        read_registry(folder)
    assert any(said in str(fault) for fault in caught.value.faults), caught.value.faults


@pytest.mark.parametrize(
    ("line", "written", "said"),
    [
        (
            "  sum: [footprint_area, gross_floor_area]",
            "  sum: [year_built, structure]",
            "'structure' cannot be added up",
        ),
        ("  units: {commune_code: admin_units}", "  units: {commune_code: land_use}", "'land_use' has no 'frame'"),
        ("  units: {commune_code: admin_units}", "  units: {commune_code: admin}", "there is no layer 'admin'"),
    ],
)
def test_what_is_no_amount_and_what_names_no_units_is_refused(
    folder: Path, edit: Callable[..., int], line: str, written: str, said: str
) -> None:
    edit("buildings.yaml", line, written)
    with pytest.raises(ContractError) as caught:
        read_registry(folder)
    assert any(said in str(fault) for fault in caught.value.faults), caught.value.faults
