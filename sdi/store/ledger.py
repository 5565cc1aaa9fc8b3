"""What was delivered and loaded, and what is published.

Every load, publish and withdraw makes `version()` grow and notifies channel `sdi`, so a service knows that it has to
look again. A layer's generation grows only when its rows changed: it is the layer's entity tag.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from sdi.contract.delivery import Delivery
from sdi.contract.layer import Layer
from sdi.contract.report import Report
from sdi.errors import NotFound, StoreError
from sdi.store import engine, extents, findings, quarantine, tables, touched
from sdi.store.engine import Connection
from sdi.store.extents import Filled

CHANNEL = "sdi"
"""What `LISTEN` hears at the commit of a load, publish or withdraw; the payload is the layer's id."""


@dataclass(frozen=True)
class Entry:
    """One delivery in the ledger. `status`: running, done, refused, failed. Counts are features."""

    load_id: int
    layer: str
    kind: str
    status: str
    mode: str | None
    cause: int | None
    """Of a derived layer: the load that made it change."""
    restores: int | None
    """Of a rollback: the load whose state came back."""
    steward: str
    started_at: datetime
    finished_at: datetime | None
    """Of a load that is done: the instant of its commit, shared with the derived layers it changed."""
    file_name: str | None
    sha256: str | None
    crs_declared: str | None
    crs_used: str | None
    encoding: str | None
    grid: int | None
    operation: int | None
    contract_version: str
    contract_sha256: str
    read: int
    inserted: int
    updated: int
    deleted: int
    unchanged: int
    kept: int
    quarantined: int
    dropped: int
    by_rule: dict[str, int] | None
    delivery: dict[str, Any] | None
    reason: str | None


@dataclass(frozen=True)
class Publication:
    """What is known of a layer's content. `extent`: west, south, east, north in WGS 84 degrees; None: empty."""

    layer: str
    published: bool
    generation: int
    count: int
    extent: tuple[float, float, float, float] | None
    grids: tuple[int, ...]
    """EPSG codes of the grids that features lie in."""
    time_start: datetime | None
    time_end: datetime | None
    """None with a start: still valid."""
    load_id: int | None
    loaded_at: datetime
    changed_at: datetime
    facts: dict[str, Any]
    """Of a coverage: what its reading found out, and its file."""


class Refused(Exception):
    """A delivery turns out to be refused while it is loaded; its report says why. What was written is rolled back."""


@dataclass(frozen=True)
class Counts:
    """What a load did to the rows."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    kept: int = 0

    @property
    def written(self) -> int:
        return self.inserted + self.updated + self.deleted


# --- entries ------------------------------------------------------------------------------------------------------


def start(
    connection: Connection,
    layer: Layer,
    delivery: Delivery | None,
    *,
    report: Report | None = None,
    status: str = "running",
    steward: str | None = None,
    cause: int | None = None,
    restores: int | None = None,
    mode: str | None = None,
    source: str | None = None,
) -> int:
    """Enter a delivery; return its load_id. Outside a transaction the entry stands at once, whatever follows.

    restores: this is a rollback to that load. mode and source (in the place of a file's name): of a load that is
    neither a delivery nor a rollback.
    """
    if mode is None:
        mode = "rollback" if restores is not None else delivery.mode if delivery else None
    facts: dict[str, Any] = {
        "layer": layer.id, "kind": layer.kind, "status": status, "mode": mode or layer.load.mode, "cause": cause,
        "restores": restores, "steward": steward or (delivery.steward if delivery else "sdi"),
        "contract_version": layer.version, "contract_sha256": tables.fingerprint(layer), "file_name": source,
    }  # fmt: skip
    if delivery is not None:
        facts |= {name: getattr(delivery, name) for name in _OF_DELIVERY}
        facts["delivery"] = json.dumps(delivery.to_json(), default=str)
    if report is not None:
        facts |= {"read": report.read, "quarantined": report.quarantined, "dropped": report.dropped}
        facts["by_rule"] = json.dumps(report.by_rule())
    ended = sql.SQL("NULL") if status == "running" else sql.SQL("clock_timestamp()")
    statement = sql.SQL(
        "INSERT INTO sdi.load ({}, backend, finished_at) VALUES ({}, pg_backend_pid(), {}) RETURNING load_id"
    ).format(_names(facts), sql.SQL(", ").join(map(sql.Placeholder, facts)), ended)
    row = connection.execute(statement, facts).fetchone()
    assert row is not None
    return int(row[0])


_OF_DELIVERY = ("file_name", "sha256", "crs_declared", "crs_used", "encoding", "grid", "operation")


def in_order(connection: Connection, layer: Layer, load_id: int) -> int:
    """The id under which a load writes; call it once the layer's lock is held.

    An entry is made before the lock is taken, so a load may have overtaken it that was entered later. Then the entry
    gets a new id: within a layer, ids grow in the order of the commits, and `load_id <= n < load_to` is the state that
    load n left. (A number per layer beside the id would have to stand in every row, or be joined to each.)
    """
    row = connection.execute(
        "UPDATE sdi.load SET load_id = DEFAULT WHERE load_id = %(load_id)s AND EXISTS (SELECT FROM sdi.load o"
        " WHERE o.layer = %(layer)s AND o.status = 'done' AND o.load_id > %(load_id)s) RETURNING load_id",
        {"layer": layer.id, "load_id": load_id},
    ).fetchone()
    return int(row[0]) if row else load_id


def finish(connection: Connection, load_id: int, counts: Counts, report: Report | None = None) -> None:
    """Set an entry to done with what was written; belongs into the load's own transaction.

    At its commit the database writes the instant of the commit into `finished_at` (sdi.stamp_load).
    """
    facts: dict[str, Any] = {
        name: getattr(counts, name) for name in ("inserted", "updated", "deleted", "unchanged", "kept")
    }
    if report is not None:
        facts |= {"read": report.read, "quarantined": report.quarantined, "dropped": report.dropped}
        facts["by_rule"] = json.dumps(report.by_rule())
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in facts
    )
    statement = "UPDATE sdi.load SET status = 'done', finished_at = clock_timestamp(), {} WHERE load_id = %(load_id)s"
    connection.execute(sql.SQL(statement).format(assignments), {**facts, "load_id": load_id})


def refuse(connection: Connection, layer: Layer, delivery: Delivery, report: Report, load_id: int | None = None) -> int:
    """Enter a delivery that the contract refuses, with its findings, in a transaction of its own; return its load_id.

    The layer stays as it is.
    """
    with connection.transaction():
        if load_id is None:
            load_id = start(connection, layer, delivery, report=report, status="refused")
        else:
            finish(connection, load_id, Counts(), report)
            connection.execute("UPDATE sdi.load SET status = 'refused' WHERE load_id = %s", [load_id])
        findings.write(connection, load_id, report)
        quarantine.settle_refusals(connection, layer.id, load_id)
        bump(connection, layer.id)
    return load_id


def fail(connection: Connection, load_id: int, reason: str) -> None:
    """Say of a running entry that its load broke off; in a transaction of its own, on any connection."""
    connection.execute(
        "UPDATE sdi.load SET status = 'failed', finished_at = clock_timestamp(), reason = %s"
        " WHERE load_id = %s AND status = 'running'",
        [reason, load_id],
    )


@contextmanager
def recorded(
    connection: Connection,
    layer: Layer,
    delivery: Delivery | None,
    *,
    steward: str | None = None,
    restores: int | None = None,
    mode: str | None = None,
    source: str | None = None,
) -> Iterator[int]:
    """Around a load's transaction: an entry that runs, and that says so when the load breaks off.

    Gives the load_id, in whose place the load may take a later one (`in_order`). A process that is killed leaves its
    entry running; the next load of the layer ends it.
    """
    load_id = start(connection, layer, delivery, steward=steward, restores=restores, mode=mode, source=source)
    try:
        yield load_id
    except Refused:
        raise  # the caller enters it, with its findings
    except BaseException as error:
        _give_up(connection, load_id, type(error).__name__)
        raise


def _give_up(connection: Connection, load_id: int, reason: str) -> None:
    """Say that a load broke off; where its connection was lost, on another. Failing that, the next load says it."""
    with suppress(psycopg.Error):
        if not connection.closed:
            fail(connection, load_id, reason)
            return
        with engine.another(connection) as apart:
            fail(apart, load_id, reason)


def end_abandoned(connection: Connection, layer: str, load_id: int) -> None:
    """End the entries of a layer whose process died. One that lives is told by the lock, and ends its own."""
    connection.execute(
        "UPDATE sdi.load SET status = 'failed', finished_at = clock_timestamp(), reason = 'interrupted'"
        " WHERE layer = %s AND status = 'running' AND load_id <> %s"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = backend)",
        [layer, load_id],
    )


def history(connection: Connection, layer: str | None = None, limit: int = 100) -> list[Entry]:
    """The newest entries first, of one layer or of all."""
    fields = _names(dict.fromkeys(Entry.__dataclass_fields__))
    statement = sql.SQL(
        "SELECT {} FROM sdi.load WHERE %(layer)s::text IS NULL OR layer = %(layer)s"
        " ORDER BY load_id DESC LIMIT %(limit)s"
    ).format(fields)
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(statement, {"layer": layer, "limit": limit}).fetchall()


def _names(facts: Mapping[str, Any]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, facts))


# --- what is published --------------------------------------------------------------------------------------------


def version(connection: Connection) -> int:
    """A number that grows with every load, publish and withdraw."""
    row = connection.execute("SELECT version FROM sdi.state").fetchone()
    if row is None:
        raise StoreError("The database is not set up.", hint="Run 'sdi db migrate'.")
    return int(row[0])


def identity(connection: Connection) -> str:
    """Tells one database from another, for files that belong to one: when it was made, to the microsecond."""
    row = connection.execute("SELECT min(applied_at)::text FROM sdi.migration").fetchone()
    return str(row[0]) if row else ""


def take_turn(connection: Connection) -> None:
    """Wait until no other load is between its first written row and its end.

    Two loads of different layers may change one derived layer; the second sees, from here on, all that the first wrote.
    Every load takes the turn before anything that a third could wait for, so no two wait for each other. Who writes
    none of a layer's rows waits for no load: the version, which they change too, a load changes at its commit.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('sdi.turn', 0))")


def bump(connection: Connection, layer: str) -> None:
    """Let services know, at the commit, that something about a layer changed."""
    connection.execute("UPDATE sdi.state SET version = version + 1")
    _notify(connection, layer)


def _notify(connection: Connection, layer: str) -> None:
    """Call services, at the commit, to what a change of the publication tells (`sdi.publication_changed`)."""
    connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, layer])


def publications(connection: Connection) -> dict[str, Publication]:
    """Every layer that was ever loaded, withdrawn ones included."""
    return {publication.layer: publication for publication in _publications(connection)}


def published(connection: Connection) -> dict[str, Publication]:
    """The published layers."""
    return {publication.layer: publication for publication in _publications(connection) if publication.published}


def _publications(connection: Connection) -> list[Publication]:
    rows = connection.execute(
        "SELECT layer, published, generation, count, west, south, east, north, grids, time_start, time_end, load_id,"
        " loaded_at, changed_at, facts FROM sdi.publication ORDER BY layer"
    )
    return [
        Publication(
            layer=row[0], published=row[1], generation=row[2], count=row[3],
            extent=None if row[4] is None else (row[4], row[5], row[6], row[7]), grids=tuple(row[8]),
            time_start=row[9], time_end=row[10], load_id=row[11], loaded_at=row[12], changed_at=row[13], facts=row[14],
        )
        for row in rows
    ]  # fmt: skip


def count(connection: Connection, layer: Layer) -> int:
    """The features that a layer had after its last load."""
    row = connection.execute("SELECT count FROM sdi.publication WHERE layer = %s", [layer.id]).fetchone()
    return int(row[0]) if row else 0


def publish(connection: Connection, layer: Layer) -> None:
    """Serve a layer (again). Raises NotFound when nothing was ever loaded into it."""
    _set_published(connection, layer, True)


def withdraw(connection: Connection, layer: Layer) -> None:
    """Stop serving a layer; its rows stay, and later loads do not publish it by themselves."""
    _set_published(connection, layer, False)


def _set_published(connection: Connection, layer: Layer, value: bool) -> None:
    with connection.transaction():
        statement = "UPDATE sdi.publication SET published = %s, changed_at = now() WHERE layer = %s"
        if connection.execute(statement, [value, layer.id]).rowcount == 0:
            raise NotFound(f"Nothing was loaded into '{layer.id}' yet.", hint=f"Run 'sdi load {layer.id} FILE'.")
        _notify(connection, layer.id)


def renew(
    connection: Connection, layer: Layer, load_id: int, *, changed: bool, filled: Filled | None = None
) -> None:  # fmt: skip
    """Bring a layer's publication to its rows after a load; the first load publishes it. filled: that the layer was
    empty before, and its rows are these."""
    take_turn(connection)
    connection.execute(
        "INSERT INTO sdi.publication (layer, published) VALUES (%s, true) ON CONFLICT DO NOTHING", [layer.id]
    )
    connection.execute(
        "UPDATE sdi.publication SET load_id = %s, loaded_at = now() WHERE layer = %s", [load_id, layer.id]
    )
    if changed:
        facts = extents.of(connection, layer) if filled is None else extents.of_filled(connection, layer, filled)
        connection.execute(
            "UPDATE sdi.publication SET generation = generation + 1, changed_at = now(), count = %(count)s,"
            " west = %(west)s, south = %(south)s, east = %(east)s, north = %(north)s, grids = %(grids)s,"
            " time_start = %(time_start)s, time_end = %(time_end)s WHERE layer = %(layer)s",
            {**facts, "layer": layer.id},
        )
        touched.record(connection, layer)
    _notify(connection, layer.id)


def renew_coverage(
    connection: Connection,
    layer: Layer,
    load_id: int,
    *,
    extent: tuple[float, float, float, float],
    grid: int,
    facts: Mapping[str, Any],
) -> None:
    """Bring a coverage's publication to its new file. `extent`: west, south, east, north in WGS 84 degrees."""
    take_turn(connection)
    connection.execute(
        "INSERT INTO sdi.publication"
        " (layer, published, generation, count, west, south, east, north, grids, load_id, facts)"
        " VALUES (%(layer)s, true, 1, 1, %(w)s, %(s)s, %(e)s, %(n)s, %(grids)s, %(load_id)s, %(facts)s)"
        " ON CONFLICT (layer) DO UPDATE SET generation = publication.generation + 1, west = %(w)s, south = %(s)s,"
        " east = %(e)s, north = %(n)s, grids = %(grids)s, load_id = %(load_id)s, facts = %(facts)s, loaded_at = now(),"
        " changed_at = now()",
        {
            "layer": layer.id, "w": extent[0], "s": extent[1], "e": extent[2], "n": extent[3], "grids": [grid],
            "load_id": load_id, "facts": json.dumps(dict(facts), default=str),
        },
    )  # fmt: skip
    _notify(connection, layer.id)
