"""Large answers in little memory, clients that hang up, and slow questions that delay no small ones."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
import shapely
from fastapi import FastAPI

from sdi.contract.registry import read_registry
from sdi.national import vn2000
from sdi.pipeline import whole
from sdi.service import hangup
from sdi.service.lanes import Lane, Lanes
from sdi.service.texts.shelf import LOOK
from sdi.store import engine, ledger, migrate
from sdi.store.tiles import column_of, row_of
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
    # A query that ends within the tests' patience was cancelled; none ends by its time.
    # Nor has it texts at hand, of which an answer is sent without a query.
    with served(database, registry, also=apps.append, max_limit=MANY, statement_timeout=600.0, ready_text=0) as town:
        town.ask("/collections")
        yield town, apps[0]


@pytest.fixture(scope="module")
def apart(crowd: tuple[Town, FastAPI], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with served_apart(crowd[0], **settings(tmp_path_factory), SDI_READY_TEXT="0") as town:
        yield town


@pytest.fixture(scope="module")
def at_hand(crowd: tuple[Town, FastAPI], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The same with the texts of all plots in a file."""
    said = settings(tmp_path_factory)
    with served_apart(crowd[0], **said) as town:
        town.get(f"{PLOTS}?limit=1")
        seconds_until(lambda: any(Path(said["SDI_DATA"]).glob("texts/plots-*.texts")), 120)
        time.sleep(2 * LOOK)
        yield town


def settings(folders: pytest.TempPathFactory) -> dict[str, str]:
    data = str(folders.mktemp("apart"))
    return {"SDI_MAX_LIMIT": str(MANY), "SDI_STATEMENT_TIMEOUT": "600", "SDI_DATA": data}


def memory(process: int | None, what: str = "VmRSS") -> int:
    """The resident bytes of a process; VmHWM: the most there were."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024


@contextmanager
def grown_by(process: int | None, most: int) -> Iterator[None]:
    """The block lets a process grow by at most so many bytes, as the kernel counts its peak, never mind when it was."""
    Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    before = memory(process)
    yield
    grown = memory(process, "VmHWM") - before
    assert grown < most, f"{grown / MiB:.0f} MiB"


@pytest.mark.parametrize(
    ("more", "many", "least"),
    [
        ("", MANY, 80), ("&sortby=-height", MANY, 80), ("&filter=number%3E0", MANY, 80), ("&f=jsonfg", MANY // 2, 40),
        ("&f=geojsonseq", MANY, 80), ("&f=csv&skipGeometry=false", MANY, 40), ("&f=fgb", 70_000, 30),
        ("&f=gpkg", 70_000, 30), ("&f=parquet", 70_000, 0),
    ],
)  # fmt: skip
def test_the_memory_of_an_answer_does_not_grow_with_it(apart: Town, more: str, many: int, least: int) -> None:
    assert apart.ask(f"{PLOTS}?limit=11000{more}").status == 200
    with grown_by(apart.process, 50 * MiB):
        size, text, answer = taken(apart, f"{PLOTS}?limit={many}{more}")
    assert answer.status == 200
    assert size > least * MiB
    told = answer.headers["OGC-NumberReturned"] or re.findall(rb'"numberReturned":(\d+)', text)[-1]
    assert int(told) == many


def taken(town: Town, path: str) -> tuple[int, bytes, HTTPResponse]:
    """An answer that is read and not kept: its size and its last bytes."""
    connection = HTTPConnection(town.url.removeprefix("http://"), timeout=300)
    connection.request("GET", path)
    answer = connection.getresponse()
    size, text = 0, b""
    while piece := answer.read(4 * MiB):
        size, text = size + len(piece), text[-2000:] + piece[-2000:]
    return size, text, answer


FEW = 1000
MAKING = """
import json, sys
from pathlib import Path
from sdi.pipeline import whole
from sdi.store import whole as parts
parts.PART = 1000
for order in json.load(sys.stdin):
    Path("/proc/self/clear_refs").write_text("5")
    assert whole.make(whole.Order.read(json.dumps(order).encode())) == whole.MADE
    print(Path("/proc/self/status").read_text())
"""
"""Makes files, of a thousand features at a time, and tells after each what it took at its peak."""


def test_the_process_that_makes_files_of_a_layer_does_not_grow_with_it(
    crowd: tuple[Town, FastAPI], tmp_path: Path
) -> None:
    town, _ = crowd
    with engine.connect(town.database) as connection:
        now = ledger.published(connection)["plots"]
    told = {
        "database": town.database, "layers": str(TOWN), "layer": "plots", "generation": now.generation,
        "changed_at": now.changed_at.isoformat(), "seen_at": now.changed_at.isoformat(), "role": engine.READER,
        "attributes": ["number", "owner_kind", "use", "height"], "sight": None, "crs": 4326, "north_first": False,
        "beside": [],
    }  # fmt: skip
    cases = [(format_, number) for number in (FEW, 30 * FEW) for format_ in whole.FORMATS]
    paths = {case: tmp_path / f"{case[1]} {case[0]}" / "now" / f"plots.{case[0]}" for case in cases}
    orders = [
        told | {"format": case[0], "path": str(paths[case]), "filters": [
            {"op": "<=", "args": [{"property": "number"}, case[1]]}]}
        for case in cases
    ]  # fmt: skip
    ran = subprocess.run([sys.executable, "-c", MAKING], input=json.dumps(orders), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    peaks = dict(zip(cases, (int(each) // 1024 for each in re.findall(r"VmHWM:\s+(\d+) kB", ran.stdout)), strict=True))
    for format_ in whole.FORMATS:
        assert paths[format_, 30 * FEW].stat().st_size > 10 * paths[format_, FEW].stat().st_size
    few = max(peaks[format_, FEW] for format_ in whole.FORMATS)
    assert max(peaks.values()) - few < 20, f"MiB: {peaks}"


def test_a_file_of_the_layer_is_made_for_all_who_ask_and_sent_in_little_memory(apart: Town) -> None:
    """Who hangs up meanwhile takes it from nobody: it is made once, and no query belongs to one client."""
    path = "/collections/plots/export?f=csv"
    apart.get(f"{PLOTS}?limit=1")
    with locked(apart):
        with asking(apart, path):
            seconds_until(lambda: bool(backends(apart, "sdi-export")))
        assert apart.ask("/health").status == 200
        assert backends(apart, "sdi-export")
    seconds_until(lambda: apart.ask(path, "HEAD").status == 200)
    assert not backends(apart, "sdi-export")
    with grown_by(apart.process, 20 * MiB):
        size, _, answer = taken(apart, path)
    assert answer.status == 200
    assert size > 40 * MiB


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


def test_what_is_in_a_file_is_sent_in_little_memory_and_holds_no_query(apart: Town, at_hand: Town) -> None:
    path = f"{PLOTS}?limit={MANY}"
    expected = taken(apart, path)
    at_hand.get(f"{PLOTS}?limit=20000")
    with grown_by(at_hand.process, 50 * MiB):
        found = taken(at_hand, path)
    assert found[0] == expected[0]
    before = memory(at_hand.process)
    with asking(at_hand, path) as client:
        client.recv(1000)
        time.sleep(1.5)
        assert memory(at_hand.process) - before < 20 * MiB
        assert not backends(at_hand)


@contextmanager
def asking(town: Town, path: str) -> Iterator[socket.socket]:
    """A client that has asked and reads nothing of itself."""
    host, port = town.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        yield client


def backends(town: Town, application: str = "sdi-service") -> list[Any]:
    """What the connections to features do at this moment, the service's or those of another application."""
    query = (
        "SELECT pid, state, left(query, 60) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = %s AND state <> 'idle'"
    )
    with psycopg.connect(town.database, autocommit=True) as connection:
        return connection.execute(query, [application]).fetchall()


def seconds_until(done: Callable[[], bool], most: float = 30) -> float:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < most
        time.sleep(0.02)
    return time.monotonic() - began


STREAMED = ("json", "jsonfg", "geojsonseq", "csv")
PACKED = ("fgb", "gpkg", "parquet")


@pytest.mark.parametrize("format_", STREAMED)
def test_who_hangs_up_in_the_middle_of_an_answer_ends_its_query(crowd: tuple[Town, FastAPI], format_: str) -> None:
    town, app = crowd
    with asking(town, f"{PLOTS}?limit={MANY}&f={format_}") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        seconds_until(lambda: bool(backends(town)))
    seconds_until(lambda: not backends(town))
    seconds_until(lambda: not lanes_of(app).running[Lane.LONG])


def tile_of_plots() -> str:
    (corner,) = vn2000.to_wgs84(np.array([CORNER]), 5897)
    return f"/collections/plots/tiles/WebMercatorQuad/15/{row_of(corner[1], 15)}/{column_of(corner[0], 15)}"


@pytest.mark.parametrize(
    "path",
    [
        *(f"{SLOW}&f={name}" for name in (*STREAMED, *PACKED, "html", "jsonld")), f"{PLOTS}/00004.1.1", tile_of_plots(),
        *(f"{PLOTS}?limit=5000&f={name}" for name in (*STREAMED, *PACKED)),
    ],
)  # fmt: skip
def test_who_hangs_up_before_the_answer_begins_ends_its_query(crowd: tuple[Town, FastAPI], path: str) -> None:
    town, _ = crowd
    with locked(town):
        with asking(town, path):
            seconds_until(lambda: bool(backends(town)))
        # The lock is still there, and no statement's time is over: only the client has gone.
        seconds_until(lambda: not backends(town))


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
