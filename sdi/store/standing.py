"""A layer as it stands, told to the next delivery: what it has, and since when it is checked.

Whatever changed a layer since a load stands in its history: rows with a later `load_id`, and rows of the past with a
later `load_to`. So a check may be counted on across other loads, rollbacks and reforms; they only leave places to look
at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql
from psycopg.types.json import Jsonb

from sdi.contract.layer import Layer
from sdi.store import content, recognised, sending, tables
from sdi.store.engine import Connection

CROWDS = ("coverage.crowded", "coverage.uncompared")
"""Rules that tell of what was not told: a check that found them says too little to be counted on."""
_BOX = "ST_XMin({0}), ST_YMin({0}), ST_XMax({0}), ST_YMax({0})"
_FOUND = pa.schema({
    "rule": pa.string(), "severity": pa.string(), "action": pa.string(), "attribute": pa.string(),
    "feature": pa.string(), "other": pa.string(), "value": pa.string(), "limit": pa.string(),
    "longitude": pa.float64(), "latitude": pa.float64(),
})  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """A whole check of a layer; see `ingest.standing.Checked`."""

    load_id: int
    told: Callable[[], Iterator[pa.RecordBatch]]
    changed: NDArray[np.float64]
    found: pa.Table

    def heads(self) -> Iterator[pa.RecordBatch]:
        return self.told()


@dataclass(frozen=True)
class Standing:
    """`ingest.standing.Standing` of a layer in this database. `rules`: what a check between features tells."""

    connection: Connection
    layer: Layer
    rules: Sequence[str]

    def digest(self, rows: pa.RecordBatch) -> pa.Array:
        """The row_hash of each row, `delta.row_hash` in SQL."""
        wanted = sending.schema(self.layer, rows.schema)
        columns = [rows[field.name].cast(field.type) for field in wanted]
        return content.row_hashes(self.layer, pa.RecordBatch.from_arrays(columns, schema=wanted))

    def recognised(self, context: str, day: date) -> tuple[int, Iterable[tuple[bytes, bytes]]] | None:
        """Marks and hashes of rows that the layer has met."""
        return recognised.read(self.connection, self.layer, context, day)

    def checked(self, edition: str, grid: int, scope: Sequence[str], most: int) -> Checked | None:
        load_id = self._last(edition, grid, scope)
        if load_id is None:
            return None
        changed = self._changed(load_id, most)
        found = self._found(load_id)
        if changed is None or found is None:
            return None
        return Checked(load_id, partial(self._heads, load_id, scope), changed, found)

    def _last(self, edition: str, grid: int, scope: Sequence[str]) -> int | None:
        row = self.connection.execute(
            "SELECT load_id FROM sdi.load WHERE layer = %s AND status = 'done' AND grid = %s AND contract_sha256 = %s"
            " AND delivery ->> 'checks' = %s AND delivery -> 'scope' = %s ORDER BY load_id DESC LIMIT 1",
            [self.layer.id, grid, tables.fingerprint(self.layer), edition, Jsonb(list(scope))],
        ).fetchone()
        return int(row[0]) if row else None

    def _changed(self, load_id: int, most: int) -> NDArray[np.float64] | None:
        statement = sql.SQL(
            f"SELECT {_BOX.format('geom_wgs84')} FROM {{now}} WHERE load_id > %(load)s"
            f" UNION ALL SELECT {_BOX.format('geom_wgs84')} FROM {{past}} WHERE load_to > %(load)s"
            f" UNION ALL SELECT {_BOX.format('geom_wgs84')} FROM sdi.quarantine WHERE load_id = %(load)s"
            " LIMIT %(most)s + 1"
        ).format(now=tables.now(self.layer), past=tables.past(self.layer))
        rows = self.connection.execute(statement, {"load": load_id, "most": most}).fetchall()
        if len(rows) > most:
            return None
        boxes = np.array([row for row in rows if row[0] is not None], dtype=np.float64)
        return boxes.reshape(-1, 4)

    def _found(self, load_id: int) -> pa.Table | None:
        crowd = self.connection.execute(
            "SELECT FROM sdi.finding WHERE load_id = %s AND rule = ANY(%s) LIMIT 1", [load_id, list(CROWDS)]
        ).fetchone()
        if crowd is not None:
            return None
        rows = self.connection.execute(
            "SELECT rule, severity, action, attribute, feature, other #>> '{}', value::text, limit_value::text,"
            " ST_X(place), ST_Y(place) FROM sdi.finding WHERE load_id = %s AND rule = ANY(%s) ORDER BY ordinal",
            [load_id, list(self.rules)],
        ).fetchall()
        return _table(_FOUND, rows)

    def _heads(self, load_id: int, scope: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Each time in three long values: a row for each of a million features costs four times as much."""
        inside: sql.Composable = sql.SQL("true")
        if self.layer.load.scope is not None:
            inside = sql.SQL("({})").format(sql.SQL(" OR ").join(
                sql.SQL("o.{}::text = ANY(%(scope)s)").format(sql.Identifier(each)) for each in self._scopes()
            ))  # fmt: skip
        statement = sql.SQL(
            "SELECT string_agg(convert_to(o.id, 'UTF8'), ''::bytea), string_agg(int4send(octet_length(o.id)), ''),"
            " string_agg(o.row_hash, '') FROM {} o WHERE o.load_id <= %(load)s AND {} AND NOT EXISTS"
            " (SELECT FROM sdi.quarantine q WHERE q.load_id = %(load)s AND q.id = o.id)"
            " GROUP BY get_byte(o.row_hash, 0) / 4"
        ).format(tables.now(self.layer), inside)
        with self.connection.transaction(), self.connection.cursor(name="sdi_heads", binary=True) as cursor:
            cursor.execute(statement, {"load": load_id, "scope": list(scope)})
            while row := cursor.fetchone():
                yield _head(*row)

    def features(self, ids: pa.Array, names: Sequence[str]) -> pa.Table:
        statement = sql.SQL("SELECT {} FROM {} o WHERE o.id = ANY(%s)").format(
            self._answer(names), tables.now(self.layer)
        )
        return _table(_features(names), self.connection.execute(statement, [ids.to_pylist()], binary=True).fetchall())

    def around(self, boxes: NDArray[np.float64], names: Sequence[str], scope: Sequence[str]) -> pa.Table:
        outside: sql.Composable = sql.SQL("true")
        if self.layer.load.scope is not None:
            outside = sql.SQL(" AND ").join(
                sql.SQL("(o.{0} IS NULL OR o.{0}::text <> ALL(%(scope)s))").format(sql.Identifier(each))
                for each in self._scopes()
            )
        # Each box is a search of the index; a feature that meets several is told once.
        statement = sql.SQL(
            "SELECT {} FROM {} o WHERE o.id IN (SELECT f.id FROM unnest(%(west)s::float8[], %(south)s::float8[],"
            " %(east)s::float8[], %(north)s::float8[]) AS box (w, s, e, n), LATERAL (SELECT i.id FROM {} i"
            " WHERE i.geom_wgs84 && ST_MakeEnvelope(box.w, box.s, box.e, box.n, 4326)) f) AND {}"
        ).format(self._answer(names), tables.now(self.layer), tables.now(self.layer), outside)
        sides: dict[str, Any] = dict(zip(("west", "south", "east", "north"), boxes.T.tolist(), strict=True))
        rows = self.connection.execute(statement, sides | {"scope": list(scope)}, binary=True).fetchall()
        return _table(_features(names), rows)

    def _scopes(self) -> list[str]:
        """The attributes in which a feature has the scope of a delivery, which may still speak of units before a
        reform."""
        scope, reform = self.layer.load.scope, self.layer.reform
        former = [reform.former] if reform is not None and reform.attribute == scope else []
        return [scope, *former] if scope is not None else []

    def _answer(self, names: Sequence[str]) -> sql.Composed:
        texts = (sql.SQL(", o.{}::text").format(sql.Identifier(name)) for name in names)
        return sql.SQL(f"o.id, ST_AsEWKB(o.geom, 'NDR'), {_BOX.format('o.geom_wgs84')}{{}}").format(
            sql.SQL("").join(texts)
        )


def _head(texts: bytes, lengths: bytes, digests: bytes) -> pa.RecordBatch:
    ends = np.concatenate([[0], np.cumsum(np.frombuffer(lengths, ">i4"))]).astype(np.int32)
    count = len(ends) - 1
    ids = pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(texts))
    hashes = pa.FixedSizeBinaryArray.from_buffers(content.HASH, count, [None, pa.py_buffer(digests)])
    return pa.record_batch({"id": ids, "row_hash": hashes.cast(pa.binary())})


def _features(names: Sequence[str]) -> pa.Schema:
    sides = {side: pa.float64() for side in ("west", "south", "east", "north")}
    return pa.schema({"id": pa.string(), "geom": pa.binary(), **sides, **dict.fromkeys(names, pa.string())})


def _table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
