"""Features that are asked for by their ids at the same time, found by one statement.

Of what it takes to find a feature little is for the feature: most is to send a statement, to wait for it, and what
PostgreSQL does for each, whatever it finds. Who asks while nobody else does goes at once. Who asks in the same way
meanwhile goes with the others that do, by a statement that is sent after they have asked: what anybody is told is never
older than their question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import Context, copy_context
from functools import partial
from itertools import batched
from typing import Any
from unicodedata import normalize

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service.lanes import Lane
from sdi.store import features, forms, succession
from sdi.store.forms import Form
from sdi.store.statement import Statement

RUNNING = 1
"""Statements under way from which on those who ask wait for each other: with 2 a feature takes a tenth more CPU."""
WAITED = 0.005
"""Seconds that a statement under way is waited for: one that takes longer holds nobody up."""
MOST = 100
"""Ids of a statement."""
WAYS = 200
"""Ways that are remembered."""

RowsOf = Callable[[Callable[[Layer, FeatureQuery], Statement], Layer, FeatureQuery, Lane], Awaitable[list[Any]]]
Fetched = Callable[[Statement, Lane], Awaitable[list[Any]]]
Find = Callable[[tuple[str, ...]], Awaitable[Mapping[str, bytes]]]
"""The texts of the features with these ids, by id."""
_Waiter = asyncio.Future[bytes | None]


class Together:
    """Of one process and role. `rows_of` and `fetched`: ask the store, texts as bytes."""

    def __init__(self, rows_of: RowsOf, fetched: Fetched) -> None:
        self._rows_of, self._fetched = rows_of, fetched
        self._lines: dict[Hashable, Line] = {}

    def line(self, mark: Hashable) -> Line | None:
        """Those who ask in one way, if any did lately."""
        return self._lines.get(mark)

    def begun(self, mark: Hashable, layer: Layer, query: FeatureQuery, form: Form) -> Line:
        """The line of a new way. `mark`: the same for all whose questions differ from the query by the id alone."""
        if len(self._lines) >= WAYS:
            # Who stands in an old one is answered there.
            self._lines.clear()
        way = _Way(self._rows_of, self._fetched, layer, query, form)
        line = self._lines[mark] = Line(query.attributes, way.texts)
        return line


class Line:
    """Those who ask in one way, for these attributes."""

    def __init__(self, attributes: tuple[str, ...], find: Find) -> None:
        self.attributes, self._find = attributes, find
        self._running = 0
        """Statements under way."""
        self._waiting: list[tuple[str, _Waiter]] = []
        self._sent: dict[asyncio.Task[None], list[tuple[str, _Waiter]]] = {}
        self._soon: asyncio.TimerHandle | None = None
        self._context: Context | None = None
        """Of who waits for longest: by it callers are told apart where connections are given out."""

    async def text(self, name: str) -> bytes | None:
        """The text of the feature with an id, if there is one."""
        name = normalize("NFC", name)
        if self._running >= RUNNING:
            return await self._joined(name)
        self._running += 1
        try:
            return (await self._find((name,))).get(name)
        finally:
            self._ended()

    async def _joined(self, name: str) -> bytes | None:
        """Asked for with the others that wait."""
        loop = asyncio.get_running_loop()
        waiter: _Waiter = loop.create_future()
        self._waiting.append((name, waiter))
        if self._soon is None:
            self._soon, self._context = loop.call_later(WAITED, self._go), copy_context()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._let_go()
            raise

    def _ended(self) -> None:
        self._running -= 1
        if self._waiting:
            self._go()

    def _go(self) -> None:
        """Send those who wait."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        waiting, self._waiting = [each for each in self._waiting if not each[1].done()], []
        context, self._context = self._context, None
        for some in batched(waiting, MOST):
            self._running += 1
            task = asyncio.create_task(self._answer(part := [*some]), context=context and context.copy())
            self._sent[task] = part
            task.add_done_callback(self._done)

    async def _answer(self, part: list[tuple[str, _Waiter]]) -> None:
        try:
            found = await self._find(tuple({name: None for name, _ in part}))
            for name, waiter in part:
                if not waiter.done():
                    waiter.set_result(found.get(name))
        except Exception as error:
            for _, waiter in part:
                if not waiter.done():
                    waiter.set_exception(error)

    def _done(self, task: asyncio.Task[None]) -> None:
        for _, waiter in self._sent.pop(task):
            waiter.cancel()  # nothing where there is an answer
        self._ended()

    def _let_go(self) -> None:
        """Give up the statements that nobody waits for any more."""
        for task, part in self._sent.items():
            if all(waiter.done() for _, waiter in part):
                task.cancel()


class _Way:
    """How features are asked for, whichever they are."""

    def __init__(
        self, rows_of: RowsOf, fetched: Fetched, layer: Layer, query: FeatureQuery, form: Form
    ) -> None:  # fmt: skip
        self._rows_of, self._fetched, self._layer, self._form = rows_of, fetched, layer, form
        self._query = query.of_ids(())
        self._one: Statement | None = None
        """For a single id, put together: that takes as long as half of the way to PostgreSQL."""
        if succession.select_meant(layer, query) is None:
            self._one = features.select_text(layer, query.of_ids(("",)), form)
            self._place = next(name for name, source in self._one.drawn.items() if source is features.only)

    async def texts(self, names: tuple[str, ...]) -> Mapping[str, bytes]:
        """The texts of the features with these ids, by id."""
        query = self._query.of_ids(names)
        if len(names) > 1:
            select = partial(features.select_text, form=forms.with_id(self._form))
            return {name.decode(): text for name, text in await self._rows_of(select, self._layer, query, Lane.QUICK)}
        if self._one is None:
            select = partial(features.select_text, form=self._form)
            rows = await self._rows_of(select, self._layer, query, Lane.QUICK)
        else:
            values = {**self._one.params, self._place: features.only(query)}
            statement = Statement(self._one.sql, values, self._one.drawn, self._one.written)
            rows = await self._fetched(statement, Lane.QUICK)
        return {names[0]: rows[0][0]} if rows else {}
