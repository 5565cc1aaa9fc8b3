"""Finding in the trail: by agency, layer, feature and time; the newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from sdi.store import engine
from sdi.store.engine import Connection

MOST = 1000
"""Entries that are answered at once."""
WHOLE = "*"
"""Among the ids of a read: every feature of the layer, as a file of the whole layer has them."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for; None: anything. `layers`: one of these. `before`: entries with a smaller number."""

    agency: str | None = None
    layers: Sequence[str] | None = None
    feature: str | None = None
    """An id: reads of it alone, of pages that held it, of files of its whole layer; tiles are told by place alone."""
    since: datetime | None = None
    until: datetime | None = None
    """The first instant that is not meant."""
    before: int | None = None
    limit: int = 100


@dataclass(frozen=True)
class Entry:
    seq: int
    recorded_at: datetime
    body: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"seq": self.seq, "recorded_at": self.recorded_at.isoformat(), **self.body}


def find(connection: Connection, wanted: Wanted) -> list[Entry]:
    """The newest first. `connection`: an owner's or a steward's."""
    statement, values = select(wanted)
    with engine.translated():
        rows = connection.execute(statement, values).fetchall()
    return [entry(row) for row in rows]


def select(wanted: Wanted) -> tuple[sql.Composed, dict[str, Any]]:
    """The statement of a search and its parameters; rows are for `entry`."""
    conditions = [sql.SQL("true")]
    for name, condition in _CONDITIONS.items():
        if getattr(wanted, name) is not None:
            conditions.append(sql.SQL(condition))
    statement = sql.SQL(
        "SELECT seq, recorded_at, body FROM sdi_audit.entry WHERE {} ORDER BY seq DESC LIMIT %(limit)s"
    ).format(sql.SQL(" AND ").join(conditions))
    layers = None if wanted.layers is None else list(wanted.layers)
    return statement, {
        "agency": wanted.agency, "layers": layers, "feature": wanted.feature, "named": [wanted.feature, WHOLE],
        "since": wanted.since, "until": wanted.until, "before": wanted.before, "limit": min(wanted.limit, MOST),
    }  # fmt: skip


_CONDITIONS = {
    "agency": "agency = %(agency)s",
    "layers": "layers && %(layers)s::text[]",
    # The few of an item are in the index; the many of a page are looked for in the text of what is left.
    "feature": "(ids && %(named)s::text[] OR (ids IS NULL AND sdi_audit.has_version(body, %(feature)s)))",
    "since": "at >= %(since)s",
    "until": "at < %(until)s",
    "before": "seq < %(before)s",
}


def entry(row: tuple[Any, ...]) -> Entry:
    body = row[2].decode() if isinstance(row[2], bytes) else row[2]
    return Entry(int(row[0]), row[1], json.loads(body))
