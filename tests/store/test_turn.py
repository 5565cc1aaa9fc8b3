"""Loads change derived layers one after another; nobody else waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sdi.contract.report import Report
from sdi.store import bulk, derived, engine, ledger, loader, waiver
from sdi.store.engine import Connection
from sdi.store.sharing import agencies, keys
from tests.store.town import Town, delivery, features, plot, zone

ENOUGH = "5s"
"""Who waits longer for a lock in these tests waits for the load, which goes on only behind them."""


@contextmanager
def loading(town: Town) -> Iterator[Connection]:
    """While it lasts a load of the plots has written all of its rows and is at what is derived of them."""
    layer = town.registry["plots"]
    with (
        engine.connect(town.url) as connection,
        ledger.recorded(connection, layer, delivery(layer)) as load_id,
        connection.transaction(),
    ):
        rows = features(layer, [plot(n, floors=9) for n in range(20)])
        loader.load(
            connection, layer, town.registry, rows, None, delivery(layer), Report("plots", "1.0.0"), load_id=load_id
        )
        yield connection
        derived.refresh(connection, town.registry, load_id)


def test_who_writes_no_layer_waits_for_no_load(settled: Town) -> None:
    town, own = settled, settled.connection
    agencies.add(own, "turn_ward", "ward", "Phường", "Ward")
    keys.make_key(own, "turn_ward")
    with loading(town):
        own.execute(f"SET lock_timeout = '{ENOUGH}'".encode())
        before = ledger.version(own)
        keys.revoke(own, "turn_ward")
        agencies.add(own, "turn_department", "department", "Sở", "Department")
        ledger.withdraw(own, town.registry["zones"])
        waiver.give(own, town.registry["plots"], "geometry.spike", "1", reason="it is a wall", steward="own")
        assert ledger.version(own) >= before + 4, "services are told of all that"
        now = ledger.version(own)
    assert ledger.version(own) > now, "and of the load at its commit"
    assert not ledger.publications(own)["zones"].published
    ledger.publish(own, town.registry["zones"])
    assert ledger.publications(own)["zones"].published


def test_first_loads_of_two_layers_that_one_is_derived_of_wait_for_each_other_in_turn(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one has locked its table against readers while its rows came; the other derives of it."""
    monkeypatch.setattr(bulk, "_WORTH", 5)
    failed: list[BaseException] = []

    def load_zones() -> None:
        try:
            with engine.connect(town.url, application="turn") as connection:
                Town(town.url, town.registry, connection).load("zones", [zone(f"Z{n}", n % 4) for n in range(8)])
        except BaseException as error:
            failed.append(error)

    second = threading.Thread(target=load_zones)

    def meanwhile() -> None:
        second.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'turn' AND wait_event_type = 'Lock'"
        for _ in range(1500):
            if town.one(waiting):
                return
            time.sleep(0.02)
        raise AssertionError("the second load waits for nothing")

    layer = town.registry["plots"]
    rows = features(layer, [plot(n) for n in range(20)])
    with (
        engine.connect(town.url) as connection,
        ledger.recorded(connection, layer, delivery(layer)) as load_id,
        connection.transaction(),
    ):
        begun = loader.fill_ahead(connection, layer, rows.to_reader, 20, load_id, meanwhile)
        report = Report("plots", "1.0.0", 20, 20)
        loader.load(connection, layer, town.registry, rows, None, delivery(layer), report, load_id=load_id, begun=begun)
        derived.refresh(connection, town.registry, begun.load_id)
    second.join()
    assert failed == []
    assert len(town.ids("plots")) == 20
    assert len(town.ids("zones")) == 8
    with town.connection.transaction():
        assert derived.refresh(town.connection, town.registry, rebuild=True) == []
