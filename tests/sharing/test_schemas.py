"""What a schema promises of each feature holds in all that who asks is shown."""

from __future__ import annotations

import jsonschema
import pytest

from tests.sharing.city import City, Policy
from tests.sharing.test_references import all_of, asker, given

TYPES = {"string", "integer", "number", "boolean", "array", None}


def test_what_is_required_is_empty_nowhere_for_whoever_asks(city: City, askers: list[Policy]) -> None:
    for key in [None, *(each.key for each in askers)]:
        headers = {} if key is None else {"X_API_Key": key}
        for layer in ("plots", "works", "cards", "wards"):
            answer = city.town.ask(f"/collections/{layer}/schema", **headers)
            if answer.status == 404:
                continue
            schema = answer.json
            # No list of types with "null": QGIS takes such a property for a text, and Part 5 wants a string of a time.
            assert {about.get("type") for about in schema["properties"].values()} <= TYPES
            for name, shown in all_of(city, layer, key).items():
                told = {attribute: value for attribute, value in shown.items() if value is not None}
                jsonschema.validate({"id": name, **told}, schema)


@pytest.mark.parametrize("more", [{"attributes": ("number",), "rows": "use = 'CQP'"}, {"attributes": ("number",)}])
def test_an_attribute_that_is_hidden_in_some_features_is_not_required(city: City, more: dict[str, object]) -> None:
    agency = f"sees_numbers_{len(more)}"
    key = asker(city, agency, given(agency, "plots", **more))
    found = all_of(city, "plots", key)
    assert {shown["key"] is None for shown in found.values()} == {True, False}
    assert "required" not in city.town.get("/collections/plots/schema", X_API_Key=key)
    assert city.town.get("/collections/plots/schema")["required"] == ["key"]


def test_a_code_list_without_a_title_is_called_by_its_id(city: City) -> None:
    page = city.town.ask("/code-lists/use?f=html&lang=en")
    assert page.status == 200
    assert "<h1>use</h1>" in page.text
    assert "title" not in city.town.get("/code-lists/use")
