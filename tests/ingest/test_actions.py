"""What the contract says is done about a rule is what is done, whatever the rule; and it cannot say what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from sdi.contract.layer import Check, Layer
from sdi.contract.registry import read_registry
from sdi.contract.rules import RULES
from sdi.ingest.findings import Findings
from sdi.settings import ROOT

PAIRS = [(code, action) for code, rule in RULES.items() for action in rule.actions]


@pytest.fixture(scope="module")
def plain() -> Layer:
    return read_registry(ROOT / "layers")["buildings"]


def found(layer: Layer, rule: str, action: str | None, rows: list[int] | None, waived: bool = False) -> Findings:
    checks = [Check(rule=rule, action=action)] if action else []
    findings = Findings(layer.model_copy(update={"checks": checks}), 4)
    findings.waived = {rule: {2: "lý do"}} if waived else {}
    findings.add(rule, rows, attribute="x", value=1)
    return findings


def actions(findings: Findings) -> list[str]:
    told = findings.finish(lambda rows: [str(row) for row in rows], lambda rows: np.full((len(rows), 2), np.nan))
    return [finding.action for finding in told]


@pytest.mark.parametrize(("rule", "action"), PAIRS, ids=lambda value: str(value))
def test_every_rule_does_what_the_contract_says(plain: Layer, rule: str, action: str) -> None:
    findings = found(plain, rule, action, [2])
    assert actions(findings) == [action]
    assert findings.quarantined.tolist() == [False, False, action == "quarantine", False]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_where_the_contract_says_nothing_the_rule_s_own_action_holds(plain: Layer, rule: str) -> None:
    assert actions(found(plain, rule, None, [1, 2])) == [RULES[rule].action] * 2
    assert RULES[rule].action in RULES[rule].actions


def test_a_delivery_is_refused_where_every_feature_would_go_to_quarantine(plain: Layer) -> None:
    findings = found(plain, "attribute.required", "quarantine", None)
    assert actions(findings) == ["refuse"]
    assert not findings.quarantined.any()


@pytest.mark.parametrize("rule", sorted(code for code, each in RULES.items() if "quarantine" in each.actions))
def test_a_waived_finding_keeps_nobody_out_where_the_feature_can_be_stored(plain: Layer, rule: str) -> None:
    findings = found(plain, rule, "quarantine", [1, 2], waived=True)
    waivable = RULES[rule].waivable
    assert sorted(actions(findings)) == (["quarantine", "waived"] if waivable else ["quarantine", "quarantine"])
    assert findings.quarantined.tolist() == [False, True, not waivable, False]
