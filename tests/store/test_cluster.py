"""The embedded cluster: private, safe to start twice, and back after a crash. Runs as whoever runs the tests."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sdi.contract.registry import read_registry
from sdi.errors import StoreError
from sdi.settings import Settings
from sdi.store import binaries, cluster, engine, migrate
from tests.conftest import ROOT

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose cluster is removed at the end."""
    yield tmp_path / "data"
    if (tmp_path / "data").is_dir():
        cluster.remove(tmp_path / "data")


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def test_it_starts_once_holds_postgis_and_stops(folder: Path) -> None:
    assert cluster.status(folder).running is False
    url = cluster.start(folder)
    pid = cluster.status(folder).pid
    assert cluster.start(folder) == url
    assert cluster.status(folder).pid == pid
    assert value(url, "SHOW server_encoding") == "UTF8"
    assert value(url, "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgis'") == 1
    cluster.stop(folder)
    cluster.stop(folder)
    assert cluster.status(folder).running is False


def test_it_listens_on_a_private_socket_only(folder: Path) -> None:
    url = cluster.start(folder)
    assert value(url, "SHOW listen_addresses") == ""
    socket = Path(str(value(url, "SHOW unix_socket_directories")))
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert len(os.fsencode(socket / ".s.PGSQL.5432")) <= 107


def test_what_was_written_is_there_after_kill_9_of_the_server(folder: Path) -> None:
    url = cluster.start(folder)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    pid = cluster.status(folder).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    url = cluster.start(folder)
    assert value(url, "SELECT n FROM kept") == 42
    assert cluster.status(folder).pid != pid


def test_no_number_is_given_twice_when_the_server_is_killed_after_the_first_migration(folder: Path) -> None:
    url = cluster.start(folder)
    with engine.connect(url) as owner:
        migrate.apply(owner, read_registry(ROOT / "layers"))
    sequences = "SELECT format('%I.%I', schemaname, sequencename)::text FROM pg_sequences WHERE schemaname = 'sdi'"
    with psycopg.connect(url, autocommit=True) as connection:
        names = [name for (name,) in connection.execute(sequences)]
        given = {name: connection.execute("SELECT nextval(%s)", [name]).fetchone() for name in names}
    assert any(number and number[0] > 1 for number in given.values())  # that the migration itself has used some
    pid = cluster.status(folder).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with psycopg.connect(cluster.start(folder), autocommit=True) as connection:
        for name in names:
            assert connection.execute("SELECT nextval(%s)", [name]).fetchone() > given[name], name


def test_a_pid_file_whose_number_another_program_has_does_not_stop_it(folder: Path) -> None:
    cluster.start(folder)
    data = cluster.status(folder).data
    assert data is not None
    cluster.stop(folder)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (data / "postmaster.pid").write_text(f"{other.pid}\n{data}\n{int(time.time())}\n5432\n\n\n\n")
        cluster.start(folder)
        assert cluster.status(folder).running
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_it_comes_back_when_its_socket_was_cleaned_away(folder: Path) -> None:
    url = cluster.start(folder)
    socket = Path(str(value(url, "SHOW unix_socket_directories")))
    (socket / ".s.PGSQL.5432").unlink()
    assert value(cluster.start(folder), "SELECT 1") == 1


def test_two_starts_at_once_make_one_cluster(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sdi.store import cluster; print(cluster.start(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", script, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    said = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1


def test_a_long_data_folder_gets_a_short_socket_path(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    try:
        assert value(cluster.start(folder), "SELECT 1") == 1
    finally:
        cluster.remove(folder)


def test_the_environment_of_another_cluster_does_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {"PGDATA": "/nowhere", "PGPORT": "1", "PGOPTIONS": "-c nonsense=1", "PGHOST": "nowhere.invalid"}
    for name, other in others.items():
        monkeypatch.setenv(name, other)
    url = cluster.start(folder)
    assert cluster.status(folder).running
    engine.connect(url).close()


def test_remove_leaves_nothing(folder: Path) -> None:
    cluster.start(folder)
    data = cluster.status(folder).data
    assert data is not None
    cluster.remove(folder)
    assert not data.exists()
    assert cluster.status(folder).data is None


@as_root
def test_root_drops_to_an_unprivileged_user_and_stands_elsewhere_when_it_cannot_come_in(tmp_path: Path) -> None:
    for mode, elsewhere in ((0o755, False), (0o700, True)):
        home = Path("/var/tmp") / f"sdi-test-{os.getpid()}-{mode:o}"
        home.mkdir()
        home.chmod(mode)
        try:
            cluster.start(home / "data")
            found = cluster.status(home / "data")
            assert found.data is not None
            assert found.data.is_relative_to(home) is not elsewhere
            assert pwd.getpwuid(found.data.stat().st_uid).pw_name in ("postgres", "nobody")
            cluster.remove(home / "data")
        finally:
            for path in sorted(home.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            home.rmdir()


@as_root
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_ordinary_user_has_a_cluster_of_its_own() -> None:
    home = Path("/var/tmp") / f"sdi-test-{os.getpid()}-nobody"
    home.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    child = os.fork()
    if child == 0:  # this Python may stand where nobody cannot start it: go on in a copy of this process
        code = 1
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            cluster.start(home / "data")
            code = 0 if cluster.status(home / "data").running else 2
            cluster.remove(home / "data")
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for path in sorted(home.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    home.rmdir()


def test_a_folder_that_somebody_else_prepared_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "postgres").mkdir(mode=0o777)
    (folder / "postgres").chmod(0o777)
    with pytest.raises(StoreError, match="not a private folder"):
        cluster.start(folder)


def test_a_missing_version_is_named_with_its_package() -> None:
    with pytest.raises(StoreError, match="apt-get install postgresql-9 postgresql-9-postgis-3"):
        binaries.find(9)


# --- connections --------------------------------------------------------------------------------------------------


def test_the_embedded_cluster_serves_when_no_server_is_given(folder: Path) -> None:
    settings = Settings(data=folder)
    with pytest.raises(StoreError, match="sdi db up"):
        engine.database_url(settings, start=False)
    url = engine.database_url(settings)
    assert engine.database_url(settings, start=False) == url


def test_an_unreachable_server_is_said_without_its_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as away:
        engine.connect(f"postgresql://me:secret@/x?host={tmp_path}")
    assert "secret" not in str(away.value)
    assert "cannot be reached" in str(away.value)


def test_a_role_that_is_not_there_asks_for_a_migration(server_url: str) -> None:
    with pytest.raises(StoreError, match="sdi db migrate"):
        engine.connect(server_url, "sdi_nobody")


def test_a_pool_reads_as_the_reader_and_cancels_what_takes_too_long(built: str) -> None:
    with engine.pool(built, size=2, statement_timeout=0.2) as pool, pool.connection() as connection:
        row = connection.execute("SELECT current_user, current_setting('TimeZone'), current_setting('jit')").fetchone()
        assert row == ("sdi_reader", "UTC", "off")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE town.mine (a int)")
        connection.execute("RESET ROLE")
        assert connection.execute("SELECT current_user").fetchone() == ("sdi_reader",)
        with pytest.raises(StoreError, match="took too long"), engine.translated():
            connection.execute("SELECT pg_sleep(5)")


def test_a_pool_answers_again_after_its_connections_were_killed(built: str) -> None:
    with engine.pool(built, size=1, statement_timeout=5) as pool:
        with pool.connection() as connection:
            pid = connection.info.backend_pid
        with psycopg.connect(built, autocommit=True) as other:
            # Waits until it is gone: without the time the answer comes when the signal is sent, and the pool's own
            # look at the connection may still find it well.
            ended = other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid]).fetchone()
            assert ended == (True,)
        with pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_full_pool_is_said_to_be_busy(built: str) -> None:
    with engine.pool(built, size=1, statement_timeout=5) as pool, pool.connection():
        outcome: list[Exception] = []

        def ask() -> None:
            try:
                with engine.translated(), pool.connection(timeout=0.2):
                    pass
            except StoreError as error:
                outcome.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert "busy" in str(outcome[0])
