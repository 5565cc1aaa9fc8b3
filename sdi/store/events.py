"""What happened to layers, as everybody may read it who sees them: no names of persons or files, and no counts, which
would tell of features that not everybody sees."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from sdi.contract.query import Interval
from sdi.store import engine
from sdi.store.engine import Connection


@dataclass(frozen=True)
class Event:
    """`what`: loaded, derived (made anew because a layer behind it changed), published, withdrawn, contract."""

    at: datetime
    layer: str
    what: str
    mode: str | None
    """Of a load: full, partial, rollback, reform, …"""
    contract_version: str | None
    """Under which it was loaded, or which holds from then on."""


_EVENTS = (
    "SELECT finished_at AS at, layer, CASE WHEN cause IS NULL THEN 'loaded' ELSE 'derived' END AS what,"
    " CASE WHEN cause IS NULL THEN mode END AS mode, contract_version, load_id AS number FROM sdi.load"
    " WHERE status = 'done' AND (layer = ANY (%(whole)s) OR load_id = ANY (%(loads)s)) UNION ALL"
    " SELECT at, layer, event, NULL, contract_version, event_id FROM sdi.layer_event WHERE layer = ANY (%(layers)s)"
)
_WITHIN = (
    " WHERE (%(start)s::timestamptz IS NULL OR at >= %(start)s) AND (%(end)s::timestamptz IS NULL OR at <= %(end)s)"
)


def events(
    connection: Connection, layers: Mapping[str, int | None], whole: Collection[str], within: Interval | None,
    limit: int, offset: int,
) -> tuple[list[Event], int]:  # fmt: skip
    """The events of these layers, the latest first, and how many there are in all.

    `whole`: those of which who asks sees everything. Of the others only that load is told which `layers` names, the
    last one that changed anything they see: one that changed nothing they see is none to them.
    """
    loads = [load for name, load in layers.items() if name not in whole and load is not None]
    interval = within or Interval(None, None)
    parameters = {
        "layers": list(layers), "whole": list(whole), "loads": loads, "start": interval.start, "end": interval.end,
        "limit": limit, "offset": offset,
    }  # fmt: skip
    page = (
        f"SELECT at, layer, what, mode, contract_version FROM ({_EVENTS}) AS e{_WITHIN}"
        " ORDER BY at DESC, layer, what, number DESC LIMIT %(limit)s OFFSET %(offset)s"
    )
    with engine.translated():
        with connection.cursor(row_factory=class_row(Event)) as cursor:
            found = cursor.execute(page.encode(), parameters).fetchall()
        row = connection.execute(f"SELECT count(*) FROM ({_EVENTS}) AS e{_WITHIN}".encode(), parameters).fetchone()
    return found, int(row[0]) if row else 0


def first_loads(connection: Connection) -> dict[str, datetime]:
    """When each layer was loaded first."""
    query = "SELECT layer, min(finished_at) FROM sdi.load WHERE status = 'done' GROUP BY layer"
    with engine.translated():
        return {row[0]: row[1] for row in connection.execute(query) if row[1] is not None}
