"""A delivery from file to features: the whole flow of reading, conforming and checking on one page.

The file is gone through twice, in parts of some ten thousand features: once to decide how it is read, once to read it.
In memory there are a few parts at a time, and of each feature its box, its place and a hash of its id.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial, reduce
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdi.contract.delivery import Delivery, Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.contract.report import Report
from sdi.errors import UsageError
from sdi.ingest import chunk, geometry, place
from sdi.ingest.cast import to_text
from sdi.ingest.checks import between, unique
from sdi.ingest.chunk import Chunk, split
from sdi.ingest.conform import delivered, distinguish, suspects
from sdi.ingest.findings import Findings, Marked, Mask, Rows
from sdi.ingest.reading import Reading, join, survey
from sdi.ingest.source import PART, Facts, Limits, Progress, Source, read
from sdi.ingest.spill import Spill, Spilled, kept, names
from sdi.ingest.standing import ROW_HASH, Standing, around, known

THREADS = min(4, os.cpu_count() or 1)
"""Parts that are worked on at once."""
Made = tuple[Chunk, pa.RecordBatch]
Task = Callable[[], Made]
Digest = Callable[[pa.RecordBatch], pa.Array]
Waivers = Mapping[tuple[str, str], str]
"""(rule, feature id) -> why a steward lets it pass."""


class Received:
    """A delivery that was held against its contract; its rows are read as often as wanted until it is closed."""

    def __init__(
        self, delivery: Delivery, report: Report, source: Source, whole: _Whole, held: Mask, keep: Mask
    ) -> None:
        self.delivery = delivery
        self.report = report
        self._source, self._whole = source, whole
        self._held, self._keep = held, keep

    def features(self) -> pa.RecordBatchReader:
        """id, the stored attributes, geom (EWKB in its grid), geom_wgs84 (EWKB 4326), source_row (from 1), and row_hash
        where the layer's store was there to make it."""
        spill = self._whole.spill
        return pa.RecordBatchReader.from_batches(spill.schema, kept(spill, self._keep, self._whole.renamed))

    def quarantined(self) -> pa.RecordBatchReader:
        """source_row, id or null, findings (JSON list), attributes (JSON, as delivered), geom, geom_wgs84."""
        return pa.RecordBatchReader.from_batches(QUARANTINED, self._quarantined())

    def _quarantined(self) -> Iterator[pa.RecordBatch]:
        """Read once more from the file's rows, which are still there, as they were delivered."""
        reading, found = self._whole.reading, self.report.findings
        assert isinstance(found, Marked)
        rows = np.flatnonzero(self._held)
        for number, inside, positions in split(rows, self._whole.spill.starts):
            table = self._source.part(number).take(pa.array(inside))
            chosen = rows[positions]
            shapes = chunk.before(table, reading)
            decoded = reading.decode(table, Findings(reading.layer, 0))
            raw = delivered(decoded, reading.layer, reading.request, reading.matched)
            texts = {name: to_text(column).to_pylist() for name, column in raw.items()}
            yield pa.record_batch([
                pa.array(chosen + 1, pa.int32()),
                pa.array(self._whole.names(chosen), pa.string()),
                pa.array([_json([f.to_json() for f in found.of_row(int(row))]) for row in chosen], pa.string()),
                pa.array([_json({n: v[i] for n, v in texts.items()}) for i in range(len(chosen))], pa.string()),
                geometry.ewkb(shapes, reading.where.grid),
                geometry.ewkb(geometry.lonlat(shapes, reading.where), 4326),
            ], schema=QUARANTINED)  # fmt: skip

    def close(self) -> None:
        """Give back what it holds on disk."""
        self._source.close()
        self._whole.spill.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


QUARANTINED = pa.schema({
    "source_row": pa.int32(), "id": pa.string(), "findings": pa.string(), "attributes": pa.string(),
    "geom": pa.binary(), "geom_wgs84": pa.binary(),
})  # fmt: skip


def receive(
    request: Request,
    layer: Layer,
    registry: Registry,
    *,
    grid: int,
    extent: place.Box | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
    waivers: Waivers | None = None,
    standing: Standing | None = None,
    part: int = PART,
) -> Received:
    """Read a file and hold it against its contract. Nothing is written but working files.

    grid: EPSG code in which features of a WGS 84 file are kept. extent: where the deployment expects its data, west,
    south, east, north in degrees; None: the grid's area of use. waivers: what is let pass. standing: the layer as its
    store has it; None: the delivery is looked at by itself. part: features that are worked on at once. Raises
    UsageError, SourceError, StoreError (no room on disk); bad data is reported.
    """
    if layer.kind != "features" or layer.geometry is None:
        raise UsageError(f"Layer '{layer.id}' is of kind '{layer.kind}'; it takes no features.")
    source = read(request, limits, progress, part)
    said = Findings(layer, 0)
    _judge_file(source.facts, said)
    reading, count = survey(source, request, layer, grid, extent, said)
    _judge_columns(reading, said)
    whole = _work(source, reading, registry, count, standing.digest if standing is not None else None)
    repeated = whole.find_repeated(source)
    findings = Findings(layer, count)
    findings.waived = _waived(waivers or {}, whole)
    findings.merge(said, 0)
    for made in whole.chunks:
        findings.merge(made.found, made.start, without=whole.ended)
    findings.merge(repeated, 0)
    ended = whole.name_ended(findings)
    findings.settle()
    believed = whole.bounds is None or place.check_extent(whole.places, reading.where, extent, whole.bounds, findings)
    checked = _Checks()
    if believed:  # what is measured in a wrong grid says nothing
        checked = _check_whole(whole, findings, standing)
    marked = findings.finish(whole.names, lambda rows: whole.places[rows])
    return _received(source, reading, whole, findings, marked, ended, checked)


def _judge_file(facts: Facts, findings: Findings) -> None:
    if facts.truncated is not None:
        findings.add("file.truncated", value=facts.truncated[0], limit=facts.truncated[1])
    if facts.curves:
        findings.add("geometry.linearised", value=facts.curves)


def _judge_columns(reading: Reading, findings: Findings) -> None:
    for column in reading.matched.unknown:
        findings.add("file.column_unknown", attribute=column)
    for column in reading.matched.personal:
        findings.add("file.personal_dropped", attribute=column)


@dataclass(frozen=True)
class _Checks:
    """How features were held against each other; see Delivery."""

    edition: str | None = None
    scope: tuple[str, ...] = ()
    since: int | None = None


def _check_whole(whole: _Whole, findings: Findings, standing: Standing | None) -> _Checks:
    """What was measured feature by feature, and what holds between features."""
    stray = findings.marked("place.outside") | whole.ended
    for made in whole.chunks:
        findings.merge(made.measured, made.start, without=stray)
    findings.settle()
    unique.check_unique(whole.reading.layer, whole.spill.column, findings)
    usable = ~np.isnan(whole.boxes[:, 0]) & ~findings.quarantined
    layer, where, request = whole.reading.layer, whole.reading.where, whole.reading.request
    spilled = Spilled(layer, whole.spill, whole.boxes, usable, whole.renamed)
    mode, scope, reach = request.mode or layer.load.mode, whole.scope(usable), between.reach_of(layer)
    edition = between.edition() if mode == "full" else None
    if standing is None or reach is None:
        between.check_between(spilled, where, findings)
        return _Checks(edition if standing is not None else None, scope)
    ids = whole.ids
    beside = around(standing, spilled, ids, where, mode, scope, reach)
    anew = None
    if edition is not None and not request.check_all:
        anew = known(standing, spilled, ids, where, edition, scope)
    between.check_between(spilled, where, findings, anew=anew, around=beside)
    return _Checks(edition, scope, anew.load_id if anew is not None else None)


def _received(
    source: Source, reading: Reading, whole: _Whole, findings: Findings, found: Marked, ended: tuple[str, ...],
    checked: _Checks,
) -> Received:  # fmt: skip
    held = findings.quarantined & ~whole.dropped
    keep = ~held & ~whole.dropped
    report = Report(
        layer=reading.layer.id, contract_version=reading.layer.version, read=len(keep), kept=int(keep.sum()),
        quarantined=int(held.sum()), dropped=int(whole.dropped.sum()), findings=found,
    )  # fmt: skip
    if report.read != report.kept + report.quarantined + report.dropped:
        raise AssertionError("a feature is neither kept nor quarantined nor dropped")
    delivery = replace(
        _delivery(source.facts, reading, report.read), ended=ended,
        checks=checked.edition, scope=checked.scope, checked_since=checked.since,
    )  # fmt: skip
    return Received(delivery, report, source, whole, held, keep)


def _delivery(facts: Facts, reading: Reading, count: int) -> Delivery:
    where, request = reading.where, reading.request
    return Delivery(
        file_name=facts.file_name, sha256=facts.sha256, size=facts.size, driver=facts.driver, layer_in_file=facts.layer,
        feature_count=count, encoding=reading.encodings.label, crs_declared=where.declared,
        crs_used=f"EPSG:{where.used}", grid=where.grid, operation=where.operation, steward=request.steward,
    )  # fmt: skip


# --- all parts ----------------------------------------------------------------------------------------------------


@dataclass
class _Whole:
    """A delivery that was worked through: its features on disk, and what is kept of each in memory."""

    reading: Reading
    spill: Spill
    chunks: list[Chunk]
    renamed: Mapping[int, str]

    def __post_init__(self) -> None:
        self.boxes = np.concatenate([made.boxes for made in self.chunks])
        self.places = np.concatenate([made.places for made in self.chunks])
        self.hashes = np.concatenate([made.ids for made in self.chunks])
        self.identified = np.concatenate([made.identified for made in self.chunks])
        self.dropped = np.concatenate([made.dropped for made in self.chunks])
        self.ended = np.concatenate([made.ended for made in self.chunks])
        self.bounds = reduce(join, (made.bounds for made in self.chunks), None)

    def names(self, rows: Rows) -> list[str | None]:
        return names(self.spill, self.renamed, rows)

    @property
    def ids(self) -> pa.Array:
        """Of all rows, as they are stored."""
        found = self.spill.column("id")
        if not self.renamed:
            return found
        rows = sorted(self.renamed)
        mask = np.zeros(len(found), dtype=bool)
        mask[rows] = True
        return pc.replace_with_mask(found, pa.array(mask), pa.array([self.renamed[row] for row in rows], found.type))

    def scope(self, usable: Mask) -> tuple[str, ...]:
        """The values of the layer's scope that a full delivery tells all of."""
        attribute = self.reading.layer.load.scope
        if attribute is None:
            return ()
        values = pc.unique(to_text(self.spill.column(attribute).filter(pa.array(usable))))
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

    def find_repeated(self, source: Source) -> Findings:
        """Find ids that stand more than once: of rows with equal hashes, the ids themselves and all else decide."""
        layer = self.reading.layer
        findings = Findings(layer, len(self.hashes))
        rows = suspects(self.hashes, self.identified)
        if layer.identifier is None or not len(rows):
            return findings
        ids = [str(name) for name in self.names(rows)]
        found: list[bytes] = [b""] * len(rows)
        for number, inside, positions in split(rows, self.spill.starts):
            chosen = pa.array(inside)
            columns = [self.spill.part(number)[attribute.name].take(chosen) for attribute in layer.stored]
            made = chunk.content(source.part(number).take(chosen), columns, self.reading)
            for position, digest in zip(positions, made, strict=True):
                found[position] = digest
        self.renamed = distinguish(layer, rows, ids, found, findings)
        return findings


def _work(source: Source, reading: Reading, registry: Registry, count: int, digest: Digest | None) -> _Whole:
    """Work on all parts, a few at once, and put what they give on disk in their order."""
    spill, chunks = Spill(), list[Chunk]()
    day = reading.request.day or date.today()
    start = 0

    def work(table: pa.Table, first: int) -> Made:
        made, rows = chunk.work(table, first, reading, registry, day)
        return made, rows if digest is None else rows.append_column(ROW_HASH, digest(rows))

    def parts() -> Iterator[Task]:
        nonlocal start
        for number in range(source.parts):
            table = source.part(number)
            first, start = start, start + table.num_rows
            if table.num_rows:
                yield partial(work, table, first)

    try:
        for made, rows in _in_order(parts()):
            chunks.append(made)
            spill.write(rows)
        spill.finish()
    except BaseException:
        spill.close()
        raise
    assert start == count
    return _Whole(reading, spill, chunks, {})


def _in_order(tasks: Iterable[Task]) -> Iterator[Made]:
    """Run tasks in threads and yield what they give in their order; no more are begun than can be held."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _waived(waivers: Waivers, whole: _Whole) -> dict[str, dict[int, str]]:
    """Rule -> row -> reason, for the features that the waivers name."""
    wanted: dict[str, list[int]] = {}
    rows = _rows_of({name for _, name in waivers}, whole)
    for row, name in zip(rows, whole.names(rows), strict=True):
        wanted.setdefault(str(name), []).append(int(row))
    found: dict[str, dict[int, str]] = {}
    for (rule, name), reason in waivers.items():
        found.setdefault(rule, {}).update(dict.fromkeys(wanted.get(name, ()), reason))
    return found


def _rows_of(ids: set[str], whole: _Whole) -> NDArray[np.intp]:
    hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
    rows = np.flatnonzero(np.isin(whole.hashes, hashes) & whole.identified)
    renamed = [row for row, name in whole.renamed.items() if name in ids]
    return np.union1d(rows, np.array(renamed, dtype=np.intp))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
