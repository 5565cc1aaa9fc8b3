"""What differs between two states of a layer: how much, which features, and what of each.

Only the rows that a load between the two brought or ended are read, by the indexes on `load_id` and `load_to`; two
versions with one content hash do not differ. `before` is the state of load a, `after` that of load b; b may be the
earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.national import vn2000
from sdi.store import delta, engine, export, tables
from sdi.store.engine import Connection

TOO_DETAILED = 4_000_000
"""Vertices of the old shape times those of the new one, beyond which nobody waits for their distance."""


@dataclass(frozen=True)
class Difference:
    """Counts of features. `attributes`: how often each one changed, those that did; `reshaped`: another geometry."""

    layer: str
    before: int
    after: int
    added: int
    changed: int
    ended: int
    reshaped: int
    attributes: dict[str, int]

    @property
    def total(self) -> int:
        return self.added + self.changed + self.ended


@dataclass(frozen=True)
class Change:
    """One feature that differs. `kind`: added, changed, ended."""

    id: str
    kind: str
    attributes: dict[str, tuple[Any, Any]]
    """(before, after) of what changed; of a feature that is new or ended, of all that is not empty."""
    reshaped: bool
    moved: float | None
    """Metres between the old and the new shape where they lie farthest apart (Hausdorff, at the vertices); None where
    there are not two shapes in metres and one datum, or where they are too detailed."""
    area_before: float | None
    """Square metres in the feature's own grid; None: not an area, or not in metres."""
    area_after: float | None
    load_id: int
    """The load that brought the later state, or ended the feature."""

    def to_json(self) -> dict[str, Any]:
        pairs = {name: {"before": before, "after": after} for name, (before, after) in self.attributes.items()}
        return self.__dict__ | {"attributes": pairs}


def diff(connection: Connection, layer: Layer, a: int, b: int) -> Difference:
    """How much differs between the states of loads a and b of a layer."""
    new, gone, of_both = sql.SQL("o.id IS NULL"), sql.SQL("n.id IS NULL"), sql.SQL("{} AND {}")
    either = [_RESHAPED, *(_differs(layer, name) for name in _names(layer))]
    conditions = [new, _BOTH, gone, *(of_both.format(_BOTH, each) for each in either)]
    counted = [sql.SQL("count(*) FILTER (WHERE {})").format(each) for each in conditions]
    with engine.translated():
        row = connection.execute(_select(layer, a, b, counted)).fetchone()
    assert row is not None
    found = {name: count for name, count in zip(_names(layer), row[4:], strict=True) if count}
    return Difference(layer.id, a, b, row[0], row[1], row[2], row[3], found)


def changes(connection: Connection, layer: Layer, a: int, b: int, limit: int | None = None) -> list[Change]:
    """The features that differ, the first `limit` of them: the new ones, the ended ones, the changed ones, each by id.
    Few that came or went are what a steward looks for among thousands that got another value."""
    names = _names(layer)
    columns = [_ID, _KIND, _RESHAPED, *_measures(layer), sql.SQL("l.load_id")]
    for name in names:
        columns += [sql.Identifier("o", name), sql.Identifier("n", name), _differs(layer, name)]
    ordered = sql.SQL("{} ORDER BY o.id IS NOT NULL, n.id IS NOT NULL, 1 LIMIT {}").format(
        _select(layer, a, b, columns), sql.Literal(limit)
    )
    with engine.translated():
        rows = connection.execute(ordered).fetchall()
    return [_change(row, names) for row in rows]


def _change(row: Sequence[Any], names: list[str]) -> Change:
    id_, kind, reshaped, moved, area_before, area_after, load_id, *rest = row
    triples = zip(names, rest[::3], rest[1::3], rest[2::3], strict=True)
    attributes = {name: (before, after) for name, before, after, differs in triples if differs}
    return Change(id_, kind, attributes, kind == "changed" and reshaped, moved, area_before, area_after, load_id)


# --- for files ----------------------------------------------------------------------------------------------------


def grid(connection: Connection, layer: Layer) -> int:
    """EPSG code of the one grid in which all states of a layer lie; 4326 where they lie in several."""
    each = sql.SQL("SELECT DISTINCT ST_SRID(geom) FROM {} WHERE geom IS NOT NULL")
    statement = sql.SQL(" UNION ").join([each.format(tables.now(layer)), each.format(tables.past(layer))])
    with engine.translated():
        found = connection.execute(statement).fetchall()
    return int(found[0][0]) if len(found) == 1 else 4326


def read_side(
    connection: Connection, layer: Layer, a: int, b: int, side: str, attributes: Sequence[str], srid: int
) -> pa.RecordBatchReader:
    """The differing features as they were `before` or are `after`: id, kind, the attributes, geom as WKB in a grid."""
    alias = {"before": "o", "after": "n"}[side]
    fields = export.fields([layer[name] for name in attributes])
    columns = [_ID, _KIND, *(export.column(layer[name], alias) for name in attributes), _shape(alias, srid)]
    there = sql.Identifier(alias, "id")
    statement = sql.SQL("{} AND {} IS NOT NULL ORDER BY 1").format(_select(layer, a, b, columns), there)
    schema = pa.schema([("id", pa.string()), ("kind", pa.string()), *fields, ("geom", pa.binary())])
    return export.stream(connection, statement, schema)


def read_changes(connection: Connection, layer: Layer, a: int, b: int, srid: int) -> pa.RecordBatchReader:
    """One row a differing feature: what kind of change, which attributes, how far, by whom; geom is the later shape."""
    which = sql.SQL(", ").join(
        sql.SQL("CASE WHEN {} THEN {} END").format(_differs(layer, name), sql.Literal(name)) for name in _names(layer)
    )
    columns = [
        _ID, _KIND, sql.SQL("CASE WHEN {} THEN concat_ws(', ', NULL, {}) END").format(_BOTH, which),
        sql.SQL("coalesce({}, false) AND {}").format(_BOTH, _RESHAPED), *_measures(layer),
        sql.SQL("l.load_id, l.steward, l.finished_at"),
        sql.SQL("coalesce({}, {})").format(_shape("n", srid), _shape("o", srid)),
    ]  # fmt: skip
    statement = sql.SQL("{} ORDER BY o.id IS NOT NULL, n.id IS NOT NULL, 1").format(_select(layer, a, b, columns))
    schema = pa.schema([
        ("id", pa.string()), ("kind", pa.string()), ("attributes", pa.string()), ("reshaped", pa.bool_()),
        ("moved_m", pa.float64()), ("area_before_m2", pa.float64()), ("area_after_m2", pa.float64()),
        ("load", pa.int64()), ("steward", pa.string()), ("known_since", pa.timestamp("us", "UTC")),
        ("geom", pa.binary()),
    ])  # fmt: skip
    return export.stream(connection, statement, schema)


def _shape(alias: str, srid: int) -> sql.Composable:
    column = sql.Identifier(alias, "geom_wgs84" if srid == 4326 else "geom")
    return sql.SQL("ST_AsBinary({})").format(column)


# --- SQL ----------------------------------------------------------------------------------------------------------


_RESHAPED = sql.SQL("ST_AsEWKB(o.geom) IS DISTINCT FROM ST_AsEWKB(n.geom)")


def _names(layer: Layer) -> list[str]:
    return [attribute.name for attribute in layer.stored]


_ID = sql.SQL("coalesce(o.id, n.id)")
_KIND = sql.SQL("CASE WHEN o.id IS NULL THEN 'added' WHEN n.id IS NULL THEN 'ended' ELSE 'changed' END")
_BOTH = sql.SQL("o.id = n.id")
_STATEMENT = sql.SQL(
    "WITH old AS (SELECT {names}, load_to FROM {past}"
    " WHERE load_id <= {low} AND load_to > {low} AND load_to <= {high}),"
    " young AS (SELECT {names} FROM {now} WHERE load_id > {low} AND load_id <= {high}"
    " UNION ALL SELECT {names} FROM {past} WHERE load_id > {low} AND load_id <= {high} AND load_to > {high})"
    " SELECT {columns} FROM {before} AS o FULL JOIN {after} AS n ON n.id = o.id"
    " LEFT JOIN sdi.load l ON l.load_id = coalesce({later}.load_id, {earlier}.load_to)"
    " WHERE o.row_hash IS DISTINCT FROM n.row_hash"
)


def _select(layer: Layer, a: int, b: int, columns: Sequence[sql.Composable]) -> sql.Composed:
    """SELECT of what differs: o is a feature's row before, n after, either of which may be NULL; l is the load that
    brought the later state or ended the feature.

    `old` lived after the earlier of the two loads and was ended by the later one or before; `young` came since then and
    lived after the later one.
    """
    before, after, later, earlier = ("old", "young", "n", "o") if a <= b else ("young", "old", "o", "n")
    return _STATEMENT.format(
        names=sql.SQL(", ").join(map(sql.Identifier, tables.columns(layer))), now=tables.now(layer),
        past=tables.past(layer), low=sql.Literal(min(a, b)), high=sql.Literal(max(a, b)),
        columns=sql.SQL(", ").join(columns), before=sql.SQL(before), after=sql.SQL(after), later=sql.SQL(later),
        earlier=sql.SQL(earlier),
    )  # fmt: skip


def _differs(layer: Layer, name: str) -> sql.Composed:
    """Whether an attribute's text in the content hash is another."""
    old = delta.text_of(layer[name], sql.Identifier("o", name))
    new = delta.text_of(layer[name], sql.Identifier("n", name))
    return sql.SQL("{} IS DISTINCT FROM {}").format(old, new)


def _measures(layer: Layer) -> list[sql.Composable]:
    """moved, area before, area after."""
    degrees = sql.SQL(", ").join(sql.Literal(code) for code, known in vn2000.GRIDS.items() if known.geographic)
    assert layer.geometry is not None
    area = sql.SQL("CASE WHEN ST_SRID({0}) NOT IN ({1}) THEN ST_Area({0}) END")
    areal = layer.geometry.type.endswith("Polygon")
    shapes = [sql.Identifier(side, "geom") for side in "on"]
    areas = [area.format(shape, degrees) if areal else sql.SQL("NULL::double precision") for shape in shapes]
    moved = sql.SQL(
        "CASE WHEN {reshaped} AND sdi.datum(ST_SRID(o.geom)) = sdi.datum(ST_SRID(n.geom))"
        " AND ST_SRID(o.geom) NOT IN ({degrees}) AND ST_NPoints(o.geom)::bigint * ST_NPoints(n.geom) <= {most}"
        " THEN ST_HausdorffDistance(o.geom, sdi.regrid(n.geom, ST_SRID(o.geom))) END"
    ).format(reshaped=_RESHAPED, degrees=degrees, most=sql.Literal(TOO_DETAILED))
    return [moved, *areas]
