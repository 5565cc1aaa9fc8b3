"""A heading is made of the layer's own attributes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sdi.contract.registry import read_registry
from sdi.errors import ContractError
from sdi.settings import ROOT

PART = "{vi: 'tờ bản đồ số {sheet_number}', en: 'map sheet {sheet_number}'}"
"""Of `cadastral_parcels.yaml`."""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{vi: 'tờ {sheet_numbr}', en: 'sheet {sheet_number}'}", "Did you mean 'sheet_number'?"),
        ("{vi: 'chủ {holder}', en: 'holder {holder}'}", "no stored attribute 'holder'"),
        ("{vi: 'tờ', en: 'sheet {sheet_number}'}", "'tờ' names no attribute"),
        ("{vi: 'tờ {sheet_number}', en: 'sheet {sheet_number'}", "'sheet {sheet_number' names no attribute"),
        ("{vi: '{use_purposes}', en: '{use_purposes}'}", "'use_purposes' is a list"),
    ],
)
def test_what_makes_no_heading_is_refused_at_its_line(
    folder: Path, edit: Callable[..., int], written: str, said: str
) -> None:
    line = edit("cadastral_parcels.yaml", PART, written)
    with pytest.raises(ContractError) as caught:
        read_registry(folder)
    assert any(said in str(fault) and fault.line == line for fault in caught.value.faults), caught.value.faults


def test_every_shipped_layer_of_features_says_what_people_call_one() -> None:
    layers = read_registry(ROOT / "layers").layers.values()
    assert [layer.id for layer in layers if layer.geometry is not None and not layer.heading] == []
