"""What a layer was and is to be again: differences between two states as a file, and rollbacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.errors import UsageError
from sdi.ingest import write
from sdi.ingest.entire import entire
from sdi.pipeline.deliver import measure
from sdi.pipeline.turn import Waiting, turn
from sdi.settings import Settings
from sdi.store import derived, difference, engine, ledger, restore, writers
from sdi.store.engine import Connection
from sdi.store.loader import Load

SIDES = ("before", "after")


@dataclass(frozen=True)
class RolledBack:
    """`load`: the rollback's own; `made`: the derived layers it changed."""

    layer: Layer
    to_load: int
    load: Load
    made: list[Load] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer.id,
            "restores": self.to_load,
            "load": self.load.__dict__,
            "derived": [load.__dict__ for load in self.made],
        }


def rollback(
    connection: Connection,
    settings: Settings,
    registry: Registry,
    layer_id: str,
    to_load: int,
    *,
    steward: str,
    wait: float = 0.0,
    waiting: Waiting | None = None,
) -> RolledBack:
    """Bring a layer, and what is derived from it, to the state that load `to_load` left; all in one transaction.

    It is a load of its own (mode `rollback`), so it can be rolled back in turn. `connection`: a loader's, in autocommit
    mode. Raises NotFound, UsageError, NotAllowed, StoreError.
    """
    layer = registry[layer_id]
    restore.may_restore(connection, layer, to_load)
    with (
        turn(connection, layer, Request(Path("rollback"), steward=steward), wait=wait, waiting=waiting),
        ledger.recorded(connection, layer, None, steward=steward, restores=to_load) as load_id,
        engine.translated(),
        connection.transaction(),
    ):
        load = restore.restore(connection, layer, registry, to_load, load_id=load_id)
        writers.examine(connection, layer, load.load_id, steward)
        measure(connection, settings, registry, load.load_id)
        made = derived.refresh(connection, registry, load.load_id)
    return RolledBack(layer, to_load, load, made)


def write_difference(connection: Connection, layer: Layer, a: int, b: int, path: Path) -> None:
    """Write what differs between two states to a GeoPackage for QGIS.

    Layers `before` and `after` hold the differing features as they were and are, `changes` one row for each: what kind
    of change, which attributes, how far the shape moved, and by which load. Raises UsageError for another suffix,
    StoreError where the disk is full.
    """
    require_geopackage(path)
    assert layer.geometry is not None
    srid = difference.grid(connection, layer)
    names = [attribute.name for attribute in layer.stored]
    with entire(path) as part:
        for side in SIDES:
            rows = difference.read_side(connection, layer, a, b, side, names, srid).read_all()
            write.write_features(part, side, rows, srid, layer.geometry.type, beside=True)
        rows = difference.read_changes(connection, layer, a, b, srid).read_all()
        write.write_features(part, "changes", rows, srid, layer.geometry.type, beside=True)


def require_geopackage(path: Path) -> None:
    """Raises UsageError where a file of this name is no GeoPackage."""
    if path.suffix.lower() != ".gpkg":
        raise UsageError(f"'{path.name}' is not a GeoPackage.", hint="Name it with .gpkg.")
