"""Whatever breaks a load off, and wherever: the old layer or the new one is served, and the next load just works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sdi.store import cluster
from tests.deployment import Deployment, serving
from tests.faults.conftest import Struck
from tests.faults.siege import COUNT, GRID, Besieged, besieged, watched
from tests.store.conftest import write_contracts

Point = dict[str, Any]


def spread(places: Sequence[int], count: int) -> list[int]:
    """`count` of some places, evenly, the first and the last among them."""
    return sorted({places[round(n * (len(places) - 1) / (count - 1))] for n in range(count)})


def first_of_each(sites: Sequence[str], rooms: tuple[str, ...]) -> list[int]:
    """The steps (from 1) at which each function of some rooms is entered for the first time."""
    entered: dict[str, int] = {}
    for step, site in enumerate(sites, 1):
        if site.startswith(rooms):
            entered.setdefault(site, step)
    return sorted(entered.values())


def rehearsed(town: Besieged, layer: str, clock: str, path: Path) -> list[str]:
    """Where the steps of an undisturbed load are."""
    answer = town.breaker(layer, path, clock=clock)
    assert (answer["status"], answer["error"]) == (0, None), answer
    return list(answer["sites"])


def assert_nothing_is_left(town: Besieged, things: list[tuple[Any, ...]]) -> None:
    assert town.catalogue() == things
    assert town.running() == 0
    assert town.left_behind() == []


def test_a_load_that_is_killed_at_any_of_50_points_leaves_the_old_layer_or_the_new_one(
    town: Besieged, struck: Struck
) -> None:
    old = town.state()
    things = town.catalogue()
    new_file, old_file = town.files["plots_new"], town.files["plots_old"]
    calls = rehearsed(town, "plots", "call", new_file)
    new = town.state()
    assert town.load("plots", old_file).written == COUNT + 40
    assert town.state() == old != new
    wire = rehearsed(town, "plots", "wire", new_file)
    town.load("plots", old_file)
    steps = range(1, len(wire) + 1)
    points: list[Point] = [
        *({"clock": "call", "at": at, "act": "kill"} for at in spread(first_of_each(calls, ("ingest/",)), 14)),
        *({"clock": "wire", "at": at, "act": "kill"} for at in spread(steps, 34)),
        *({"clock": "wire", "at": at, "act": "kill_soon"} for at in spread(steps, 8)),
    ]  # fmt: skip
    killed, became = 0, Counter[str]()
    before = town.rows("SELECT max(load_id) FROM sdi.load")[0][0]
    with watched(town.breaker.order["url"]) as seen:
        for point in points:
            answer = town.breaker("plots", new_file, **point)
            assert answer["status"] in (-signal.SIGKILL, 0), (point, answer)
            killed += answer["status"] == -signal.SIGKILL
            town.wait_for_quiet()
            found = town.state()
            assert found in (old, new), point
            became["old" if found == old else "new"] += 1
            assert town.catalogue() == things, point
            assert town.running() <= 1, "the next load ends the entry of the one before"
            if found == new:
                assert town.load("plots", old_file).written == COUNT + 40
    assert killed >= 50
    assert became["old"] >= 40
    assert became["new"] >= 1, "no load was killed after its commit"
    assert seen == {old, new} or seen == {old}
    assert town.load("plots", new_file).written == COUNT + 40
    assert town.state() == new
    assert_nothing_is_left(town, things)
    ends = dict(town.rows(
        "SELECT coalesce(reason, status), count(*) FROM sdi.load WHERE load_id > %s AND layer = 'plots' GROUP BY 1",
        before,
    ))  # fmt: skip
    assert ends["interrupted"] >= 25
    assert set(ends) == {"interrupted", "done"}
    town.settle()
    assert town.state() == old
    struck("kill -9 of a load: reading, checking, COPY, delta, commit", became["old"], became["new"])


def test_a_rollback_that_is_killed_leaves_the_old_layer_or_the_one_before(town: Besieged, struck: Struck) -> None:
    was, things = town.state(), town.catalogue()
    first = town.rows("SELECT load_id FROM sdi.publication WHERE layer = 'plots'")[0][0]
    town.load("plots", town.files["plots_new"])
    new = town.state()
    order = {"rollback": first, "clock": "wire"}
    rehearsal = town.breaker("plots", None, **order)
    assert (rehearsal["status"], rehearsal["error"]) == (0, None), rehearsal
    assert town.state() == was != new
    town.load("plots", town.files["plots_new"])
    killed, became = 0, Counter[bool]()
    with watched(town.breaker.order["url"]) as seen:
        for at in spread(range(1, len(rehearsal["sites"]) + 1), 9):
            killed += town.breaker("plots", None, **order, at=at, act="kill")["status"] == -signal.SIGKILL
            town.wait_for_quiet()
            assert town.state() in (was, new), at
            became[town.state() == was] += 1
            assert town.catalogue() == things, at
            if town.state() == was:
                town.load("plots", town.files["plots_new"])
    assert killed >= 8
    assert seen <= {was, new}
    assert town.breaker("plots", None, **order)["error"] is None
    assert town.state() == was
    assert_nothing_is_left(town, things)
    struck("kill -9 of a rollback", became[False], became[True])


def test_the_first_load_of_an_empty_layer_that_is_killed_leaves_it_empty_or_whole(
    town: Besieged, struck: Struck
) -> None:
    """It takes another way than a delta does: COPY into the table itself."""
    whole = town.state()

    def empty() -> None:
        town.connection.execute("TRUNCATE town.plots, town.plot_summary, town.heights__plots")
        town.connection.execute("UPDATE sdi.publication SET count = 0 WHERE layer = 'plots'")

    empty()
    nothing, things = town.state(), town.catalogue()
    wire = rehearsed(town, "plots", "wire", town.files["plots_old"])
    became: Counter[bool] = Counter()
    for at in spread(range(wire.index("store/ledger:start") + 2, len(wire) + 1), 9):
        empty()
        assert town.breaker("plots", town.files["plots_old"], clock="wire", at=at, act="kill")["status"] in (0, -9)
        town.wait_for_quiet()
        assert town.connection.execute("SELECT count(*) FROM town.plots").fetchone() in ((0,), (COUNT,)), at
        assert town.catalogue() == things, at
        became[town.connection.execute("SELECT count(*) FROM town.plots").fetchone() == (0,)] += 1
        if town.connection.execute("SELECT count(*) FROM town.plots").fetchone() == (0,):
            assert town.state() == nothing, at
    town.load("plots", town.files["plots_old"])
    assert town.connection.execute("SELECT count(*) FROM town.plots").fetchone() == (COUNT,)
    assert_nothing_is_left(town, things)
    assert town.state().split(" ")[0] == whole.split(" ")[0]
    struck("kill -9 of the first load of a layer", became[True], became[False])


@pytest.mark.parametrize("act", ["terminate", "cut"])
def test_a_lost_connection_is_told_in_a_sentence_and_the_entry_says_failed(
    town: Besieged, act: str, struck: Struck
) -> None:
    old, things = town.state(), town.catalogue()
    wire = rehearsed(town, "plots", "wire", town.files["plots_new"])
    new = town.state()
    town.load("plots", town.files["plots_old"])
    entered, became = wire.index("store/ledger:start") + 1, Counter[bool]()
    for at in [1, *spread(range(entered + 1, len(wire) + 1), 5)]:
        answer = town.breaker("plots", town.files["plots_new"], clock="wire", at=at, act=act)
        assert answer["status"] == 0, "never a traceback"
        assert answer["error"] in ("StoreError", None), answer
        town.wait_for_quiet()
        assert town.state() in (old, new), at
        assert town.catalogue() == things, at
        became[town.state() == old] += 1
        status, reason = town.rows("SELECT status, reason FROM sdi.load WHERE layer = 'plots' ORDER BY load_id")[-1]
        if town.state() == new:
            assert status == "done"
            town.load("plots", town.files["plots_old"])
        elif at > entered:
            assert answer["error"] == "StoreError"
            assert "connection was lost" in answer["said"]
            assert (status, reason) == ("failed", "StoreError")
    assert town.load("plots", town.files["plots_new"]).written == COUNT + 40
    assert_nothing_is_left(town, things)
    town.load("plots", town.files["plots_old"])
    what = {"terminate": "pg_terminate_backend", "cut": "the connection is cut"}[act]
    struck(what, became[True], became[False])


def test_whoever_reads_over_http_sees_one_state_of_a_layer_or_the_other(town: Besieged) -> None:
    wire = rehearsed(town, "plots", "wire", town.files["plots_new"])
    town.load("plots", town.files["plots_old"])
    pages: set[tuple[int, str]] = set()

    def ask(_: psycopg.Connection[Any]) -> str:
        with urllib.request.urlopen(f"{url}/collections/plots/items?f=json&limit=1000") as answer:
            found = json.load(answer)["features"]
        floors = {feature["properties"]["floors"] for feature in found}
        assert len(floors) == 1, "a mixture"
        pages.add((len(found), str(floors)))
        return str(floors)

    with serving(town) as url, watched(town.breaker.order["url"], ask):
        for at in spread(range(wire.index("store/ledger:start") + 2, len(wire) + 1), 6):
            town.breaker("plots", town.files["plots_new"], clock="wire", at=at, act="kill")
        town.load("plots", town.files["plots_new"])
        town.load("plots", town.files["plots_old"])
    assert pages == {(COUNT, "{1}"), (COUNT, "{2}")}


def test_a_coverage_that_is_killed_leaves_its_old_file_served_and_no_other_for_long(
    town: Besieged, struck: Struck
) -> None:
    old, things = town.state(), town.catalogue()
    new_file, old_file = town.files["heights_new"], town.files["heights_old"]
    calls = rehearsed(town, "heights", "call", new_file)
    new = town.state()
    town.load("heights", old_file)
    assert town.state() == old != new
    wire = rehearsed(town, "heights", "wire", new_file)
    town.load("heights", old_file)
    points: list[Point] = [
        *({"clock": "call", "at": at} for at in spread(first_of_each(calls, ("ingest/",)), 3)),
        *({"clock": "wire", "at": at} for at in spread(range(1, len(wire) + 1), 6)),
    ]  # fmt: skip
    became: Counter[bool] = Counter()
    for point in points:
        assert town.breaker("heights", new_file, act="kill", **point)["status"] in (-signal.SIGKILL, 0)
        town.wait_for_quiet()
        assert town.state() in (old, new), point
        served = town.rows("SELECT facts->>'file' FROM sdi.publication WHERE layer = 'heights'")[0][0]
        assert (town.settings.data / served).is_file(), point
        became[town.state() == old] += 1
        if town.state() == new:
            town.load("heights", old_file)
    town.load("heights", new_file)
    assert len(list((town.settings.data / "coverages").rglob("*.tif"))) == 2, "the one served, and the one before"
    town.load("heights", old_file)
    assert len(list((town.settings.data / "coverages").rglob("*.tif"))) == 2
    assert town.catalogue() == things
    assert town.running() == 0
    assert town.state() == old
    struck("kill -9 of a coverage's load", became[True], became[False])


def test_the_files_of_another_database_in_the_same_folder_are_let_alone(town: Besieged) -> None:
    folder = town.settings.data / "coverages" / "heights"
    mark = folder / ".database"
    mine = mark.read_text()
    mark.write_text("another")
    (folder / "theirs.tif").write_bytes(b"II")
    try:
        town.load("heights", town.files["heights_old"])
        assert (folder / "theirs.tif").exists()
    finally:
        mark.write_text(mine)
    town.load("heights", town.files["heights_old"])
    assert not (folder / "theirs.tif").exists()


def test_a_full_disk_of_the_loading_machine_is_told_and_changes_nothing(town: Besieged, struck: Struck) -> None:
    old, things = town.state(), town.catalogue()
    for size in (4096, 60_000):
        answer = town.breaker("plots", town.files["plots_new"], file_size=size)
        assert answer["status"] == 0, "never a traceback"
        assert answer["error"] in ("StoreError", "SourceError"), answer
        assert "disk" in answer["said"], answer
        assert town.state() == old
    town.load("plots", town.files["plots_old"])
    assert_nothing_is_left(town, things)
    struck("the loading machine's disk is full", 2)


# --- the server itself --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Besieged, Path]]:
    """The town on a server of its own, which may be broken, and the folder of that server's cluster."""
    from sdi.contract.registry import read_registry
    from sdi.settings import Settings
    from sdi.store import engine, migrate

    folder = tmp_path_factory.mktemp("alone")
    url = cluster.start(folder / "data")
    try:
        layers = write_contracts(folder / "layers")
        registry = read_registry(layers)
        with engine.connect(url) as connection:
            migrate.apply(connection, registry)
        at = Deployment(Settings(database_url=url, layers=layers, data=folder / "data", grid=GRID), registry)
        with besieged(at, folder) as made:
            made.load("heights", made.files["heights_old"])
            made.settle()
            yield made, folder / "data"
    finally:
        cluster.remove(folder / "data")


def crash(folder: Path, which: signal.Signals) -> None:
    """Stop the server at once, as a power cut does, and start it again."""
    pid = cluster.status(folder).pid
    assert pid is not None
    os.kill(pid, which)
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}/cwd").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    cluster.start(folder)


@contextmanager
def paused(town: Besieged, at: int) -> Iterator[dict[str, Any]]:
    """A load that stands still before its step; it goes on when the block ends, and its answer is then there."""
    flag = town.folder / "paused"
    answer: dict[str, Any] = {}
    work = {"clock": "wire", "at": at, "act": "pause", "paused": str(flag)}
    thread = threading.Thread(target=lambda: answer.update(town.breaker("plots", town.files["plots_new"], **work)))
    thread.start()
    until = time.monotonic() + 30
    while not flag.exists():
        assert thread.is_alive()
        assert time.monotonic() < until
        time.sleep(0.01)
    yield answer
    flag.unlink()
    thread.join()


def test_a_server_that_is_stopped_at_once_comes_back_with_the_old_layer(
    alone: tuple[Besieged, Path], struck: Struck
) -> None:
    town, folder = alone
    url = str(town.breaker.order["url"])
    old, things = town.state(), town.catalogue()
    wire = rehearsed(town, "plots", "wire", town.files["plots_new"])
    town.load("plots", town.files["plots_old"])
    inside = range(wire.index("store/ledger:start") + 3, len(wire) - 2)
    for at, which in zip(spread(inside, 3), (signal.SIGQUIT, signal.SIGKILL, signal.SIGQUIT), strict=True):
        with paused(town, at) as answer:
            crash(folder, which)
        assert (answer["status"], answer["error"]) == (0, "StoreError"), answer
        with psycopg.connect(url, autocommit=True, application_name="faults") as connection:
            again = Besieged(**{**vars(town), "connection": connection})
            assert again.state() == old
            assert again.catalogue() == things
            assert again.load("plots", town.files["plots_new"]).written == COUNT + 40
            again.load("plots", town.files["plots_old"])
            assert_nothing_is_left(again, things)
            assert again.state() == old
    struck("the server is stopped at once", 3)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of a few megabytes. Skips where a test may not mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave a disk without a free page."""
    junk = disk / "junk"
    with junk.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return junk


@pytest.mark.parametrize("what", ["the layer", "the staging tables"])
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="a small disk needs root and mount")
def test_a_full_disk_of_the_server_is_told_and_changes_nothing(
    alone: tuple[Besieged, Path], tmp_path: Path, what: str, struck: Struck
) -> None:
    town, folder = alone
    data = cluster.status(folder).data
    assert data is not None
    with (
        small_disk(Path("/var/tmp") / f"sdi-disk-{os.getpid()}-{len(what)}", 4) as disk,
        psycopg.connect(str(town.breaker.order["url"]), autocommit=True, application_name="faults") as connection,
    ):
        again = Besieged(**{**vars(town), "connection": connection})
        old = again.state()
        os.chown(disk, data.stat().st_uid, data.stat().st_gid)
        connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'".encode())
        connection.execute("GRANT CREATE ON TABLESPACE small TO sdi_loader")
        if what == "the layer":
            connection.execute("ALTER TABLE town.plots SET TABLESPACE small")
        else:
            connection.execute("ALTER DATABASE sdi SET temp_tablespaces = small")
        things = again.catalogue()
        junk = fill(disk)
        answer = town.breaker("plots", town.files["plots_new"])
        assert (answer["status"], answer["error"]) == (0, "StoreError"), answer
        assert answer["said"].startswith("The database's disk is full.")
        assert again.state() == old
        assert again.catalogue() == things
        junk.unlink()
        assert again.load("plots", town.files["plots_new"]).written == COUNT + 40
        again.load("plots", town.files["plots_old"])
        assert_nothing_is_left(again, things)
        connection.execute("ALTER DATABASE sdi RESET temp_tablespaces")
        connection.execute("ALTER TABLE town.plots SET TABLESPACE pg_default")
        again.wait_for_quiet()
        connection.execute("DROP TABLESPACE small")
    struck(f"the server's disk is full, of {what}", 1)
