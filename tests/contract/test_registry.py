"""The shipped contracts read clean; a broken one is refused with every fault, its file and line, and the right word."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from sdi.contract.faults import fields_of, folded
from sdi.contract.registry import Registry, read_registry
from sdi.errors import ContractError, NotFound

LAYERS = Path(__file__).resolve().parents[2] / "layers"
Edit = Callable[[str, str, str], int]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry(LAYERS)


def faults(folder: Path) -> list[str]:
    with pytest.raises(ContractError) as caught:
        read_registry(folder)
    return [str(fault) for fault in caught.value.faults]


# --- what is shipped ----------------------------------------------------------------------------------------------


def test_every_shipped_contract_and_code_list_reads_clean(registry: Registry) -> None:
    asked = {
        "admin_units", "cadastral_parcels", "land_use", "land_use_plan", "planning_zones", "red_lines", "buildings",
        "construction_permits", "construction_projects", "terrain", "flood_depth", "parcel_overview",
        "permit_conflicts",
    }  # fmt: skip
    assert asked <= set(registry.layers)
    assert {path.stem for path in LAYERS.glob("*.yaml")} == set(registry.layers)
    assert {path.stem for path in (LAYERS / "code_lists").glob("*.csv")} == set(registry.code_lists)


def test_every_word_of_the_contracts_is_in_unicode_nfc_and_without_tabs() -> None:
    for path in [*LAYERS.glob("*.yaml"), *LAYERS.glob("*.sql"), *LAYERS.glob("code_lists/*.*")]:
        text = path.read_text(encoding="utf-8")
        assert unicodedata.is_normalized("NFC", text), path
        assert "\t" not in text, path


def test_every_code_list_is_used_by_a_layer(registry: Registry) -> None:
    used = {
        code_list
        for layer in registry
        for attribute in layer.attributes
        for code_list in [attribute.code_list, *(item.code_list for item in attribute.items or [])]
    }
    assert set(registry.code_lists) <= used


def test_every_code_list_has_a_title_in_both_languages(registry: Registry) -> None:
    titles = {name: codes.title for name, codes in registry.code_lists.items() if codes.title is not None}
    assert titles.keys() == registry.code_lists.keys()
    for language in ("vi", "en"):
        assert len({title.in_language(language) for title in titles.values()}) == len(titles)


def test_titles_differ_between_the_languages_and_every_legal_basis_says_how_sure_it_is(registry: Registry) -> None:
    for layer in registry:
        assert layer.legal_basis, layer.id
        for text in (layer.title, layer.description, layer.steward.name):
            assert text.vi != text.en, (layer.id, text.vi)


def test_what_names_a_person_is_recognised_and_has_no_column(registry: Registry) -> None:
    parcels, permits = registry["cadastral_parcels"], registry["construction_permits"]
    stored = {folded(source) for attribute in parcels.stored for source in [attribute.name, *attribute.sources]}
    personal = {
        folded(source)
        for attribute in parcels.attributes
        if attribute.privacy == "personal"
        for source in attribute.sources
    }
    ugly = {"tenchusdd", "tenchu", "chusd", "namsinh", "cmnd", "cccd", "sophathanh", "sovaoso", "mavach", "ghichu"}
    assert ugly <= personal
    assert not ugly & stored
    assert "chudautu" not in {folded(source) for attribute in permits.stored for source in attribute.sources}


def test_a_layer_classified_by_land_use_takes_the_colours_of_the_code_list(registry: Registry) -> None:
    colours = registry["land_use"].style.colours
    assert colours["ODT"] == "#ffa0ff"
    assert registry["land_use_plan"].style.colours == colours
    assert registry["red_lines"].style.colours == {"red_line": "#d7191c", "building_line": "#2b6cb0"}


def test_derived_layers_come_after_those_they_are_made_from(registry: Registry) -> None:
    order = [layer.id for layer in registry.derived_in_order()]
    assert order.index("parcel_overview") < order.index("permit_conflicts")
    assert order.index("building_permits") < order.index("permit_conflicts")


def test_an_unknown_layer_is_refused_with_the_nearest_name(registry: Registry) -> None:
    with pytest.raises(NotFound) as caught:
        registry["cadastral_parcel"]
    assert caught.value.hint == "Did you mean 'cadastral_parcels'?"


def test_a_template_names_its_fields() -> None:
    assert fields_of("{a}.{b_2}:{c}") == ["a", "b_2", "c"]
    assert fields_of(None) == []


# --- what is refused ----------------------------------------------------------------------------------------------


def test_all_faults_of_all_files_are_told_at_once_with_file_line_and_the_nearest_word(folder: Path, edit: Edit) -> None:
    type_line = edit("buildings.yaml", "type: integer", "type: interger")
    word_line = edit("red_lines.yaml", "update_cycle", "update_cicle")
    list_line = edit("land_use.yaml", "code_list: land_use", "code_list: landuse")
    code_line = edit("code_lists/permit_kind.csv", ",current,", ",curent,")
    scope_line = edit("planning_zones.yaml", "scope: plan_code", "scope: plan_cod")
    found = faults(folder)
    expected = [
        f"buildings.yaml:{type_line}: attributes.7.type: 'interger' is not allowed. Did you mean 'integer'?",
        f"code_lists/permit_kind.csv:{code_line}: status 'curent' is none of current, superseded, group, overlay,"
        " review. Did you mean 'current'?",
        f"land_use.yaml:{list_line}: there is no code list 'landuse'. Did you mean 'land_use'?",
        f"planning_zones.yaml:{scope_line}: there is no stored attribute 'plan_cod'. Did you mean 'plan_code'?",
        f"red_lines.yaml:{word_line}: 'update_cicle' is not a word of the contract. Did you mean 'update_cycle'?",
    ]
    missing = [fault for fault in found if "update_cycle: Field required" in fault]
    assert len(missing) == 1
    assert [fault for fault in found if fault not in missing] == expected


def test_a_layer_that_cannot_be_read_makes_no_second_fault_where_it_is_named(folder: Path, edit: Edit) -> None:
    edit("cadastral_parcels.yaml", "version: 1.0.0", "version: one")
    assert [fault.split(":")[0] for fault in faults(folder)] == ["cadastral_parcels.yaml"]


BROKEN = [
    ("land_use.yaml", "theme: land", "theme: sdi", "is a schema of the database's own"),
    ("land_use.yaml", "id: land_use", "id: landuse", "must be the file's name"),
    ("land_use.yaml", "name: measured_area", "name: commune_code", "attribute 'commune_code' stands twice"),
    ("land_use.yaml", "name: measured_area", "name: load_id", "is a reserved name"),
    ("land_use.yaml", "name: measured_area", "name: limit", "is the name of a query parameter of OGC API"),
    ("land_use.yaml", "sources: [maXa, xaId]", "sources: [maXa, dien_tich]", "column 'dien_tich' of"),
    ("land_use.yaml", "{inventory}.{object_code}", "{inventary}.{object_code}", "Did you mean 'inventory'?"),
    ("land_use.yaml", "instant: surveyed_on", "instant: land_use_name", "not a date or datetime"),
    ("land_use.yaml", "default: HT", "default: kiểm kê", "does not match the attribute's own pattern"),
    ("land_use.yaml", "within: [inventory]", "within: [inventori]", "Did you mean 'inventory'?"),
    ("land_use.yaml", "rule: coverage.overlap", "rule: coverage.overlaps", "Did you mean 'coverage.overlap'?"),
    ("land_use.yaml", "title: {vi: Hiện trạng", "title: {vi: Hiện tra\u0323ng", "is not in Unicode NFC"),
    ("land_use.yaml", "fill: '#eef3dc'", "fill: pale green", "is not a colour like"),
    ("land_use.yaml", "classify: land_use_code", "classify: land_use_kode", "Did you mean 'land_use_code'?"),
    ("land_use.yaml", "{mode: full, scope: inventory}", "{mode: partial, scope: inventory}", "has no scope"),
    ("land_use.yaml", "'^\\d{5}$'", "'^(\\d{5}$'", "is not a regular expression"),
    ("land_use.yaml", "theme: land", "theme: [land", "is not YAML"),
    ("buildings.yaml", "residential: '#e6a15c'", "residental: '#e6a15c'", "Did you mean 'residential'?"),
    ("buildings.yaml", "default: existing", "default: exists", "there is no code 'exists' in 'building_status'"),
    ("buildings.yaml", "attribute: building_code", "attribute: owner", "there is no stored attribute 'owner'"),
    ("construction_permits.yaml", "refers_to: cadastral_parcels", "refers_to: parcels", "there is no layer 'parcels'"),
    ("cadastral_parcels.yaml", "{map_commune_code}.", "{holder}.", "'holder' is personal"),
    ("terrain.yaml", "layer: cadastral_parcels", "layer: cadastral_parcel", "Did you mean 'cadastral_parcels'?"),
    ("parcel_overview.yaml", "sql: parcel_overview.sql", "sql: parcel_overview.sqk", "Did you mean 'parcel_over"),
    ("permit_parcels.yaml", "{parcel_key: parcel_key}", "{parcel_kee: parcel_key}", "Did you mean 'parcel_key'?"),
    ("parcel_overview.yaml", "{layer: buildings, by", "{layer: permit_conflicts, by", "is made from itself"),
    ("parcel_overview.yaml", "kind: derived", "kind: features", "a layer of kind 'features' has no 'derived'"),
    ("red_lines.yaml", "  classify: kind\n", "", "'colours' need 'classify'"),
    ("building_permits.yaml", "with: [buildings]", "with: [terrain]", "no subject or input 'terrain'"),
    ("permit_parcels.yaml", "  withhold: withheld = TRUE\n", "", "without 'withhold' nothing is withheld"),
    ("permit_parcels.yaml", "name: basis\n", "name: basis\n    made_from: [zones]\n", "there is no input 'zones'"),
    ("red_lines.yaml", "name: kind\n", "name: kind\n    made_from: []\n", "only an attribute of a derived layer"),
    ("red_lines.yaml", "name: kind\n", "name: kind\n    shown: {vi: Có, en: Yes}\n", "its privacy says who sees it"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "said"), BROKEN, ids=[f"{case[0]}: {case[2]}" for case in BROKEN])
def test_a_broken_contract_is_refused(folder: Path, edit: Edit, file: str, old: str, new: str, said: str) -> None:
    edit(file, old, new)
    found = faults(folder)
    told = [fault for fault in found if said in fault]
    assert told, found
    name, line, _ = told[0].split(":", 2)
    assert name == file
    assert int(line) >= 1


def test_a_code_written_as_a_number_is_refused_and_loses_no_zero_silently(folder: Path, edit: Edit) -> None:
    line = edit("admin_units.yaml", "default: VN", "pattern: 0104")
    assert any(
        fault.startswith(f"admin_units.yaml:{line - 1}:") or fault.startswith(f"admin_units.yaml:{line}:")
        for fault in faults(folder)
    )


CODE_FAULTS = [
    ("LUK,Đất", "LUC,Đất", "code 'LUC' holds on the same day as on line"),
    (
        ",LUA,,2024-08-01,LUK,",
        ",LUA,,2024-08-01,LUX,",
        "successor 'LUX' of code 'LUN' is not in the list. Did you mean",
    ),
    (",LUA,,2024-08-01,LUK,", ",LUA,,2024-08-01,,", "is superseded but names no successor"),
    (",LUA,,2024-08-01,LUK,", ",LUA,2024-09-01,2024-08-01,LUK,", "ends on 2024-08-01, before it begins"),
    (",LUA,,2024-08-01,LUK,", ",LUA,,1/8/2024,LUK,", "valid_to '1/8/2024' is not a day like 2024-08-01"),
    ("Rice land,CHN", "Rice land,LUC", "is its own ancestor"),
    ("Rice land,CHN", ",CHN", "'label_en' is required"),
    ("#fffc8c", "yellow", "'yellow' is not a colour"),
    ("Rice land,CHN,", "Rice land,", "the row must have 10 fields"),
    ("label_vi", "nhan", "the header must be code,label_vi,label_en"),
]


@pytest.mark.parametrize(("old", "new", "said"), CODE_FAULTS, ids=[case[2] for case in CODE_FAULTS])
def test_a_broken_code_list_is_refused(folder: Path, edit: Edit, old: str, new: str, said: str) -> None:
    line = edit("code_lists/land_use.csv", old, new)
    told = [fault for fault in faults(folder) if said in fault]
    assert any(fault.startswith(f"code_lists/land_use.csv:{line}:") for fault in told), faults(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("land_use: {", "landuse: {", "a title of no code list: 'landuse'. Did you mean 'land_use'?"),
        (", en: Land use}", "}", "land_use.en: Field required"),
        (", en: Land use}", ", en: Land use, fr: Usage}", "'land_use.fr' is not a word of the contract."),
        ("land_use: {", "admin_level: {", "'admin_level' stands twice"),
    ],
)
def test_a_wrong_title_of_a_code_list_is_refused(folder: Path, edit: Edit, old: str, new: str, said: str) -> None:
    line = edit("code_lists/titles.yaml", old, new)
    (told,) = faults(folder)
    assert told.startswith(f"code_lists/titles.yaml:{line}: ")
    assert said in told


def test_code_lists_need_no_titles(folder: Path) -> None:
    (folder / "code_lists" / "titles.yaml").unlink()
    assert {codes.title for codes in read_registry(folder).code_lists.values()} == {None}
    (folder / "code_lists" / "titles.yaml").write_text("- land_use", encoding="utf-8")
    assert faults(folder) == ["code_lists/titles.yaml:1: must be a mapping"]


def test_a_code_list_that_is_not_utf_8_is_refused(folder: Path) -> None:
    path = folder / "code_lists" / "permit_kind.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    assert faults(folder) == ["code_lists/permit_kind.csv:1: is not UTF-8"]
