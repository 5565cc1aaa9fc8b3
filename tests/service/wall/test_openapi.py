"""The OpenAPI document keeps to OpenAPI, and the service to its OpenAPI document, whoever asks.

Requests are made from the document, right ones and wrong ones, and each answer is held against it: no 5xx, no status,
content type, header or body that it does not tell of. A key is shown in each of the ways that there are, by agencies
that see all, some rows, attributes and places, or their own layers, and by ones whose key opens nothing any more. What
is tried is the same each time; SDI_TEST_OPENAPI=200 makes so many requests an operation, other ones each time.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any

import pytest
import schemathesis
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import validate
from openapi_spec_validator import OpenAPIV30SpecValidator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sdi.access import ACTIONS, WRITING, Grant
from sdi.national import vn2000
from sdi.service.audit.page import PARAMETERS
from sdi.store import engine
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import CORNER, SIZE, Town, served

LONG = "SDI_TEST_OPENAPI" in os.environ
EXAMPLES = int(os.environ.get("SDI_TEST_OPENAPI", "2"))
CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance,
          response_schema_conformance]  # fmt: skip
ALIKE = ("/works/", "/plot_card/", "__quarantine", "works__", "secrets__", "plot_card__")
"""Collections that are described as others are."""
STEWARD, WHOLE, ROWS, PLACES, GONE = "so_thu", "so_ca", "phuong_dong", "phuong_diem", "so_het"
SEEING = {"steward": (STEWARD, "bearer"), "all": (WHOLE, "basic"), "some rows and attributes": (ROWS, "header"),
          "some ground, coarsely": (PLACES, "address")}  # fmt: skip
"""What is seen besides what everybody sees: by which agency, and how its key is shown."""
CALLERS = ("nobody", *SEEING)
REFUSED = {"revoked": "basic", "expired": "header", "wrong": "bearer", "wrong in the address": "address"}


def asked() -> Iterator[tuple[str, GenerationMode]]:
    """Who sends what is right, and who what is wrong: where few are tried, not everybody both."""
    right, wrong = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
    for who in CALLERS:
        if who != "some ground, coarsely" or LONG:
            yield who, right
        if who in ("nobody", "steward", "some ground, coarsely") or LONG:
            yield who, wrong


@dataclass(frozen=True)
class Caller:
    """What a client sends with each request, and the secret in it."""

    headers: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    secret: str = ""

    @classmethod
    def showing(cls, way: str, agency: str, key: str) -> Caller:
        match way:
            case "bearer":
                return cls({"Authorization": f"Bearer {key}"}, {}, key)
            case "basic":
                told = b64encode(f"{agency}:{key}".encode()).decode()
                return cls({"Authorization": f"Basic {told}"}, {}, key)
            case "header":
                return cls({"X-API-Key": key}, {}, key)
        return cls({}, {"key": key}, key)

    def document(self, town: Town) -> Any:
        """The OpenAPI document as it is for them."""
        address = "/openapi?f=json" + "".join(f"&{name}={value}" for name, value in self.parameters.items())
        return town.get(address, **{name.replace("-", "_"): value for name, value in self.headers.items()})


@pytest.fixture(scope="module")
def callers(town: Town) -> Iterator[dict[str, Caller]]:
    with engine.connect(town.database, engine.OWNER) as owner:
        known = {each.id for each in agencies.entries(owner)}
        for name in {STEWARD, WHOLE, ROWS, PLACES, GONE} - known:
            agencies.add(owner, name, "department", f"Cơ quan {name}", f"Agency {name}")
        for grant in granted():
            grants.give(owner, town.registry[grant.layer], grant)
        made = {name: keys.make_key(owner, name) for name in (STEWARD, WHOLE, ROWS, PLACES, GONE)}
        keys.revoke(owner, GONE)
        ended = keys.make_key(owner, GONE, expires_at=datetime.now(UTC) + timedelta(milliseconds=1))
        found = {"nobody": Caller()}
        found |= {who: Caller.showing(way, name, made[name]) for who, (name, way) in SEEING.items()}
        nothing = {"revoked": made[GONE], "expired": ended}
        found |= {who: Caller.showing(way, GONE, nothing.get(who, "sdi_wrong")) for who, way in REFUSED.items()}
        for who in [*SEEING][1:]:
            heard(town, found[who])
        yield found
        for name in (WHOLE, ROWS, PLACES):
            grants.revoke_all(owner, name, "end of the tests")
        for name in (STEWARD, WHOLE, ROWS, PLACES):
            keys.revoke(owner, name)


def granted() -> Iterator[Grant]:
    """All that is to be seen; of two layers some rows and one attribute; of two some ground, on a grid, and counted."""
    why: dict[str, Any] = {"legal_basis": "Luật thử", "purpose": "Kiểm thử"}
    classes = frozenset({"open", "agency", "restricted"})
    box = shapely.box(CORNER[0] - 10, CORNER[1] - 10, CORNER[0] + 4.5 * SIZE, CORNER[1] + 130)
    ground = shapely.transform(box, lambda xy: vn2000.to_wgs84(xy, 5897))
    for layer in ("plots", "works", "plot_card", "secrets", "ground"):
        yield Grant(0, WHOLE, layer, classes=classes, actions=frozenset(ACTIONS) - WRITING, **why)
    yield Grant(0, ROWS, "plots", classes=classes, attributes=("key", "hidden_note"), rows="number > 20", **why)
    yield Grant(0, ROWS, "secrets", classes=classes, rows="name = 'b'", **why)
    for layer in ("plots", "secrets"):
        yield Grant(0, PLACES, layer, classes=classes, polygon=shapely.to_geojson(ground), precision="generalised",
                    metres=50.0, actions=frozenset({"read", "statistics"}), **why)  # fmt: skip


def heard(town: Town, caller: Caller) -> None:
    """Wait until the service knows of a grant: it looks by itself as soon as the store tells of one."""
    ends = time.monotonic() + 60
    while "/collections/secrets/items" not in caller.document(town)["paths"]:
        assert time.monotonic() < ends, "the grant is not heard of"
        time.sleep(0.05)


@pytest.mark.parametrize("who", CALLERS)
def test_the_document_is_openapi(town: Town, callers: dict[str, Caller], who: str) -> None:
    document = callers[who].document(town)
    faults = [
        f"{list(fault.absolute_path)}: {fault.message}" for fault in OpenAPIV30SpecValidator(document).iter_errors()
    ]
    assert faults == []
    assert len(document["paths"]) > 40
    own = {"/requests", "/audit"} & document["paths"].keys()
    expected = {"nobody": set(), "steward": {"/requests", "/audit"}}.get(who, {"/requests"})
    assert own == expected, "what is not there is not told of"


def test_the_document_tells_how_a_key_is_shown_and_where_one_is_needed(town: Town, callers: dict[str, Caller]) -> None:
    document = callers["steward"].document(town)
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


@pytest.mark.parametrize(("who", "mode"), [*asked()])
def test_every_answer_is_one_that_the_document_tells_of(
    town: Town, callers: dict[str, Caller], who: str, mode: GenerationMode
) -> None:
    faults = faults_of(town, callers[who].document(town), callers[who], mode)
    assert not faults, "\n\n".join(f"{name}: {told}" for name, told in faults.items())


def test_an_event_of_a_stream_is_as_the_document_tells(town: Town, callers: dict[str, Caller]) -> None:
    """Few requests are made for a stream by chance."""
    content = callers["nobody"].document(town)["components"]["responses"]["Changes"]["content"]
    connection = HTTPConnection(town.url.removeprefix("http://"), timeout=60)
    connection.request("GET", "/collections/plots/changes?f=events&limit=2")
    answer = connection.getresponse()
    lines: list[str] = []
    while not any(line.startswith("data: ") for line in lines):
        lines.append(answer.readline().decode())
    connection.close()
    event = dict(line.rstrip("\n").split(": ", 1) for line in lines if line.startswith(("id: ", "event: ", "data: ")))
    assert event.keys() == {"id", "event", "data"}
    validate(event, content["text/event-stream"]["schema"])


@pytest.mark.parametrize("who", REFUSED)
def test_a_key_that_opens_nothing_is_told_so_whatever_is_asked(
    town: Town, callers: dict[str, Caller], who: str
) -> None:
    document = callers["steward"].document(town)
    faults = faults_of(town, document, callers[who], GenerationMode.POSITIVE, refused=True)
    assert not faults, "\n\n".join(f"{name}: {told}" for name, told in faults.items())


def faults_of(
    town: Town, document: Any, caller: Caller, mode: GenerationMode, *, refused: bool = False
) -> dict[str, str]:  # fmt: skip
    """By operation, what is not as the document tells."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.generation.update(with_security_parameters=False)  # who asks is told by our callers alone
    faults: dict[str, str] = {}
    for operation in (found.ok() for found in schema.get_all_operations()):
        if any(name in operation.path for name in ALIKE):
            continue
        try:
            tried(town, operation, mode, caller, refused=refused)
        except Unsatisfiable:
            continue  # it takes nothing that could be wrong
        except (Exception, BaseExceptionGroup) as fault:
            faults[operation.label] = f"{type(fault).__name__}: {str(fault)[:3000]}"
    return faults


def tried(town: Town, operation: Any, mode: GenerationMode, caller: Caller, *, refused: bool) -> None:
    @settings(
        max_examples=1 if refused else EXAMPLES, derandomize=not LONG, database=None,
        deadline=None, suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        answer = case.call(base_url=town.url, headers=caller.headers, params=caller.parameters)
        # An export that is being made is a 503 that says when to come again.
        assert answer.status_code < 500 or "retry-after" in answer.headers
        assert not refused or answer.status_code == 401
        case.validate_response(answer, checks=CHECKS)
        # What a header showed stands in no answer: only who can do nothing else gets it back, in links.
        assert not caller.headers or caller.secret.encode() not in answer.content

    one()
