"""Requests for layers over HTTP: who finds them, who answers, and what becomes of an answer in what one sees."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import pytest

from sdi.access import ACTIONS, Action, Grant
from sdi.contract.layer import Privacy
from sdi.store import engine
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import Answer, Town

STEWARD, ASKER, OTHER = "so_thu", "phong_hoi", "phong_khac"
PLOTS = "/collections/plots/items?f=json&limit=1"
"""The contract's steward of the plots is STEWARD; `hidden_note` is for agencies with a grant."""


@dataclass
class Desk:
    town: Town
    owner: engine.Connection
    keys: dict[str, str]

    def post(self, who: str, said: dict[str, Any], path: str = "/requests", **headers: str) -> Answer:
        sent = {"X-API-Key": self.keys[who], "Content-Type": "application/json", **headers}
        form = sent["Content-Type"] != "application/json"
        host, port = self.town.url.removeprefix("http://").split(":")
        connection = HTTPConnection(host, int(port), timeout=60)
        connection.request("POST", path, urlencode(said, doseq=True) if form else json.dumps(said), sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    def asked(self) -> int:
        return self.ask(ASKER, "open", "agency")

    def ask(self, who: str, *classes: str) -> int:
        said = {"do": "ask", "layer": "plots", "class": classes, "purpose": "cấp phép", "legal_basis": "NĐ 194"}
        answer = self.post(who, said)
        assert answer.status == 200, answer.text
        return int(answer.json["request"])

    def listed(self, who: str, rest: str = "") -> dict[int, Any]:
        found = self.town.get(f"/requests?f=json{rest}", X_API_Key=self.keys[who])["requests"]
        return {each["request_id"]: each for each in found}


@pytest.fixture(scope="module")
def office(town: Town) -> Iterator[Desk]:
    with engine.connect(town.database, engine.OWNER) as owner:
        known = {each.id for each in agencies.entries(owner)}
        for name in (STEWARD, ASKER, OTHER):
            if name not in known:
                agencies.add(owner, name, "department", f"Cơ quan {name}", f"Agency {name}")
        made = {name: keys.make_key(owner, name) for name in (STEWARD, ASKER, OTHER)}
        yield Desk(town, owner, made)
        for name in (STEWARD, ASKER, OTHER):
            grants.revoke_all(owner, name, "end of the tests")
            keys.revoke(owner, name)


def test_to_the_public_there_are_no_requests(office: Desk) -> None:
    assert office.town.ask("/requests").status == 404
    assert office.town.ask("/requests?f=html").status == 404


def test_the_form_proposes_the_layers_that_one_sees_by_their_titles(office: Desk) -> None:
    page = office.town.ask("/requests?f=html&lang=en", X_API_Key=office.keys[OTHER]).text
    proposed = dict(re.findall(r'<option value="(\w+)">([^<]+)</option>', page))
    assert proposed["plots"] == "Test plots"
    assert "secrets" not in proposed
    form = page[page.index("Ask for a layer") :]
    offered = re.findall(r'name="action" value="(\w+)"( checked)?', form)
    assert [word for word, _ in offered] == list(ACTIONS)
    assert [word for word, checked in offered if checked] == ["read"]


def test_a_purpose_of_several_lines_is_one_in_lists(office: Desk) -> None:
    said = {"do": "ask", "layer": "plots", "purpose": "cấp phép\r\nxây dựng ", "legal_basis": "NĐ 194"}
    number = office.post(ASKER, said).json["request"]
    assert office.listed(STEWARD)[number]["purpose"] == "cấp phép xây dựng"


def test_who_asked_and_who_answers_see_a_request_and_nobody_else(office: Desk) -> None:
    number = office.asked()
    assert office.listed(ASKER)[number]["to_answer"] is False
    assert office.listed(STEWARD)[number]["to_answer"] is True
    assert number not in office.listed(OTHER)
    for who in (ASKER, OTHER):
        assert office.post(who, {"do": "grant", "request": number}).status == 404
        assert office.post(who, {"do": "refuse", "request": number, "why": "không"}).status == 404
    assert office.listed(STEWARD)[number]["answer"] is None


def test_what_is_granted_is_seen_at_once_and_what_is_refused_has_its_ground(office: Desk) -> None:
    before = office.town.get(PLOTS, X_API_Key=office.keys[ASKER])["features"][0]["properties"]
    assert "hidden_note" not in before
    refused, granted = office.asked(), office.asked()
    assert office.post(STEWARD, {"do": "refuse", "request": refused, "why": ""}).status in (400, 422)
    assert office.post(STEWARD, {"do": "refuse", "request": refused, "why": "bí mật nhà nước"}).status == 200
    assert office.listed(ASKER, "&all=true")[refused]["why"] == "bí mật nhà nước"
    assert office.post(STEWARD, {"do": "grant", "request": granted}).status == 200
    assert office.listed(ASKER, "&all=true")[granted]["answer"] == "granted"
    # A key heard of a change makes the service look at once; wait for it by asking, not by the clock.
    for _ in range(600):
        shown = office.town.get(PLOTS, X_API_Key=office.keys[ASKER])["features"][0]["properties"]
        if "hidden_note" in shown:
            break
    assert shown["hidden_note"] == "mật"
    assert "hidden_note" not in office.town.get(PLOTS, X_API_Key=office.keys[OTHER])["features"][0]["properties"]


def test_less_is_granted_by_precision_and_action_too(office: Desk) -> None:
    number = office.asked()
    told = {"do": "grant", "request": number, "precision": "generalised", "metres": "50", "action": ["export"]}
    assert office.post(STEWARD, told).status == 400, "less needs a reason"
    assert office.post(STEWARD, {**told, "why": "chỉ cần vị trí gần đúng", "metres": "x"}).status == 400
    assert office.post(STEWARD, {**told, "why": "chỉ cần vị trí gần đúng"}).status == 200
    made = office.listed(ASKER, "&all=true")[number]
    assert made["answer"] == "narrowed"
    (given,) = [each.grant for each in grants.given(office.owner) if each.grant.grant_id == made["grant_id"]]
    assert (given.precision, given.metres, given.actions) == ("generalised", 50.0, {"export"})
    grants.revoke(office.owner, given.grant_id, "end of the test")


def test_who_was_granted_to_approve_answers_in_the_stewards_place(office: Desk) -> None:
    number, mine = office.asked(), office.ask(OTHER, "agency")
    assert number not in office.listed(OTHER)
    classes: frozenset[Privacy] = frozenset({"open"})
    actions: frozenset[Action] = frozenset({"approve", "read"})
    to_approve = grants.give(
        office.owner, office.town.registry["plots"], Grant(0, OTHER, "plots", classes, actions=actions)
    )
    wait(lambda: office.listed(OTHER).get(number, {}).get("to_answer", False))
    assert not office.listed(OTHER)[mine]["to_answer"], "its own is for another to answer"
    assert office.post(OTHER, {"do": "grant", "request": mine}).status == 404
    told = {"do": "grant", "request": number, "why": "chỉ phần công khai"}
    for more in ({}, {"class": ["open"], "action": ["read", "export"]}, {"class": ["open"], "action": ["approve"]}):
        answer = office.post(OTHER, {**told, **more})
        assert answer.status == 403, "it gives no more than it was granted itself"
    page = office.town.ask("/requests?f=html&lang=en", X_API_Key=office.keys[OTHER]).text
    assert f'name="request" value="{number}"' in page
    assert f"Agency {ASKER}" in page
    agencies.merge(office.owner, ASKER, OTHER, "thử")
    wait(lambda: not office.listed(OTHER)[number]["to_answer"])
    assert office.post(OTHER, {**told, "class": ["open"]}).status == 404, "it is its own now"
    agencies.unmerge(office.owner, ASKER, "thử xong")
    wait(lambda: office.listed(OTHER)[number]["to_answer"])
    assert office.post(OTHER, {**told, "class": ["open"]}).status == 200
    made = office.listed(ASKER, "&all=true")[number]
    assert made["answer"] == "narrowed"
    (given,) = [each for each in grants.given(office.owner) if each.grant.grant_id == made["grant_id"]]
    assert (given.grant.classes, given.grant.actions) == ({"open"}, {"read"})
    assert given.given_by.startswith(OTHER)
    for each in (to_approve, made["grant_id"]):
        grants.revoke(office.owner, each, "end of the test")
    wait(lambda: office.post(OTHER, {"do": "refuse", "request": office.asked(), "why": "hết quyền"}).status == 404)
    assert office.post(STEWARD, {"do": "refuse", "request": mine, "why": "xong"}).status == 200


def test_numbers_of_requests_and_grants_count_nothing(office: Desk) -> None:
    asked = [office.asked() for _ in range(8)]
    plots = office.town.registry["plots"]
    given = [grants.give(office.owner, plots, Grant(0, ASKER, "plots")) for _ in range(8)]
    for numbers in (asked, given):
        assert len(set(numbers)) == 8
        assert numbers != sorted(numbers)
        assert all(100_000 <= number <= 999_999 for number in numbers)
    assert [number for number in office.listed(ASKER) if number in asked] == asked, "the oldest stands first"
    grants.revoke_all(office.owner, ASKER, "end of the test")


def test_a_number_that_is_taken_is_drawn_again(office: Desk) -> None:
    with office.owner.transaction(force_rollback=True):
        office.owner.execute("ALTER TABLE sdi.grant ALTER COLUMN grant_id SET DEFAULT 7 + floor(random() * 3)::bigint")
        plots = office.town.registry["plots"]
        assert {grants.give(office.owner, plots, Grant(0, ASKER, "plots")) for _ in range(3)} == {7, 8, 9}


def test_rights_to_write_show_nothing(office: Desk) -> None:
    plots = office.town.registry["plots"]
    before = office.town.ask(PLOTS, X_API_Key=office.keys[OTHER])
    actions: frozenset[Action] = frozenset({"load", "edit", "approve"})
    number = grants.give(
        office.owner, plots, Grant(0, OTHER, "plots", frozenset({"agency", "restricted"}), actions=actions)
    )
    listed = office.asked()
    wait(lambda: listed in office.listed(OTHER))
    after = office.town.ask(PLOTS, X_API_Key=office.keys[OTHER])
    assert after.body == before.body
    assert after.headers["ETag"] == before.headers["ETag"]
    grants.revoke(office.owner, number, "end of the test")


def test_a_layer_is_asked_for_by_its_name_and_no_answer_tells_whether_it_is_there(office: Desk) -> None:
    """`secrets` is hidden from OTHER; no contract has `secretx`."""
    told = {"do": "ask", "purpose": "x", "legal_basis": "y"}
    made = {}
    for more in ({}, {"class": []}, {"class": "personal"}, {"action": "burn"}, {"purpose": ""}):
        hidden, unknown = (office.post(OTHER, {**told, "layer": name, **more}) for name in ("secrets", "secretx"))
        assert hidden.status == unknown.status == (400 if more else 200)
        if more:
            assert hidden.body == unknown.body
        else:
            made = {"secrets": hidden.json["request"], "secretx": unknown.json["request"]}
    listed = [office.listed(OTHER)[number] for number in made.values()]
    same = [{name: each[name] for name in each if name not in ("layer", "request_id", "asked_at")} for each in listed]
    assert same[0] == same[1]
    assert office.post(OTHER, {**told, "layer": "no layer's id"}).status == 400
    page = office.town.ask("/requests?f=html&lang=en", X_API_Key=office.keys[OTHER]).text
    assert [page.count(f"<strong>{name}</strong>") for name in made] == [1, 1]
    assert 'value="secrets"' not in page
    # The steward finds the one, who administers the other, and nobody else any of them.
    assert made["secrets"] in office.listed(STEWARD)
    assert made["secretx"] not in office.listed(STEWARD)
    agencies.set_administrator(office.owner, STEWARD, True)
    try:
        wait(lambda: made["secretx"] in office.listed(STEWARD))
        page = office.town.ask("/requests?f=html&lang=en", X_API_Key=office.keys[STEWARD]).text
        assert "No layer has this name." in page
        assert office.post(STEWARD, {"do": "grant", "request": made["secretx"]}).status == 404
        for number in made.values():
            assert office.post(STEWARD, {"do": "refuse", "request": number, "why": "không có"}).status == 200
    finally:
        agencies.set_administrator(office.owner, STEWARD, False)
    answered = office.listed(OTHER, "&all=true")
    assert {answered[number]["why"] for number in made.values()} == {"không có"}


def wait(question: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not question():
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_what_is_overdue_is_a_list_of_its_own(office: Desk) -> None:
    late, early, answered = office.asked(), office.asked(), office.asked()
    for number in (late, answered):
        office.owner.execute(
            "UPDATE sdi.request SET asked_at = asked_at - interval '10 days' WHERE request_id = %s", [number]
        )
    assert office.post(STEWARD, {"do": "refuse", "request": answered, "why": "quá muộn"}).status == 200
    for who in (STEWARD, ASKER):
        assert {late, early} <= office.listed(who).keys()
        found = office.listed(who, "&overdue=true")
        assert late in found
        assert found.keys().isdisjoint({early, answered})
        assert {each["overdue"] for each in found.values()} == {True}
        both = office.listed(who, "&overdue=true&all=true")
        assert {late, answered} <= both.keys()
        assert early not in both
    assert office.listed(OTHER, "&overdue=true") == {}
    for query in ("overdue=maybe", "all=1"):
        assert office.town.ask(f"/requests?{query}", X_API_Key=office.keys[STEWARD]).status == 400


def test_the_page_tells_what_is_overdue_in_both_languages(office: Desk) -> None:
    late, early = office.asked(), office.asked()
    office.owner.execute(
        "UPDATE sdi.request SET asked_at = asked_at - interval '10 days' WHERE request_id = %s", [late]
    )
    count = sum(each["to_answer"] and each["overdue"] for each in office.listed(STEWARD).values())
    for lang, heading, told, only in (
        ("vi", "Yêu cầu chia sẻ dữ liệu: quá hạn", "Quá hạn, chờ quý cơ quan trả lời: ", "Chỉ yêu cầu quá hạn"),
        ("en", "Requests for layers: overdue", "Overdue, for you to answer: ", "Only the overdue ones"),
    ):
        whole = office.town.ask(f"/requests?f=html&lang={lang}", X_API_Key=office.keys[STEWARD]).text
        assert f"{told}{count}<" in whole
        assert only in whole
        # Who asked answers nothing, and may look at what waits too long all the same.
        assert told not in office.town.ask(f"/requests?f=html&lang={lang}", X_API_Key=office.keys[ASKER]).text
        page = office.town.ask(f"/requests?f=html&lang={lang}&overdue=true", X_API_Key=office.keys[STEWARD]).text
        assert heading in page
        assert [f" {number} · " in page for number in (late, early)] == [True, False]


@pytest.mark.parametrize(
    "body",
    [
        b"[1]",
        b"{",
        b'{"do": {"a": 1}}',
        b'{"do": "x\\u0000"}',
        b'{"do": "burn"}',
        b'{"do": []}',
        b'{"do": "ask", "layer": "plots", "purpose": [], "legal_basis": "x"}',
        b'{"do": "ask", "layer": "plots", "purpose": "x", "legal_basis": "y", "class": []}',
        b"\xff",
        b'{"do": "ask", "purpose": "\\ud800"}',
        b"[" * 50_000,
    ],
)
def test_a_body_that_is_no_request_is_refused(office: Desk, body: bytes) -> None:
    host, port = office.town.url.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=60)
    connection.request("POST", "/requests", body, {"X-API-Key": office.keys[ASKER], "Content-Type": "application/json"})
    assert connection.getresponse().status == 400


def test_the_page_is_read_in_both_languages_and_its_form_asks(office: Desk) -> None:
    number = office.asked()
    for lang, word in (("vi", "Yêu cầu chia sẻ dữ liệu"), ("en", "Requests for layers")):
        page = office.town.ask(f"/requests?f=html&lang={lang}", X_API_Key=office.keys[STEWARD])
        assert (page.status, word in page.text) == (200, True)
        assert f" {number} · " in page.text
        assert page.headers["Cache-Control"] == "no-store"
    page = office.town.ask("/requests?f=html", X_API_Key=office.keys[ASKER])
    proof = re.search(r'name="proof" value="([0-9a-f]{64})"', page.text)
    assert proof is not None
    said = {"do": "ask", "layer": "plots", "class": "agency", "purpose": "quy hoạch", "legal_basis": "NĐ 194"}
    kind = "application/x-www-form-urlencoded"
    assert office.post(ASKER, {**said, "proof": "0" * 64}, **{"Content-Type": kind}).status == 403
    assert (
        office.post(
            ASKER, {**said, "proof": proof[1]}, **{"Content-Type": kind, "Origin": "https://evil.example"}
        ).status
        == 403
    )
    answer = office.post(ASKER, {**said, "proof": proof[1]}, "/requests?lang=en", **{"Content-Type": kind})
    assert (answer.status, answer.headers["Location"].partition("?")[2]) == (303, "f=html&lang=en")
    assert "quy hoạch" in {each["purpose"] for each in office.listed(ASKER).values()}
