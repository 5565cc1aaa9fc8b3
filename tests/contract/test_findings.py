"""Findings as they are counted: two runs over one file say the same in the same order."""

from __future__ import annotations

import itertools

from sdi.contract.report import Finding, Found
from sdi.contract.rules import RULES


def test_rules_are_counted_by_frequency_and_by_name_whatever_was_found_first() -> None:
    one, two, three = sorted(RULES)[:3]
    told = [Finding(rule, "error", "warn") for rule in (three, three, two, one)]
    for order in itertools.permutations(told):
        assert list(Found(order).by_rule().items()) == [(three, 2), (one, 1), (two, 1)]
