"""The database brought to what the package and the contracts ask for.

Two kinds of change. What is written: numbered SQL files, `sql/NNNN_*.sql` of this package for schema `sdi`, then
`migrations/NNNN_*.sql` beside the contracts for what a city does to its own tables; each runs once, in order. What
follows from the contracts: tables, columns, indexes, grants, code lists, compared with the catalogue and added. A
change that would lose something (a dropped column, another type) is never made from a contract: it asks for a written
file.

Numbered SQL files and not Alembic: the tables follow from the contracts, not from Python classes, so autogeneration has
nothing to compare; what is written by hand is SQL anyway (roles, grants, functions); Alembic's comparison wants to drop
PostGIS's own tables unless it is fenced in; and a planner's database administrator can read the files as they stand.

Everything runs in one transaction under one lock: a failing migration changes nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from sdi.contract.codelist import CodeList
from sdi.contract.registry import Registry
from sdi.errors import StoreError
from sdi.national import vn2000
from sdi.store import derived, engine, quality_views, structure, tables
from sdi.store.engine import OWNER, Connection

PACKAGE = Path(__file__).with_name("sql")
_LOCK = "sdi.migrate"


@dataclass(frozen=True)
class Change:
    """One step of a migration: a plain sentence, and its SQL."""

    sentence: str
    statement: str


@dataclass(frozen=True)
class Status:
    """What has been applied (`sdi 0001_foundation`, …) and what a migration would do now."""

    applied: list[str]
    pending: list[Change]


def apply(connection: Connection, registry: Registry) -> list[Change]:
    """Bring the database to the package and the contracts; return what was done, nothing when there was nothing to do.

    Raises ContractError when a contract asks for a change that loses something, or a derived layer's SQL does not fit
    the tables; StoreError when the login may not do it.
    """
    with engine.translated():
        with connection.transaction():
            made = _work(connection, registry)
        if made:
            _settle_sequences(connection)
        return made


def _settle_sequences(connection: Connection) -> None:
    """With wal_level = minimal, as in the embedded cluster, the next 32 numbers of a sequence that was used in the
    transaction that made it are in no log: a crash has it give them a second time (seen with PostgreSQL 15). After a
    checkpoint it writes a log again."""
    asked = """
        SELECT current_setting('wal_level') = 'minimal' AND (r.rolsuper OR EXISTS (
            SELECT FROM pg_roles c WHERE c.rolname = 'pg_checkpoint' AND pg_has_role(c.oid, 'USAGE')))
        FROM pg_roles r WHERE r.rolname = current_user"""
    if connection.execute(asked).fetchone() == (True,):
        connection.execute("CHECKPOINT")


def plan(connection: Connection, registry: Registry) -> list[Change]:
    """What `apply` would do, found by doing it and taking it back. Raises what `apply` raises."""
    # On a connection of its own: PostGIS keeps what it looked up for a session, and would go on with the object numbers
    # of an extension that was created and taken back.
    with engine.translated(), engine.another(connection) as apart, apart.transaction(force_rollback=True):
        return _work(apart, registry)


def status(connection: Connection, registry: Registry) -> Status:
    """What is applied and what is pending. Raises what `plan` raises."""
    with engine.translated():
        applied = _applied(connection)
    return Status([f"{source} {name}" for source, _, name, _ in applied], plan(connection, registry))


def prepare(connection: Connection) -> None:
    """Make what a database has before any schema of ours, in the caller's transaction: roles, PostGIS, its grids."""
    _require_postgis_files(connection)
    text = (PACKAGE / "0001_foundation.sql").read_text(encoding="utf-8")
    connection.execute(text.partition("CREATE SCHEMA sdi ")[0].encode())
    engine.require_postgis(connection)
    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
    for change in _reference_systems(connection):
        connection.execute(change.statement.encode())


def prepare_audit(connection: Connection) -> None:
    """Make the audit trail where there is none yet: it is no part of a backup. The roles are there."""
    if connection.execute("SELECT to_regrole('sdi_steward') IS NULL").fetchone() == (True,):
        return  # the backup is older than the trail, and so is what it brings
    for name in ("0015_audit.sql", "0024_appended.sql"):
        text = (PACKAGE / name).read_text(encoding="utf-8")
        connection.execute(text.partition("-- sdi --")[0].encode())


def _work(connection: Connection, registry: Registry) -> list[Change]:
    changes: list[Change] = []

    def run(change: Change) -> None:
        connection.execute(change.statement.encode())
        changes.append(change)

    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [_LOCK])
    connection.execute("SET LOCAL lock_timeout = '30s'")
    _require_postgis_files(connection)
    _written(connection, "sdi", PACKAGE, run)
    engine.require_postgis(connection)
    for change in _reference_systems(connection):
        run(change)
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
    _written(connection, "layers", registry.folder / "migrations", run)
    for step in (_datums, _structure, _quality, _code_lists, _contracts):
        for change in step(connection, registry):
            run(change)
    derived.verify(connection, registry)
    connection.execute("RESET ROLE")
    return changes


# --- written files ------------------------------------------------------------------------------------------------


def _require_postgis_files(connection: Connection) -> None:
    known = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'").fetchone()
    if known is None:
        major = connection.info.server_version // 10000
        raise StoreError("The server has no PostGIS.", hint=f"On it: apt-get install postgresql-{major}-postgis-3")


def _applied(connection: Connection) -> list[tuple[Any, ...]]:
    row = connection.execute("SELECT to_regclass('sdi.migration') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return []
    query = "SELECT source, number, name, sha256 FROM sdi.migration ORDER BY source DESC, number"
    return connection.execute(query).fetchall()


def _written(connection: Connection, source: str, folder: Path, run: Callable[[Change], None]) -> None:
    """Run the numbered files of a folder that have not run yet, in order."""
    known = {number: sha256 for origin, number, _, sha256 in _applied(connection) if origin == source}
    for path in sorted(folder.glob("*.sql")):
        number = re.match(r"(\d{4})_", path.name)
        if number is None:
            raise StoreError(f"{path} is not named NNNN_….sql.", hint="Number it after the last one.")
        text = path.read_text(encoding="utf-8")
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        if int(number.group(1)) in known:
            if known[int(number.group(1))] != sha256:
                raise StoreError(
                    f"{path.name} was changed after it had been applied to this database.",
                    hint="Restore the file and write the change as a new one.",
                )
            continue
        run(Change(f"Run {path.name}.", text))
        entry = "INSERT INTO sdi.migration (source, number, name, sha256) VALUES (%s, %s, %s, %s)"
        connection.execute(entry, [source, int(number.group(1)), path.stem, sha256])


# --- what follows from the national profile and the contracts ------------------------------------------------------


def _text(connection: Connection, template: str, **parts: Any) -> str:
    composed = {
        name: part if isinstance(part, sql.Composable) else sql.Literal(part) for name, part in parts.items()
    }  # fmt: skip
    return sql.SQL(template).format(**composed).as_string(connection)


def _list(values: Iterable[Any]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Literal, values))


def _reference_systems(connection: Connection) -> Iterator[Change]:
    """The grids that PostGIS lacks, as EPSG's: clients know a grid only by that name."""
    known = {row[0] for row in connection.execute("SELECT srid FROM spatial_ref_sys")}
    for srid, authority, code, srtext, proj4text in vn2000.srid_rows():
        if srid not in known:
            statement = _text(
                connection, "INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text)"
                " VALUES ({srid}, {authority}, {code}, {srtext}, {proj4text})",
                srid=srid, authority=authority, code=code, srtext=srtext, proj4text=proj4text,
            )  # fmt: skip
            yield Change(f"Add EPSG:{srid} to the reference systems.", statement)


def _datums(connection: Connection, _: Registry) -> Iterator[Change]:
    """sdi.datum(srid): which datum a known grid has, NULL for an unknown one."""
    datums: dict[str, list[int]] = {}
    for grid in vn2000.GRIDS.values():
        datums.setdefault(grid.datum, []).append(grid.epsg)
    cases = sql.SQL(" ").join(
        sql.SQL("WHEN srid IN ({}) THEN {}").format(_list(sorted(codes)), sql.Literal(datum))
        for datum, codes in sorted(datums.items())
    )  # fmt: skip
    body = sql.SQL("SELECT CASE {} END").format(cases).as_string(connection)
    row = connection.execute("SELECT prosrc FROM pg_proc WHERE oid = 'sdi.datum(integer)'::regprocedure").fetchone()
    if row is None or row[0] != body:
        statement = (
            "CREATE OR REPLACE FUNCTION sdi.datum(srid integer) RETURNS text"
            f" LANGUAGE sql IMMUTABLE PARALLEL SAFE AS {sql.Literal(body).as_string(connection)}"
        )
        yield Change(f"Make {sum(map(len, datums.values()))} grids known.", statement)


def _structure(connection: Connection, registry: Registry) -> Iterator[Change]:
    for sentence, statement in structure.changes(connection, registry):
        yield Change(sentence, statement)


def _quality(connection: Connection, registry: Registry) -> Iterator[Change]:
    for sentence, statement in quality_views.changes(connection, registry):
        yield Change(sentence, statement)


def _code_lists(connection: Connection, registry: Registry) -> Iterator[Change]:
    stored: dict[str, list[tuple[Any, ...]]] = {}
    names = "code, label_vi, label_en, parent, valid_from, valid_to, successor, status, source"
    for row in connection.execute(f"SELECT list, {names} FROM sdi.code ORDER BY list, ordinal"):
        stored.setdefault(row[0], []).append(tuple(row[1:]))
    for name, codes in registry.code_lists.items():
        wanted = [_values(codes, index) for index in range(len(codes.codes))]
        if stored.pop(name, []) != wanted:
            yield _replace_code_list(connection, name, names, wanted)
    for name in stored:
        statement = _text(connection, "DELETE FROM sdi.code WHERE list = {name}", name=name)
        yield Change(f"Remove code list '{name}'.", statement)


def _values(codes: CodeList, index: int) -> tuple[Any, ...]:
    code = codes.codes[index]
    return (
        code.code, code.label_vi, code.label_en, code.parent, code.valid_from, code.valid_to, code.successor,
        code.status, code.source,
    )  # fmt: skip


def _replace_code_list(connection: Connection, name: str, names: str, rows: list[tuple[Any, ...]]) -> Change:
    values = sql.SQL(",\n").join(
        sql.SQL("({})").format(_list((name, ordinal, *row)))
        for ordinal, row in enumerate(rows)
    )  # fmt: skip
    statement = _text(connection, "DELETE FROM sdi.code WHERE list = {name};\n", name=name)
    if rows:
        insert = f"INSERT INTO sdi.code (list, ordinal, {names}) VALUES\n{{values}}"
        statement += _text(connection, insert, values=values)
    return Change(f"Write code list '{name}' ({len(rows)} entries).", statement)


def _contracts(connection: Connection, registry: Registry) -> Iterator[Change]:
    known = {row[0]: row[1] for row in connection.execute("SELECT layer, sha256 FROM sdi.contract")}
    for layer in registry:
        sha256 = tables.fingerprint(layer)
        if known.get(layer.id) != sha256:
            statement = _text(
                connection, "INSERT INTO sdi.contract (layer, version, sha256) VALUES ({layer}, {version}, {sha256})"
                " ON CONFLICT (layer) DO UPDATE SET version = {version}, sha256 = {sha256}, applied_at = now()",
                layer=layer.id, version=layer.version, sha256=sha256,
            )  # fmt: skip
            yield Change(f"Record contract '{layer.id}' {layer.version}.", statement)
    for name in sorted(known.keys() - {layer.id for layer in registry}):
        yield Change(
            f"Forget contract '{name}'.", _text(connection, "DELETE FROM sdi.contract WHERE layer = {n}", n=name)
        )
