"""A delivery that still speaks of the units before a reform, in the codes that its layer has since.

Where the layer stands as a reform left it, what is delivered is brought along as its own rows were: the same table of
successions, the same day, the same point on surface decide (`reform.place`). So the file from before the reform, handed
in once more, is the layer as it is, and nothing is written. A former code that a feature has got is never lost to a
delivery that lacks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sdi.contract.layer import Layer, Reform
from sdi.contract.registry import Registry
from sdi.store import delta, engine, reform, sending, succession, tables
from sdi.store.engine import Connection

type Reader = Callable[[], pa.RecordBatchReader]
_HASH = "row_hash"
_SPOKEN = sql.Identifier("sdi_spoken")
"""Temporary: position, id, code, former, geom_wgs84 (where the place decides) of the features that may be changed."""
# The state of a layer is that of its last load, of a rollback that of the load whose state came back.
_REFORM = """
WITH RECURSIVE state AS (
    (SELECT load_id, mode, restores, file_name FROM sdi.load
     WHERE layer = %(layer)s AND status = 'done' ORDER BY load_id DESC LIMIT 1)
    UNION ALL
    SELECT earlier.* FROM state s CROSS JOIN LATERAL (
        SELECT l.load_id, l.mode, l.restores, l.file_name FROM sdi.load l
        WHERE l.layer = %(layer)s AND l.status = 'done'
            AND CASE WHEN s.restores IS NULL THEN l.load_id < s.load_id ELSE l.load_id = s.restores END
        ORDER BY l.load_id DESC LIMIT 1
    ) earlier
    WHERE s.mode IS DISTINCT FROM %(mode)s
)
SELECT file_name FROM state WHERE mode = %(mode)s"""
_CHANGED = sql.SQL(
    """
SELECT s.position, coalesce(p.new, s.code) AS code,
    coalesce(s.former, o.{former}, CASE WHEN p.lay OR p.new <> p.old THEN p.old END) AS former
FROM {spoken} s LEFT JOIN sdi_reformed p ON p.id = s.position::text AND p.new IS NOT NULL
LEFT JOIN {now} o ON o.id = s.id AND o.{code} = coalesce(p.new, s.code)
WHERE p.id IS NOT NULL OR (s.former IS NULL AND o.{former} IS NOT NULL)
ORDER BY s.position"""
)
# A code that is in force again means the former unit where most of its features lay in that one.
_SCOPES = sql.SQL(
    """
CREATE TEMPORARY TABLE {scopes} ON COMMIT DROP AS
SELECT s.code, count(h.code) > 0 AND (NOT bool_or(h.again) OR 2 * count(p.id) > count(*)) AS former,
    coalesce(bool_or(h.again), false) AS again
FROM {spoken} s LEFT JOIN (SELECT code, bool_or(again) AS again FROM sdi_heir GROUP BY code) h USING (code)
LEFT JOIN sdi_reformed p ON p.id = s.position::text AND p.new IS NOT NULL
WHERE s.code IS NOT NULL GROUP BY s.code"""
)


def understood(connection: Connection, layer: Layer, registry: Registry, features: Reader) -> Reader:
    """The features of a delivery in the codes that a layer has since its last reform; as they are where there was none,
    or where none of them is to be changed.

    In the transaction of the load, before it: what the delivery tells all of is left in the temporary table
    `succession.SCOPES` for it.
    """
    day = _reformed_on(connection, layer)
    if layer.reform is None or day is None:
        return features
    with engine.translated():
        delta.prepare(connection)
        units = registry[layer.reform.units]
        reform.find_heirs(connection, units, day)
        _send(connection, layer, layer.reform, features)
        named = {name: sql.Identifier(name) for name in (layer.reform.attribute, layer.reform.former)}
        rows = sql.SQL("(SELECT position::text AS id, code AS {}, former AS {}, geom_wgs84 FROM {})").format(
            *named.values(), _SPOKEN
        )
        reform.place(connection, layer.reform, units, rows)
        found = connection.execute(
            _CHANGED.format(
                spoken=_SPOKEN, now=tables.now(layer), code=sql.Identifier(layer.reform.attribute),
                former=sql.Identifier(layer.reform.former),
            )
        ).fetchall()  # fmt: skip
        connection.execute(_SCOPES.format(scopes=succession.SCOPES, spoken=_SPOKEN))
        connection.execute(sql.SQL("DROP TABLE sdi_heir, sdi_ground, sdi_reformed, {}").format(_SPOKEN))
    if not found:
        return features
    positions, codes, formers = zip(*found, strict=True)
    changed = {
        layer.reform.attribute: pa.array(codes, pa.string()),
        layer.reform.former: pa.array(formers, pa.string()),
    }
    return _brought(features, np.array(positions, np.int64), changed)


def _reformed_on(connection: Connection, layer: Layer) -> date | None:
    """The day of the reform whose codes a layer has."""
    if layer.reform is None:
        return None
    with engine.translated():
        row = connection.execute(_REFORM, {"layer": layer.id, "mode": reform.MODE}).fetchone()
    return None if row is None else reform.day_of(row[0])


def _send(connection: Connection, layer: Layer, told: Reform, features: Reader) -> None:
    """Make _SPOKEN of a delivery's features."""
    by_place = {code for (code,) in connection.execute("SELECT DISTINCT code FROM sdi_heir WHERE NOT alone")}
    chosen = pa.array(sorted(by_place), pa.string())
    wanted = pa.schema([
        ("position", pa.int64()), ("id", pa.string()), ("code", pa.string()), ("former", pa.string()),
        ("geom_wgs84", pa.binary()),
    ])  # fmt: skip
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(_SPOKEN, sending.columns(layer, wanted))
    )

    def batches() -> Iterator[pa.RecordBatch]:
        position = 0
        for rows in features():
            code = rows[told.attribute].cast(pa.string())
            shape = rows["geom_wgs84"].cast(pa.binary())
            yield pa.RecordBatch.from_arrays([
                pa.array(np.arange(position, position + len(rows))), rows["id"].cast(pa.string()), code,
                rows[told.former].cast(pa.string()),
                pc.if_else(pc.is_in(code, value_set=chosen), shape, pa.scalar(None, pa.binary())),
            ], schema=wanted)  # fmt: skip
            position += len(rows)

    sending.copy_arrow(connection, _SPOKEN, wanted, batches())
    connection.execute(sql.SQL("ANALYZE {}").format(_SPOKEN))


def _brought(
    features: Reader, positions: np.ndarray[tuple[int], np.dtype[np.int64]], said: dict[str, pa.Array]
) -> Reader:
    """Features with the columns `said` at some positions, ascending. A hash that came with them is of the old ones."""

    def batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        start = 0
        for rows in reader:
            first, last = np.searchsorted(positions, [start, start + len(rows)])
            mask = np.zeros(len(rows), bool)
            mask[positions[first:last] - start] = True
            for name, column in said.items():
                index = rows.schema.get_field_index(name)
                kind = rows.schema.field(index).type
                new = column.slice(first, last - first).cast(kind)
                rows = rows.set_column(
                    index, rows.schema.field(index), pc.replace_with_mask(rows[name], pa.array(mask), new)
                )
            start += len(rows)
            yield _without_hash(rows)

    def read() -> pa.RecordBatchReader:
        reader = features()
        names = [name for name in reader.schema.names if name != _HASH]
        return pa.RecordBatchReader.from_batches(
            pa.schema([reader.schema.field(name) for name in names]), batches(reader)
        )

    return read


def _without_hash(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.drop_columns([_HASH]) if _HASH in rows.schema.names else rows
