"""The changes as a page: the same entries as the JSON has, by the same rules, with a way to each feature and on."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from tests.service.feed.conftest import KEY, Changing

PAGE = "/collections/plots/changes?f=html&lang=en"
HIDDEN = "00004.1.7"
"""Defence land."""
ROW = re.compile(r'<tr><td class="what">([^<]+)</td><td>(?:(<a .*?</a>)<br>)?<small>([^<]+)</small></td></tr>')
WORDS = {"insert": "Added", "update": "Changed", "delete": "Ended, or no longer shown"}


def pages(changing: Changing, path: str, key: str | None = None) -> list[tuple[str, str, str]]:
    """What the pages tell, following `next`: the kind, the feature with its link, the id."""
    found: list[tuple[str, str, str]] = []
    while path:
        answer = changing.ask(path, key)
        assert answer.status == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.headers["Cache-Control"].startswith("private" if key else "public")
        found += [(what, unescape(feature), unescape(name)) for what, feature, name in ROW.findall(answer.text)]
        behind = re.search(r'rel="next" href="([^"]+)"', answer.text)
        path = unescape(behind[1]) if behind else ""
    return found


def told(changing: Changing, key: str | None = None, **asked: Any) -> list[tuple[str, str]]:
    return [(WORDS[each["action"]], each["id"]) for each in changing.changes(key, limit=1000, **asked)["changes"]]


def test_a_browser_gets_the_page_and_a_program_the_document(changing: Changing) -> None:
    path = "/collections/plots/changes?lang=en"
    assert "<h1>Changes: Test plots</h1>" in changing.ask(path, Accept="text/html,*/*;q=0.8").text
    assert changing.ask(path).headers["Content-Type"] == "application/json"
    assert 'href="/collections/plots/changes?f=html"' in changing.ask("/collections/plots?f=html").text


def test_the_pages_tell_what_the_document_tells(changing: Changing) -> None:
    before = changing.changes(limit=1000)
    changing.change("00004.2.1", **{"00004.1.1": {"number": 77}, HIDDEN: {"number": 78}})
    whole = pages(changing, f"{PAGE}&since=2000-01-01&limit=7")
    assert [(what, name) for what, _, name in whole] == told(changing)
    assert HIDDEN not in [name for _, _, name in whole]
    gone, changed = pages(changing, f"/collections/plots/changes?f=html&lang=en&since={before['cursor']}")
    link = '<a href="/collections/plots/items/00004.1.1?lang=en">Plot number 77</a>'
    assert {gone, changed} == {("Ended, or no longer shown", "", "00004.2.1"), ("Changed", link, "00004.1.1")}
    assert changing.ask("/collections/plots/items/00004.1.1").status == 200
    for key in (None, KEY):
        rows = pages(changing, f"{PAGE}&since=2000-01-01&limit=1000", key)
        assert [(what, name) for what, _, name in rows] == told(changing, key)


def latest(changing: Changing, key: str | None = None, limit: int = 1000) -> list[tuple[str, str]]:
    return [(what, name) for what, _, name in pages(changing, f"{PAGE}&limit={limit}", key)]


@pytest.mark.parametrize("key", [None, KEY])
def test_the_page_begins_with_the_latest(changing: Changing, key: str | None) -> None:
    """Each feature by its last change, and by what it was before that; of hidden changes nothing, and no load."""
    before, cursor = latest(changing, key), changing.changes(key, limit=1000)["cursor"]
    assert [name for what, name in before if what != WORDS["delete"]] == [name for _, name in told(changing, key)][::-1]
    loads = len(re.findall("<h2>", changing.ask(f"{PAGE}&limit=1000", key).text))
    gone, number = ("00004.3.1", 500) if key is None else ("00004.3.2", 600)
    changing.change(**{HIDDEN: {"number": number}})
    assert latest(changing, key) == before
    changing.change(gone, **{"00004.5.8": {"number": number}, "00004.5.7": {"number": number}})
    changing.change(**{"00004.5.8": {"number": number + 1}, HIDDEN: {"number": number + 1}})
    changing.change(**{HIDDEN: {"number": number + 2}})
    since = told(changing, key, since=cursor)
    assert sorted(since) == [("Changed", "00004.5.7"), ("Changed", "00004.5.8"), (WORDS["delete"], gone)]
    assert since[-1] == ("Changed", "00004.5.8")
    known = {name for _, name in since}
    expected = since[::-1] + [row for row in before if row[1] not in known]
    assert latest(changing, key) == expected
    assert all(latest(changing, key, limit) == expected for limit in (1, 2, 3, 7))
    assert len(re.findall("<h2>", changing.ask(f"{PAGE}&limit=1000", key).text)) in (loads + 1, loads + 2)


def test_earlier_changes_stay_where_they_are_when_later_ones_come(changing: Changing) -> None:
    """Who reads back does not meet twice what changes meanwhile."""
    page = changing.ask(f"{PAGE}&limit=2").text
    behind = re.search(r'rel="next" href="([^"]+)"', page)
    assert behind is not None
    earlier = unescape(behind[1])
    rest = [name for _, _, name in pages(changing, earlier)]
    changed = [name for name in rest if name in changing.rows][:3:2]
    changing.change(**{name: {"number": 901} for name in changed})
    assert [name for _, _, name in pages(changing, earlier)] == [name for name in rest if name not in changed]
    assert [name for _, name in latest(changing)[:2]] == sorted(changed, reverse=True)
    monitor = re.search(r'rel="monitor" href="([^"]+)"', changing.ask(PAGE).text)
    assert monitor is not None
    assert "Nothing has changed since then." in changing.ask(unescape(monitor[1])).text


def test_the_place_of_a_page_is_for_that_page_and_for_who_was_given_it(changing: Changing) -> None:
    found = re.search(r"cursor=([\w-]+)", changing.ask(f"{PAGE}&limit=2").text)
    assert found is not None
    cursor = found[1]
    assert changing.ask(f"{PAGE}&cursor={cursor}").status == 200
    for wrong in (f"{PAGE}&cursor={cursor[:-2]}xx", f"{PAGE}&cursor=abc", f"{PAGE}&since=now&cursor={cursor}",
                  f"/collections/works/changes?f=html&cursor={cursor}",
                  f"/collections/plots/changes?cursor={cursor}"):  # fmt: skip
        assert changing.ask(wrong).status == 400, wrong
    assert changing.ask(f"{PAGE}&cursor={cursor}", KEY).status == 400
    assert changing.ask(f"{PAGE}&since={cursor}").status == 400
    assert changing.ask(f"{PAGE}&cursor={changing.changes()['cursor']}").status == 400


def test_a_load_is_told_by_its_name_and_leads_on(changing: Changing) -> None:
    changing.change(**{"00004.1.2": {"number": 81}})
    load = changing.changes(limit=1000)["changes"][0]["load"]
    page = changing.ask(f"{PAGE}&limit=1000").text
    assert f'<code title="{load}">' in page
    after = re.search(rf'href="([^"]+since={load}[^"]*)"', page)
    assert after is not None
    rows = pages(changing, unescape(after[1]))
    assert [(what, name) for what, _, name in rows] == told(changing, since=load)
    assert rows


def test_the_day_that_was_chosen_stands_in_the_page_s_language(changing: Changing) -> None:
    """A browser writes it in a field in its own."""
    for language, day in (("vi", "09/02/2020"), ("en", "9 Feb 2020")):
        page = changing.ask(f"/collections/plots/changes?f=html&lang={language}&since=2020-02-09").text
        assert f': <b>{day}</b></span> <input type="date" name="since" value="2020-02-09" required>' in page
    for since in ("now", changing.changes()["cursor"]):
        page = changing.ask(f"{PAGE}&since={since}").text
        assert 'Changed after the day</span> <input type="date" name="since" value="" required>' in page


def test_where_nothing_changed_the_page_says_so_and_where_to_look_later(changing: Changing) -> None:
    page = changing.ask("/collections/plots/changes?f=html&lang=vi&since=now").text
    assert "Từ đó đến nay không có gì thay đổi." in page
    later = re.search(r'rel="monitor" href="([^"]+)"', page)
    assert later is not None
    changing.change(**{"00004.1.3": {"number": 83}})
    assert "00004.1.3" in changing.ask(unescape(later[1])).text
    wrong = changing.ask("/collections/plots/changes?f=html&lang=vi&since=nonsense")
    assert wrong.status == 400
    assert "<h1>" in wrong.text
