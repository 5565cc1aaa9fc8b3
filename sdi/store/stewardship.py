"""One agency alone collects a layer (NĐ 27/2019 Điều 27.1), or one for each of its areas: the register of that.

What follows from it for a load is told by `writers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from sdi.contract.layer import Layer
from sdi.errors import NotFound, UsageError
from sdi.store import engine, writers
from sdi.store.engine import OWNER, Connection


@dataclass(frozen=True)
class Grant:
    """`area`: a value of the layer's `load.scope`; None: the whole layer."""

    layer: str
    area: str | None
    steward: str
    given_at: datetime
    given_by: str
    revoked_at: datetime | None
    revoked_by: str | None


def grants(connection: Connection, layer: str | None = None, *, revoked: bool = False) -> list[Grant]:
    """The grants that stand, of one layer or of all; `revoked`: also those taken back, the newest last."""
    with engine.translated(), connection.cursor(row_factory=class_row(Grant)) as cursor:
        return cursor.execute(
            "SELECT layer, area, steward, given_at, given_by, revoked_at, revoked_by FROM sdi.stewardship"
            " WHERE (%(layer)s::text IS NULL OR layer = %(layer)s) AND (revoked_at IS NULL OR %(revoked)s)"
            " ORDER BY layer, area NULLS FIRST, grant_id",
            {"layer": layer, "revoked": revoked},
        ).fetchall()


def grant(connection: Connection, layer: Layer, steward: str, area: str | None = None) -> bool:
    """Give a layer, or one area of it, to a steward; False: he had it. `connection`: an owner's, in autocommit mode.

    Raises UsageError when the layer takes no deliveries or has no areas, NotAllowed when somebody else holds it.
    """
    steward = writers.clean(steward)
    if layer.derived is not None:
        raise UsageError(f"'{layer.id}' is made from other layers: nobody delivers it.")
    if not steward:
        raise UsageError("A steward has a name.")
    if area is not None and layer.load.scope is None:
        raise UsageError(f"'{layer.id}' has no areas: its contract names no load.scope.", hint="Give the whole layer.")
    with engine.translated(), connection.transaction():
        _own(connection)
        writers.require_free(connection, layer, steward, None if area is None else [area])
        if any(writers.same(each.steward, steward) and each.area == area for each in grants(connection, layer.id)):
            return False
        connection.execute(
            "INSERT INTO sdi.stewardship (layer, area, steward) VALUES (%s, %s, %s)", [layer.id, area, steward]
        )
    return True


def revoke(connection: Connection, layer: Layer, steward: str, area: str | None = None) -> int:
    """Take back a steward's grant on an area, or all his grants on the layer; how many. Raises NotFound for none."""
    with engine.translated(), connection.transaction():
        _own(connection)
        gone = [each for each in grants(connection, layer.id)
                if writers.same(each.steward, steward) and (area is None or each.area == area)]  # fmt: skip
        for each in gone:
            connection.execute(
                "UPDATE sdi.stewardship SET revoked_at = clock_timestamp(), revoked_by = session_user"
                " WHERE layer = %s AND area IS NOT DISTINCT FROM %s AND revoked_at IS NULL",
                [layer.id, each.area],
            )
    if not gone:
        raise NotFound(f"'{steward}' holds no such grant on '{layer.id}'.", hint="Run 'sdi steward list'.")
    return len(gone)


def _own(connection: Connection) -> None:
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
