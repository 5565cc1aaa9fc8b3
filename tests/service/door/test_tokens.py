"""Tokens of a real OpenID Connect issuer: its discovery, its keys, its signatures; and everything that is not one."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import oidc_provider_mock
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sdi.errors import SettingError
from sdi.service.door import tokens
from sdi.service.door.tokens import Bearer, Tokens
from sdi.settings import Settings, read_settings
from sdi.store import engine
from sdi.store.sharing import agencies
from tests.service.conftest import Town, served

STEWARD, OFFICER = "so_thu", "can.bo@so-thu.example"
AUDIENCE = "sdi-of-the-city"
BACK = "https://client.example/back"
USERS = [
    oidc_provider_mock.User(sub=OFFICER, claims={"agency": STEWARD, "roles": {"city": ["/so-thu", "/khach"]}}),
    oidc_provider_mock.User(sub="both", claims={"agency": [STEWARD, "so_token"], "roles": {"city": ["/a", "/b"]}}),
    oidc_provider_mock.User(sub="nobody", claims={}),
    oidc_provider_mock.User(sub="unknown", claims={"agency": "so_khong_co"}),
    oidc_provider_mock.User(sub="public", claims={"agency": "public"}),
]


@dataclass
class Issuer:
    """A provider that runs on a port of this machine."""

    port: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def token(self, subject: str = OFFICER, audience: str = AUDIENCE, host: str = "localhost") -> str:
        """An ID token by the authorization code flow, as a person would get it. `host`: by which name it is asked."""
        asked = {"client_id": audience, "redirect_uri": BACK, "response_type": "code", "scope": "openid"}
        place = self._ask(host, f"/oauth2/authorize?{urlencode(asked)}", {"sub": subject})[0]["Location"]
        code = parse_qs(urlsplit(place).query)["code"][0]
        given = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "client_id": audience}
        _, body = self._ask(host, "/oauth2/token", {**given, "client_secret": "any"})
        return str(json.loads(body)["id_token"])

    def _ask(self, host: str, path: str, form: dict[str, str]) -> tuple[Any, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": f"{host}:{self.port}"}
        connection.request("POST", path, urlencode(form), headers)
        answer = connection.getresponse()
        assert answer.status in (200, 302), answer.read()
        return answer.headers, answer.read()

    def settings(self, **said: Any) -> Settings:
        return Settings(**({"oidc_issuer": self.url, "oidc_audience": AUDIENCE} | said))


def running(port: int = 0, **said: Any) -> Any:
    return oidc_provider_mock.run_server_in_thread(port, user_claims=USERS, **said)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running() as server:
        yield Issuer(server.server_port)


@pytest.fixture(scope="module")
def held(issuer: Issuer) -> str:
    return issuer.token()


def test_a_token_tells_the_agency_and_the_person(issuer: Issuer, held: str) -> None:
    assert Tokens(issuer.settings()).read(held) == Bearer(STEWARD, OFFICER)


def test_the_service_takes_it_as_bearer_and_as_password_but_not_from_the_address(
    town: Town, issuer: Issuer, held: str
) -> None:
    with engine.connect(town.database, engine.OWNER) as connection:
        agencies.add(connection, "so_token", "department", "Sở", "Department")
    own = "plots__findings"
    with served(town.database, town.registry, oidc_issuer=issuer.url, oidc_audience=AUDIENCE) as at:
        for user, known in ((STEWARD, True), ("so_token", False)):
            basic = base64.b64encode(f"{user}:{held}".encode()).decode()
            assert (at.ask("/collections", Authorization=f"Basic {basic}").status == 200) is known
        answer = at.ask("/collections?f=json", Authorization=f"Bearer {held}")
        assert own in {each["id"] for each in answer.json["collections"]}
        assert answer.headers["Cache-Control"].startswith("private")
        refused = [at.ask(f"/collections?key={held}"), at.ask("/collections", Authorization=f"Bearer {held}x")]
        refused += [
            at.ask("/collections", Authorization=f"Bearer {issuer.token(who)}") for who in ("unknown", "public")
        ]
        assert {answer.status for answer in refused} == {401}
    # Where no issuer is named, a token is a wrong key.
    assert town.ask("/collections", Authorization=f"Bearer {held}").status == 401


def test_a_claim_is_mapped_to_an_agency_as_the_settings_say(issuer: Issuer, held: str) -> None:
    def read(token: str, **said: Any) -> Bearer | None:
        return Tokens(issuer.settings(**said)).read(token)

    mapped = {"/so-thu": STEWARD, "/a": "so_a", "/b": "so_b", "/c": "so_a"}
    assert read(held, oidc_claim="roles.city", oidc_agencies=mapped) == Bearer(STEWARD, OFFICER)
    assert read(held, oidc_claim="roles.country", oidc_agencies=mapped) is None
    both = issuer.token("both")
    assert read(both, oidc_claim="roles.city", oidc_agencies=mapped) is None
    assert read(both, oidc_claim="roles.city", oidc_agencies=mapped | {"/b": "so_a"}) == Bearer("so_a", "both")
    assert read(both) is None
    assert read(issuer.token("nobody")) is None


def test_a_token_for_somebody_else_or_of_somebody_else_opens_nothing(issuer: Issuer) -> None:
    read = Tokens(issuer.settings()).read
    assert read(issuer.token(audience="another-service")) is None
    # The same key, but the provider calls itself otherwise.
    assert read(issuer.token(host="127.0.0.1")) is None


def test_a_token_ends_when_it_says_but_for_the_clocks_difference(issuer: Issuer) -> None:
    with running(access_token_max_age=timedelta(seconds=-20)) as server:
        late = Issuer(server.server_port)
        token = late.token()
        assert Tokens(late.settings(oidc_leeway=600)).read(token) == Bearer(STEWARD, OFFICER)
        assert Tokens(late.settings(oidc_leeway=0)).read(token) is None


def altered(token: str, header: dict[str, Any], claims: dict[str, Any] | None = None) -> str:
    """The same token with another header and other claims, and its old signature."""
    parts = token.split(".")
    for place, change in ((0, header), (1, claims or {})):
        told = json.loads(base64.urlsafe_b64decode(parts[place] + "==")) | change
        parts[place] = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
    return ".".join(parts)


def test_a_forged_token_opens_nothing(issuer: Issuer, held: str) -> None:
    read = Tokens(issuer.settings()).read
    assert read(held) is not None
    header, claims = jwt.get_unverified_header(held), jwt.decode(held, options={"verify_signature": False})
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwks_of(issuer)["keys"][0]
    pem = jwt.PyJWK(public).key.public_bytes(*_pem())
    forged = [
        altered(held, {}, {"agency": "so_token"}),
        altered(held, {"alg": "none"}).rpartition(".")[0] + ".",
        jwt.encode(claims, None, algorithm="none", headers={"kid": header["kid"]}),
        hmac_token(claims, pem, header["kid"]),
        hmac_token(claims, public["n"].encode(), header["kid"]),
        jwt.encode(claims, own, algorithm="RS256", headers={"kid": header["kid"]}),
        jwt.encode(claims, own, algorithm="RS256", headers={"kid": "made-up"}),
        jwt.encode(claims, own, algorithm="RS256"),
        jwt.encode(claims, own, algorithm="RS256", headers={"kid": "x", "jku": f"{issuer.url}/jwks", "jwk": public}),
        altered(held, {"alg": "PS256"}),
        altered(held, {"alg": ["RS256"]}),
        altered(held, {"kid": {}}),
        altered(held, {"crit": ["exp"]}),
        "a.b.c", "..", "....", held + ".x",
    ]  # fmt: skip
    assert [token for token in forged if read(token) is not None] == []


def _pem() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives import serialization

    return serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo


def hmac_token(claims: dict[str, Any], secret: bytes, kid: str) -> str:
    """A token signed with what everybody knows; libraries refuse to make it, so it is made by hand."""
    import hashlib
    import hmac

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    said = f"{part(json.dumps({'alg': 'HS256', 'kid': kid}).encode())}.{part(json.dumps(claims).encode())}"
    return f"{said}.{part(hmac.digest(secret, said.encode(), hashlib.sha256))}"


def jwks_of(issuer: Issuer) -> Any:
    connection = HTTPConnection("127.0.0.1", issuer.port, timeout=60)
    connection.request("GET", "/jwks")
    return json.loads(connection.getresponse().read())


def test_hmac_is_not_even_a_setting() -> None:
    for name in ("HS256", "none", "RS256,HS512", ""):
        with pytest.raises(ValueError, match="RS256, PS256"):
            Settings(oidc_algorithms=name)  # type: ignore[arg-type]


def test_new_keys_are_fetched_when_they_are_used_and_withdrawn_ones_open_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(port) as server:
        at = Issuer(server.server_port)
        known = Tokens(at.settings())
        old = at.token()
        assert known.read(old) is not None
    assert known.read(old) is not None, "while the issuer is away its last keys stand"
    with running(port):
        new = at.token()
        assert known.read(new) is None, "an unknown key is looked up at most so often"
        monkeypatch.setattr(tokens, "AGAIN", 0.0)
        assert known.read(new) is not None
        assert known.read(old) is None


@pytest.fixture
def elsewhere(issuer: Issuer) -> Iterator[tuple[str, list[str]]]:
    """A host that sends on to the issuer's keys, or says that its own are elsewhere; and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/sent-on":
                self.send_response(302)
                self.send_header("Location", f"{issuer.url}/jwks")
                self.end_headers()
                return
            host, port = self.server.server_address[:2]
            told = {"issuer": f"http://{host!s}:{port}", "jwks_uri": f"http://localhost:{port}/keys"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(jwks_of(issuer) if self.path == "/keys" else told).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_keys_come_from_the_issuers_own_host_and_by_no_redirect(
    issuer: Issuer, held: str, elsewhere: tuple[str, list[str]]
) -> None:
    host, asked = elsewhere
    read = [Tokens(issuer.settings(oidc_jwks=f"{host}{path}")).read(held) for path in ("/keys", "/sent-on", "/nothing")]
    assert read == [Bearer(STEWARD, OFFICER), None, None]
    asked.clear()
    of_it = altered(held, {}, {"iss": host})
    assert Tokens(Settings(oidc_issuer=host, oidc_audience=AUDIENCE)).read(of_it) is None
    assert asked == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    "said",
    [
        {"OIDC_ISSUER": "http://sso.example.vn", "OIDC_AUDIENCE": "x"},
        {"OIDC_ISSUER": "file:///etc/passwd", "OIDC_AUDIENCE": "x"},
        {"OIDC_ISSUER": "https://sso.example.vn"},
        {"OIDC_JWKS": "http://10.0.0.1/keys"},
        {"OIDC_AGENCIES": "[1]"},
    ],
)
def test_a_wrong_setting_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, said: dict[str, str]) -> None:
    for name, value in said.items():
        monkeypatch.setenv(f"SDI_{name}", value)
    with pytest.raises(SettingError, match="SDI_OIDC_"):
        read_settings()
