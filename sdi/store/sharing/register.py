"""The register of agencies as the service holds it: who is known by which key, and what each was granted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from psycopg.rows import dict_row

from sdi.access import NOTHING, PUBLIC, Agency, Grant
from sdi.contract.layer import Layer, Reform
from sdi.contract.registry import Registry
from sdi.national.clock import VIETNAM
from sdi.store import frame
from sdi.store.engine import Connection


@dataclass(frozen=True)
class Holder:
    """Who a key belongs to. `key_id`: its number; `member`: the name it was given, a person's or a machine's."""

    key_id: int
    agency: str
    sha256: str
    member: str | None


@dataclass(frozen=True)
class Register:
    """As it is now."""

    agencies: Mapping[str, Agency] = field(default_factory=dict)
    holders: tuple[Holder, ...] = ()
    successors: Mapping[str, str] = field(default_factory=dict)
    """Of an agency that was merged into another: which."""
    administrators: frozenset[str] = frozenset()
    """The agencies whose keys open the administrators' page."""
    until: datetime | None = None
    """When some of it begins or ends by itself; None: nothing does."""

    def agency(self, name: str) -> Agency:
        """An agency by its id, or by the id of one that was merged into it; the public for an unknown one has no
        grants.
        """
        return self.agencies.get(self.successors.get(name, name)) or (PUBLIC if name == PUBLIC.id else Agency(name))


def read(connection: Connection, registry: Registry) -> Register:
    """The register at this instant, its grants put in terms of the layers. `connection`: of the stewards' role."""
    now = datetime.now(UTC)
    with connection.cursor(row_factory=dict_row) as cursor:
        agencies = cursor.execute(
            "SELECT id, ARRAY[name_vi, name_en] AS names, administrator, merged_into, merged_at FROM sdi.agency"
        ).fetchall()
        keys = cursor.execute(
            "SELECT key_id, agency, sha256, name, expires_at FROM sdi.key_in_force ORDER BY key_id"
        ).fetchall()
        grants = cursor.execute(
            "SELECT *, ST_AsGeoJSON(polygon, 9, 0) AS polygon FROM sdi.grant WHERE revoked_at IS NULL"
            " ORDER BY given_at, grant_id"
        ).fetchall()
        withdrawn = frozenset(
            row["layer"] for row in cursor.execute("SELECT layer FROM sdi.publication WHERE NOT published")
        )
    successors = successors_of(agencies, now)
    today = now.astimezone(VIETNAM).date()
    given: dict[str, list[Grant]] = defaultdict(list)
    for grant in map(grant_of, grants):
        if grant.holds(today):
            given[successors.get(grant.agency, grant.agency)].append(placed(connection, registry.layers, grant, today))
    standing = [row for row in agencies if row["id"] not in successors]
    told: dict[str, Any] = {row["id"]: (tuple(row["names"]), row["administrator"]) for row in standing}
    told[PUBLIC.id] = (None, False)
    return Register(
        {name: Agency(name, grants=tuple(given[name]), withdrawn=withdrawn, names=names, administers=administers)
         for name, (names, administers) in sorted(told.items())},
        tuple(Holder(row["key_id"], str(successors.get(row["agency"], row["agency"])), row["sha256"], row["name"])
              for row in keys),
        successors,
        frozenset(name for name, (_, administers) in told.items() if administers),
        _until(now, grants, [*(row["expires_at"] for row in keys), *(row["merged_at"] for row in agencies)]),
    )  # fmt: skip


def grant_of(row: Mapping[str, Any]) -> Grant:
    """A row of `sdi.grant`, its polygon as GeoJSON text."""
    told = {each.name: row[each.name] for each in fields(Grant) if each.name in row}
    told |= {name: frozenset(told[name]) for name in ("classes", "actions")}
    told |= {name: None if told[name] is None else tuple(told[name]) for name in ("attributes", "communes")}
    return Grant(**told)


def placed(connection: Connection, layers: Mapping[str, Layer], grant: Grant, today: date) -> Grant:
    """The grant with what its communes are today: codes that features bear, else ground that they meet."""
    layer = layers.get(grant.layer)
    if grant.communes is None or layer is None:
        return grant
    if layer.reform is not None:
        return replace(grant, meant=_meant(connection, layer.reform, grant.communes, today))
    units = next((each for each in layers.values() if each.units is not None and each.frame is not None), None)
    outline = None if units is None else frame.outline(connection, units, grant.communes, today)
    return replace(grant, outline=outline) if outline is not None else replace(grant, meant=NOTHING)


def _meant(connection: Connection, reform: Reform, codes: tuple[str, ...], today: date) -> str:
    rows = connection.execute(
        "SELECT role, code FROM sdi.units_meant(%s, %s, %s) ORDER BY role, code", [reform.units, list(codes), today]
    ).fetchall()
    of = {role: [row[1] for row in rows if row[0] == role] for role in ("code", "former", "unreformed")}
    ways = []
    if of["code"]:
        ways.append(f"{reform.attribute} IN ({_quoted(of['code'])})")
    if of["former"]:
        ways.append(f"{reform.former} IN ({_quoted(of['former'])})")
    if of["unreformed"]:
        ways.append(f"({reform.former} IS NULL AND {reform.attribute} IN ({_quoted(of['unreformed'])}))")
    return " OR ".join(ways) or NOTHING


def _quoted(codes: list[str]) -> str:
    return ", ".join("'" + code.replace("'", "''") + "'" for code in codes)


def successors_of(agencies: Iterable[Mapping[str, Any]], now: datetime) -> dict[str, str]:
    """Of each merged agency the one in which it came to its end, however often that was merged again. agencies: rows
    of `sdi.agency`."""
    merged: dict[str, str | None] = {
        row["id"]: row["merged_into"] for row in agencies if row["merged_at"] is None or row["merged_at"] <= now
    }
    found: dict[str, str] = {}
    for name in merged:
        last, seen = name, {name}
        while (following := merged.get(last)) is not None and following not in seen:
            last = following
            seen.add(last)
        if last != name:
            found[name] = last
    return found


def _until(now: datetime, grants: list[dict[str, Any]], instants: list[datetime | None]) -> datetime | None:
    moments = [datetime.combine(now.astimezone(VIETNAM).date() + timedelta(days=1), time(), VIETNAM)]
    # What a commune's code means may be another thing tomorrow.
    moments = moments if any(row["communes"] is not None for row in grants) else []
    days: list[date | None] = [day for row in grants for day in (row["valid_from"], row["valid_to"])]
    moments += [datetime.combine(day, time(), VIETNAM) for day in days if day is not None]
    moments += [moment for moment in instants if moment is not None]
    return min((moment for moment in moments if moment > now), default=None)
