"""The service's way to the store: pooled reading connections, rows as they come, and the ledger's state."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from starlette.concurrency import run_in_threadpool

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import BadRequest, Overloaded, SdiError, StoreError
from sdi.settings import Settings
from sdi.store import agency, engine, features, genealogy, ledger, quality, succession
from sdi.store.ledger import Publication
from sdi.store.quality import Rate
from sdi.store.statement import Statement

PATIENCE = 2.0
"""Seconds that a look at the ledger waits for its connection, of which there is one."""


class Reader:
    """Reading connections of one worker process; open it before use, close it after."""

    def __init__(self, url: str, settings: Settings, *, role: str = engine.READER, at_hand: int = 1) -> None:
        """`role`: the public's or the stewards'. `at_hand`: connections that are open even when nobody asks."""
        self._rows = engine.async_pool(
            url, size=settings.pool_size, statement_timeout=settings.statement_timeout, role=role, at_hand=at_hand
        )
        # The ledger has its own connection, so that slow filters never delay a look at what is published.
        self._ledger = engine.pool(
            url, size=1, statement_timeout=5.0, application="sdi-service-ledger", role=role, at_hand=at_hand
        )

    async def open(self) -> None:
        """Open the pools without waiting: a service whose database is away starts, says 503, and recovers."""
        await self._rows.open(wait=False)
        await run_in_threadpool(self._ledger.open, False)

    async def close(self) -> None:
        await self._rows.close()
        await run_in_threadpool(self._ledger.close)

    async def geojson(self, layer: Layer, query: FeatureQuery) -> AsyncGenerator[str]:
        """Each feature's GeoJSON text. Closing the iterator early cancels the query and gives the connection back."""
        statement = features.select_geojson(layer, await self._with_codes(layer, query))
        with _told():
            async with (
                self._rows.connection() as connection,
                connection.cursor() as cursor,
                aclosing(_closable(cursor.stream(statement.sql, statement.params))) as rows,
            ):
                async for (text,) in rows:
                    yield text

    async def features(
        self, layer: Layer, query: FeatureQuery, number: Callable[[str], Any] = float
    ) -> list[dict[str, Any]]:
        """Features as parsed GeoJSON, for pages and other formats; `number` reads what has a decimal point."""
        async with aclosing(self.geojson(layer, query)) as rows:
            return [json.loads(row, parse_float=number) async for row in rows]

    async def count(self, layer: Layer, query: FeatureQuery) -> int:
        """How many features a query matches, without its limit and offset."""
        (count,) = await self._one(features.select_count(layer, await self._with_codes(layer, query)))
        return int(count)

    async def kin(self, layer: Layer, feature: str, known_at: datetime | None) -> list[tuple[Any, ...]]:
        """The rows of `genealogy.select_near`."""
        statement = genealogy.select_near(layer, feature, known_at)
        with _told():
            async with self._rows.connection() as connection:
                cursor = await connection.execute(statement.sql, statement.params)
                return await cursor.fetchall()

    async def measured(
        self, layer: Layer, filters: tuple[dict[str, Any], ...]
    ) -> tuple[int, tuple[float, float, float, float] | None]:  # fmt: skip
        """Number and extent (west, south, east, north, degrees) of the features that fulfil the filters."""
        query = FeatureQuery(layer.id, attributes=(), filters=filters)
        box = await self._one(features.select_extent(layer, query))
        west, south, east, north = box
        return await self.count(layer, query), None if west is None else (west, south, east, north)

    async def _with_codes(self, layer: Layer, query: FeatureQuery) -> FeatureQuery:
        """The query with what the codes of administrative units in it mean."""
        statement = succession.select_meant(layer, query)
        if statement is None:
            return query
        with _told():
            async with self._rows.connection() as connection:
                cursor = await connection.execute(statement.sql, statement.params)
                return replace(query, meant=tuple((row[0], row[1], row[2]) for row in await cursor.fetchall()))

    async def _one(self, statement: Statement) -> tuple[Any, ...]:
        """The only row of an answer."""
        with _told():
            async with self._rows.connection() as connection:
                cursor = await connection.execute(statement.sql, statement.params)
                row = await cursor.fetchone()
        assert row is not None
        return tuple(row)

    async def version(self) -> int:
        """The ledger's version; it grows whenever something is published, withdrawn or loaded."""
        return await run_in_threadpool(self._ask, ledger.version)

    async def published(self) -> Mapping[str, Publication]:
        return await run_in_threadpool(self._ask, ledger.published)

    async def rates(self) -> Mapping[str, list[Rate]]:
        """How good each layer is, by data quality element."""
        return await run_in_threadpool(self._ask, quality.rates)

    async def quality_collections(self, layers: Mapping[str, Layer]) -> Mapping[str, Publication]:
        """The quality collections of these layers; only the stewards' role reads them."""
        return await run_in_threadpool(self._ask, lambda connection: quality.publications(connection, layers))

    async def holders(self) -> list[tuple[str, str]]:
        """(agency, digest) of every key that opens something now; only the stewards' role reads them."""
        return await run_in_threadpool(self._ask, agency.holders)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            with _told(), self._ledger.connection(timeout=PATIENCE) as connection:
                return question(connection)
        except Overloaded as error:
            raise StoreError("The database cannot be reached.", hint="Run 'sdi doctor'.") from error


def _closable(rows: AsyncIterator[tuple[Any, ...]]) -> AsyncGenerator[tuple[Any, ...]]:
    """psycopg's stream is a generator, whose closing cancels the query, though its type does not say so."""
    return cast("AsyncGenerator[tuple[Any, ...]]", rows)


@contextmanager
def _told() -> Iterator[None]:
    """The store's errors; a value that a client's filter cannot be computed with (division by 0) is the client's."""
    try:
        with engine.translated():
            yield
    except SdiError as error:
        if str(getattr(error.__cause__, "sqlstate", None) or "").startswith("22"):
            raise BadRequest("The filter cannot be computed with the values of this collection.") from error
        raise
