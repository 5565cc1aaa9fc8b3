"""A private PostgreSQL cluster with PostGIS, made of the distribution's programs, for one data folder.

It listens on a unix socket only, in a folder that nobody but its user (and root) may enter; that folder is the lock on
the door, so `trust` is safe behind it. It knows no other cluster: every program is called with this one's own folder
and without the PG* variables of the environment.

PostgreSQL refuses to run as root, so root drops to `postgres` or `nobody`. Where that user cannot reach the data folder
(a home of mode 0700) the cluster stands under /var/tmp, and `cluster.json` in the data folder says so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from sdi.errors import StoreError
from sdi.store import binaries

SUPERUSER = "sdi"
DATABASE = "sdi"
_PORT = 5432
"""Names the socket; nothing listens on it."""
_SOCKET_FILE = f".s.PGSQL.{_PORT}"
_SOCKET_LIMIT = 107
"""Bytes of a unix socket's path (sun_path of Linux less the closing NUL)."""
_ELSEWHERE = Path("/var/tmp")
"""Survives a restart of the machine, unlike /tmp."""
_PATIENCE = 60
"""Seconds a start may take: recovery after a crash reads the write-ahead log."""

_CONFIGURATION = """\
# Written by sdi at each start; put your own settings below the include line of postgresql.conf.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = 80
shared_buffers = {shared}MB
effective_cache_size = {cache}MB
work_mem = 32MB
maintenance_work_mem = 256MB
# Who builds an index works too: with one more than there are cores they wait for each other.
max_parallel_maintenance_workers = {helpers}
random_page_cost = 1.1
jit = off
# Nobody follows this cluster's log (a backup is a dump), so what a first load writes need not stand in it too.
# To archive or replicate it, set both again below the include line.
wal_level = minimal
max_wal_senders = 0
wal_compression = {compression}
max_wal_size = 4GB
checkpoint_timeout = 15min
timezone = 'UTC'
log_timezone = 'UTC'
log_min_duration_statement = 5s
"""


@dataclass(frozen=True)
class Place:
    """Where a cluster stands: `home` holds `data`, `log` and, when its path is short enough, the socket."""

    home: str
    socket: str
    user: str | None
    """The unprivileged user it runs as; None: whoever started it."""

    @property
    def data(self) -> Path:
        return Path(self.home) / "data"

    @property
    def log(self) -> Path:
        return Path(self.home) / "log"

    @property
    def url(self) -> str:
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(self.socket, safe='/')}&port={_PORT}"


@dataclass(frozen=True)
class Status:
    running: bool
    url: str | None
    """None while it does not run."""
    data: Path | None
    """None before the first start."""
    pid: int | None
    version: str | None


def start(folder: Path) -> str:
    """Start the cluster of a data folder, making it when there is none; return its URL. Running already: no-op.

    Two processes may start it at once: one does, the other waits. Raises StoreError when PostgreSQL or PostGIS is not
    installed or the cluster does not come up.
    """
    with _locked(folder):
        place = _recorded(folder) or _choose(folder)
        if not _answers(place):
            programs = binaries.find(_major(place))
            place = _with_socket(folder, place)
            if not (place.data / "PG_VERSION").is_file():
                _initialise(place, programs)
            _clear_stale(place)
            _launch(place, programs)
        _create_database(place)
        return place.url


def stop(folder: Path) -> None:
    """Stop the cluster of a data folder; no-op when none runs."""
    if not folder.is_dir():
        return
    with _locked(folder):
        place = _recorded(folder)
        if place is not None and _own_pid(place) is not None:
            programs = binaries.find(_major(place))
            _run(place, programs / "pg_ctl", "stop", "-D", str(place.data), "-m", "fast", "-w", "-t", "60")


def status(folder: Path) -> Status:
    """What the cluster of a data folder does; changes nothing."""
    place = _recorded(folder)
    if place is None:
        return Status(False, None, None, None, None)
    if not _answers(place):
        return Status(False, None, place.data, _own_pid(place), None)
    with _connect(place, "postgres") as connection:
        version = f"{connection.info.server_version // 10000}.{connection.info.server_version % 10000}"
    return Status(True, place.url, place.data, _own_pid(place), version)


def remove(folder: Path) -> None:
    """Stop the cluster of a data folder and delete all its data, wherever they stand."""
    stop(folder)
    place = _recorded(folder)
    if place is None:
        return
    shutil.rmtree(place.home, ignore_errors=True)
    shutil.rmtree(place.socket, ignore_errors=True)
    _record_file(folder).unlink(missing_ok=True)


# --- where it stands ----------------------------------------------------------------------------------------------


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "cluster.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise StoreError(
            f"The data folder {folder} cannot be written.", hint="Set SDI_DATA to a folder of your own."
        ) from error


def _record_file(folder: Path) -> Path:
    return folder / "cluster.json"


def _recorded(folder: Path) -> Place | None:
    try:
        return Place(**json.loads(_record_file(folder).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, OSError) as error:
        raise StoreError(
            f"{_record_file(folder)} cannot be read.", hint="Restore it, or remove it with the data."
        ) from error


def _record(folder: Path, place: Place) -> Place:
    _record_file(folder).write_text(json.dumps(asdict(place), indent=1) + "\n", encoding="utf-8")
    return place


def _choose(folder: Path) -> Place:
    """Pick home and user of a new cluster: in the data folder, or under /var/tmp where its user cannot get there."""
    user = _unprivileged() if os.geteuid() == 0 else None
    home = folder.resolve() / "postgres"
    _make_private(home, user)
    if user is not None and not _reaches(user, home):
        home.rmdir()
        home = _ELSEWHERE / f"sdi-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]}"
        _make_private(home, user)
    return _record(folder, Place(str(home), "", user))


def _unprivileged() -> str:
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise StoreError("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'.")


def _make_private(path: Path, user: str | None) -> None:
    """Make a folder that only its user enters; one that is there must be just that, and no link."""
    owner = pwd.getpwnam(user) if user else None
    try:
        path.mkdir(mode=0o700, parents=True)
        if owner:
            os.chown(path, owner.pw_uid, owner.pw_gid)
    except FileExistsError:
        found = path.lstat()
        wanted = owner.pw_uid if owner else os.geteuid()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != wanted or found.st_mode & 0o077:
            raise StoreError(
                f"{path} exists and is not a private folder of '{user or 'yours'}'.", hint="Move it away."
            ) from None


def _reaches(user: str, path: Path) -> bool:
    owner = pwd.getpwnam(user)
    test = subprocess.run(
        ["test", "-w", str(path)], user=owner.pw_uid, group=owner.pw_gid, extra_groups=[], cwd="/", check=False
    )
    return test.returncode == 0


def _with_socket(folder: Path, place: Place) -> Place:
    """Give the place a socket folder whose path is short enough; a recorded one may have been cleaned from /tmp."""
    beside = Path(place.home) / "socket"
    if len(os.fsencode(beside / _SOCKET_FILE)) <= _SOCKET_LIMIT:
        _make_private(beside, place.user)
        return _record(folder, Place(place.home, str(beside), place.user))
    if place.socket and Path(place.socket).is_dir():
        _make_private(Path(place.socket), place.user)
        return place
    made = Path(tempfile.mkdtemp(prefix="sdi-", dir="/tmp"))  # TMPDIR may be as long as the data folder
    if place.user:
        owner = pwd.getpwnam(place.user)
        os.chown(made, owner.pw_uid, owner.pw_gid)
    return _record(folder, Place(place.home, str(made), place.user))


# --- life and death -----------------------------------------------------------------------------------------------


def _major(place: Place) -> int | None:
    try:
        return int((place.data / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _answers(place: Place) -> bool:
    if not place.socket or not (Path(place.socket) / _SOCKET_FILE).exists():
        return False
    try:
        _connect(place, "postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _connect(place: Place, database: str) -> psycopg.Connection[tuple[Any, ...]]:
    """`options` is given so that PGOPTIONS is not taken."""
    return psycopg.connect(place.url, dbname=database, autocommit=True, connect_timeout=5, options="")


def _own_pid(place: Place) -> int | None:
    """The living postmaster of this cluster. A recycled process id that is another program's is not taken for it."""
    try:
        pid = int((place.data / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if _works_in(Path("/proc") / str(pid), place.data) else None


def _works_in(process: Path, folder: Path) -> bool:
    """Whether a folder is a process's working folder, as the data folder is for all processes of a cluster."""
    try:
        return (process / "cwd").readlink() == folder
    except OSError:
        return False


def _clear_stale(place: Place) -> None:
    """Make way for a start: wait for what a killed postmaster left behind, and clear its lock files.

    PostgreSQL itself clears the files of a dead process id; one that another program has meanwhile, or that a zombie
    still holds, it would believe.
    """
    if _own_pid(place) is not None:
        # It lives but does not answer: it is still starting, or its socket folder is gone.
        ready = "ready" in (place.data / "postmaster.pid").read_text(errors="replace")
        if _waits(lambda: _answers(place), 1.0 if ready else 10.0):
            return
        pid = _own_pid(place)
        if pid is not None:
            os.kill(pid, signal.SIGINT)
    if not _waits(lambda: not _lives(place), 30.0):
        raise StoreError(
            f"Processes of the cluster in {place.data} neither answer nor end.", hint=f"Its log is {place.log}."
        )
    for path in (
        place.data / "postmaster.pid",
        Path(place.socket) / _SOCKET_FILE,
        Path(place.socket) / f"{_SOCKET_FILE}.lock",
    ):
        path.unlink(missing_ok=True)


def _lives(place: Place) -> bool:
    """Whether any process is left: children of a killed postmaster hold its shared memory and files until they end."""
    return any(_works_in(process, place.data) for process in Path("/proc").glob("[0-9]*"))


def _waits(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def _initialise(place: Place, programs: binaries.Binaries) -> None:
    """initdb into a folder beside the final one: a half-made cluster is never taken for a whole one."""
    fresh = Path(place.home) / "data.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    options = ["-D", str(fresh), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
    options += ["--lc-collate=C"]  # the order of C.UTF-8, several times faster: compared by bytes
    _run(place, programs / "initdb", *options)
    with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write("\ninclude = 'sdi.conf'\n")
    fresh.rename(place.data)


def _launch(place: Place, programs: binaries.Binaries) -> None:
    if _answers(place):
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    configuration = _CONFIGURATION.format(
        port=_PORT, socket=place.socket, shared=max(64, min(512, memory // 8)), cache=max(256, memory // 2),
        helpers=max(1, min(4, (os.cpu_count() or 2) - 1)),
        # pglz, which is all that older servers have, takes a quarter of a delta's time.
        compression="lz4" if (_major(place) or 0) >= 15 else "on",
    )  # fmt: skip
    (place.data / "sdi.conf").write_text(configuration, encoding="utf-8")
    (place.data / "sdi.conf").chmod(0o644)
    if place.log.exists() and place.log.stat().st_size > 20 * 2**20:
        place.log.replace(place.log.with_suffix(".old"))
    options = ["start", "-D", str(place.data), "-l", str(place.log), "-w", "-t", str(_PATIENCE)]
    _run(place, programs / "pg_ctl", *options)


def _run(place: Place, program: str, *options: str) -> None:
    """Run one of PostgreSQL's programs as the cluster's user. Raises StoreError with what it says on failure."""
    identity: dict[str, Any] = {}
    if place.user and os.geteuid() == 0:
        owner = pwd.getpwnam(place.user)
        identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"LC_ALL": "C.UTF-8", "HOME": place.home}
    done = subprocess.run(
        [program, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", cwd="/", env=environment, check=False, umask=0o077, **identity,
    )  # fmt: skip
    if done.returncode:
        said = done.stdout.strip().splitlines()[-1:] or ["nothing"]
        raise StoreError(f"{Path(program).name} failed: {said[0]}", hint=f"The cluster's log is {place.log}.")


def _create_database(place: Place) -> None:
    with _connect(place, "postgres") as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not known:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(DATABASE)))
