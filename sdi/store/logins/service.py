"""The service's own login: made with what serving needs, and examined for what it could do beyond.

It reads as the public's role and as the stewards', registers for the administrators' page and requests, and records.
Whatever fault the service may have, by this login nobody writes a layer, changes a table or the trail, or takes a role.
"""

from __future__ import annotations

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from sdi.errors import UsageError
from sdi.store import engine
from sdi.store.check import Found
from sdi.store.engine import LOADER, OWNER, READER, RECORDER, REGISTRAR, STEWARD, Connection

NEEDED = (READER, STEWARD, REGISTRAR, RECORDER)
_BEYOND = (OWNER, LOADER, "sdi_auditor")
_POWERS = ("superuser", "createrole", "createdb", "replication", "bypassrls")
CURE = "Set SDI_SERVICE_URL to a login of its own, then run 'sdi db migrate'."


def bring(connection: Connection, url: str) -> str:
    """Make the login that a URL names, with its password, or bring one that is there to what serving needs; its name.

    `connection`: an owner's that may make roles. The server is sent what SCRAM keeps of the password, never itself.
    Raises UsageError for a login that could do more and cannot be held back, StoreError.
    """
    said = conninfo_to_dict(url)
    name, password = str(said.get("user") or ""), said.get("password")
    if not name:
        raise UsageError("SDI_SERVICE_URL names no login.", hint="Write postgresql://sdi_web:…@host/database.")
    role = sql.Identifier(name)
    with engine.translated(), connection.transaction():
        row = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [name]).fetchone()
        if name in (*NEEDED, *_BEYOND, _login(connection)) or _powers(connection, name):
            raise UsageError(f"'{name}' cannot be the service's own login.", hint="Name one that owns nothing.")
        statement = sql.SQL("CREATE ROLE {} LOGIN NOINHERIT" if row is None else "ALTER ROLE {} LOGIN NOINHERIT")
        connection.execute(statement.format(role))
        if password:
            kept = connection.pgconn.encrypt_password(str(password).encode(), name.encode(), b"scram-sha-256")
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(kept.decode())))
        for group in NEEDED:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), role))
        for group in beyond(connection, name):
            connection.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), role))
        if left := beyond(connection, name):
            raise UsageError(f"'{name}' may be {', '.join(left)} by another role.", hint="Name one that owns nothing.")
    return name


def beyond(connection: Connection, name: str | None = None) -> list[str]:
    """What a login may be that no service needs: a superuser, or a role that writes. None: who is connected."""
    name = name or _login(connection)
    found = _powers(connection, name)
    if "superuser" in found:
        return found  # and with it everything
    roles = connection.execute(
        "SELECT rolname::text FROM pg_roles WHERE rolname = ANY (%s) AND pg_has_role(%s, oid, 'MEMBER') ORDER BY 1",
        [list(_BEYOND), name],
    ).fetchall()
    return found + [row[0] for row in roles]


def examine(connection: Connection) -> Found:
    """The same as one examination of `sdi doctor`. `connection`: as the service makes it."""
    what = "login of the service"
    name = _login(connection)
    row = connection.execute(
        "SELECT count(*) FROM pg_roles WHERE rolname = ANY (%s) AND pg_has_role(%s, oid, 'MEMBER')",
        [list(NEEDED), name],
    ).fetchone()
    if row is None or row[0] < len(NEEDED):
        return Found(what, "error", f"'{name}' may not be all of {', '.join(NEEDED)}", "Run 'sdi db migrate'.")
    if more := beyond(connection, name):
        return Found(what, "warning", f"'{name}' may also be {', '.join(more)}", CURE)
    return Found(what, "ok", name)


def _powers(connection: Connection, name: str) -> list[str]:
    row = connection.execute(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = %s",
        [name],
    ).fetchone()
    return [power for power, held in zip(_POWERS, row, strict=True) if held] if row is not None else []


def _login(connection: Connection) -> str:
    row = connection.execute("SELECT session_user::text").fetchone()
    assert row is not None
    return str(row[0])
