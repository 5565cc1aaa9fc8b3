"""How long a query may take on each lane, and what is told of one that takes longer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from psycopg import sql

from sdi.contract.query import Area, FeatureQuery
from sdi.service import lanes, reader
from sdi.service.lanes import Lane, seconds
from sdi.settings import Settings
from sdi.store import engine
from sdi.store.statement import Statement
from tests.service.conftest import Town, served

PLOTS = "/collections/plots/items"


def until_nobody_waits(connection: engine.Connection) -> bool:
    """Whether the locked table has nobody waiting for it any more, looked at for half a minute at most."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(300):
        if connection.execute(query).fetchone() == (0,):
            return True
        connection.execute("SELECT pg_stat_clear_snapshot()")
        time.sleep(0.1)
    return False


def test_what_takes_too_long_is_cancelled_on_every_lane(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "HELD", 5)
    with (
        engine.connect(town.database) as connection,
        served(town.database, town.registry, statement_timeout=2.0) as other,
    ):
        other.get("/collections/plots")
        with connection.transaction():
            connection.execute("LOCK TABLE testtown.plots")
            answers = [other.ask(f"{PLOTS}?{asked}") for asked in ("limit=1", "limit=1&filter=number%3E1", "limit=20")]
            gone = until_nobody_waits(connection)
        assert [answer.status for answer in answers] == [503] * 3
        assert {answer.json["title"] for answer in answers} == {"The request takes too long"}
        assert gone, "a query that was given up goes on in the database"
        assert len(other.get(f"{PLOTS}?limit=20")["features"]) == 20


def test_the_longer_the_lane_the_longer_the_limit(town: Town) -> None:
    assert [seconds(lane, 20.0) for lane in (Lane.QUICK, Lane.SLOW, Lane.LONG)] == [10.0, 20.0, 60.0]
    shown = Statement(sql.SQL("SELECT current_setting('statement_timeout')"), {})

    async def told() -> tuple[object, object]:
        own = reader.Reader(town.database, town.settings)
        await own.open()
        try:
            async with own._connection(Lane.LONG) as connection, connection.transaction():
                long = [rows async for rows in reader._taken(connection, shown, seconds(Lane.LONG, 20.0))]
            async with own._connection(Lane.SLOW) as connection:
                slow = await (await connection.execute(shown.sql)).fetchall()
            return long[0][0][0], slow[0][0]
        finally:
            await own.close()

    long, slow = asyncio.run(told())
    texts = [each.decode() if isinstance(each, bytes) else each for each in (long, slow)]
    assert texts == ["1min", "20s"]


def test_what_is_asked_again_is_prepared_on_the_service_s_own_connections(town: Town) -> None:
    """An item and a box: PostgreSQL reads their text once, not at each request."""
    layer = town.registry["plots"]
    asked = FeatureQuery("plots", ("number",), ids=("00004.1.1",), limit=1)
    box = replace(asked, ids=None, area=Area.of_box(105.0, 20.0, 106.0, 22.0), limit=5)

    async def prepared() -> list[str]:
        own = reader.Reader(town.database, Settings(pool_size=1, kept_text=0))
        await own.open()
        try:
            for _ in range(8):
                await own.text(layer, asked)
                await own.page(layer, box, Lane.QUICK)
            async with own._connection() as connection:
                rows = await (await connection.execute("SELECT statement FROM pg_prepared_statements")).fetchall()
            return [row[0].decode() if isinstance(row[0], bytes) else row[0] for row in rows]
        finally:
            await own.close()

    statements = asyncio.run(prepared())
    assert sorted("ST_MakeEnvelope" in each for each in statements) == [False, True], statements
