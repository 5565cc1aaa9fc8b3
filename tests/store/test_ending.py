"""Full and partial deliveries, what they say has ended, and how much one may end."""

from __future__ import annotations

from typing import Any

import pytest

from sdi.contract.layer import Layer
from sdi.contract.report import Report
from sdi.errors import UsageError
from sdi.store import ledger, loader
from sdi.store.loader import Load
from tests.store.town import Town, delivery, features, plot, zone


def deliver(town: Town, layer: str | Layer, rows: list[dict[str, Any]], **said: Any) -> tuple[Load, Report]:
    contract = town.registry[layer] if isinstance(layer, str) else layer
    report = Report(contract.id, contract.version, len(rows), len(rows))
    with town.connection.transaction():
        load = loader.load(
            town.connection, contract, town.registry, features(contract, rows), None, delivery(contract, **said), report
        )
    return load, report


def plots(count: int, ward: str = "00001") -> list[dict[str, Any]]:
    return [plot(n, ward=ward) for n in range(count)]


def test_a_full_layer_takes_a_partial_delivery_that_says_so(town: Town) -> None:
    deliver(town, "plots", plots(5))
    load, _ = deliver(town, "plots", [plot(1, ward="00001", floors=50), plot(7, ward="00001")], mode="partial")
    assert (load.inserted, load.updated, load.deleted) == (1, 1, 0)
    assert town.ids("plots") == {"P0", "P1", "P2", "P3", "P4", "P7"}
    assert [entry.mode for entry in ledger.history(town.connection, "plots")] == ["partial", "full"]


def test_a_partial_layer_takes_a_full_delivery_that_says_so(town: Town) -> None:
    shops = [{"id": f"S{n}", "number": f"S{n}", "plot": None, "geom": None} for n in range(3)]
    deliver(town, "shops", shops)
    load, _ = deliver(town, "shops", shops[:2], mode="full")
    assert load.deleted == 1
    assert town.ids("shops") == {"S0", "S1"}


@pytest.mark.parametrize("mode", ["full", "partial"])
def test_what_a_delivery_names_as_ended_has_ended_in_either_mode(town: Town, mode: Any) -> None:
    deliver(town, "plots", [*plots(4), plot(9, ward="00002")])
    load, report = deliver(town, "plots", plots(4), mode=mode, ended=("P9",))
    assert (load.written, load.deleted) == (1, 1)
    assert town.ids("plots") == {"P0", "P1", "P2", "P3"}
    assert report.by_rule() == {}
    assert town.rows("SELECT id, load_to FROM town.plots__past") == [("P9", load.load_id)]


def test_ids_that_end_nothing_are_told(town: Town) -> None:
    deliver(town, "plots", plots(4))
    load, report = deliver(town, "plots", plots(3), mode="partial", ended=("P1", "P77", "P3", "P78"))
    assert load.deleted == 1
    assert town.ids("plots") == {"P0", "P1", "P2"}
    told = {finding.rule: (finding.value, finding.other, finding.action) for finding in report.findings}
    assert told == {
        "delivery.ended_unknown": (2, "P77, P78", "warn"), "delivery.ended_delivered": (1, "P1", "warn"),
    }  # fmt: skip
    kept = town.rows("SELECT rule FROM sdi.finding WHERE load_id = %s ORDER BY rule", load.load_id)
    assert kept == [("delivery.ended_delivered",), ("delivery.ended_unknown",)]


def test_a_full_delivery_that_would_end_too_much_writes_nothing(town: Town) -> None:
    deliver(town, "plots", plots(40))
    before = town.rows("SELECT id, ctid::text FROM town.plots ORDER BY id")
    with pytest.raises(ledger.Refused):
        deliver(town, "plots", plots(30))
    assert town.rows("SELECT id, ctid::text FROM town.plots ORDER BY id") == before


def test_a_full_delivery_may_end_as_much_as_is_meant(town: Town) -> None:
    deliver(town, "plots", plots(40))
    load, report = deliver(town, "plots", plots(30), allow_shrink=True)
    (found,) = report.findings
    assert (found.rule, found.action, found.value, found.limit, found.other) == (
        "delivery.shrinks",
        "warn",
        25.0,
        20,
        10,
    )
    assert load.deleted == 10


def test_what_stays_below_the_tolerance_or_is_named_is_not_too_much(town: Town) -> None:
    deliver(town, "plots", plots(60))
    load, report = deliver(town, "plots", plots(48))
    assert (load.deleted, report.by_rule()) == (12, {})
    load, report = deliver(town, "plots", plots(20), ended=tuple(f"P{n}" for n in range(20, 48)))
    assert (load.deleted, report.by_rule()) == (28, {})


def test_the_share_is_of_the_scope_and_small_layers_may_change(town: Town) -> None:
    others = [plot(n, ward="00002") for n in range(100, 200)]
    deliver(town, "plots", [*plots(20), *others])
    with pytest.raises(ledger.Refused):
        deliver(town, "plots", plots(5))
    load, _ = deliver(town, "plots", plots(11))
    assert load.deleted == 9
    deliver(town, "zones", [zone(f"Z{n}", n * 2) for n in range(3)])
    assert deliver(town, "zones", [zone("Z1", 2)])[0].deleted == 2


def test_a_contract_may_say_how_much_and_what_follows(town: Town) -> None:
    contract = town.registry["plots"]

    def with_check(**said: Any) -> Layer:
        check = {"rule": "delivery.shrinks", **said}
        return Layer.model_validate(contract.model_dump(mode="json") | {"checks": [check]})

    deliver(town, contract, plots(40))
    with pytest.raises(ledger.Refused):
        deliver(town, with_check(tolerance=5, parameters={"least": 2}), plots(37))
    assert deliver(town, with_check(tolerance=50), plots(25))[0].deleted == 15
    load, report = deliver(town, with_check(action="warn"), plots(10))
    assert (load.deleted, report.by_rule()) == (15, {"delivery.shrinks": 1})


def test_a_partial_delivery_is_never_too_small(town: Town) -> None:
    deliver(town, "plots", plots(40))
    load, report = deliver(town, "plots", plots(1), mode="partial")
    assert (load.written, report.by_rule()) == (0, {})


def test_a_full_delivery_of_ends_alone_is_wrong_usage(town: Town) -> None:
    deliver(town, "zones", [zone(f"Z{n}", n * 2) for n in range(3)])
    with pytest.raises(UsageError):
        deliver(town, "zones", [], ended=("Z0",))
    assert deliver(town, "zones", [], mode="partial", ended=("Z0",))[0].deleted == 1


def test_one_percent_changed_writes_one_percent_and_the_same_again_nothing(town: Town) -> None:
    """The generation is what the service's entity tags are made of."""
    rows = plots(100) + [plot(n, ward="00002") for n in range(100, 110)]
    deliver(town, "plots", rows)
    generation = ledger.published(town.connection)["plots"].generation
    load, _ = deliver(town, "plots", rows)
    assert (load.written, load.unchanged) == (0, 110)
    assert ledger.published(town.connection)["plots"].generation == generation
    rows[7]["floors"] = 77
    load, _ = deliver(town, "plots", rows[:100])
    assert (load.written, load.updated, load.unchanged) == (1, 1, 99)
    after = ledger.published(town.connection)["plots"]
    assert (after.generation, after.count) == (generation + 1, 110)
