"""deliver(): read → conform → check → load → join → publish, the whole flow on one page.

Everything that a delivery changes, the derived layers included, is one transaction under one load_id: readers see the
old state or the new one. A delivery that the contract refuses leaves the old layer served and an entry in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from sdi.contract.delivery import Delivery, Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.contract.report import Report
from sdi.errors import StoreError, UsageError
from sdi.ingest import crs, raster, write, write_quality
from sdi.ingest.checks.between import TELLING
from sdi.ingest.control import Fit, fit_control_points
from sdi.ingest.deliver import Received, receive
from sdi.ingest.raster import ReceivedCoverage
from sdi.ingest.source import Limits
from sdi.pipeline import coverages
from sdi.pipeline.turn import Waiting, deed_of, turn
from sdi.report.words import number
from sdi.settings import Settings
from sdi.store import (
    between,
    derived,
    engine,
    export,
    first,
    former_codes,
    frame,
    ledger,
    loader,
    recognised,
    statistics,
    waiver,
    writers,
)
from sdi.store.engine import Connection
from sdi.store.first import Begun
from sdi.store.loader import Load
from sdi.store.standing import Standing

Progress = Callable[[int, int | None], None]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Outcome:
    """What became of a delivery. `load` is None when it was refused; `made` are the derived layers it changed."""

    layer: Layer
    delivery: Delivery
    report: Report
    load_id: int
    load: Load | None = None
    made: list[Load] = field(default_factory=list)

    def sentence(self, language: str) -> str:
        """What was done, in one line."""
        words = _WORDS[language]
        if self.load is None:
            return f"✗ {words['refused']} ({words['load']} {self.load_id})"
        told = {name: getattr(self.load, name) for name in _COUNTS}
        counts = ", ".join(f"{number(count, language)} {words[name]}" for name, count in told.items() if count)
        wrote = [(load.layer, load.inserted + load.updated + load.deleted) for load in self.made]
        joined = ", ".join(f"{name} {number(count, language)}" for name, count in wrote if count)
        return f"✓ {words['load']} {self.load_id}: {counts or words['nothing']}" + (f" → {joined}" if joined else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "load_id": self.load_id,
            "delivery": self.delivery.to_json(),
            "report": self.report.to_json(),
            "load": self.load.__dict__ if self.load else None,
            "derived": [load.__dict__ for load in self.made],
        }


_COUNTS = ("inserted", "updated", "deleted", "unchanged", "quarantined", "kept")
_WORDS = {
    "vi": {
        "load": "lần nạp", "inserted": "thêm mới", "updated": "thay đổi", "deleted": "kết thúc",
        "unchanged": "không đổi", "quarantined": "cách ly", "kept": "giữ bản cũ", "nothing": "không có gì thay đổi",
        "refused": "bị từ chối, lớp cũ vẫn được phục vụ",
    },
    "en": {
        "load": "load", "inserted": "new", "updated": "changed", "deleted": "ended", "unchanged": "unchanged",
        "quarantined": "in quarantine", "kept": "kept as they were", "nothing": "nothing changed",
        "refused": "refused, the old layer is still served",
    },
}  # fmt: skip


def deliver(
    connection: Connection,
    settings: Settings,
    registry: Registry,
    layer_id: str,
    request: Request,
    *,
    progress: Progress | None = None,
    wait: float = 0.0,
    waiting: Waiting | None = None,
) -> Outcome:
    """Take a steward's file through the whole way.

    `connection`: a loader's, in autocommit mode, on a migrated database. wait: seconds to wait, telling `waiting` who
    it is, while another load has the layer.
    Raises NotFound, UsageError, SourceError, NotAllowed, StoreError; bad data is in the outcome's report.
    """
    layer = registry[layer_id]
    deed = deed_of(layer, request)
    with (
        turn(connection, layer, request, deed, wait=wait, waiting=waiting),
        closing(_receive(connection, settings, registry, layer, request, progress)) as received,
    ):
        delivery = _as_said(received.delivery, request)
        if not _is_early(received) and received.report.refused:
            report = received.report
            return Outcome(layer, delivery, report, ledger.refuse(connection, layer, delivery, report))
        try:
            with (
                ledger.recorded(connection, layer, delivery) as load_id,
                engine.translated(),
                connection.transaction(),
            ):
                begun, made = _begin(connection, settings, registry, layer, received, load_id)
                load = _load(connection, settings, registry, layer, received, delivery, load_id, begun, _day(request))
                writers.examine(connection, layer, load.load_id, request.steward, deed)
                if begun is None or made is None or load.written < begun.filled.count:
                    measure(connection, settings, registry, load.load_id)
                    made = [*(made or []), *derived.refresh(connection, registry, load.load_id)]
        except ledger.Refused:
            report = received.report
            return Outcome(layer, delivery, report, ledger.refuse(connection, layer, delivery, report, load_id))
        return Outcome(layer, delivery, received.report, load.load_id, load, made)


def check(
    connection: Connection | None,
    settings: Settings,
    registry: Registry,
    layer_id: str,
    request: Request,
    *,
    progress: Progress | None = None,
) -> Received | ReceivedCoverage:
    """Hold a file against its contract and write nothing; the caller closes what comes back.

    Without a connection `request.area` cannot be looked up, and nothing is compared with the other layers.
    """
    layer = registry[layer_id]
    received = _receive(connection, settings, registry, layer, request, progress, keep=False)
    if isinstance(received, Received):
        received.delivery = _as_said(received.delivery, request)
    if connection is not None and isinstance(received, Received) and not received.report.refused:
        report, waivers = received.report, waiver.in_force(connection, layer)
        found = between.preview(
            connection, layer, registry, received.features, day=_day(request), waivers=waivers, naming=report.naming
        )
        report.findings.extend(found)
        held = len(between.quarantined(found))
        report.kept, report.quarantined = report.kept - held, report.quarantined + held
        with engine.translated(), connection.transaction(force_rollback=True):
            features = former_codes.understood(connection, layer, registry, received.features)
            ends = loader.foresee(connection, layer, features, received.quarantined(), received.delivery)
        for finding in ends:
            report.findings.insert(0, finding)
    return received


def _day(request: Request) -> date:
    """The date of the data."""
    return request.day or date.today()


def _receive(
    connection: Connection | None,
    settings: Settings,
    registry: Registry,
    layer: Layer,
    request: Request,
    progress: Progress | None,
    *,
    keep: bool = True,
) -> Received | ReceivedCoverage:
    if layer.derived is not None:
        inputs = ", ".join(source.layer for source in layer.derived.inputs)
        raise UsageError(f"'{layer.id}' is made from {inputs} and takes no files.",
                         hint="Load these; it follows.")  # fmt: skip
    extent = _extent(connection, settings, registry, layer, request)
    limits = Limits(timeout=settings.read_timeout, memory=settings.read_memory)
    if layer.coverage is None:
        waivers = waiver.in_force(connection, layer) if connection is not None else {}
        met = Standing(connection, layer, TELLING) if connection is not None else None
        return receive(
            request, layer, registry, grid=settings.grid, extent=extent, limits=limits, progress=progress,
            waivers=waivers, standing=met,
            early=keep and connection is not None and first.takes_early(connection, layer, registry),
        )  # fmt: skip
    with coverages.new_file(connection, settings, layer, keep) as out:
        return raster.receive(
            request, layer, grid=settings.grid, out=out, extent=extent, limits=limits, progress=progress
        )


def _extent(
    connection: Connection | None, settings: Settings, registry: Registry, layer: Layer, request: Request
) -> Box | None:
    """Where the data should lie: the named unit, else what the deployment says, else its administrative units."""
    frames = [other for other in registry if other.frame is not None]
    if request.area is not None:
        if connection is None:
            raise StoreError(
                "--area needs the administrative units in the store.", hint="Run 'sdi db up' and load them."
            )
        day = _day(request)
        found = [box for other in frames if (box := frame.extent_of(connection, other, request.area, day))]
        if not found:
            raise UsageError(f"No administrative unit has the code '{request.area}'.", hint="Load the units first.")
        return found[0]
    if settings.extent is not None:
        return settings.extent
    if connection is None or layer.frame is not None:
        return None
    known = ledger.publications(connection)
    return next((known[other.id].extent for other in frames if other.id in known), None)


# --- writing --------------------------------------------------------------------------------------------------------


def _is_early(received: Received | ReceivedCoverage) -> bool:
    return isinstance(received, Received) and received.early is not None


def _as_said(delivery: Delivery, request: Request) -> Delivery:
    """A delivery as it was read, with how the steward wants it loaded."""
    ended = tuple(dict.fromkeys([*delivery.ended, *request.ended]))
    return replace(delivery, mode=request.mode, ended=ended, allow_shrink=request.allow_shrink)


def _begin(
    connection: Connection, settings: Settings, registry: Registry, layer: Layer,
    received: Received | ReceivedCoverage, load_id: int,
) -> tuple[Begun | None, list[Load] | None]:  # fmt: skip
    """Write a first load, and what is derived of it, while its features are held against each other; the second stands
    only where none of them is put into quarantine for that."""
    if not isinstance(received, Received) or received.early is None:
        return None, None
    # Not before they are sent: that takes twice as long beside threads of the same interpreter.
    early = received.early
    begun = loader.fill_ahead(connection, layer, early, early.count, load_id, received.begin)
    with first.on_trial(connection) as trial:
        measure(connection, settings, registry, begun.load_id)
        made = derived.refresh(connection, registry, begun.load_id)
        judged = received.settle()
        if judged.report.refused:
            raise ledger.Refused
        trial.failed = judged.features.count < begun.filled.count
    return begun, None if trial.failed else made


def _load(
    connection: Connection,
    settings: Settings,
    registry: Registry,
    layer: Layer,
    received: Received | ReceivedCoverage,
    delivery: Delivery,
    load_id: int,
    begun: Begun | None,
    day: date,
) -> Load:
    if isinstance(received, Received):
        features = former_codes.understood(connection, layer, registry, received.features)
        load = loader.load(
            connection, layer, registry, features, received.quarantined(), delivery,
            received.report, load_id=load_id, day=day, begun=begun,
        )  # fmt: skip
        rows = received.recognisable() if delivery.checks is not None else None
        if rows is not None and received.context is not None:
            until = max(day, date.today())
            recognised.write(connection, layer, load.load_id, received.context, until, delivery.scope, rows)
        return load
    if received.cog is None or received.extent_wgs84 is None:
        raise UsageError(f"{received.delivery.file_name} lies nowhere on the Earth.")
    facts = received.facts | {"file": received.cog.relative_to(settings.data).as_posix()}
    return loader.enter_coverage(
        connection, layer, delivery, received.report,
        extent=received.extent_wgs84, facts=facts, load_id=load_id,
    )  # fmt: skip


def measure(connection: Connection, settings: Settings, registry: Registry, load_id: int) -> None:
    """Give features their figures from the coverages where this load made them stale."""
    stale = statistics.due(connection, registry)
    if not stale:
        return
    from sdi.ingest.zonal import zonal  # loads GDAL, which few deliveries ask for

    known = ledger.publications(connection)
    for due in stale:
        publication = known[due.coverage.id]
        shapes = statistics.geometries(connection, due.layer, due.ids)
        assert due.coverage.coverage is not None
        bands = [band.name for band in due.coverage.coverage.bands]
        figures = zonal(settings.data / publication.facts["file"], publication.grids[0], shapes, due.operations, bands)
        statistics.write(connection, due.coverage, due.layer, figures, whole=due.ids is None, load_id=load_id)


# --- reading --------------------------------------------------------------------------------------------------------


@contextmanager
def reading(settings: Settings, *, needed: bool = False) -> Iterator[Connection | None]:
    """A loader's connection that starts no server; None where the store is away or not set up and is not `needed`."""
    connection = None
    try:
        url = engine.database_url(settings, start=needed)
        connection = engine.connect(url, engine.LOADER)
        with engine.translated():
            ledger.version(connection)
    except StoreError:
        if needed:
            raise
        connection = None
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def fit(settings: Settings, path: Path, grid: int | None) -> Fit:
    """Which operation the control points of a file fit."""
    limits = Limits(timeout=settings.read_timeout, memory=settings.read_memory)
    return fit_control_points(Request(path, grid=grid), limits)


def write_findings(path: Path, report: Report) -> None:
    """Write a report's findings as points for QGIS."""
    write_quality.write_findings(path, report.findings)


def write_layer(
    connection: Connection, settings: Settings, layer: Layer, path: Path, target: str | None, attributes: list[str]
) -> int:
    """Write a layer's attributes and shapes to a file; `target`: `EPSG:…`, None: the layer's own grid.

    Returns the count.
    """
    if layer.coverage is not None:
        raise UsageError(f"'{layer.id}' is a coverage.", hint="Copy its GeoTIFF, or ask the service for /coverage.")
    srid = 4326 if path.suffix.lower() == ".geojson" else crs.parse(target) if target else None
    reader, grid = export.read_features(connection, layer, attributes, srid)
    table = reader.read_all()
    assert layer.geometry is not None
    write.write_features(path, layer.id, table, grid, layer.geometry.type)
    return int(table.num_rows)
