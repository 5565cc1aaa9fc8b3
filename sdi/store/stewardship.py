"""One agency alone collects a layer (NĐ 27/2019 Điều 27.1), or one for each of its areas.

A layer without a grant takes deliveries from anyone: a small city need not say. Where grants stand, a load by somebody
else is refused before its file is read. A steward with areas (values of the layer's `load.scope`: commune codes) writes
and ends nothing outside them, which is looked at in the load's transaction, after the fact and for certain.

A steward is who the delivery says it is from: this keeps agencies from treading on each other by mistake. What a login
may do at all is decided by the roles of the database.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from sdi.contract.layer import Layer
from sdi.errors import NotAllowed, NotFound, UsageError
from sdi.store import engine, tables
from sdi.store.engine import OWNER, Connection

_NAMED = 3
"""Areas named in a refusal."""


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
    steward = _clean(steward)
    if layer.derived is not None:
        raise UsageError(f"'{layer.id}' is made from other layers: nobody delivers it.")
    if not steward:
        raise UsageError("A steward has a name.")
    if area is not None and layer.load.scope is None:
        raise UsageError(f"'{layer.id}' has no areas: its contract names no load.scope.", hint="Give the whole layer.")
    with engine.translated(), connection.transaction():
        _own(connection)
        standing = grants(connection, layer.id)
        for other in standing:
            if _same(other.steward, steward) and other.area == area:
                return False
            if other.area == area or (not _same(other.steward, steward) and (other.area is None or area is None)):
                raise NotAllowed(f"{_what(layer, other.area)} is held by {_who([other])}.",
                                 hint=f"First: sdi steward revoke {layer.id} '{other.steward}'.")  # fmt: skip
        connection.execute(
            "INSERT INTO sdi.stewardship (layer, area, steward) VALUES (%s, %s, %s)", [layer.id, area, steward]
        )
    return True


def revoke(connection: Connection, layer: Layer, steward: str, area: str | None = None) -> int:
    """Take back a steward's grant on an area, or all his grants on the layer; how many. Raises NotFound for none."""
    with engine.translated(), connection.transaction():
        _own(connection)
        gone = [each for each in grants(connection, layer.id)
                if _same(each.steward, steward) and (area is None or each.area == area)]  # fmt: skip
        for each in gone:
            connection.execute(
                "UPDATE sdi.stewardship SET revoked_at = clock_timestamp(), revoked_by = session_user"
                " WHERE layer = %s AND area IS NOT DISTINCT FROM %s AND revoked_at IS NULL",
                [layer.id, each.area],
            )
    if not gone:
        raise NotFound(f"'{steward}' holds no such grant on '{layer.id}'.", hint="Run 'sdi steward list'.")
    return len(gone)


def require(connection: Connection, layer: Layer, steward: str) -> None:
    """Raise NotAllowed, naming who may, when a layer has stewards and this is none of them. Costs one small query."""
    standing = grants(connection, layer.id)
    if standing and not any(_same(each.steward, steward) for each in standing):
        raise NotAllowed(f"'{layer.id}' is collected by {_who(standing)}; '{steward}' may not load it.",
                         hint="Ask them, or have the owner run 'sdi steward grant'.")  # fmt: skip


def examine(connection: Connection, layer: Layer, load_id: int, steward: str) -> None:
    """Look at what a load wrote and ended, in its transaction. Raises NotAllowed for anything outside his areas."""
    standing = grants(connection, layer.id)
    mine = [each.area for each in standing if _same(each.steward, steward)]
    if not standing or None in mine:
        return
    require(connection, layer, steward)
    scope = sql.Identifier(layer.load.scope or "id")
    with engine.translated():
        outside = connection.execute(
            sql.SQL(
                "SELECT area, count(*) FROM (SELECT {scope}::text AS area FROM {now} WHERE load_id = %(load_id)s"
                " UNION ALL SELECT {scope}::text FROM {past} WHERE load_to = %(load_id)s) w"
                " WHERE area IS NULL OR NOT area = ANY (%(mine)s) GROUP BY area ORDER BY count(*) DESC, area"
            ).format(scope=scope, now=tables.now(layer), past=tables.past(layer)),
            {"load_id": load_id, "mine": mine},
        ).fetchall()
    if outside:
        raise NotAllowed(_outside(layer, steward, standing, outside), hint=f"Deliver only {', '.join(map(str, mine))}.")


def _outside(layer: Layer, steward: str, standing: Sequence[Grant], outside: Sequence[tuple[str | None, int]]) -> str:
    told = []
    for area, count in outside[:_NAMED]:
        held = [each for each in standing if each.area == area]
        told.append(f"{area or f'without {layer.load.scope}'}: {count:,} changes, {_who(held) if held else 'nobody'}")
    more = f"; {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
    return f"The delivery of '{steward}' changes '{layer.id}' outside his areas ({'; '.join(told)}{more})."


def _own(connection: Connection) -> None:
    """Be the owner, and alone: two who give one layer away at once are one after the other."""
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
    connection.execute("LOCK TABLE sdi.stewardship IN SHARE ROW EXCLUSIVE MODE")


def _what(layer: Layer, area: str | None) -> str:
    return f"'{layer.id}'" if area is None else f"Area {area} of '{layer.id}'"


def _who(standing: Sequence[Grant]) -> str:
    """Each holder once, with what he holds."""
    areas: dict[str, list[str]] = {}
    since = {each.steward: each.given_at for each in reversed(standing)}
    for each in standing:
        areas.setdefault(each.steward, []).extend([each.area] if each.area else [])
    told = []
    for steward, codes in areas.items():
        listed = f" ({', '.join(codes[:_NAMED])}{' …' if len(codes) > _NAMED else ''})" if codes else ""
        told.append(f"'{steward}'{listed} since {since[steward]:%Y-%m-%d}")
    return ", ".join(told[:_NAMED]) + (f" and {len(told) - _NAMED} more" if len(told) > _NAMED else "")


def _clean(steward: str) -> str:
    return " ".join(unicodedata.normalize("NFC", steward).split())


def _same(one: str, other: str) -> bool:
    return _clean(one).casefold() == _clean(other).casefold()
