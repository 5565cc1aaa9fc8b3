"""Features follow an administrative reform: the code of a unit that is no more becomes its successor's.

Only successors of the former unit, by the table of successions and in force on the day, come into question. Where there
is one for all its ground, no geometry is needed; else the successor is the one in which the feature's point on surface
lies. Who lies in none, or on the boundary of two, keeps the old code and is named. Ids never change.

A code may be in force again with another meaning. A feature that bears such a one, and no former code, lies by place
either in the unit that has the code now or in another successor of the one that had it; its former code is known only
where the former unit's own ground is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from time import perf_counter
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus

from sdi.contract.layer import Layer, Reform
from sdi.contract.registry import Registry
from sdi.errors import UsageError
from sdi.store import delta, engine, loader, succession, tables
from sdi.store.delta import STAGED
from sdi.store.engine import Connection
from sdi.store.ledger import Counts
from sdi.store.loader import Load

MODE = "reform"
"""Of its entry in the ledger."""
NAMED = 1000
"""Features without a successor that are listed."""
_VERTICES = 128
"""Of the pieces that units are cut into, so that a point is found in one quickly."""

# `alone`: the only successor of a unit, for all its ground, and not under a code that means another unit now.
_HEIRS = """
CREATE TEMPORARY TABLE sdi_heir ON COMMIT DROP AS
WITH RECURSIVE former AS (
    SELECT DISTINCT ON (code) id, code FROM sdi.unit
    WHERE layer = %(units)s AND valid_to <= %(day)s ORDER BY code, valid_to DESC, id
),
standing AS (
    SELECT id, code FROM sdi.unit
    WHERE layer = %(units)s AND coalesce(valid_from <= %(day)s, true) AND coalesce(valid_to > %(day)s, true)
),
heir AS (
    SELECT f.code, f.id AS former, s.successor, coalesce(s.share, 100) >= 99 AS whole
    FROM former f JOIN sdi.succession s ON s.layer = %(units)s AND s.former = f.id
    UNION
    SELECT h.code, h.former, s.successor, h.whole AND coalesce(s.share, 100) >= 99
    FROM heir h JOIN sdi.succession s ON s.layer = %(units)s AND s.former = h.successor
),
found AS (
    SELECT h.code, h.former, n.id AS unit, n.code AS new, bool_and(h.whole) AS whole
    FROM heir h JOIN standing n ON n.id = h.successor GROUP BY h.code, h.former, n.id, n.code
    UNION
    SELECT f.code, f.id, n.id, n.code, false FROM former f JOIN standing n ON n.code = f.code
)
SELECT f.code, f.id AS former, o.unit, o.new, coalesce(o.again, false) AS again, coalesce(o.alone, false) AS alone
FROM former f
LEFT JOIN (
    SELECT code, unit, new, bool_or(new = code) OVER (PARTITION BY code) AS again,
        count(*) OVER (PARTITION BY code) = 1 AND whole AS alone
    FROM (SELECT code, unit, new, bool_and(whole) AS whole FROM found GROUP BY code, unit, new) g
) o ON o.code = f.code"""
_GROUND = sql.SQL(
    """
CREATE TEMPORARY TABLE sdi_ground ON COMMIT DROP AS
SELECT u.id, ST_Subdivide(u.geom_wgs84, {vertices}) AS geom FROM {units} u
WHERE u.id IN (SELECT unit FROM sdi_heir WHERE NOT alone UNION SELECT former FROM sdi_heir WHERE again);
CREATE INDEX ON sdi_ground USING gist (geom);
ANALYZE sdi_ground, sdi_heir"""
)
# `lay`: whether a feature under a code that is in force again lay in the unit that had the code before.
_PLANNED = sql.SQL(
    """
CREATE TEMPORARY TABLE sdi_reformed ON COMMIT DROP AS
WITH code AS (
    SELECT code, min(former) AS former, bool_or(again) AS again, bool_or(alone) AS alone, min(new) AS new,
        count(unit) AS units
    FROM sdi_heir GROUP BY code
),
stale AS MATERIALIZED (
    SELECT r.id, c.code, c.former, c.again, c.alone, c.new, c.units,
        CASE WHEN NOT c.alone THEN ST_PointOnSurface(r.geom_wgs84) END AS point
    FROM {rows} r JOIN code c ON c.code = r.{attribute} WHERE NOT c.again OR r.{former} IS NULL
),
located AS (
    SELECT s.id, array_agg(DISTINCT h.new) AS new,
        bool_or(EXISTS (SELECT FROM sdi_ground g WHERE g.id = s.former AND ST_Intersects(g.geom, s.point))) AS lay
    FROM stale s JOIN sdi_ground g ON ST_Intersects(g.geom, s.point)
    JOIN sdi_heir h ON h.code = s.code AND h.unit = g.id
    WHERE s.point IS NOT NULL GROUP BY s.id
)
SELECT s.id, s.code AS old, s.again,
    CASE WHEN s.alone THEN s.new WHEN cardinality(l.new) = 1 THEN l.new[1] END AS new,
    CASE WHEN s.alone THEN 'alone' WHEN s.units = 0 THEN 'unknown' WHEN cardinality(l.new) = 1 THEN 'place'
        WHEN cardinality(l.new) > 1 THEN 'boundary' ELSE 'nowhere' END AS why,
    NOT s.again OR coalesce(l.lay, false) AS lay
FROM stale s LEFT JOIN located l USING (id);
DELETE FROM sdi_reformed WHERE new = old AND NOT lay;
ANALYZE sdi_reformed"""
)


@dataclass(frozen=True)
class Unplaced:
    """A feature that keeps its old code. `why`: nowhere (in none of the successors), boundary (in several), unknown
    (the table names no successor)."""

    id: str
    code: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What a reform does. `moves`: (old code, new code, how) -> features; how: alone (the only successor) or place."""

    moves: dict[tuple[str, str, str], int]
    unplaced: list[Unplaced]
    """The first of them, by id."""
    unplaced_count: int

    @property
    def total(self) -> int:
        return sum(self.moves.values())

    def to_json(self) -> dict[str, Any]:
        moves = [{"from": old, "to": new, "by": how, "count": n} for (old, new, how), n in self.moves.items()]
        return {"moves": moves, "unplaced": self.unplaced_count, "features": [each.__dict__ for each in self.unplaced]}


def source_of(units: Layer, on: date) -> str:
    """What the ledger names as a reform's source: the layer of units, and the day."""
    return f"{units.id} {on.isoformat()}"


def day_of(source: str) -> date:
    """The day in what `source_of` made."""
    return date.fromisoformat(source.rpartition(" ")[2])


def may_reform(layer: Layer, registry: Registry) -> Layer:
    """The layer of units that a layer's reform goes by. Raises UsageError for one whose contract has no such part."""
    if layer.reform is None:
        raise UsageError(f"The contract of '{layer.id}' has no reform.", hint=f"See layers/{layer.id}.yaml.")
    return registry[layer.reform.units]


def reform(
    connection: Connection, layer: Layer, registry: Registry, on: date, *, load_id: int | None = None
) -> tuple[Plan, Load | None]:
    """Give features the codes in force on a day, in the caller's transaction; as load `load_id`, None: only plan it.

    Leaves `sdi_changed` to `derived.refresh`. Raises UsageError, and StoreError when another load holds the layer.
    """
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise RuntimeError("reform() runs inside the caller's transaction")
    begun = perf_counter()
    units = may_reform(layer, registry)
    with engine.translated():
        if load_id is None:
            delta.prepare(connection)
        else:
            load_id = loader.begin(connection, layer, load_id)
        _plan(connection, layer, units, on)
        plan = _told(connection)
        if load_id is None:
            return plan, None
        counts = _write(connection, layer, load_id)
        connection.execute("DROP TABLE sdi_heir, sdi_ground, sdi_reformed")
        loader.settle(connection, layer, registry, load_id, counts)
    return plan, Load.of(load_id, layer, counts, seconds=perf_counter() - begun)


def _plan(connection: Connection, layer: Layer, units: Layer, on: date) -> None:
    """Make sdi_reformed: id, old code, new code (NULL: none), why, and whether the old code is its former one."""
    assert layer.reform is not None
    succession.renew(connection, units)
    find_heirs(connection, units, on)
    place(connection, layer.reform, units, tables.now(layer))


def find_heirs(connection: Connection, units: Layer, on: date) -> None:
    """Make sdi_heir: of each code that had been a unit's before a day, the units that followed."""
    connection.execute(_HEIRS, {"units": units.id, "day": on})


def place(connection: Connection, reform: Reform, units: Layer, rows: sql.Composable) -> None:
    """Make sdi_ground and, of rows with the columns of a layer that matter here, sdi_reformed."""
    connection.execute(_GROUND.format(units=tables.now(units), vertices=sql.Literal(_VERTICES)))
    attribute, former = sql.Identifier(reform.attribute), sql.Identifier(reform.former)
    connection.execute(_PLANNED.format(rows=rows, attribute=attribute, former=former))


def _told(connection: Connection) -> Plan:
    moves = connection.execute(
        "SELECT old, new, why, count(*) FROM sdi_reformed WHERE new <> old GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    ).fetchall()
    lost = connection.execute(
        "SELECT id, old, why, count(*) OVER () FROM sdi_reformed WHERE new IS NULL ORDER BY id LIMIT %s", [NAMED]
    ).fetchall()
    counted = {(old, new, how): count for old, new, how, count in moves}
    return Plan(counted, [Unplaced(id_, old, why) for id_, old, why, _ in lost], lost[0][3] if lost else 0)


def _write(connection: Connection, layer: Layer, load_id: int) -> Counts:
    assert layer.reform is not None
    values: dict[str, sql.Composable] = {
        name: sql.Identifier("r", name) for name in tables.columns(layer) if name not in ("load_id", "row_hash")
    }
    code, former = layer.reform.attribute, layer.reform.former
    values[code] = sql.SQL("p.new")
    values[former] = sql.SQL("coalesce({}, CASE WHEN p.lay OR p.new <> p.old THEN p.old END)").format(values[former])
    columns = sql.SQL(", ").join(sql.SQL("{} AS {}").format(value, sql.Identifier(n)) for n, value in values.items())
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} r JOIN sdi_reformed p USING (id)"
            " WHERE p.new IS NOT NULL"
        ).format(STAGED, columns, tables.now(layer))
    )
    connection.execute(sql.SQL("ANALYZE {}").format(STAGED))
    staged = {name: sql.Identifier("s", name) for name in values}
    done = delta.write(connection, layer, load_id, staged, gone=None)
    connection.execute(sql.SQL("DROP TABLE {}").format(STAGED))
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(tables.now(layer))).fetchone()
    assert row is not None
    return Counts(updated=done.updated, unchanged=row[0] - done.updated)
