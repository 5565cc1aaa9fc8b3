"""A delivery from file to features: the whole flow of reading, conforming and checking on one page.

The file is gone through twice, in parts of some ten thousand features: once to decide how it is read, once to read it.
In memory there are a few parts at a time; of each feature its box, its place and a hash of its id are in files
(`remembered`), and what compares all features goes over these a block, a bucket of hashes or a tile at a time.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdi.contract.delivery import Delivery, Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.contract.report import Report
from sdi.errors import UsageError
from sdi.ingest import chunk, geometry, place, recognition
from sdi.ingest.cast import to_text
from sdi.ingest.checks import between, unique
from sdi.ingest.chunk import split
from sdi.ingest.conform import delivered
from sdi.ingest.findings import Findings, Marked, Mask
from sdi.ingest.reading import Reading, survey
from sdi.ingest.recognition import Recognised
from sdi.ingest.source import PART, Facts, Limits, Progress, Source, read
from sdi.ingest.standing import Standing, around, known
from sdi.ingest.views import Features, Spilled
from sdi.ingest.whole import Whole, Work, work_on

BEHIND = 3
"""Steps of niceness: two such threads have half of what another process has, so that on two cores the database keeps
one, and on a busy machine they are not starved."""
Waivers = Mapping[tuple[str, str], str]
"""(rule, feature id) -> why a steward lets it pass."""


@dataclass(frozen=True)
class Judged:
    """What became of the rows. `held`: in quarantine."""

    report: Report
    held: Mask
    features: Features


class Received:
    """A delivery that is held against its contract; its rows are read as often as wanted until it is closed."""

    def __init__(
        self, delivery: Delivery, source: Source, whole: Whole, context: str | None, judge: Callable[[], Judged],
        early: Features | None = None,
    ) -> None:  # fmt: skip
        self.delivery = delivery
        self._source, self._whole = source, whole
        self.context = context
        """How the rows were read, see `recognition.context`; None: no row is to be known again."""
        self.early = early
        """Those that are good as far as each was looked at by itself; None: they were held against each other before
        this was given out."""
        self._judge = judge
        self._worker = ThreadPoolExecutor(max_workers=1, initializer=_give_way) if early is not None else None
        self._judging: Future[Judged] | None = None
        self._judged = judge() if early is None else None

    def begin(self) -> None:
        """Hold the rows against each other in a thread of its own, where they are not yet."""
        if self._worker is not None and self._judging is None:
            self._judging = self._worker.submit(self._judge)

    def settle(self) -> Judged:
        """What became of the rows, once they were held against each other."""
        if self._judged is None:
            self.begin()
            assert self._judging is not None
            self._judged = self._judging.result()
        return self._judged

    @property
    def report(self) -> Report:
        return self.settle().report

    @property
    def features(self) -> Features:
        """The rows that are good, read by calling it."""
        return self.settle().features

    def quarantined(self) -> pa.RecordBatchReader:
        """source_row, id or null, findings (JSON list), attributes (JSON, as delivered), geom, geom_wgs84."""
        return pa.RecordBatchReader.from_batches(QUARANTINED, self._quarantined())

    def _quarantined(self) -> Iterator[pa.RecordBatch]:
        """Read once more from the file's rows, which are still there, as they were delivered."""
        reading, found = self._whole.reading, self.report.findings
        assert isinstance(found, Marked)
        rows = np.flatnonzero(self.settle().held)
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

    @property
    def recognised(self) -> int:
        """Rows that were not conformed, for they stand in the file as they did before."""
        return self._whole.recognised

    def recognisable(self) -> Iterator[tuple[bytes, bytes]] | None:
        """What a later delivery knows rows by, see `Whole.recognisable`; None: nothing that is not known already."""
        return self._whole.recognisable() if self.context is not None and self._whole.is_news else None

    def close(self) -> None:
        """Give back what it holds on disk, once nobody looks at it any more."""
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)
        self._source.close()
        self._whole.spill.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _give_way() -> None:
    """Have this thread and those that it starts run behind the database, which writes meanwhile: that takes longer, and
    what is in it is waited for."""
    with suppress(OSError):  # a system on which a thread has no priority of its own
        here = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, here + BEHIND))


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
    early: bool = False,
) -> Received:
    """Read a file and hold it against its contract. Nothing is written but working files.

    grid: EPSG code in which features of a WGS 84 file are kept. extent: where the deployment expects its data, west,
    south, east, north in degrees; None: the grid's area of use. waivers: what is let pass. standing: the layer as its
    store has it; None: the delivery is looked at by itself. part: features that are worked on at once. early:
    nothing was ever loaded into the layer; then this may come back with `early` features, while they are still held
    against each other. Raises UsageError, SourceError, StoreError (no room on disk); bad data is reported.
    """
    if layer.kind != "features" or layer.geometry is None:
        raise UsageError(f"Layer '{layer.id}' is of kind '{layer.kind}'; it takes no features.")
    source = read(request, limits, progress, part)
    said = Findings(layer, 0)
    _judge_file(source.facts, said)
    reading, count = survey(source, request, layer, grid, extent, said)
    _judge_columns(reading, said)
    day = request.day or date.today()
    context = _context(source, reading, registry, day, extent, standing)
    digest = standing.digest if standing is not None else None
    recognised = _recognised(standing, context, request, day)
    whole = work_on(Work(source, reading, registry, day, digest, recognised), count)
    repeated = whole.find_repeated()
    findings = Findings(layer, count)
    findings.waived = _waived(waivers or {}, whole)
    findings.merge(said, 0)
    _take_over(whole.remembered.found, findings, whole.ended)
    findings.merge(repeated, 0)
    ended = whole.name_ended(findings)
    findings.settle()
    believed = whole.bounds is None or place.check_extent(
        whole.lonlat, reading.where, extent, whole.bounds, findings, inside=whole.inside
    )
    whole.plain &= ~findings.marked("place.outside")
    checked, compare = _Checks(), None
    if believed:  # what is measured in a wrong grid says nothing
        checked, compare = _check_whole(whole, findings, standing, early, (*ended, *request.ended))
    good = None
    if early and compare is not None and not findings.refused:
        whole.fill()  # while nobody reads it
        good = Features(whole, ~findings.quarantined & ~whole.dropped)
    judge = partial(_judge, whole, findings, compare)
    delivery = _delivery(source, reading, count, ended, checked)
    return Received(delivery, source, whole, context, judge, good if good is not None and good.count else None)


def _context(
    source: Source, reading: Reading, registry: Registry, day: date, extent: place.Box | None, standing: Standing | None
) -> str | None:
    """How the delivery is read, where its rows can be known again: by a store, and by an id of their own."""
    if standing is None or reading.layer.identifier is None:
        return None
    return recognition.context(source, reading, registry, day, extent)


def _recognised(standing: Standing | None, context: str | None, request: Request, day: date) -> Recognised | None:
    """The rows that need not be conformed; None where none is to be known again."""
    if standing is None or context is None:
        return None
    met = None if request.check_all else standing.recognised(context, max(day, date.today()))
    return Recognised.of(*(met or (0, ())))


def _judge_file(facts: Facts, findings: Findings) -> None:
    if facts.truncated is not None:
        findings.add("file.truncated", value=facts.truncated[0], limit=facts.truncated[1])
    if facts.curves:
        findings.add("geometry.linearised", value=facts.curves)
    for kind in facts.unread:
        findings.add("file.unread", value=kind.count, other=kind.type, limit=", ".join(kind.where) or "–")
    for odd in facts.odd:
        rows = None if odd.row is None else [odd.row]
        limit = odd.last if odd.rule == "file.rows_merged" else len(facts.fields)
        findings.add(odd.rule, rows, value=odd.first, other=odd.fields, limit=limit)


def _take_over(parts: list[tuple[int, Findings]], findings: Findings, without: Mask) -> None:
    """What was found in the parts, but in these rows; the parts need not be kept for it any more."""
    for start, found in parts:
        findings.merge(found, start, without=without)
    parts.clear()


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


def _check_whole(
    whole: Whole, findings: Findings, standing: Standing | None, early: bool, ended: Sequence[str]
) -> tuple[_Checks, Callable[[], None] | None]:
    """What was measured feature by feature; and how features are then held against each other."""
    stray = findings.marked("place.outside") | whole.ended
    _take_over(whole.remembered.measured, findings, stray)
    findings.settle()
    unique.check_unique(whole.reading.layer, whole, findings)
    usable = ~np.isnan(whole.boxes[:, 0]) & ~findings.quarantined
    layer, where, request = whole.reading.layer, whole.reading.where, whole.reading.request
    spilled = Spilled(whole, usable)
    mode, scope, reach = request.mode or layer.load.mode, whole.scope(usable), between.reach_of(layer)
    edition = between.edition() if mode == "full" else None
    if standing is None or reach is None or early:
        checks = _Checks(edition if standing is not None else None, scope)
        return checks, partial(between.check_between, spilled, where, findings)
    beside = around(standing, spilled, where, mode, scope, reach, ended)
    anew = None
    if edition is not None and not request.check_all:
        anew = known(standing, spilled, where, edition, scope)
    checks = _Checks(edition, scope, anew.load_id if anew is not None else None)
    return checks, partial(between.check_between, spilled, where, findings, anew=anew, around=beside)


def _judge(whole: Whole, findings: Findings, compare: Callable[[], None] | None) -> Judged:
    """Hold features against each other, and say what was found in all."""
    if compare is not None:
        compare()
    whole.mark()
    naming = whole.reading.naming
    found = findings.finish(whole.names, whole.places, naming)
    held = findings.quarantined & ~whole.dropped
    keep = ~held & ~whole.dropped
    layer = whole.reading.layer
    report = Report(
        layer=layer.id, contract_version=layer.version, read=len(keep), kept=int(keep.sum()),
        quarantined=int(held.sum()), dropped=int(whole.dropped.sum()), findings=found,
        naming=naming,
    )  # fmt: skip
    if report.read != report.kept + report.quarantined + report.dropped:
        raise AssertionError("a feature is neither kept nor quarantined nor dropped")
    return Judged(report, held, Features(whole, keep))


def _delivery(source: Source, reading: Reading, count: int, ended: tuple[str, ...], checked: _Checks) -> Delivery:
    facts, where, request = source.facts, reading.where, reading.request
    return Delivery(
        file_name=facts.file_name, sha256=facts.sha256, size=facts.size, driver=facts.driver, layer_in_file=facts.layer,
        feature_count=count, encoding=reading.encodings.label, crs_declared=where.declared,
        crs_used=f"EPSG:{where.used}", grid=where.grid, operation=where.operation, steward=request.steward,
        ended=ended, checks=checked.edition, scope=checked.scope, checked_since=checked.since,
    )  # fmt: skip


def _waived(waivers: Waivers, whole: Whole) -> dict[str, dict[int, str]]:
    """Rule -> row -> reason, for the features that the waivers name."""
    wanted: dict[str, list[int]] = {}
    rows = _rows_of({name for _, name in waivers}, whole)
    for row, name in zip(rows, whole.names(rows), strict=True):
        wanted.setdefault(str(name), []).append(int(row))
    found: dict[str, dict[int, str]] = {}
    for (rule, name), reason in waivers.items():
        found.setdefault(rule, {}).update(dict.fromkeys(wanted.get(name, ()), reason))
    return found


def _rows_of(ids: set[str], whole: Whole) -> NDArray[np.intp]:
    hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
    rows = np.flatnonzero(np.isin(whole.hashes, hashes) & whole.identified)
    renamed = [row for row, name in whole.renamed.items() if name in ids]
    return np.union1d(rows, np.array(renamed, dtype=np.intp))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
