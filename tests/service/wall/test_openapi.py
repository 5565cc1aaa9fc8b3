"""The OpenAPI document keeps to OpenAPI, and the service to its OpenAPI document, whoever asks.

Requests are made from the document, right ones and wrong ones, and each answer is held against it: no 5xx, no status,
content type, header or body that it does not tell of. What is tried is the same each time; SDI_TEST_OPENAPI=200 makes
so many requests an operation, other ones each time.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV30SpecValidator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sdi.service.audit.page import PARAMETERS
from sdi.store import engine
from sdi.store.sharing import keys
from tests.service.conftest import Town, served

EXAMPLES = int(os.environ.get("SDI_TEST_OPENAPI", "2"))
CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance,
          response_schema_conformance]  # fmt: skip
AGENCY = "so_thu"
ALIKE = ("/works/", "/plot_card/", "__quarantine", "works__", "secrets__", "plot_card__")
"""Collections that are described as others are."""
CALLERS = ("public", "agency", "wrong key")


@pytest.fixture(scope="module")
def headers(town: Town) -> dict[str, dict[str, str]]:
    with engine.connect(town.database) as connection:
        key = keys.make_key(connection, AGENCY)
    return {"public": {}, "agency": {"Authorization": f"Bearer {key}"}, "wrong key": {"X-API-Key": "sdi_wrong"}}


@pytest.mark.parametrize("caller", ["public", "agency"])
def test_the_document_is_openapi(town: Town, headers: dict[str, dict[str, str]], caller: str) -> None:
    shown = {name.replace("-", "_"): value for name, value in headers[caller].items()}
    document = town.get("/openapi?f=json", **shown)
    faults = [
        f"{list(fault.absolute_path)}: {fault.message}" for fault in OpenAPIV30SpecValidator(document).iter_errors()
    ]
    assert faults == []
    assert len(document["paths"]) > 40
    own = {"/requests", "/audit"} & document["paths"].keys()
    assert own == (set() if caller == "public" else {"/requests", "/audit"}), "what is not there is not told of"


def test_the_document_tells_how_a_key_is_shown_and_where_one_is_needed(
    town: Town, headers: dict[str, dict[str, str]]
) -> None:
    document = town.get("/openapi?f=json", Authorization=headers["agency"]["Authorization"])
    known = document["components"]["securitySchemes"]
    assert {name: each["type"] for name, each in known.items()} == {
        "basic": "http", "bearer": "http", "header": "apiKey", "address": "apiKey"
    }  # fmt: skip
    assert document["security"][0] == {}
    assert {each["name"] for each in document["paths"]["/audit"]["get"]["parameters"] if "name" in each} == {
        *PARAMETERS,
        "f",
    }
    for path in ("/requests", "/audit"):
        needed = document["paths"][path]["get"]["security"]
        assert {} not in needed
        assert ({"address": []} in needed) == (path == "/audit")
    with served(town.database, town.registry, oidc_issuer="https://id.example.org", oidc_audience="sdi") as other:
        known = other.get("/openapi?f=json")["components"]["securitySchemes"]
    assert known["token"]["openIdConnectUrl"] == "https://id.example.org/.well-known/openid-configuration"


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("caller", CALLERS)
def test_every_answer_is_one_that_the_document_tells_of(
    town: Town, headers: dict[str, dict[str, str]], caller: str, mode: GenerationMode
) -> None:
    shown = {name.replace("-", "_"): value for name, value in headers.get(caller, {}).items() if caller == "agency"}
    schema = schemathesis.openapi.from_dict(town.get("/openapi?f=json", **shown))
    schema.config.generation.update(with_security_parameters=False)  # who asks is told by our headers alone
    faults: dict[str, str] = {}
    for operation in (found.ok() for found in schema.get_all_operations()):
        if any(name in operation.path for name in ALIKE):
            continue
        try:
            tried(town, operation, mode, headers[caller])
        except Unsatisfiable:
            continue  # it takes nothing that could be wrong
        except (Exception, BaseExceptionGroup) as fault:
            faults[operation.label] = f"{type(fault).__name__}: {str(fault)[:3000]}"
    assert not faults, "\n\n".join(f"{name}: {told}" for name, told in faults.items())


def tried(town: Town, operation: Any, mode: GenerationMode, headers: dict[str, str]) -> None:
    @settings(
        max_examples=EXAMPLES, derandomize="SDI_TEST_OPENAPI" not in os.environ, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        answer = case.call(base_url=town.url, headers=headers)
        # An export that is being made is a 503 that says when to come again.
        assert answer.status_code < 500 or "retry-after" in answer.headers
        case.validate_response(answer, checks=CHECKS)

    one()
