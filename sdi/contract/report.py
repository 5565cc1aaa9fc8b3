"""How well a delivery keeps the contract: findings and counts, in the terms of ISO 19157."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sdi.contract.rules import RULES


@dataclass(frozen=True)
class Finding:
    """One thing that is not as promised. `place` is x (lon), y (lat) in CRS84; `row` counts from 1 in the source."""

    rule: str
    severity: str
    action: str
    feature: str | None = None
    row: int | None = None
    attribute: str | None = None
    value: Any = None
    limit: Any = None
    other: Any = None
    place: tuple[float, float] | None = None
    waived: str | None = None
    """Why a steward lets it pass (`sdi waive`); its action is then `waived`."""

    def sentence(self, language: str = "vi") -> str:
        """What is wrong, in one sentence."""
        rule = RULES[self.rule]
        template = rule.en if language == "en" else rule.vi
        return template.format(attribute=self.attribute, value=_short(self.value), limit=self.limit, other=self.other)

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule, "severity": self.severity, "action": self.action, "feature": self.feature,
            "row": self.row, "attribute": self.attribute, "value": self.value, "limit": self.limit,
            "other": self.other, "place": self.place, "waived": self.waived,
            "vi": self.sentence("vi"), "en": self.sentence("en"),
        }  # fmt: skip


@dataclass
class Report:
    """The outcome of checking one delivery against one layer. read = kept + quarantined + dropped."""

    layer: str
    contract_version: str
    read: int = 0
    kept: int = 0
    quarantined: int = 0
    dropped: int = 0
    """Features of another geometry type where the contract says drop."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """Whether the whole delivery is refused."""
        return any(finding.action == "refuse" for finding in self.findings)

    def by_rule(self) -> dict[str, int]:
        return dict(Counter(finding.rule for finding in self.findings).most_common())

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer, "contract_version": self.contract_version, "refused": self.refused,
            "read": self.read, "kept": self.kept, "quarantined": self.quarantined, "dropped": self.dropped,
            "by_rule": self.by_rule(), "findings": [finding.to_json() for finding in self.findings],
        }  # fmt: skip


def _short(value: Any) -> Any:
    return value[:77] + "…" if isinstance(value, str) and len(value) > 78 else value
