"""Webhooks against real HTTP and HTTPS servers: what they are told, by whom, and what is never called."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sdi.access import Grant
from sdi.cli.app import Desk, app
from sdi.errors import NotFound, UsageError
from sdi.service.feed import call, deliver
from sdi.service.feed.call import Allowed
from sdi.store import engine
from sdi.store.feed import webhooks
from sdi.store.sharing import grants
from tests.service.conftest import TOWN
from tests.service.feed.conftest import KEY, PLANNERS, Changing

PLOT, HIDDEN = "00004.1.1", "00004.1.7"
LOCAL = ("localhost", "127.0.0.0/8", "::1/128")


class Receiver:
    """A server that keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.paths.append(self.path)
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?a=1"

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as found:
        yield found


@pytest.fixture
def hook(changing: Changing, receiver: Receiver) -> Iterator[tuple[int, bytes]]:
    """A webhook of the planners that has begun."""
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        made = webhooks.add(owner, PLANNERS, "plots", receiver.url)
        assert [outcome.told for outcome in rounds(changing)] == [None]
        assert receiver.got == [], "what was there before is no news"
        yield made
        webhooks.remove(owner, made[0])


def rounds(changing: Changing, hosts: tuple[str, ...] = LOCAL, *, plain: bool = True) -> list[deliver.Outcome]:
    town = changing.town
    settings = town.settings.model_copy(update={"webhook_hosts": hosts, "webhook_http": plain})
    with (
        engine.connect(town.database, engine.OWNER) as owner,
        engine.connect(town.database, engine.STEWARD) as reader,
    ):
        return list(deliver.deliver(owner, reader, town.registry, settings))


def at_once(changing: Changing) -> None:
    """Let the pause after a failed call be over."""
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        owner.execute("UPDATE sdi.webhook SET next_at = NULL")


def test_a_load_is_told_once_signed_and_leads_to_the_changes(
    changing: Changing, receiver: Receiver, hook: tuple[int, bytes]
) -> None:
    changing.change(**{PLOT: {"height": 3.25}})
    assert [(outcome.told, outcome.words) for outcome in rounds(changing)] == [(True, "204")]
    assert [outcome.told for outcome in rounds(changing)] == [None]
    ((headers, body),) = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(hook[1], signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    told = json.loads(body)
    assert told["type"] == "changes.available"
    assert (told["data"]["collection"], told["data"]["agency"]) == ("plots", PLANNERS)
    assert (told["data"]["count"], told["data"]["more"]) == (1, False)
    assert "3.25" not in body.decode(), "no feature is in it"
    path = told["data"]["changes"].removeprefix(changing.town.url)
    (change,) = changing.ask(path, KEY).json["changes"]
    assert change["feature"]["properties"]["height"] == 3.25
    assert receiver.paths == ["/hook?a=1"]


def test_of_what_is_hidden_nobody_is_called(
    changing: Changing, receiver: Receiver, hook: tuple[int, bytes]
) -> None:  # fmt: skip
    changing.change(**{PLOT: {"hidden_note": "mới"}, HIDDEN: {"height": 99.5}})
    assert [outcome.told for outcome in rounds(changing)] == [None]
    assert receiver.got == []


def test_a_grant_is_news_and_its_end_too(changing: Changing, receiver: Receiver, hook: tuple[int, bytes]) -> None:
    whole = Grant(0, PLANNERS, "plots", frozenset({"open", "agency", "restricted"}))
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        number = grants.give(owner, changing.town.registry["plots"], whole)
        assert [outcome.told for outcome in rounds(changing)] == [True]
        grants.revoke(owner, number, by="test", why="test")
        assert [outcome.told for outcome in rounds(changing)] == [True]
    first, second = (json.loads(body) for _, body in receiver.got)
    assert first["type"] == second["type"] == "changes.available"
    assert first["data"]["count"] == second["data"]["count"] > 1
    # The rule has come back meanwhile: from the first call's place nothing is new, from the second's all of it.
    followed(changing, first, lambda changes: changes == [])
    followed(changing, second, lambda changes: HIDDEN in {each["id"] for each in changes if each["action"] == "delete"})


def followed(changing: Changing, told: dict[str, Any], until: Callable[[list[Any]], bool]) -> None:
    """Ask where a call leads to until the service has heard of the rule that holds."""
    path, ends = told["data"]["changes"].removeprefix(changing.town.url), time.monotonic() + 60
    while not until(changing.ask(f"{path}&limit=1000", KEY).json["changes"]):
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_a_failed_call_is_made_again_as_the_same_message_and_given_up_in_the_end(
    changing: Changing, receiver: Receiver, hook: tuple[int, bytes]
) -> None:
    receiver.status = 500
    changing.change(**{PLOT: {"height": 4.25}})
    assert [(outcome.told, outcome.words) for outcome in rounds(changing)] == [(False, "500")]
    assert rounds(changing) == [], "it waits"
    at_once(changing)
    receiver.status = 200
    assert [outcome.told for outcome in rounds(changing)] == [True]
    first, second = receiver.got
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert json.loads(first[1])["data"] == json.loads(second[1])["data"]
    receiver.status = 302
    changing.change(**{PLOT: {"height": 5.25}})
    assert [(outcome.told, outcome.words) for outcome in rounds(changing)] == [(False, "302")]
    assert "/elsewhere" not in receiver.paths, "nothing is followed"
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        owner.execute("UPDATE sdi.webhook SET next_at = NULL, failing_since = now() - interval '6 days'")
        assert [outcome.told for outcome in rounds(changing)] == [False]
        (found,) = webhooks.listed(owner)
        assert found.gave_up_at is not None
        assert (found.outcome, found.attempts) == ("302", 2)
        assert rounds(changing) == []
        webhooks.resume(owner, hook[0])
    receiver.status = 200
    assert [outcome.told for outcome in rounds(changing)] == [True]


def test_who_may_no_longer_be_called_is_not(
    changing: Changing, receiver: Receiver, hook: tuple[int, bytes]
) -> None:  # fmt: skip
    changing.change(**{PLOT: {"height": 6.25}})
    for hosts, plain, words in (((), True, "host not allowed"), (LOCAL, False, "host not allowed")):
        at_once(changing)
        assert [(each.told, each.words) for each in rounds(changing, hosts, plain=plain)] == [(False, words)]
    assert receiver.got == []


@pytest.mark.parametrize(
    "url",
    ["https://example.org/", "http://hooks.example.org/", "https://hooks.example.org@evil.example/", "ftp://x/",
     "https://u:p@hooks.example.org/", "https://hooks.example.org:99999/", "https://hooks.example.org/a b", "https://",
     "https://10.0.0.1/", "https://[::ffff:127.0.0.1]/", "https://2130706433/", "https://hooks.example.org.evil/",
     "https://hooks.example.org/#x", "https://hooks.example.org/\r\nHost: x"],
)  # fmt: skip
def test_what_is_not_on_the_list_is_no_address(url: str) -> None:
    with pytest.raises(UsageError):
        Allowed.of(["hooks.example.org", "192.0.2.0/24"], plain=False).checked(url)
    assert not call.post(Allowed.of(["hooks.example.org"], plain=False), url, b"s" * 32, "m", 0, b"{}")[0]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "169.254.169.254", "10.1.2.3", "::ffff:10.1.2.3"])
def test_a_name_that_leads_inside_is_not_called_unless_its_network_is_named(name: str, receiver: Receiver) -> None:
    by_name = Allowed(frozenset([name]), (), plain=True)
    assert by_name.addresses(name, 80) == []
    assert Allowed.of([name, "127.0.0.0/8", "::1/128", "169.254.0.0/16", "10.0.0.0/8"], plain=True).addresses(name, 80)
    port = receiver.server.server_port
    allowed = Allowed.of(["localhost"], plain=True)
    assert call.post(allowed, f"http://localhost:{port}/", b"s" * 32, "m", 0, b"{}") == (False, "address not allowed")
    assert receiver.got == []


def test_pauses_grow_to_a_longest_and_differ() -> None:
    assert deliver.pause(0, lambda: 1.0) == timedelta(seconds=10)
    assert deliver.pause(0, lambda: 0.0) == timedelta(seconds=5)
    assert deliver.pause(3, lambda: 1.0) == timedelta(seconds=80)
    assert deliver.pause(10_000, lambda: 1.0) == timedelta(hours=6)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_https_is_checked_against_the_name_though_the_address_is_what_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    receiver = Receiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    allowed = Allowed.of(["localhost", "127.0.0.0/8", "::1/128"], plain=False)
    monkeypatch.setattr(Allowed, "addresses", lambda *_: ["127.0.0.1"])  # this machine may know localhost as ::1 first
    with receiver.running():
        port = receiver.server.server_port
        url = f"https://localhost:{port}/"
        assert call.post(allowed, url, b"s" * 32, "m", 0, b"{}") == (False, "TLS failed"), "nobody vouches for it"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert call.post(allowed, url, b"s" * 32, "m", 0, b"{}") == (True, "204")
        assert call.post(allowed, f"https://127.0.0.1:{port}/", b"s" * 32, "m", 0, b"{}") == (False, "TLS failed")
    assert len(receiver.got) == 1
    assert receiver.got[0][0]["host"] == f"localhost:{port}"


def test_by_the_terminal(changing: Changing, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDI_DATABASE_URL", changing.town.database)
    monkeypatch.setenv("SDI_LAYERS", str(TOWN))
    monkeypatch.setenv("SDI_WEBHOOK_HOSTS", ",".join(LOCAL))
    monkeypatch.setenv("SDI_WEBHOOK_HTTP", "true")

    def terminal(*words: str) -> Result:
        return CliRunner().invoke(app, ["webhooks", *words], obj=Desk("en"))

    hidden = terminal("add", PLANNERS, "secrets", receiver.url)
    assert isinstance(hidden.exception, NotFound), "what they may not see is not there"
    made = terminal("add", PLANNERS, "plots", receiver.url)
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("whsec_")
    assert terminal("deliver").exit_code == 0
    changing.change(**{PLOT: {"height": 7.25}})
    assert terminal("deliver").exit_code == 0
    assert len(receiver.got) == 1
    (found,) = json.loads(terminal("list", "--json").stdout)
    assert (found["agency"], found["outcome"]) == (PLANNERS, "204")
    assert "secret" not in found
    assert terminal("remove", str(found["webhook_id"])).exit_code == 0
    assert json.loads(terminal("list", "--json").stdout) == []
