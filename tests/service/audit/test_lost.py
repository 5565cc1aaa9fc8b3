"""What happens to the trail when a process is killed, the database is away, or the disk takes nothing more."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import threading
import time
from collections import Counter
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import structlog

from sdi.access import Agency
from sdi.errors import StoreError
from sdi.service.answers import Answer as KeptAnswer
from sdi.service.answers import Answers, AtHand
from sdi.service.audit import reads
from sdi.service.audit.door import Audited
from sdi.service.audit.kept import Kept
from sdi.service.audit.record import Answered
from sdi.service.audit.recorder import BOUND, Recorder
from sdi.service.fresh import Validator
from sdi.service.publications import Snapshot
from sdi.service.state import Service
from sdi.store import engine
from sdi.store.audit import chain, search, spool
from sdi.store.audit.proof import verify
from sdi.store.audit.search import Wanted
from sdi.store.audit.spool import Spool
from tests.service.audit.conftest import PATIENCE, Watched, hurried
from tests.service.conftest import served, served_apart

NOW = Snapshot(version=1)
ITEM = "/collections/plots/items/00004.1.2"


def recorded(watched: Watched) -> Counter[str]:
    """How often each request is in the trail."""
    with engine.connect(watched.town.database) as connection:
        rows = connection.execute(
            "SELECT body::jsonb ->> 'request' FROM sdi_audit.entry WHERE seq > %s AND body LIKE '%%\"request\"%%'",
            [watched.after],
        )
        return Counter(row[0] for row in rows)


def test_a_killed_process_loses_no_more_than_it_answered_within_the_bound(watched: Watched, tmp_path: Path) -> None:
    """Whoever was answered longer before the last answer than BOUND is in the trail afterwards, and nobody twice."""
    answered: dict[str, tuple[float, float]] = {}
    enough, settings = threading.Event(), {"SDI_DATA": str(tmp_path)}

    with served_apart(watched.town, **settings) as apart:
        killed = Watched(apart, watched.keys)

        def ask() -> None:
            while True:
                began = time.monotonic()
                try:
                    answer = killed.ask(ITEM)
                except (OSError, ValueError, HTTPException):
                    return  # it is dead
                if answer.status == 200:
                    answered[answer.headers["X-Request-Id"]] = (began, time.monotonic())
                if len(_promised(answered)) >= 60:
                    enough.set()

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        assert enough.wait(PATIENCE)
        assert apart.process is not None
        os.kill(apart.process, signal.SIGKILL)
        for client in clients:
            client.join(PATIENCE)
    promised = _promised(answered)
    assert len(promised) >= 60
    folder = spool.folder_of(tmp_path, watched.town.database)
    assert spool.held(folder), "it could not clean up after itself"

    town = watched.town
    with served(town.database, town.registry, hurried, data=tmp_path):  # who comes next takes over
        began = time.monotonic()
        while not promised <= set(recorded(watched)):
            assert time.monotonic() - began < PATIENCE, len(promised - set(recorded(watched)))
            time.sleep(0.2)
    assert set(recorded(watched).values()) == {1}
    assert spool.held(folder) == {}
    with engine.connect(watched.town.database, engine.OWNER) as owner:
        assert verify(owner).holds


def _promised(answered: dict[str, tuple[float, float]]) -> set[str]:
    """Those that had come when the last one that was answered had not been asked yet, and BOUND before."""
    last = max((asked for asked, _ in answered.copy().values()), default=0.0)
    return {each for each, (_, came) in answered.copy().items() if came < last - BOUND}


def told(number: int) -> bytes:
    return b'{"at":"2026-01-01T00:00:00Z","kind":"read","action":"item","layers":[],"agency":"told_%d"}' % number


def kept(folder: Path) -> list[bytes]:
    return [line for path in folder.rglob("*.spool") for line in path.read_bytes().splitlines()]


def alone(watched: Watched, folder: Path) -> Recorder:
    """A recorder whose threads never come to anything."""
    return Recorder(watched.town.settings.model_copy(update={"data": folder}), watched.town.database)


def test_whoever_answers_writes_what_waits_too_long(watched: Watched, tmp_path: Path) -> None:
    recorder = alone(watched, tmp_path)
    recorder.add(told(1))
    began = time.monotonic()
    while time.monotonic() <= began + BOUND:
        time.sleep(BOUND / 5)
    recorder.add(told(2))
    assert kept(tmp_path)[:1] == [told(1)]
    recorder.write()
    assert kept(tmp_path) == [told(1), told(2)]
    recorder.write()
    assert kept(tmp_path) == [told(1), told(2)]
    recorder.close()


@pytest.mark.parametrize("room", [0, 40])
def test_what_a_full_disk_does_not_take_waits_and_comes_when_there_is_room(
    watched: Watched, tmp_path: Path, room: int
) -> None:
    """`room`: bytes that it still takes, of a line that is longer."""
    recorder = alone(watched, tmp_path)
    recorder.add(told(1))
    recorder.write()
    recorder.add(told(2))
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(told(1)) + 1 + room, usual[1]))
    try:
        recorder.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    with pytest.raises(StoreError):
        recorder.add(told(3))
    assert kept(tmp_path) == [told(1)]
    recorder.write()
    recorder.add(told(4))
    recorder.write()
    assert kept(tmp_path) == [told(1), told(2), told(4)]
    recorder.close()


def test_an_entry_that_cannot_be_made_is_told_of_and_the_others_come(watched: Watched, tmp_path: Path) -> None:
    recorder, agency = alone(watched, tmp_path), Agency("so_thu")
    for number, path in enumerate(["/a", 7, "/b"]):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "state": {}}
        recorder.add(Answered(0.0, scope, agency, watched.town.registry, f"r{number}", 200, [], 0, None))
    recorder.write()
    found = [json.loads(line) for line in kept(tmp_path)]
    assert [(each["kind"], each["request"]) for each in found] == [("read", "r0"), ("damaged", "r1"), ("read", "r2")]
    recorder.close()


def test_while_the_trail_is_held_answers_wait_in_a_file_and_then_are_refused(watched: Watched, tmp_path: Path) -> None:
    town, long = watched.town, f"{ITEM}?x={'y' * 3900}"
    with served(town.database, town.registry, hurried, data=tmp_path, audit_spool=1) as held:
        asked = Watched(held, watched.keys)
        with engine.connect(town.database) as root, root.transaction():
            root.execute("SELECT FROM sdi_audit.head FOR UPDATE")
            statuses = []
            while 503 not in statuses:
                statuses.append(asked.ask(long).status)
                assert len(statuses) < 400
            refused = asked.ask(ITEM, Accept="application/json")
            assert refused.status in (200, 503)  # a shorter one may still have room
            assert asked.ask("/collections/plots/items?limit=1", who=None).status == 200, "the open is not concerned"
        assert len(statuses) > 100
        began = time.monotonic()
        while asked.ask(long).status == 503:
            assert time.monotonic() - began < PATIENCE
            time.sleep(0.1)
    with engine.connect(town.database, engine.OWNER) as owner:
        found = search.find(owner, Wanted(limit=1000))
    kept = [each for each in found if each.seq > watched.after and "yyy" in each.body.get("query", "")]
    assert len(kept) >= len(statuses) - 1


@pytest.mark.parametrize(("setting", "status"), [("strict", 503), ("lenient", 200), ("off", 200)])
def test_a_disk_that_takes_nothing_refuses_by_setting(
    watched: Watched, tmp_path: Path, setting: str, status: int
) -> None:
    (tmp_path / "audit").write_text("a file stands in the way of the folder")
    town = watched.town
    with served(town.database, town.registry, data=tmp_path, audit=setting, kept_answers=4) as broken:
        asked = Watched(broken, watched.keys)
        for _ in range(3):  # the first is made, the others were kept
            answer = asked.ask(ITEM, Accept="application/json")
            assert answer.status == status
            assert (b"properties" in answer.body) == (status == 200)
        assert asked.ask(ITEM, who=None).status == 200


def test_a_streamed_answer_is_recorded_part_by_part_and_says_how_it_ended(watched: Watched, tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in range(3):
            reads.told("plots", ("number",), 150, [f"{part}.{each}" for each in range(150)])
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            if scope["path"] == "/broken" and part == 1:
                raise ConnectionResetError
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    recorder, service = alone(watched, tmp_path), _service(watched)
    for path in ("/whole", "/broken"):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"",
                 "state": {"service": service}}  # fmt: skip
        structlog.contextvars.clear_contextvars()
        try:
            asyncio.run(Audited(streaming, recorder)(scope, None, send))  # type: ignore[arg-type]
        except ConnectionResetError:
            assert path == "/broken"
    recorder.close()
    with engine.connect(watched.town.database, engine.RECORDER) as connection:
        for found in spool.left(spool.folder_of(tmp_path, watched.town.database)):
            assert chain.collect(connection, found) == 9
    bodies = [each.body for each in watched.entries()]
    assert [each.get("part", 0) for each in bodies] == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert [each.get("ended") for each in bodies if each.get("ended")] == ["whole", "broken off"]
    assert sum(read["count"] for each in bodies[:5] for read in each.get("reads", ())) == 450
    with engine.connect(watched.town.database) as connection:
        found = search.find(connection, Wanted(feature="2.149"))
    assert [each.body["part"] for each in found] == [3], "the part that was cut off was not sent"


def test_a_kept_answer_that_could_not_be_sent_is_told_of(watched: Watched, tmp_path: Path) -> None:
    answers, recorder, service = Answers(10**6), alone(watched, tmp_path), _service(watched)

    async def making(scope: Any, receive: Any, send: Any) -> None:
        (key,) = [value for value in scope["state"].values() if isinstance(value, tuple)]
        read = reads.Read("plots", (("number",), 1), ("00004.1.2",), 80, reads._of_ids)
        told = Kept(scope | {"path_params": {"collection": "plots"}}, service.agency, service.registry, (read,))
        answers.keep(key, KeptAnswer(Validator("tag"), [], b"body", told, 1, None, {}))

    async def gone(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise ConnectionResetError

    async def ask() -> None:
        for number in range(2):
            scope = {"type": "http", "method": "GET", "path": ITEM, "headers": [], "query_string": b"",
                     "state": {"service": service, "request": f"r{number}"}}  # fmt: skip
            await AtHand(making, answers, recorder)(scope, None, gone)  # type: ignore[arg-type]

    with pytest.raises(ConnectionResetError):
        asyncio.run(ask())
    recorder.write()
    whole, broken = [json.loads(line) for line in kept(tmp_path)]
    assert (whole["request"], whole["reads"][0]["ids"], "ended" in whole) == ("r1", ["00004.1.2"], False)
    assert (broken["request"], broken["part"], broken["ended"]) == ("r1", 1, "broken off")
    recorder.close()


def _service(watched: Watched) -> Service:
    async def current(self: object) -> Snapshot:
        return NOW

    publications: Any = type("Contracts", (), {"registry": watched.town.registry, "current": current})()
    return Service(watched.town.settings, Agency("so_thu"), None, publications)  # type: ignore[arg-type]


def test_a_line_that_was_cut_short_is_left_out_and_the_rest_comes_in(watched: Watched, tmp_path: Path) -> None:
    file = Spool(tmp_path, 10**6)
    file.write([told(number) for number in range(3)])
    file.close()
    (path,) = tmp_path.glob("*.spool")
    with path.open("ab") as cut:
        cut.write(told(3)[:40])
    with engine.connect(watched.town.database, engine.RECORDER) as connection:
        (found,) = [chain.collect(connection, each) for each in spool.left(tmp_path)]
    assert found == 3
    assert not list(tmp_path.iterdir())


def test_a_file_is_left_alone_while_its_process_lives_and_its_turn_comes_when_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "TURN", 1000)
    kept = Spool(tmp_path, 5000)
    kept.write([b"x" * 600])
    assert list(spool.left(tmp_path)) == []
    first = kept.next()
    assert first is not None
    kept.write(["ỷ".encode() * 300])
    kept.done(first)
    second = kept.next()
    assert second is not None
    assert (second.first, second.count, second.text) == (1, 1, "ỷ".encode() * 300)
    kept.done(second)
    assert kept.next() is None
    assert kept.waiting == 0
    assert not list(tmp_path.iterdir()), "all of it is in the database"
    kept.write([b"z" * 4000])
    assert not kept.full
    kept.write([b"z" * 1000])
    assert kept.full
    assert spool.held(tmp_path) == {path.name: 5002 for path in tmp_path.iterdir()}
    kept.sync()
    kept.close()


def test_one_entry_may_be_longer_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "BYTES", 100)
    kept, texts = Spool(tmp_path, 10**6), ["a" * 1000, "b", "c", "d" * 500, "", "e"]
    kept.write([text.encode() for text in texts])
    found: list[str] = []
    while (lines := kept.next()) is not None:
        assert lines.first == len(found)
        found += lines.text.decode().split("\n")
        assert lines.first + lines.count == len(found)
        kept.done(lines)
    assert found == texts
    kept.close()
