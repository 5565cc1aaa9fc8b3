"""What coverages say about features: zonal statistics, one row per feature, beside the coverage.

`sdi.ingest` computes them from the coverage's file; here is which are due, the geometries to compute them for, and the
table they are written to. Only figures that differ are written, and only those reach derived layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from psycopg import sql

from sdi.contract.layer import Layer, Statistic
from sdi.contract.registry import Registry
from sdi.store import delta, engine, ledger, tables
from sdi.store.engine import Connection
from sdi.store.sending import copy_arrow, fitted


@dataclass(frozen=True)
class Due:
    """Statistics that a load made stale."""

    coverage: Layer
    layer: Layer
    operations: tuple[str, ...]
    ids: tuple[str, ...] | None
    """Features whose shape changed; None: all, the coverage itself is another or the layer was empty before."""


def due(connection: Connection, registry: Registry) -> list[Due]:
    """What has to be computed anew after this transaction's loads, for coverages that have been loaded."""
    with engine.translated():
        delta.prepare(connection)
        loaded = ledger.publications(connection)
        found = []
        for coverage, statistic in _pairs(registry):
            layer = registry[statistic.layer]
            if coverage.id in loaded and layer.id in loaded:
                entry = _due(connection, coverage, layer, statistic)
                if entry is not None:
                    found.append(entry)
    return found


def geometries(connection: Connection, layer: Layer, ids: Sequence[str] | None = None) -> pa.Table:
    """`id` and `geom` (EWKB in the feature's own grid) of some features or of all, without those that have no shape."""
    statement = sql.SQL(
        "SELECT id, ST_AsEWKB(geom) FROM {} WHERE geom IS NOT NULL AND (%(ids)s::text[] IS NULL OR id = ANY (%(ids)s))"
    ).format(tables.now(layer))
    with engine.translated(), connection.cursor(binary=True) as cursor:
        rows = cursor.execute(statement, {"ids": None if ids is None else list(ids)}).fetchall()
    columns = list(zip(*rows, strict=True)) or [(), ()]
    return pa.table({"id": pa.array(columns[0], pa.string()), "geom": pa.array(columns[1], pa.binary())})


def write(
    connection: Connection, coverage: Layer, layer: Layer, figures: pa.Table, *, whole: bool, load_id: int | None = None
) -> int:
    """Write figures (`id`, `<band>_<operation>` …) in the caller's transaction; return how many rows differ.

    whole: the figures are of all features, so a feature that is not among them has none. Leaves what changed in
    `sdi_changed`, under the coverage's id, for `derived.refresh`.
    """
    names = tables.figures(coverage, layer.id)
    fields = [pa.field("id", pa.string()), *(pa.field(name, pa.float64()) for name in names)]
    columns = sql.SQL(", ").join(map(sql.Identifier, ["id", *names]))
    table = tables.statistics(coverage, layer)
    with engine.translated():
        ledger.take_turn(connection)
        delta.prepare(connection)
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE sdi_figures ON COMMIT DROP AS SELECT {} FROM {} WHERE false").format(
                columns, table
            )
        )
        wanted = pa.schema(fields)
        copy_arrow(connection, sql.Identifier("sdi_figures"), wanted, fitted(figures.to_batches(), wanted))
        _write(connection, coverage, layer, names, whole, load_id)
        row = connection.execute("SELECT count(*) FROM sdi_differing").fetchone()
        connection.execute("DROP TABLE sdi_figures, sdi_differing")
    return int(row[0]) if row else 0


def _pairs(registry: Registry) -> Iterator[tuple[Layer, Statistic]]:
    for coverage in registry:
        if coverage.coverage is not None:
            for statistic in coverage.coverage.statistics:
                yield coverage, statistic


def _due(connection: Connection, coverage: Layer, layer: Layer, statistic: Statistic) -> Due | None:
    operations = tuple(statistic.operations)
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM sdi_changed WHERE layer = %s AND id IS NULL)", [coverage.id]
    ).fetchone()
    if (row and row[0]) or delta.is_noted_whole(connection, layer):
        return Due(coverage, layer, operations, None)
    changed = sql.SQL("SELECT DISTINCT c.id FROM sdi_changed c JOIN {} o ON o.id = c.id WHERE c.layer = {} ORDER BY 1")
    rows = connection.execute(changed.format(tables.now(layer), sql.Literal(layer.id))).fetchall()
    return Due(coverage, layer, operations, tuple(row[0] for row in rows)) if rows else None


def _write(
    connection: Connection, coverage: Layer, layer: Layer, names: list[str], whole: bool, load_id: int | None
) -> None:
    table = tables.statistics(coverage, layer)
    figures = sql.SQL(", ").join(map(sql.Identifier, names))
    old = sql.SQL(", ").join(sql.Identifier("z", name) for name in names)
    new = sql.SQL(", ").join(sql.Identifier("f", name) for name in names)
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE sdi_differing ON COMMIT DROP AS"
            " SELECT f.id FROM sdi_figures f LEFT JOIN {} z USING (id)"
            " WHERE z.id IS NULL OR ({}) IS DISTINCT FROM ({})"
        ).format(table, old, new)
    )
    if whole:
        absent = "INSERT INTO sdi_differing SELECT id FROM {} WHERE id NOT IN (SELECT id FROM sdi_figures)"
        connection.execute(sql.SQL(absent).format(table))
    connection.execute(sql.SQL("DELETE FROM {} z USING sdi_differing d WHERE d.id = z.id").format(table))
    insert = "INSERT INTO {} (id, {}) SELECT id, {} FROM sdi_figures JOIN sdi_differing USING (id)"
    connection.execute(sql.SQL(insert).format(table, figures, figures))
    note = (
        "INSERT INTO sdi_changed SELECT {}, o.id, ST_MakeEnvelope(ST_XMin(o.geom_wgs84), ST_YMin(o.geom_wgs84),"
        " ST_XMax(o.geom_wgs84), ST_YMax(o.geom_wgs84), 4326), {} FROM {} o JOIN sdi_differing d ON d.id = o.id"
    )
    connection.execute(sql.SQL(note).format(sql.Literal(coverage.id), sql.Literal(load_id), tables.now(layer)))
