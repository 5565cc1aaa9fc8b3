"""The changes of a collection as a client polls them: pages, cursors, and what is hidden."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from datetime import datetime, timedelta

import pytest

from sdi.store import engine
from tests.service.feed.conftest import KEY, Changing, Client, copy_of

OPEN, HIDDEN = "00004.1.1", "00004.1.7"
"""A plot that everybody sees, and one that the contract withholds."""


def test_without_since_it_is_a_download(changing: Changing) -> None:
    client = Client(changing)
    told = client.poll()
    assert {entry["action"] for entry in told} == {"insert"}
    assert len(told) == len(client.features)
    assert client.features == changing.download()
    assert HIDDEN not in client.features


def test_who_polls_gets_what_came_since_and_nothing_else(changing: Changing) -> None:
    client = Client(changing)
    client.poll()
    assert client.poll() == []
    changing.change("00004.1.2", **{OPEN: {"height": 77.5}})
    told = client.poll()
    assert [(entry["action"], entry["id"]) for entry in told] == [("update", OPEN), ("delete", "00004.1.2")]
    assert told[0]["feature"]["properties"]["height"] == 77.5
    assert "feature" not in told[1]
    assert told[0]["load"] == told[1]["load"]
    assert told[0]["at"] == told[1]["at"]
    assert told[0]["at"].endswith("Z")
    assert client.features == changing.download()
    assert client.poll() == []


def test_a_change_of_what_is_hidden_is_no_change_to_the_byte(changing: Changing) -> None:
    client = Client(changing)
    client.poll()
    paths = [client.path, "/collections/plots/changes", "/collections/plots/changes?limit=3",
             "/collections/plots/changes?since=2020-01-01&limit=3&f=ndjson",
             "/collections/plots/changes?since=2999-01-01"]  # fmt: skip
    before = [changing.ask(path) for path in paths]
    changing.change(**{OPEN: {"hidden_note": "khác"}, HIDDEN: {"height": 1234.5}})
    changing.change(HIDDEN)
    for path, was, is_ in zip(paths, before, [changing.ask(path) for path in paths], strict=True):
        assert is_.status == was.status == 200
        assert is_.body == was.body, path
        assert is_.headers["ETag"] == was.headers["ETag"]


def test_what_leaves_ones_sight_ends_and_what_enters_it_begins(changing: Changing) -> None:
    client, name = Client(changing), "00004.2.1"
    client.poll()
    changing.change(**{name: {"use": "CQP"}})
    assert [(each["action"], each["id"]) for each in client.poll()] == [("delete", name)]
    changing.change(**{name: {"use": "ODT"}})
    assert [(each["action"], each["id"]) for each in client.poll()] == [("insert", name)]
    assert client.features == changing.download()


def test_a_load_and_an_instant_say_where_to_begin(changing: Changing) -> None:
    changing.change(**{OPEN: {"height": 30.5}})
    changing.change(**{"00004.1.1": {"height": 31.5}, "00004.1.3": {"height": 32.5}})
    told = Client(changing).poll()
    first, last = told[0], told[-1]
    assert first["load"] != last["load"]
    before = datetime.fromisoformat(last["at"]) - timedelta(microseconds=1)
    for since in (first["load"], before.isoformat().replace("+00:00", "Z")):
        found = changing.changes(since=since)["changes"]
        assert last["id"] in {entry["id"] for entry in found}
        assert len(found) < len(told)
    for since in (last["load"], last["at"], "2999-01-01"):
        assert changing.changes(since=since)["changes"] == []


def test_no_answer_tells_the_number_of_a_load(changing: Changing) -> None:
    """Two of them would tell how many loads there were between, of layers that are hidden, too."""
    with engine.connect(changing.town.database) as connection:
        connection.execute("SELECT setval(pg_get_serial_sequence('sdi.load', 'load_id'), 7300000000)")
    changing.change(**{OPEN: {"height": 41.5}})
    changing.change(**{OPEN: {"height": 42.5}, "00004.1.3": {"height": 43.5}})
    with engine.connect(changing.town.database) as connection:
        loads = [row[0] for row in connection.execute("SELECT load_id FROM sdi.load ORDER BY load_id DESC LIMIT 2")]
    assert min(loads) > 7300000000
    page = changing.changes(limit=1000)
    assert {entry["load"] for entry in page["changes"][-2:]} == {page["changes"][-1]["load"]}
    answers = [changing.ask(path).text for path in (
        "/collections/plots/changes?limit=1000", "/collections/plots/changes?limit=2", "/collections/plots?f=json",
        "/collections/plots?f=html", "/collections/plots/items?f=json&limit=3", "/catalogue/changes?f=json",
        "/collections/plots/changes?f=html&limit=2",
        "/collections/data-catalogue/items/plots?f=json",
    )]  # fmt: skip
    words = re.findall(r"[\w-]{20,}", " ".join(answers))
    bare = [urlsafe_b64decode(word + "=" * (-len(word) % 4)) for word in words if len(word) % 4 != 1]
    assert len(bare) > 10
    for load in loads:
        assert not any(str(load) in text for text in answers)
        assert not any(str(load).encode() in content for content in bare)
        assert changing.ask(f"/collections/plots/changes?since={load}").status == 400
    assert changing.ask(f"/collections/works/changes?since={page['changes'][-1]['load']}").status == 400


def test_lines_are_the_same_entries_and_their_header_leads_on(changing: Changing) -> None:
    page = changing.changes(limit=5)
    lines = changing.ask("/collections/plots/changes?limit=5", Accept="application/x-ndjson")
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    assert copy_of(lines.text) == page["changes"]
    assert lines.headers["OGC-NumberReturned"] == "5"
    assert f"since={page['cursor']}" in lines.headers["Link"].partition('rel="next"')[0]


def test_who_has_the_page_is_told_so(changing: Changing) -> None:
    path = f"/collections/plots/changes?since={changing.changes()['cursor']}"
    tag = changing.ask(path).headers["ETag"]
    assert changing.ask(path, If_None_Match=tag).status == 304


@pytest.mark.parametrize(
    "asked",
    ["since=abc", "since=-1", "since=1", "since=", "limit=0", "limit=x", "sinse=1", "since=2026-13-45", "since=1.5"],
)
def test_what_means_no_place_is_refused(changing: Changing, asked: str) -> None:
    answer = changing.ask(f"/collections/plots/changes?{asked}&lang=vi")
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_cursor_is_for_its_collection_and_for_who_was_given_it(changing: Changing) -> None:
    cursor = changing.changes()["cursor"]
    assert changing.ask(f"/collections/works/changes?since={cursor}").status == 400
    assert changing.ask(f"/collections/plots/changes?since={cursor}", KEY).status == 400
    assert changing.ask(f"/collections/plots/changes?since={cursor[:-2]}xx").status == 400


@pytest.mark.parametrize("name", ["secrets", "nothing"])
def test_of_what_one_may_not_see_there_are_no_changes(changing: Changing, name: str) -> None:
    assert changing.ask(f"/collections/{name}/changes").status == 404


def test_the_collection_and_the_openapi_document_lead_here(changing: Changing) -> None:
    links = changing.ask("/collections/plots?f=json&lang=vi").json["links"]
    (monitor,) = [each for each in links if each["rel"] == "monitor"]
    assert monitor["href"].endswith("/collections/plots/changes")
    assert monitor["title"] == "Các thay đổi của lớp dữ liệu"
    document = changing.ask("/openapi?f=json").json
    assert document["paths"]["/collections/plots/changes"]["get"]["operationId"] == "getPlotsChanges"
    assert "/collections/plot_card/changes" in document["paths"]
