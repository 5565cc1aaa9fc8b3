"""How often a caller may ask, who a caller is, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sdi.access import Grant
from sdi.errors import SettingError
from sdi.service.wall.book import Book
from sdi.service.wall.callers import Quotas, Rates, address_of, trusted
from sdi.service.wall.turns import Shares
from sdi.settings import read_settings
from sdi.store import engine
from sdi.store.sharing import grants, keys
from tests.service.conftest import Town, served

ITEMS = "/collections/works/items?limit=1"
AGENCY = "so_thu"


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    clock = Clock()
    rates = Rates("public", 2.0, 5, Book(), clock)
    assert [rates.take("a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert rates.take("b"), "another's bucket is full"
    assert rates.wait("a") == 1
    clock.now += 1
    assert [rates.take("a") for _ in range(3)] == [True, True, False]
    clock.now += 3600
    assert rates.left("a") == 5
    assert dict(rates.headers("a")) == {
        b"ratelimit-policy": b'"public";q=5;w=3',
        b"ratelimit": b'"public";r=5;t=0',
    }


def test_a_quota_is_a_day_s() -> None:
    at = [datetime(2026, 11, 21, 23, 59, 30, tzinfo=UTC)]
    quotas = Quotas(1000, Book(), now=lambda: at[0])
    quotas.sent("a", 999)
    assert quotas.left("a")
    quotas.sent("a", 1)
    assert not quotas.left("a")
    assert quotas.left("b")
    assert quotas.wait() == 30
    at[0] += timedelta(seconds=30)
    assert quotas.left("a")


def test_the_workers_of_a_machine_count_requests_and_bytes_together(tmp_path: Path) -> None:
    clock, books = Clock(), (Book(), Book())
    for book in books:
        book.open(tmp_path / "book")
    one, two = (Rates("agency", 1.0, 4, book, clock) for book in books)
    assert [rates.take("a") for rates in (one, two, one, two, one, two)] == [True] * 4 + [False] * 2
    assert Rates("public", 1.0, 4, books[0], clock).take("a"), "another kind's bucket is full"
    here, there = (Quotas(1000, book, clock) for book in books)
    here.sent("a", 600)
    there.sent("a", 400)
    assert not here.left("a")
    assert here.left("b")


def test_a_book_of_before_a_restart_holds_nobody_off() -> None:
    """The machine's clock begins anew then."""
    clock, book = Clock(), Book()
    rates, shares = Rates("public", 1.0, 2, book, clock), Shares(0.1, 1.0, clock)
    shares.book = book
    shares.seen("b")
    assert [rates.take("a") for _ in range(3)] == [True, True, False]
    shares.spend("a", 9.0)
    clock.now = 5.0
    assert rates.take("a")
    assert shares.left("a") == 1.0


@pytest.mark.parametrize(
    ("peer", "forwarded", "told"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # nobody's word but a proxy's is believed
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # the left one the client wrote itself
        ("10.1.2.3", ["1.1.1.1", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["nonsense"], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.1, nonsense"], "10.1.2.3"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("::ffff:10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8:1:2:3::4", [], "2001:db8:1:2::/64"),  # a household has as many addresses as it likes
        ("10.1.2.3", ["2001:db8:1:2:ffff::1"], "2001:db8:1:2::/64"),
        (None, ["198.51.100.1"], "local"),
        ("testclient", [], "local"),
    ],
)
def test_an_address_is_the_one_that_a_trusted_proxy_saw(peer: str | None, forwarded: list[str], told: str) -> None:
    assert address_of(peer, tuple(forwarded), trusted(["10.0.0.0/8"])) == told


@pytest.fixture(scope="module")
def narrow(town: Town) -> Iterator[Town]:
    """Slow enough a rate that no token comes back while the tests run."""
    with served(
        town.database, town.registry, rate_public=0.001, rate_agency=0.001, burst=6, trusted_proxies="127.0.0.0/8"
    ) as found:
        yield found


def ask(town: Town, address: str, path: str = ITEMS, **headers: str) -> Any:
    return town.ask(path, X_Forwarded_For=address, **headers)


def test_an_address_that_asks_too_often_is_told_when_to_come_again(narrow: Town) -> None:
    answers = [ask(narrow, "198.51.100.7") for _ in range(8)]
    assert [answer.status for answer in answers] == [200] * 6 + [429] * 2
    assert answers[0].headers["RateLimit-Policy"] == '"public";q=6;w=6000'
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == [
        "r=5", "r=4", "r=3", "r=2", "r=1", "r=0", "r=0", "r=0",
    ]  # fmt: skip
    refused = answers[-1]
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert 900 < int(refused.headers["Retry-After"]) <= 1000
    assert refused.json["title"] == "Too Many Requests"
    assert refused.headers["Cache-Control"] == "no-store"
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    assert "Quá nhiều yêu cầu" in ask(narrow, "198.51.100.7", Accept="text/html").text
    assert "thử lại sau" in ask(narrow, "198.51.100.7", Accept_Language="vi").text
    assert ask(narrow, "198.51.100.8").status == 200, "another address"
    assert ask(narrow, "198.51.100.7", "/health").status == 200
    assert ask(narrow, "198.51.100.7", "/static/sdi.css").status == 200


def test_an_agency_is_counted_by_its_key_and_not_by_its_address(narrow: Town) -> None:
    with engine.connect(narrow.database) as connection:
        key = keys.make_key(connection, AGENCY)
    bearer = f"Bearer {key}"
    told = [ask(narrow, f"198.51.100.{number}", Authorization=bearer).status for number in range(20, 28)]
    assert told == [200] * 6 + [429] * 2
    assert ask(narrow, "198.51.100.20").status == 200, "the public at the same address"
    refused = ask(narrow, "198.51.100.30", Authorization=bearer)
    assert refused.headers["RateLimit-Policy"].startswith('"agency"')


def test_the_public_is_counted_by_address_whatever_was_granted_to_it(narrow: Town) -> None:
    layer = narrow.registry["secrets"]
    given = Grant(0, "public", layer.id, classes=frozenset({"open", "agency"}), legal_basis="test", purpose="test")
    with engine.connect(narrow.database, engine.OWNER) as owner:
        number = grants.give(owner, layer, given)
        try:
            assert 200 in until_known(narrow, 200), "the grant is heard of"
            told = [ask(narrow, "198.51.100.50").status for _ in range(8)]
            assert told == [200] * 6 + [429] * 2
            other = ask(narrow, "198.51.100.51")
            assert (other.status, other.headers["RateLimit-Policy"]) == (200, '"public";q=6;w=6000')
        finally:
            grants.revoke(owner, number, "test")
    assert 404 in until_known(narrow, 404), "nobody after this test finds the layer"


def until_known(town: Town, status: int) -> Iterator[int]:
    """What a layer answers, asked from one address after another, until it is this."""
    for number in range(60_000):
        found = ask(town, f"10.77.{number // 250}.{number % 250}", "/collections/secrets").status
        yield found
        if found == status:
            return


def test_who_tries_keys_is_slowed_down_and_the_public_at_that_address_is_not(narrow: Town) -> None:
    tried = [ask(narrow, "198.51.100.40", Authorization=f"Bearer wrong{number}").status for number in range(3)]
    assert tried == [401, 429, 429]
    assert ask(narrow, "198.51.100.40").status == 200


def test_a_quota_ends_the_day_s_answers(town: Town) -> None:
    with served(town.database, town.registry, quota=1) as other:
        turnstile_spends(other, 10**6)
        refused = other.ask(ITEMS)
        assert refused.status == 429
        assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600
        assert "come again tomorrow" in refused.json["detail"]
        assert other.ask("/health").status == 200


def turnstile_spends(town: Town, most: int) -> None:
    """Ask until so many bytes were sent."""
    sent = 0
    while sent < most:
        answer = town.ask("/openapi?f=json")
        assert answer.status == 200
        sent += len(answer.body)


def test_without_a_rate_nothing_is_counted_or_told(town: Town) -> None:
    answers = [town.ask(ITEMS) for _ in range(30)]
    assert {answer.status for answer in answers} == {200}
    assert answers[0].headers["RateLimit"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SDI_TRUSTED_PROXIES", "nowhere"),
        ("SDI_TRUSTED_PROXIES", "10.0.0.0/99"),
        ("SDI_ORIGINS", "*,https://map.example"),
        ("SDI_ORIGINS", "map.example"),
        ("SDI_ORIGINS", "https://map.example/page"),
        ("SDI_RATE_PUBLIC", "-1"),
        ("SDI_SLOW_SHARE", "0"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=name):
        read_settings()


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDI_TRUSTED_PROXIES", "10.0.0.1, 172.16.0.0/12")
    monkeypatch.setenv("SDI_ORIGINS", "https://map.example:8443,http://localhost:3000")
    settings = read_settings()
    assert settings.trusted_proxies == ("10.0.0.1", "172.16.0.0/12")
    assert settings.origins == ("https://map.example:8443", "http://localhost:3000")
