"""Bound SQL: the text names its parameters, the values go beside it, and no value is ever part of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Literal

from psycopg import AsyncConnection, AsyncRawCursor, sql
from psycopg.abc import AdaptContext
from psycopg.types.string import ByteaBinaryLoader

from sdi.contract.query import FeatureQuery
from sdi.store import wire

Type = Literal[
    "text",
    "text[]",
    "bigint",
    "numeric",
    "double precision",
    "boolean",
    "date",
    "timestamptz",
    "jsonb",
    "jsonpath",
    "geometry",
    "geometry[]",
]

_TYPES = {
    "text": sql.SQL("text"),
    "bigint": sql.SQL("bigint"),
    "numeric": sql.SQL("numeric"),
    "double precision": sql.SQL("double precision"),
    "boolean": sql.SQL("boolean"),
    "date": sql.SQL("date"),
    "timestamptz": sql.SQL("timestamptz"),
    "jsonb": sql.SQL("jsonb"),
    "text[]": sql.SQL("text[]"),
    "jsonpath": sql.SQL("jsonpath"),
    "geometry": sql.SQL("geometry"),
    "geometry[]": sql.SQL("geometry[]"),
}


PLACE = "ST_GeomFromGeoJSON"
"""What makes a place of a value, with each row where the plan is for any place. What is bound as `geometry` is read
with the other values."""

Source = Callable[[FeatureQuery], Any]
"""Where a value of a statement comes from that is another at each query of the same shape."""
_NOTHING: Mapping[str, Source] = MappingProxyType({})
_PLACEHOLDER = re.compile(r"%\((p\d+)\)s|%%")


@dataclass(frozen=True)
class Statement:
    """A statement for `cursor.execute(statement.sql, statement.params)`."""

    sql: sql.SQL | sql.Composed
    params: dict[str, Any]
    drawn: Mapping[str, Source] = field(default=_NOTHING, compare=False)
    """The parameters that are drawn from the query; the others are part of what was asked for by value."""
    written: Written | None = field(default=None, compare=False)
    """The text for a raw cursor, where it is known."""

    @property
    def numbered(self) -> tuple[Written, list[Any]]:
        """The same for a raw cursor, for which psycopg reads no text: `$1` instead of names, the values in order."""
        written = self.written or write(self.sql)
        return written, [self.params[name] for name in written.names]


@dataclass(frozen=True)
class Written:
    """A statement's text with `$1`, `$2`, … and the names of the parameters that these are."""

    text: bytes
    names: tuple[str, ...]
    placed: bool = False
    """Whether a place stands in it. It is planned each time, for its place: a plan for any place reads the place anew
    for each row (1,000 parcels masked by a polygon took twice as long), and guesses how many lie there."""


def write(statement: sql.SQL | sql.Composed) -> Written:
    """The text of a statement with named parameters, for a raw cursor."""
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found[1]
        return "%" if name is None else f"${numbers.setdefault(name, len(numbers) + 1)}"

    text = _PLACEHOLDER.sub(number, statement.as_string())
    return Written(text.encode(), tuple(numbers), PLACE in text)


async def fetched(
    connection: AsyncConnection[Any], statement: Statement, *, binary: bool = False
) -> list[tuple[Any, ...]]:  # fmt: skip
    """All rows of a statement."""
    written, values = statement.numbered
    sent = wire.sent(values)
    if sent is not None:
        return await wire.rows(connection, written.text, sent, binary=binary, planned=not written.placed)
    cursor = AsyncRawCursor(connection)
    await cursor.execute(written.text, values, binary=binary, prepare=False if written.placed else None)
    return await cursor.fetchall()


def as_bytes(context: AdaptContext) -> None:
    """Let binary results of a cursor or a connection give text as its bytes in UTF-8: what is sent on needs no Python
    string."""
    context.adapters.register_loader("text", ByteaBinaryLoader)


@dataclass
class Parameters:
    """The values of one statement. Equal queries name them equally, so a prepared statement is found again."""

    values: dict[str, Any] = field(default_factory=dict)
    day: date | None = None
    """On which codes of administrative units are to be read; None: today."""
    meant: tuple[tuple[str, str, str], ...] | None = None
    """(asked, role, code) of what they mean then, where that is known."""
    near: float | None = None
    """Degrees by which places as they are told may lie outside the stored boxes; None: they are the stored ones."""
    ruled: bool = False
    """Whether it is a rule's condition: codes of administrative units stand for themselves, whatever they mean on a
    day, and polygons are asked of many rows."""
    once: bool = False
    """Whether no row is looked for by the places: they are read once a statement, and it is planned for any."""
    drawn: dict[str, Source] = field(default_factory=dict)

    def bind(self, value: Any, kind: Type) -> sql.Composed:
        """Keep a value and return its place in the text, cast: `%(p0)s::bigint`."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return sql.SQL("{}::{}").format(sql.Placeholder(name), _TYPES[kind])

    def bind_once(self, text: str, kind: Type) -> sql.Composed:
        """`bind` what may be long, a place, only once."""
        for name, known in self.values.items():
            if known == text and name not in self.drawn:
                return sql.SQL("{}::{}").format(sql.Placeholder(name), _TYPES[kind])
        return self.bind(text, kind)

    def draw(self, source: Source, query: FeatureQuery, kind: Type) -> sql.Composed:
        """`bind` what a source finds in the query; the same source again is the same place."""
        for name, known in self.drawn.items():
            if known is source:
                return sql.SQL("{}::{}").format(sql.Placeholder(name), _TYPES[kind])
        self.drawn[f"p{len(self.values)}"] = source
        return self.bind(source(query), kind)

    def statement(self, text: sql.SQL | sql.Composed) -> Statement:
        """The statement that a text and these values are."""
        return Statement(text, self.values, self.drawn)
