"""A layer's rows as who asks sees them: one relation, in which what they may not see is not there.

Every answer, filter, sort and count reads this relation in the place of the table, so that none of them can show or
tell more. PostgreSQL flattens it into the statement around it, and the indexes of the table serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from psycopg import sql

from sdi.contract import quality
from sdi.contract.layer import Layer
from sdi.contract.query import Existence, Precision, Sight
from sdi.national import vn2000
from sdi.store import tables
from sdi.store.cql_sql import NEAR, condition
from sdi.store.statement import Parameters

ROWS = sql.Identifier("R")
"""What the layer's rows are called in a statement; no attribute has a capital letter."""
_HELD = sql.Identifier("H")
"""What is beside a row: which conditions hold of it."""
Lately = Callable[[list[sql.Composable]], sql.Composable]
_DEGREE = 111_319.49
"""Metres of a degree along the equator of WGS 84."""
_NORTHERNMOST = 24.0
"""Degrees of latitude; Viet Nam ends at 23.4."""


def relation(
    layer: Layer, sight: Sight | None, parameters: Parameters, source: sql.Composable | None = None,
    beside: Iterable[str] = ("load_id",), lately: Lately | None = None,
) -> sql.Composable:  # fmt: skip
    """What stands behind FROM: the rows as they are seen, called ROWS.

    `source`: the rows as they are stored, to stand behind FROM, with every column of `needed`; None: the layer's table.
    `beside`: columns that are told besides id, subject, attributes and places. `lately`: what makes of conditions that
    they hold of the latest state of the row's feature, where the rows are former states: what is masked in that one is
    masked in these too.
    """
    stored = tables.now(layer) if source is None else source
    if sight is None:
        return sql.SQL("{} AS {}").format(stored, ROWS)
    wanted = [] if sight.rows is None else [_holds(sight.rows, layer, parameters)]
    if sight.subject is not None:
        wanted.append(_exists(layer, sight.subject, sql.Identifier("R", "subject_id"), parameters))
    where = sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(wanted)) if wanted else sql.SQL("")
    once = _Once(layer, sight, parameters, lately)
    return sql.SQL("(SELECT {} FROM {} AS {}{}{}) AS {}").format(
        sql.SQL(", ").join(_columns(layer, sight, once, parameters, beside)), stored, ROWS, once.asked, where, ROWS
    )


def shape(layer: Layer, sight: Sight | None) -> str | None:
    """The type of geometry that the features have; None: they have none. `Unknown`: several, where a place may be told
    as its centre or on a grid, on which a single shape may fall apart, and of features as they were delivered.
    """
    if layer.geometry is None:
        return None
    told = {precision for _, precision, _ in sight.places} if sight is not None else set()
    kind = layer.geometry.type
    other = "centroid" in told or ("generalised" in told and not kind.startswith("Multi"))
    return "Unknown" if quality.is_quarantine(layer) or (other and kind != "Point") else kind


def needed(layer: Layer, sight: Sight, beside: Iterable[str] = ("load_id",)) -> tuple[str, ...]:
    """The stored columns that the relation is made of."""
    named = {name for expression in expressions(sight) for name in properties(expression)}
    known = {attribute.name for attribute in layer.stored}
    subject = ["subject_id"] if layer.kind == "derived" else []
    kept = _kept(layer, sight)
    return ("id", *subject, *dict.fromkeys([*kept, *sorted(named & known)]), "geom", "geom_wgs84", *beside)


def still(layer: Layer, sight: Sight, parameters: Parameters) -> sql.Composable | None:
    """The condition by which rows of the layer's tables exist for who asks; None: each does."""
    return None if sight.rows is None else _holds(sight.rows, layer, parameters)


def properties(expression: Any) -> set[str]:
    """The attributes that an expression names."""
    if isinstance(expression, list | tuple):
        return set().union(*map(properties, expression)) if expression else set()
    if not isinstance(expression, dict):
        return set()
    if "property" in expression:
        return {expression["property"]}
    return set().union(*map(properties, expression.values())) if expression else set()


def reach(sight: Sight | None) -> float | None:
    """Degrees by which a place as it is told may lie outside the box of the stored one; None: it is the stored one."""
    if sight is None or sight.reach is None:
        return None
    return sight.reach / _DEGREE / math.cos(math.radians(_NORTHERNMOST)) + 1e-7


def expressions(sight: Sight) -> Iterator[dict[str, Any]]:
    """What it asks of the layer's own features."""
    told = [sight.rows, *(where for _, where in sight.masks), *(where for where, _, _ in sight.places)]
    yield from (expression for expression in told if expression is not None)


def _kept(layer: Layer, sight: Sight) -> list[str]:
    """The attributes of the relation. What a code of a unit means is looked for among the former ones as well."""
    kept = list(sight.attributes)
    if layer.reform is not None and layer.reform.attribute in kept and layer.reform.former not in kept:
        kept.append(layer.reform.former)
    return kept


class _Once:
    """The conditions of a sight on a row. One that several columns hang on is asked once for each row that is found,
    not once for each column: beside the row, where the planner may not take it apart (OFFSET 0).
    """

    def __init__(self, layer: Layer, sight: Sight, parameters: Parameters, lately: Lately | None) -> None:
        self._layer, self._parameters, self._lately = layer, parameters, lately
        told = [where for _, where in sight.masks]
        # The two geometries of a feature are told in the same way.
        told += [where for where, _, _ in sight.places if where is not None for _ in range(2)]
        first = [where for number, where in enumerate(told) if where not in told[:number]]
        self._several = [where for where in first if told.count(where) > 1]
        self._names = [sql.Identifier(f"holds {number}") for number in range(len(self._several))]

    @property
    def asked(self) -> sql.Composable:
        """What stands behind the rows in FROM."""
        if not self._several:
            return sql.SQL("")
        columns = [
            sql.SQL("{} AS {}").format(_always(where, self._layer, self._parameters, self._lately), name)
            for where, name in zip(self._several, self._names, strict=True)
        ]
        return sql.SQL(" CROSS JOIN LATERAL (SELECT {} OFFSET 0) AS {}").format(sql.SQL(", ").join(columns), _HELD)

    def __call__(self, where: dict[str, Any]) -> sql.Composable:
        if where in self._several:
            return sql.SQL("{}.{}").format(_HELD, self._names[self._several.index(where)])
        return _always(where, self._layer, self._parameters, self._lately)


def _columns(
    layer: Layer, sight: Sight, holds: _Once, parameters: Parameters, beside: Iterable[str]
) -> Iterator[sql.Composable]:  # fmt: skip
    yield sql.Identifier("id")
    if layer.kind == "derived":
        yield sql.Identifier("subject_id")
    masks = dict(sight.masks)
    references = dict(sight.references)
    for name in _kept(layer, sight):
        shown: sql.Composable = sql.Identifier(name)
        if name in sight.bare:
            shown = _bare(layer, name, references.get(name), parameters)
        elif name in references:
            shown = _ids(layer, name, references[name], parameters)
        if name in masks:
            shown = sql.SQL("CASE WHEN {} THEN {} END").format(holds(masks[name]), shown)
        plain = name not in references and name not in masks and name not in sight.bare
        yield shown if plain else sql.SQL("{} AS {}").format(shown, sql.Identifier(name))
        if name in references and layer[name].type != "list":
            yield sql.SQL("{} AS {}").format(sql.Identifier(name), stored_id(name))
    yield from (_place(layer, sight, name, holds) for name in ("geom", "geom_wgs84"))
    if sight.reach is not None:
        # The stored place finds what the told one is asked for, by its index.
        yield sql.SQL("geom_wgs84 AS {}").format(NEAR)
    yield from map(sql.Identifier, beside)


def stored_id(name: str) -> sql.Identifier:
    """An id as it is stored, beside the told one: what is asked for by the told one is found by its index."""
    return sql.Identifier(f"{name} stored")


def _ids(layer: Layer, name: str, existence: Existence, parameters: Parameters) -> sql.Composable:
    """What is told of an attribute that refers to another layer. An id that names no feature there is like a hidden
    one; a list of which nothing is left is empty as if it had never been."""
    column = sql.Identifier("R", name)
    if layer[name].type != "list":
        exists = _exists(layer, existence, column, parameters)
        return sql.SQL("CASE WHEN {} THEN {} END").format(exists, column)
    id_ = sql.SQL("item.value ->> 'id'")
    exists = _exists(layer, existence, id_, parameters)
    return sql.SQL(
        "(SELECT jsonb_agg(item.value ORDER BY item.number) FROM jsonb_array_elements({}) WITH ORDINALITY"
        " AS item (value, number) WHERE {} IS NULL OR {})"
    ).format(column, id_, exists)


def _bare(layer: Layer, name: str, existence: Existence | None, parameters: Parameters) -> sql.Composable:
    """The ids alone of a list's items, in their own order: that of the items may be by what is hidden."""
    id_ = sql.SQL("item.value ->> 'id'")
    exists = sql.SQL("true") if existence is None else _exists(layer, existence, id_, parameters)
    # CASE: a join would look at all features of the other layer, not at these alone.
    return sql.SQL(
        "(SELECT jsonb_agg(DISTINCT jsonb_build_object('id', item.value -> 'id')) FROM jsonb_array_elements({})"
        " AS item (value) WHERE CASE WHEN {} IS NOT NULL THEN {} END)"
    ).format(sql.Identifier("R", name), id_, exists)


def _exists(
    layer: Layer, existence: Existence, id_: sql.Composable, parameters: Parameters, deep: int = 1
) -> sql.Composable:  # fmt: skip
    """Whether the feature of another layer that an id names exists for who asks; found by the id, one at a time."""
    name, rows, subject = existence
    other, alias = layer.others[name], f"E{deep}"
    wanted: list[sql.Composable] = [sql.SQL("{} = {}").format(sql.Identifier(alias, "id"), id_)]
    if rows is not None:
        wanted.append(_holds(rows, other, parameters))
    if subject is not None:
        wanted.append(_exists(layer, subject, sql.Identifier(alias, "subject_id"), parameters, deep + 1))
    return sql.SQL("EXISTS (SELECT FROM {} AS {} WHERE {})").format(
        tables.now(other), sql.Identifier(alias), sql.SQL(" AND ").join(wanted)
    )


def _place(layer: Layer, sight: Sight, name: str, holds: _Once) -> sql.Composable:
    column = sql.Identifier(name)
    if not sight.places:
        return column
    ways, otherwise = [], sql.SQL("NULL")
    for where, precision, metres in sight.places:
        told = _told(layer, name, precision, metres)
        if where is None:
            otherwise = told  # type: ignore[assignment]
            break
        ways.append(sql.SQL(" WHEN {} THEN {}").format(holds(where), told))
    made = sql.SQL("CASE{} ELSE {} END").format(sql.SQL("").join(ways), otherwise) if ways else otherwise
    return sql.SQL("{}::geometry AS {}").format(made, column)


def _told(layer: Layer, name: str, precision: Precision, metres: float) -> sql.Composable:
    column = sql.Identifier(name)
    match precision:
        case "exact":
            return column
        case "none":
            return sql.SQL("NULL")
        case "centroid":
            return sql.SQL("ST_Centroid({})").format(column)
    step: sql.Composable = sql.Literal(metres / _DEGREE)
    if name == "geom":
        geographic = [row[0] for row in vn2000.srid_rows() if vn2000.grid(row[0]).geographic]
        step = sql.SQL("CASE WHEN ST_SRID(geom) = ANY ({}) THEN {} ELSE {} END").format(
            sql.Literal([4326, *geographic]), step, sql.Literal(metres)
        )
    several = layer.geometry is not None and layer.geometry.type.startswith("Multi")
    rounded = sql.SQL("ST_ReducePrecision({}, {})").format(column, step)
    rounded = sql.SQL("ST_Multi({})").format(rounded) if several else rounded
    # What is smaller than the grid has no place on it.
    return sql.SQL("CASE WHEN NOT ST_IsEmpty(ST_ReducePrecision({}, {})) THEN {} END").format(column, step, rounded)


def _always(
    expression: dict[str, Any], layer: Layer, parameters: Parameters, lately: Lately | None
) -> sql.Composable:  # fmt: skip
    """A condition on the stored rows and, of former states, on the latest one as well; no row is looked for by it."""
    once, parameters.once = parameters.once, True
    holds = _holds(expression, layer, parameters)
    parameters.once = once
    return holds if lately is None else sql.SQL("({} AND {})").format(holds, lately([holds]))


def _holds(expression: dict[str, Any], layer: Layer, parameters: Parameters) -> sql.Composable:
    """A condition on the stored rows: places in it are the stored ones, codes of units stand for themselves."""
    near, parameters.near = parameters.near, None
    ruled, parameters.ruled = parameters.ruled, True
    try:
        return condition(expression, layer, parameters)
    finally:
        parameters.near, parameters.ruled = near, ruled
