"""Statements over a connection without a cursor: what psycopg's cursors do for each execution takes longer than finding
a feature, and most of it is the same each time.

Values go as text, which the casts beside them read: every value of a statement has one. What is asked often on a
connection is prepared there, as psycopg does it. Waiting, and cancelling what nobody waits for any more, are psycopg's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, errors
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format

OFTEN = 5
"""Executions after which a statement is prepared."""
MOST = 100
"""Prepared statements of a connection; the one that was not asked for longest goes."""


@dataclass(frozen=True)
class _Adapting:
    """How values are read, without the connection: who holds that in what is kept beside it keeps it for ever."""

    adapters: AdaptersMap
    connection: None = None


class _Known:
    """What one connection has prepared, and how its rows are read."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        # Where psycopg prepares too it lets go, after a rollback, of everything that is prepared.
        connection.prepare_threshold = None
        self.rows = Transformer(_Adapting(connection.adapters))
        self.times: dict[bytes, int] = {}
        self.names: dict[bytes, bytes] = {}
        self.made = 0


_KNOWN: WeakKeyDictionary[AsyncConnection[Any], _Known] = WeakKeyDictionary()


def sent(values: Sequence[Any]) -> list[Buffer | None] | None:
    """Values as the text that PostgreSQL reads; None: one of them is of another kind, or no text at all."""
    told: list[Buffer | None] = []
    for value in values:
        kind = type(value)
        if kind is str:
            text = value
        elif kind is int or kind is float:
            text = repr(value)
        elif value is None:
            told.append(None)
            continue
        elif kind is bool:
            text = "t" if value else "f"
        elif kind is list and all(type(each) is str for each in value):
            quoted = (each.replace("\\", "\\\\").replace('"', '\\"') for each in value)
            text = "{" + ",".join(f'"{each}"' for each in quoted) + "}"
        else:
            return None
        if "\0" in text:
            return None
        try:
            told.append(text.encode())
        except UnicodeEncodeError:
            return None
    return told


async def rows(
    connection: AsyncConnection[Any], text: bytes, values: list[Buffer | None], *, binary: bool, planned: bool
) -> list[tuple[Any, ...]]:  # fmt: skip
    """All rows of a statement with `$1`, `$2`, …, of which each has a cast. `planned`: whether a plan may be kept."""
    known = _KNOWN.get(connection)
    if known is None:
        known = _KNOWN[connection] = _Known(connection)
    pgconn, format_ = connection.pgconn, Format.BINARY if binary else Format.TEXT
    async with connection.lock:
        name = known.names.pop(text, None)
        if name is not None:
            known.names[text] = name  # the latest asked for stands last
        elif planned:
            name = await _prepared(connection, known, text)
        if name is None:
            pgconn.send_query_params(text, values, result_format=format_)
        else:
            pgconn.send_query_prepared(name, values, result_format=format_)
        result = _only(await connection.wait(execute(pgconn)))
    known.rows.set_pgresult(result)
    return known.rows.load_rows(0, result.ntuples, tuple)


async def _prepared(connection: AsyncConnection[Any], known: _Known, text: bytes) -> bytes | None:
    """The name of a statement that is prepared now; None: it was not asked for often enough."""
    times = known.times[text] = known.times.pop(text, 0) + 1
    if times <= OFTEN:
        if len(known.times) > MOST:
            del known.times[next(iter(known.times))]
        return None
    if len(known.names) >= MOST:
        oldest = next(iter(known.names))
        connection.pgconn.send_query_params(b"DEALLOCATE " + known.names.pop(oldest), None)
        _only(await connection.wait(execute(connection.pgconn)))
    known.made += 1
    name = b"sdi_%d" % known.made
    connection.pgconn.send_prepare(name, text)
    _only(await connection.wait(execute(connection.pgconn)))
    del known.times[text]
    known.names[text] = name
    return name


def _only(results: list[Any]) -> Any:
    """The result of one statement. Raises psycopg.Error."""
    (result,) = results
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        raise errors.error_from_result(result, encoding="utf-8")
    return result
