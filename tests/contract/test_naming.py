"""Sentences name attributes as a reader knows them: by title, and with the column of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdi.contract.naming import Naming
from sdi.contract.registry import Registry, read_registry
from sdi.contract.report import Finding, Stored
from sdi.contract.rules import RULES

ROOT = Path(__file__).resolve().parents[2]
PARCELS = "cadastral_parcels"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry(ROOT / "layers")


@pytest.fixture(scope="module")
def naming(registry: Registry) -> Naming:
    return Naming(registry[PARCELS], {"land_use_code": "KH2003", "parcel_number": "số thửa"})


def test_an_attribute_is_named_by_its_title_and_the_files_column(naming: Naming) -> None:
    assert naming.attributes("land_use_code", "vi") == "Mã loại đất chính (cột «KH2003»)"
    assert naming.attributes("land_use_code", "en") == "Main land-use code (column 'KH2003')"
    assert naming.attributes("parcel_key", "vi") == "Khóa thửa đất"


def test_a_column_that_is_called_like_the_attribute_is_not_told_twice(naming: Naming) -> None:
    assert naming.attributes("sheet_number, parcel_number", "vi") == "Số tờ bản đồ, Số thửa"
    assert naming.attributes("parcel_number", "en") == "Parcel number (column 'số thửa')"


def test_a_long_column_is_cut(registry: Registry) -> None:
    told = Naming(registry[PARCELS], {"parcel_key": "x" * 500}).attributes("parcel_key", "en")
    assert told == f"Parcel key (column '{'x' * 39}…')"


def test_what_is_no_attribute_stands_as_it_is(naming: Naming) -> None:
    assert naming.attributes("≤ 3 m, buildings.building_code, buildings.nothing, no.such", "en") == (
        "≤ 3 m, Buildings: Identifier of the works, buildings.nothing, no.such"
    )
    assert naming.of_layer("nothing", "en") == "nothing"


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("rule", RULES)
def test_no_sentence_holds_an_identifier_of_the_contract(rule: str, language: str, registry: Registry) -> None:
    """Whichever of its fields a rule declares to hold identifiers of attributes or layers, a reader sees none."""
    known = RULES[rule]
    told = {**dict.fromkeys(known.attributes, "parcel_key"), **dict.fromkeys(known.layers, "planning_zones")}
    finding = Finding(rule, "error", "warn", **told, naming=Naming(registry[PARCELS]))  # type: ignore[arg-type]
    sentence, bare = finding.sentence(language), Finding(rule, "error", "warn", **told).sentence(language)  # type: ignore[arg-type]
    assert "_" not in sentence, sentence
    template = getattr(known, language)
    assert (sentence != bare) is any(f"{{{name}}}" in template for name in told)
    assert finding.to_json().get("attribute") == told.get("attribute")


def test_a_columns_own_name_is_never_taken_for_an_attributes(naming: Naming) -> None:
    """A file's column may be called like an attribute that takes none of it."""
    for rule in ("file.column_unknown", "file.personal_dropped", "text.converted", "text.unsure"):
        assert "parcel_key" in Finding(rule, "info", "warn", attribute="parcel_key", naming=naming).sentence("vi")


def test_a_value_that_reads_like_an_attribute_is_left_alone(naming: Naming) -> None:
    told = Finding("code.unknown", "error", "quarantine", attribute="land_use_code", value="parcel_key", naming=naming)
    assert told.sentence("en").startswith("Main land-use code (column 'KH2003'): code 'parcel_key' is not")


def test_a_stored_finding_says_what_it_said() -> None:
    told = Stored("attribute.required", "error", "quarantine", attribute="parcel_key", vi="Như cũ.", en="As it was.")
    assert (told.sentence("vi"), told.sentence("en"), told.attribute) == ("Như cũ.", "As it was.", "parcel_key")
