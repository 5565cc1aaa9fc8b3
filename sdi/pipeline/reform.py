"""An administrative reform, from the table of successions to the features of a layer and what is derived from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.pipeline.deliver import measure
from sdi.pipeline.turn import Waiting, turn
from sdi.settings import Settings
from sdi.store import derived, engine, ledger, writers
from sdi.store import reform as codes
from sdi.store.engine import Connection
from sdi.store.loader import Load
from sdi.store.reform import Plan


@dataclass(frozen=True)
class Reformed:
    """What became of a reform. `load` is None where it was only planned; `made`: the derived layers it changed."""

    layer: Layer
    on: date
    plan: Plan
    load: Load | None = None
    made: list[Load] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer.id,
            "on": self.on.isoformat(),
            **self.plan.to_json(),
            "load": self.load.__dict__ if self.load else None,
            "derived": [load.__dict__ for load in self.made],
        }


def reform(
    connection: Connection,
    settings: Settings,
    registry: Registry,
    layer_id: str,
    on: date,
    *,
    steward: str,
    wait: float = 0.0,
    waiting: Waiting | None = None,
) -> Reformed:
    """Give a layer's features the unit codes in force on a day, derived layers included; all in one transaction.

    It is a load of its own (mode `reform`), so it is told by `sdi diff` and taken back by `sdi rollback`. `connection`:
    a loader's, in autocommit mode. Raises NotFound, UsageError, NotAllowed, StoreError.
    """
    layer = registry[layer_id]
    units = codes.may_reform(layer, registry)
    source = codes.source_of(units, on)
    with (
        turn(connection, layer, Request(Path(source), steward=steward), wait=wait, waiting=waiting),
        ledger.recorded(connection, layer, None, steward=steward, mode=codes.MODE, source=source) as load_id,
        engine.translated(),
        connection.transaction(),
    ):
        plan, load = codes.reform(connection, layer, registry, on, load_id=load_id)
        assert load is not None
        writers.examine(connection, layer, load.load_id, steward)
        measure(connection, settings, registry, load.load_id)
        made = derived.refresh(connection, registry, load.load_id)
    return Reformed(layer, on, plan, load, made)


def plan_reform(connection: Connection, registry: Registry, layer_id: str, on: date) -> Reformed:
    """What `reform` would do; nothing is written."""
    layer = registry[layer_id]
    codes.may_reform(layer, registry)
    with engine.translated(), connection.transaction(force_rollback=True):
        plan, _ = codes.reform(connection, layer, registry, on)
    return Reformed(layer, on, plan)
