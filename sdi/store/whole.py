"""A whole layer as somebody may see it, out of the store in parts of one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import psycopg
from psycopg.types.string import ByteaBinaryLoader

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.store import engine, features, ledger, succession
from sdi.store.engine import Connection
from sdi.store.forms import Form

PART = 10_000
"""Features in memory at a time."""


@contextmanager
def standing(connection: Connection, made_of: Iterable[tuple[str, int, datetime]]) -> Iterator[bool]:
    """One moment, in which it is known whether layers are still of these generations; a load may end meanwhile.

    made_of: of each layer its id, its generation, and when it changed last.
    """
    with engine.translated(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        now = {name: (each.generation, each.changed_at) for name, each in ledger.published(connection).items()}
        yield all(now.get(name) == (generation, changed_at) for name, generation, changed_at in made_of)


def everywhere(connection: Connection, layer: Layer, query: FeatureQuery) -> bool:
    """Whether every feature that the query finds has a place; FlatGeobuf's index takes no other."""
    placeless = features.select_placeless(layer, _with_codes(connection, layer, query))
    row = connection.execute(placeless.sql, placeless.params).fetchone()
    return row is not None and not row[0]


def texts(connection: Connection, layer: Layer, query: FeatureQuery, form: Form) -> Iterator[list[bytes]]:
    """The features in a form, in parts, ordered as the query says."""
    made = features.select_text(layer, _with_codes(connection, layer, query), form)
    with psycopg.ServerCursor(connection, "sdi_whole") as cursor:
        cursor.adapters.register_loader("text", ByteaBinaryLoader)
        cursor.execute(made.sql, made.params, binary=True)
        while rows := cursor.fetchmany(PART):
            yield [row[0] for row in rows]


def _with_codes(connection: Connection, layer: Layer, query: FeatureQuery) -> FeatureQuery:
    """The query with what the codes of administrative units in it mean."""
    statement = succession.select_meant(layer, query)
    if statement is None:
        return query
    rows = connection.execute(statement.sql, statement.params).fetchall()
    return replace(query, meant=tuple((row[0], row[1], row[2]) for row in rows))
