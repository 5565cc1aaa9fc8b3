"""All parts of a delivery: worked through a few at once, put on disk in their order, and looked up there.

Rows that are known (`recognition`) are only glanced at: on disk they have their id, their hash and the attributes that
checks between features ask for. What else is asked of them is made from the file at that moment, by the same code and
so to the same bits; who wants all of it has all of it made once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, partial
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from sdi.contract.registry import Registry
from sdi.ingest import chunk, recognition
from sdi.ingest.abreast import in_order
from sdi.ingest.cast import to_text
from sdi.ingest.chunk import Chunk, hashes_of, split
from sdi.ingest.conform import distinguish
from sdi.ingest.findings import Findings, Mask, Rows
from sdi.ingest.geometry import Shapes
from sdi.ingest.mapped import alike, give_back, having
from sdi.ingest.reading import Reading, join
from sdi.ingest.recognition import Recognised
from sdi.ingest.remembered import Remembered
from sdi.ingest.source import WKB, Source
from sdi.ingest.spill import Spill, kept, names
from sdi.ingest.standing import ROW_HASH

ENOUGH = 0.5
"""Share of a part's rows from which on knowing them is worth telling them apart."""
Made = tuple[Chunk, pa.RecordBatch]
Digest = Callable[[pa.RecordBatch], pa.Array]


@dataclass(frozen=True)
class Work:
    """How a part is worked on. `digest`: what the store makes of a row, None: there is none. `recognised`: the rows
    that need not be conformed; None: marks are not asked for."""

    source: Source
    reading: Reading
    registry: Registry
    day: date
    digest: Digest | None = None
    recognised: Recognised | None = None

    @cached_property
    def told(self) -> list[str]:
        return recognition.told(self.source, self.reading)

    @cached_property
    def narrow(self) -> Reading:
        return recognition.narrowed(self.reading)

    @cached_property
    def glanced(self) -> list[str]:
        """The columns of the file that are read of rows that are known; one at least, which tells their number."""
        wanted = {WKB, *self.narrow.matched.used}
        wanted |= set(self.reading.geometry_columns.names if self.reading.geometry_columns else ())
        names = self.reading.encodings.names
        return [name for name in self.source.columns if names[name] in wanted] or self.source.columns[:1]

    def part(self, table: pa.Table, start: int) -> Made:
        """Work on a part whose first row is `start`."""
        if self.recognised is None or self.recognised.is_empty:
            return self.all(table, start)
        marks = recognition.marks(table, self.told)
        if marks is None:
            return self.all(table, start)
        places = self.recognised.find(marks)
        if np.count_nonzero(places >= 0) < ENOUGH * table.num_rows:
            made, rows = self.all(table, start)
        else:
            made, rows = self._some(table, start, places)
        return replace(made, marks=marks, news=bool((made.plain & (places < 0)).any())), rows

    def all(self, table: pa.Table, start: int) -> Made:
        """Conform every row."""
        made, rows = chunk.work(table, start, self.reading, self.registry, self.day)
        return made, rows if self.digest is None else rows.append_column(ROW_HASH, self.digest(rows))

    def _some(self, table: pa.Table, start: int, places: NDArray[np.intp]) -> Made:
        """Conform the rows that are not known; glance at the others."""
        assert self.recognised is not None
        count = table.num_rows
        known, others = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
        if not len(others):  # one is conformed all the same: it tells the types of the columns
            known, others = known[1:], known[:1]
        if not len(known):
            return self.all(table, start)
        each, rows = self.all(table.take(pa.array(others)), 0)
        seen = table.select(self.glanced).take(pa.array(known))
        glance = chunk.glance(seen, self.reading, self.narrow, self.registry, self.day)
        few = _of_glance(glance, self.recognised.digests(places[known]), rows.schema)
        order = np.argsort(np.concatenate([known, others]), kind="stable")
        made = _glanced(self.reading, start, count, known, glance)
        for name in ("ids", "identified", "boxes", "places", "dropped", "ended", "plain"):
            getattr(made, name)[others] = getattr(each, name)
        found, measured = each.found.spread(others, count), each.measured.spread(others, count)
        made = replace(made, bounds=join(glance.bounds, each.bounds), found=found, measured=measured)
        return made, _numbered(_mixed(few, rows, order), np.arange(start + 1, start + 1 + count))

    def again(self, table: pa.Table, batch: pa.RecordBatch, rows: Rows) -> pa.RecordBatch:
        """Features `batch`, as `table` has them in the file, with the content of those, `rows`, that lack it."""
        full = chunk.remake(table.take(pa.array(rows)), self.reading, self.registry, self.day)
        if self.digest is not None:
            full = full.append_column(ROW_HASH, batch[ROW_HASH].take(pa.array(rows)))
        order = np.arange(batch.num_rows)
        order[rows] = batch.num_rows + np.arange(len(rows))
        return _numbered(_mixed(batch, full, order), batch["source_row"])


def _of_glance(glance: chunk.Glance, digests: pa.Array, schema: pa.Schema) -> pa.RecordBatch:
    """Rows that have their id, their hash and some attributes."""
    columns = {"id": glance.ids, **glance.columns, ROW_HASH: digests}
    count = len(glance.ids)
    return pa.RecordBatch.from_arrays(
        [columns[each.name].cast(each.type) if each.name in columns else pa.nulls(count, each.type) for each in schema],
        schema=schema,
    )


def _glanced(reading: Reading, start: int, count: int, known: Rows, glance: chunk.Glance) -> Chunk:
    """A part in which nothing was found, of which so much is known."""
    ids, boxes = np.zeros(count, dtype=np.int64), np.full((count, 4), np.nan)
    identified = np.zeros(count, dtype=bool)
    ids[known], boxes[known], identified[known] = chunk.hashes_of(glance.ids), glance.boxes, True
    return Chunk(
        start, ids, identified, boxes, np.full((count, 2), np.nan), np.zeros(count, dtype=bool),
        np.zeros(count, dtype=bool), glance.bounds, Findings(reading.layer, count), Findings(reading.layer, count),
        identified.copy(), known=known,
    )  # fmt: skip


def _mixed(one: pa.RecordBatch, two: pa.RecordBatch, order: Rows) -> pa.RecordBatch:
    """Rows of two batches behind each other, in another order."""
    wanted = pa.array(order)
    columns = [pa.concat_arrays([one[name], two[name]]).take(wanted) for name in one.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=one.schema)


def _numbered(rows: pa.RecordBatch, numbers: Any) -> pa.RecordBatch:
    """Rows with their numbers in the delivery, from 1."""
    index = rows.schema.get_field_index("source_row")
    return rows.set_column(index, "source_row", pa.array(numbers, pa.int32()))


# --- the whole --------------------------------------------------------------------------------------------------------


class Whole:
    """A delivery that was worked through: its features on disk, and what is remembered of each."""

    def __init__(self, work: Work, spill: Spill, remembered: Remembered) -> None:
        self.work, self.reading, self.spill, self.remembered = work, work.reading, spill, remembered
        self.renamed: Mapping[int, str] = {}
        self.boxes, self.hashes, self.identified = remembered.boxes, remembered.hashes, remembered.identified
        self.dropped, self.ended, self.plain = remembered.dropped, remembered.ended, remembered.plain
        self.known: Mask = remembered.known
        self.bounds = remembered.bounds
        self.recognised = int(self.known.sum())
        """Rows that were not conformed."""
        self._places = remembered.places
        self.complete = {"id", ROW_HASH, "source_row", *(each.name for each in work.narrow.layer.stored)}
        """Columns that all rows have."""
        self.inside = int((self.known & ~np.isnan(self.boxes[:, 0])).sum())
        """Rows whose place was not asked for, for they lie in the extent."""
        self._lock = Lock()

    def names(self, rows: Rows) -> list[str | None]:
        return names(self.spill, self.renamed, rows)

    def heads(self, rows: Rows) -> tuple[pa.Array, pa.Array]:
        """id, as it is stored, and hash of rows, which ascend."""
        ids, digests = self.spill.some(["id", ROW_HASH], rows)
        again = np.isin(rows, list(self.renamed))
        if again.any():
            ids = pc.replace_with_mask(ids, pa.array(again), pa.array(self.names(rows[again]), ids.type))
        return ids, digests

    def rows_of(self, ids: pa.Array, hashes: NDArray[np.int64]) -> Rows:
        """The first row that has each id, -1: none has it. hashes: of the ids as they are stored."""
        wanted, row_of = ids.to_pylist(), dict[str | None, int]()
        if wanted:
            rows = having(hashes, np.unique(hashes_of(ids)))
            for row, name in zip(rows.tolist(), self.names(rows), strict=True):
                row_of.setdefault(name, row)
        row_of[None] = -1
        return np.array([row_of.get(name, -1) for name in wanted], dtype=np.intp)

    def column(self, name: str) -> pa.Array:
        """A column of all rows."""
        self._require([name])
        return self.spill.column(name)

    def in_parts(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        """Some columns, a part of the rows after the other."""
        self._require(names)
        return self.spill.in_parts(names)

    def some(self, names: Sequence[str], rows: Rows) -> list[pa.Array]:
        """Columns of rows, which ascend."""
        self._require(names)
        return self.spill.some(names, rows)

    def _require(self, names: Collection[str]) -> None:
        if not self.complete >= set(names) and self.known.any():
            self.fill()

    def scope(self, usable: Mask) -> tuple[str, ...]:
        """The values of the layer's scope that a full delivery tells all of."""
        attribute = self.reading.layer.load.scope
        if attribute is None:
            return ()
        values = pc.unique(to_text(self.column(attribute).filter(pa.array(usable))))
        return tuple(sorted(value for value in values.to_pylist() if value is not None))

    def name_ended(self, findings: Findings) -> tuple[str, ...]:
        """The ids of the features that the file says have ended. Such a row without an id is found."""
        rows = np.flatnonzero(self.ended)
        names = self.names(rows)
        nameless = np.array([name is None for name in names], dtype=bool)
        if nameless.any():
            findings.add("delivery.ended_nameless", rows[nameless])
        self.dropped[rows[~nameless]] = True
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def find_repeated(self) -> Findings:
        """Find ids that stand more than once: of rows with equal hashes, the ids themselves and all else decide."""
        layer = self.reading.layer
        findings = Findings(layer, len(self.hashes))
        rows = np.sort(np.concatenate([np.empty(0, dtype=np.intp), *alike(self.hashes, self.identified)]))
        if layer.identifier is None or not len(rows):
            return findings
        ids = [str(name) for name in self.names(rows)]
        found: list[bytes] = [b""] * len(rows)
        for number, inside, positions in split(rows, self.spill.starts):
            table, batch = self._source(number).take(pa.array(inside)), self.taken(number, inside)
            columns = [batch[attribute.name] for attribute in layer.stored]
            made = chunk.content(table, columns, self.reading)
            for position, digest in zip(positions, made, strict=True):
                found[position] = digest
        self.renamed = distinguish(layer, rows, ids, found, findings)
        return findings

    # --- what was only glanced at

    def _source(self, number: int, columns: Collection[str] | None = None) -> pa.Table:
        with self._lock:
            return self.work.source.part(number, columns)

    def taken(self, number: int, inside: Rows) -> pa.RecordBatch:
        """Some rows of a part with all their content, by the ids they came with."""
        start = int(self.spill.starts[number])
        batch = self.spill.part(number).take(pa.array(inside))
        known = np.flatnonzero(self.known[start + inside])
        if not len(known):
            return batch
        return self.work.again(self._source(number).take(pa.array(inside)), batch, known)

    def shapes(self, rows: Rows) -> Shapes:
        """The master geometry of rows, in the grid."""
        glanced = self.known[rows]
        found: Shapes = np.empty(len(rows), dtype=object)
        found[~glanced] = shapely.from_wkb(self.spill.take("geom", rows[~glanced]))
        some = np.flatnonzero(glanced)
        for number, inside, positions in split(rows[some], self.spill.starts):
            table = self._source(number, self.work.glanced).take(pa.array(inside))
            found[some[positions]] = chunk.masters(table, self.reading)
        return found

    @property
    def lonlat(self) -> NDArray[np.float64]:
        """(n, 2) longitude and latitude of all rows; NaN: nowhere, or known to lie in the extent."""
        return self._places

    def places(self, rows: Rows) -> NDArray[np.float64]:
        """(n, 2) longitude and latitude of rows; NaN: nowhere."""
        found = self._places[rows]
        some = np.flatnonzero(self.known[rows])
        for number, inside, positions in split(rows[some], self.spill.starts):
            found[some[positions]] = self.work.all(self._source(number).take(pa.array(inside)), 0)[0].places
        return found

    def fill(self) -> None:
        """Make all content of what was only glanced at."""
        if not self.known.any():
            return
        old, starts = self.spill, self.spill.starts

        def full(number: int) -> pa.RecordBatch:
            start, batch = int(starts[number]), old.part(number)
            known = np.flatnonzero(self.known[start : start + batch.num_rows])
            if not len(known):
                return batch
            return self.work.again(self._source(number), batch, known)

        made = Spill()
        try:
            for rows in in_order(partial(full, number) for number in range(old.parts)):
                made.write(rows)
            made.finish()
        except BaseException:
            made.close()
            raise
        self.spill = made
        self.known[:] = False
        old.close()

    def kept(self, keep: Mask) -> Iterator[pa.RecordBatch]:
        """The rows that are kept, part by part, by their final ids, with all their content."""
        self.fill()
        yield from kept(self.spill, keep, self.renamed)

    def mark(self) -> None:
        """Mark the rows where none was known, and so nobody has asked for their marks yet."""
        if self.work.recognised is None or not self.work.recognised.is_empty or not self.work.told:
            return
        kept = self.remembered
        for number, start in enumerate(self.spill.starts):
            marks = recognition.marks(self._source(number, self.work.told), self.work.told)
            if marks is not None:
                kept.marks[start : start + len(marks)] = marks
                kept.news[number] = bool(self.plain[start : start + len(marks)].any())
            kept.marked[number] = marks is not None

    @property
    def is_news(self) -> bool:
        """Whether there are rows that will be known the next time and were not this time."""
        return any(self.remembered.news)

    def recognisable(self) -> Iterator[tuple[bytes, bytes]]:
        """Part by part, the marks of rows in which nothing was found, little-endian, and the hashes of what became of
        them; both as `Recognised.of` takes them."""
        for number, start in enumerate(self.spill.starts):
            if not self.remembered.marked[number]:
                continue
            digests = self.spill.part(number, [ROW_HASH]).column(0)
            rows = np.flatnonzero(self.plain[start : start + len(digests)])
            if len(rows):
                marks = self.remembered.marks[start + rows]
                yield marks.astype("<u8").tobytes(), b"".join(digests.take(pa.array(rows)).to_pylist())


def work_on(work: Work, count: int) -> Whole:
    """Work on all parts of `count` features, a few at once, and put what they give on disk in their order."""
    spill, remembered = Spill(), Remembered(count)
    start = 0

    def parts() -> Iterator[Callable[[], Made]]:
        nonlocal start
        for number in range(work.source.parts):
            table = work.source.part(number)
            first, start = start, start + table.num_rows
            if table.num_rows:
                yield partial(work.part, table, first)

    try:
        for made, rows in in_order(parts()):
            remembered.add(made)
            spill.write(rows)
        spill.finish()
    except BaseException:
        spill.close()
        raise
    assert start == count
    give_back()
    return Whole(work, spill, remembered)
