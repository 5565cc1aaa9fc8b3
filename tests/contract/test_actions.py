"""A contract cannot ask for what nobody can do about a broken rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sdi.contract.registry import read_registry
from sdi.contract.rules import RULES
from sdi.errors import ContractError

CHECK = "  - {rule: geometry.duplicate, severity: info}"
"""A line of `construction_permits.yaml` that each case takes the place of."""

WRONG = [
    ("geometry.sliver", "repair", "there is no repair for it"),
    ("attribute.range", "repair", "possible: warn, quarantine, refuse"),
    ("geometry.invalid", "warn", "possible: quarantine, refuse"),
    ("identifier.duplicate", "repair", "possible: quarantine, refuse"),
    ("file.column_unknown", "quarantine", "possible: warn, refuse"),
]


@pytest.mark.parametrize(("rule", "action", "said"), WRONG)
def test_an_action_that_cannot_be_is_a_fault_with_its_line(
    folder: Path, edit: Callable[[str, str, str], int], rule: str, action: str, said: str
) -> None:
    line = edit("construction_permits.yaml", CHECK, f"  - {{rule: {rule}, action: {action}}}")
    with pytest.raises(ContractError) as faults:
        read_registry(folder)
    (fault,) = faults.value.faults
    assert (fault.file, fault.line) == ("construction_permits.yaml", line)
    assert said in fault.message


@pytest.mark.parametrize(("rule", "action"), [("geometry.repaired", "quarantine"), ("geometry.duplicate", "refuse")])
def test_what_can_be_done_may_be_said(
    folder: Path, edit: Callable[[str, str, str], int], rule: str, action: str
) -> None:
    edit("construction_permits.yaml", CHECK, f"  - {{rule: {rule}, action: {action}}}")
    assert read_registry(folder)["construction_permits"].checks


def test_what_a_rule_does_by_itself_it_can_do() -> None:
    assert all(rule.action in rule.actions for rule in RULES.values())
    assert not any("repair" in rule.actions for code, rule in RULES.items() if code.startswith(("attribute.", "code.")))
