"""Parents and children of features: what a load split, merged, redivided or renumbered.

Geometry shows it where the rows that a load ended, or took ground from, and those that are new, or gained ground, have
ground in common; the delivery tells it where it names former ids that the layer had. A relation holds in the states of
the layer as rows do (`load_id <= n < load_to`), so a rollback ends it and may bring it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from sdi.contract.layer import Layer
from sdi.contract.rules import RULES
from sdi.errors import NotFound, UsageError
from sdi.store import engine, history, tables
from sdi.store.engine import Connection
from sdi.store.statement import Parameters, Statement

SAME = 99.0
"""Percent of both that parent and child have in common where only the id is another one."""
_SQUARE_DEGREE = 111_320.0 * 111_694.0
"""Square metres at the most: neighbours' boxes that have less in common than overlaps may are no kin."""
MOST = 200
"""Parents and children that are told beside a feature."""
DEEPEST = 100
"""Generations that a tree is followed."""

# OFFSET 0: a measure is made once, not wherever it is named.
# A row that stays under its id takes part only where it lost or gained more ground than overlaps may have: new surveys
# move every vertex a little. What has ended in the world, though its row stays, has ended.
_BEFORE_AND_AFTER = sql.SQL(
    """
CREATE TEMPORARY TABLE sdi_moved ON COMMIT DROP AS
SELECT id, b.geom AS before, b.geom_wgs84 AS before_wgs84, a.geom AS after, a.geom_wgs84 AS after_wgs84,
    a.id IS NULL OR ({ended}) OR m.lost AS gives, (b.id IS NULL OR m.gained) AND NOT ({ended}) AS takes,
    a.id IS NOT NULL AND NOT ({ended}) AS stays
FROM (SELECT * FROM {past} WHERE load_to = {load}) b FULL JOIN (SELECT * FROM {now} WHERE load_id = {load}) a USING (id)
CROSS JOIN LATERAL (
    SELECT ST_Area(b.geom) - s.common > {tolerance} AS lost, ST_Area(a.geom) - s.common > {tolerance} AS gained
    FROM (SELECT CASE WHEN NOT b.geom = a.geom
        THEN ST_Area(ST_Intersection(b.geom, sdi.regrid(a.geom, ST_SRID(b.geom)))) END AS common OFFSET 0) AS s
) AS m
WHERE a.id IS NULL OR b.id IS NULL OR m.lost OR m.gained OR ({ended})"""
)
_SHOWN = sql.SQL(
    """
CREATE UNIQUE INDEX ON sdi_moved (id);
CREATE INDEX ON sdi_moved USING gist (after_wgs84) WHERE takes;
ANALYZE sdi_moved;
CREATE TEMPORARY TABLE sdi_kin ON COMMIT DROP AS
SELECT p.id AS parent, c.id AS child, s.m2 AS shared, 100 * s.m2 / p.m2 AS of_parent, 100 * s.m2 / c.m2 AS of_child,
    false AS told, true AS shown
FROM (SELECT id, gives, takes, before, before_wgs84, ST_Area(before) AS m2 FROM sdi_moved WHERE before IS NOT NULL) p
CROSS JOIN LATERAL (
    SELECT id, after, ST_Area(after) AS m2 FROM sdi_moved
    WHERE p.gives AND takes AND after_wgs84 && p.before_wgs84
        AND {common_x} * {common_y} * {square_degree} > {tolerance}
    UNION ALL
    SELECT id, after, ST_Area(after) FROM sdi_moved WHERE id = p.id AND stays AND NOT (p.gives AND p.takes)
) c
CROSS JOIN LATERAL (
    SELECT ST_Area(ST_Intersection(p.before, sdi.regrid(c.after, ST_SRID(p.before)))) AS m2 OFFSET 0
) s
WHERE s.m2 > {tolerance} AND 100 * s.m2 > {share} * least(p.m2, c.m2)"""
)
_NOTHING_SHOWN = """
CREATE TEMPORARY TABLE sdi_kin (parent text, child text, shared float8, of_parent float8, of_child float8,
    told boolean, shown boolean) ON COMMIT DROP"""
# A former number may be that of another plot today: who stands as it stood, whatever was written of it, is no parent.
_TOLD = sql.SQL(
    """
INSERT INTO sdi_kin (parent, child, told, shown)
SELECT DISTINCT t.parent, t.child, true, false FROM ({told}) t
WHERE t.parent <> t.child AND EXISTS (
    SELECT FROM {past} b LEFT JOIN {now} a USING (id) WHERE b.id = t.parent AND b.load_to <= {load}
        AND (a.id IS NULL OR b.load_to = {load} AND ({reshaped} OR {ended})))"""
)
_KINDS = """
INSERT INTO sdi.genealogy (layer, load_id, origin, parent, child, kind, told_by, shared_m2, share_of_parent,
    share_of_child)
SELECT %(layer)s, %(load)s, %(load)s, parent, child,
    CASE WHEN children > 1 AND widest > 1 OR parents > 1 AND deepest > 1 THEN 'redivision'
        WHEN children > 1 THEN 'split' WHEN parents > 1 THEN 'merge'
        WHEN of_parent >= %(same)s AND of_child >= %(same)s THEN 'renumbering' ELSE 'replacement' END,
    CASE WHEN told AND shown THEN 'both' WHEN told THEN 'delivery' ELSE 'geometry' END, shared, of_parent, of_child
FROM (
    SELECT k.*, max(parents) OVER (PARTITION BY parent) AS widest, max(children) OVER (PARTITION BY child) AS deepest
    FROM (
        SELECT k.*, count(*) OVER (PARTITION BY parent) AS children, count(*) OVER (PARTITION BY child) AS parents
        FROM (
            SELECT parent, child, max(shared) AS shared, max(of_parent) AS of_parent, max(of_child) AS of_child,
                bool_or(told) AS told, bool_or(shown) AS shown
            FROM sdi_kin GROUP BY parent, child
        ) k
    ) k
) k
WHERE parent <> child
ON CONFLICT (layer, parent, child) WHERE load_to IS NULL DO NOTHING"""


@dataclass(frozen=True)
class Relation:
    """One former feature and one that has ground of it, or is said to. Shares are percent, areas square metres."""

    layer: str
    parent: str
    child: str
    kind: str
    """split, merge, redivision, renumbering (another id, the same ground), replacement."""
    told_by: str
    """delivery, geometry, both."""
    shared_m2: float | None
    share_of_parent: float | None
    share_of_child: float | None
    origin: int
    """The load in which the parent became the child."""
    load_id: int
    """From which load on it holds: `origin`, or the rollback that brought it back."""

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Kin:
    """A relation in a tree. `generation`: 1 for parents and children of the feature asked for, 2 for theirs."""

    relation: Relation
    generation: int


def record(connection: Connection, layer: Layer, load_id: int) -> None:
    """Enter the relations that a load made, in its transaction, behind its rows and before its statistics."""
    if layer.genealogy is None or not _has_past(connection, layer):
        return
    parts = {
        "past": tables.past(layer), "now": tables.now(layer), "load": sql.Literal(load_id),
        "tolerance": sql.Literal(_tolerance(layer)), "share": sql.Literal(layer.genealogy.share),
        "ended": _ended(layer), "square_degree": sql.Literal(_SQUARE_DEGREE), "common_x": _common("X"),
        "common_y": _common("Y"),
        "reshaped": sql.SQL("true" if layer.geometry is None else "b.geom IS DISTINCT FROM a.geom"),
    }  # fmt: skip
    if _is_area(layer) and _ends_any(connection, layer, load_id):
        connection.execute(_BEFORE_AND_AFTER.format(**parts))
        connection.execute(_SHOWN.format(**parts))
        connection.execute("DROP TABLE sdi_moved")
    else:
        connection.execute(_NOTHING_SHOWN)
    for told in layer.genealogy.parents:
        connection.execute(_TOLD.format(**parts, told=_told(layer, told, load_id)))
    connection.execute(_KINDS, {"layer": layer.id, "load": load_id, "same": SAME})
    connection.execute("DROP TABLE sdi_kin")


def take_back(connection: Connection, layer: Layer, to_load: int, load_id: int) -> None:
    """Bring the relations to those that held after load `to_load`, as part of the rollback `load_id`."""
    facts = {"layer": layer.id, "to": to_load, "load": load_id}
    connection.execute(
        "UPDATE sdi.genealogy SET load_to = %(load)s WHERE layer = %(layer)s AND load_to IS NULL AND load_id > %(to)s",
        facts,
    )
    connection.execute(
        "INSERT INTO sdi.genealogy (layer, load_id, origin, parent, child, kind, told_by, shared_m2, share_of_parent,"
        " share_of_child) SELECT layer, %(load)s, origin, parent, child, kind, told_by, shared_m2, share_of_parent,"
        " share_of_child FROM sdi.genealogy WHERE layer = %(layer)s AND load_id <= %(to)s AND load_to > %(to)s"
        " ON CONFLICT (layer, parent, child) WHERE load_to IS NULL DO NOTHING",
        facts,
    )


# --- reading ------------------------------------------------------------------------------------------------------


def relatives(connection: Connection, layer: Layer, feature: str) -> tuple[list[Kin], list[Kin]]:
    """The ancestors and the descendants of a feature as they are known now, each relation once, the nearest first.

    Raises NotFound when there never was such a feature, UsageError for a layer whose contract has no genealogy.
    """
    if layer.genealogy is None:
        raise UsageError(f"The contract of '{layer.id}' has no genealogy.", hint=f"See layers/{layer.id}.yaml.")
    with engine.translated():
        known = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE id = %(id)s) OR EXISTS (SELECT FROM {} WHERE id = %(id)s)")
        row = connection.execute(known.format(tables.now(layer), tables.past(layer)), {"id": feature}).fetchone()
        if row is None or not row[0]:
            raise NotFound(f"'{layer.id}' never had a feature '{feature[:100]}'.")
        return _walk(connection, layer, feature, "child", "parent"), _walk(
            connection, layer, feature, "parent", "child"
        )


def known(connection: Connection, layers: Iterable[str]) -> frozenset[str]:
    """Which of these layers have ever had a feature with parents."""
    query = (
        "SELECT a.layer FROM unnest(%s::text[]) AS a (layer)"
        " WHERE (SELECT true FROM sdi.genealogy g WHERE g.layer = a.layer LIMIT 1)"
    )
    return frozenset(row[0] for row in connection.execute(query, [list(layers)]))


def select_near(layer: Layer, feature: str, as_of: datetime | None = None) -> Statement:
    """The parents and children of a feature, as known now or at an instant (record time), whatever of them is hidden.

    Columns: role (parent, child), the other's id, kind, told_by, shared_m2, share_of_parent, share_of_child, origin,
    and the instant as of which the other one is there to be read, just before it ended; NULL: it still is.
    """
    parameters = Parameters()
    name, own = parameters.bind(layer.id, "text"), parameters.bind(feature, "text")
    statement = sql.SQL(
        "SELECT o.role, o.id, g.kind, g.told_by, g.shared_m2, g.share_of_parent, g.share_of_child, g.origin, {last}"
        " FROM sdi.genealogy g CROSS JOIN LATERAL (SELECT CASE WHEN g.child = {own} THEN 'parent' ELSE 'child' END AS"
        " role, CASE WHEN g.child = {own} THEN g.parent ELSE g.child END AS id) o"
        " WHERE g.layer = {name} AND (g.child = {own} OR g.parent = {own}) AND {holds}"
        " ORDER BY o.role, g.shared_m2 DESC NULLS LAST, o.id"
    ).format(last=_last(layer), own=own, name=name, holds=_known(name, as_of, parameters))
    return Statement(statement, parameters.values)


def select_around(layer: Layer, feature: str, as_of: datetime | None = None) -> Statement:
    """The relations on which it hangs of what kind those of a feature are: the other children of its parents, the
    other parents of its children, and what these have. Whatever of them is hidden.

    Columns: origin, parent, child, one of the two, and the instant as of which that one is there to be read, as above.
    """
    parameters = Parameters()
    name, own = parameters.bind(layer.id, "text"), parameters.bind(feature, "text")
    holds = _known(name, as_of, parameters)
    statement = sql.SQL(
        "WITH RECURSIVE around AS (SELECT g.origin, g.parent, g.child, 1 AS step FROM sdi.genealogy g"
        " WHERE g.layer = {name} AND (g.child = {own} OR g.parent = {own}) AND {holds} UNION"
        " SELECT g.origin, g.parent, g.child, a.step + 1 FROM around a CROSS JOIN LATERAL (SELECT * FROM sdi.genealogy"
        " WHERE layer = {name} AND (parent = a.parent OR child = a.child)) g"
        " WHERE a.step < 3 AND g.origin = a.origin AND {holds})"
        " SELECT DISTINCT g.origin, g.parent, g.child, o.id, {last} FROM around g"
        " CROSS JOIN LATERAL (VALUES (g.parent), (g.child)) AS o (id)"
    ).format(last=_last(layer), own=own, name=name, holds=holds)
    return Statement(statement, parameters.values)


def _known(name: sql.Composable, as_of: datetime | None, parameters: Parameters) -> sql.Composable:
    """Whether a relation `g` of the layer is known, now or at an instant."""
    if as_of is None:
        return sql.SQL("g.load_to IS NULL")
    load = history.load_at(name, parameters.bind(as_of, "timestamptz"))
    return sql.SQL("g.load_id <= {0} AND (g.load_to IS NULL OR g.load_to > {0})").format(load)


def _last(layer: Layer) -> sql.Composable:
    """The last instant at which the feature `o` was there; NULL: it is. When its last state began would tell of loads
    that changed only what is hidden of it."""
    return sql.SQL(
        "CASE WHEN NOT EXISTS (SELECT FROM {now} n WHERE n.id = o.id) THEN (SELECT l.finished_at - interval '1 us'"
        " FROM {past} p JOIN sdi.load l ON l.load_id = p.load_to WHERE p.id = o.id ORDER BY p.load_to DESC LIMIT 1) END"
    ).format(now=tables.now(layer), past=tables.past(layer))


def _walk(connection: Connection, layer: Layer, feature: str, here: str, there: str) -> list[Kin]:
    """From a feature to its relatives, one generation after the other; ids that come again are not followed again."""
    names = sql.SQL(", ").join(map(sql.Identifier, Relation.__dataclass_fields__))
    query = sql.SQL(
        "SELECT {} FROM sdi.genealogy WHERE layer = %(layer)s AND load_to IS NULL AND {} = ANY (%(ids)s)"
        " ORDER BY shared_m2 DESC NULLS LAST, parent, child"
    ).format(names, sql.Identifier(here))
    found: list[Kin] = []
    seen, ids, generation = {feature}, [feature], 0
    while ids and generation < DEEPEST:
        generation += 1
        with connection.cursor(row_factory=class_row(Relation)) as cursor:
            relations = cursor.execute(query, {"layer": layer.id, "ids": ids}).fetchall()
        found += [Kin(relation, generation) for relation in relations]
        ids = [name for name in dict.fromkeys(getattr(each, there) for each in relations) if name not in seen]
        seen.update(ids)
    return found


# --- parts of statements ------------------------------------------------------------------------------------------


def _has_past(connection: Connection, layer: Layer) -> bool:
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(tables.past(layer))).fetchone()
    return bool(row and row[0])


def _ends_any(connection: Connection, layer: Layer, load_id: int) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE load_to = %s)").format(tables.past(layer))
    row = connection.execute(query, [load_id]).fetchone()
    return bool(row and row[0])


def _is_area(layer: Layer) -> bool:
    return layer.geometry is not None and layer.geometry.type in ("Polygon", "MultiPolygon")


def _common(axis: str) -> sql.Composable:
    """Degrees that the boxes of a child and of its parent have in common along an axis."""
    return sql.SQL(
        "(least(ST_{0}Max(after_wgs84), ST_{0}Max(p.before_wgs84))"
        " - greatest(ST_{0}Min(after_wgs84), ST_{0}Min(p.before_wgs84)))".replace("{0}", axis)
    )


def _tolerance(layer: Layer) -> float:
    """Square metres that neighbours may overlap by."""
    rule = "coverage.overlap"
    check = next((check for check in layer.checks if check.rule == rule), None)
    return check.bound if check is not None else RULES[rule].tolerance or 0.0


def _ended(layer: Layer) -> sql.Composable:
    """Whether a feature has ended in the world by this load, while its row stays; alias `b` before, `a` after."""
    if layer.temporal is None or layer.temporal.end is None:
        return sql.SQL("false")
    return sql.SQL("a.{0} IS NOT NULL AND b.{0} IS NULL AND b.id IS NOT NULL").format(
        sql.Identifier(layer.temporal.end)
    )


def _told(layer: Layer, told: str, load_id: int) -> sql.Composed:
    """Query (parent, child) of what the rows of a load say of their parents; see `Genealogy.parents`."""
    rows = sql.SQL("FROM {} n").format(tables.now(layer))
    load = sql.SQL("n.load_id = {}").format(sql.Literal(load_id))
    attribute = layer.by_name.get(told)
    if attribute is not None and attribute.type == "list":
        query = "SELECT i.item ->> 'id' AS parent, n.id AS child {} CROSS JOIN LATERAL jsonb_array_elements(n.{}) AS"
        return sql.SQL(query + " i (item) WHERE {} AND n.{} IS NOT NULL").format(
            rows, sql.Identifier(told), load, sql.Identifier(told)
        )
    template = told if "{" in told else f"{{{told}}}"
    texts = re.split(r"\{(\w+)\}", template)
    steps: list[sql.Composable] = []
    parts: list[sql.Composable] = []
    for index, piece in enumerate(texts):
        if index % 2 == 0:
            parts += [sql.Literal(piece)] if piece else []
            continue
        name = sql.Identifier(f"t{index}")
        split = "CROSS JOIN LATERAL regexp_split_to_table(n.{}::text, '\\s*[;+,]\\s*') AS {} (part)"
        steps.append(sql.SQL(split).format(sql.Identifier(piece), name))
        parts.append(sql.SQL("{}.part").format(name))
    return sql.SQL("SELECT {} AS parent, n.id AS child {} {} WHERE {}").format(
        sql.SQL(" || ").join(parts), rows, sql.SQL(" ").join(steps), load
    )
