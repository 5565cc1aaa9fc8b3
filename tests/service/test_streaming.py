"""Large answers in little memory, clients that hang up, and slow questions that delay no small ones."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import shapely
from fastapi import FastAPI

from sdi.contract.registry import read_registry
from sdi.service import hangup
from sdi.service.lanes import Lane, Lanes
from sdi.store import engine, migrate
from tests.service.conftest import CORNER, TOWN, Town, deliver, plots, served, served_apart, works

PLOTS = "/collections/plots/items"
MANY = 200_000
MiB = 2**20
FILL = """
INSERT INTO testtown.plots (id, key, number, owner_kind, use, height, geom, geom_wgs84, row_hash, load_id)
SELECT to_char(i, 'FM"99999."000000'), i, i, repeat('Tổ chức ', 20), 'ODT', i, p.geom, p.geom_wgs84, '', 1
FROM generate_series(1, %s - 35) AS i, LATERAL (SELECT * FROM testtown.plots WHERE id = '00004.1.1') AS p
"""
SLOW = f"{PLOTS}?filter=number%3E5&limit=1"
"""A filter, that waits while the plots are locked."""
SMALL = "/collections/works/items?bbox=100,20,110,22&limit=3"


@pytest.fixture(scope="module")
def crowd(new_database: Callable[[], str]) -> Iterator[tuple[Town, FastAPI]]:
    """A town with 200,000 plots and some works, and the application that serves it."""
    registry = read_registry(TOWN)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    table, shapes = works()
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    secret = pa.table({"id": ["a"], "name": ["a"]})
    deliver(database, registry, registry["secrets"], secret, [shapely.Point(*CORNER)], [5897])
    with engine.connect(database) as connection:
        connection.execute(FILL, [MANY])
        connection.execute("ANALYZE testtown.plots")
    apps: list[FastAPI] = []
    with served(database, registry, also=apps.append, max_limit=MANY) as town:
        town.ask("/collections")
        yield town, apps[0]


@pytest.fixture(scope="module")
def apart(crowd: tuple[Town, FastAPI]) -> Iterator[Town]:
    with served_apart(crowd[0], SDI_MAX_LIMIT=str(MANY)) as town:
        yield town


def memory(process: int | None) -> int:
    """The resident bytes of a process."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("more", ["", "&sortby=-height", "&filter=number%3E0", "&f=geojsonseq",
                                  "&f=csv&skipGeometry=false"])  # fmt: skip
def test_the_memory_of_an_answer_does_not_grow_with_it(apart: Town, more: str) -> None:
    assert apart.ask(f"{PLOTS}?limit=20000{more}").status == 200
    before = highest = memory(apart.process)
    connection = HTTPConnection(apart.url.removeprefix("http://"), timeout=300)
    connection.request("GET", f"{PLOTS}?limit={MANY}{more}")
    answer = connection.getresponse()
    size, text = 0, b""
    while piece := answer.read(4 * MiB):
        size, text = size + len(piece), text[-2000:] + piece[-2000:]
        highest = max(highest, memory(apart.process))
    assert answer.status == 200
    assert size > (40 if "csv" in more else 80) * MiB
    told = answer.headers["OGC-NumberReturned"] or re.findall(rb'"numberReturned":(\d+)', text)[-1]
    assert int(told) == MANY
    assert highest - before < 50 * MiB, f"{(highest - before) / MiB:.0f} MiB"


def test_a_box_that_holds_few_is_not_streamed_whatever_its_limit(crowd: tuple[Town, FastAPI]) -> None:
    """QGIS asks for as many features as a page may have, of every box."""
    town, app = crowd
    box = "/collections/works/items?bbox=100,20,110,22"
    lanes_of(app).most.clear()
    few, many = town.get(f"{box}&limit=1000"), town.ask(f"{box}&limit={MANY}")
    found = json.loads(many.body)
    assert found["features"] == few["features"] != []
    assert found["numberMatched"] == few["numberMatched"]
    assert 'rel="self"' in many.headers["Link"]
    assert not lanes_of(app).most[Lane.LONG]
    assert len(town.get(f"{PLOTS}?limit=2001")["features"]) == 2001
    assert lanes_of(app).most[Lane.LONG] == 1


def test_a_slow_reader_holds_one_part_of_its_answer(apart: Town) -> None:
    apart.get(f"{PLOTS}?limit=20000")
    before = memory(apart.process)
    with asking(apart, f"{PLOTS}?limit={MANY}") as client:
        client.recv(1000)
        time.sleep(1.5)
        assert memory(apart.process) - before < 20 * MiB
        assert backends(apart)


@contextmanager
def asking(town: Town, path: str) -> Iterator[socket.socket]:
    """A client that has asked and reads nothing of itself."""
    host, port = town.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        yield client


def backends(town: Town) -> list[Any]:
    """What the service's connections to features do at this moment."""
    query = (
        "SELECT pid, state, left(query, 60) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'sdi-service' AND state <> 'idle'"
    )
    with psycopg.connect(town.database, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def seconds_until(done: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < 30
        time.sleep(0.02)
    return time.monotonic() - began


def test_who_hangs_up_in_the_middle_of_an_answer_ends_its_query(crowd: tuple[Town, FastAPI]) -> None:
    town, app = crowd
    with asking(town, f"{PLOTS}?limit={MANY}") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        seconds_until(lambda: bool(backends(town)))
    assert seconds_until(lambda: not backends(town)) < 1
    assert not lanes_of(app).running[Lane.LONG]


@pytest.mark.parametrize("path", [SLOW, f"{SLOW}&f=csv", f"{SLOW}&f=html", f"{PLOTS}/00004.1.1",
                                  f"{PLOTS}?limit=5000", f"{PLOTS}?limit=5000&f=geojsonseq",
                                  f"{PLOTS}?filter=number%3E5&limit=1&f=jsonld"])  # fmt: skip
def test_who_hangs_up_before_the_answer_begins_ends_its_query(crowd: tuple[Town, FastAPI], path: str) -> None:
    town, _ = crowd
    with locked(town):
        with asking(town, path):
            seconds_until(lambda: bool(backends(town)))
        assert seconds_until(lambda: not backends(town)) < 1


def test_who_takes_nothing_of_an_answer_is_left(crowd: tuple[Town, FastAPI], monkeypatch: pytest.MonkeyPatch) -> None:
    town, app = crowd
    monkeypatch.setattr(hangup, "STALLED", 0.5)
    with asking(town, f"{PLOTS}?limit={MANY}"):
        seconds_until(lambda: bool(backends(town)))
        seconds_until(lambda: not backends(town))
    assert not lanes_of(app).running[Lane.LONG]


@contextmanager
def locked(town: Town) -> Iterator[None]:
    """While it lasts every query of the plots waits."""
    with psycopg.connect(town.database) as connection:
        connection.execute("LOCK TABLE testtown.plots IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def lanes_of(app: FastAPI) -> Lanes:
    found: Lanes = app.state.service.reader.lanes
    return found


def test_slow_filters_delay_nothing_small(crowd: tuple[Town, FastAPI]) -> None:
    town, app = crowd
    lanes = lanes_of(app)
    each = lanes.turns[Lane.SLOW].each
    with ThreadPoolExecutor(24) as clients, locked(town):
        slow = [clients.submit(town.ask, SLOW) for _ in range(20)]
        seconds_until(lambda: lanes.waiting[Lane.SLOW] == 20 - each)
        assert lanes.running[Lane.SLOW] == each < lanes.places[Lane.SLOW] < town.settings.pool_size
        for path in ("/conformance", SMALL, "/collections/works/items/02", "/collections", "/health", SMALL):
            assert town.ask(path).status == 200
            assert not any(one.done() for one in slow), path
    assert [one.result().status for one in slow] == [200] * 20
    assert lanes.most[Lane.SLOW] == each
    assert lanes.running[Lane.SLOW] + lanes.waiting[Lane.SLOW] == 0


def test_long_answers_leave_room_for_filters(crowd: tuple[Town, FastAPI]) -> None:
    town, app = crowd
    lanes = lanes_of(app)
    with ThreadPoolExecutor(10) as clients:
        sockets = [clients.submit(held_open, town) for _ in range(3)]
        seconds_until(lambda: lanes.running[Lane.LONG] == lanes.turns[Lane.LONG].each)
        assert town.ask("/collections/works/items?filter=floors%3E0").status == 200
        assert town.ask(SMALL).status == 200
        assert lanes.running[Lane.LONG] == lanes.turns[Lane.LONG].each < lanes.places[Lane.SLOW]
        for each in sockets:
            each.result().close()
    seconds_until(lambda: not lanes.running[Lane.LONG])


def held_open(town: Town) -> socket.socket:
    """A client that has asked for all plots and takes them very slowly."""
    host, port = town.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(f"GET {PLOTS}?limit={MANY} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return client


def test_who_waits_too_long_for_a_turn_is_told_so(crowd: tuple[Town, FastAPI], monkeypatch: pytest.MonkeyPatch) -> None:
    town, app = crowd
    refused = 6 - lanes_of(app).turns[Lane.SLOW].each
    monkeypatch.setattr("sdi.service.lanes.PATIENCE", 0.2)
    with ThreadPoolExecutor(8) as clients, locked(town):
        asked = f"{SLOW}&offset=1"  # the answer to the other is kept already
        slow = [clients.submit(town.ask, asked) for _ in range(6)]
        seconds_until(lambda: sum(each.done() for each in slow) == refused)
        answers = [each.result() for each in slow if each.done()]
    assert [answer.status for answer in answers] == [503] * refused
    assert json.loads(answers[0].body)["title"] == "The request takes too long"
