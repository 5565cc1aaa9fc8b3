"""What stewards see of the trail: their own layers, and nothing of others."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sdi.service.audit.page import shown
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
        page = watched.ask(f"/audit?f=html&lang={language}&feature={PARCEL}")
        assert page.status == 200
        assert heading in page.text
        assert PARCEL in page.text
        assert "<script>alert" not in page.text


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
