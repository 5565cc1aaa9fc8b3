"""The service's way to the store: pooled reading connections by lanes, pages of features, and the ledger's state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import structlog
from starlette.concurrency import run_in_threadpool

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, Interval, Sight
from sdi.contract.registry import Registry
from sdi.errors import BadRequest, Overloaded, StoreError
from sdi.service.audit import reads
from sdi.service.cursors import Cursors
from sdi.service.lanes import Lane, Lanes, seconds
from sdi.service.page import Page, place_of
from sdi.service.texts.kept import Texts
from sdi.service.texts.pages import CHOSEN, FIRST, PART, Chosen, TextPages
from sdi.service.texts.ready import Ready
from sdi.service.together import Together
from sdi.service.wall.turns import Shares
from sdi.settings import Settings
from sdi.store import (
    engine,
    events,
    features,
    forms,
    genealogy,
    indexes,
    ledger,
    order,
    quality,
    seen,
    succession,
    touched,
    versions,
)
from sdi.store.audit import search
from sdi.store.audit.search import Entry, Wanted
from sdi.store.feed import rules
from sdi.store.feed.page import Mark, Marks
from sdi.store.forms import Form
from sdi.store.ledger import Publication
from sdi.store.logins import service as login
from sdi.store.quality import Rate
from sdi.store.sharing import register
from sdi.store.statement import Statement, fetched

PATIENCE = 2.0
"""Seconds that a look at the ledger waits for its connection, of which there is one."""

log = structlog.get_logger("sdi.service")

View = tuple[Layer, Sight, bool, bool]
"""A layer, what is seen of it, and whether its time and its features' number and places are to be told of that."""


class Reader:
    """Reading connections of one worker process; open it before use, close it after."""

    def __init__(
        self, url: str, settings: Settings, *, role: str = engine.READER, at_hand: int = 1,
        shares: Shares | None = None, ready: Callable[[str], Ready | None] = lambda view: None,
    ) -> None:  # fmt: skip
        """`role`: the public's or the stewards'. `at_hand`: connections that are open even when nobody asks. `shares`:
        of slow work, counted together with other readers of the process. `ready`: the file of texts of a view.
        """
        self.url, self.role = url, role
        self._rows = engine.async_pool(
            url, size=settings.pool_size, statement_timeout=settings.statement_timeout, role=role, at_hand=at_hand
        )
        self._statement_timeout = settings.statement_timeout
        self.lanes = Lanes(settings.pool_size, shares)
        self.cursors: Cursors | None = None
        kept = Texts(settings.kept_text * 2**20)
        chosen = Chosen(CHOSEN if settings.kept_answers else 0)
        texts = TextPages(self._rows_of, kept, ready, chosen)
        self.texts = texts if settings.kept_text or settings.ready_text else None
        self._together = Together(self._rows_of, self._fetched)
        self._marks = Marks()
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

    async def page(
        self, layer: Layer, query: FeatureQuery, lane: Lane, count: int | None = None, form: Form = forms.geojson,
        between: str = ",\n",
    ) -> Page:  # fmt: skip
        """A page of features in a form, whole: its connection is free again before it is sent.

        `count`: if more lie beyond, the matches are counted with it, up to so many. `between`: what joins features.
        """
        if self.texts is not None and form is forms.geojson:
            page = await self.texts.page(layer, query, lane, count, between)
            if page is not None:
                return page
        select = partial(features.select_block, count=count, form=form, between=between)
        ((text, number, first, last, matched),) = await self._rows_of(select, layer, query, lane)
        assert query.limit is not None
        more = number > query.limit
        reads.told_text(layer.id, query.attributes, text or b"", min(number, query.limit))
        return Page(text or b"", min(number, query.limit), more, place_of(first), place_of(last), matched)

    async def few(self, layer: Layer, query: FeatureQuery, lane: Lane, between: str = ",\n") -> Page | None:
        """A page of GeoJSON that is at hand in a file of texts; without its text where features lie beyond it."""
        return None if self.texts is None else await self.texts.few(layer, query, lane, between)

    async def walk(
        self, layer: Layer, query: FeatureQuery, form: Form, between: str, mark: object = None
    ) -> tuple[Page, AsyncGenerator[bytes | memoryview]]:  # fmt: skip
        """What is told of a page, without its text, and the text in parts, as fast as they are taken: memory holds one
        part, whatever the limit. Both are of one moment: by one connection, which is given back with the last part or
        when they are closed, or from a file of texts, which holds none.

        `mark`: of the snapshot that who asks was answered by; what was found under it may be told once more. None: it
        is looked for.
        """
        parts = self._walk(layer, query, form, between.encode(), mark)
        return cast("Page", await anext(parts)), cast("AsyncGenerator[bytes | memoryview]", parts)

    async def _walk(
        self, layer: Layer, query: FeatureQuery, form: Form, between: bytes, mark: object
    ) -> AsyncGenerator[Page | bytes | memoryview]:  # fmt: skip
        if self.texts is not None and form is forms.geojson:
            told = False
            async with aclosing(self.texts.walk(layer, query, Lane.LONG, between.decode(), mark)) as parts:
                async for told_of in parts:
                    yield told_of
                    told = True
            if told:
                return
        query = await self.with_codes(layer, query)
        edges = features.select_edges(layer, query)
        async with self._connection(Lane.LONG) as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            ((number, first, last, ids),) = await fetched(connection, edges, binary=True)
            assert query.limit is not None
            returned = min(number, query.limit)
            yield Page(b"", returned, number > query.limit, place_of(first), place_of(last))
            if not returned:
                return
            if ids is not None and ids.count(b"\n") + 1 == returned:
                statement = features.select_named(layer, query, form, ids.decode())
            else:  # too many, or one of several lines: the page is looked for again
                statement = features.select_stream(layer, query, form)
            begun = False
            async for rows in _taken(connection, statement, seconds(Lane.LONG, self._statement_timeout)):
                texts = [text for (text,) in rows]
                reads.told_text(layer.id, query.attributes, b"\n".join(texts), len(texts))
                yield (between if begun else b"") + between.join(texts)
                begun = True

    async def tile(self, statement: Statement, lane: Lane) -> bytes:
        """The bytes of a vector tile (`tiles.select_tile`); none for an empty one."""
        async with self._connection(lane) as connection:
            ((made,),) = await fetched(connection, statement, binary=True)
            return bytes(made)

    async def features(
        self, layer: Layer, query: FeatureQuery, number: Callable[[str], Any] = float, lane: Lane = Lane.QUICK
    ) -> list[dict[str, Any]]:
        """Features as parsed GeoJSON, for pages and other formats; `number` reads what has a decimal point."""
        rows = await self._rows_of(features.select_geojson, layer, query, lane)
        found = [json.loads(text, parse_float=number) for (text,) in rows]
        reads.told(layer.id, query.attributes, len(found), (each["id"] for each in found))
        return found

    async def text(self, layer: Layer, query: FeatureQuery, form: Form = forms.geojson) -> str | None:
        """The text of the first feature that is found, GeoJSON or in another form."""
        rows = await self._rows_of(partial(features.select_text, form=form), layer, query, Lane.QUICK)
        if not rows:
            return None
        reads.told(layer.id, query.attributes, 1, query.ids or ())
        text: str = rows[0][0].decode()
        return text

    async def item(
        self, mark: Hashable, layer: Layer, ask: Callable[[], FeatureQuery], form: Form, name: str
    ) -> str | None:  # fmt: skip
        """The text of the feature with an id, found with others that are asked for meanwhile. `mark`: the same for all
        questions that `ask` tells, whatever the id.
        """
        line = self._together.line(mark) or self._together.begun(mark, layer, ask(), form)
        text = await line.text(name)
        if text is None:
            return None
        reads.told(layer.id, line.attributes, 1, (name,))
        return text.decode()

    async def count(
        self, layer: Layer, query: FeatureQuery, lane: Lane, *, at_most: int, within: float
    ) -> int | None:  # fmt: skip
        """How many features match, on whatever page; `at_most` + 1: more than that. None: not found out in time.

        `within`: seconds, with the wait for a connection.
        """
        statement = features.select_count(layer, await self.with_codes(layer, query), at_most)
        try:
            async with asyncio.timeout(within), self._connection(lane) as connection:
                ((count,),) = await fetched(connection, statement)
                return int(count)
        except (TimeoutError, Overloaded):
            return None

    async def groups(
        self, layer: Layer, query: FeatureQuery, by: tuple[str, ...], sums: tuple[str, ...], at_most: int
    ) -> list[tuple[Any, ...]]:  # fmt: skip
        """The rows of `features.select_groups`, texts as bytes."""
        select = partial(features.select_groups, by=by, sums=sums, at_most=at_most)
        return await self._rows_of(select, layer, query, Lane.SLOW)

    async def _rows_of(
        self, select: Callable[[Layer, FeatureQuery], Statement], layer: Layer, query: FeatureQuery, lane: Lane
    ) -> list[tuple[Any, ...]]:
        """All rows of a statement, its texts as bytes."""
        return await self._fetched(select(layer, await self.with_codes(layer, query)), lane)

    async def _fetched(self, statement: Statement, lane: Lane) -> list[tuple[Any, ...]]:
        async with self._connection(lane) as connection:
            try:
                # The server's own limit is the slow lane's; to set another would cost the quick one a round trip.
                async with asyncio.timeout(seconds(lane, self._statement_timeout)):
                    return await fetched(connection, statement, binary=True)
            except TimeoutError:
                raise engine.too_long() from None

    @asynccontextmanager
    async def moment(self, lane: Lane) -> AsyncIterator[Any]:
        """A connection on which all statements see the store as it is at one moment."""
        async with self._connection(lane) as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    @asynccontextmanager
    async def _connection(self, lane: Lane = Lane.QUICK) -> AsyncIterator[Any]:
        with _TOLD:
            async with self.lanes.turn(lane):
                # Not as `connection()`, which ends a transaction that was never begun: each begins and ends its own.
                connection = await self._rows.getconn()
                try:
                    yield connection
                finally:
                    await self._rows.putconn(connection)

    async def families(self, layers: Mapping[str, Layer]) -> frozenset[str]:
        """The layers in which some feature has parents."""
        asked = [name for name, layer in layers.items() if layer.genealogy is not None]
        return await run_in_threadpool(self._ask, lambda connection: genealogy.known(connection, asked))

    async def kin(self, layer: Layer, feature: str, known_at: datetime | None) -> list[tuple[Any, ...]]:
        """The rows of `genealogy.select_near`."""
        statement = genealogy.select_near(layer, feature, known_at)
        async with self._connection() as connection:
            return await fetched(connection, statement)

    async def kin_around(self, layer: Layer, feature: str, known_at: datetime | None) -> list[tuple[Any, ...]]:
        """The rows of `genealogy.select_around`."""
        statement = genealogy.select_around(layer, feature, known_at)
        async with self._connection() as connection:
            return await fetched(connection, statement)

    async def with_codes(self, layer: Layer, query: FeatureQuery) -> FeatureQuery:
        """The query with what the codes of administrative units in it mean."""
        statement = succession.select_meant(layer, query)
        if statement is None:
            return query
        async with self._connection() as connection:
            rows = await fetched(connection, statement)
            return replace(query, meant=tuple((row[0], row[1], row[2]) for row in rows))

    async def _one(self, statement: Statement) -> tuple[Any, ...]:
        """The only row of an answer."""
        async with self._connection() as connection:
            (row,) = await fetched(connection, statement)
            return row

    async def missing_indexes(self, registry: Registry) -> list[str]:
        """The indexes that queries need and the database lacks. Raises SdiError when it is away."""
        return await run_in_threadpool(self._ask, lambda connection: indexes.missing(connection, registry))

    async def login_beyond(self) -> list[str]:
        """What the login may be that no service needs. Raises SdiError when the database is away."""
        return await run_in_threadpool(self._ask, login.beyond)

    async def version(self) -> int:
        """The ledger's version; it grows whenever something is published, withdrawn or loaded."""
        return await run_in_threadpool(self._ask, ledger.version)

    async def published(self) -> Mapping[str, Publication]:
        return await run_in_threadpool(self._ask, ledger.published)

    async def cursor_key(self) -> bytes:
        """What cursors are sealed with."""
        return await run_in_threadpool(self._ask, order.key)

    async def touched(self, layers: list[str]) -> list[touched.Row]:
        """Which places of layers each of their generations changed."""
        return await run_in_threadpool(self._ask, lambda connection: touched.read(connection, layers))

    async def state(self, layer: Layer, load: int, at_most: int) -> tuple[int, int, str]:
        """`versions.select_state`."""
        newer, latest, table = await self._one(versions.select_state(layer, load, at_most))
        return newer, latest, table

    async def keep(self, layer: Layer, name: str, rule: dict[str, Any] | None) -> Mark:
        """Keep the rule by which changes are told, as `feed.rules` tells it, once a day; what is remembered of it.

        None: one that is not to be kept.
        """
        mark, today = self._marks.of(layer, name), datetime.now(UTC).date()
        if rule is not None and mark.kept != today:
            try:
                await run_in_threadpool(self._ask, lambda connection: rules.keep(connection, layer, name, rule))
                mark.kept = today
            except StoreError as error:
                # Who asks again under another rule begins again, and that is all.
                log.warning("a rule is not kept", layer=layer.id, error=error.message)
        return mark

    async def rates(self) -> Mapping[str, list[Rate]]:
        """How good each layer is, by data quality element."""
        return await run_in_threadpool(self._ask, quality.rates)

    async def standing(self, views: Mapping[str, View]) -> dict[str, dict[str, Any] | None]:
        """What publications tell of layers to who sees them so; see `seen.standing`. It may take its time, and has a
        connection of its own.
        """

        def ask() -> dict[str, dict[str, Any] | None]:
            connection = engine.connect(self.url, self.role, application="sdi-service-views")
            with connection, engine.translated():
                return {name: seen.standing(connection, *view) for name, view in views.items()}

        return await run_in_threadpool(ask) if views else {}

    async def first_loads(self) -> Mapping[str, datetime]:
        """When each layer was loaded first."""
        return await run_in_threadpool(self._ask, events.first_loads)

    async def events(
        self, layers: Mapping[str, int | None], whole: set[str], within: Interval | None, limit: int, offset: int
    ) -> tuple[list[events.Event], int]:
        """A page of what happened to these layers, the latest first, and how much there is in all; see `events`."""
        return await run_in_threadpool(
            self._ask, lambda connection: events.events(connection, layers, whole, within, limit, offset)
        )

    async def quality_collections(self, layers: Mapping[str, Layer]) -> Mapping[str, Publication]:
        """The quality collections of these layers; only the stewards' role reads them."""
        return await run_in_threadpool(self._ask, lambda connection: quality.publications(connection, layers))

    async def register(self, registry: Registry) -> register.Register:
        """The agencies, their keys and grants; only the stewards' role reads them."""
        return await run_in_threadpool(self._ask, lambda connection: register.read(connection, registry))

    async def trail(self, wanted: Wanted) -> list[Entry]:
        """Entries of the audit trail; only the stewards' role reads them."""
        async with self._connection(Lane.SLOW) as connection:
            return [search.entry(row) for row in await fetched(connection, search.select(wanted))]

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            with _TOLD, self._ledger.connection(timeout=PATIENCE) as connection:
                return question(connection)
        except Overloaded as error:
            raise StoreError("The database cannot be reached.", hint="Run 'sdi doctor'.") from error


async def _taken(
    connection: Any, statement: Statement, within: float
) -> AsyncGenerator[list[tuple[Any, ...]]]:  # fmt: skip
    """The rows of a statement in parts, by a cursor; texts as bytes. `within`: seconds that each part may take."""
    async with connection.cursor("features", binary=True) as cursor:
        # The whole answer is wanted, not its first tenth soon.
        await connection.execute(
            "SELECT set_config('cursor_tuple_fraction', '1', true), set_config('statement_timeout', %s, true)",
            [str(int(within * 1000))],
        )
        await cursor.execute(statement.sql, statement.params)
        size = FIRST
        while rows := await cursor.fetchmany(size):
            yield rows
            size = PART


class _Told:
    """The store's errors; a value that a client's filter cannot be computed with (division by 0) is the client's."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, raised: BaseException | None, trace: Any) -> None:
        if not isinstance(raised, engine.FAULTS):
            return
        error = engine.translate(raised)
        if str(getattr(raised, "sqlstate", None) or "").startswith("22"):
            raise BadRequest("The filter cannot be computed with the values of this collection.") from raised
        raise error from raised


_TOLD = _Told()
