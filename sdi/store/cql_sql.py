"""A checked filter to bound SQL over a layer's table.

NULL is SQL's, as CQL2 wants it: an unknown comparison is neither true nor false. Places are compared in `geom_wgs84`,
so that the index serves. Calculations are in numeric and give null where they are undefined: an error would tell
whoever filters that some row, perhaps a hidden one, has the value that provoked it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.store import succession
from sdi.store.cql_check import ARITHMETIC, ARRAY, COMPARISON, SPATIAL, TEMPORAL, TEMPORAL_KINDS, column_kind
from sdi.store.cql_place import binary, binary_box, binary_boxes, boxes
from sdi.store.statement import PLACE, Parameters, Statement, Type

GEOMETRY = sql.Identifier("geom_wgs84")
NEAR = sql.Identifier("N")
"""Where places are told less exactly than they are stored: the stored one, which has an index (see sdi.store.sight)."""

_COMPARE = {name: sql.SQL(name) for name in ("=", "<>", "<", ">", "<=", ">=")}
_CALCULATE = {
    "+": sql.SQL("({} + {})"),
    "-": sql.SQL("({} - {})"),
    "*": sql.SQL("({} * {})"),
    "/": sql.SQL("({} / nullif({}, 0))"),
    "%": sql.SQL("mod({}, nullif({}, 0))"),
    "div": sql.SQL("div({}, nullif({}, 0))"),
    "^": sql.SQL("sdi.power({}, {})"),
}
_PLACE = {
    "s_contains": sql.SQL("({0} && {1} AND ST_Contains({0}, {1}))"),
    "s_crosses": sql.SQL("({0} && {1} AND ST_Crosses({0}, {1}))"),
    "s_disjoint": sql.SQL("NOT ({0} && {1} AND ST_Intersects({0}, {1}))"),
    "s_equals": sql.SQL("({0} && {1} AND ST_Equals({0}, {1}))"),
    "s_intersects": sql.SQL("({0} && {1} AND ST_Intersects({0}, {1}))"),
    "s_overlaps": sql.SQL("({0} && {1} AND ST_Overlaps({0}, {1}))"),
    "s_touches": sql.SQL("({0} && {1} AND ST_Touches({0}, {1}))"),
    "s_within": sql.SQL("({0} && {1} AND ST_Within({0}, {1}))"),
}
_HELD = sql.SQL("({0} && {outer} AND ({0} @ ANY({inside}) OR (NOT {0} @ ANY({outside}) AND ST_Intersects({0}, {1}))))")
"""`s_intersects` of many rows: most are told by their boxes, before the shape is looked at."""
_TIME = {
    # {0} to {1} is the first operand, {2} to {3} the second; an instant starts and ends at once (Allen 1983).
    "t_after": sql.SQL("{0} > {3}"),
    "t_before": sql.SQL("{1} < {2}"),
    "t_contains": sql.SQL("({0} < {2} AND {1} > {3})"),
    "t_disjoint": sql.SQL("({0} > {3} OR {1} < {2})"),
    "t_during": sql.SQL("({0} > {2} AND {1} < {3})"),
    "t_equals": sql.SQL("({0} = {2} AND {1} = {3})"),
    "t_finishedBy": sql.SQL("({0} < {2} AND {1} = {3})"),
    "t_finishes": sql.SQL("({0} > {2} AND {1} = {3})"),
    "t_intersects": sql.SQL("({0} <= {3} AND {1} >= {2})"),
    "t_meets": sql.SQL("{1} = {2}"),
    "t_metBy": sql.SQL("{0} = {3}"),
    "t_overlappedBy": sql.SQL("({0} > {2} AND {0} < {3} AND {1} > {3})"),
    "t_overlaps": sql.SQL("({0} < {2} AND {1} > {2} AND {1} < {3})"),
    "t_startedBy": sql.SQL("({0} = {2} AND {1} > {3})"),
    "t_starts": sql.SQL("({0} = {2} AND {1} < {3})"),
}
_LIST = {
    "a_contains": sql.SQL("{0} @> {1}"),
    "a_containedBy": sql.SQL("{0} <@ {1}"),
    "a_equals": sql.SQL("({0} @> {1} AND {0} <@ {1})"),
    "a_overlaps": sql.SQL(
        "CASE WHEN {0} IS NOT NULL"
        " THEN EXISTS (SELECT FROM jsonb_array_elements({0}) AS item(value) WHERE item.value <@ {1}) END"
    ),
}


def compile(expression: dict[str, Any], layer: Layer) -> Statement:
    """The condition alone, to stand behind WHERE over the layer's table. expression: what `parse_filter` returned."""
    parameters = Parameters()
    return Statement(condition(expression, layer, parameters), parameters.values)


def condition(expression: Any, layer: Layer, parameters: Parameters) -> sql.Composed:
    """The same as part of a larger statement, whose parameters it joins."""
    return _Compiler(layer, parameters).expression(expression)


def has_place(expression: Any) -> bool:
    """Whether a spatial function is in it."""
    if not isinstance(expression, dict) or "op" not in expression:
        return False
    return expression["op"] in SPATIAL or any(has_place(argument) for argument in expression["args"])


def names_value(expression: Any) -> bool:
    """Whether features are picked by the value of an attribute: `name = …` or `name IN (…)`, alone or AND others."""
    if not isinstance(expression, dict) or "op" not in expression:
        return False
    name, args = expression["op"], expression["args"]
    if name == "and":
        return any(map(names_value, args))
    return name in ("=", "in") and any(isinstance(arg, dict) and "property" in arg for arg in args)


class _Compiler:
    def __init__(self, layer: Layer, parameters: Parameters) -> None:
        self._layer = layer
        self._parameters = parameters
        self._rules: dict[str, Callable[[str, list[Any]], sql.Composed]] = {
            "and": self._logical,
            "or": self._logical,
            "not": lambda name, args: sql.SQL("NOT ({})").format(self.expression(args[0])),
            "between": self._between,
            "in": self._in,
            "like": lambda name, args: sql.SQL("{} LIKE {}").format(*map(self.expression, args)),
            "isNull": lambda name, args: sql.SQL("({}) IS NULL").format(self.expression(args[0])),
            "casei": lambda name, args: sql.SQL("sdi.casei({})").format(self.expression(args[0])),
            "accenti": lambda name, args: sql.SQL("sdi.accenti({})").format(self.expression(args[0])),
            **dict.fromkeys(COMPARISON, self._comparison),
            **dict.fromkeys(ARITHMETIC, self._calculation),
            **dict.fromkeys(SPATIAL, self._spatial),
            **dict.fromkeys(TEMPORAL, self._temporal),
            **dict.fromkeys(ARRAY, self._array),
        }

    def expression(self, node: Any) -> sql.Composed:
        if isinstance(node, dict):
            if "op" in node:
                return self._rules[node["op"]](node["op"], node["args"])
            if "property" in node:
                return sql.Composed([self._column(node["property"])])
            if "date" in node:
                return self._parameters.bind(node["date"], "date")
            if "timestamp" in node:
                return self._parameters.bind(node["timestamp"], "timestamptz")
            return self._place(json.dumps(node))
        if isinstance(node, bool):
            return self._parameters.bind(node, "boolean")
        if isinstance(node, int | Decimal):
            small = isinstance(node, int) and -(2**63) <= node < 2**63
            return self._parameters.bind(node if small else Decimal(node), "bigint" if small else "numeric")
        return self._parameters.bind(node, "text")

    def _column(self, name: str) -> sql.Identifier:
        return GEOMETRY if column_kind(self._layer, name) == "geometry" else sql.Identifier(name)

    def _logical(self, name: str, args: list[Any]) -> sql.Composed:
        word = sql.SQL(" AND ") if name == "and" else sql.SQL(" OR ")
        return sql.SQL("({})").format(word.join(self.expression(arg) for arg in args))

    def _comparison(self, name: str, args: list[Any]) -> sql.Composed:
        reform = None if self._parameters.ruled else self._layer.reform
        if reform is not None and name in ("=", "<>"):
            codes = [arg for arg in args if isinstance(arg, str)]
            if len(codes) == 1 and {"property": reform.attribute} in args:
                shape = sql.SQL("{}") if name == "=" else sql.SQL("(NOT {})")
                return shape.format(succession.lies_in(reform, codes, self._parameters.day, self._parameters))
        left, right = self._comparable(args)
        return sql.SQL("({} {} {})").format(left, _COMPARE[name], right)

    def _between(self, name: str, args: list[Any]) -> sql.Composed:
        return sql.SQL("({} BETWEEN {} AND {})").format(*self._comparable(args))

    def _in(self, name: str, args: list[Any]) -> sql.Composed:
        reform = None if self._parameters.ruled else self._layer.reform
        if reform is not None and args[0] == {"property": reform.attribute}:
            codes = [option for option in args[1] if isinstance(option, str)]
            if len(codes) == len(args[1]):
                return succession.lies_in(reform, codes, self._parameters.day, self._parameters)
        value, *options = self._comparable([args[0], *args[1]])
        return sql.SQL("({} IN ({}))").format(value, sql.SQL(", ").join(options))

    def _comparable(self, operands: list[Any]) -> list[sql.Composed]:
        """Numbers beside a calculation become numeric, times beside a date become their day in UTC."""
        if any(isinstance(node, dict) and node.get("op") in ARITHMETIC for node in operands):
            return [self._exact(node) for node in operands]
        if self._by_day(operands):
            return [self._instant(node, by_day=True) for node in operands]
        return [self.expression(node) for node in operands]

    def _exact(self, node: Any) -> sql.Composed:
        compiled = self.expression(node)
        calculated = isinstance(node, dict) and "op" in node
        return compiled if calculated else sql.SQL("{}::numeric").format(compiled)

    def _calculation(self, name: str, args: list[Any]) -> sql.Composed:
        return _CALCULATE[name].format(*map(self._exact, args))

    def _spatial(self, name: str, args: list[Any]) -> sql.Composed:
        literals = [arg for arg in args if not (isinstance(arg, dict) and "property" in arg)]
        if self._parameters.ruled and name == "s_intersects" and [args[1]] == literals:
            return self._held(args)
        made = _PLACE[name].format(*map(self.expression, args))
        if self._parameters.near is None or name == "s_disjoint" or len(literals) != 1:
            return made
        near = self._parameters.bind(self._parameters.near, "double precision")
        return sql.SQL("({} && ST_Expand({}, {}) AND {})").format(NEAR, self.expression(literals[0]), near, made)

    def _held(self, args: list[Any]) -> sql.Composed:
        text = json.dumps(args[1])
        near = boxes(text)
        if not near.inside and not near.outside:
            return _PLACE["s_intersects"].format(*map(self.expression, args))
        return _HELD.format(
            *map(self.expression, args), outer=self._read(binary_box(near.outer), "geometry"),
            inside=self._read(binary_boxes(near.inside), "geometry[]"),
            outside=self._read(binary_boxes(near.outside), "geometry[]"),
        )  # fmt: skip

    def _place(self, text: str) -> sql.Composed:
        """A place that is written in GeoJSON."""
        if self._parameters.once:
            return self._read(binary(text), "geometry")
        read = sql.SQL("ST_SetSRID({}({}), 4326)")
        return read.format(sql.SQL(PLACE), self._parameters.bind_once(text, "text"))

    def _read(self, text: str, kind: Type) -> sql.Composed:
        """Geometries in hexadecimal digits."""
        bound = self._parameters.bind_once(text, kind)
        return sql.SQL("(SELECT {})::{}").format(bound, sql.SQL(kind)) if self._parameters.once else bound

    def _temporal(self, name: str, args: list[Any]) -> sql.Composed:
        by_day = self._by_day([end for arg in args for end in _ends(arg)])
        return _TIME[name].format(*(bound for arg in args for bound in self._bounds(arg, by_day)))

    def _bounds(self, node: Any, by_day: bool) -> list[sql.Composed]:
        """Start and end; an interval's open or empty end lies at infinity."""
        if "interval" not in node:
            return [self._instant(node, by_day)] * 2
        kind = sql.SQL("date") if by_day else sql.SQL("timestamptz")
        bounds = []
        for end, infinity in zip(node["interval"], (sql.SQL("'-infinity'"), sql.SQL("'infinity'")), strict=True):
            if end == "..":
                bounds.append(sql.SQL("{}::{}").format(infinity, kind))
            else:
                bounds.append(sql.SQL("coalesce({}, {}::{})").format(self._instant(end, by_day), infinity, kind))
        return bounds

    def _instant(self, node: Any, by_day: bool) -> sql.Composed:
        compiled = self.expression(node)
        if by_day and self._kind(node) == "datetime":
            return sql.SQL("({} AT TIME ZONE 'UTC')::date").format(compiled)
        return compiled

    def _by_day(self, nodes: list[Any]) -> bool:
        """Whether a date is among instants: then all are compared by the day."""
        return "date" in {self._kind(node) for node in nodes}

    def _kind(self, node: Any) -> str:
        """date, datetime, or something that is no instant."""
        if not isinstance(node, dict):
            return ""
        if "property" in node:
            kind = column_kind(self._layer, node["property"])
            return kind if kind in TEMPORAL_KINDS else ""
        return "date" if "date" in node else "datetime" if "timestamp" in node else ""

    def _array(self, name: str, args: list[Any]) -> sql.Composed:
        column = args[0]["property"]
        items = self._layer[column].items
        assert items is not None
        path = self._parameters.bind(f'$[*]."{items[0].name}"', "jsonpath")
        values = sql.SQL("jsonb_path_query_array({}, {})").format(sql.Identifier(column), path)
        return _LIST[name].format(values, self._parameters.bind(json.dumps(args[1], default=float), "jsonb"))


def _ends(node: Any) -> list[Any]:
    return list(node["interval"]) if "interval" in node else [node]
