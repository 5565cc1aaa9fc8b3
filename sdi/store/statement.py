"""Bound SQL: the text names its parameters, the values go beside it, and no value is ever part of the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from psycopg import AsyncCursor, AsyncServerCursor, sql
from psycopg.types.string import ByteaBinaryLoader

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
}


@dataclass(frozen=True)
class Statement:
    """A statement for `cursor.execute(statement.sql, statement.params)`."""

    sql: sql.Composed
    params: dict[str, Any]


def as_bytes(cursor: AsyncCursor[Any] | AsyncServerCursor[Any]) -> None:
    """Let a cursor of binary results give text as its bytes in UTF-8: what is sent on needs no Python string."""
    cursor.adapters.register_loader("text", ByteaBinaryLoader)


@dataclass
class Parameters:
    """The values of one statement. Equal queries name them equally, so a prepared statement is found again."""

    values: dict[str, Any] = field(default_factory=dict)
    day: date | None = None
    """On which codes of administrative units are to be read; None: today."""
    meant: tuple[tuple[str, str, str], ...] | None = None
    """(asked, role, code) of what they mean then, where that is known."""

    def bind(self, value: Any, kind: Type) -> sql.Composed:
        """Keep a value and return its place in the text, cast: `%(p0)s::bigint`."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return sql.SQL("{}::{}").format(sql.Placeholder(name), _TYPES[kind])
