"""The administrators' page: who finds it, what its forms do, and that no other site can make a browser send them."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sdi.store import engine
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import Answer, Town, served

ADMIN, WARD, PAGE = "phong_quan_tri", "phuong_thu", "/admin/agencies"
LOGIN, PASSWORD = "sdi_web_of_tests", "not-a-secret"
CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-dev-shm-usage"]


@dataclass
class Office:
    town: Town
    connection: engine.Connection
    key: str
    ward: str

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{ADMIN}:{self.key}".encode()).decode()

    def page(self, lang: str = "en") -> str:
        answer = self.town.ask(f"{PAGE}?lang={lang}", Authorization=self.basic)
        assert answer.status == 200, answer.text
        return answer.text

    @property
    def proof(self) -> str:
        found = re.search(r'name="proof" value="([0-9a-f]{64})"', self.page())
        assert found is not None
        return found[1]

    def post(self, do: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        """What a browser sends when a form of the page is submitted."""
        said = {"proof": self.proof, "do": do, **fields}
        sent = {
            "Authorization": self.basic, "Origin": self.town.url, "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/x-www-form-urlencoded", **(headers or {}),
        }  # fmt: skip
        host, port = self.town.url.removeprefix("http://").split(":")
        connection = HTTPConnection(host, int(port), timeout=60)
        connection.request("POST", f"{PAGE}?lang=en", urlencode(said, doseq=True), sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


@pytest.fixture(scope="module")
def office(town: Town) -> Iterator[Office]:
    """The town served with a login of its own, which may do no more than the service needs."""
    with engine.connect(town.database) as superuser:
        superuser.execute(f"DROP ROLE IF EXISTS {LOGIN}".encode())
        superuser.execute(f"CREATE ROLE {LOGIN} LOGIN NOINHERIT PASSWORD '{PASSWORD}'".encode())
        superuser.execute(f"GRANT sdi_reader, sdi_steward, sdi_registrar TO {LOGIN}".encode())
    own = make_conninfo(town.database, user=LOGIN, password=PASSWORD)
    with engine.connect(town.database, engine.OWNER) as connection:
        for name, kind in ((ADMIN, "department"), (WARD, "ward")):
            agencies.add(connection, name, kind, f"Cơ quan {name}", f"Agency {name}")  # type: ignore[arg-type]
        agencies.set_administrator(connection, ADMIN, True)
        key = keys.make_key(connection, ADMIN, name="Trần Quản Trị")
        with served(own, town.registry) as at:
            yield Office(at, connection, key, keys.make_key(connection, WARD))
        agencies.set_administrator(connection, ADMIN, False)
    with engine.connect(town.database) as superuser:
        superuser.execute(f"DROP ROLE {LOGIN}".encode())


def test_the_services_login_reads_and_registers_and_does_nothing_else(office: Office) -> None:
    own = make_conninfo(office.town.database, user=LOGIN, password=PASSWORD)
    assert office.town.ask("/collections/plots/items?f=json").status == 200
    for role in ("sdi_owner", "sdi_loader"):
        with psycopg.connect(own) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SET ROLE {role}".encode())
    for statement in (
        "DELETE FROM sdi.grant", "DELETE FROM sdi.agency_key", "UPDATE sdi.agency SET administrator = true",
        "INSERT INTO sdi.agency (id, kind, name_vi, name_en, administrator) VALUES ('x', 'ward', 'x', 'x', true)",
        "UPDATE sdi.grant SET classes = '{restricted}'", "UPDATE sdi.agency_key SET sha256 = 'x'",
        "SELECT sha256 FROM sdi.agency_key", "SELECT * FROM sdi.quarantine",
    ):  # fmt: skip
        with engine.connect(own, engine.REGISTRAR) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_to_who_is_no_administrator_the_page_is_not_there(office: Office, method: str) -> None:
    for headers in ({}, {"X_API_Key": office.ward}, {"Authorization": f"Bearer {office.ward}"}):
        for more in ("", "?f=json", "?nothing=1"):
            told = []
            for path in (PAGE, "/admin/nothings"):
                answer = office.town.ask(f"{path}{more}", method, **headers)
                kept = {
                    name: value for name, value in answer.headers.items()
                    if name.lower() not in ("date", "x-request-id", "ratelimit", "content-length")
                }  # fmt: skip
                told.append((answer.status, answer.text.replace(path, "?"), kept))
            assert told[0] == told[1]
            assert told[0][0] == 404
    # An address that is written down opens no such page.
    assert office.town.ask(f"{PAGE}?key={office.key}").status == 404


def test_the_page_shows_the_register_and_no_secret(office: Office) -> None:
    for lang, words in (
        ("vi", ("Các cơ quan", "xã, phường", "quản trị")),
        ("en", ("Agencies", "ward", "administrates")),
    ):
        text = html.unescape(office.page(lang))
        for word in (*words, ADMIN, WARD, "Trần Quản Trị"):
            assert word in text
        for secret in (office.key, office.ward):
            assert secret not in text
            assert keys.digest(secret) not in text
    answer = office.town.ask(PAGE, Authorization=office.basic)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script|\son\w+=|\sstyle=", office.page())


def test_an_agency_is_entered_given_a_key_and_a_grant_and_loses_them_again(office: Office) -> None:
    named = {"name-vi": "Điện lực", "name-en": "Power"}
    made = office.post("add", agency="so_moi", kind="utility", since="2026-01-01", **named)
    assert made.status == 303, made.text
    entry = agencies.standing(office.connection, "so_moi")
    assert (entry.kind, entry.name_vi, entry.entered_by) == ("utility", "Điện lực", f"{ADMIN} (Trần Quản Trị)")
    shown = office.post("key", agency="so_moi", name="Lê Thợ Điện", days="30")
    assert shown.status == 200
    key = re.search(r"<code>(sdi_[\w-]+)</code>", shown.text)
    assert key is not None
    assert key[1] not in office.page()
    (row,) = keys.keys(office.connection, "so_moi")
    assert (row.name, row.created_by) == ("Lê Thợ Điện", f"{ADMIN} (Trần Quản Trị)")
    rotated = office.post("rotate", agency="so_moi", key=row.key_id, overlap="1")
    assert rotated.status == 200
    assert key[1] not in rotated.text
    area = {"type": "Polygon", "coordinates": [[[105, 21], [106, 21], [106, 22], [105, 21]]]}
    given = office.post(
        "grant", agency="so_moi", layer="plots", **{"class": ["open", "agency"], "action": ["read", "export"]},
        attributes="number, use", rows="use = 'ODT'", communes="00004 00070", polygon=json.dumps(area),
        precision="generalised", metres="25", **{"from": "2026-01-01", "to": ""}, legal_basis="QĐ 1",
        purpose="lưới điện",
    )  # fmt: skip
    assert given.status == 303, given.text
    (stands,) = grants.given(office.connection, agency="so_moi")
    assert (stands.grant.attributes, stands.grant.communes) == (("number", "use"), ("00004", "00070"))
    assert (stands.grant.classes, stands.grant.actions) == (
        frozenset({"open", "agency"}),
        frozenset({"read", "export"}),
    )
    assert (stands.grant.metres, stands.grant.valid_to, stands.given_by) == (25.0, None, f"{ADMIN} (Trần Quản Trị)")
    number = stands.grant.grant_id
    assert "use = 'ODT'" in html.unescape(office.page())
    assert office.post("revoke-grant", agency="so_moi", grant=number, why="xong").status == 303
    assert not grants.given(office.connection, agency="so_moi")
    for each in keys.keys(office.connection, "so_moi"):
        assert office.post("revoke-key", agency="so_moi", key=each.key_id).status == 303
    assert office.post("merge", agency="so_moi", into=WARD, why="NQ 1/2026").status == 303
    assert {each.id: each for each in agencies.entries(office.connection)}["so_moi"].merged_into == WARD
    assert "Undo the merger" in office.page()
    assert office.post("unmerge", agency="so_moi", why="NQ 2/2026").status == 303
    entry = agencies.standing(office.connection, "so_moi")
    assert (entry.merged_why, entry.merged_by) == ("NQ 2/2026", f"{ADMIN} (Trần Quản Trị)")


@pytest.mark.parametrize(
    ("do", "fields", "said"),
    [
        ("add", {"agency": "Sở", "kind": "ward", "name-vi": "x", "name-en": "x"}, "cannot be an agency"),
        ("add", {"agency": "x", "kind": "public", "name-vi": "x", "name-en": "x"}, "no kind of agency"),
        ("key", {"agency": WARD, "days": "0"}, "one day to ten years"),
        ("key", {"agency": "nobody", "days": "1"}, "no agency"),
        ("grant", {"agency": WARD, "layer": "nothing", "precision": "exact"}, "nothing"),
        ("grant", {"agency": WARD, "layer": "plots", "precision": "exact", "class": "restricted"}, "legal basis"),
        ("grant", {"agency": WARD, "layer": "plots", "precision": "exact", "class": "personal"}, "legal basis"),
        ("grant", {"agency": WARD, "layer": "plots", "precision": "roughly"}, "precision"),
        ("grant", {"agency": WARD, "layer": "plots", "precision": "exact", "from": "soon"}, "not a day"),
        ("grant", {"agency": WARD, "layer": "plots", "precision": "exact", "metres": "x"}, "not a number"),
        (
            "grant",
            {"agency": WARD, "layer": "plots", "precision": "generalised", "metres": "nan"},
            "0 to 100000 metres",
        ),
        ("grant", {"agency": WARD, "layer": "plots", "precision": "exact", "purpose": "x\0"}, "cannot be read"),
        ("revoke-key", {"agency": WARD, "key": "9" * 30}, "whole number"),
        ("grant", {"agency": WARD, "layer": "plots", "precision": "exact", "polygon": "<script>"}, "no polygon"),
        ("revoke-grant", {"grant": "999999", "why": "x"}, "no grant"),
        ("revoke-key", {"agency": WARD, "key": "x"}, "whole number"),
        ("nothing", {}, "cannot be read"),
    ],
)
def test_a_wrong_form_is_answered_with_what_is_wrong(
    office: Office, do: str, fields: dict[str, str], said: str
) -> None:
    answer = office.post(do, **fields)
    assert answer.status in (400, 404), answer.text
    assert said in html.unescape(answer.text)
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, {}),
        ({"Origin": "https://evil.example"}, {}),
        ({"Origin": "null"}, {}),
        ({"Sec-Fetch-Site": "same-site"}, {}),
        ({}, {"proof": ""}),
        ({}, {"proof": "0" * 64}),
    ],
)
def test_a_form_that_another_site_sends_is_not_taken(
    office: Office, headers: dict[str, str], fields: dict[str, str]
) -> None:
    before = len(keys.keys(office.connection, WARD))
    answer = office.post("key", headers, agency=WARD, days="1", **fields)
    assert answer.status == 403
    assert len(keys.keys(office.connection, WARD)) == before


def test_the_forms_work_in_a_browser_without_javascript(office: Office) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not on this machine")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        context = browser.new_context(
            java_script_enabled=False, http_credentials={"username": ADMIN, "password": office.key}
        )
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{office.town.url}/agency")  # where a browser is asked for a key; it shows it of itself then
        page.goto(f"{office.town.url}{PAGE}?lang=vi")
        section = page.locator(f"#{WARD}")
        section.locator("summary", has_text="Cấp khóa").click()
        section.locator("input[name=name]").fill("Phạm Cán Bộ")
        section.get_by_role("button", name="Cấp khóa").click()
        page.wait_for_selector(".made code")
        key = page.locator(".made code").inner_text()
        assert office.town.ask("/collections?f=json", X_API_Key=key).status == 200
        assert keys.keys(office.connection, WARD)[-1].name == "Phạm Cán Bộ"
        assert said == []
        if shots := os.environ.get("SDI_TEST_SHOTS"):
            page.screenshot(path=f"{shots}/agencies.png", full_page=True)
        browser.close()
