"""The whole tree of a filter, checked against a layer's contract: names, operators, types, literals."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from sdi.contract.layer import Attribute, Layer
from sdi.errors import BadRequest, nearest
from sdi.store import cql_literal
from sdi.store.cql_place import FilterCrs, box, geometry, vertices

MAX_DEPTH = 40
"""Operators within operators."""
MAX_NODES = 2_000
MAX_ARITHMETIC = 100
"""Arithmetic operators in one filter: with numbers of at most 308 digits no result outgrows PostgreSQL's numeric."""
MAX_VERTICES = 20_000
"""Of all geometries together, as they are handed to the database."""

Kind = Literal["number", "text", "boolean", "date", "datetime", "list", "geometry", "interval"]
Typed = tuple[Any, Kind]
"""A checked expression and what it yields."""

KINDS: dict[str, Kind] = {
    "text": "text",
    "code": "text",
    "integer": "number",
    "decimal": "number",
    "number": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "datetime",
    "list": "list",
}
"""Attribute type of the contract -> kind in a filter."""

COMPARISON = frozenset({"=", "<>", "<", ">", "<=", ">="})
ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "div", "^"})
SPATIAL = frozenset(
    {"s_contains", "s_crosses", "s_disjoint", "s_equals", "s_intersects", "s_overlaps", "s_touches", "s_within"}
)
TEMPORAL = frozenset(
    {"t_after", "t_before", "t_contains", "t_disjoint", "t_during", "t_equals", "t_finishedBy", "t_finishes"}
    | {"t_intersects", "t_meets", "t_metBy", "t_overlappedBy", "t_overlaps", "t_startedBy", "t_starts"}
)
ARRAY = frozenset({"a_equals", "a_contains", "a_containedBy", "a_overlaps"})
TEMPORAL_KINDS = frozenset({"date", "datetime"})
_OPERATORS = frozenset({"and", "or", "not", "between", "in", "like", "isNull", "casei", "accenti"}).union(
    COMPARISON, ARITHMETIC, SPATIAL, TEMPORAL, ARRAY
)
_BY_LOWER = {name.lower(): name for name in _OPERATORS}
_GEOMETRY_NAMES = ("geometry", "geom")


class Checker:
    """Checks one filter. Every method returns the expression as it is to be compiled, or raises BadRequest."""

    def __init__(self, layer: Layer, names: frozenset[str], crs: FilterCrs) -> None:
        self._layer = layer
        self._crs = crs
        self._attributes = {name: layer[name] for name in layer.by_name if name in names}
        self._nodes = 0
        self._arithmetic = 0
        self._vertices = 0
        self._rules: dict[str, Callable[[str, list[Any], int], Typed]] = {
            "and": self._logical,
            "or": self._logical,
            "not": self._logical,
            "between": self._between,
            "in": self._in,
            "like": self._like,
            "isNull": self._is_null,
            "casei": self._folded,
            "accenti": self._folded,
            **dict.fromkeys(COMPARISON, self._comparison),
            **dict.fromkeys(ARITHMETIC, self._calculation),
            **dict.fromkeys(SPATIAL, self._spatial),
            **dict.fromkeys(TEMPORAL, self._temporal),
            **dict.fromkeys(ARRAY, self._array),
        }

    def condition(self, tree: Any) -> dict[str, Any]:
        checked = self._boolean(tree, 0)
        return {"op": "and", "args": [checked]} if isinstance(checked, bool) else checked

    def _boolean(self, node: Any, depth: int) -> Any:
        checked, kind = self._expression(node, depth)
        if kind != "boolean":
            raise BadRequest(f"{_shown(checked)} is {_a(kind)}, where a condition is needed.")
        return checked

    def _expression(self, node: Any, depth: int) -> Typed:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise BadRequest("The filter is too complex.", hint=f"At most {MAX_DEPTH} levels and {MAX_NODES:,} terms.")
        if isinstance(node, dict):
            return self._object(node, depth)
        if isinstance(node, bool):
            return node, "boolean"
        if isinstance(node, int | float | Decimal):
            return cql_literal.number(node), "number"
        if isinstance(node, str):
            return cql_literal.text(node), "text"
        if node is None:
            raise BadRequest("Nothing equals null.", hint="Write IS NULL or IS NOT NULL.")
        raise BadRequest("The filter has a list where one value is needed.")

    def _object(self, node: dict[str, Any], depth: int) -> Typed:
        if "op" in node:
            return self._operation(node, depth)
        if "property" in node:
            return self._property(node["property"])
        if "date" in node or "timestamp" in node:
            return cql_literal.dated(node)
        if "interval" in node:
            return self._interval(node["interval"], depth)
        if "bbox" in node:
            bounds = node["bbox"]
            return self._place(box(bounds if isinstance(bounds, list) else [], self._crs))
        if "type" in node:
            return self._place(geometry(node, self._crs))
        raise BadRequest("The filter has an object that is no expression of CQL2.", hint="See OGC 21-065, Annex C.")

    def _place(self, shape: dict[str, Any]) -> Typed:
        """Each literal is bounded already; this bounds a thousand of them, each bent along a grid."""
        self._vertices += vertices(shape)
        if self._vertices > MAX_VERTICES:
            raise BadRequest(f"The geometries of the filter have more than {MAX_VERTICES:,} vertices together.")
        return shape, "geometry"

    def _operation(self, node: dict[str, Any], depth: int) -> Typed:
        given, arguments = node["op"], node.get("args")
        if not isinstance(given, str) or given.lower() not in _BY_LOWER:
            word = str(given)[:40]
            raise BadRequest(f"There is no operator or function '{word}'.{nearest(word.lower(), _OPERATORS)}")
        name = _BY_LOWER[given.lower()]
        if not isinstance(arguments, list):
            raise BadRequest(f"'{name}' has no list of arguments.")
        return self._rules[name](name, arguments, depth + 1)

    def _property(self, name: Any) -> Typed:
        name = unicodedata.normalize("NFC", name) if isinstance(name, str) else str(name)
        if name in self._attributes:
            return {"property": name}, KINDS[self._attributes[name].type]
        if name == "id":
            return {"property": "id"}, "text"
        if name in _GEOMETRY_NAMES and self._layer.geometry is not None:
            return {"property": "geometry"}, "geometry"
        known = [*self._attributes, "id", "geometry"]
        raise BadRequest(
            f"There is no property '{name[:60]}' to filter by.{nearest(name, known)}",
            hint=f"There are: {', '.join(known)}.",
        )

    def _logical(self, name: str, arguments: list[Any], depth: int) -> Typed:
        if name == "not":
            _count(name, arguments, 1)
        elif not arguments:
            raise BadRequest(f"'{name}' has no arguments.")
        return _call(name, [self._boolean(argument, depth) for argument in arguments]), "boolean"

    def _comparison(self, name: str, arguments: list[Any], depth: int) -> Typed:
        operands = self._alike(name, _count(name, arguments, 2), depth)
        return _call(name, [checked for checked, _ in operands]), "boolean"

    def _between(self, name: str, arguments: list[Any], depth: int) -> Typed:
        operands = self._alike(name, _count(name, arguments, 3), depth)
        if operands[0][1] not in ("number", "date", "datetime"):
            raise BadRequest(f"BETWEEN needs numbers or dates, and {_shown(operands[0][0])} is {_a(operands[0][1])}.")
        return _call(name, [checked for checked, _ in operands]), "boolean"

    def _in(self, name: str, arguments: list[Any], depth: int) -> Typed:
        value, options = _count(name, arguments, 2)
        if not isinstance(options, list) or not options:
            raise BadRequest("IN needs a list with at least one value.")
        first, *others = self._alike(name, [value, *options], depth)
        return _call(name, [first[0], [checked for checked, _ in others]]), "boolean"

    def _like(self, name: str, arguments: list[Any], depth: int) -> Typed:
        value, pattern = (self._expression(argument, depth) for argument in _count(name, arguments, 2))
        for checked, kind in (value, pattern):
            if kind != "text":
                raise BadRequest(f"LIKE needs texts, and {_shown(checked)} is {_a(kind)}.")
        written = pattern[0]
        while isinstance(written, dict) and written.get("op") in ("casei", "accenti"):
            written = written["args"][0]
        if not isinstance(written, str):
            raise BadRequest("The pattern of LIKE must be a text written out.")
        if (len(written) - len(written.rstrip("\\"))) % 2:
            raise BadRequest("The pattern of LIKE ends in a backslash that escapes nothing.", hint="Double it.")
        return _call(name, [value[0], pattern[0]]), "boolean"

    def _is_null(self, name: str, arguments: list[Any], depth: int) -> Typed:
        (argument,) = _count(name, arguments, 1)
        checked, kind = self._expression(argument, depth)
        if kind == "interval":
            raise BadRequest("IS NULL does not ask about an interval.")
        return _call(name, [checked]), "boolean"

    def _folded(self, name: str, arguments: list[Any], depth: int) -> Typed:
        (argument,) = _count(name, arguments, 1)
        checked, kind = self._expression(argument, depth)
        if kind != "text":
            raise BadRequest(f"{name.upper()} needs a text, and {_shown(checked)} is {_a(kind)}.")
        return _call(name, [checked]), "text"

    def _calculation(self, name: str, arguments: list[Any], depth: int) -> Typed:
        self._arithmetic += 1
        if self._arithmetic > MAX_ARITHMETIC:
            raise BadRequest(f"The filter calculates too much: at most {MAX_ARITHMETIC} arithmetic operators.")
        operands = [self._expression(argument, depth) for argument in _count(name, arguments, 2)]
        for checked, kind in operands:
            if kind != "number":
                raise BadRequest(f"'{name}' needs numbers, and {_shown(checked)} is {_a(kind)}.")
        (left, _), (right, _) = operands
        if name == "*" and left == -1 and not isinstance(right, dict):
            return -right, "number"  # how cql2 writes the sign of what it did not read as a number
        return _call(name, [left, right]), "number"

    def _spatial(self, name: str, arguments: list[Any], depth: int) -> Typed:
        operands = [self._expression(argument, depth) for argument in _count(name, arguments, 2)]
        for checked, kind in operands:
            if kind != "geometry":
                raise BadRequest(f"{name.upper()} needs geometries, and {_shown(checked)} is {_a(kind)}.")
            collection = isinstance(checked, dict) and checked.get("type") == "GeometryCollection"
            if collection and name not in ("s_intersects", "s_disjoint"):
                raise BadRequest(f"{name.upper()} does not take a GeometryCollection.", hint="Use a Multi geometry.")
        return _call(name, [checked for checked, _ in operands]), "boolean"

    def _temporal(self, name: str, arguments: list[Any], depth: int) -> Typed:
        operands = []
        for argument in _count(name, arguments, 2):
            checked, kind = self._expression(argument, depth)
            if kind == "text" and isinstance(checked, str):
                checked, kind = cql_literal.moment(checked)
            if kind not in ("date", "datetime", "interval"):
                raise BadRequest(
                    f"{name.upper()} needs dates, times or intervals, and {_shown(checked)} is {_a(kind)}."
                )
            operands.append(checked)
        return _call(name, operands), "boolean"

    def _interval(self, ends: Any, depth: int) -> Typed:
        if not isinstance(ends, list) or len(ends) != 2:
            raise BadRequest("INTERVAL needs a start and an end.")
        checked = [end if end in ("", "..") else self._end(end, depth + 1) for end in ends]
        ends = [".." if end == "" else end for end in checked]
        start, end = (cql_literal.day_of(end) for end in ends)
        if start is not None and end is not None and start > end:
            raise BadRequest("An INTERVAL in the filter ends before it starts.")
        return {"interval": ends}, "interval"

    def _end(self, node: Any, depth: int) -> Any:
        checked, kind = self._expression(node, depth)
        if kind == "text" and isinstance(checked, str):
            checked, kind = cql_literal.moment(checked)
        if kind not in TEMPORAL_KINDS:
            raise BadRequest(f"INTERVAL needs dates or times, and {_shown(checked)} is {_a(kind)}.")
        return checked

    def _array(self, name: str, arguments: list[Any], depth: int) -> Typed:
        value, options = _count(name, arguments, 2)
        checked, kind = self._expression(value, depth)
        items = self._attributes[checked["property"]].items if kind == "list" else None
        if items is None or len(items) != 1:
            raise BadRequest(
                f"{name.upper()} compares lists of plain values, and {_shown(checked)} is "
                + (_a(kind) if items is None else "a list of records with " + ", ".join(item.name for item in items))
                + "."
            )
        wanted = KINDS[items[0].type]
        given = options if isinstance(options, list) else [options]
        values = [self._expression(option, depth) for option in given]
        for one, found in values:
            if found != wanted or isinstance(one, dict):
                raise BadRequest(f"The items of {_shown(checked)} are each {_a(wanted)}, unlike {_shown(one)}.")
        return _call(name, [checked, [one for one, _ in values]]), "boolean"

    def _alike(self, name: str, arguments: list[Any], depth: int) -> list[Typed]:
        """Operands that can be compared with each other; texts beside dates are read as dates."""
        operands = [self._expression(argument, depth) for argument in arguments]
        if any(kind in TEMPORAL_KINDS for _, kind in operands):
            operands = [
                cql_literal.moment(checked) if kind == "text" and isinstance(checked, str) else (checked, kind)
                for checked, kind in operands
            ]
        first, kind = operands[0]
        if kind in ("geometry", "list", "interval"):
            raise BadRequest(
                f"'{name}' does not compare {_shown(first)}, which is {_a(kind)}.", hint=_INSTEAD.get(kind)
            )
        for other, found in operands[1:]:
            if found != kind and not TEMPORAL_KINDS.issuperset({found, kind}):
                raise BadRequest(
                    f"{_shown(first)} is {_a(kind)} and {_shown(other)} is {_a(found)}: '{name}' needs alike."
                )
        return operands


_INSTEAD = {"geometry": "Use S_INTERSECTS, S_WITHIN, …", "interval": "Use T_INTERSECTS, T_DURING, …"}


def column_kind(layer: Layer, name: str) -> Kind:
    """What a checked property yields."""
    if name == "geometry" and name not in layer.by_name:
        return "geometry"
    attribute: Attribute | None = layer.by_name.get(name)
    return KINDS[attribute.type] if attribute is not None else "text"


def _call(name: str, arguments: list[Any]) -> dict[str, Any]:
    return {"op": name, "args": arguments}


def _count(name: str, arguments: list[Any], count: int) -> list[Any]:
    if len(arguments) != count:
        raise BadRequest(f"'{name}' takes {count} argument{'s' * (count > 1)}, not {len(arguments)}.")
    return arguments


def _shown(checked: Any) -> str:
    if isinstance(checked, dict):
        if "property" in checked:
            return f"'{checked['property']}'"
        if "op" in checked:
            return f"the result of '{checked['op']}'"
        return str(checked.get("date") or checked.get("timestamp") or checked.get("type") or "the interval")
    return repr(checked)[:60] if isinstance(checked, str) else str(checked)[:60]


def _a(kind: str) -> str:
    return {
        "number": "a number",
        "text": "a text",
        "boolean": "a truth value",
        "date": "a date",
        "datetime": "a time",
        "list": "a list",
        "geometry": "a geometry",
        "interval": "an interval",
    }[kind]
