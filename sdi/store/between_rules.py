"""The checks of features against other layers, one function a rule; each gives one bound statement.

What is asked stands in the temporary table `sdi_asked` (see `between.py`): `source_row`, `id`, `point` (the inner
point, EPSG:4326), the attributes, and where a rule is in SHAPED `geom` and `geom_wgs84` as they will be stored. Places
are found by `geom_wgs84` and its index, areas measured in the feature's own grid. ST_Covers, ST_Contains and the like
are not used: GEOS 3.11 gives up on some valid polygons whose edges nearly coincide; one such pair would fail a load.

A statement's columns: source_row, id, attribute, value, limit, other, lon, lat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from psycopg import sql

from sdi.contract.codelist import CodeList
from sdi.contract.layer import Check, Layer
from sdi.contract.registry import Registry
from sdi.contract.rules import RULES
from sdi.store import cql, cql_sql, tables
from sdi.store.frame import in_force
from sdi.store.statement import Parameters, Statement

ASKED = sql.Identifier("sdi_asked")
SHOWN = 3
"""How many features of the other layer a finding names."""


@dataclass
class Asking:
    """One check of one delivery."""

    layer: Layer
    registry: Registry
    check: Check
    day: date
    parameters: Parameters = field(default_factory=Parameters)

    @property
    def said(self) -> dict[str, Any]:
        return self.check.parameters

    @property
    def other(self) -> Layer:
        return self.registry[self.said["layer"]]

    @property
    def tolerance(self) -> float:
        found = self.check.tolerance
        return float((RULES[self.check.rule].tolerance if found is None else found) or 0.0)

    def bind(self, value: Any, kind: Any) -> sql.Composed:
        return self.parameters.bind(value, kind)

    def asked(self) -> sql.Composed:
        """The staged rows that the check is about."""
        return sql.SQL("(SELECT * FROM {} WHERE {})").format(ASKED, self.condition("where", self.layer))

    def others(self, *, now: bool) -> sql.Composed:
        """The other layer's rows; `now`: those in force on the day."""
        holds = in_force(self.other, self.bind(self.day, "date")) if now else sql.SQL("true")
        return sql.SQL("(SELECT * FROM {} WHERE {} AND {})").format(
            tables.now(self.other), holds, self.condition("other_where", self.other)
        )

    def condition(self, name: str, layer: Layer) -> sql.Composable:
        if name not in self.said:
            return sql.SQL("true")
        return compiled(self.said[name], layer, self.parameters)

    def statement(self, text: str, **parts: sql.Composable) -> Statement:
        return Statement(sql.SQL(text).format(**parts), self.parameters.values)


def compiled(text: str, layer: Layer, parameters: Parameters) -> sql.Composed:
    """A condition of a contract in CQL2 text as SQL over the layer's columns. Raises BadRequest."""
    tree = cql.parse_filter(text, "cql2-text", layer, [attribute.name for attribute in layer.stored])
    return cql_sql.condition(tree, layer, parameters)


def _name(name: str, alias: str) -> sql.Composed:
    return sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(name))


# --- reference and belonging ----------------------------------------------------------------------------------------


def reference_missing(asking: Asking) -> Statement:
    """Ids that an attribute names and that the layer it refers to lacks; the delivery's own rows count for its own."""
    name = asking.said["attribute"]
    attribute = asking.layer[name]
    other = asking.registry[str(attribute.refers_to)]
    itself = other.id == asking.layer.id
    items = sql.SQL(
        "SELECT a.source_row, a.id, a.point, item ->> 'id' AS named FROM {} a CROSS JOIN LATERAL"
        " jsonb_array_elements(CASE WHEN jsonb_typeof({}) = 'array' THEN {} ELSE '[]' END) AS item"
    ).format(ASKED, _name(name, "a"), _name(name, "a"))
    single = sql.SQL("SELECT a.source_row, a.id, a.point, {} AS named FROM {} a").format(_name(name, "a"), ASKED)
    return asking.statement(
        "SELECT n.source_row, n.id, {attribute}, to_jsonb(n.named), to_jsonb({other}), NULL::jsonb,"
        " ST_X(n.point), ST_Y(n.point) FROM ({named}) n WHERE n.named IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM {table} o WHERE o.id = n.named) {own}",
        attribute=sql.Literal(name),
        other=asking.bind(other.id, "text"),
        named=items if attribute.type == "list" else single,
        table=tables.now(other),
        own=sql.SQL("AND NOT EXISTS (SELECT FROM {} s WHERE s.id = n.named)").format(ASKED) if itself else sql.SQL(""),
    )


def layer_missing(asking: Asking) -> Statement:
    """Features to which nothing of the other layer belongs, by none of the ways that the check names."""
    said, reach = asking.said, float(asking.said.get("reach", 0.0))
    others = asking.others(now=False)
    ways: list[tuple[str, sql.Composed]] = []
    for mine, theirs in said.get("key", {}).items():
        found = sql.SQL("SELECT FROM {} o WHERE {} = {}").format(others, _name(theirs, "o"), _name(mine, "a"))
        ways.append((mine, found))
    if said.get("place"):
        ways.append((f"≤ {reach:g} m", _near(asking, others, reach)))
    for mine, theirs in said.get("through_key", {}).items():
        third = asking.registry[said["through"]]
        ways.append((f"{third.id}.{mine}", sql.SQL(
            "SELECT FROM {} t JOIN {} o ON {} = {}"
            " WHERE t.geom_wgs84 && a.point AND ST_Intersects(t.geom_wgs84, a.point)"
        ).format(tables.now(third), others, _name(theirs, "o"), _name(mine, "t"))))  # fmt: skip
    absent = sql.SQL(" AND ").join(sql.SQL("NOT EXISTS ({})").format(found) for _, found in ways)
    key = next(iter(said.get("key", {})), None)
    return asking.statement(
        "SELECT a.source_row, a.id, {key}, {value}, to_jsonb({ways}), to_jsonb({other}), ST_X(a.point),"
        " ST_Y(a.point) FROM {asked} a WHERE {absent}",
        key=sql.Literal(key),
        value=sql.SQL("NULL::jsonb") if key is None else sql.SQL("to_jsonb({})").format(_name(key, "a")),
        ways=asking.bind(", ".join(name for name, _ in ways), "text"),
        other=asking.bind(asking.other.id, "text"),
        asked=asking.asked(),
        absent=absent,
    )


def _near(asking: Asking, others: sql.Composed, reach: float) -> sql.Composed:
    """Features of the other layer that meet the feature or lie within metres of it, measured in its grid."""
    if not reach:
        return sql.SQL(
            "SELECT FROM {} o WHERE o.geom_wgs84 && a.geom_wgs84 AND ST_Intersects(o.geom_wgs84, a.geom_wgs84)"
        ).format(others)
    return sql.SQL(
        "SELECT FROM {0} o WHERE o.geom_wgs84 && ST_Expand(a.geom_wgs84, {1} / 100000.0)"
        " AND ST_DWithin(sdi.regrid(o.geom, ST_SRID(a.geom)), a.geom, {1})"
    ).format(others, asking.bind(reach, "double precision"))


# --- land -------------------------------------------------------------------------------------------------------------


def layer_crosses(asking: Asking) -> Statement:
    """What of a feature lies outside the one of the other layer that holds most of it, m² in the feature's grid.

    The one at the inner point is asked first, which is enough for all but a few; only where too much lies outside of
    that one are all that it meets cut.
    """
    return asking.statement(
        "WITH suspect AS MATERIALIZED ("
        "   SELECT a.source_row, a.id, a.point, a.geom, a.geom_wgs84, ST_Area(a.geom) AS whole FROM {asked} a"
        "   LEFT JOIN LATERAL (SELECT sdi.regrid(o.geom, ST_SRID(a.geom)) AS geom FROM {others} o"
        "     WHERE o.geom_wgs84 && a.point AND ST_Intersects(o.geom_wgs84, a.point) ORDER BY o.id LIMIT 1) m ON true"
        "   WHERE a.point IS NOT NULL AND ST_Area(a.geom) - coalesce(ST_Area(ST_Intersection(a.geom, m.geom)), 0)"
        "     > greatest({tolerance}, {percent} / 100.0 * ST_Area(a.geom))),"
        " part AS MATERIALIZED ("
        "   SELECT x.source_row, o.id AS other, p.part FROM suspect x"
        "   JOIN {others} o ON o.geom_wgs84 && x.geom_wgs84 AND ST_Intersects(o.geom_wgs84, x.geom_wgs84)"
        "   CROSS JOIN LATERAL (SELECT ST_Area(ST_Intersection(x.geom, sdi.regrid(o.geom, ST_SRID(x.geom)))) AS part) p"
        "   WHERE p.part > 0.01),"
        " held AS (SELECT source_row, max(part) AS part, array_agg(other ORDER BY part DESC, other) AS others"
        "   FROM part GROUP BY source_row)"
        " SELECT x.source_row, x.id, NULL::text, to_jsonb(round((x.whole - h.part)::numeric, 2)),"
        " to_jsonb(round(greatest({tolerance}, {percent} / 100.0 * x.whole)::numeric, 2)),"
        " to_jsonb(array_to_string(h.others[1:{shown}], ' | ')), ST_X(x.point), ST_Y(x.point)"
        " FROM suspect x JOIN held h USING (source_row)"
        " WHERE x.whole - h.part > greatest({tolerance}, {percent} / 100.0 * x.whole)",
        asked=asking.asked(),
        others=asking.others(now=True),
        tolerance=asking.bind(asking.tolerance, "double precision"),
        percent=asking.bind(float(asking.said.get("percent", 0.0)), "double precision"),
        shown=sql.Literal(SHOWN),
    )


def layer_exceeds(asking: Asking) -> Statement:
    """A figure against the limit that the other layer sets, the largest where several of its features hold."""
    said = asking.said
    name, limit = said["attribute"], said["limit"]
    keys = said.get("key", {}).items()
    keyed = [sql.SQL("{} = {}").format(_name(theirs, "o"), _name(mine, "a")) for mine, theirs in keys]
    where = sql.SQL(" AND ").join(keyed) if keyed else _AT_POINT
    return asking.statement(
        "SELECT a.source_row, a.id, {attribute}, to_jsonb({value}), to_jsonb(h.limits), to_jsonb(h.id),"
        " ST_X(a.point), ST_Y(a.point) FROM {asked} a CROSS JOIN LATERAL ("
        "   SELECT o.limits, o.id FROM (SELECT o.id, {limit} AS limits, rank() OVER (ORDER BY {prefer}) AS place"
        "     FROM {others} o WHERE {where} AND {limit} IS NOT NULL) o"
        "   WHERE o.place = 1 ORDER BY o.limits DESC, o.id LIMIT 1) h"
        " WHERE {value} > h.limits + {tolerance}",
        attribute=sql.Literal(name),
        value=_name(name, "a"),
        limit=_name(limit, "o"),
        prefer=_preferred(said),
        asked=asking.asked(),
        others=asking.others(now=True),
        where=where,
        tolerance=asking.bind(asking.tolerance, "double precision"),
    )


_AT_POINT = sql.SQL("o.geom_wgs84 && a.point AND ST_Intersects(o.geom_wgs84, a.point)")


def _preferred(said: dict[str, Any]) -> sql.Composable:
    """Those features first where the attribute `prefer` is greatest; all alike without it."""
    return sql.SQL("{} DESC NULLS LAST").format(_name(said["prefer"], "o")) if "prefer" in said else sql.SQL("1")


def layer_differs(asking: Asking) -> Statement:
    """A code against those that go with the code which the other layer has at the inner point."""
    said = asking.said
    name, theirs = said["attribute"], said["other"]
    pairs = list(compatible(asking.registry, asking.layer, name, asking.other, theirs, said.get("allows", {})))
    return asking.statement(
        "WITH met AS ("
        "   SELECT a.source_row, a.id, a.point, {value} AS mine, o.id AS other, {theirs} AS theirs,"
        "     rank() OVER (PARTITION BY a.source_row ORDER BY {prefer}) AS place"
        "   FROM {asked} a JOIN {others} o ON {at}"
        "   WHERE {value} IS NOT NULL AND {theirs} IS NOT NULL),"
        " judged AS ("
        "   SELECT m.source_row, m.id, m.point, m.mine, min(m.other) AS other, min(m.theirs) AS theirs FROM met m"
        # An array, which PostgreSQL hashes: it took a join for one with a handful of rows, and looped over all pairs.
        "   WHERE m.place = 1 GROUP BY 1, 2, 3, 4 HAVING NOT bool_or(m.mine || ' ' || m.theirs = ANY ({fits})))"
        " SELECT source_row, id, {attribute}, to_jsonb(mine), to_jsonb(theirs), to_jsonb(other),"
        " ST_X(point), ST_Y(point) FROM judged",
        fits=asking.bind([f"{mine} {code}" for mine, code in pairs], "text[]"),
        value=_name(name, "a"),
        theirs=_name(theirs, "o"),
        prefer=_preferred(said),
        asked=asking.asked(),
        others=asking.others(now=True),
        at=_AT_POINT,
        attribute=sql.Literal(name),
    )


def compatible(
    registry: Registry, layer: Layer, name: str, other: Layer, theirs: str, allows: dict[str, Sequence[str]]
) -> set[tuple[str, str]]:
    """Pairs (own code, other code) that do not contradict each other.

    A code fits itself, what took its place, and the groups of its list above it; `allows` adds to a code, or to a
    group, further codes or groups. Values of text attributes fit themselves only.
    """
    mine = registry.code_lists.get(layer[name].code_list or "")
    yours = registry.code_lists.get(other[theirs].code_list or "")
    if mine is None or yours is None:
        return {(str(value), key) for key, values in allows.items() for value in (*values, key)}
    above_mine, above_yours = _lineage(mine), _lineage(yours)
    present_mine, present_yours = _present(mine), _present(yours)
    found = set()
    for code, ours in above_mine.items():
        for their, up in above_yours.items():
            granted = {str(value) for key in up for value in allows.get(key, ())}
            alike = present_mine[code] == present_yours[their]
            if alike or their in ours or code in up or ours & granted:
                found.add((code, their))
    return found


def _lineage(codes: CodeList) -> dict[str, set[str]]:
    """Every code with itself, what took its place, and the groups above these."""
    entries = {code.code: code for code in codes.codes}
    found: dict[str, set[str]] = {}
    for start in entries:
        seen: set[str] = set()
        open_ = [start]
        while open_:
            code = open_.pop()
            if code in seen or code not in entries:
                continue
            seen.add(code)
            open_ += [each for each in (entries[code].parent, entries[code].successor) if each]
        found[start] = seen
    return found


def _present(codes: CodeList) -> dict[str, str]:
    """Every code with the one that stands for it today."""
    successors = {code.code: code.successor for code in codes.codes}
    found = {}
    for start in successors:
        code, seen = start, {start}
        while (following := successors.get(code)) is not None and following not in seen:
            code = following
            seen.add(code)
        found[start] = code
    return found


SHAPED = frozenset({"layer.crosses", "layer.missing"})
"""Rules that ask for the whole feature, not for its inner point only."""
RULED: dict[str, Callable[[Asking], Statement]] = {
    "reference.missing": reference_missing,
    "layer.missing": layer_missing,
    "layer.crosses": layer_crosses,
    "layer.exceeds": layer_exceeds,
    "layer.differs": layer_differs,
}
"""Each rule that needs another layer's table."""
