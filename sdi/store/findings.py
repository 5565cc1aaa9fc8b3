"""What was found in a delivery, beside its entry in the ledger."""

from __future__ import annotations

import json
from typing import Any

from sdi.contract.report import Report
from sdi.store.engine import Connection


def write(connection: Connection, load_id: int, report: Report) -> None:
    """Write a report's findings beside its load."""
    if not report.findings:
        return
    copy = (
        "COPY sdi.finding (load_id, ordinal, layer, rule, severity, action, feature, source_row, attribute, value,"
        " limit_value, other, sentence_vi, sentence_en, place, waived) FROM STDIN"
    )
    with connection.cursor().copy(copy) as rows:
        for ordinal, finding in enumerate(report.findings, start=1):
            place = finding.place and "SRID=4326;POINT({!r} {!r})".format(*map(float, finding.place))
            rows.write_row((
                load_id, ordinal, report.layer, finding.rule, finding.severity, finding.action, finding.feature,
                finding.row, finding.attribute, _json(finding.value), _json(finding.limit), _json(finding.other),
                finding.sentence("vi"), finding.sentence("en"), place, finding.waived,
            ))  # fmt: skip


def read(connection: Connection, load_id: int) -> list[dict[str, Any]]:
    """The findings of a load, as `Finding.to_json()` gives them."""
    query = (
        "SELECT jsonb_build_object('rule', rule, 'severity', severity, 'action', action, 'feature', feature,"
        " 'row', source_row, 'attribute', attribute, 'value', value, 'limit', limit_value, 'other', other,"
        " 'place', CASE WHEN place IS NOT NULL THEN jsonb_build_array(ST_X(place), ST_Y(place)) END,"
        " 'waived', waived, 'vi', sentence_vi, 'en', sentence_en) FROM sdi.finding WHERE load_id = %s ORDER BY ordinal"
    )
    return [row[0] for row in connection.execute(query, [load_id])]


def _json(value: Any) -> str | None:
    """JSON that PostgreSQL takes: without NUL, which text there cannot hold; a numpy number as its Python one."""
    if value is None:
        return None
    text = json.dumps(value, default=lambda other: other.item() if hasattr(other, "item") else str(other))
    return text.replace("\\u0000", "\\ufffd")
