"""Paging by cursors as a client meets it: sealed, bound to their question, the same forward and backward."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from psycopg import sql

from sdi.store import area
from tests.service.conftest import Town

PLOTS = "/collections/plots/items"
QUESTIONS = (
    "", "sortby=-height", "sortby=use,-number", "sortby=valid_to", "sortby=-valid_to,disputed", "sortby=-id",
    "filter=number%20%3E%205&sortby=owner_kind", "use=ODT", "bbox=100,20,110,22", "as-of=2999-01-01&sortby=-use",
    "sortby=-changed_at", "sortby=-legal_area&skipGeometry=true&properties=use&lang=en",
)  # fmt: skip


def links(document: dict[str, Any]) -> dict[str, str]:
    return {each["rel"]: each["href"] for each in document["links"]}


def ids(document: dict[str, Any]) -> list[str]:
    return [feature["id"] for feature in document["features"]]


def follow(town: Town, page: dict[str, Any], rel: str) -> list[dict[str, Any]]:
    """The pages behind a page."""
    pages = []
    while rel in links(page):
        page = town.get(links(page)[rel].removeprefix(town.url))
        pages.append(page)
    return pages


@pytest.fixture(params=["held", "streamed"])
def way(request: pytest.FixtureRequest, streamed: Callable[[], None]) -> str:
    """Pages are held whole, or are too large for that and streamed."""
    if request.param == "streamed":
        streamed()
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("limit", [3, 30])
def test_every_feature_is_met_once_forward_and_backward(town: Town, question: str, limit: int) -> None:
    first = town.get(f"{PLOTS}?{question}&limit={limit}")
    assert "prev" not in links(first)
    pages = [first, *follow(town, first, "next")]
    forward = [id for page in pages for id in ids(page)]
    by_offset = [
        id for offset in range(0, 40, 8) for id in ids(town.get(f"{PLOTS}?{question}&limit=8&offset={offset}"))
    ]
    assert forward == by_offset
    assert len(forward) == len(set(forward))
    backward = follow(town, pages[-1], "prev")
    assert [id for page in [*reversed(backward), pages[-1]] for id in ids(page)] == forward
    assert all(page["numberReturned"] == len(page["features"]) for page in (*pages, *backward))
    if backward:
        assert "next" in links(backward[0])
        assert ids(follow(town, backward[0], "next")[0])[0] == ids(pages[-1])[0]


def test_a_streamed_page_is_the_page_that_is_held(town: Town, streamed: Callable[[], None]) -> None:
    asked = (f"{PLOTS}?limit=7&sortby=-number", f"{PLOTS}?limit=30&offset=20", f"{PLOTS}?limit=30&offset=90")
    held = [town.ask(each) for each in asked]
    streamed()
    for address, page in zip(asked, held, strict=True):
        long, head = town.ask(address), town.ask(address, "HEAD")
        assert long.body == page.body
        for name in ("ETag", "Link"):
            assert long.headers[name] == head.headers[name] == page.headers[name]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("format_", ["json", "jsonfg", "jsonld", "html", "geojsonseq", "csv", "fgb", "gpkg", "parquet"])
def test_the_header_of_every_page_leads_to_the_pages_around_it(town: Town, format_: str) -> None:
    """A client that streams the features need not read to their end to know where the next ones are."""
    address: str | None = f"{PLOTS}?f={format_}&limit=14&filter=number%3E0&sortby=use"
    told: list[set[str]] = []
    while address is not None:
        answer = town.ask(address)
        found = re.findall(r'<([^>]+)>; rel="(next|prev)"', answer.headers["Link"])
        around = {rel: href.removeprefix(town.url) for href, rel in found}
        if format_ in ("json", "jsonfg"):
            listed = {rel: href.removeprefix(town.url) for rel, href in links(answer.json).items()}
            assert around == {rel: href for rel, href in listed.items() if rel in ("next", "prev")}
        assert all(town.ask(each, "HEAD").status == 200 for each in around.values())
        told.append(set(around))
        address = around.get("next")
    assert told == [{"next"}, {"next", "prev"}, {"prev"}]


def test_the_size_format_language_and_crs_of_a_page_may_change_on_the_way(town: Town) -> None:
    address = links(town.get(f"{PLOTS}?limit=3&sortby=-number"))["next"].removeprefix(town.url)
    expected = ids(town.get(f"{PLOTS}?sortby=-number&limit=8&offset=3"))
    wider = address.replace("limit=3", "limit=8")
    assert ids(town.get(wider)) == expected
    assert ids(town.get(f"{wider}&lang=en&crs=http://www.opengis.net/def/crs/EPSG/0/5897")) == expected
    assert expected[0] in town.ask(wider.replace("f=json", "f=html")).text
    assert [line.partition(",")[0] for line in town.ask(wider.replace("f=json", "f=csv")).text.splitlines()][
        1:
    ] == expected


def test_a_person_sees_where_the_page_is(town: Town) -> None:
    first = town.ask(f"{PLOTS}?f=html&limit=10&lang=en").text
    assert "1–10 of 35 features" in first
    address = first.split('rel="next" href="')[1].partition('"')[0].replace("&amp;", "&")
    second = town.ask(address).text
    assert "11–20 of 35 features" in second
    back = second.split('rel="prev" href="')[1].partition('"')[0].replace("&amp;", "&")
    assert "1–10 of 35 features" in town.ask(back).text


def test_a_cursor_serves_only_the_question_it_was_given_for(town: Town) -> None:
    def cursor(path: str) -> str:
        return links(town.get(path))["next"].partition("cursor=")[2]

    good = cursor(f"{PLOTS}?limit=3&sortby=-number&use=ODT")
    assert town.ask(f"{PLOTS}?limit=3&sortby=-number&use=ODT&cursor={good}").status == 200
    assert town.ask(f"{PLOTS}?limit=3&sortby=%2Dnumber&use=ODT&f=csv&cursor={good}").status == 200
    for other in ("sortby=-number", "use=ODT", "sortby=number&use=ODT", "sortby=-number&use=CLN",
                  "sortby=-number&use=ODT&bbox=100,20,110,22", "sortby=-number,use&use=ODT",
                  "sortby=-number&filter=use='ODT'", "sortby=-number&use=ODT&as-of=2999-01-01"):  # fmt: skip
        answer = town.ask(f"{PLOTS}?limit=3&{other}&cursor={good}")
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json"), other
    plain = cursor(f"{PLOTS}?limit=3")
    assert town.ask(f"/collections/works/items?limit=3&cursor={plain}").status == 400
    assert town.ask(f"{PLOTS}?limit=3&offset=3&cursor={plain}").status == 400


def test_a_forged_cursor_is_a_problem_that_says_what_to_do(town: Town) -> None:
    good = links(town.get(f"{PLOTS}?limit=3"))["next"].partition("cursor=")[2]
    raw = urlsafe_b64decode(good + "=" * (-len(good) % 4))
    assert b"00004." not in raw
    changed = raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:]
    forged = [
        "", "x", "%00", "%F0%9F%92%A5", good[:-3], good + "AAAA", "A" * 9000, quote("='; DROP TABLE--"),
        urlsafe_b64encode(changed).decode().rstrip("="), urlsafe_b64encode(raw[:16]).decode(),
        urlsafe_b64encode(bytes(16) + raw[16:]).decode().rstrip("="),
    ]  # fmt: skip
    for each in forged:
        answer = town.ask(f"{PLOTS}?limit=3&cursor={each}")
        assert answer.status == 400, each
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert "next" in town.ask(f"{PLOTS}?limit=3&cursor=x").json["detail"]


def test_counts_are_exact_or_say_at_least(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = town.get(f"{PLOTS}?limit=2&filter=number%3E0")
    assert exact["numberMatched"] == 35
    assert "numberMatchedAtLeast" not in exact
    monkeypatch.setattr("sdi.service.state.COUNTED", 5)
    bounded = town.get(f"{PLOTS}?limit=3&filter=number%3E0")  # another question: the first one's answer is kept
    assert bounded["numberMatchedAtLeast"] == 6
    assert "numberMatched" not in bounded
    assert "≥ 6" in town.ask(f"{PLOTS}?f=html&limit=2&filter=number%3E0").text
    # Known without counting: nothing was asked for, or the page is the last.
    assert town.get(f"{PLOTS}?limit=2")["numberMatched"] == 35
    assert town.get(f"{PLOTS}?limit=30&use=ODT&offset=3")["numberMatched"] > 6


def test_a_count_that_takes_too_long_is_given_up_and_the_answer_is_not_kept(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = area.inside

    def slowly(*arguments: Any) -> Any:
        """A box that takes 5 ms to look at for each feature."""
        return sql.SQL("({} AND pg_sleep(0.005) IS NOT NULL)").format(inside(*arguments))

    monkeypatch.setattr(area, "inside", slowly)
    monkeypatch.setattr("sdi.service.state.WITHIN", 0.001)
    answer = town.ask(f"{PLOTS}?limit=2&bbox=100,20,110,22&filter=number%3E0")
    assert answer.json["numberMatchedAtLeast"] == 3
    assert "ETag" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
