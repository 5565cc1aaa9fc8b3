"""The order of a query: sorted, walked from a place in it, forward and backward.

Empty values come last, both ways; `id` stands behind all else, so that the order is total. A place is told by values,
not by a number of rows: whatever is loaded meanwhile, a feature that was not touched lies behind it or before it as it
did, so who walks from place to place meets every such feature once.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import BadRequest, StoreError
from sdi.store.engine import Connection
from sdi.store.statement import Parameters, Source, Type

_TYPES: dict[str, Type] = {
    "integer": "bigint", "decimal": "numeric", "number": "double precision", "boolean": "boolean", "date": "date",
    "datetime": "timestamptz",
}  # fmt: skip
_LAST = {False: sql.SQL("NULLS LAST"), True: sql.SQL("NULLS FIRST")}


def terms(query: FeatureQuery, owner: str = "", *, turned: bool = False) -> sql.Composed:
    """What stands behind ORDER BY; `owner`: the row's name with its dot. `turned`: from the end to the beginning."""
    written = []
    for name, descending in query.keys:
        way = sql.SQL(" DESC") if descending != turned else sql.SQL("")
        last = sql.SQL("") if name == "id" else sql.SQL(" ") + _LAST[turned]
        written.append(sql.SQL("{}{}{}{}").format(sql.SQL(owner), sql.Identifier(name), way, last))
    return sql.SQL(", ").join(written)


def parts(layer: Layer, query: FeatureQuery, parameters: Parameters) -> list[tuple[sql.Composable, sql.Composable]]:
    """The order in two parts, in the order in which they are walked: (condition, what stands behind ORDER BY).

    One has the rows whose first key is known, the other those where it is empty. Their index has only the first, and
    no "empty ones last": told so, PostgreSQL walks it either way. Beside `beyond`; a part that lies wholly before the
    query's place is left out.
    """
    (name, descending), *others = query.keys
    where, turned = query.place, query.place is not None and query.place.backward
    column, way = sql.Identifier(name), sql.SQL(" DESC" if descending != turned else "")
    rest = replace(query, sort=tuple(others))
    behind = terms(rest, turned=turned)
    known: sql.Composable = sql.SQL("{} IS NOT NULL").format(column)
    if where is not None and where.keys[0] is not None:
        # What `beyond` says too, but not so that an index is entered there.
        value = parameters.draw(_key_of(0), query, _type(layer, name))
        known = sql.SQL("{} {} {}").format(column, sql.SQL("<=" if descending != turned else ">="), value)
    found: list[tuple[sql.Composable, sql.Composable]] = [
        (known, sql.SQL("{}{}, {}").format(column, way, behind)),
        (sql.SQL("{} IS NULL").format(column), behind),
    ]
    if where is not None and (where.keys[0] is None) != turned:
        return found[1:] if where.keys[0] is None else found[:1]
    return found[::-1] if turned else found


def names(query: FeatureQuery) -> sql.Composed:
    """The columns that the order is told by."""
    return sql.SQL(", ").join(sql.Identifier(name) for name, _ in query.keys)


def kept(query: FeatureQuery) -> sql.Composed:
    """The columns that `place` is made of, under names that no attribute has."""
    columns = (sql.SQL("{} AS {}").format(sql.Identifier(name), _kept(i)) for i, (name, _) in enumerate(query.keys))
    return sql.SQL(", ").join(columns)


def place(query: FeatureQuery, number: sql.Composable | None = None) -> sql.Composed:
    """Of a row with the columns `kept`: its `Position.keys`, as the text of a JSON array. `number`: of the row of that
    number (integer) where they are `gathered`."""
    of_row = sql.SQL("") if number is None else sql.SQL("[{}]").format(number)
    texts = (sql.SQL("{}{}::text").format(_kept(i), of_row) for i in range(len(query.keys)))
    return sql.SQL("json_build_array({})::text").format(sql.SQL(", ").join(texts))


def gathered(query: FeatureQuery) -> sql.Composed:
    """The columns `kept` of all rows, an array of each; the last one is the ids."""
    return sql.SQL(", ").join(sql.SQL("array_agg({0}) AS {0}").format(_kept(i)) for i in range(len(query.keys)))


def ids(query: FeatureQuery) -> sql.Identifier:
    """The column of `kept` with the ids."""
    return _kept(len(query.keys) - 1)


def _kept(number: int) -> sql.Identifier:
    return sql.Identifier(f"K{number}")


def beyond(layer: Layer, query: FeatureQuery, parameters: Parameters) -> sql.Composable:
    """The condition that a row lies behind the query's place or, backward, before it.

    Rows compare key by key: one that decides comes after ones that are equal.
    """
    where = query.place
    if where is None or len(where.keys) != len(query.keys) or where.keys[-1] is None:
        raise BadRequest("The place does not belong to this order.")
    alike: list[sql.Composable] = []
    ways: list[sql.Composable] = []
    for number, ((name, descending), key) in enumerate(zip(query.keys, where.keys, strict=True)):
        column = sql.Identifier(name)
        value = None if key is None else parameters.draw(_key_of(number), query, _type(layer, name))
        decided = _further(column, value, descending != where.backward, where.backward, name == "id")
        if decided is not None:
            ways.append(sql.SQL("({})").format(sql.SQL(" AND ").join([*alike, decided])))
        same = sql.SQL("{} IS NULL").format(column) if value is None else sql.SQL("{} = {}").format(column, value)
        alike.append(same)
    return sql.SQL("({})").format(sql.SQL(" OR ").join(ways))


def _further(
    column: sql.Identifier, value: sql.Composed | None, falling: bool, backward: bool, never_empty: bool
) -> sql.Composable | None:  # fmt: skip
    """That a key alone puts a row further; None: no key lies further."""
    if value is None:
        return sql.SQL("{} IS NOT NULL").format(column) if backward else None
    beside = sql.SQL("{} < {}" if falling else "{} > {}").format(column, value)
    return beside if backward or never_empty else sql.SQL("({} OR {} IS NULL)").format(beside, column)


@lru_cache(maxsize=100)
def _key_of(number: int) -> Source:
    def key_of(query: FeatureQuery) -> str | None:
        assert query.place is not None
        return query.place.keys[number]

    return key_of


def _type(layer: Layer, name: str) -> Type:
    return "text" if name == "id" else _TYPES.get(layer[name].type, "text")


def key(connection: Connection) -> bytes:
    """What a deployment signs places with that it hands out, and that are handed back."""
    row = connection.execute("SELECT key FROM sdi.cursor_key").fetchone()
    if row is None:
        raise StoreError("The database has no key to sign cursors with.", hint="Run 'sdi db migrate'.")
    return bytes(row[0])
