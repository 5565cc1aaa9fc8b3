"""The changes as a page: the same entries as the JSON has, by the same rules, with a way to each feature and on."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from tests.service.feed.conftest import KEY, Changing

HIDDEN = "00004.1.7"
"""Defence land."""
ROW = re.compile(r"<tr><td>([^<]+)</td><td>(?:(<a .*?</a>)<br>)?<small>([^<]+)</small></td></tr>")
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
    whole = pages(changing, "/collections/plots/changes?f=html&lang=en&limit=7")
    assert [(what, name) for what, _, name in whole] == told(changing)
    assert HIDDEN not in [name for _, _, name in whole]
    gone, changed = pages(changing, f"/collections/plots/changes?f=html&lang=en&since={before['cursor']}")
    link = '<a href="/collections/plots/items/00004.1.1?lang=en">Plot number 77</a>'
    assert {gone, changed} == {("Ended, or no longer shown", "", "00004.2.1"), ("Changed", link, "00004.1.1")}
    assert changing.ask("/collections/plots/items/00004.1.1").status == 200
    for key in (None, KEY):
        rows = pages(changing, "/collections/plots/changes?f=html&lang=en&limit=1000", key)
        assert [(what, name) for what, _, name in rows] == told(changing, key)


def test_a_load_is_told_by_its_name_and_leads_on(changing: Changing) -> None:
    changing.change(**{"00004.1.2": {"number": 81}})
    load = changing.changes(limit=1000)["changes"][0]["load"]
    page = changing.ask("/collections/plots/changes?f=html&lang=en&limit=1000").text
    assert f'<code title="{load}">' in page
    after = re.search(rf'href="([^"]+since={load}[^"]*)"', page)
    assert after is not None
    rows = pages(changing, unescape(after[1]))
    assert [(what, name) for what, _, name in rows] == told(changing, since=load)
    assert rows


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
