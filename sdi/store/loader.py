"""A received delivery into its layer's table, inside the caller's transaction.

An empty layer is filled by binary COPY straight from Arrow. One that holds rows is sent ids and hashes first, and of
the features themselves only those that are new or differ. Readers see the old layer until the caller commits; whatever
fails before leaves the old layer and nothing else, for all that lies beside the layer is temporary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from psycopg import sql
from psycopg.pq import TransactionStatus

from sdi.contract.delivery import Delivery
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.contract.report import Finding, Report
from sdi.errors import UsageError
from sdi.store import (
    between,
    delta,
    ending,
    engine,
    findings,
    first,
    genealogy,
    hold,
    ledger,
    quarantine,
    rings,
    sending,
    succession,
    tables,
    waiver,
)
from sdi.store.arrived import HASH, Arrived, Reader
from sdi.store.delta import NEXT
from sdi.store.engine import Connection
from sdi.store.extents import Filled
from sdi.store.first import Begun
from sdi.store.ledger import Counts

_HELD = pa.schema({
    "load_id": pa.int64(), "source_row": pa.int64(), "layer": pa.string(), "id": pa.string(),
    "findings": pa.string(), "attributes": pa.string(), "geom": pa.binary(), "geom_wgs84": pa.binary(),
})  # fmt: skip
"""What is copied into `sdi.quarantine`."""
_HELD_IDS = sql.Identifier("sdi_held")
"""Temporary: the ids of the delivery's features that go to quarantine."""
_POSITION = "sdi_position"
"""Column of NEXT: the place of a row in the delivery, from 0."""
_WORTH_ANALYSING = 0.05
"""Share of a table whose change makes the planner's statistics stale."""
_FIRST_LOOK = 30
"""Statistics target of a first load: 9,000 rows looked at, in a sixth of the time that 30,000 take. PostgreSQL's
autovacuum looks at such a table again, with its usual 100, soon after the commit."""


@dataclass(frozen=True)
class Load:
    """What was written."""

    load_id: int
    layer: str
    inserted: int
    updated: int
    deleted: int
    unchanged: int
    kept: int
    """Features whose new state is in quarantine and whose old one stays."""
    quarantined: int
    seconds: float

    @classmethod
    def of(cls, load_id: int, layer: Layer, counts: Counts, *, quarantined: int = 0, seconds: float) -> Load:
        return cls(load_id, layer.id, **asdict(counts), quarantined=quarantined, seconds=seconds)

    @property
    def written(self) -> int:
        return self.inserted + self.updated + self.deleted


def load(
    connection: Connection,
    layer: Layer,
    registry: Registry,
    features: pa.Table | Reader,
    quarantined: pa.Table | pa.RecordBatchReader | None,
    delivery: Delivery,
    report: Report,
    *,
    load_id: int | None = None,
    day: date | None = None,
    begun: Begun | None = None,
) -> Load:
    """Load what `ingest` received: good features as a delta, the others into quarantine, findings beside them.

    features: `id`, one column per stored attribute, `geom` and `geom_wgs84` as EWKB (x = east or longitude),
    `source_row`. load_id: of an entry that runs already (`ledger.recorded`); None: one is made, and stands only if the
    caller commits. day: the date of the data, on which features of other layers must be in force; None: today. begun:
    what `fill_ahead` gave in this transaction. What is found against other layers is added to the report.

    Leaves the temporary table `sdi_changed` to `derived.refresh`. Raises StoreError when another load holds the layer,
    UsageError when a full delivery without any good feature would end the whole layer, and ledger.Refused when what the
    store knows refuses it: then the report says why, and the caller rolls back and enters it by `ledger.refuse`.
    """
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise RuntimeError("load() runs inside the caller's transaction")
    if report.refused:
        raise RuntimeError("a refused delivery is entered by ledger.refuse(), not loaded")
    start = perf_counter()
    with engine.translated():
        load_id = begun.load_id if begun is not None else load_id
        load_id = begin(connection, layer, ledger.start(connection, layer, delivery) if load_id is None else load_id)
        connection.execute("CREATE TEMPORARY TABLE sdi_held (id text) ON COMMIT DROP")
        if quarantined is not None:
            _quarantine(connection, layer, load_id, quarantined)
        reader = features.to_reader if isinstance(features, pa.Table) else features
        reader = _compare(connection, layer, registry, load_id, reader, report, day or date.today())
        arrived = Arrived(layer, reader, load_id)
        counts, delivered, filled = _write(connection, arrived, delivery, report, begun)
        findings.write(connection, load_id, report)
        quarantine.settle(connection, layer, load_id, delivered=delivered, mode=delivery.mode)
        connection.execute("DROP TABLE IF EXISTS sdi_next, sdi_delta, sdi_staged; DROP TABLE sdi_held")
        genealogy.record(connection, layer, load_id)
        settle(connection, layer, registry, load_id, counts, report, begun=begun, filled=filled)
    return Load.of(load_id, layer, counts, quarantined=report.quarantined, seconds=perf_counter() - start)


def fill_ahead(
    connection: Connection, layer: Layer, features: Reader, expected: int, load_id: int, sent: Callable[[], None]
) -> Begun:
    """Write the features of a delivery before it is known whether all of them are good, into a layer for which
    `first.takes_early` holds, and publish them so that layers may be derived of it; `load` goes on from there, in the
    same transaction.

    expected: about how many they are, one at least. load_id: of an entry that runs (`ledger.recorded`). sent: called as
    soon as the database has them all.
    """
    with engine.translated():
        load_id = begin(connection, layer, load_id)
        begun = Begun(load_id, first.fill(connection, Arrived(layer, features, load_id), expected, sent))
        delta.note_all(connection, layer, load_id)
        succession.renew(connection, layer)
        analyse(connection, layer, begun.filled.count)
        ledger.renew(connection, layer, load_id, changed=True, filled=begun.filled)
    return begun


def foresee(
    connection: Connection, layer: Layer, features: Reader, quarantined: pa.RecordBatchReader, delivery: Delivery
) -> list[Finding]:
    """What `load` would find of what a delivery ends, of features that are only checked; in a transaction that the
    caller takes back."""
    if ending.mode_of(layer, delivery) == "partial" and not delivery.ended:
        return []
    if not ledger.count(connection, layer):
        return []
    delta.prepare(connection)
    connection.execute("CREATE TEMPORARY TABLE sdi_held (id text) ON COMMIT DROP")
    told = pa.schema({"id": pa.string()})
    held = (pa.record_batch([pc.cast(rows["id"], pa.string())], schema=told) for rows in quarantined if rows.num_rows)
    sending.copy_arrow(connection, _HELD_IDS, told, held)
    delivered = _send_heads(connection, Arrived(layer, features, 0))
    ending.name(connection, delivery)
    gone = ending.gone(connection, layer, ending.mode_of(layer, delivery))
    return ending.examine(connection, layer, delivery, delta.compare(connection, layer, delivered, gone=gone))


def begin(connection: Connection, layer: Layer, load_id: int) -> int:
    """Take a layer to the transaction's end and make ready to write it; return the load_id, in whose place it may take
    a later one. Raises StoreError when another load holds the layer."""
    hold.require(connection, layer.id)
    load_id = ledger.in_order(connection, layer, load_id)
    ledger.end_abandoned(connection, layer.id, load_id)
    delta.prepare(connection)
    return load_id


def settle(
    connection: Connection, layer: Layer, registry: Registry, load_id: int, counts: Counts,
    report: Report | None = None, *, begun: Begun | None = None, filled: Filled | None = None,
) -> None:  # fmt: skip
    """What follows when a layer's rows are written: its statistics, its entry in the ledger, its publication, where
    `fill_ahead` has not brought that to these rows. filled: that the layer was empty, and has these rows now."""
    changed = counts.written > 0 if begun is None else counts.inserted < begun.filled.count
    _forget_statistics(connection, layer, registry)
    if changed:
        succession.renew(connection, layer)
    ledger.finish(connection, load_id, counts, report)
    if begun is None or changed:
        analyse(connection, layer, counts.written if begun is None else begun.filled.count - counts.inserted)
        ledger.renew(connection, layer, load_id, changed=changed, filled=filled)
    quarantine.sum_up(connection, layer, load_id)


def enter_coverage(
    connection: Connection,
    layer: Layer,
    delivery: Delivery,
    report: Report,
    *,
    extent: tuple[float, float, float, float],
    facts: dict[str, Any],
    load_id: int | None = None,
) -> Load:
    """Enter a received coverage (its file already stands) into the ledger and publish it, in the caller's transaction.

    extent: west, south, east, north in WGS 84 degrees. facts: what the service needs to open it (file, bands, …). The
    same file again under the same contract changes nothing.
    """
    begun = perf_counter()
    with engine.translated():
        load_id = begin(connection, layer, ledger.start(connection, layer, delivery) if load_id is None else load_id)
        same = connection.execute(
            "SELECT 1 FROM sdi.publication p JOIN sdi.load l USING (load_id) WHERE p.layer = %s AND l.sha256 = %s"
            " AND l.contract_sha256 = %s",
            [layer.id, delivery.sha256, tables.fingerprint(layer)],
        ).fetchone()
        counts = Counts(unchanged=1) if same else Counts(inserted=1)
        quarantine.settle_coverage(connection, layer, load_id)
        findings.write(connection, load_id, report)
        ledger.finish(connection, load_id, counts, report)
        if same:
            ledger.bump(connection, layer.id)
        else:
            ledger.renew_coverage(connection, layer, load_id, extent=extent, grid=delivery.grid, facts=facts)
            connection.execute(
                "INSERT INTO sdi_changed VALUES (%s, NULL, ST_MakeEnvelope(%s, %s, %s, %s, 4326), %s)",
                [layer.id, *extent, load_id],
            )
    return Load.of(load_id, layer, counts, seconds=perf_counter() - begun)


# --- quarantine -------------------------------------------------------------------------------------------------------


def _compare(
    connection: Connection, layer: Layer, registry: Registry, load_id: int, features: Reader, report: Report, day: date
) -> Reader:
    """Hold the features against the other layers; return those that the contract then keeps."""
    waivers = waiver.in_force(connection, layer)
    found = between.examine(connection, layer, registry, features, day=day, waivers=waivers, naming=report.naming)
    report.findings.extend(found)
    if any(finding.action == "refuse" for finding in found):
        raise ledger.Refused
    held = between.quarantined(found)
    if not held:
        return features
    kept, rows = between.set_aside(features, report.findings, held)
    _quarantine(connection, layer, load_id, rows)
    report.kept, report.quarantined = report.kept - len(held), report.quarantined + len(held)
    return kept


def _quarantine(connection: Connection, layer: Layer, load_id: int, rows: pa.Table | pa.RecordBatchReader) -> None:
    """Keep the features that broke the contract, and the ids among them for `_gone`."""
    batches = rows if isinstance(rows, pa.RecordBatchReader) else rows.to_batches(max_chunksize=sending.CHUNK)
    held = (_held(layer, load_id, batch) for batch in batches if batch.num_rows)
    sending.copy_arrow(connection, sql.Identifier("sdi", "quarantine"), _HELD, held, ["findings", "attributes"])
    connection.execute(
        "INSERT INTO sdi_held SELECT DISTINCT id FROM sdi.quarantine q WHERE load_id = %s AND id IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM sdi_held h WHERE h.id = q.id)",
        [load_id],
    )


def _held(layer: Layer, load_id: int, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of `sdi.quarantine`."""
    return pa.record_batch([
        pa.array([load_id] * len(rows), pa.int64()),
        pc.cast(rows["source_row"], pa.int64()),
        pa.array([layer.id] * len(rows), pa.string()),
        pc.cast(rows["id"], pa.string()),
        _clean_json(rows["findings"]),
        _clean_json(rows["attributes"]),
        _readable(rows["geom"]),
        _readable(rows["geom_wgs84"]),
    ], schema=_HELD)  # fmt: skip


def _clean_json(column: pa.Array) -> pa.Array:
    """JSON text that jsonb takes: PostgreSQL's text cannot hold NUL."""
    return pc.replace_substring(pc.cast(column, pa.string()), "\\u0000", "\\ufffd")


def _readable(column: pa.Array) -> pa.Array:
    """EWKB that PostGIS reads; what no library can parse (an open ring) becomes NULL."""
    shapes = shapely.from_wkb(pc.cast(column, pa.binary()).to_numpy(zero_copy_only=False), on_invalid="ignore")
    return pa.array(shapely.to_wkb(rings.filled(shapes), include_srid=True), pa.binary())


# --- writing ------------------------------------------------------------------------------------------------------


def _write(
    connection: Connection, arrived: Arrived, delivery: Delivery, report: Report, begun: Begun | None
) -> tuple[Counts, sql.Composable, Filled | None]:
    """Bring the layer to the features; return what was written, a table that has the delivered ones' ids, and what an
    empty layer was filled with."""
    layer, load_id = arrived.layer, arrived.load_id
    if begun is not None:
        taken = first.take_back(connection, layer, load_id)
        return Counts(inserted=begun.filled.count - taken), tables.now(layer), None
    if delta.is_empty(connection, layer):
        filled = first.fill(connection, arrived, report.kept)
        delta.note_all(connection, layer, load_id)
        return Counts(inserted=filled.count), tables.now(layer), filled
    mode = ending.mode_of(layer, delivery)
    delivered = _send_heads(connection, arrived)
    if not delivered and mode == "full" and layer.load.scope is None:
        raise UsageError(
            f"The delivery has no good feature; as a full delivery it would end all of '{layer.id}'.",
            hint="Correct the file, or withdraw the layer if that is meant.",
        )
    ending.name(connection, delivery)
    place = sql.Identifier("n", _POSITION)
    counts = delta.compare(connection, layer, delivered, gone=ending.gone(connection, layer, mode), place=place)
    for finding in ending.examine(connection, layer, delivery, counts):
        report.findings.insert(0, finding)
    ending.forget(connection)
    if report.refused:
        raise ledger.Refused
    _change(connection, arrived, counts)
    if quarantine.stands(connection, layer, load_id) or delta.exists(connection, _HELD_IDS):
        delta.index_next(connection)
    held = connection.execute(
        sql.SQL(
            "SELECT count(*) FROM {} o JOIN {} h USING (id) WHERE NOT EXISTS (SELECT FROM {} n WHERE n.id = o.id)"
        ).format(tables.now(layer), _HELD_IDS, NEXT)
    ).fetchone()
    return replace(counts, kept=held[0] if held else 0), NEXT, None


def _change(connection: Connection, arrived: Arrived, counts: Counts) -> None:
    """Send what is new or differs, and write it."""
    layer, values = arrived.layer, None
    if counts.inserted or counts.updated:
        chosen = _differing(connection, counts.inserted + counts.updated + counts.unchanged)
        values = arrived.stage(connection, chosen)
    if counts.written:
        delta.apply(connection, layer, arrived.load_id, values)


def _send_heads(connection: Connection, arrived: Arrived) -> int:
    """Make NEXT: id, hash, position and scope of each feature; return their count."""
    layer = arrived.layer
    names = ["id", HASH.name, *([layer.load.scope] if layer.load.scope else [])]
    told = pa.schema([arrived.hashed.field(name) for name in dict.fromkeys(names)])
    head = told.append(pa.field(_POSITION, pa.int32()))
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(NEXT, sending.columns(layer, head))
    )

    def heads() -> Iterator[pa.RecordBatch]:
        position = 0
        for rows in arrived.heads(told):
            places = pa.array(np.arange(position, position + len(rows), dtype=np.int32))
            yield pa.RecordBatch.from_arrays([*rows.columns, places], schema=head)
            position += len(rows)

    return sending.copy_arrow(connection, NEXT, head, heads())


def _differing(connection: Connection, delivered: int) -> NDArray[np.bool_]:
    """Which of the features, by position, are new or differ from what the layer has."""
    chosen = np.zeros(delivered, bool)
    with connection.cursor(name="sdi_differing", binary=True) as cursor:
        cursor.execute("SELECT place FROM sdi_delta WHERE stays")
        while rows := cursor.fetchmany(sending.CHUNK):
            chosen[[row[0] for row in rows]] = True
    return chosen


def _forget_statistics(connection: Connection, layer: Layer, registry: Registry) -> None:
    """Drop what coverages said about features that are no more."""
    for coverage in registry:
        if coverage.coverage and any(statistic.layer == layer.id for statistic in coverage.coverage.statistics):
            statement = (
                "DELETE FROM {} z USING sdi_changed c WHERE c.layer = {} AND c.id = z.id"
                " AND NOT EXISTS (SELECT FROM {} o WHERE o.id = z.id)"
            )
            table = tables.statistics(coverage, layer)
            connection.execute(sql.SQL(statement).format(table, sql.Literal(layer.id), tables.now(layer)))


def analyse(connection: Connection, layer: Layer, written: int) -> None:
    """Renew the planner's statistics of a layer whose publication does not yet count what was written, if need be."""
    stood = ledger.count(connection, layer)
    if written <= _WORTH_ANALYSING * stood:
        return
    if not stood:
        connection.execute("SELECT set_config('default_statistics_target', %s, true)", [str(_FIRST_LOOK)])
    connection.execute("SELECT sdi.analyse(%s::regclass)", [tables.now(layer).as_string(connection)])
    connection.execute("SET LOCAL default_statistics_target = DEFAULT")
