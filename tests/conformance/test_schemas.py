"""OGC 23-058 (Features Part 5: Schemas), Annex A: schema, queryables and sortables of every collection."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tests.conformance.abstract import PART_5, conf
from tests.conformance.conftest import REL, SCHEMA, Api, link

DRAFT = "https://json-schema.org/draft/2020-12/schema"
KEYWORDS = {"title", "description", "type", "format", "pattern", "minimum", "maximum", "maxLength", "oneOf", "enum",
            "const", "items", "properties", "readOnly"}  # fmt: skip
TIMES = ("primary-instant", "primary-interval-start", "primary-interval-end")


def with_role(schema: dict[str, Any], *roles: str) -> list[dict[str, Any]]:
    return [each for each in schema["properties"].values() if each.get("x-ogc-role") in roles]


@conf(PART_5, "schemas/basic-schema-inspection", "returnables-and-receivables/get-conformance")
@conf(PART_5, "queryables/get-conformance", "sortables/get-conformance")
@conf(PART_5, *(f"{kind}/{test}" for kind in ("returnables-and-receivables", "queryables", "sortables")
                for test in ("link", "op-and-response")))  # fmt: skip
@pytest.mark.parametrize("kind", ["schema", "queryables", "sortables"])
def test_every_collection_leads_to_a_valid_schema(api: Api, kind: str) -> None:
    for name in api.features:
        path = f"/collections/{name}/{kind}"
        href = link(api.get(f"/collections/{name}"), f"{REL}/{kind}", SCHEMA)
        assert href is not None
        assert href.partition("?")[0] == api.url + path
        schema = api.get(path, SCHEMA)
        assert (schema["$schema"], schema["$id"], schema["type"]) == (DRAFT, api.url + path, "object")
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["properties"]
        for queryable, about in schema["properties"].items():
            form = str(about.get("format", ""))
            assert "type" in about or form.startswith("geometry-"), (name, queryable)
            assert all(word in KEYWORDS or word.startswith("x-") for word in about), (name, queryable, about.keys())
            if kind == "sortables":
                assert about["type"] not in ("array", "object")


@conf(PART_5, "schemas/role", "schemas/role-id", "schemas/property-seq", "schemas/unit", "schemas/definition")
@conf(PART_5, "schemas/nullvalues", "core-roles-features/role-primary-geometry")
@conf(PART_5, "core-roles-features/role-primary-temporal", "core-roles-features/role-type")
@conf(PART_5, "advanced-property-roles/role-primary-geometry", "advanced-property-roles/role-primary-temporal")
@conf(PART_5, "advanced-property-roles/role-type")
def test_roles_order_and_units(api: Api) -> None:
    for name in api.features:
        schema = api.get(f"/collections/{name}/schema", SCHEMA)
        properties = schema["properties"].values()
        (identifier,) = with_role(schema, "id")
        assert identifier["type"] in ("string", "integer")
        assert all(isinstance(each.get("x-ogc-role", ""), str) for each in properties)
        assert all(isinstance(each.get("x-ogc-propertySeq", 0), int) for each in properties)
        assert all(isinstance(each.get("x-ogc-definition", ""), str) for each in properties)
        assert all(isinstance(each.get("x-ogc-nullValues", []), list) for each in properties)
        assert all(isinstance(each["x-ogc-unit"], str) for each in properties if "x-ogc-unit" in each)
        assert all(each["type"] in ("number", "integer") for each in properties if "x-ogc-unit" in each)
        places = with_role(schema, "primary-geometry")
        assert len(places) <= 1
        assert all("type" not in each and each["format"].startswith("geometry-") for each in places)
        times = with_role(schema, *TIMES)
        roles = sorted(each["x-ogc-role"] for each in times)
        assert roles in ([], *([role] for role in TIMES), ["primary-interval-end", "primary-interval-start"])
        assert all((each["type"], each["format"]) in (("string", "date"), ("string", "date-time")) for each in times)
        assert len(with_role(schema, "type")) <= 1


@conf(PART_5, "returnables-and-receivables/response-1")
def test_features_keep_their_schema(api: Api) -> None:
    for name in api.features:
        schema = api.get(f"/collections/{name}/schema", SCHEMA)
        checks = {key: jsonschema.Draft202012Validator(about) for key, about in schema["properties"].items()}
        for feature in api.items(name, limit=200)["features"]:
            checks["id"].validate(feature["id"])
            for key, value in feature["properties"].items():
                assert key in checks, (name, key)
                if value is not None:
                    checks[key].validate(value)
