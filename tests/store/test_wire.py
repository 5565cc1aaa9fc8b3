"""Statements without a cursor say what they say through one, and what nobody waits for any more is cancelled."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from weakref import ref

import psycopg
import pytest
from psycopg import AsyncConnection, AsyncRawCursor, sql

from sdi.store import wire
from sdi.store.engine import as_bytes
from sdi.store.statement import Parameters, Statement, fetched

VALUES: list[tuple[Any, Any]] = [
    ("", "text"), ("Nguyễn \\ ' \" {,}", "text"), ("\t\n\r", "text"), (None, "text"), (0, "bigint"), (None, "bigint"),
    (-(2**62), "bigint"), (2**63 - 1, "bigint"), (0.1, "double precision"), (-1e-300, "double precision"),
    (float("inf"), "double precision"), (5, "double precision"), (True, "boolean"), (False, "boolean"), (12, "numeric"),
    (Decimal("0.10"), "numeric"), (["a", 'b "c" \\ {,}', "NULL", ""], "text[]"), ([], "text[]"),
    (date(2026, 2, 28), "date"), ("2026-02-28", "date"), ('{"a": [1]}', "jsonb"), ("$.a[*]", "jsonpath"),
]  # fmt: skip


def asked(url: str, ask: Callable[[AsyncConnection[Any]], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            as_bytes(connection)
            return await ask(connection)

    return asyncio.run(run())


def selected(value: Any, kind: Any) -> Statement:
    parameters = Parameters()
    return parameters.statement(sql.SQL("SELECT {0}, pg_typeof({0})::text, '%%'").format(parameters.bind(value, kind)))


@pytest.mark.parametrize("binary", [True, False])
def test_values_arrive_as_through_a_cursor_prepared_or_not(server_url: str, binary: bool) -> None:
    async def ask(connection: AsyncConnection[Any]) -> None:
        for value, kind in VALUES:
            if binary and kind == "jsonpath":
                continue  # psycopg reads none
            statement = selected(value, kind)
            written, values = statement.numbered
            cursor = AsyncRawCursor(connection)
            await cursor.execute(written.text, values, binary=binary, prepare=False)
            expected = await cursor.fetchall()
            for _ in range(wire.OFTEN + 2):
                assert await fetched(connection, statement, binary=binary) == expected, (value, kind)

    asked(server_url, ask)


def test_what_is_asked_often_is_prepared_and_the_oldest_lets_go(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MOST", 3)

    async def ask(connection: AsyncConnection[Any]) -> list[list[str]]:
        found = []
        for number in range(5):
            statement = Statement(sql.SQL(f"SELECT {number}"), {})
            for times in range(wire.OFTEN + 3):
                assert await fetched(connection, statement) == [(number,)]
                if times == wire.OFTEN - 1:
                    found.append(await prepared(connection))
        return [*found, await prepared(connection)]

    numbers = [[str(each) for each in range(max(0, last - 3), last)] for last in range(6)]
    assert asked(server_url, ask) == numbers


async def prepared(connection: AsyncConnection[Any]) -> list[str]:
    query = "SELECT substr(statement, 8) FROM pg_prepared_statements ORDER BY prepare_time"
    return [row[0] for row in await (await connection.execute(query, prepare=False)).fetchall()]


def test_errors_are_psycopgs_and_the_connection_goes_on(server_url: str) -> None:
    async def ask(connection: AsyncConnection[Any]) -> None:
        for _ in range(wire.OFTEN + 2):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await fetched(connection, selected_sql("SELECT 1 / {}", 0), binary=True)
            with pytest.raises(psycopg.errors.UndefinedTable):
                await fetched(connection, Statement(sql.SQL("SELECT FROM nothing_there"), {}))
            assert await fetched(connection, selected_sql("SELECT 1 / {}", 1), binary=True) == [(1,)]
        with pytest.raises(psycopg.DataError):
            await fetched(connection, selected("a\0b", "text"))  # libpq would end the text there
        with pytest.raises(UnicodeEncodeError):
            await fetched(connection, selected("\ud800", "text"))

    asked(server_url, ask)


def selected_sql(text: str, value: int) -> Statement:
    parameters = Parameters()
    return parameters.statement(sql.SQL(text).format(parameters.bind(value, "bigint")))


@pytest.mark.parametrize("times", [0, wire.OFTEN + 1], ids=["not prepared", "prepared"])
def test_who_waits_no_longer_cancels_the_query(server_url: str, times: int) -> None:
    async def ask(connection: AsyncConnection[Any]) -> Any:
        for _ in range(times):
            await fetched(connection, selected_sql("SELECT pg_sleep({})::text", 0))
        waiting = asyncio.ensure_future(fetched(connection, selected_sql("SELECT pg_sleep({})::text", 600)))
        async with await AsyncConnection.connect(server_url, autocommit=True) as other:
            pid = connection.info.backend_pid
            while not await active(other, pid):
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not await active(other, pid)
        return await fetched(connection, selected_sql("SELECT {}", 1))

    assert asked(server_url, ask) == [(1,)]


def test_psycopg_may_read_in_between_and_a_long_answer_comes_in_parts(server_url: str) -> None:
    async def ask(connection: AsyncConnection[Any]) -> None:
        for size in (1, 5_000_000, 1):
            assert await fetched(connection, selected_sql("SELECT length(repeat('x', {}::int))", size)) == [(size,)]
            ((text,),) = await fetched(connection, selected_sql("SELECT repeat('x', {}::int)", size), binary=True)
            assert text == b"x" * size
            await connection.execute("SELECT pg_sleep(0.001)")
            async with connection.transaction():
                await connection.execute("SELECT 1")

    asked(server_url, ask)


def test_a_connection_that_ends_leaves_nothing_behind(server_url: str) -> None:
    async def ask(connection: AsyncConnection[Any]) -> tuple[int, int, list[Any]]:
        await fetched(connection, selected_sql("SELECT {}", 1))
        gc.collect()  # what other tests left is not to be counted
        before, ended = len([*Path("/proc/self/fd").iterdir()]), []
        for _ in range(3):
            async with await AsyncConnection.connect(server_url, autocommit=True) as other:
                await fetched(other, selected_sql("SELECT {}", 1))
            ended.append(ref(other))
            del other
        gc.collect()
        return before, len([*Path("/proc/self/fd").iterdir()]), [each() for each in ended]

    before, after, ended = asked(server_url, ask)
    assert before == after
    assert ended == [None] * 3


def test_a_connection_that_is_closed_ends_what_the_server_is_sending(server_url: str) -> None:
    """The server waits for room in the socket: nothing but that both ends of it are gone wakes it."""

    async def ask(connection: AsyncConnection[Any]) -> None:
        other = await AsyncConnection.connect(server_url, autocommit=True)
        await fetched(other, selected_sql("SELECT {}", 1))
        pid = other.info.backend_pid
        other.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")
        other.pgconn.flush()
        here = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
        async with asyncio.timeout(60):
            while "ClientWrite" not in str(await (await connection.execute(here, [pid])).fetchall()):
                await asyncio.sleep(0.01)
            other.pgconn.finish()
            while await (await connection.execute(here, [pid])).fetchall():
                await asyncio.sleep(0.01)

    asked(server_url, ask)


async def active(connection: AsyncConnection[Any], pid: int) -> bool:
    query = "SELECT state = 'active' AND query LIKE '%%pg_sleep%%' FROM pg_stat_activity WHERE pid = %s"
    ((found,),) = await (await connection.execute(query, [pid])).fetchall()
    return bool(found)
