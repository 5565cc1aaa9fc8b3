"""Finding in the trail: by agency, layer, feature and time; the newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from sdi.store import engine
from sdi.store.engine import Connection
from sdi.store.statement import Parameters, Statement, Type

MOST = 1000
"""Entries that are answered at once."""
WHOLE = "*"
"""Among the ids of a read: every feature of the layer, as a file of the whole layer has them."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for; None: anything. `layers`: one of these. `before`: entries with a smaller number."""

    agency: str | None = None
    action: str | None = None
    """`item`, `items`, `export`, `grant`, `agency_key`, `request`, `refused` …"""
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
        recorded = self.recorded_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return {"seq": self.seq, "recorded_at": recorded, **self.body}


def find(connection: Connection, wanted: Wanted) -> list[Entry]:
    """The newest first. `connection`: an owner's or a steward's."""
    statement = select(wanted)
    with engine.translated():
        rows = connection.execute(statement.sql, statement.params).fetchall()
    return [entry(row) for row in rows]


def select(wanted: Wanted) -> Statement:
    """The statement of a search; its rows are for `entry`."""
    parameters = Parameters()
    conditions: list[sql.Composable] = [sql.SQL("true")]

    def must(condition: str, **values: tuple[Any, Type]) -> None:
        bound = {name: parameters.bind(*value) for name, value in values.items()}
        conditions.append(sql.SQL(condition).format(**bound))

    if wanted.agency is not None:
        must("agency = {agency}", agency=(wanted.agency, "text"))
    if wanted.action is not None:
        must("action = {action}", action=(wanted.action, "text"))
    if wanted.layers is not None:
        must("layers && {layers}", layers=(list(wanted.layers), "text[]"))
    if wanted.feature is not None:
        # The few of an item are in the index; the many of a page are looked for in the text of what is left.
        must("(ids && {named} OR (ids IS NULL AND sdi_audit.has_version(body, {feature})))",
             named=([wanted.feature, WHOLE], "text[]"), feature=(wanted.feature, "text"))  # fmt: skip
    if wanted.since is not None:
        must("at >= {since}", since=(wanted.since, "timestamptz"))
    if wanted.until is not None:
        must("at < {until}", until=(wanted.until, "timestamptz"))
    if wanted.before is not None:
        must("seq < {before}", before=(wanted.before, "bigint"))
    return parameters.statement(
        sql.SQL("SELECT seq, recorded_at, body FROM sdi_audit.entry WHERE {} ORDER BY seq DESC LIMIT {}").format(
            sql.SQL(" AND ").join(conditions), parameters.bind(min(wanted.limit, MOST), "bigint")
        )
    )


def entry(row: tuple[Any, ...]) -> Entry:
    body = row[2].decode() if isinstance(row[2], bytes) else row[2]
    return Entry(int(row[0]), row[1], json.loads(body))
