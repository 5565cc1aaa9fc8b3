"""Who may write a layer, and decide over it in its steward's place.

Two registers tell: `sdi steward`, one agency for a layer or for each of its areas (NĐ 27/2019 Điều 27.1), and what
agencies are granted, of which `load` is the same right, `edit` that to deliver in part, and `approve` that to let
findings pass and to answer who asks for the layer.

Where neither names anybody, anyone may: a small city need not say. Where they do, the agency that the contract calls
the steward has what nobody was given. That somebody may at all is looked at before a file is read; that they wrote and
ended nothing outside their part, in the load's transaction, after the fact and for certain.

Who delivers is who the delivery says it is from: this keeps agencies from treading on each other by mistake. What a
login may do at all is decided by the roles of the database.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

from psycopg import sql
from psycopg.rows import dict_row

from sdi.access import Grant, covered
from sdi.contract.layer import Layer
from sdi.errors import NotAllowed
from sdi.national.clock import VIETNAM
from sdi.store import cql, cql_sql, engine, tables
from sdi.store.engine import Connection
from sdi.store.sharing import register
from sdi.store.statement import Parameters

Deed = Literal["load", "edit", "approve"]
_BY: dict[Deed, frozenset[Deed]] = {
    "load": frozenset({"load"}), "edit": frozenset({"load", "edit"}), "approve": frozenset({"load", "approve"}),
}  # fmt: skip
"""The rights by which somebody may do it."""
_ALL: frozenset[Deed] = frozenset({"load", "edit", "approve"})
_CLOSING: dict[Deed, frozenset[Deed]] = {
    "load": frozenset({"load", "edit"}), "edit": frozenset({"load", "edit"}), "approve": _ALL,
}  # fmt: skip
"""The rights because of which not everybody may do it any more."""
_NAMED = 3
"""Areas, and writers, named in a refusal."""


@dataclass(frozen=True)
class Writer:
    """A right that stands, or will. `area`: a value of the layer's `load.scope`; None: the whole layer, or what `grant`
    is about."""

    name: str
    called: tuple[str, ...]
    """How they may say who they are."""
    deeds: frozenset[Deed]
    since: date
    area: str | None = None
    grant: Grant | None = None

    def may(self, who: str, deeds: Collection[Deed]) -> bool:
        return not self.deeds.isdisjoint(deeds) and any(same(who, name) for name in (self.name, *self.called))

    @property
    def areas(self) -> tuple[str, ...] | None:
        """The areas it is confined to, as they were given; None: it is confined to none."""
        if self.area is not None:
            return (self.area,)
        return self.grant.communes if self.grant is not None else None

    def everywhere(self, layer: Layer) -> bool:
        return self.area is None and (self.grant is None or covered(layer, self.grant) == ((), ()))


def writers(connection: Connection, layer: Layer, day: date | None = None) -> list[Writer]:
    """Who has a right to a layer on a day in Viet Nam, the oldest first of each register. None: today's, and those that
    will be."""
    today = datetime.now(VIETNAM).date()
    with engine.translated(), connection.cursor(row_factory=dict_row) as cursor:
        stewards = cursor.execute(
            "SELECT steward, area, given_at FROM sdi.stewardship WHERE layer = %s AND revoked_at IS NULL"
            " ORDER BY area NULLS FIRST, grant_id",
            [layer.id],
        ).fetchall()
        granted = cursor.execute(
            "SELECT *, ST_AsGeoJSON(polygon, 9, 0) AS polygon FROM sdi.grant WHERE layer = %s AND revoked_at IS NULL"
            " AND actions && ARRAY['load', 'edit', 'approve'] ORDER BY given_at, grant_id",
            [layer.id],
        ).fetchall()
        agencies = cursor.execute(
            "SELECT id, ARRAY[name_vi, name_en] AS names, merged_into, merged_at FROM sdi.agency"
        ).fetchall()
        found = [Writer(row["steward"], (), _ALL, row["given_at"].date(), row["area"]) for row in stewards]
        for row in granted:
            given = register.grant_of(row)
            if given.holds(day) if day else given.valid_to is None or given.valid_to > today:
                grant = register.placed(connection, layer.others, given, day or today)
                found.append(_of_grant(grant, row["given_at"], agencies))
    return found


def _of_grant(grant: Grant, given_at: datetime, agencies: list[dict[str, Any]]) -> Writer:
    name = register.successors_of(agencies, datetime.now(UTC)).get(grant.agency, grant.agency)
    names: list[str] = next((row["names"] for row in agencies if row["id"] == name), [])
    called = tuple(each for each in names if sum(each in row["names"] for row in agencies) == 1)
    deeds = frozenset(deed for deed in _BY if deed in grant.actions)
    return Writer(name, called, deeds, grant.valid_from or given_at.date(), grant=grant)


# --- before a file is read ----------------------------------------------------------------------------------------


def require(connection: Connection, layer: Layer, who: str, deed: Deed = "load") -> None:
    """Raise NotAllowed, naming who may, when a layer has writers and this is none of them. Costs small queries."""
    standing = _standing(connection, layer, deed)
    if not standing or any(each.may(who, _BY[deed]) for each in standing) or _has_the_rest(layer, who, standing):
        return
    collectors = [each for each in standing if "load" in each.deeds]
    held = _named(collectors) if collectors else _rest(layer)
    hint = "Ask them, or have the owner run 'sdi steward grant' or 'sdi agencies grant'."
    match deed:
        case "load":
            if any(each.may(who, {"edit"}) for each in standing):
                hint = "Who may edit delivers in part: --mode partial."
            raise NotAllowed(f"'{layer.id}' is collected by {held}; '{who}' may not load it.", hint=hint)
        case "edit":
            raise NotAllowed(f"'{layer.id}' is collected by {held}; '{who}' may not edit it.", hint=hint)
    raise NotAllowed(f"'{layer.id}' is collected by {held}; '{who}' lets nothing pass.", hint=hint)


def _standing(connection: Connection, layer: Layer, deed: Deed) -> list[Writer]:
    today = datetime.now(VIETNAM).date()
    return [each for each in writers(connection, layer, today) if not each.deeds.isdisjoint(_CLOSING[deed])]


def _rest(layer: Layer) -> str:
    """Who collects what nobody was given: the contract's steward."""
    return f"'{layer.steward.id}'"


def _has_the_rest(layer: Layer, who: str, standing: Sequence[Writer]) -> bool:
    """Whether it is the contract's steward, and the layer has not been given away whole."""
    return same(who, layer.steward.id) and not any("load" in each.deeds and each.everywhere(layer) for each in standing)


# --- in the load's transaction ------------------------------------------------------------------------------------


def examine(connection: Connection, layer: Layer, load_id: int, who: str, deed: Deed = "load") -> None:
    """Look at what a load wrote and ended, in its transaction. Raises NotAllowed for anything outside their part."""
    standing = _standing(connection, layer, deed)
    mine = [each for each in standing if each.may(who, _BY[deed])]
    if not standing or any(each.everywhere(layer) for each in mine):
        return
    require(connection, layer, who, deed)
    parameters = Parameters(ruled=True)
    parts = [_part(layer, each, parameters) for each in mine]
    if _has_the_rest(layer, who, standing):
        others = [each for each in standing if "load" in each.deeds and each not in mine]
        if not others:
            return
        parts.append(sql.SQL("NOT ({})").format(_any([_part(layer, each, parameters) for each in others])))
    area = sql.SQL("{}::text").format(sql.Identifier(layer.load.scope)) if layer.load.scope else sql.SQL("NULL")
    with engine.translated():
        outside = connection.execute(
            sql.SQL(
                "SELECT {area}, count(DISTINCT id) FROM (SELECT {columns} FROM {now} WHERE load_id = {load}"
                " UNION ALL SELECT {columns} FROM {past} WHERE load_to = {load}) w"
                " WHERE NOT ({inside}) GROUP BY 1 ORDER BY 2 DESC, 1"
            ).format(
                area=area, columns=sql.SQL(", ").join(map(sql.Identifier, tables.columns(layer))),
                now=tables.now(layer), past=tables.past(layer), load=sql.Literal(load_id), inside=_any(parts),
            ),
            parameters.values,
        ).fetchall()  # fmt: skip
    if outside:
        named = [area for each in mine for area in each.areas or ()]
        hint = (
            f"Deliver only {', '.join(named)}." if named else "Deliver only what they may write: 'sdi agencies list'."
        )
        raise NotAllowed(_outside(layer, who, standing, outside), hint=hint)


def _any(parts: Sequence[sql.Composable]) -> sql.Composed:
    """One of them holds; what is unknown does not."""
    return sql.SQL(" OR ").join(sql.SQL("coalesce({}, false)").format(part) for part in parts or [sql.SQL("false")])


def _part(layer: Layer, writer: Writer, parameters: Parameters) -> sql.Composable:
    """Whether a row is of what a right is about. Of an area on the ground its point on the surface decides, as in a
    reform of units: outlines are not drawn so well that a whole feature must lie within."""
    if writer.area is not None:
        scope = sql.Identifier(layer.load.scope or "id")
        return sql.SQL("{}::text = {}").format(scope, parameters.bind(writer.area, "text"))
    grant, wanted = writer.grant, list[sql.Composable]()
    assert grant is not None
    if grant.communes is not None and grant.outline is None and layer.reform is None and layer.load.scope is not None:
        # Where no units are known, codes are values of the layer's scope.
        codes = parameters.bind(list(grant.communes), "text[]")
        wanted.append(sql.SQL("{}::text = ANY ({})").format(sql.Identifier(layer.load.scope), codes))
        grant = replace(grant, communes=None)
    rows, areas = covered(layer, grant)
    names = [attribute.name for attribute in layer.stored]
    wanted += [cql_sql.condition(cql.parse_filter(text, "cql2-text", layer, names), layer, parameters) for text in rows]
    wanted += [
        sql.SQL("ST_Intersects(ST_PointOnSurface(geom_wgs84), ST_SetSRID(ST_GeomFromGeoJSON({}), 4326))").format(
            parameters.bind(area, "text")
        )
        for area in areas
    ]
    return sql.SQL("({})").format(sql.SQL(" AND ").join(wanted or [sql.SQL("true")]))


def _outside(layer: Layer, who: str, standing: Sequence[Writer], outside: Sequence[tuple[str | None, int]]) -> str:
    told = []
    for area, count in outside[:_NAMED]:
        collectors = [each for each in standing if "load" in each.deeds]
        held = [each for each in collectors if area in (each.areas or ()) or each.everywhere(layer)]
        place = area or (f"without {layer.load.scope}" if layer.load.scope else "elsewhere")
        told.append(f"{place}: {count:,} changes, {_named(held) if held else _rest(layer)}")
    more = f"; {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
    return f"The delivery of '{who}' changes '{layer.id}' outside his areas ({'; '.join(told)}{more})."


# --- giving -------------------------------------------------------------------------------------------------------


def require_free(
    connection: Connection, layer: Layer, who: str, areas: Sequence[str] | None = None,
    since: date | None = None, until: date | None = None,
) -> None:  # fmt: skip
    """Raise NotAllowed when somebody else collects a layer, or one of the areas of it, at some time between two days
    (None: since ever, for ever). Two who give at once are one after the other, to the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('sdi.stewardship', 0))")
    for other in writers(connection, layer):
        if "load" not in other.deeds or any(same(who, name) for name in (other.name, *other.called)):
            continue
        begins, ends = (other.grant.valid_from, other.grant.valid_to) if other.grant else (None, None)
        apart = bool((until and begins and until <= begins) or (ends and since and ends <= since))
        shared = areas is None or other.areas is None or set(areas) & set(other.areas)
        if shared and not apart:
            area = next((each for each in other.areas or () if areas is None or each in areas), None)
            held = f"'{layer.id}'" if area is None else f"Area {area} of '{layer.id}'"
            back = f"sdi steward revoke {layer.id} '{other.name}'"
            if other.grant is not None:
                back = f"sdi agencies revoke {other.grant.agency} --grant {other.grant.grant_id}"
            raise NotAllowed(f"{held} is held by {_named([other])}.", hint=f"First: {back}.")


def _named(some: Sequence[Writer]) -> str:
    """Each writer once, with what they have of the areas."""
    kept: dict[str, Writer] = {}
    for each in some:
        kept.setdefault(each.name, each)
    areas = {name: [area for each in some if each.name == name for area in each.areas or ()] for name in kept}
    told = []
    for name, first in list(kept.items())[:_NAMED]:
        few = areas[name][:_NAMED]
        listed = f" ({', '.join(few)}{' …' if len(areas[name]) > _NAMED else ''})" if few else ""
        told.append(f"'{name}'{listed} since {first.since:%Y-%m-%d}")
    return ", ".join(told) + (f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else "")


def clean(name: str) -> str:
    """A name as it is kept: NFC, without blanks around it and with single ones in it."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def same(one: str, other: str) -> bool:
    """Whether two names are one's."""
    return clean(one).casefold() == clean(other).casefold()
