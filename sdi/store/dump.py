"""The database as a stream of bytes and back: pg_dump and pg_restore underneath, and hashes that tell if it is all.

What is dumped are the schemas that sdi_owner owns: `sdi` and the themes. Roles belong to the server and PostGIS to the
database, so both are made before a restore, from the same text as a new database's. Passwords travel in the environment
of the programs, never on their command lines.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sdi.errors import StoreError, UsageError
from sdi.store import binaries, engine, migrate
from sdi.store.engine import OWNER, Connection

ASIDE = "__before"
"""Ends the name of a schema that a restore has set aside until its own are there."""
_BLOCK = 1 << 20
_SAID = (
    "host", "hostaddr", "port", "user", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl",
    "gssencmode", "krbsrvname", "channel_binding",
)  # fmt: skip
"""Of a connection, what its programs are told: every libpq since 13 knows these."""


@dataclass(frozen=True)
class Content:
    """One table's rows, whatever their order: how many, and a hash over the sorted hashes of their text."""

    count: int
    sha256: str


@contextmanager
def snapshot(connection: Connection) -> Iterator[str]:
    """One state of the database, whatever is loaded meanwhile; its name, for other connections to see the same."""
    with engine.translated(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        yield str(row[0])


def schemas(connection: Connection) -> list[str]:
    """The schemas of this deployment."""
    return [row[0] for row in connection.execute(
        "SELECT nspname::text FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE rolname = %s ORDER BY 1",
        [OWNER],
    )]  # fmt: skip


def contents(connection: Connection) -> dict[str, Content]:
    """Every table of the deployment by its full name, with what it holds."""
    with engine.translated(), connection.transaction():
        # A row as text is the same everywhere only if these are.
        connection.execute(
            "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';"
            " SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'"
        )
        names = connection.execute(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname = ANY (%s) ORDER BY 1, 2",
            [[name for name in schemas(connection) if not name.endswith(ASIDE)]],
        ).fetchall()
        return {f"{schema}.{table}": _content(connection, schema, table) for schema, table in names}


def _content(connection: Connection, schema: str, table: str) -> Content:
    digest, count = hashlib.sha256(), 0
    query = sql.SQL(
        "COPY (SELECT encode(sha256(convert_to(t::text, 'UTF8')), 'hex') FROM {} t ORDER BY 1) TO STDOUT"
    ).format(sql.Identifier(schema, table))
    with connection.cursor().copy(query) as rows:
        for block in rows:
            digest.update(block)
            count += bytes(block).count(b"\n")
    return Content(count, digest.hexdigest())


def versions(connection: Connection) -> dict[str, str]:
    """Of the server and of PostGIS."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'postgis'").fetchone()
    number = connection.info.server_version
    return {"postgresql": f"{number // 10000}.{number % 10000}", "postgis": row[0] if row else ""}


def migrations(connection: Connection) -> list[str]:
    """The written migrations that have run: `sdi 0001_foundation`, …"""
    query = "SELECT source || ' ' || name FROM sdi.migration ORDER BY source DESC, number"
    return [row[0] for row in connection.execute(query)]


def roles(connection: Connection) -> dict[str, list[str]]:
    """Every role that has a right to something in the database, and the roles it is a member of. No passwords."""
    rows = connection.execute(
        "SELECT DISTINCT r.rolname::text, ARRAY(SELECT g.rolname::text FROM pg_auth_members m"
        " JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1)"
        " FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid"
        " WHERE d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND d.refclassid = 'pg_authid'::regclass AND d.deptype IN ('a', 'o') ORDER BY 1"
    ).fetchall()
    known = {row[0] for row in rows}
    return {name: [group for group in groups if group in known] for name, groups in rows}


# --- out ----------------------------------------------------------------------------------------------------------


def write(connection: Connection, snapshot_name: str, out: IO[bytes]) -> int:
    """Write the database, as a snapshot has it, in pg_dump's custom format; return the bytes written.

    Raises StoreError when pg_dump is missing, too old, or fails; OSError when `out` is full.
    """
    program = binaries.client("pg_dump", connection.info.server_version // 10000)
    wanted = [f"--schema={_pattern(name)}" for name in schemas(connection)]
    options = ["--format=custom", f"--snapshot={snapshot_name}", "--no-password", *wanted]
    size = 0
    with _program(program, options, connection, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while block := process.stdout.read(_BLOCK):
            out.write(block)
            size += len(block)
    return size


def _pattern(name: str) -> str:
    """A schema's name as pg_dump's patterns take it literally."""
    quoted = name.replace('"', '""')
    return f'"{quoted}"'


# --- in -----------------------------------------------------------------------------------------------------------


def prepare(connection: Connection, wanted: Mapping[str, Sequence[str]], *, replace: bool) -> None:
    """Make room for a restore: roles, PostGIS and reference systems are there, and no schema of ours.

    wanted: roles and what they are members of, as `roles` gave them; those that the server lacks are made, without
    login. replace: what is there is set aside; `settle` removes it or puts it back. Raises UsageError when something is
    there and is not to be replaced.
    """
    with engine.translated():
        _put_back(connection)
        there = [name for name in schemas(connection) if not name.endswith(ASIDE)]
        if there and not replace:
            raise UsageError(
                f"The database is not empty: it has {', '.join(there)}.",
                hint="Restore into an empty one, or say --replace to lose what is there.",
            )
        with connection.transaction():
            migrate.prepare(connection)
            _make_roles(connection, wanted)
            migrate.prepare_audit(connection)
            for name in there:
                _rename(connection, name, name + ASIDE)


def _make_roles(connection: Connection, wanted: Mapping[str, Sequence[str]]) -> None:
    there = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
    for name in wanted.keys() - there:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(name)))
    for name in wanted.keys() - there:
        for group in wanted[name]:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))


def read(connection: Connection, source: IO[bytes], count: int) -> None:
    """Restore `count` bytes of pg_dump's custom format, all in one transaction. Raises StoreError when it fails."""
    program = binaries.client("pg_restore", connection.info.server_version // 10000)
    options = ["--single-transaction", "--exit-on-error", "--no-owner", f"--role={OWNER}", "--no-password"]
    with _program(program, options, connection, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        try:
            while count and (block := source.read(min(_BLOCK, count))):
                process.stdin.write(block)
                count -= len(block)
            process.stdin.close()
        except BrokenPipeError:  # it has ended before its input did, and its exit code says why
            count = 0
    if count:
        raise StoreError("The backup is cut short.", hint="Copy it again and compare its size.")


def settle(connection: Connection, *, keep: bool) -> None:
    """End a restore. keep: the new is good, and what was set aside goes; otherwise the new goes and the old is back."""
    with engine.translated():
        if keep:
            with connection.transaction():
                _drop(connection, [name for name in schemas(connection) if name.endswith(ASIDE)])
            connection.execute("ANALYZE")
        else:
            _put_back(connection, new_too=True)


def _put_back(connection: Connection, *, new_too: bool = False) -> None:
    """Undo a restore that did not come to its end, this one or one that was killed."""
    with connection.transaction():
        aside = [name for name in schemas(connection) if name.endswith(ASIDE)]
        new = [name for name in schemas(connection) if not name.endswith(ASIDE)]
        if aside or new_too:
            _drop(connection, new)
        for name in aside:
            _rename(connection, name, name.removesuffix(ASIDE))


def _rename(connection: Connection, old: str, new: str) -> None:
    connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


def _drop(connection: Connection, names: list[str]) -> None:
    if names:
        connection.execute(
            sql.SQL("SET LOCAL client_min_messages = warning; DROP SCHEMA {} CASCADE").format(
                sql.SQL(", ").join(map(sql.Identifier, names))
            )
        )


# --- the programs -------------------------------------------------------------------------------------------------


@contextmanager
def _program(program: Path, options: list[str], connection: Connection, **streams: Any) -> Iterator[Any]:
    """One of PostgreSQL's programs at the connection's database. Raises StoreError with its last words on failure."""
    # The programs' libpq may be older than ours, and refuse what it does not know.
    said = conninfo_to_dict(connection.info.dsn)
    given = {name: said[name] for name in _SAID if said.get(name)} | {"application_name": "sdi-backup"}
    password = connection.info.password or None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
    if password is not None:
        environment["PGPASSWORD"] = password
    elif "PGPASSFILE" in os.environ:
        environment["PGPASSFILE"] = os.environ["PGPASSFILE"]
    command = [str(program), *options, f"--dbname={make_conninfo('', **given)}"]
    with TemporaryFile() as words:  # a pipe that nobody reads would stop it
        process = subprocess.Popen(command, stderr=words, env=environment, **streams)
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None and not stream.closed:
                    stream.close()
        if process.returncode:
            words.seek(0)
            raise _failure(program.name, words.read().decode("utf-8", "replace"))


def _failure(program: str, words: str) -> StoreError:
    if "No space left" in words:
        return StoreError("The database's disk is full.", hint="Free space on the server, then run it again.")
    if "must be superuser" in words or "permission denied" in words:
        return StoreError(f"{program} may not do this with the login.", hint="Use the login that owns the database.")
    said = next((line for line in words.splitlines() if "error:" in line), "")
    # A program's words may carry values of rows; the line that names the object does not.
    what = said.split("error:", 1)[-1].split("DETAIL", 1)[0].strip()[:200]
    return StoreError(f"{program} failed: {what or 'it said nothing'}", hint="The database is as it was.")
