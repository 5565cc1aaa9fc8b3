"""Two at one layer: one is told who has it, or waits; and who may load which layer and area at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.errors import NotAllowed, NotFound, StoreError, UsageError
from sdi.store import engine, hold, stewardship
from sdi.store.engine import Connection
from tests.faults.siege import COUNT, Besieged, plots

NORTH, SOUTH = "Chi nhánh Bắc", "Chi nhánh Nam"


@pytest.fixture
def owner(town: Besieged) -> Iterator[Connection]:
    """The owner's connection; grants made in a test are gone after it."""
    with engine.connect(engine.database_url(town.settings)) as connection:
        yield connection
        connection.execute("DELETE FROM sdi.stewardship")


def deliver(town: Besieged, layer: str, path: Path, steward: str, **said: Any) -> pipeline.Outcome:
    with town.loader() as connection:
        return pipeline.deliver(
            connection, town.settings, town.registry, layer, Request(path, steward=steward, allow_shrink=True), **said
        )


# --- one at a time ------------------------------------------------------------------------------------------------


def test_the_second_is_told_at_once_who_is_reading_and_since_when(town: Besieged) -> None:
    with town.loader() as other:
        assert hold.take(other, "plots", NORTH, "thua_bac.gpkg") is None
        missing = town.folder / "never_read.gpkg"  # the file is not looked at: it is not even there
        with pytest.raises(StoreError) as told:
            deliver(town, "plots", missing, SOUTH)
        assert f"'plots' is being loaded: reading of thua_bac.gpkg by '{NORTH}', since " in str(told.value)
        assert "--wait" in str(told.value)
        assert hold.take(other, "zones", NORTH) is None, "another layer is free"
    with town.loader() as free:
        assert hold.holder(free, "plots") is None, "a lost connection holds nothing"


def test_the_second_is_told_the_load_once_that_is_writing(town: Besieged) -> None:
    flag = town.folder / "writing"
    wire = town.breaker("plots", town.files["plots_new"])["sites"]
    order = {"at": wire.index("store/ledger:finish") + 1, "act": "pause", "paused": str(flag)}
    thread = threading.Thread(target=lambda: town.breaker("plots", town.files["plots_old"], **order))
    thread.start()
    try:
        until = time.monotonic() + 30
        while not flag.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(StoreError, match=r"load \d+ by 'chi_nhanh_q1', since \d\d:\d\d:\d\d UTC"):
            deliver(town, "plots", town.files["plots_new"], SOUTH)
    finally:
        flag.unlink(missing_ok=True)
        thread.join()
    town.settle()


def test_whoever_waits_is_told_for_whom_and_loads_afterwards(town: Besieged) -> None:
    other = town.loader()
    connection = other.__enter__()
    assert hold.take(connection, "plots", NORTH, "thua_bac.gpkg") is None
    told: list[str] = []

    def waiting(holder: hold.Holder) -> None:
        told.append(str(holder))
        if len(told) == 2:
            connection.close()  # and the layer is free

    outcome = deliver(town, "plots", town.files["plots_new"], SOUTH, wait=60.0, waiting=waiting)
    assert outcome.load is not None
    assert outcome.load.written == COUNT + 40
    assert [each.split(", since")[0] for each in told] == [f"reading of thua_bac.gpkg by '{NORTH}'"] * 2
    town.settle()


def test_patience_ends(town: Besieged) -> None:
    with town.loader() as other:
        assert hold.take(other, "plots", NORTH) is None
        begun = time.monotonic()
        with pytest.raises(StoreError, match=NORTH):
            deliver(town, "plots", town.files["plots_new"], SOUTH, wait=0.6)
        assert time.monotonic() - begun >= 0.6


# --- one steward for each layer and area --------------------------------------------------------------------------


def test_a_layer_without_a_grant_takes_loads_from_anyone(town: Besieged) -> None:
    for steward in (NORTH, SOUTH):
        assert deliver(town, "zones", town.files["zones_old"], steward).load is not None


def test_a_granted_layer_takes_loads_from_its_steward_alone(town: Besieged, owner: Connection) -> None:
    zones = town.registry["zones"]
    assert stewardship.grant(owner, zones, NORTH) is True
    assert stewardship.grant(owner, zones, f"  {NORTH.upper()} ") is False, "it is the same agency"
    before = town.rows("SELECT count(*) FROM sdi.load")
    with pytest.raises(NotAllowed, match=f"'zones' is collected by '{NORTH}' since .*; '{SOUTH}' may not load it"):
        deliver(town, "zones", town.folder / "never_read.gpkg", SOUTH)
    assert town.rows("SELECT count(*) FROM sdi.load") == before
    assert deliver(town, "zones", town.files["zones_old"], NORTH).load is not None
    with pytest.raises(NotAllowed, match="is held by"):
        stewardship.grant(owner, zones, SOUTH)
    assert stewardship.revoke(owner, zones, NORTH) == 1
    assert stewardship.grant(owner, zones, SOUTH) is True
    assert [each.steward for each in stewardship.grants(owner, "zones", revoked=True)] == [NORTH, SOUTH]


def test_two_stewards_of_two_areas_load_one_layer_and_end_nothing_of_each_other(
    town: Besieged, owner: Connection
) -> None:
    layer = town.registry["plots"]
    stewardship.grant(owner, layer, NORTH, "00001")
    stewardship.grant(owner, layer, SOUTH, "00002")
    south = plots(town.folder / "south.geojson", range(1000, 1010), 3, ward="00002")
    again = plots(town.folder / "again.geojson", range(1000, 1010), 9, ward="00002")
    loaded = deliver(town, "plots", south, SOUTH).load
    assert loaded is not None
    assert (loaded.inserted, loaded.deleted) == (10, 0)
    loaded = deliver(town, "plots", town.files["plots_new"], NORTH).load
    assert loaded is not None
    assert loaded.deleted == 40
    assert town.rows("SELECT ward, count(*) FROM town.plots GROUP BY 1 ORDER BY 1") == [("00001", COUNT), ("00002", 10)]
    state = town.state()
    for path, steward, said in (
        (again, NORTH, rf"outside his areas \(00002: \d+ changes, '{SOUTH}' \(00002\)"),
        (plots(town.folder / "both.geojson", range(995, 1005), 4, ward="00001"), NORTH, "00002: 5 changes"),
        (plots(town.folder / "none.geojson", range(2000, 2003), 4, ward="00009"), SOUTH, "00009: 3 changes, nobody"),
    ):
        with pytest.raises(NotAllowed, match=said):
            deliver(town, "plots", path, steward)
        assert town.state() == state
        assert town.rows("SELECT status, reason FROM sdi.load ORDER BY load_id")[-1] == ("failed", "NotAllowed")
    stewardship.revoke(owner, layer, SOUTH)
    stewardship.revoke(owner, layer, NORTH)
    town.connection.execute("DELETE FROM town.plots WHERE ward = '00002'")
    town.settle()


def test_a_grant_has_to_be_one_that_can_be_kept(town: Besieged, owner: Connection) -> None:
    with pytest.raises(UsageError, match="has no areas"):
        stewardship.grant(owner, town.registry["zones"], NORTH, "00001")
    with pytest.raises(UsageError, match="nobody delivers it"):
        stewardship.grant(owner, town.registry["zone_summary"], NORTH)
    with pytest.raises(NotFound):
        stewardship.revoke(owner, town.registry["zones"], NORTH)
    stewardship.grant(owner, town.registry["plots"], NORTH, "00001")
    with pytest.raises(NotAllowed, match="Area 00001 of 'plots' is held by"):
        stewardship.grant(owner, town.registry["plots"], SOUTH)


def test_a_loader_cannot_give_itself_a_layer(town: Besieged) -> None:
    with town.loader() as loader, pytest.raises(Exception, match="permission denied"):
        loader.execute("INSERT INTO sdi.stewardship (layer, steward) VALUES ('plots', 'me')")
