"""What stewards see of the trail: their own layers, and nothing of others."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from sdi.service import words
from sdi.service.audit.deeds import READS, WRITES, deed
from sdi.service.audit.page import shown
from sdi.service.audit.record import action_of
from sdi.service.routes import Address, addresses
from sdi.store import engine
from sdi.store.audit.search import Entry
from tests.service.audit.conftest import Watched

PARCEL = "00004.3.3"


def test_the_steward_finds_who_read_a_parcel_and_looking_is_recorded_too(watched: Watched) -> None:
    watched.ask(f"/collections/plots/items/{PARCEL}", "so_la", X_Purpose="Xem")
    watched.ask(f"/collections/plots/items?id={PARCEL}")
    watched.bodies(2)
    answer = watched.ask(f"/audit?feature={PARCEL}&layer=plots&limit=2")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    entries = answer.json["entries"]
    assert [(each["agency"], each["action"]) for each in entries] == [("so_thu", "items"), ("so_la", "item")]
    assert entries[1]["purpose"] == "Xem"
    assert entries[0]["seq"] > entries[1]["seq"]
    (told,) = watched.bodies()
    assert (told["action"], told["agency"]) == ("audit", "so_thu")
    only = watched.ask(f"/audit?feature={PARCEL}&agency=so_la&limit=5").json["entries"]
    assert {each["agency"] for each in only} == {"so_la"}


def test_times_are_told_in_one_form(watched: Watched) -> None:
    """What requests tell of themselves, what PostgreSQL does of its rows, and entries that have it otherwise."""
    watched.ask(f"/collections/plots/items/{PARCEL}")
    watched.bodies()
    with engine.connect(watched.town.database, engine.OWNER) as owner:
        older = {"at": "2026-11-01T10:00:00.5+07:00", "kind": "read", "action": "item", "layers": ["plots"],
                 "row": {"until": ["2026-11-01T03:00:00+00:00"], "reason": "on 2026-11-01T03:00:00+00:00"}}  # fmt: skip
        owner.execute("SELECT sdi_audit.append(NULL, 0, ARRAY[%s])", [json.dumps(older)])
    answer = watched.ask("/audit?layer=plots&limit=1000")
    texts = re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', answer.text)
    assert len(texts) > 2 * len(answer.json["entries"]) > 4, "recordedAt, at, and what stands in rows"
    assert {text[-1] for text in texts} == {"Z"}
    (told,) = (each for each in answer.json["entries"] if each["at"].startswith("2026-11-01"))
    assert told["at"] == "2026-11-01T03:00:00.500000Z"
    assert told["row"] == {"until": ["2026-11-01T03:00:00Z"], "reason": older["row"]["reason"]}


def test_pages_follow_one_another_without_a_gap(watched: Watched) -> None:
    for _ in range(5):
        watched.ask(f"/collections/plots/items/{PARCEL}")
    watched.bodies(5)
    found, address = [], "/audit?layer=plots&limit=2"
    for _ in range(3):
        document = watched.ask(address).json
        found += [each["seq"] for each in document["entries"]]
        address = next(link["href"] for link in document["links"] if link["rel"] == "next")
        address = address.removeprefix(watched.town.url)
    assert found == sorted(set(found), reverse=True)
    assert len(found) == 6
    assert [each["seq"] for each in watched.ask("/audit?layer=plots&limit=6").json["entries"]] == found


def test_it_is_not_there_for_the_public_and_for_who_collects_nothing(watched: Watched) -> None:
    nowhere = watched.ask("/nowhere", "so_la").json
    for who in (None, "so_la"):
        answer = watched.ask("/audit", who)
        assert answer.status == 404
        assert answer.json["detail"] == nowhere["detail"]


def test_what_is_wrongly_asked_is_told(watched: Watched) -> None:
    for query in ("layer=none", "from=gestern", "before=x", "limit=0", "limit=-1", "unknown=1", "before=" + "9" * 40):
        assert watched.ask(f"/audit?{query}").status == 400, query


def test_people_read_it_in_two_languages(watched: Watched) -> None:
    watched.ask(f"/collections/plots/items/{PARCEL}", X_Purpose="<script>alert(1)</script>")
    watched.bodies()
    for language, heading in (("vi", "Ai đã đọc và thay đổi các lớp"), ("en", "Who read and changed your layers")):
        page = watched.ask(f"/audit?f=html&lang={language}&feature={PARCEL}&from=2020-02-09")
        assert page.status == 200
        assert heading in page.text
        assert f"<b>{words.day('2020-02-09', language)}</b>" in page.text
        assert PARCEL in page.text
        assert "<script>alert" not in page.text


def test_agencies_stand_by_their_names_with_their_ids(watched: Watched) -> None:
    watched.ask(f"/collections/plots/items/{PARCEL}", "so_la")
    watched.ask(f"/collections/plots/items/{PARCEL}")
    watched.bodies(2)
    with engine.connect(watched.town.database) as connection:
        names = dict(connection.execute("SELECT id, ARRAY[name_vi, name_en] FROM sdi.agency").fetchall())
    assert names["so_la"][0] != names["so_la"][1]
    for at, language in enumerate(("vi", "en")):
        page = watched.ask(f"/audit?f=html&lang={language}&feature={PARCEL}&limit=5").text
        for agency in ("so_la", "so_thu"):
            assert f"<td>{names[agency][at]}<br><small>{agency}</small></td>" in page
        assert f'<option value="so_la">{names["so_la"][at]}</option>' in page
    assert {each["agency"] for each in watched.ask("/audit?agency=so_la").json["entries"]} == {"so_la"}


def test_what_was_done_is_said_in_the_language_of_the_page(watched: Watched) -> None:
    watched.ask(f"/collections/plots/items/{PARCEL}")
    watched.ask("/collections/plots/statistics")
    watched.bodies(2)
    for language, deeds, layer in (("vi", ("Đọc một đối tượng", "Nạp dữ liệu", "Công bố"), "Thửa đất thử"),
                                   ("en", ("Read a feature", "Loaded", "Published"), "Test plots")):  # fmt: skip
        page = watched.ask(f"/audit?f=html&lang={language}&layer=plots&limit=1000").text
        table = page[page.index("<tbody>") :]
        for each in deeds:
            assert f"<td>{each}" in table, each
        assert f'<span title="plots">{layer}</span>' in table
        for word in ("load update", "publication", ">items<", ">item<"):
            assert word not in table
    assert "load" in {each["action"] for each in watched.ask("/audit?layer=plots&limit=1000").json["entries"]}


def test_a_column_without_anything_in_it_is_left_out(watched: Watched) -> None:
    watched.ask(f"/collections/plots/items/{PARCEL}", "so_la", X_Purpose="Xem")
    watched.bodies()
    assert ">Purpose</th>" in watched.ask("/audit?f=html&lang=en&agency=so_la").text
    seq = min(each["seq"] for each in watched.ask("/audit?limit=1000").json["entries"]) + 1
    first = watched.ask(f"/audit?f=html&lang=en&before={seq}").text
    assert ">Who</th>" in first
    for heading in ("Purpose", "Ids", "Status", "Features"):
        assert f">{heading}</th>" not in first, "the layer's first load read nothing"


def test_every_deed_has_its_words() -> None:
    """Whatever address tells of a layer, and whatever a write is."""
    layers = [each.path for each in addresses() if isinstance(each, Address) and each.path.startswith("/coll")]
    assert {action_of(path) for path in layers} - READS.keys() == set()
    said = [*READS.values(), *(text for each in WRITES.values() for text in each.values())]
    vietnamese, english = words.translator("vi"), words.translator("en")
    assert [text for text in said if vietnamese(text) == text] == []
    assert [text for text in said if ":" in english(text)] == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"action": "load", "operation": "update", "row": {"kind": "source", "status": "done"}}, "change: loaded"),
        ({"action": "load", "operation": "update", "row": {"kind": "derived", "status": "done"}}, "change: derived"),
        ({"action": "load", "operation": "insert", "row": {"kind": "source", "status": "refused"}},
         "A delivery was refused"),
        ({"action": "publication", "operation": "update", "row": {"published": False}}, "change: withdrawn"),
        ({"action": "grant", "operation": "update", "row": {"revoked_at": "2026-01-01"}}, "A grant was revoked"),
        ({"action": "request", "operation": "insert", "row": {"layer": "plots"}}, "The layer was asked for"),
        ({"action": "something", "operation": "new"}, "something new"),
    ],
)  # fmt: skip
def test_what_became_of_a_write_is_told(told: dict[str, Any], said: str) -> None:
    assert deed({"kind": "write", **told}) == said


def test_an_entry_of_several_layers_tells_a_steward_of_its_own_alone() -> None:
    body = {
        "at": "2026-01-01T00:00:00Z", "action": "dossier", "agency": "x", "layers": ["mine", "theirs"],
        "path": "/theirs/1", "query": "secret", "asked": ["1"], "status": 200,
        "reads": [{"layer": "mine", "ids": ["a"]}, {"layer": "theirs", "ids": ["b"]}],
    }  # fmt: skip
    told = shown(Entry(1, datetime(2026, 1, 1, tzinfo=UTC), body), {"mine"})
    assert told["layers"] == ["mine"]
    assert told["reads"] == [{"layer": "mine", "ids": ["a"]}]
    assert "theirs" not in json.dumps(told)
    assert "secret" not in json.dumps(told)
