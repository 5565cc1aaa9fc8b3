"""A copy that is kept by the changes while layers are loaded and grants come and go is what a download is."""

from __future__ import annotations

import random
import time
from contextlib import closing
from typing import Any

from sdi.access import Grant
from sdi.store import engine
from sdi.store.sharing import grants
from tests.service.feed.conftest import KEY, PLANNERS, Changing, Client
from tests.service.feed.test_stream import Listener

PATIENCE = 60.0
WHOLE_PAGES = "/collections/plots/changes?limit=1000"
WHOLE = frozenset({"open", "agency", "restricted"})
SHAPES = (
    Grant(0, PLANNERS, "plots", WHOLE),
    Grant(0, PLANNERS, "plots", frozenset({"open", "agency"}), rows="disputed = true"),
    Grant(0, PLANNERS, "plots", WHOLE, attributes=("key", "hidden_note"), rows="use = 'CQP'", precision="centroid"),
    Grant(0, PLANNERS, "plots", WHOLE, rows="number > 20", precision="generalised", metres=30.0),
)


def settle(client: Client) -> None:
    """The service hears of a grant within a second, of polls and downloads perhaps not at once."""
    until = time.monotonic() + PATIENCE
    client.poll()
    while client.features != client.changing.download(client.key):
        assert time.monotonic() < until, "the copy is another than the download"
        time.sleep(0.2)
        client.poll()


def test_a_copy_follows_loads_and_grants(changing: Changing) -> None:
    """Never from the beginning again: each poll is answered."""
    chance = random.Random(5)
    # A page has all: between two pages of one poll another rule may begin to hold.
    agency, public = Client(changing, KEY, WHOLE_PAGES), Client(changing, path=WHOLE_PAGES)
    given: list[int] = []
    layer = changing.town.registry["plots"]
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        settle(agency)
        for step in range(10):
            if step % 2:
                names = chance.sample(sorted(changing.rows), 4)
                values = {"hidden_note": f"{step}", "disputed": bool(step % 4 == 1)}
                changes = {names[0]: values, names[1]: {"use": "CQP"}, names[2]: {"use": "ODT", "number": step}}
                changing.change(names[3], **changes)
            elif len(given) > 1 and chance.random() < 0.5:
                grants.revoke(owner, given.pop(chance.randrange(len(given))), by="test", why="test")
            else:
                given.append(grants.give(owner, layer, SHAPES[(step // 2) % len(SHAPES)]))
            settle(agency)
            public.poll()
            assert public.features == changing.download()
        for number in given:
            grants.revoke(owner, number, by="test", why="test")
        settle(agency)


def test_what_a_grant_no_longer_shows_ends_and_nothing_else_is_told_of_it(changing: Changing) -> None:
    shown, hidden = "00004.1.1", "00004.1.7"
    layer = changing.town.registry["plots"]
    client, stranger = Client(changing, KEY, WHOLE_PAGES), Client(changing, KEY, WHOLE_PAGES)
    settle(client)
    assert hidden not in client.features
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        number = grants.give(owner, layer, Grant(0, PLANNERS, "plots", WHOLE))
        told = polled(client)
        assert [entry["action"] for entry in told if entry["id"] == hidden] == ["insert"]
        assert {entry["action"] for entry in told if entry["id"] == shown} == {"update"}
        assert "hidden_note" in client.features[shown]["properties"]
        settle(client)
        settle(stranger)
        grants.revoke(owner, number, by="test", why="test")
        told = polled(client)
        ended = {entry["id"]: set(entry) for entry in told if entry["action"] == "delete"}
        assert ended[hidden] == {"action", "load", "at", "id"}
        settle(client)
        assert "hidden_note" not in client.features[shown]["properties"]


def polled(client: Client) -> list[dict[str, Any]]:
    """What a poll tells once it tells anything."""
    until = time.monotonic() + PATIENCE
    while not (told := client.poll()):
        assert time.monotonic() < until, "nothing is told"
        time.sleep(0.1)
    return told


def test_a_cursor_under_a_rule_that_was_forgotten_is_gone(changing: Changing) -> None:
    client = Client(changing, KEY, WHOLE_PAGES)
    client.poll()
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        number = grants.give(owner, changing.town.registry["plots"], Grant(0, PLANNERS, "plots", WHOLE))
        polled(Client(changing, KEY, client.path))
        owner.execute("UPDATE sdi.rule SET rule = '-' || rule")
        answer = changing.ask(client.path, KEY)
        owner.execute("UPDATE sdi.rule SET rule = substr(rule, 2)")
        assert (answer.status, answer.json["title"]) == (410, "Gone")
        grants.revoke(owner, number, by="test", why="test")
        settle(Client(changing, KEY, WHOLE_PAGES))


def test_who_waits_goes_on_under_the_new_rule(changing: Changing) -> None:
    """The stream ends, the browser comes again with the last cursor, and is told what differs."""
    client = Client(changing, KEY, WHOLE_PAGES)
    settle(client)
    shown = {"Authorization": f"Bearer {KEY}"}
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        cursor = changing.changes(KEY, limit=1000)["cursor"]
        number = grants.give(owner, changing.town.registry["plots"], Grant(0, PLANNERS, "plots", WHOLE))
        found: dict[str, Any] = {}
        until = time.monotonic() + PATIENCE
        while "00004.1.7" not in found:
            assert time.monotonic() < until, "nothing is told"
            with closing(Listener(changing, cursor, **shown, **{"Last-Event-ID": cursor})) as listener:
                assert listener.answer.status == 200
                for event in listener.events():
                    found |= {each["id"]: each for each in event["changes"]}
                    cursor = event["cursor"]
                    if "00004.1.7" in found:
                        break
        assert found["00004.1.7"]["action"] == "insert"
        grants.revoke(owner, number, by="test", why="test")
        settle(Client(changing, KEY, WHOLE_PAGES))
