"""The register of findings and of the quarantine, brought back with the layer whose loads wrote it.

An entry stands from the load that told it until the one that ended it. A rollback lets those stand again that stood
after the load whose state comes back, and ends those that came since, as of its own load. When an entry did not stand
is kept (`sdi.reopened`), so a rollback is taken back by the next, to the entry.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.store.engine import Connection

_STOOD = """e.load_id <= %(to)s AND NOT EXISTS (
    SELECT FROM sdi.reopened r WHERE r.register = {register} AND r.load_id = e.load_id AND r.number = e.{number}
        AND r.ended_by <= %(to)s AND r.reopened_by > %(to)s
)"""
# What a rollback had ended because its load was undone, and stands ended again, tells how it had ended before that.
_REOPEN = f"""
INSERT INTO sdi.reopened (register, layer, load_id, number, ended_by, ended_as, reopened_by)
SELECT DISTINCT {{register}}, e.layer, e.load_id, e.{{number}}, e.ended_by, {{ended_as}}, %(load)s::bigint
FROM {{table}} e WHERE e.layer = %(layer)s AND e.ended_by > %(to)s AND {_STOOD}"""
_STAND = """
UPDATE {table} e SET {none} FROM sdi.reopened a
WHERE a.reopened_by = %(load)s AND a.register = {register} AND a.load_id = e.load_id AND a.number = e.{number}"""
_END = f"""
UPDATE {{table}} e SET {{ended}}
WHERE e.layer = %(layer)s AND e.ended_by IS NULL AND NOT ({_STOOD})"""
_FORMER = """coalesce((
    SELECT a.ended_as FROM sdi.reopened a WHERE a.register = {register} AND a.load_id = e.load_id
        AND a.number = e.{number} AND a.ended_by <= %(to)s AND a.reopened_by > %(to)s LIMIT 1
), 'undone')"""


def take_back(connection: Connection, layer: Layer, to_load: int, load_id: int) -> None:
    """Bring the findings and the quarantine of a layer to those that stood after load `to_load`, as part of the
    rollback `load_id`."""
    facts = {"layer": layer.id, "to": to_load, "load": load_id}
    _bring(connection, "finding", "ordinal", facts)
    _bring(connection, "quarantine", "source_row", facts)


def _bring(connection: Connection, register: str, number: str, facts: dict[str, Any]) -> None:
    parts: dict[str, sql.Composable] = {
        "register": sql.Literal(register), "table": sql.Identifier("sdi", register), "number": sql.Identifier(number),
    }  # fmt: skip
    says_how = register == "quarantine"
    parts |= {
        "ended_as": sql.SQL("e.ended_as" if says_how else "NULL"),
        "none": sql.SQL("ended_by = NULL, ended_as = NULL" if says_how else "ended_by = NULL"),
        "ended": sql.SQL("ended_by = %(load)s, ended_as = {}" if says_how else "ended_by = %(load)s").format(
            sql.SQL(_FORMER).format(**parts)
        ),
    }
    for statement in (_REOPEN, _STAND, _END):
        connection.execute(sql.SQL(statement).format(**parts), facts)
