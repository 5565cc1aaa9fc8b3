"""The door in the OpenAPI document: how a caller shows who they are, and the addresses that are there only for some."""

from __future__ import annotations

from typing import Any, get_args

from sdi.access import ACTIONS, Action, Agency
from sdi.service.door.credentials import PARAMETER
from sdi.settings import Settings
from sdi.store.sharing.grants import PRECISIONS, SHARED

Node = dict[str, Any]
TEXT: Node = {"type": "string"}
MOMENT: Node = {"type": "string", "format": "date-time"}


def schemes(settings: Settings) -> Node:
    """What opens the door (`components.securitySchemes`); tokens of an issuer where one is configured."""
    known: Node = {
        "basic": {"type": "http", "scheme": "basic", "description": "The agency as user, its key as password."},
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key."},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "address": {"type": "apiKey", "in": "query", "name": PARAMETER,
                    "description": "For clients that can do nothing else: every link of the answer has it, too."},
    }  # fmt: skip
    if settings.oidc_issuer:
        url = f"{settings.oidc_issuer.rstrip('/')}/.well-known/openid-configuration"
        told = "As Bearer, a token for this service of an account that acts for an agency."
        known["token"] = {"type": "openIdConnect", "openIdConnectUrl": url, "description": told}
    return known


def security(known: Node, *, public: bool = True, address: bool = True) -> list[Node]:
    """Each of the schemes alone is enough, and where the public may come, none. `address`: also one in the address."""
    shown: list[Node] = [{name: []} for name in known if address or name != "address"]
    return [{}, *shown] if public else shown


def paths(known: Node, agency: Agency, *, collects: bool) -> dict[str, Any]:
    """The addresses that are there for an agency, which `collects` layers or not; to the public there are none."""
    if agency.public:
        return {}
    within = {"tags": ["server"], "security": security(known, public=False, address=False)}
    found: Node = {"/requests": {"get": _requests() | within, "post": _ask() | within}}
    if collects:
        found["/audit"] = {"get": _trail() | {"tags": ["server"], "security": security(known, public=False)}}
    return found


def _parameter(name: str, schema: Node) -> Node:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _common() -> list[Node]:
    return [_parameter("f", {"type": "string", "enum": ["json", "html"], "default": "json"}),
            {"$ref": "#/components/parameters/lang"}]  # fmt: skip


def _answered(description: str, schema: Node) -> Node:
    content = {"application/json": {"schema": schema}, "text/html": {"schema": TEXT}}
    return {"200": {"description": description, "content": content}}


def _object(required: str, **properties: Node) -> Node:
    return {"type": "object", "required": required.split(), "properties": properties}


def _words(known: tuple[str, ...]) -> Node:
    return {"type": "array", "minItems": 1, "items": {"type": "string", "enum": [*known]}}


def _requests() -> Node:
    maybe = TEXT | {"nullable": True}
    request = _object(
        "request_id agency layer classes actions purpose legal_basis asked_at due overdue answer to_answer",
        request_id={"type": "integer"}, agency=TEXT, layer=TEXT, classes=_words(SHARED),
        actions=_words(get_args(Action)),
        communes={"type": "array", "items": TEXT, "nullable": True}, purpose=TEXT, legal_basis=TEXT,
        asked_at=MOMENT, due=MOMENT, overdue={"type": "boolean"},
        answer={"type": "string", "enum": ["granted", "narrowed", "refused", None], "nullable": True},
        answered_at=MOMENT | {"nullable": True}, why=maybe, grant_id={"type": "integer", "nullable": True},
        to_answer={"type": "boolean", "description": "Whether it waits for an answer of who asks."},
    )  # fmt: skip
    schema = _object("requests", requests={"type": "array", "items": request})
    said: Node = {"type": "string", "enum": ["true", "false"], "default": "false"}
    return {
        "operationId": "getRequests", "summary": "Requests for layers: one's own, and those that one answers",
        "parameters": [
            _parameter("all", said) | {"description": "Also those that have an answer."},
            _parameter("overdue", said) | {"description": "Only those without an answer at the end of the second "
                                           "working day, and with `all` those that were answered after it."},
            *_common(),
        ],
        "responses": _answered("Requests", schema),
    }  # fmt: skip


def _ask() -> Node:
    about: Node = {
        "class": _words(SHARED), "action": _words(ACTIONS),
        "communes": TEXT | {"description": "Codes of administrative units, with commas or blanks between."},
    }  # fmt: skip
    number: Node = {"type": "integer", "minimum": 1}

    def does(word: str) -> Node:
        return {"type": "string", "enum": [word]}

    ask = _object("do layer purpose legal_basis", do=does("ask"), purpose=TEXT, legal_basis=TEXT, **about, layer={
        "type": "string", "pattern": "^[a-z][a-z0-9_]{0,54}$",
        "description": "The answer is the same whether or not there is a layer with this id.",
    })  # fmt: skip
    grant = _object(
        "do request", do=does("grant"), request=number, **about, attributes=TEXT, why=TEXT,
        precision={"type": "string", "enum": [*PRECISIONS]},
        metres=TEXT | {"description": "The step of the grid of a generalised place."},
        rows=TEXT | {"description": "CQL2 text that a feature must fulfil."}, to={"type": "string", "format": "date"},
    )  # fmt: skip
    refuse = _object("do request why", do=does("refuse"), request=number,
                     why=TEXT | {"description": "The legal ground."})  # fmt: skip
    body = {"application/json": {"schema": {"oneOf": [ask, grant, refuse]}}}
    done = {"application/json": {"schema": _object("request", request={"type": "integer"})}}
    return {
        "operationId": "postRequest", "summary": "Ask for a layer, or answer who asked", "parameters": [],
        "requestBody": {"required": True, "content": body},
        "responses": {"200": {"description": "The number of the request", "content": done},
                      "403": {"$ref": "#/components/responses/Problem"}},
    }  # fmt: skip


def _trail() -> Node:
    told: Node = {"layer": TEXT, "feature": TEXT, "agency": TEXT, "from": MOMENT, "to": MOMENT,
                  "before": {"type": "integer", "minimum": 1}, "limit": {"type": "integer", "minimum": 1}}  # fmt: skip
    links: Node = {"type": "array", "items": {"$ref": "#/components/schemas/link"}}
    entry = _object("seq recordedAt kind action", seq={"type": "integer"}, recordedAt=MOMENT, kind=TEXT, action=TEXT)
    page = _object("entries links", entries={"type": "array", "items": entry}, links=links)
    return {
        "operationId": "getAudit", "summary": "Who read and changed the layers that one collects",
        "parameters": [*(_parameter(name, schema) for name, schema in told.items()), *_common()],
        "responses": _answered("Entries of the audit trail, the newest first", page),
    }  # fmt: skip
