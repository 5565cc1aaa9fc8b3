"""What a report begins with."""

from __future__ import annotations

from sdi.contract.report import GRAVITY, Finding, Found, gravest_first
from sdi.contract.rules import RULES


def test_what_is_done_for_findings_orders_their_rules() -> None:
    found = Found(
        Finding(rule, "warning", action)
        for rule, action, count in (
            ("coverage.gap", "warn", 5), ("coverage.overlap", "warn", 7), ("code.unknown", "quarantine", 2),
            ("geometry.invalid", "repair", 9), ("geometry.invalid", "quarantine", 1), ("place.outside", "refuse", 1),
            ("area.legal", "waived", 30),
        )
        for _ in range(count)
    )  # fmt: skip
    assert gravest_first(found.by_action()) == {
        "place.outside": ("refuse",), "code.unknown": ("quarantine",), "geometry.invalid": ("quarantine", "repair"),
        "coverage.overlap": ("warn",), "coverage.gap": ("warn",), "area.legal": ("waived",),
    }  # fmt: skip
    assert list(gravest_first(found.by_action())) == [
        "place.outside", "code.unknown", "geometry.invalid", "coverage.overlap", "coverage.gap", "area.legal"
    ]  # fmt: skip


def test_every_action_has_a_weight() -> None:
    assert {rule.action for rule in RULES.values()} <= set(GRAVITY)
