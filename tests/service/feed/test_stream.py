"""Changes as they come: a listener over a real socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from sdi.service.feed import stream
from sdi.store import engine
from tests.service.feed.conftest import KEY, Changing

PLOT = "00004.1.1"
PATIENCE = 60.0


class Listener:
    """A client of server-sent events."""

    def __init__(self, changing: Changing, since: str = "now", **headers: str) -> None:
        host, port = changing.town.url.removeprefix("http://").split(":")
        self._connection = HTTPConnection(host, int(port), timeout=PATIENCE)
        path = f"/collections/plots/changes?since={since}"
        self._connection.request("GET", path, headers={"Accept": "text/event-stream", **headers})
        self.answer: HTTPResponse = self._connection.getresponse()
        self.last = ""

    def events(self) -> Iterator[dict[str, Any]]:
        """Each event's data, until the stream ends."""
        data = ""
        while line := self.answer.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "id":
                self.last = value
            elif name == "data":
                data = value
            elif not name and data:
                yield json.loads(data)
                data = ""

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def until(question: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_who_listens_hears_of_a_load_and_goes_on_where_it_was(changing: Changing) -> None:
    with closing(Listener(changing)) as listener:
        assert listener.answer.status == 200
        assert listener.answer.headers["Content-Type"].startswith("text/event-stream")
        assert listener.answer.headers["Cache-Control"] == "no-store"
        changing.change(**{PLOT: {"height": 1.25}})
        heard = next(listener.events())
        assert [(each["action"], each["id"]) for each in heard["changes"]] == [("update", PLOT)]
        assert heard["cursor"] == listener.last
    # What comes while nobody listens is told to who comes back.
    changing.change(**{PLOT: {"height": 2.25}})
    with closing(Listener(changing, **{"Last-Event-ID": listener.last})) as again:
        (change,) = next(again.events())["changes"]
        assert change["feature"]["properties"]["height"] == 2.25
        assert changing.changes(since=again.last)["changes"] == []


def test_from_the_beginning_it_is_a_download_in_parts(changing: Changing) -> None:
    with closing(Listener(changing, since="2000-01-01&limit=7")) as listener:
        found: dict[str, Any] = {}
        for event in listener.events():
            found |= {each["id"]: each["feature"] for each in event["changes"]}
            if not event["more"]:
                break
    assert found == changing.download()


def test_what_is_wrong_is_told_before_it_begins(changing: Changing) -> None:
    with closing(Listener(changing, since="nothing")) as listener:
        assert listener.answer.status == 400
        assert listener.answer.headers["Content-Type"] == "application/problem+json"


def test_silence_has_heartbeats(changing: Changing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.0)
    with closing(Listener(changing)) as listener:
        lines = iter(listener.answer.readline, b"")
        assert b":\n" in (next(lines) for _ in range(10))


def test_a_caller_has_so_many_streams_and_who_hangs_up_frees_one(
    changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "EACH", 2)
    monkeypatch.setattr(stream, "HEARTBEAT", 0.2)
    until(lambda: listening(changing) == 200)  # those of other tests are gone
    held = [Listener(changing), Listener(changing)]
    try:
        assert listening(changing) == 429
        with closing(Listener(changing, Authorization=f"Bearer {KEY}")) as other:
            assert other.answer.status == 200
        held.pop().close()
        until(lambda: listening(changing) == 200)
    finally:
        for each in held:
            each.close()


def listening(changing: Changing) -> int:
    with closing(Listener(changing)) as listener:
        return listener.answer.status


def test_a_stream_ends_when_rights_change_so_that_no_revoked_key_goes_on(changing: Changing) -> None:
    with closing(Listener(changing, Authorization=f"Bearer {KEY}")) as listener:
        assert listener.answer.status == 200
        with engine.connect(changing.town.database) as connection:
            connection.execute("UPDATE sdi.agency_key SET revoked_at = now()")
        try:
            assert list(listener.events()) == []  # it ends
            until(lambda: changing.ask("/collections", KEY).status == 401)
        finally:
            with engine.connect(changing.town.database) as connection:
                connection.execute("UPDATE sdi.agency_key SET revoked_at = NULL")
        until(lambda: changing.ask("/collections", KEY).status == 200)
