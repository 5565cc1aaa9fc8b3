"""What a contract's checks may say is what their rules declare."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sdi.contract.parameters import KINDS
from sdi.contract.registry import read_registry
from sdi.contract.rules import RULES
from sdi.errors import ContractError
from sdi.settings import ROOT

CHECK = "  - {rule: geometry.duplicate, severity: info}"
"""A line of `construction_permits.yaml` that each case takes the place of."""

WRONG = [
    ("{rule: geometry.duplicate, parameters: {within: [status]}}", "has no parameter 'within'"),
    ("{rule: area.legal, parameters: {atribute: footprint_max}}", "Did you mean 'attribute'?"),
    ("{rule: area.legal}", "'area.legal' needs the parameter 'attribute'"),
    ("{rule: area.legal, parameters: {attribute: investor}}", "no stored attribute 'investor'"),
    ("{rule: area.legal, parameters: {attribute: footprint_max, percent: much}}", "'percent' must be a number"),
    ("{rule: area.legal, parameters: {attribute: footprint_max, formula: scales}}", "Did you mean 'scale'?"),
    ("{rule: attribute.unique, parameters: {attributes: permit_number}}", "must be a list of attributes"),
    ("{rule: attribute.unique, parameters: {attributes: [permit_number], valid: 1}}", "must be true or false"),
    ("{rule: time.order, parameters: {start: issued_on, end: expired_on}}", "Did you mean 'expires_on'?"),
    ("{rule: place.commune, parameters: {layer: admin_unit, attribute: commune_code}}", "Did you mean 'admin_units'?"),
    ("{rule: place.commune, parameters: {layer: buildings, attribute: commune_code}}", "('frame')"),
    ("{rule: layer.missing, parameters: {layer: terrain}}", "layer 'terrain' has no features"),
    (
        "{rule: layer.missing, parameters: {layer: buildings, key: {number: permit_number}}}",
        "'number' in 'construction_permits'",
    ),
    ("{rule: layer.missing, parameters: {layer: buildings, key: {permit_number: number}}}", "'number' in 'buildings'"),
    (
        "{rule: layer.missing, parameters: {layer: buildings, through: cadastral_parcels,"
        " through_key: {parcel: permit_number}}}",
        "no stored attribute 'parcel' in 'cadastral_parcels'",
    ),
    ("{rule: layer.missing, parameters: {layer: buildings, where: [1]}}", "must be a condition in CQL2 text"),
    (
        "{rule: layer.differs, parameters: {layer: buildings, attribute: kind, other: status, allows: {a: b}}}",
        "must be a mapping to lists",
    ),
]  # fmt: skip
RIGHT = [
    "{rule: area.legal, parameters: {attribute: footprint_max, percent: 1, formula: scale, scale: 500}}",
    "{rule: attribute.unique, parameters: {attributes: [permit_number], within: [issuer], valid: true}}",
    "{rule: layer.missing, parameters: {layer: buildings, key: {permit_number: permit_number}, place: true, reach: 5}}",
]


@pytest.mark.parametrize(("check", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_check_that_says_what_its_rule_does_not_know_is_refused(
    folder: Path, edit: Callable[..., int], check: str, said: str
) -> None:
    line = edit("construction_permits.yaml", CHECK, f"  - {check}")
    with pytest.raises(ContractError) as refused:
        read_registry(folder)
    told = [str(fault) for fault in refused.value.faults if said in str(fault)]
    assert told, [str(fault) for fault in refused.value.faults]
    assert told[0].startswith(f"construction_permits.yaml:{line}:")


@pytest.mark.parametrize("check", RIGHT)
def test_a_check_that_says_what_its_rule_declares_is_read(folder: Path, edit: Callable[..., int], check: str) -> None:
    edit("construction_permits.yaml", CHECK, f"  - {check}")
    read_registry(folder)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_a_rule_speaks_both_languages_and_names_known_kinds_of_parameters(rule: object) -> None:
    code, declared = rule.code, rule.parameters or {}  # type: ignore[attr-defined]
    for name, kind in declared.items():
        assert re.fullmatch(r"[a-z_]+", name), code
        assert kind.removesuffix("?") in KINDS or "|" in kind, (code, name, kind)
    for sentence in (rule.vi, rule.en):  # type: ignore[attr-defined]
        assert re.findall(r"\{(\w+)\}", sentence) == [
            name for name in re.findall(r"\{(\w+)\}", sentence) if name in ("attribute", "value", "limit", "other")
        ]
        assert sentence.endswith("."), code


def test_the_contracts_of_the_product_name_only_what_exists() -> None:
    read_registry(ROOT / "layers")
