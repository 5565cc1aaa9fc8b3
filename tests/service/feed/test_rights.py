"""A copy that is kept by the changes while layers are loaded and grants come and go is what a download is."""

from __future__ import annotations

import random
import time

from sdi.access import Grant
from sdi.store import engine
from sdi.store.sharing import grants
from tests.service.feed.conftest import KEY, PLANNERS, Changing, Client

PATIENCE = 60.0
WHOLE = frozenset({"open", "agency", "restricted"})
SHAPES = (
    Grant(0, PLANNERS, "plots", WHOLE),
    Grant(0, PLANNERS, "plots", frozenset({"open", "agency"}), rows="disputed = true"),
    Grant(0, PLANNERS, "plots", WHOLE, attributes=("key", "hidden_note"), rows="use = 'CQP'", precision="centroid"),
    Grant(0, PLANNERS, "plots", WHOLE, rows="number > 20", precision="generalised", metres=30.0),
)


def keep(client: Client) -> int:
    """Follow the changes, from the beginning where a place is gone; how often that was."""
    again = 0
    while client.changing.ask(client.path, client.key).status == 410:
        client.path, client.features, again = Client(client.changing).path, {}, again + 1
    client.poll()
    return again


def settle(client: Client) -> int:
    """The service hears of a grant within a second, of polls and downloads perhaps not at once."""
    until, again = time.monotonic() + PATIENCE, keep(client)
    while client.features != client.changing.download(client.key):
        assert time.monotonic() < until, "the copy is another than the download"
        time.sleep(0.2)
        again += keep(client)
    return again


def test_a_copy_follows_loads_and_grants(changing: Changing) -> None:
    chance = random.Random(5)
    agency, public = Client(changing, KEY), Client(changing)
    given: list[int] = []
    again = 0
    layer = changing.town.registry["plots"]
    with engine.connect(changing.town.database, engine.OWNER) as owner:
        for step in range(8):
            if step % 2:
                names = chance.sample(sorted(changing.rows), 4)
                values = {"hidden_note": f"{step}", "disputed": bool(step % 4 == 1)}
                changes = {names[0]: values, names[1]: {"use": "CQP"}, names[2]: {"use": "ODT", "number": step}}
                changing.change(names[3], **changes)
            elif len(given) > 1 and chance.random() < 0.5:
                grants.revoke(owner, given.pop(chance.randrange(len(given))), by="test", why="test")
            else:
                given.append(grants.give(owner, layer, SHAPES[(step // 2) % len(SHAPES)]))
            again += settle(agency)
            assert keep(public) == 0, "nobody else's grants touch the public's places"
            assert public.features == changing.download()
    assert again, "a rule that is another one asks to begin again"
