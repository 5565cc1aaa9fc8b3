"""A received delivery into its layer's table, inside the caller's transaction.

Arrow → binary COPY → a temporary table → the difference. Readers see the old layer until the caller commits; whatever
fails before leaves the old layer and nothing else, for all that lies beside the layer is temporary.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import shapely
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb
from psycopg import sql
from psycopg.pq import TransactionStatus

from sdi.contract.delivery import Delivery
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.contract.report import Report
from sdi.errors import StoreError, UsageError
from sdi.store import delta, engine, ledger, tables
from sdi.store.delta import STAGED, Values
from sdi.store.engine import Connection
from sdi.store.ledger import Counts

_ARROW: dict[str, Any] = {
    "text": pa.string(),
    "code": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", "UTC"),
    "list": pa.string(),
}
_STAGED = {
    pa.string(): "text",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamptz",
}
_HELD = pa.schema({
    "load_id": pa.int64(), "source_row": pa.int64(), "layer": pa.string(), "id": pa.string(),
    "findings": pa.string(), "attributes": pa.string(), "geom": pa.binary(), "geom_wgs84": pa.binary(),
})  # fmt: skip
"""What is copied into `sdi.quarantine`."""
_CHUNK = 20_000
"""Rows encoded at a time."""
_WORTH_ANALYSING = 0.05
"""Share of a table whose change makes the planner's statistics stale."""


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

    @property
    def written(self) -> int:
        return self.inserted + self.updated + self.deleted


def load(
    connection: Connection,
    layer: Layer,
    registry: Registry,
    features: pa.Table | pa.RecordBatchReader,
    quarantined: pa.Table | pa.RecordBatchReader | None,
    delivery: Delivery,
    report: Report,
    *,
    load_id: int | None = None,
) -> Load:
    """Load what `ingest` received: good features as a delta, the others into quarantine, findings beside them.

    features: `id`, one column per stored attribute, `geom` and `geom_wgs84` as EWKB (x = east or longitude),
    `source_row`. load_id: of an entry that runs already (`ledger.recorded`); None: one is made, and stands only if the
    caller commits.

    Leaves the temporary table `sdi_changed` to `derived.refresh`. Raises StoreError when another load holds the layer,
    UsageError when a full delivery without any good feature would end the whole layer.
    """
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise RuntimeError("load() runs inside the caller's transaction")
    if report.refused:
        raise RuntimeError("a refused delivery is entered by ledger.refuse(), not loaded")
    begun = perf_counter()
    with engine.translated():
        _hold(connection, layer)
        if load_id is None:
            load_id = ledger.start(connection, layer, delivery)
        ledger.end_abandoned(connection, layer.id, load_id)
        delta.prepare(connection)
        _quarantine(connection, layer, load_id, quarantined)
        values = _stage(connection, layer, features)
        counts = _write(connection, layer, load_id, values)
        connection.execute("DROP TABLE sdi_staged, sdi_held")
        _forget_statistics(connection, layer, registry)
        ledger.write_findings(connection, load_id, report)
        ledger.finish(connection, load_id, counts, report)
        _analyse(connection, layer, counts)
        ledger.renew(connection, layer, load_id, changed=counts.written > 0)
    return Load(
        load_id, layer.id, counts.inserted, counts.updated, counts.deleted, counts.unchanged, counts.kept,
        report.quarantined, perf_counter() - begun,
    )  # fmt: skip


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
        _hold(connection, layer)
        if load_id is None:
            load_id = ledger.start(connection, layer, delivery)
        ledger.end_abandoned(connection, layer.id, load_id)
        delta.prepare(connection)
        same = connection.execute(
            "SELECT 1 FROM sdi.publication p JOIN sdi.load l USING (load_id) WHERE p.layer = %s AND l.sha256 = %s"
            " AND l.contract_sha256 = %s",
            [layer.id, delivery.sha256, tables.fingerprint(layer)],
        ).fetchone()
        counts = Counts(unchanged=1) if same else Counts(inserted=1)
        ledger.write_findings(connection, load_id, report)
        ledger.finish(connection, load_id, counts, report)
        if same:
            ledger.bump(connection, layer.id)
        else:
            ledger.renew_coverage(connection, layer, load_id, extent=extent, grid=delivery.grid, facts=facts)
            connection.execute(
                "INSERT INTO sdi_changed VALUES (%s, NULL, ST_MakeEnvelope(%s, %s, %s, %s, 4326), %s)",
                [layer.id, *extent, load_id],
            )
    return Load(load_id, layer.id, counts.inserted, 0, 0, counts.unchanged, 0, 0, perf_counter() - begun)


# --- one load at a time -------------------------------------------------------------------------------------------


def _hold(connection: Connection, layer: Layer) -> None:
    """Take the layer's lock to the transaction's end, or say who has it."""
    key = f"sdi.load.{layer.id}"
    row = connection.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [key]).fetchone()
    if row and row[0]:
        return
    holder = connection.execute(
        "SELECT l.load_id, l.steward, to_char(l.started_at, 'HH24:MI:SS') FROM pg_locks k"
        " JOIN sdi.load l ON l.backend = k.pid AND l.layer = %(layer)s AND l.status = 'running'"
        " WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1"
        " AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (k.classid::bigint << 32 | k.objid::bigint) = hashtextextended(%(key)s, 0)",
        {"layer": layer.id, "key": key},
    ).fetchone()
    who = f"load {holder[0]} by '{holder[1]}', since {holder[2]} UTC" if holder else "another load"
    raise StoreError(f"'{layer.id}' is being loaded: {who}.", hint="Wait until it has ended, then load again.")


# --- staging ------------------------------------------------------------------------------------------------------


def _stage(connection: Connection, layer: Layer, features: pa.Table | pa.RecordBatchReader) -> Values:
    """COPY the features into STAGED; return the expressions that give its columns the layer's types."""
    schema = _schema(layer, features.schema)
    kinds = {attribute.name: attribute.type for attribute in layer.stored}
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(field.name), sql.SQL(_staged_type(field, kinds.get(field.name))))
        for field in schema
    )
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(STAGED, columns))
    batches = features if isinstance(features, pa.RecordBatchReader) else features.to_batches(max_chunksize=_CHUNK)
    copy_arrow(
        connection,
        sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(STAGED),
        schema,
        batches,
        {n for n in kinds if kinds[n] == "list"},
    )
    connection.execute("ANALYZE sdi_staged")
    values = {name: sql.SQL("s.{}").format(sql.Identifier(name)) for name in (*tables.content(layer), "source_row")}
    for attribute in layer.stored:
        if attribute.type == "decimal":
            values[attribute.name] = sql.SQL("s.{}::numeric").format(sql.Identifier(attribute.name))
    return values


def _schema(layer: Layer, delivered: pa.Schema) -> pa.Schema:
    """What is staged, in order. A decimal that comes as a float stays one; PostgreSQL makes it numeric."""
    fields = [pa.field("id", pa.string())]
    for attribute in layer.stored:
        kind = _ARROW.get(attribute.type)
        if kind is None:
            come = delivered.field(attribute.name).type
            kind = pa.decimal128(38, max(0, come.scale)) if pa.types.is_decimal(come) else pa.float64()
        fields.append(pa.field(attribute.name, kind))
    binary = pa.binary()
    return pa.schema(
        [*fields, pa.field("geom", binary), pa.field("geom_wgs84", binary), pa.field("source_row", pa.int32())]
    )


def _staged_type(field: pa.Field, kind: str | None) -> str:
    if field.name in ("geom", "geom_wgs84"):
        return "geometry"
    if kind == "list":
        return "jsonb"
    if pa.types.is_decimal(field.type):
        return "numeric"
    return _STAGED[field.type]


def copy_arrow(
    connection: Connection, statement: sql.Composed, schema: pa.Schema, batches: Any, json: set[str]
) -> None:
    """Stream Arrow batches as binary COPY. PostGIS takes the EWKB of a binary column as a geometry's binary form."""
    encoders = {field.name: ArrowToPostgresBinaryEncoder.infer_encoder(field) for field in schema}
    for name in json:
        encoders[name] = StringEncoderBuilder.new_with_output(schema.field(name), Jsonb())
    encoder = ArrowToPostgresBinaryEncoder.new_with_encoders(schema, encoders)
    with connection.cursor().copy(statement) as copy:
        copy.write(encoder.write_header())
        for batch in batches:
            fitted = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            for part in fitted.to_batches(max_chunksize=_CHUNK):
                copy.write(encoder.write_batch(part))
        copy.write(encoder.finish())


def _quarantine(
    connection: Connection, layer: Layer, load_id: int, rows: pa.Table | pa.RecordBatchReader | None
) -> None:
    """Keep the features that broke the contract, and the ids among them for `_gone`."""
    connection.execute("CREATE TEMPORARY TABLE sdi_held (id text) ON COMMIT DROP")
    if rows is None:
        return
    names = sql.SQL(", ").join(map(sql.Identifier, _HELD.names))
    statement = sql.SQL("COPY sdi.quarantine ({}) FROM STDIN (FORMAT binary)").format(names)
    batches = rows if isinstance(rows, pa.RecordBatchReader) else rows.to_batches(max_chunksize=_CHUNK)
    held = (_held(layer, load_id, batch) for batch in batches if batch.num_rows)
    copy_arrow(connection, statement, _HELD, held, {"findings", "attributes"})
    connection.execute(
        "INSERT INTO sdi_held SELECT DISTINCT id FROM sdi.quarantine WHERE load_id = %s AND id IS NOT NULL", [load_id]
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
    return pa.array(shapely.to_wkb(shapes, include_srid=True), pa.binary())


# --- writing ------------------------------------------------------------------------------------------------------


def _write(connection: Connection, layer: Layer, load_id: int, values: Values) -> Counts:
    row = connection.execute("SELECT EXISTS (SELECT FROM sdi_staged)").fetchone()
    delivered = bool(row and row[0])
    if delta.is_empty(connection, layer):
        return delta.write_first(connection, layer, load_id, values)
    if not delivered and layer.load.mode == "full" and layer.load.scope is None:
        raise UsageError(
            f"The delivery has no good feature; as a full delivery it would end all of '{layer.id}'.",
            hint="Correct the file, or withdraw the layer if that is meant.",
        )
    counts = delta.write(connection, layer, load_id, values, gone=_gone(layer))
    held = connection.execute(
        sql.SQL("SELECT count(*) FROM {} o JOIN sdi_held h USING (id) WHERE NOT EXISTS"
                " (SELECT FROM sdi_staged s WHERE s.id = o.id)").format(tables.now(layer))
    ).fetchone()  # fmt: skip
    return Counts(counts.inserted, counts.updated, counts.deleted, counts.unchanged, kept=held[0] if held else 0)


def _gone(layer: Layer) -> sql.Composable | None:
    """Which of the layer's rows have ended when the delivery lacks them. One in quarantine is not lacking."""
    if layer.load.mode == "partial":
        return None
    held = sql.SQL("NOT EXISTS (SELECT FROM sdi_held h WHERE h.id = o.id)")
    if layer.load.scope is None:
        return held
    scope = sql.Identifier(layer.load.scope)
    return sql.SQL("o.{} IN (SELECT s.{} FROM {} s WHERE s.{} IS NOT NULL) AND {}").format(
        scope, scope, STAGED, scope, held
    )


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


def _analyse(connection: Connection, layer: Layer, counts: Counts) -> None:
    if counts.written > _WORTH_ANALYSING * (counts.written + counts.unchanged):
        name = tables.now(layer).as_string(connection)
        connection.execute("SELECT sdi.analyse(%s::regclass)", [name])
