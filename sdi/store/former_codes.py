"""A delivery that still speaks of the units before a reform, in the codes that its layer has since.

Where the layer stands as a reform left it, what is delivered is brought along as its own rows were: the same table of
successions, the same day, the same point on surface decide (`reform.place`). So the file from before the reform, handed
in once more, is the layer as it is, and nothing is written. A former code that a feature has got is never lost to a
delivery that lacks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
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


@dataclass(frozen=True)
class _Changes:
    """What is changed: the features' positions, ascending, and by attribute for each its value's place in `texts`. A
    million features have a few codes."""

    positions: NDArray[np.int64]
    values: Mapping[str, NDArray[np.int32]]
    texts: pa.Array


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
        found = _changes(connection, layer, layer.reform)
        connection.execute(_SCOPES.format(scopes=succession.SCOPES, spoken=_SPOKEN))
        connection.execute(sql.SQL("DROP TABLE sdi_heir, sdi_ground, sdi_reformed, {}").format(_SPOKEN))
    return _brought(features, found) if len(found.positions) else features


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

    needed = pa.schema([(name, pa.string()) for name in ("id", told.attribute, told.former)])
    needed = needed.append(wanted.field("geom_wgs84"))

    def batches() -> Iterator[pa.RecordBatch]:
        position = 0
        for rows in sending.fitted(features(), needed):
            id_, code, former, shape = rows.columns
            shape = pc.if_else(pc.is_in(code, value_set=chosen), shape, pa.scalar(None, pa.binary()))
            places = pa.array(np.arange(position, position + len(rows)))
            yield pa.RecordBatch.from_arrays([places, id_, code, former, shape], schema=wanted)
            position += len(rows)

    sending.copy_arrow(connection, _SPOKEN, wanted, batches())
    connection.execute(sql.SQL("ANALYZE {}").format(_SPOKEN))


def _changes(connection: Connection, layer: Layer, told: Reform) -> _Changes:
    """Read what `sdi_reformed` and the layer's own rows make of _SPOKEN."""
    query = _CHANGED.format(
        spoken=_SPOKEN, now=tables.now(layer), code=sql.Identifier(told.attribute), former=sql.Identifier(told.former)
    )
    place: dict[str | None, int] = {}
    parts = [np.empty((0, 3), np.int64)]
    with connection.cursor(name="sdi_brought", binary=True) as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(sending.CHUNK):
            parts.append(np.array([
                (row, place.setdefault(code, len(place)), place.setdefault(former, len(place)))
                for row, code, former in rows
            ], np.int64))  # fmt: skip
    positions, codes, formers = np.concatenate(parts).T
    values = {told.attribute: codes.astype(np.int32), told.former: formers.astype(np.int32)}
    return _Changes(positions.copy(), values, pa.array(list(place), pa.string()))


def _brought(features: Reader, changes: _Changes) -> Reader:
    """Features as changed. A hash that came with them is of what they were."""
    positions = changes.positions

    def batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        start = 0
        for rows in reader:
            first, last = np.searchsorted(positions, [start, start + len(rows)])
            mask = np.zeros(len(rows), bool)
            mask[positions[first:last] - start] = True
            for name, values in changes.values.items():
                index = rows.schema.get_field_index(name)
                field = rows.schema.field(index)
                new = changes.texts.take(pa.array(values[first:last])).cast(field.type)
                rows = rows.set_column(index, field, pc.replace_with_mask(rows[name], pa.array(mask), new))
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
