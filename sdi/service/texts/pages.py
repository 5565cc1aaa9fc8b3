"""Pages of GeoJSON put together of texts that are there already, from a file or from memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, Self, cast
from weakref import ref

import numpy as np
import structlog

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import StoreError
from sdi.service.audit import reads
from sdi.service.lanes import Lane
from sdi.service.page import Page, place_of
from sdi.service.texts.kept import Texts
from sdi.service.texts.ready import BETWEEN, Numbers, Ready, view_of
from sdi.store import versions
from sdi.store.statement import Statement

AT_ONCE = 0.4
"""Share of the features that were asked for lately and were kept, below which a page is rendered as it is found."""
FIRST, PART = 100, 1000
"""Features of the first part of a stream, which is to come soon, and of each that follows."""

CHOSEN = 4 * 2**20
"""Bytes of what long pages have: a hundred of 10,000 features."""

RowsOf = Callable[[Callable[[Layer, FeatureQuery], Statement], Layer, FeatureQuery, Lane], Awaitable[list[Any]]]
"""All rows of a statement, its texts as bytes."""

log = structlog.get_logger("sdi.service")


class TextPages:
    """`rows_of`: asks the store. `kept`: the memory. `ready`: finds the file of a view (`view_of`). `chosen`: which
    features long pages have, as far as that is remembered."""

    def __init__(
        self, rows_of: RowsOf, kept: Texts, ready: Callable[[str], Ready | None], chosen: Chosen
    ) -> None:  # fmt: skip
        self._rows_of, self.kept, self.ready, self._chosen = rows_of, kept, ready, chosen

    async def page(
        self, layer: Layer, query: FeatureQuery, lane: Lane, count: int | None, between: str
    ) -> Page | None:  # fmt: skip
        """A page of the store as it is now; `count` and `between` as `Reader.page` has them. None: texts do not tell
        what it has, or a load came between.
        """
        if not _has_versions(layer, query):
            return None
        of_file = self._file(layer, query, between)
        if of_file is not None:
            page = await self._taken(of_file, layer, query, lane, count)
            if page is not None:
                return page
        if not self.kept.room:
            return None
        view = view_of(layer, query)
        if self.kept.share >= AT_ONCE:
            return await self._put_together(view, layer, query, lane, count, between)
        return await self._rendered(view, layer, query, lane, count, between)

    async def few(self, layer: Layer, query: FeatureQuery, lane: Lane, between: str) -> Page | None:
        """The same from a file alone; where features lie beyond the page, without its text."""
        of_file = self._file(layer, query, between)
        return None if of_file is None else await self._taken(of_file, layer, query, lane, None, beyond=False)

    async def walk(
        self, layer: Layer, query: FeatureQuery, lane: Lane, between: str, mark: object
    ) -> AsyncGenerator[Page | bytes | memoryview]:  # fmt: skip
        """What `Reader.walk` gives, the page first; nothing where texts do not tell what it has. Which features they
        are is asked for once, and no connection is held while they are sent.
        """
        of_file = self._file(layer, query, between)
        if of_file is None:
            return
        # The day tells what codes mean.
        key = None if mark is None else (mark, datetime.now(UTC).date(), query)
        found = self._chosen.of(key, of_file)
        if found is None:
            found = _Found.of(of_file, layer, query, await self._rows_of(versions.select_keyed, layer, query, lane))
            if found is None:
                return
            self._chosen.keep(key, of_file, found)
        kind = _kind(layer, query, of_file.about.view, of_file.about.table.encode())
        absent = found.absent()
        if len(absent) > PART:  # more than is held
            return
        newer = await self._found(kind, layer, query, lane, absent)
        if len(newer) != len(absent):
            return
        yield found.page
        begin, size, text = 0, FIRST, cast("bytes | memoryview", b"")
        while begin < found.page.returned:
            numbers = found.numbers[begin : begin + size]
            lacking = int((numbers < 0).sum())
            try:
                text = await of_file.joined(numbers, newer[:lacking], led=begin > 0)
            except OSError as error:
                _warn(layer, error)
                self._chosen.forget(key)
                rendered = await self._found(kind, layer, query, lane, found.asked[begin : begin + size])
                if len(rendered) != len(numbers):
                    raise StoreError("The texts of features can no longer be read.", hint="Ask again.") from None
                text = BETWEEN.join([b"", *rendered] if begin else rendered)
            # What is not taken was not read.
            reads.told_text(layer.id, query.attributes, text[len(BETWEEN) :] if begin else text, len(numbers))
            yield text
            begin, size, newer = begin + size, PART, newer[lacking:]

    def _file(self, layer: Layer, query: FeatureQuery, between: str) -> Ready | None:
        """The file that has the texts of a page's features, but for those that are newer."""
        if between.encode() != BETWEEN or not _is_as_stored(query) or not _has_versions(layer, query):
            return None
        return self.ready(view_of(layer, query))

    async def _taken(
        self, ready: Ready, layer: Layer, query: FeatureQuery, lane: Lane, count: int | None, *, beyond: bool = True
    ) -> Page | None:  # fmt: skip
        """From a file, and what is not there from memory. beyond: with its text though features lie beyond it."""
        select = partial(versions.select_keyed, count=count)
        found = _Found.of(ready, layer, query, await self._rows_of(select, layer, query, lane))
        if found is None:
            return None
        if found.page.more and not beyond:
            return found.page
        others, absent = list[bytes](), found.absent()
        if absent:
            kind = _kind(layer, query, ready.about.view, ready.about.table.encode())
            others = await self._found(kind, layer, query, lane, absent)
            if not others:
                return None
        try:
            text = await ready.joined(found.numbers, others)
        except OSError as error:
            _warn(layer, error)
            return None
        reads.told_versions(layer.id, query.attributes, found.page.returned, found.versions, plain=found.plain)
        return replace(found.page, text=text)

    async def _rendered(
        self, view: str, layer: Layer, query: FeatureQuery, lane: Lane, count: int | None, between: str
    ) -> Page:  # fmt: skip
        """Rendered as it is found; its texts are kept."""
        select = partial(versions.select_both, between=between, count=count)
        ((text, lines, number, first, last, matched, table),) = await self._rows_of(select, layer, query, lane)
        assert query.limit is not None
        returned = min(number, query.limit)
        asked, written = (lines.split(versions.BETWEEN), text.split(between.encode())) if lines else ([], [])
        if len(asked) == len(written) == returned:
            self.kept.see(_kind(layer, query, view, table), asked, written)
            reads.told_versions(layer.id, query.attributes, len(asked), lines or b"", plain=self.kept.plain)
        else:  # ids cannot be told apart
            reads.told_text(layer.id, query.attributes, text or b"", returned)
        return Page(text or b"", returned, number > query.limit, place_of(first), place_of(last), matched)

    async def _put_together(
        self, view: str, layer: Layer, query: FeatureQuery, lane: Lane, count: int | None, between: str
    ) -> Page | None:  # fmt: skip
        """From texts that are kept; None: a load came between, or ids cannot be told apart."""
        select = partial(versions.select_versions, count=count)
        ((lines, number, first, last, matched, table),) = await self._rows_of(select, layer, query, lane)
        assert query.limit is not None
        returned = min(number, query.limit)
        asked = lines.split(versions.BETWEEN) if lines else []
        if len(asked) != returned:
            return None
        found = await self._found(_kind(layer, query, view, table), layer, query, lane, asked)
        if len(found) != returned:
            return None
        reads.told_versions(layer.id, query.attributes, len(asked), lines or b"", plain=self.kept.plain)
        text = between.encode().join(found)
        return Page(text, returned, number > query.limit, place_of(first), place_of(last), matched)

    async def _found(
        self, kind: Hashable, layer: Layer, query: FeatureQuery, lane: Lane, asked: list[bytes]
    ) -> list[bytes]:  # fmt: skip
        """The texts of these versions, rendered where they are not kept; none: a load came between."""
        found = self.kept.found(kind, asked)
        if None in found:
            missing = [version for version, text in zip(asked, found, strict=True) if text is None]
            # Whose versions were found exists for who asks.
            rendered = dict(await self._rows_of(versions.select_rendered, layer, _by_ids(query, missing), lane))
            self.kept.keep(kind, list(rendered), list(rendered.values()))
            found = [rendered.get(version) if text is None else text
                     for version, text in zip(asked, found, strict=True)]  # fmt: skip
        return [] if None in found else cast("list[bytes]", found)


@dataclass(frozen=True)
class _Found:
    """Which texts of a file a page has; `page` is without its text."""

    page: Page
    numbers: Numbers
    versions: bytes
    plain: bool

    @classmethod
    def of(cls, ready: Ready, layer: Layer, query: FeatureQuery, rows: list[Any]) -> Self | None:
        """`rows`: of `versions.select_keyed`. None: the file is of another table, or ids cannot be told apart."""
        ((lines, keys, number, first, last, matched, table),) = rows
        assert query.limit is not None
        returned, numbers = min(number, query.limit), ready.found(keys or b"")
        absent = int((numbers < 0).sum())
        if ready.about.table != table.decode():
            ready.strange = True
            return None
        if absent and lines.count(versions.BETWEEN) != returned - 1:
            return None
        page = Page(b"", returned, number > query.limit, place_of(first), place_of(last), matched)
        return cls(page, numbers, lines or b"", ready.about.plain and not absent)

    @cached_property
    def asked(self) -> list[bytes]:
        """The versions of the page's features; none of one that was remembered."""
        return self.versions.split(versions.BETWEEN) if self.versions else []

    def absent(self) -> list[bytes]:
        """Those that the file does not have."""
        return [self.asked[place] for place in np.flatnonzero(self.numbers < 0).tolist()]


class Chosen:
    """Which texts of a file long pages have: of at most about `room` bytes of pages, the latest asked for. Who opens a
    layer asks for the same pages as everybody who does, and to find a page takes longer than to send it.

    It follows from the question, the day, and the snapshot of who asks, as answers do that are kept whole.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._size = 0
        # A file that was replaced is let go of: as long as it is open the disk has it.
        self._kept: OrderedDict[Hashable, tuple[ref[Ready], _Found, int]] = OrderedDict()

    def of(self, key: Hashable, file: Ready) -> _Found | None:
        """What a page has, if it is known and the texts are still this file's."""
        kept = self._kept.get(key)
        if kept is None or kept[0]() is not file:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def keep(self, key: Hashable, file: Ready, found: _Found) -> None:
        """Remember a page that has all its texts in the file."""
        if key is None or found.absent():
            return
        numbers = found.numbers.astype(np.int32)
        size = numbers.nbytes + 2 * len(repr(key))  # a filter may be as long as a request
        self.forget(key)
        if size > self._room:
            return
        self._kept[key] = ref(file), replace(found, numbers=numbers, versions=b""), size
        self._size += size
        while self._size > self._room:
            self.forget(next(iter(self._kept)))

    def forget(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept[2]


def _warn(layer: Layer, error: OSError) -> None:
    log.warning("texts that are ready cannot be read", layer=layer.id, error=error.strerror)


def _kind(layer: Layer, query: FeatureQuery, view: str, table: bytes) -> Hashable:
    """What texts of the same version have in common."""
    return layer.table, table, view, None if _is_as_stored(query) or query.sight is None else query.sight.key


def _is_as_stored(query: FeatureQuery) -> bool:
    """Whether who asks is told of a feature what stands in its row, if they are told of it at all."""
    sight = query.sight
    return sight is None or not (sight.masks or sight.places or sight.references or sight.bare)


def _by_ids(query: FeatureQuery, found: list[bytes]) -> FeatureQuery:
    """The features of these versions as the query answers them, however it chose and sorted them."""
    ids = tuple(version.partition(b" ")[2].decode() for version in found)
    whole = replace(query, area=None, equals=(), filters=(), search=(), sort=(), place=None)
    return replace(whole, ids=ids, limit=None, offset=0)


def _has_versions(layer: Layer, query: FeatureQuery) -> bool:
    """Whether load and id tell what a feature is: not of the past, not of a quality collection, which is a view, and
    not where other layers decide what is told of it."""
    alone = query.sight is None or not query.sight.beside
    return alone and query.as_of is None and query.interval is None and layer.sharing.level != "steward"
