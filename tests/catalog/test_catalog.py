"""What is said about a layer comes from its contract: schemas, configuration, styles, the committed files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from sdi import access
from sdi.catalog import collection, schema, style
from sdi.contract.document import read_document
from sdi.contract.registry import Registry, read_registry
from sdi.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TOWN = ROOT / "tests" / "service" / "town"


@dataclass(frozen=True)
class Publication:
    extent: tuple[float, float, float, float] | None
    grids: tuple[int, ...]
    time_start: datetime | None = None
    time_end: datetime | None = None


@pytest.fixture(scope="module")
def town() -> Registry:
    return read_registry(TOWN)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry(ROOT / "layers")


def test_the_committed_schemas_are_those_of_the_contracts(registry: Registry) -> None:
    made = schema.generated(registry)
    folder = ROOT / "schemas"
    committed = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.json")}
    assert sorted(committed) == sorted(made), "run: sdi layers build"
    assert [path for path in made if made[path] != committed[path]] == [], "run: sdi layers build"


def test_every_contract_keeps_the_schema_of_contracts(registry: Registry) -> None:
    contract = schema.layer_schema()
    jsonschema.Draft202012Validator.check_schema(contract)
    validator = jsonschema.Draft202012Validator(contract)
    for path in sorted((ROOT / "layers").glob("*.yaml")):
        plain = read_document(path.read_text(encoding="utf-8")).value
        assert [error.message for error in validator.iter_errors(plain)] == [], path.name


def test_every_generated_feature_schema_is_json_schema(registry: Registry) -> None:
    for path, text in schema.generated(registry).items():
        jsonschema.Draft202012Validator.check_schema(json.loads(text))
        assert text.endswith("}\n"), path


def test_a_personal_attribute_is_in_no_schema(registry: Registry) -> None:
    for layer in registry:
        personal = {attribute.name for attribute in layer.attributes if attribute.privacy == "personal"}
        properties = schema.feature_schema(layer, registry.code_lists)["properties"]
        assert not personal & properties.keys()


def test_a_schema_speaks_one_language_or_both(town: Registry) -> None:
    layer = town["plots"]
    both = schema.feature_schema(layer, town.code_lists)["properties"]["use"]
    assert (both["title"], both["x-en"]["title"]) == ("Mã loại đất", "Use code")
    english = schema.feature_schema(layer, town.code_lists, language="en")["properties"]["use"]
    assert english["title"] == "Use code"
    assert "x-en" not in english
    assert {"const": "CLN", "title": "Perennial crops"} in english["oneOf"]


def test_the_storage_crs_is_the_grid_of_the_rows_and_never_one_of_north_east_order() -> None:
    assert collection.storage_crs([5897]).endswith("/EPSG/0/5897")
    for grids in ([], [4326], [4756], [5897, 9210]):
        assert collection.storage_crs(grids) == collection.CRS84
    assert collection.crs_list([9210, 5899])[3:] == [collection.crs_uri(9210), collection.crs_uri(5899)]
    assert collection.crs_list([4326]).count(collection.crs_uri(4326)) == 1


def test_the_configuration_of_pygeoapi_has_both_languages_the_extent_and_the_grid(town: Registry) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    found = collection.resource(town["plots"], Publication((105.0, 20.0, 106.0, 21.0), (5897,), start), Settings())
    assert found["title"] == {"vi": "Thửa đất thử", "en": "Test plots"}
    assert found["extents"]["spatial"]["bbox"] == [105.0, 20.0, 106.0, 21.0]
    assert found["extents"]["temporal"] == {"begin": start, "end": None}
    assert found["links"][0]["rel"] == "license"
    assert found["providers"][0]["storage_crs"].endswith("/5897")
    empty = collection.resource(town["works"], Publication(None, ()), Settings())
    assert empty["extents"]["spatial"]["bbox"] == list(collection.VIETNAM)


def test_a_style_has_the_titles_of_a_legend_and_hides_what_is_not_seen(town: Registry) -> None:
    layer = town["plots"]
    seen = style.map_style(layer, town.code_lists, "vi", access.visible(access.PUBLIC, layer))
    assert seen["classes"][0] == {"value": "ODT", "colour": "#ffd0e0", "title": "Đất ở tại đô thị (ODT)"}
    assert seen["label"] == "number"
    blind = style.map_style(layer, town.code_lists, "vi", ("key",))
    assert (blind["label"], blind["classify"], blind["classes"]) == (None, None, [])


def test_the_public_sees_open_layers_and_attributes_and_no_withheld_feature(town: Registry) -> None:
    plots, secrets = town["plots"], town["secrets"]
    agency = access.Agency("so_thu", frozenset({"open", "agency"}))
    assert access.sees(access.PUBLIC, plots)
    assert not access.sees(access.PUBLIC, secrets)
    assert access.sees(agency, secrets)
    assert "hidden_note" not in access.visible(access.PUBLIC, plots)
    assert "hidden_note" in access.visible(agency, plots)
    assert "holder" not in access.visible(agency, plots)
    assert access.row_filter(access.PUBLIC, plots) == "NOT (use IS NOT NULL AND use = 'CQP')"
    assert access.row_filter(agency, plots) is None
    assert access.row_filter(access.PUBLIC, town["works"]) is None
