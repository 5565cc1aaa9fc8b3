"""Keys at the door: the ways in which they may be shown, what is answered to wrong ones, and where they never stand."""

from __future__ import annotations

import base64
import html
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin, urlsplit

import pytest

from sdi.service import agencies as door
from sdi.store import engine
from sdi.store.sharing import agencies, keys
from tests.service.conftest import Answer, Town, served

STEWARD, OTHER = "so_thu", "so_khac"
OWN = "plots__findings"
PATIENCE = 60.0
CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-dev-shm-usage"]


@dataclass
class Office:
    town: Town
    key: str
    other: str
    connection: engine.Connection

    def sees(self, answer: Answer) -> bool:
        """Whether the collections answered are the steward's."""
        assert answer.status == 200, answer.text
        return OWN in {each["id"] for each in answer.json["collections"]}


@pytest.fixture(scope="module")
def office(town: Town) -> Iterator[Office]:
    with engine.connect(town.database, engine.OWNER) as connection:
        agencies.add(connection, OTHER, "ward", "Phường khác", "Another ward")
        yield Office(town, keys.make_key(connection, STEWARD), keys.make_key(connection, OTHER), connection)


def basic(user: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


WAYS: dict[str, Callable[[str, str], tuple[str, dict[str, str]]]] = {
    "Basic": lambda name, key: ("", {"Authorization": basic(name, key)}),
    "Bearer": lambda name, key: ("", {"Authorization": f"Bearer {key}"}),
    "X-API-Key": lambda name, key: ("", {"X_API_Key": key}),
    "address": lambda name, key: (f"&key={key}", {}),
    "escaped in the address": lambda name, key: (f"&%6Bey={key}", {}),
    "the same key twice": lambda name, key: (f"&key={key}", {"Authorization": basic(name, key)}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_key_may_be_shown_in_each_of_these_ways(office: Office, way: str) -> None:
    more, headers = WAYS[way](STEWARD, office.key)
    answer = office.town.ask(f"/collections?f=json{more}", **headers)
    assert office.sees(answer)
    assert answer.headers["Cache-Control"].startswith("private")
    assert any("X-API-Key" in each for each in answer.headers.get_all("Vary", []))


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_wrong_with_a_key_is_answered_alike(office: Office, way: str) -> None:
    past = keys.make_key(office.connection, STEWARD, expires_at=datetime.now(UTC) - timedelta(hours=1))
    ended = keys.make_key(office.connection, STEWARD)
    keys.revoke(office.connection, STEWARD, keys.keys(office.connection)[-1].key_id)
    told = set()
    for key in (past, ended, "sdi_" + "x" * 43, "ờ", ""):
        more, headers = WAYS[way](STEWARD, key)
        if key == "ờ" and not more:
            continue  # a header has no such letter
        more = more.replace("ờ", "%E1%BB%9D")
        headers = {name: value for name, value in headers.items() if "ờ" not in value}
        answer = office.town.ask(f"/collections?f=json{more}", **headers)
        told.add((answer.status, answer.body, answer.headers["WWW-Authenticate"], answer.headers["Cache-Control"]))
    assert len(told) == 1
    assert next(iter(told))[0] == 401


@pytest.mark.parametrize(
    ("more", "headers"),
    [
        ("", {"Authorization": "Bearer {0}", "X_API_Key": "{1}"}),
        ("&key={0}", {"X_API_Key": "{1}"}),
        ("&key={0}&key={1}", {}),
        ("&key={0}&%6bey=wrong", {}),
        ("&key={0}", {"Authorization": "Digest something"}),
    ],
)
def test_two_different_keys_at_once_are_refused(office: Office, more: str, headers: dict[str, str]) -> None:
    said = {name: value.format(office.key, office.other) for name, value in headers.items()}
    answer = office.town.ask(f"/collections?f=json{more.format(office.key, office.other)}", **said)
    assert answer.status == 400
    assert office.key not in answer.text


def test_a_user_name_binds_a_key_to_its_agency(office: Office) -> None:
    for name in (OTHER, "public"):
        answer = office.town.ask("/collections?f=json", Authorization=basic(name, office.key))
        assert answer.status == 401
    assert office.town.ask("/collections?f=json", Authorization=basic(OTHER, office.other)).status == 200


def links_of(answer: Answer, at: str) -> set[str]:
    """Every address that an answer leads to, absolute."""
    found = set(re.findall(r"<([^>]+)>", answer.headers["Link"] or ""))
    kind = answer.headers["Content-Type"] or ""
    if "html" in kind:
        text = answer.text
        found |= {html.unescape(each) for each in re.findall(r'(?:href|src|action)="([^"#]+)"', text)}
        found |= {each.replace("\\u0026", "&") for each in re.findall(r'"(?:source|item)": "([^"]*)"', text)}
    elif "json" in kind:
        found |= set(re.findall(r'"href"\s*:\s*"([^"]+)"', answer.text))
        found |= set(re.findall(r'"tiles"\s*:\s*\["([^"]+)"', answer.text))
    return {urljoin(at, each) for each in found}


def shape_of(link: str) -> str | None:
    """What one of each is enough of; None: a file that leads nowhere, or one layer more."""
    parts = urlsplit(link)
    steps = parts.path.split("/")
    form = "".join(re.findall(r"\bf=(\w+)", parts.query))
    if form not in ("json", "html", "tilejson", "") or "export" in steps:
        return None
    if steps[1:2] == ["collections"] and len(steps) > 2 and steps[2] not in (OWN, "plots"):
        return None
    return "/".join([*steps[:5], str(len(steps)), form])


def test_a_key_in_the_address_is_in_every_link_that_leads_on(office: Office) -> None:
    """Everything is followed from the landing page, in JSON and as pages, and is answered to the steward."""
    base, key = office.town.url, f"key={office.key}"
    waiting, seen = [f"{base}/?f=json&{key}", f"{base}/?f=html&{key}"], set()
    shapes: set[str] = set()
    while waiting:
        address = waiting.pop()
        answer = office.town.ask(f"/{address.removeprefix(base).removeprefix('/')}")
        assert answer.status in (200, 204, 303, 503), (address, answer.text)
        assert answer.headers["Cache-Control"] in ("private, no-store", "no-store"), address
        assert answer.headers.get_all("Referrer-Policy")[-1] == "no-referrer"
        if answer.headers["Content-Length"]:
            assert int(answer.headers["Content-Length"]) == len(answer.body)
        for link in links_of(answer, address):
            parts = urlsplit(link)
            if not link.startswith((f"{base}/", f"{base}?")) or parts.path.startswith("/static/"):
                assert office.key not in link
                continue
            assert parts.query.count(key) == 1, (address, link)
            if "{" not in link and (shape := shape_of(link)) is not None and shape not in shapes:
                shapes.add(shape)
                waiting.append(link)
        seen.add(urlsplit(address).path)
    assert {"/", "/collections", f"/collections/{OWN}", f"/collections/{OWN}/items", "/openapi"} <= seen
    assert len(seen) > 20


def test_pages_of_features_lead_on_with_the_key_to_the_last(office: Office) -> None:
    for form in ("json", "csv", "jsonfg", "geojsonseq"):
        address, count = f"/collections/plots/items?f={form}&limit=15&key={office.key}", 0
        while address:
            answer = office.town.ask(address)
            assert answer.status == 200
            count += 1
            found = re.search(r'<([^>]+)>; rel="next"', answer.headers["Link"])
            address = found[1].removeprefix(office.town.url) if found else ""
            assert not address or f"key={office.key}" in address
        assert count == 3, form


def test_who_shows_a_key_in_a_header_finds_it_in_no_answer(office: Office) -> None:
    for path in ("/", "/collections", "/collections/plots", "/collections/plots/items?limit=2", "/openapi", "/nothing"):
        for form in ("json", "html"):
            asked = f"{path}{'&' if '?' in path else '?'}f={form}"
            answer = office.town.ask(asked, Authorization=f"Bearer {office.key}")
            carried = office.town.ask(f"{asked}&key={office.key}")
            assert office.key not in answer.text + str(answer.headers)
            # An entity tag is the same whatever key opened the page.
            assert answer.headers["ETag"] == carried.headers["ETag"]


def test_a_problem_does_not_repeat_the_key(office: Office) -> None:
    for path in ("/collections/nothing?", "/collections/plots/items?nothing=1&", "/collections/plots/items?filter=(&"):
        for form in ("", "&f=html"):
            answer = office.town.ask(f"{path}key={office.key}{form}")
            assert answer.status in (400, 404)
            text = re.sub(r'(?:href|action)="[^"]*"|<input[^>]*>', "", answer.text)
            assert office.key not in text


def test_no_key_is_logged(office: Office, capfd: pytest.CaptureFixture[str]) -> None:
    for key in (office.key, office.key + "x"):
        office.town.ask(f"/collections?f=json&key={key}")
        office.town.ask("/collections?f=json", X_API_Key=key)
    logged = capfd.readouterr()
    assert "wrong key" in logged.err
    assert office.key not in logged.err + logged.out


def test_a_key_is_known_and_revoked_as_soon_as_the_store_tells(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The looks by time are put off for an hour: what is noticed was heard."""
    monkeypatch.setattr(door, "EVERY", 3600.0)
    monkeypatch.setattr(door, "AGAIN", 3600.0)
    with served(office.town.database, office.town.registry) as town:
        assert town.ask("/collections?f=json", X_API_Key=office.key).status == 200
        made = keys.make_key(office.connection, STEWARD)
        await_status(town, made, 200)
        keys.revoke(office.connection, STEWARD, keys.keys(office.connection)[-1].key_id)
        await_status(town, made, 401)


def test_a_lost_connection_to_what_is_told_is_made_anew(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "EVERY", 3600.0)
    monkeypatch.setattr(door, "AGAIN", 3600.0)
    monkeypatch.setattr(door, "LISTEN_AGAIN", 0.1)
    listening = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'sdi-service-listens' AND datname = current_database()"
    )
    with served(office.town.database, office.town.registry) as town:
        assert town.ask("/collections?f=json", X_API_Key=office.key).status == 200
        with engine.connect(office.town.database) as superuser:
            until = time.monotonic() + PATIENCE
            while not superuser.execute(listening).fetchall() and time.monotonic() < until:
                time.sleep(0.05)
        await_status(town, keys.make_key(office.connection, STEWARD), 200)


def await_status(town: Town, key: str, status: int) -> None:
    until = time.monotonic() + PATIENCE
    while (found := town.ask("/collections?f=json", X_API_Key=key).status) != status and time.monotonic() < until:
        time.sleep(0.02)
    assert found == status


def test_a_browser_walks_through_the_pages_with_a_key_in_the_address(office: Office) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not on this machine")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page()
        asked: list[tuple[str, str | None]] = []
        page.on("request", lambda request: asked.append((request.url, request.headers.get("referer"))))
        page.goto(f"{office.town.url}/collections?lang=en&key={office.key}")
        page.click(f"a[href^='/collections/{OWN}']")
        page.click("text=Browse the features")
        page.wait_for_load_state("networkidle")
        assert f"/collections/{OWN}/items" in page.url
        assert office.key in page.url
        assert all(office.key not in (referer or "") for _, referer in asked)
        data = [url for url, _ in asked if "/collections/" in url]
        assert len(data) >= 3
        assert all(f"key={office.key}" in url for url in data)
        browser.close()
