"""What a layer was: its states by load or by instant, the versions of a feature, what differs between two states.

Record time is the ledger's. A row was known from load `load_id` on and until load `load_to`; within a layer, ids grow
in the order of the commits (`ledger.in_order`), so the state that load n left is `load_id <= n < load_to`, whole and
exact. An instant means the last load of the layer committed by then; a load and the derived layers that it changed have
one instant. Valid time, when something holds in the world, is in the attributes that the contract's `temporal` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from sdi.contract.layer import Layer
from sdi.contract.query import as_of as moment_of
from sdi.errors import BadRequest, NotFound, UsageError
from sdi.store import engine, tables
from sdi.store.engine import Connection

START = 0
"""Stands for the state before the first load: nothing."""


# --- states -------------------------------------------------------------------------------------------------------


def as_of(layer: Layer, load: sql.Composable, columns: Iterable[str] | None = None) -> sql.Composed:
    """SQL of the rows as load `load` (an expression) left them, to stand behind FROM in brackets.

    columns: None: all. A condition on it reaches the indexes of the layer and of its past.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, tables.columns(layer) if columns is None else columns))
    return sql.SQL(
        "SELECT {0} FROM {1} WHERE load_id <= {3} UNION ALL SELECT {0} FROM {2} WHERE load_id <= {3} AND load_to > {3}"
    ).format(names, tables.now(layer), tables.past(layer), load)


def load_at(layer: sql.Composable, moment: sql.Composable) -> sql.Composed:
    """SQL of the last load of a layer (an expression) that was committed at an instant or before; 0: none was."""
    return sql.SQL(
        "coalesce((SELECT load_id FROM sdi.load WHERE layer = {} AND status = 'done' AND finished_at <= {}"
        " ORDER BY finished_at DESC, load_id DESC LIMIT 1), 0)"
    ).format(layer, moment)


def resolve(connection: Connection, layer: Layer, text: str) -> int:
    """The load of a layer that words mean: `now`, a load id, a date (its end in Viet Nam), or an RFC 3339 instant.

    The id of another layer's load means the state that stood when that load was committed. START for 0, and where
    nothing was loaded by then. Raises NotFound, UsageError.
    """
    word = text.strip()
    if word == "now":
        return _at(connection, layer, None)
    if word.isascii() and word.isdigit():
        return _of_load(connection, layer, int(word))
    try:
        return _at(connection, layer, moment_of(word))
    except BadRequest:
        raise UsageError(
            f"'{text[:40]}' is neither a load nor a time.", hint="Write 12, now, 2026-07-01 or 2026-07-01T08:30:00Z."
        ) from None


def _at(connection: Connection, layer: Layer, moment: datetime | None) -> int:
    limit = sql.SQL("'infinity'") if moment is None else sql.Literal(moment)
    with engine.translated():
        row = connection.execute(sql.SQL("SELECT {}").format(load_at(sql.Literal(layer.id), limit))).fetchone()
    return int(row[0]) if row else START


def _of_load(connection: Connection, layer: Layer, load_id: int) -> int:
    if load_id == START:
        return START
    query = "SELECT layer, finished_at FROM sdi.load WHERE load_id = %s AND status = 'done'"
    with engine.translated():
        row = connection.execute(query, [min(load_id, 2**63 - 1)]).fetchone()
    if row is None:
        raise NotFound(f"No load {load_id} was done.", hint=f"See 'sdi history {layer.id}'.")
    return load_id if row[0] == layer.id else _at(connection, layer, row[1])


# --- one feature --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """One state of a feature. Record time: known from load `load_id` to load `load_to`; None: still."""

    load_id: int
    load_to: int | None
    known_from: datetime
    known_to: datetime | None
    steward: str
    """Who brought it."""
    mode: str | None
    file_name: str | None
    cause: int | None
    """Of a derived layer: the load that made it change."""
    restores: int | None
    """Of a rollback: the load whose state came back."""
    ended_by: str | None
    """Who ended it, where nothing took its place."""
    valid_from: date | datetime | None
    valid_to: date | datetime | None
    """As the contract's `temporal` tells; exclusive; None: open, or the layer has none."""
    changed: dict[str, tuple[Any, Any]]
    """Attribute -> (before, after), against the version that it took the place of."""
    reshaped: bool
    """Its geometry is another than before."""
    attributes: dict[str, Any]
    geometry: str | None
    """EWKB in hexadecimal digits, in its own grid."""
    row_hash: str

    def to_json(self) -> dict[str, Any]:
        pairs = {name: {"before": before, "after": after} for name, (before, after) in self.changed.items()}
        return self.__dict__ | {"changed": pairs}


def versions(connection: Connection, layer: Layer, feature: str) -> list[Version]:
    """Every state of a feature, the oldest first. Raises NotFound when there never was such a feature."""
    _stored(layer)
    columns = sql.SQL(", ").join(map(sql.Identifier, tables.columns(layer)))
    statement = sql.SQL(
        "SELECT v.*, v.geom::text AS shape, encode(v.row_hash, 'hex') AS digest, b.finished_at AS known_from,"
        " e.finished_at AS known_to, b.steward, b.mode, b.file_name, b.cause, b.restores, e.steward AS ended_by"
        " FROM (SELECT {0}, NULL::bigint AS load_to FROM {1} WHERE id = %(id)s"
        " UNION ALL SELECT {0}, load_to FROM {2} WHERE id = %(id)s) v"
        " JOIN sdi.load b ON b.load_id = v.load_id LEFT JOIN sdi.load e ON e.load_id = v.load_to ORDER BY v.load_id"
    ).format(columns, tables.now(layer), tables.past(layer))
    with engine.translated(), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, {"id": feature}).fetchall()
    if not rows:
        raise NotFound(f"'{layer.id}' never had a feature '{feature[:100]}'.")
    return list(_versions(layer, rows))


def _versions(layer: Layer, rows: list[dict[str, Any]]) -> Iterator[Version]:
    names = [attribute.name for attribute in layer.stored]
    start, end = _time_of(layer)
    for before, row, after in zip([None, *rows], rows, [*rows[1:], None], strict=False):
        # A feature that had ended and came back has nothing that it differs from.
        follows = before is not None and before["load_to"] == row["load_id"]
        old = before if follows and before is not None else {}
        replaced = after is not None and after["load_id"] == row["load_to"]
        yield Version(
            **{name: row[name] for name in _LEDGER},
            ended_by=None if replaced else row["ended_by"],
            valid_from=row[start] if start else None,
            valid_to=row[end] if end else None,
            changed={name: (old[name], row[name]) for name in names if old and _differ(old[name], row[name])},
            reshaped=bool(old) and old["shape"] != row["shape"],
            attributes={name: row[name] for name in names},
            geometry=row["shape"],
            row_hash=row["digest"],
        )


_LEDGER = ("load_id", "load_to", "known_from", "known_to", "steward", "mode", "file_name", "cause", "restores")


def _time_of(layer: Layer) -> tuple[str | None, str | None]:
    temporal = layer.temporal
    return (None, None) if temporal is None else (temporal.instant or temporal.start, temporal.end)


def _differ(one: Any, other: Any) -> bool:
    return bool(one != other) and not (one != one and other != other)  # NaN is no change of NaN


def _stored(layer: Layer) -> None:
    if layer.coverage is not None:
        raise UsageError(f"'{layer.id}' is a coverage, and has no features.", hint=f"See 'sdi history {layer.id}'.")
