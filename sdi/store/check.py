"""What may be wrong with a database: its versions, reference systems, roles, and loads that never ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sdi.national import vn2000
from sdi.store import engine
from sdi.store.engine import LOADER, OWNER, READER, Connection

_PRIVATE = 900_913
"""Above this PostGIS and ogr2ogr number the reference systems that they did not know."""
_TOLERANCE = 0.001
"""Metres that PostGIS and pyproj may differ in a change of grid."""
_SAMPLE = (600_000.0, 1_190_000.0, 9210, 5899)
"""E, N in a grid of TP.HCM, and the grid of the same city's other part."""


@dataclass(frozen=True)
class Found:
    """One examination: what was looked at, what was found, and the cure where something is wrong."""

    what: str
    state: Literal["ok", "warning", "error"]
    finding: str
    cure: str | None = None


def examine(connection: Connection) -> Iterator[Found]:
    """Look at everything, the first fault or not; changes nothing. Any login of the database may do it."""
    with engine.translated():
        yield _server(connection)
        postgis = _postgis(connection)
        yield postgis
        if postgis.state == "error":
            return
        examinations: list[Callable[[Connection], Found]] = [_grids, _strangers, _strange_columns, _roles]
        for examination in examinations:
            yield examination(connection)
        if _is_set_up(connection):
            yield _regrid(connection)
            yield _abandoned(connection)
        else:
            yield Found("tables", "error", "the database is empty", "Run 'sdi db migrate'.")


def _server(connection: Connection) -> Found:
    version = connection.info.server_version
    return Found("PostgreSQL", "ok", f"{version // 10000}.{version % 10000}")


def _postgis(connection: Connection) -> Found:
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'postgis'").fetchone()
    if row is not None:
        old = tuple(map(int, row[0].split(".")[:2])) < (3, 1)
        return Found("PostGIS", "error" if old else "ok", row[0], "Install PostGIS 3.1 or newer." if old else None)
    row = connection.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'postgis'").fetchone()
    if row is not None:
        return Found("PostGIS", "error", f"{row[0]} is installed, not in this database", "Run 'sdi db migrate'.")
    major = connection.info.server_version // 10000
    return Found("PostGIS", "error", "not installed", f"On the server: apt-get install postgresql-{major}-postgis-3")


def _grids(connection: Connection) -> Found:
    """PostGIS 3.3 lacks the provincial grids 9205–9218, without which nothing can be stored in them."""
    known = {row[0] for row in connection.execute("SELECT srid FROM spatial_ref_sys WHERE auth_name = 'EPSG'")}
    missing = [row[0] for row in vn2000.srid_rows() if row[0] not in known]
    if missing:
        named = ", ".join(map(str, missing[:5])) + ("…" if len(missing) > 5 else "")
        return Found("grids", "error", f"{len(missing)} are not in spatial_ref_sys: {named}", "Run 'sdi db migrate'.")
    return Found("grids", "ok", f"all {len(vn2000.srid_rows())} are in spatial_ref_sys")


def _strangers(connection: Connection) -> Found:
    """ogr2ogr gives a grid that PostGIS lacks a number of its own, and keeps using it ever after."""
    rows = connection.execute("SELECT srid FROM spatial_ref_sys WHERE srid > %s ORDER BY srid", [_PRIVATE]).fetchall()
    if not rows:
        return Found("reference systems", "ok", f"none numbered above {_PRIVATE}")
    named = ", ".join(str(row[0]) for row in rows[:5])
    cure = (
        "Bring tables that use them to the EPSG code (UpdateGeometrySRID), then delete these rows of spatial_ref_sys."
    )
    return Found("reference systems", "warning", f"{len(rows)} made by ogr2ogr or by hand: {named}", cure)


def _strange_columns(connection: Connection) -> Found:
    rows = connection.execute(
        "SELECT f_table_schema || '.' || f_table_name FROM geometry_columns WHERE srid > %s ORDER BY 1", [_PRIVATE]
    ).fetchall()
    if not rows:
        return Found("geometry columns", "ok", "all in known reference systems")
    named = ", ".join(row[0] for row in rows[:5])
    cure = "Load them with sdi, or give them their EPSG code with UpdateGeometrySRID."
    return Found("geometry columns", "warning", f"{len(rows)} in private reference systems: {named}", cure)


def _roles(connection: Connection) -> Found:
    query = "SELECT rolname, pg_has_role(current_user, oid, 'USAGE') FROM pg_roles WHERE rolname = ANY (%s)"
    found = {row[0]: row[1] for row in connection.execute(query, [[OWNER, LOADER, READER]])}
    missing = [role for role in (OWNER, LOADER, READER) if role not in found]
    if missing:
        return Found("roles", "error", f"missing: {', '.join(missing)}", "Run 'sdi db migrate'.")
    closed = [role for role, usable in found.items() if not usable]
    if closed:
        grants = "; ".join(f"GRANT {role} TO {connection.info.user}" for role in closed)
        return Found("roles", "error", f"the login may not be {', '.join(closed)}", f"As a superuser: {grants}")
    return Found("roles", "ok", ", ".join((OWNER, LOADER, READER)))


def _is_set_up(connection: Connection) -> bool:
    row = connection.execute("SELECT to_regclass('sdi.state') IS NOT NULL").fetchone()
    return bool(row and row[0])


def _regrid(connection: Connection) -> Found:
    """Whether the server's PROJ changes grids as ours does: the areas of derived layers depend on it."""
    east, north, here, there = _SAMPLE
    row = connection.execute(
        "SELECT ST_X(g), ST_Y(g) FROM sdi.regrid(ST_SetSRID(ST_MakePoint(%s, %s), %s), %s) g",
        [east, north, here, there],
    ).fetchone()
    assert row is not None
    wanted = vn2000.regrid(np.array([[east, north]]), here, there)[0]
    off = float(np.hypot(row[0] - wanted[0], row[1] - wanted[1]))
    right = off < _TOLERANCE
    cure = None if right else "The server's PROJ data are not EPSG's: reinstall proj-data on the server."
    return Found("change of grid in PostGIS", "ok" if right else "error", f"{off * 1000:.3f} mm off", cure)


def _abandoned(connection: Connection) -> Found:
    """Entries of loads whose process died; the next load of the layer ends them."""
    row = connection.execute(
        "SELECT count(*) FROM sdi.load l WHERE status = 'running'"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.backend)"
    ).fetchone()
    count = row[0] if row else 0
    if count:
        return Found("loads", "warning", f"{count} broke off; the old layers are served", "Load these files again.")
    return Found("loads", "ok", "none broke off")
