"""Connections to PostgreSQL with PostGIS: one at a time for the terminal, pools for the service.

All of them speak UTC and ISO dates. A foreign exception's text never leaves here: it may carry values or secrets.
"""

from __future__ import annotations

import getpass
import os
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg_pool
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from sdi.errors import Overloaded, SdiError, StoreError
from sdi.settings import Settings
from sdi.store import cluster
from sdi.store.statement import as_bytes

OWNER, LOADER, READER, STEWARD = "sdi_owner", "sdi_loader", "sdi_reader", "sdi_steward"
"""Group roles: makes and changes tables; writes rows; reads what may be shown; reads also what only stewards see."""
REGISTRAR = "sdi_registrar"
"""Enters agencies, their keys and grants, and reads them."""
RECORDER = "sdi_recorder"
"""Adds to the audit trail, and may do nothing else."""

_OLDEST = 140000
"""server_version_num of PostgreSQL 14, the oldest in which everything here runs."""

Connection = psycopg.Connection[tuple[Any, ...]]


def database_url(settings: Settings, *, start: bool = True) -> str:
    """The URL of the deployment's database: the given server's, else the embedded cluster's, started when it is not.

    Raises StoreError when `start` is False and the embedded cluster does not run.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if start:
        return cluster.start(settings.data)
    url = cluster.status(settings.data).url
    if url is None:
        raise StoreError("The embedded cluster is not running.", hint="Run 'sdi db up'.")
    return url


def service_url(settings: Settings) -> str:
    """The URL of the service's own login where there is one, else that of `database_url`."""
    own = settings.service_url
    return database_url(settings) if own is None else own.get_secret_value()


def connect(url: str, role: str | None = None, *, application: str = "sdi") -> Connection:
    """Open a connection in autocommit mode: each `with connection.transaction():` is one whole transaction.

    `role`: OWNER, LOADER or READER, or None for the login's own rights. Raises StoreError when the server is away or
    too old, or when the role is not there.
    """
    # Triggers tell the audit trail by it who writes.
    settings = {"timezone": "UTC", "datestyle": "ISO, YMD", "jit": "off", "sdi.member": _member()}
    options = _options(url, settings)
    try:
        connection = psycopg.connect(
            url, autocommit=True, connect_timeout=10, application_name=application, options=options
        )
    except psycopg.Error as error:
        raise translate(error) from error
    if connection.info.server_version < _OLDEST:
        version = connection.info.server_version // 10000
        connection.close()
        raise StoreError(f"PostgreSQL {version} is too old.", hint="Use PostgreSQL 14 or newer with PostGIS 3.1.")
    if role is not None:
        try:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        except psycopg.Error as error:
            connection.close()
            raise StoreError(
                f"The database has no role '{role}' that this login may take.", hint="Run 'sdi db migrate'."
            ) from error
    return connection


def _member() -> str:
    """Who runs this process, as the machine knows them."""
    try:
        return re.sub(r"[^\w.@-]", "_", getpass.getuser())
    except (KeyError, OSError):
        return f"uid_{os.getuid()}"


def another(connection: Connection) -> Connection:
    """A second connection to the same database as the same login, in autocommit mode."""
    return psycopg.connect(connection.info.dsn, password=connection.info.password or None, autocommit=True)


def require_postgis(connection: Connection) -> None:
    """Raise StoreError unless the connection's database has PostGIS 3.1 or newer."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'postgis'").fetchone()
    if row is None:
        raise StoreError(
            "The database has no PostGIS.", hint="Run 'sdi db migrate', or as a superuser: CREATE EXTENSION postgis."
        )
    if tuple(map(int, row[0].split(".")[:2])) < (3, 1):
        raise StoreError(f"PostGIS {row[0]} is too old.", hint="Install PostGIS 3.1 or newer.")


def pool(
    url: str, *, size: int, statement_timeout: float, application: str = "sdi-service", role: str = READER,
    at_hand: int = 1,
) -> psycopg_pool.ConnectionPool:  # fmt: skip
    """A closed pool of reading connections for threads; open it with `with` or `.open()`.

    Every connection is of the role (READER or STEWARD), read-only, in autocommit mode, and cancels what takes longer
    than `statement_timeout` seconds. `at_hand` connections are open even when nobody asks.
    """
    return psycopg_pool.ConnectionPool(
        url, kwargs=_reading(url, statement_timeout, application, role), min_size=at_hand, max_size=size, open=False,
        timeout=10.0, max_idle=300.0, check=_stands, name=application,
    )  # fmt: skip


def async_pool(
    url: str, *, size: int, statement_timeout: float, application: str = "sdi-service", role: str = READER,
    at_hand: int = 1,
) -> psycopg_pool.AsyncConnectionPool:  # fmt: skip
    """`pool` for an event loop; its connections give text in binary results as bytes."""
    return psycopg_pool.AsyncConnectionPool(
        url, kwargs=_reading(url, statement_timeout, application, role), min_size=at_hand, max_size=size, open=False,
        timeout=10.0, max_idle=300.0, check=_stands_async, configure=_give_bytes, name=application,
    )  # fmt: skip


def _stands(connection: Connection) -> None:
    """Ask a pooled connection whether it stands only where its socket has something to say: the server closed it.

    Asking every time takes a round trip, as long as finding a feature.
    """
    if _spoke(connection.fileno()):
        psycopg_pool.ConnectionPool.check_connection(connection)


async def _stands_async(connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
    """`_stands` for an event loop."""
    if _spoke(connection.fileno()):
        await psycopg_pool.AsyncConnectionPool.check_connection(connection)


async def _give_bytes(connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
    as_bytes(connection)


FAULTS = (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, psycopg_pool.TooManyRequests)
"""What psycopg and its pool raise."""


def _spoke(socket: int) -> bool:
    waiting = select.poll()
    waiting.register(socket, select.POLLIN)
    return bool(waiting.poll(0))


@contextmanager
def translated() -> Iterator[None]:
    """Turn what psycopg and its pool raise inside into the house's errors."""
    try:
        yield
    except FAULTS as error:
        raise translate(error) from error


def translate(error: Exception) -> SdiError:
    """The house's error for one of psycopg's, without its text."""
    if isinstance(error, psycopg.errors.QueryCanceled):
        return too_long()
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests | psycopg.errors.TooManyConnections):
        return Overloaded("All connections to the store are busy.", hint="Try again in a moment.")
    if isinstance(
        error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName | psycopg.errors.UndefinedColumn
    ):
        return StoreError("The database does not have the tables of the contracts.", hint="Run 'sdi db migrate'.")
    if isinstance(error, psycopg.errors.UndefinedFunction | psycopg.errors.UndefinedObject):
        return StoreError("The database lacks PostGIS or the functions of sdi.", hint="Run 'sdi doctor'.")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return StoreError("The database does not allow this to the login.", hint="Run 'sdi doctor'.")
    if isinstance(error, psycopg.errors.InvalidPassword | psycopg.errors.InvalidAuthorizationSpecification):
        return StoreError("The database refuses the login.", hint="Check SDI_DATABASE_URL.")
    if isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
        return StoreError(
            "Another process holds what this one needs.", hint="Wait until it has ended, then run it again."
        )
    if isinstance(error, psycopg.errors.DiskFull):
        return StoreError("The database's disk is full.", hint="Free space on the server, then run it again.")
    if isinstance(error, psycopg.OperationalError | psycopg_pool.PoolClosed):
        return StoreError("The database cannot be reached, or the connection was lost.", hint="Run 'sdi doctor'.")
    return StoreError(f"The database refused a statement{_state(error)}.", hint="This is a fault of sdi: report it.")


def too_long() -> Overloaded:
    """What is told of a query that was cancelled for the time it took."""
    return Overloaded(
        "The query took too long and was cancelled.", hint="Ask for less: a smaller area or fewer features."
    )


def _state(error: Exception) -> str:
    code = getattr(error, "sqlstate", None)
    return f" (SQLSTATE {code})" if code else ""


def reading(url: str, application: str, role: str = READER) -> dict[str, Any]:
    """How a connection is opened that reads alone, as a role, outside of the pools."""
    return _reading(url, 5.0, application, role)


def _reading(url: str, statement_timeout: float, application: str, role: str) -> dict[str, Any]:
    settings = {
        "role": role, "default_transaction_read_only": "on", "statement_timeout": str(int(statement_timeout * 1000)),
        "idle_in_transaction_session_timeout": "60000", "timezone": "UTC", "datestyle": "ISO, YMD", "jit": "off",
    }  # fmt: skip
    return {
        "options": _options(url, settings), "autocommit": True, "connect_timeout": 10, "application_name": application,
    }  # fmt: skip


def _options(url: str, settings: dict[str, str]) -> str:
    """libpq's `options`: those of the URL, then ours. A session's RESET goes back to these, not to the login's."""
    given = str(conninfo_to_dict(url).get("options") or "")
    ours = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items())
    return f"{given} {ours}".strip()
