"""Features that a load could not take: which of them stand, and what a later load made of them.

A row of the quarantine stands until a later delivery brings its feature without fault, with a fault again, or, where
the delivery is whole, no longer. Findings stand likewise until a later delivery tells anew about their feature or file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import class_row

from sdi.contract import quality
from sdi.contract.layer import Layer
from sdi.contract.rules import RULES
from sdi.store import engine, succession, tables
from sdi.store.engine import Connection

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Held:
    """One feature in quarantine. `attributes`: as delivered, by the contract's names, nothing personal among them.
    `state`: open, waived, corrected, repeated, undone. `geom`: EWKB as delivered, in its grid."""

    load_id: int
    source_row: int
    layer: str
    id: str | None
    state: str
    rules: str | None
    vi: str | None
    en: str | None
    attributes: dict[str, Any]
    geom: bytes | None
    delivered_at: datetime
    file_name: str | None
    steward: str
    ended_by: int | None


def held(
    connection: Connection, layer: str | None = None, *, load_id: int | None = None, ended: bool = False,
    limit: int | None = None,
) -> Iterator[Held]:  # fmt: skip
    """Features in quarantine, by layer, load and row; of one layer or load, and with those that have `ended`."""
    statement = (
        "SELECT load_id, source_row, layer, id, state, rules, vi, en, attributes, ST_AsEWKB(geom) AS geom,"
        " delivered_at, file_name, steward, ended_by FROM sdi.held"
        " WHERE (%(layer)s::text IS NULL OR layer = %(layer)s)"
        " AND (%(load_id)s::bigint IS NULL OR load_id = %(load_id)s) AND (%(ended)s OR ended_by IS NULL)"
        " ORDER BY layer, load_id, source_row LIMIT %(limit)s"
    )
    parameters = {"layer": layer, "load_id": load_id, "ended": ended or load_id is not None, "limit": limit}
    with engine.translated(), connection.cursor(row_factory=class_row(Held)) as cursor:
        yield from cursor.execute(statement, parameters)


def table(connection: Connection, layer: Layer, load_id: int | None = None) -> pa.Table:
    """The features of a layer that stand in quarantine, or all that a load put there: the marks of
    `contract.quality`, what was delivered as its text, and `geom` (EWKB, as delivered)."""
    import pyarrow as pa  # 35 MB that a process that only reads the ledger would hold for nothing

    rows = list(held(connection, layer.id, load_id=load_id))
    marks: dict[str, list[Any]] = {
        "qa_state": [row.state for row in rows], "qa_rules": [row.rules for row in rows],
        "qa_sentence_vi": [row.vi for row in rows], "qa_sentence_en": [row.en for row in rows],
        "qa_feature": [row.id for row in rows], "qa_row": [row.source_row for row in rows],
        "qa_load": [row.load_id for row in rows], "qa_file_name": [row.file_name for row in rows],
        "qa_delivered_at": [row.delivered_at.isoformat(timespec="seconds") for row in rows],
    }  # fmt: skip
    numbers = ("qa_row", "qa_load")
    columns = {name: pa.array(values, pa.int64() if name in numbers else pa.string()) for name, values in marks.items()}
    for attribute in quality.delivered(layer):
        columns[attribute.name] = pa.array([_text(row.attributes.get(attribute.name)) for row in rows], pa.string())
    columns["geom"] = pa.array([row.geom for row in rows], pa.binary())
    return pa.table(columns)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def count(connection: Connection, layer: str | None = None) -> dict[tuple[str, str], int]:
    """(layer, state) -> how many rows of the quarantine are in it."""
    statement = (
        "SELECT layer, state, count(*) FROM sdi.held WHERE %(layer)s::text IS NULL OR layer = %(layer)s GROUP BY 1, 2"
    )
    with engine.translated():
        return {(row[0], row[1]): row[2] for row in connection.execute(statement, {"layer": layer})}


def states(connection: Connection, load_id: int) -> dict[str, int]:
    """What has become by now of the features that a load put in quarantine: state -> count."""
    statement = "SELECT state, count(*) FROM sdi.held WHERE load_id = %s GROUP BY 1 ORDER BY 2 DESC, 1"
    with engine.translated():
        return {row[0]: row[1] for row in connection.execute(statement, [load_id])}


def stands(connection: Connection, layer: Layer, load_id: int) -> bool:
    """Whether anything about features of a layer stands from before this load, for `settle` to look at."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM sdi.quarantine WHERE layer = %(layer)s AND ended_by IS NULL"
        " AND load_id < %(load_id)s)"
        " OR EXISTS (SELECT FROM sdi.finding WHERE layer = %(layer)s AND ended_by IS NULL AND feature IS NOT NULL"
        " AND load_id < %(load_id)s)",
        {"layer": layer.id, "load_id": load_id},
    ).fetchone()
    return bool(row and row[0])


def settle(
    connection: Connection, layer: Layer, load_id: int, *, delivered: sql.Composable, mode: str | None = None
) -> None:
    """End what this load has made past; belongs into the load's transaction, after its rows were written.

    delivered: the table of the delivery's good features, with `id` and the attributes. mode: how the delivery was
    meant, `full` or `partial`; None: as the contract says.
    """
    whole = (mode or layer.load.mode) == "full" and layer.load.scope is None
    parts: dict[str, sql.Composable] = {
        "delivered": delivered, "whole": sql.Literal(whole), "inside": _inside(connection, layer, delivered, mode),
        "now": tables.now(layer),
    }  # fmt: skip
    for statement in (_REPEATED, _TAKEN, _ABSENT, _FINDINGS):
        connection.execute(sql.SQL(statement).format(**parts), {"layer": layer.id, "load_id": load_id})
    settle_refusals(connection, layer.id, load_id)


def settle_coverage(connection: Connection, layer: Layer, load_id: int) -> None:
    """A coverage is delivered whole: what was found in the one before is past."""
    connection.execute(
        "UPDATE sdi.finding SET ended_by = %(load_id)s"
        " WHERE layer = %(layer)s AND ended_by IS NULL AND load_id < %(load_id)s",
        {"layer": layer.id, "load_id": load_id},
    )


def settle_refusals(connection: Connection, layer: str, load_id: int) -> None:
    """A delivery, refused or not, makes past what was found in the refused ones before it."""
    connection.execute(
        "UPDATE sdi.finding f SET ended_by = %(load_id)s FROM sdi.load l"
        " WHERE l.load_id = f.load_id AND l.status = 'refused' AND f.layer = %(layer)s AND f.ended_by IS NULL"
        " AND f.load_id < %(load_id)s",
        {"layer": layer, "load_id": load_id},
    )


def sum_up(connection: Connection, layer: Layer, load_id: int) -> None:
    """Write how good the layer is after this load, by element of ISO 19157-1; belongs into the load's transaction, once
    the layer's publication is brought to its rows.

    Of the features handed in (served, or open in quarantine) those count as faulty that have a standing error or
    warning; what was repaired, and what is only told, is no fault of what is stored.
    """
    parameters = {
        "layer": layer.id, "load_id": load_id, "rules": list(RULES),
        "elements": [rule.element for rule in RULES.values()],
    }  # fmt: skip
    connection.execute(sql.SQL(_SUM).format(now=tables.now(layer)), parameters)


def _inside(connection: Connection, layer: Layer, delivered: sql.Composable, mode: str | None) -> sql.Composable:
    """Whether a feature in quarantine, by its scope as delivered, lies where a whole delivery would have brought it."""
    scope = layer.load.scope
    if scope is None or (mode or layer.load.mode) != "full":
        return sql.SQL("false")
    column = sql.Identifier(scope)
    if layer.reform is not None and layer.reform.attribute == scope and succession.speaks(connection):
        delivered, column = succession.SCOPES, sql.Identifier("code")
    # The text as delivered may lack the zeros that a number column took.
    return sql.SQL(
        "EXISTS (SELECT FROM {delivered} s WHERE s.{scope} IS NOT NULL"
        " AND s.{scope}::text = lpad(q.attributes ->> {name}, length(s.{scope}::text), '0'))"
    ).format(delivered=delivered, scope=column, name=sql.Literal(scope))


_EARLIER = "q.layer = %(layer)s AND q.ended_by IS NULL AND q.load_id < %(load_id)s"
_REPEATED = f"""
UPDATE sdi.quarantine q SET ended_by = %(load_id)s, ended_as = 'repeated'
WHERE {_EARLIER} AND EXISTS (SELECT FROM sdi.quarantine n WHERE n.load_id = %(load_id)s AND n.id = q.id)"""
_TAKEN = f"""
UPDATE sdi.quarantine q SET ended_by = %(load_id)s,
    ended_as = CASE WHEN EXISTS (
        SELECT FROM sdi.finding f WHERE f.load_id = %(load_id)s AND f.feature = q.id AND f.action = 'waived'
    ) THEN 'waived' ELSE 'corrected' END
WHERE {_EARLIER} AND EXISTS (SELECT FROM {{delivered}} s WHERE s.id = q.id)"""
_ABSENT = f"""
UPDATE sdi.quarantine q SET ended_by = %(load_id)s, ended_as = 'absent'
WHERE {_EARLIER} AND ({{whole}} OR {{inside}})"""
_FINDINGS = """
UPDATE sdi.finding f SET ended_by = %(load_id)s
WHERE f.layer = %(layer)s AND f.ended_by IS NULL AND f.load_id < %(load_id)s AND (
    {whole}
    OR f.feature IS NOT NULL AND (
        EXISTS (SELECT FROM {delivered} s WHERE s.id = f.feature)
        OR EXISTS (SELECT FROM sdi.quarantine n WHERE n.load_id = %(load_id)s AND n.id = f.feature)
        OR NOT EXISTS (SELECT FROM {now} o WHERE o.id = f.feature)
            AND NOT EXISTS (
                SELECT FROM sdi.quarantine n WHERE n.layer = f.layer AND n.id = f.feature AND n.ended_by IS NULL
            )
    )
    OR f.feature IS NULL AND (
        EXISTS (
            SELECT FROM sdi.load a JOIN sdi.load b ON b.file_name = a.file_name
            WHERE a.load_id = f.load_id AND b.load_id = %(load_id)s
        )
        OR EXISTS (
            SELECT FROM sdi.quarantine n WHERE n.load_id = f.load_id AND n.source_row = f.source_row
                AND n.ended_by IS NOT NULL
        )
    )
)"""
_SUM = """
WITH told AS (
    SELECT r.element, coalesce(f.feature, concat('#', f.load_id, '.', f.source_row)) AS who,
        f.action = 'waived' AS waived
    FROM sdi.finding f
    JOIN unnest(%(rules)s::text[], %(elements)s::text[]) AS r (rule, element) USING (rule)
    WHERE f.layer = %(layer)s AND f.ended_by IS NULL AND f.severity IN ('error', 'warning') AND f.action <> 'repair'
        AND (f.feature IS NOT NULL OR f.source_row IS NOT NULL)
),
counted AS (
    SELECT element, count(DISTINCT who) FILTER (WHERE NOT waived) AS faulty,
        count(DISTINCT who) FILTER (WHERE waived) AS waived
    FROM told GROUP BY element
),
handed_in AS (
    SELECT (SELECT p.count FROM sdi.publication p WHERE p.layer = %(layer)s) + (
        SELECT count(*) FROM sdi.quarantine q WHERE q.layer = %(layer)s AND q.ended_by IS NULL
            AND NOT EXISTS (SELECT FROM {now} o WHERE o.id = q.id)
    ) AS all_of_them
)
INSERT INTO sdi.quality (layer, load_id, element, evaluated, faulty, waived, rate)
SELECT %(layer)s, %(load_id)s, e.element, all_of_them, coalesce(faulty, 0), coalesce(waived, 0),
    least(1, coalesce(coalesce(faulty, 0)::double precision / nullif(all_of_them, 0), 0))
FROM (SELECT DISTINCT element FROM unnest(%(elements)s::text[]) AS each (element)) AS e
CROSS JOIN handed_in LEFT JOIN counted USING (element)"""
