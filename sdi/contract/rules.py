"""The catalogue of rules a check can name; it stands in `rules.yaml` beside this file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdi.contract.document import read_document


@dataclass(frozen=True)
class Rule:
    """`element` is the data quality element of ISO 19157-1. The sentences are filled with the finding's `value`,
    `limit`, `attribute` and `other`; a check's tolerance is in `unit` (UCUM), and `tolerance` is taken where the
    contract names none. `parameters`: name -> what a contract's check may say besides."""

    code: str
    element: str
    severity: str
    action: str
    vi: str
    en: str
    unit: str | None = None
    tolerance: float | None = None
    parameters: dict[str, str] | None = None
    attributes: tuple[str, ...] = ("attribute",)
    """What of a finding holds identifiers of attributes, which its sentence tells by their titles."""
    layers: tuple[str, ...] = ()
    """The same of layers."""
    actions: tuple[str, ...] = ("warn", "quarantine", "refuse")
    """What a contract may have done about it."""

    @property
    def waivable(self) -> bool:
        """Whether a steward may let a single feature pass: where it can be stored all the same."""
        return {"warn", "quarantine"} <= set(self.actions)


def _read() -> dict[str, Rule]:
    text = Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8")
    return {code: Rule(code=code, **rule) for code, rule in read_document(text).value.items()}


RULES = _read()
