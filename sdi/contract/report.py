"""How well a delivery keeps the contract: findings and counts, in the terms of ISO 19157."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, overload, override

from sdi.contract.naming import Naming
from sdi.contract.reasons import REASONS
from sdi.contract.rules import RULES

GRAVITY = ("refuse", "quarantine", "repair", "warn", "waived")
"""What is done for a finding, the gravest first."""


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
    naming: Naming | None = field(default=None, repr=False, compare=False)
    """How its sentence calls what the contract calls by identifiers; None: as the contract does."""

    def sentence(self, language: str = "vi") -> str:
        """What is wrong, in one sentence."""
        rule = RULES[self.rule]
        template = rule.en if language == "en" else rule.vi
        told = {"attribute": self.attribute, "value": _short(self.value), "limit": self.limit, "other": self.other}
        for name, value in told.items():
            if self.naming is not None and isinstance(value, str) and name in rule.attributes:
                told[name] = self.naming.attributes(value, language)
            elif self.naming is not None and isinstance(value, str) and name in rule.layers:
                told[name] = self.naming.of_layer(value, language)
            elif language == "vi" and name != "attribute":
                told[name] = _in_vietnamese(value)
        return template.format(**told)

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule, "severity": self.severity, "action": self.action, "feature": self.feature,
            "row": self.row, "attribute": self.attribute, "value": self.value, "limit": self.limit,
            "other": self.other, "place": self.place, "waived": self.waived,
            "vi": self.sentence("vi"), "en": self.sentence("en"),
        }  # fmt: skip


@dataclass(frozen=True)
class Stored(Finding):
    """A finding of an earlier load; its sentences are those that were told then."""

    vi: str = ""
    en: str = ""

    @override
    def sentence(self, language: str = "vi") -> str:
        return self.en if language == "en" else self.vi


class Found(Sequence[Finding]):
    """Findings in their order: the delivery's first, then by row. There may be millions, so what keeps them need not
    keep an object for each; this one does."""

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._listed = list(findings)

    def __len__(self) -> int:
        return len(self._listed)

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> list[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | list[Finding]:
        return self._listed[index]

    @override
    def __iter__(self) -> Iterator[Finding]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, (list, Found)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.by_rule()})"

    @property
    def refused(self) -> bool:
        return any(finding.action == "refuse" for finding in self)

    def by_rule(self) -> dict[str, int]:
        """How many there are of each rule, the most frequent first, equally frequent ones by name."""
        counts = Counter[str]()
        for (rule, _), count in self.by_action().items():
            counts[rule] += count
        return in_order(counts)

    def by_action(self) -> Mapping[tuple[str, str], int]:
        """How many there are of each rule and action."""
        return Counter((finding.rule, finding.action) for finding in self)

    def of(self, rule: str, most: int | None = None) -> list[Finding]:
        """Those of a rule, the first `most` of them."""
        found = (finding for finding in self if finding.rule == rule)
        return list(found) if most is None else [finding for finding, _ in zip(found, range(most), strict=False)]

    def insert(self, index: int, finding: Finding) -> None:
        self._listed.insert(index, finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        self._listed.extend(findings)


def gravest_first(counts: Mapping[tuple[str, str], int]) -> dict[str, tuple[str, ...]]:
    """The actions of each rule, and the rules, as they weigh: what refuses a delivery first; of equal weight the most
    frequent first."""
    weight = {action: number for number, action in enumerate(GRAVITY)}
    found: dict[str, list[str]] = {}
    for rule, action in sorted(counts, key=lambda each: (weight[each[1]], -counts[each], each[0])):
        found.setdefault(rule, []).append(action)
    return {rule: tuple(actions) for rule, actions in found.items()}


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of rules, the most frequent first, equally frequent ones by name."""
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


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
    findings: Found = field(default_factory=Found)
    naming: Naming | None = field(default=None, repr=False, compare=False)
    """How its sentences call the contract's attributes."""

    @property
    def refused(self) -> bool:
        """Whether the whole delivery is refused."""
        return self.findings.refused

    def by_rule(self) -> dict[str, int]:
        return self.findings.by_rule()

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer, "contract_version": self.contract_version, "refused": self.refused,
            "read": self.read, "kept": self.kept, "quarantined": self.quarantined, "dropped": self.dropped,
            "by_rule": self.by_rule(), "findings": [finding.to_json() for finding in self.findings],
        }  # fmt: skip


def _in_vietnamese(value: Any) -> Any:
    """A number with the comma that a Vietnamese reader takes for the decimal sign (a point would part thousands), and
    the only words in a value that are English: the reasons of GEOS."""
    if isinstance(value, (float, Decimal)):
        return str(value).replace(".", ",")
    return REASONS.get(value, value) if isinstance(value, str) else value


def _short(value: Any) -> Any:
    return value[:77] + "…" if isinstance(value, str) and len(value) > 78 else value
