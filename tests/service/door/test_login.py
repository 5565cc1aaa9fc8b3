"""The service with a login of its own: all of it works, and the login can do nothing else."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner

from sdi import diagnosis
from sdi.access import Grant
from sdi.cli.app import Desk, app
from sdi.errors import UsageError
from sdi.settings import Settings
from sdi.store import engine
from sdi.store.audit import search
from sdi.store.audit.search import Wanted
from sdi.store.logins import service
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import TOWN, Town, served

PASSWORD = "only-of-these-tests-' %s"
PATIENCE = 60.0
ADMIN, OFFICE = "phong_dang_nhap", "so_thu"
"""An agency that administers, and the steward of the town's plots."""


@dataclass
class Deployed:
    """The town served with the login, which `own` is the URL of; `root`: a superuser's connection."""

    town: Town
    own: str
    root: engine.Connection
    keys: dict[str, str]

    @property
    def login(self) -> str:
        return str(conninfo_to_dict(self.own)["user"])

    def basic(self, who: str) -> str:
        return "Basic " + base64.b64encode(f"{who}:{self.keys[who]}".encode()).decode()


def until[T](look: Callable[[], T]) -> T:
    """What a look finds, once it finds something."""
    began = time.monotonic()
    while not (found := look()):
        assert time.monotonic() - began < PATIENCE, "it did not come"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def deployed(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    name = f"t_web_{uuid.uuid4().hex[:8]}"
    own = make_conninfo(town.database, user=name, password=PASSWORD)
    plots = town.registry["plots"]
    with engine.connect(town.database) as root:
        assert service.bring(root, own) == name
        agencies.add(root, ADMIN, "department", "Phòng Đăng nhập", "Logins")
        agencies.set_administrator(root, ADMIN, True)
        shown = {who: keys.make_key(root, who, name="Trần Thử") for who in (ADMIN, OFFICE)}
        legal = {"legal_basis": "Luật thử", "purpose": "thử"}
        grants.give(root, plots, Grant(0, ADMIN, "plots", classes=frozenset({"open", "agency"}), **legal))
        with served(own, town.registry, data=tmp_path_factory.mktemp("own")) as at:
            yield Deployed(at, own, root, shown)
        agencies.set_administrator(root, ADMIN, False)
        grants.revoke_all(root, ADMIN, "end of the tests")
        for who in (ADMIN, OFFICE):
            keys.revoke(root, who)
        root.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_its_password_is_kept_as_scram_has_it(deployed: Deployed) -> None:
    kept = deployed.root.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [deployed.login]).fetchone()
    assert kept is not None
    assert kept[0].startswith("SCRAM-SHA-256$")
    with psycopg.connect(deployed.own) as connection:
        assert connection.execute("SELECT session_user::text").fetchone() == (deployed.login,)


def test_everybodys_page_and_an_agencys_are_served(deployed: Deployed) -> None:
    everybody = deployed.town.get("/collections/plots/items?f=json&limit=1")["features"][0]["properties"]
    agency = deployed.town.get("/collections/plots/items?f=json&limit=1", Authorization=deployed.basic(ADMIN))
    shown = set(agency["features"][0]["properties"])
    assert shown > set(everybody), "the grant shows what the contract does not show everybody"
    findings = "/collections/plots__findings/items?f=json"
    assert deployed.town.ask(findings, Authorization=deployed.basic(OFFICE)).status == 200
    assert deployed.town.ask(findings).status == 404


def test_the_administrators_page_and_a_request_change_the_register(deployed: Deployed) -> None:
    town, name = deployed.town, "dien_luc_thu"
    page = town.ask("/admin/agencies?lang=en", Authorization=deployed.basic(ADMIN))
    assert page.status == 200, page.text
    proof = re.search(r'name="proof" value="([0-9a-f]{64})"', page.text)
    assert proof is not None
    said = {"proof": proof[1], "do": "add", "agency": name, "kind": "utility", "name-vi": "Điện", "name-en": "Power"}
    assert posted(deployed, "/admin/agencies", urlencode(said), "application/x-www-form-urlencoded") == 303
    assert agencies.standing(deployed.root, name).entered_by == f"{ADMIN} (Trần Thử)"
    asked = {"do": "ask", "layer": "plots", "class": ["agency"], "purpose": "thử", "legal_basis": "Luật thử"}
    assert posted(deployed, "/requests", json.dumps(asked), "application/json") == 200
    waiting = town.get("/requests?f=json", Authorization=deployed.basic(OFFICE))["requests"]
    assert ADMIN in {each["agency"] for each in waiting}
    (key,) = [each.key_id for each in keys.keys(deployed.root, ADMIN) if each.revoked_at is None]
    for action in ("agency", "request"):
        told = search.find(deployed.root, Wanted(agency=ADMIN, action=action, limit=1))[0].body
        assert (told["operation"], told["member"], told["key"]) == ("insert", "Trần Thử", key)
        assert re.fullmatch("[0-9a-f]{32}", told["request"]), "the number of the request by which it was written"


def posted(deployed: Deployed, path: str, body: str, kind: str) -> int:
    host, port = deployed.town.url.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=60)
    headers = {"Authorization": deployed.basic(ADMIN), "Content-Type": kind, "Origin": deployed.town.url}
    connection.request("POST", path, body.encode(), headers)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_what_an_agency_reads_is_recorded_and_changes_of_the_register_are_heard(deployed: Deployed) -> None:
    answer = deployed.town.ask("/collections/plots/items/00004.3.3", Authorization=deployed.basic(ADMIN))
    assert answer.status == 200
    wanted = Wanted(agency=ADMIN, feature="00004.3.3")
    told = until(lambda: search.find(deployed.root, wanted))
    assert told[0].body["request"] == answer.headers["X-Request-Id"]
    listening = "SELECT FROM pg_stat_activity WHERE usename = %s AND application_name = 'sdi-service-listens'"
    until(lambda: deployed.root.execute(listening, [deployed.login]).rowcount)
    key = keys.make_key(deployed.root, ADMIN)
    assert deployed.town.ask("/collections?f=json", X_API_Key=key).status == 200


def test_it_writes_no_layer_and_reads_no_key_but_those_in_force(deployed: Deployed) -> None:
    ended = keys.make_key(deployed.root, ADMIN)
    keys.revoke(deployed.root, ADMIN, max(each.key_id for each in keys.keys(deployed.root, ADMIN)))
    tables = [f"{layer.theme}.{layer.id}" for layer in deployed.town.registry if layer.coverage is None]
    forbidden = [f"DELETE FROM {table}" for table in tables] + [f"UPDATE {table} SET id = id" for table in tables]
    forbidden += [
        "SELECT sha256 FROM sdi.agency_key", "UPDATE sdi.agency_key SET sha256 = 'x'", "DELETE FROM sdi.grant",
        "UPDATE sdi.key_in_force SET sha256 = 'x'", "UPDATE sdi.agency SET administrator = true",
        "INSERT INTO sdi.load (layer, kind) VALUES ('plots', 'load')", "UPDATE sdi.state SET version = 0",
        "DELETE FROM sdi_audit.entry", "SELECT sdi_audit.retain(now(), 'x')", "CREATE TABLE sdi.mine (a int)",
        "SELECT secret FROM sdi.webhook", "SET ROLE sdi_owner", "SET ROLE sdi_loader", "SET ROLE sdi_auditor",
    ]  # fmt: skip
    with psycopg.connect(deployed.own, autocommit=True) as connection:
        for role in (*service.NEEDED, None):
            take = sql.SQL("RESET ROLE") if role is None else sql.SQL("SET ROLE {}").format(sql.Identifier(role))
            for statement in forbidden:
                connection.execute(take)
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
        connection.execute("SET ROLE sdi_steward")
        digests = {row[0] for row in connection.execute("SELECT sha256 FROM sdi.key_in_force")}
        assert keys.digest(deployed.keys[ADMIN]) in digests
        assert keys.digest(ended) not in digests
        for role in ("sdi_reader", "sdi_registrar", "sdi_recorder"):
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT sha256 FROM sdi.key_in_force")


def test_a_service_whose_login_could_do_more_says_so_when_it_starts(
    deployed: Deployed, capfd: pytest.CaptureFixture[str]
) -> None:
    root = deployed.root.info.dsn
    for url, warned in ((deployed.own, False), (root, True)):
        with served(url, deployed.town.registry, database_url=root):
            pass
        lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
        found = [line for line in lines if line["event"] == "the login may do more than serve"]
        assert [line["may_be"][0] for line in found] == (["superuser"] if warned else [])


def test_the_doctor_tells_of_a_login_that_could_do_more(deployed: Deployed) -> None:
    states = {}
    for own in (deployed.own, None):
        settings = Settings(database_url=deployed.root.info.dsn, service_url=own, layers=TOWN)
        found = {each.what: each for each in diagnosis.examine(settings)}["login of the service"]
        states[own] = (found.state, found.cure)
    assert states == {deployed.own: ("ok", None), None: ("warning", service.CURE)}


def test_migrating_brings_the_login_and_tells_no_password(deployed: Deployed, tmp_path: Path) -> None:
    """One that has been given too much is held back again."""
    deployed.root.execute(sql.SQL("GRANT sdi_loader TO {}").format(sql.Identifier(deployed.login)))
    assert service.beyond(deployed.root, deployed.login) == ["sdi_loader"]
    desk, root = Desk(language="en"), deployed.root.info.dsn
    desk.__dict__["settings"] = Settings(database_url=root, service_url=deployed.own, layers=TOWN, data=tmp_path)
    done = CliRunner().invoke(app, ["--lang", "en", "db", "migrate"], obj=desk)
    assert done.exit_code == 0, done.output
    assert deployed.login in done.output
    assert PASSWORD not in done.output
    assert PASSWORD not in repr(desk.settings)
    assert service.beyond(deployed.root, deployed.login) == []


@pytest.mark.parametrize("name", ["", "sdi_reader", "sdi_owner", None])
def test_what_owns_or_is_a_role_is_no_login_of_a_service(deployed: Deployed, name: str | None) -> None:
    """None: who makes it."""
    who = deployed.root.info.user if name is None else name
    said = conninfo_to_dict(deployed.own) | {"user": who}
    with pytest.raises(UsageError):
        service.bring(deployed.root, make_conninfo(**{key: value for key, value in said.items() if value}))
