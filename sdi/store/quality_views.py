"""Schema `qa`: a view for each quality collection of a layer, made from the contracts and renewed when they change.

Only sdi_steward may read them. Their owner reads the tables below, so the role itself needs no right to those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from psycopg import sql

from sdi.contract import quality
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.store.engine import STEWARD, Connection
from sdi.store.structure import Step

_FINDINGS = sql.SQL(
    """SELECT concat(f.load_id, '.', f.ordinal) AS id, f.rule, f.severity, f.action, f.sentence_vi, f.sentence_en,
    f.feature, f.source_row AS "row", f.attribute, f.value #>> '{{}}' AS found, f.limit_value #>> '{{}}' AS expected,
    f.other #>> '{{}}' AS other, f.waived, f.load_id AS load, l.file_name, l.started_at AS delivered_at,
    f.place AS geom, f.place AS geom_wgs84
FROM sdi.finding f JOIN sdi.load l USING (load_id)
WHERE f.layer = {layer} AND f.ended_by IS NULL"""
)
_QUARANTINE = sql.SQL(
    """SELECT concat(h.load_id, '.', h.source_row) AS id, h.state AS qa_state, h.rules AS qa_rules,
    h.vi AS qa_sentence_vi, h.en AS qa_sentence_en, h.id AS qa_feature, h.source_row AS qa_row, h.load_id AS qa_load,
    h.file_name AS qa_file_name, h.delivered_at AS qa_delivered_at, {raw}, h.geom, h.geom_wgs84
FROM sdi.held h
WHERE h.layer = {layer} AND h.ended_by IS NULL"""
)


def changes(connection: Connection, registry: Registry) -> Iterator[Step]:
    """The views that are missing or not as the contracts say, and those whose layer is gone."""
    query = (
        "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'v' ORDER BY 1"
    )
    found: dict[str, str | None] = dict(connection.execute(query, [quality.SCHEMA]).fetchall())
    for layer in registry:
        for view in quality.beside(layer):
            body = _body(layer, view).as_string(connection)
            digest = hashlib.sha256(body.encode()).hexdigest()
            if found.pop(view.id, None) != digest:
                yield f"Make view {quality.SCHEMA}.{view.id}.", _make(view, body, digest, connection)
    for name in found:
        drop = sql.SQL("DROP VIEW {}").format(sql.Identifier(quality.SCHEMA, name)).as_string(connection)
        yield f"Drop view {quality.SCHEMA}.{name}.", drop


def _body(layer: Layer, view: Layer) -> sql.Composed:
    if view == quality.findings_of(layer):
        return _FINDINGS.format(layer=sql.Literal(layer.id))
    raw = sql.SQL(", ").join(
        sql.SQL("h.attributes ->> {} AS {}").format(sql.Literal(attribute.name), sql.Identifier(attribute.name))
        for attribute in quality.delivered(layer)
    )
    return _QUARANTINE.format(layer=sql.Literal(layer.id), raw=raw)


def _make(view: Layer, body: str, digest: str, connection: Connection) -> str:
    name = sql.Identifier(*view.table).as_string(connection)
    return ";\n".join([
        f"DROP VIEW IF EXISTS {name}",
        f"CREATE VIEW {name} AS {body}",
        sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(*view.table), sql.Identifier(STEWARD))
        .as_string(connection),
        f"COMMENT ON VIEW {name} IS '{digest}'",
    ])  # fmt: skip
