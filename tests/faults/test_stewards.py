"""Two at one layer: one is told who has it, or waits; and who may load which layer and area at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sdi import pipeline
from sdi.access import Action, Grant
from sdi.contract.delivery import Mode, Request
from sdi.contract.layer import Layer
from sdi.errors import NotAllowed, NotFound, StoreError, UsageError
from sdi.store import engine, hold, stewardship, waiver
from sdi.store.engine import Connection
from sdi.store.sharing import agencies as register
from sdi.store.sharing import grants
from tests.faults.siege import COUNT, Besieged, plots

NORTH, SOUTH = "Chi nhánh Bắc", "Chi nhánh Nam"
WARD, OTHER, STEWARD = "phuong_bac", "phuong_nam", "so_nnmt"
"""Agencies; STEWARD is that of the contracts."""


@pytest.fixture
def owner(town: Besieged) -> Iterator[Connection]:
    """The owner's connection; grants made in a test are gone after it."""
    with engine.connect(engine.database_url(town.settings)) as connection:
        yield connection
        connection.execute("DELETE FROM sdi.stewardship; DELETE FROM sdi.grant")


@pytest.fixture
def agencies(owner: Connection) -> Iterator[Connection]:
    """The owner's connection, with two wards in the register."""
    for name, vi in ((WARD, "Phường Bắc"), (OTHER, "Phường Nam")):
        register.add(owner, name, "ward", vi, f"{vi} (en)")
    yield owner
    owner.execute("DELETE FROM sdi.grant")
    owner.execute("DELETE FROM sdi.agency WHERE id = ANY (%s)", [[WARD, OTHER]])


def give(owner: Connection, layer: Layer, agency: str, *actions: Action, **more: Any) -> int:
    return grants.give(owner, layer, Grant(0, agency, layer.id, actions=frozenset(actions), **more))


def deliver(
    town: Besieged, layer: str, path: Path, steward: str, mode: Mode | None = None, **said: Any
) -> pipeline.Outcome:
    request = Request(path, steward=steward, allow_shrink=True, mode=mode)
    with town.loader() as connection:
        return pipeline.deliver(connection, town.settings, town.registry, layer, request, **said)


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
        (plots(town.folder / "none.geojson", range(2000, 2003), 4, ward="00009"), SOUTH, "00009: 3 changes, 'so_nnmt'"),
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


# --- what agencies are granted ------------------------------------------------------------------------------------


def test_an_agency_that_was_granted_to_load_loads_alone(town: Besieged, agencies: Connection) -> None:
    zones, file = town.registry["zones"], town.files["zones_old"]
    number = give(agencies, zones, WARD, "load")
    for other in (OTHER, STEWARD, "ai đó"):
        with pytest.raises(NotAllowed, match=f"'zones' is collected by '{WARD}' since .*may not load it"):
            deliver(town, "zones", town.folder / "never_read.gpkg", other)
    for name in (WARD, "phường  bắc", "Phường Bắc (en)"):
        assert deliver(town, "zones", file, name).load is not None
    grants.revoke(agencies, number, "thử xong")
    assert deliver(town, "zones", file, OTHER).load is not None


def test_what_is_granted_for_other_days_holds_on_those(town: Besieged, agencies: Connection) -> None:
    today = datetime.now(UTC).date()
    zones, file = town.registry["zones"], town.files["zones_old"]
    give(agencies, zones, WARD, "load", valid_from=today + timedelta(days=5), valid_to=today + timedelta(days=9))
    assert deliver(town, "zones", file, OTHER).load is not None, "nobody has it yet"
    with pytest.raises(NotAllowed, match=rf"'zones' is held by '{WARD}'"):
        give(agencies, zones, OTHER, "load")
    give(agencies, zones, OTHER, "load", valid_to=today + timedelta(days=5))
    with pytest.raises(NotAllowed):
        deliver(town, "zones", file, WARD)


def test_one_agency_collects_whichever_register_says_so(town: Besieged, agencies: Connection) -> None:
    plots = town.registry["plots"]
    give(agencies, plots, WARD, "load", communes=("00001", "00003"))
    with pytest.raises(NotAllowed, match="Area 00003 of 'plots' is held by") as told:
        stewardship.grant(agencies, plots, SOUTH, "00003")
    assert f"sdi agencies revoke {WARD} --grant" in str(told.value)
    with pytest.raises(NotAllowed, match="'plots' is held by"):
        stewardship.grant(agencies, plots, SOUTH)
    assert stewardship.grant(agencies, plots, SOUTH, "00002")
    with pytest.raises(NotAllowed, match="Area 00002 of 'plots' is held by"):
        give(agencies, plots, OTHER, "load", communes=("00002",))
    assert stewardship.grant(agencies, plots, WARD, "00001"), "it is the same agency's"


def test_the_contracts_steward_has_what_was_given_to_nobody_else(town: Besieged, agencies: Connection) -> None:
    layer = town.registry["plots"]
    deliver(town, "plots", town.files["plots_old"], STEWARD)
    give(agencies, layer, WARD, "load", communes=("00002",))
    north = plots(town.folder / "rest.geojson", range(1000, 1004), 3, ward="00003")
    south = plots(town.folder / "south.geojson", range(1100, 1103), 3, ward="00002")
    assert deliver(town, "plots", south, WARD).load is not None
    assert deliver(town, "plots", north, STEWARD).load is not None
    state = town.state()
    with pytest.raises(NotAllowed, match=r"outside his areas \(00003: 4 changes, 'so_nnmt'\)"):
        deliver(town, "plots", plots(town.folder / "n.geojson", range(1000, 1004), 5, ward="00003"), WARD)
    with pytest.raises(NotAllowed, match=rf"outside his areas \(00002: 3 changes, '{WARD}' \(00002\) since"):
        deliver(town, "plots", plots(town.folder / "s.geojson", range(1100, 1103), 6, ward="00002"), STEWARD)
    assert town.state() == state
    town.connection.execute("DELETE FROM town.plots WHERE ward <> '00001'")


def test_who_may_edit_delivers_in_part_what_the_grant_is_about(town: Besieged, agencies: Connection) -> None:
    layer = town.registry["plots"]
    deliver(town, "plots", town.files["plots_old"], STEWARD)
    give(agencies, layer, WARD, "edit", rows="code IN ('P1', 'P2', 'P3', 'P1200')")
    two = plots(town.folder / "two.geojson", range(1, 3), 7)
    with pytest.raises(NotAllowed, match=f"'plots' is collected by '{STEWARD}'; '{WARD}' may not load it") as told:
        deliver(town, "plots", two, WARD)
    assert "--mode partial" in str(told.value)
    with pytest.raises(NotAllowed, match=f"'plots' is collected by '{STEWARD}'; '{OTHER}' may not edit it"):
        deliver(town, "plots", two, OTHER, "partial")
    loaded = deliver(town, "plots", two, WARD, "partial").load
    assert loaded is not None
    assert (loaded.inserted, loaded.updated, loaded.deleted) == (0, 2, 0)
    with town.loader() as loader, pytest.raises(NotAllowed, match=r"collected by 'so_nnmt'; .* lets nothing pass"):
        waiver.give(loader, layer, "geometry.spike", "P1", reason="của mình", steward=WARD)
    state = town.state()
    for numbers in (range(2, 6), range(1200, 1202)):
        with pytest.raises(NotAllowed, match="outside his areas"):
            deliver(town, "plots", plots(town.folder / "more.geojson", numbers, 8), WARD, "partial")
        assert town.state() == state
    assert deliver(town, "plots", town.files["plots_old"], STEWARD).load is not None, "the contract's steward loads"


def test_who_may_edit_on_some_ground_neither_takes_from_outside_nor_puts_there(
    town: Besieged, agencies: Connection
) -> None:
    layer = town.registry["plots"]
    deliver(town, "plots", town.files["plots_old"], STEWARD)
    # P0 to P3 lie in it, P4 touches it.
    query = "SELECT ST_AsGeoJSON(ST_Envelope(ST_Collect(geom_wgs84)), 12, 0) FROM town.plots WHERE code = ANY (%s)"
    ground = town.rows(query, [["P0", "P1", "P2", "P3"]])[0][0]
    give(agencies, layer, WARD, "edit", polygon=ground)
    inside = plots(town.folder / "inside.geojson", range(0, 4), 7)
    assert deliver(town, "plots", inside, WARD, "partial").load is not None
    state = town.state()
    outside = plots(town.folder / "outside.geojson", range(4, 5), 7)
    away = json.loads(inside.read_text())
    away["features"] = away["features"][:1]
    away["features"][0]["geometry"] = json.loads(outside.read_text())["features"][0]["geometry"]
    moved = town.folder / "moved.geojson"
    moved.write_text(json.dumps(away))
    for path in (outside, moved):
        with pytest.raises(NotAllowed, match="outside his areas"):
            deliver(town, "plots", path, WARD, "partial")
        assert town.state() == state
    deliver(town, "plots", town.files["plots_old"], STEWARD)


def test_grants_of_a_merged_agency_are_those_of_its_successor(town: Besieged, agencies: Connection) -> None:
    give(agencies, town.registry["zones"], WARD, "load")
    register.merge(agencies, WARD, OTHER, "NQ 202/2025/QH15")
    try:
        with pytest.raises(NotAllowed, match=f"collected by '{OTHER}'"):
            deliver(town, "zones", town.files["zones_old"], WARD)
        assert deliver(town, "zones", town.files["zones_old"], OTHER).load is not None
    finally:
        register.unmerge(agencies, WARD, "thử xong")


def test_findings_pass_where_somebody_may_let_them(town: Besieged, agencies: Connection) -> None:
    zones = town.registry["zones"]
    about: dict[str, Any] = {"reason": "đo lại rồi", "steward": "ai đó"}
    with town.loader() as loader:
        assert waiver.give(loader, zones, "geometry.spike", "Z1", **about), "nobody was named"
        give(agencies, zones, WARD, "approve")
        with pytest.raises(NotAllowed, match="lets nothing pass"):
            waiver.give(loader, zones, "geometry.spike", "Z2", **about)
        with pytest.raises(NotAllowed, match="lets nothing pass"):
            waiver.revoke(loader, zones, "geometry.spike", "Z1", steward="ai đó")
        for who in (WARD, STEWARD):
            assert waiver.give(loader, zones, "geometry.spike", "Z2", **about | {"steward": who})
            waiver.revoke(loader, zones, "geometry.spike", "Z2", steward=who)
        waiver.revoke(loader, zones, "geometry.spike", "Z1", steward=WARD)
    assert deliver(town, "zones", town.files["zones_old"], OTHER).load is not None, "loading is another thing"


@pytest.mark.parametrize(
    ("layer", "actions", "more"),
    [
        ("plots", ["load"], {"rows": "floors > 3"}),
        ("plots", ["load", "read"], {"attributes": ("floors",)}),
        ("plots", ["edit"], {"precision": "centroid"}),
        ("plots", ["approve"], {"communes": ("00001",)}),
        ("plot_summary", ["load"], {}),
        ("plot_summary", ["edit"], {}),
        ("heights", ["edit"], {}),
    ],
)
def test_a_right_to_write_is_one_that_can_be_kept(
    town: Besieged, agencies: Connection, layer: str, actions: list[Action], more: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        give(agencies, town.registry[layer], WARD, *actions, **more)
    assert give(agencies, town.registry["plot_summary"], WARD, "approve")
    with pytest.raises(UsageError, match="The public reads"):
        give(agencies, town.registry["plots"], "public", "edit")
