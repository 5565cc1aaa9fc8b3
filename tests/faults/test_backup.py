"""A backup is everything of one moment, comes back as it was, and whatever breaks it off leaves nothing half."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sdi.errors import NotFound, SourceError, StoreError, UsageError
from sdi.pipeline import backup
from sdi.settings import Settings
from sdi.store import binaries, dump, engine, migrate
from sdi.store.audit import proof, search
from sdi.store.audit.chain import Anchor
from tests.conftest import ROOT
from tests.faults.siege import COUNT, GRID, Besieged, state_of


def url_of(town: Besieged) -> str:
    return str(town.breaker.order["url"])


def backed_up(town: Besieged, target: Path) -> backup.Backup:
    with engine.connect(url_of(town)) as owner:
        return backup.backup(owner, town.settings, town.registry, target)


def state_in(url: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        return state_of(connection)


@pytest.fixture(scope="module")
def made(town: Besieged, tmp_path_factory: pytest.TempPathFactory) -> backup.Backup:
    return backed_up(town, tmp_path_factory.mktemp("backup") / "town.tar")


def test_it_comes_back_in_another_database_and_folder_and_the_next_load_works(
    town: Besieged, made: backup.Backup, new_database: Callable[[], str], tmp_path: Path
) -> None:
    url = new_database()
    settings = Settings(database_url=url, layers=town.settings.layers, data=tmp_path / "data", grid=GRID)
    with engine.connect(url) as owner:
        backup.restore(owner, settings, made.path)
        assert migrate.plan(owner, town.registry) == []
        assert catalogue(owner) == catalogue(town.connection)
        assert made.manifest["audit"] is not None
        head = Anchor.parse(made.manifest["audit"])
        proven = proof.verify(owner, [head])
        assert (proven.holds, proven.head.seq) == (True, head.seq + 1), "all that was backed up, and the restore itself"
        (told,) = search.find(owner, search.Wanted(limit=1))
        assert told.body["action"] == "restore"
        assert told.body["trail"].startswith("restored; ")
        assert trail_of(owner, head) == trail_of(town.connection, head)
    assert state_in(url) == town.state()
    files = [path.relative_to(settings.data).as_posix() for path in settings.data.rglob("*.tif")]
    assert files == [*made.manifest["files"]] != []
    answer = town.breaker("plots", town.files["plots_new"], url=url, data=str(settings.data))
    assert (answer["status"], answer["error"]) == (0, None), answer
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM town.plots WHERE floors = 2").fetchone() == (COUNT,)
        last = connection.execute("SELECT max(load_id) FROM sdi.load").fetchone()
    assert last is not None
    assert last[0] > max(layer["last_load"]["load_id"] for layer in made.manifest["layers"].values())


def trail_of(connection: psycopg.Connection[Any], head: Anchor) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT * FROM sdi_audit.entry WHERE seq <= %s ORDER BY seq", [head.seq]).fetchall()


def catalogue(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Tables, columns, who may do what, and whose they are."""
    return connection.execute(
        "SELECT n.nspname, c.relname, c.relkind, c.relowner::regrole::text, a.attname, a.atttypid::regtype::text,"
        " (SELECT array_agg(x ORDER BY x) FROM unnest(c.relacl::text[]) x WHERE x !~ '^(postgres|sdi)='),"
        " (SELECT array_agg(x ORDER BY x) FROM unnest(a.attacl::text[]) x), pg_get_indexdef(c.oid)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE n.nspname IN ('sdi', 'town') ORDER BY 1, 2, 5"
    ).fetchall()


def test_it_is_verified_in_a_fresh_cluster(made: backup.Backup) -> None:
    assert {"sdi_owner", "sdi_loader", "sdi_reader"} <= made.manifest["roles"].keys()
    done = backup.verify(made.path)
    assert done.manifest["tables"]["town.plots"]["count"] == COUNT
    assert done.rows == made.rows > COUNT


def test_a_single_changed_value_is_noticed(
    town: Besieged, made: backup.Backup, new_database: Callable[[], str], tmp_path: Path
) -> None:
    url = new_database()
    settings = Settings(database_url=url, layers=town.settings.layers, data=tmp_path / "data", grid=GRID)
    forged = forge(made.path, tmp_path / "forged.tar", "town.shops")
    with engine.connect(url) as owner:
        with pytest.raises(StoreError, match=r"not what was backed up: town\.shops differ"):
            backup.restore(owner, settings, forged)
        assert dump.schemas(owner) == [], "what does not match does not stay"


def forge(source: Path, target: Path, table: str) -> Path:
    """The same backup, whose manifest wants another hash for one table."""
    with tarfile.open(source) as archive, tarfile.open(target, "w") as other:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            if member.name == "manifest.json":
                manifest = json.loads(file.read())
                manifest["tables"][table]["sha256"] = "0" * 64
                text = json.dumps(manifest).encode()
                member.size = len(text)
                (target.parent / "manifest").write_bytes(text)
                file = (target.parent / "manifest").open("rb")
            with file:
                other.addfile(member, file)
    return target


def test_a_trail_that_was_altered_in_the_backup_does_not_come_back(
    town: Besieged, made: backup.Backup, new_database: Callable[[], str], tmp_path: Path
) -> None:
    url, forged = new_database(), tmp_path / "forged.tar"
    settings = Settings(database_url=url, layers=town.settings.layers, data=tmp_path / "data", grid=GRID)
    with tarfile.open(made.path) as archive, tarfile.open(forged, "w") as other:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            content = file.read()
            if member.name == "audit/entry":
                assert content.count(b'"action": "load"') > 0
                content = content.replace(b'"action": "load"', b'"action": "LOAD"', 1)
            other.addfile(member, io.BytesIO(content))
    with engine.connect(url) as owner:
        with pytest.raises(StoreError, match="trail of the backup does not hold"):
            backup.restore(owner, settings, forged)
        assert dump.schemas(owner) == []
        assert owner.execute("SELECT count(*) FROM sdi_audit.entry").fetchone() == (0,)


def test_a_database_with_data_is_not_written_over_unless_asked_and_a_failure_brings_it_back(
    town: Besieged, made: backup.Backup, tmp_path: Path
) -> None:
    before = town.state()
    forged = forge(made.path, tmp_path / "forged.tar", "town.shops")
    with engine.connect(url_of(town)) as owner:
        with pytest.raises(UsageError, match="not empty"):
            backup.restore(owner, town.settings, made.path)
        with pytest.raises(StoreError, match="differ"):
            backup.restore(owner, town.settings, forged, replace=True)
        assert town.state() == before
        town.load("plots", town.files["plots_new"])
        assert town.state() != before
        names = dump.schemas(owner)
        backup.restore(owner, town.settings, made.path, replace=True)
        assert dump.schemas(owner) == names
    assert town.state() == before
    town.settle()


def test_a_restore_that_was_killed_is_undone_by_the_next(town: Besieged, made: backup.Backup) -> None:
    before = town.state()
    with engine.connect(url_of(town)) as owner:
        names = dump.schemas(owner)
        dump.prepare(owner, {}, replace=True)  # and here it is killed
        assert dump.schemas(owner) == [f"{name}__before" for name in names]
        with pytest.raises(UsageError, match="not empty"):
            backup.restore(owner, town.settings, made.path)
    assert town.state() == before


def test_a_load_that_commits_meanwhile_is_not_in_it(town: Besieged, tmp_path: Path) -> None:
    before = town.state()
    with engine.connect(url_of(town)) as owner, dump.snapshot(owner) as name:
        contents = dump.contents(owner)
        town.load("plots", town.files["plots_new"])
        assert dump.contents(owner) == contents
        with (tmp_path / "dump").open("wb") as out:
            assert dump.write(owner, name, out) > 1000
    assert town.state() != before
    town.load("plots", town.files["plots_old"])


def test_a_killed_or_a_full_disk_leaves_no_half_file(town: Besieged, tmp_path: Path) -> None:
    script = (
        "import os, resource, signal, sys\n"
        "from sdi.store import dump\n"
        "write = dump.write\n"
        "def killed(*args):\n"
        "    write(*args)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if sys.argv[1] == 'killed': dump.write = killed\n"
        "else: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "sys.argv = ['sdi', 'backup', sys.argv[2]]\n"
        "from sdi.cli import main\n"
        "main()\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SDI_", "PG"))}
    environment |= {
        "PYTHONPATH": str(ROOT), "SDI_DATABASE_URL": url_of(town), "SDI_LAYERS": str(town.settings.layers),
        "SDI_DATA": str(town.settings.data), "SDI_LANG": "en",
    }  # fmt: skip
    for how, code in (("killed", -signal.SIGKILL), ("full", 4)):
        done = subprocess.run(
            [sys.executable, "-c", script, how, str(tmp_path)], env=environment, text=True, capture_output=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.glob("*.tar"))
    assert "full" in done.stderr
    whole = backed_up(town, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [whole.path.name], "the killed one's remains are gone too"


def test_what_is_no_backup_or_half_of_one_is_told(
    town: Besieged, made: backup.Backup, new_database: Callable[[], str], tmp_path: Path
) -> None:
    half = tmp_path / "half.tar"
    half.write_bytes(made.path.read_bytes()[: made.size // 2])
    other = tmp_path / "other.tar"
    other.write_bytes(b"PK\x03\x04" + bytes(3000))
    with engine.connect(new_database()) as owner:
        for path in (half, other):
            with pytest.raises((SourceError, StoreError)):
                backup.restore(owner, town.settings, path)
        with pytest.raises(NotFound):
            backup.restore(owner, town.settings, tmp_path / "none.tar")
        assert dump.schemas(owner) == []


def test_a_pg_dump_that_is_too_old_names_the_package() -> None:
    with pytest.raises(StoreError, match=r"pg_dump is of version \d+; the server is PostgreSQL 99") as refused:
        binaries.client("pg_dump", 99)
    assert "postgresql-client-99" in str(refused.value)


def test_no_password_is_on_a_command_line(town: Besieged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "pg_dump"
    spy.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nprintf "%s" "$PGPASSWORD" > {tmp_path}/given\n'
    )
    spy.chmod(0o755)
    monkeypatch.setattr(binaries, "client", lambda program, server: spy)
    row = town.connection.execute("SELECT current_user").fetchone()
    assert row is not None
    url = url_of(town) + ("&" if "?" in url_of(town) else "?") + "password=geheim%20x"
    with engine.connect(url) as owner, dump.snapshot(owner) as name, (tmp_path / "out").open("wb") as out:
        dump.write(owner, name, out)
    assert "geheim" not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "given").read_text() == "geheim x"
