"""The audit trail from the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sdi.cli.app import Desk, app
from sdi.settings import Settings
from sdi.store.audit import spool
from sdi.store.audit.spool import Spool

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def run(new_database: Callable[[], str], folder: Path) -> Run:
    desk = Desk(language="en")
    desk.__dict__["settings"] = Settings(database_url=new_database(), data=folder)

    def command(*words: str) -> Result:
        return CliRunner().invoke(app, ["--lang", "en", *words], obj=desk)

    command.url = desk.settings.database_url.get_secret_value()  # type: ignore[attr-defined, union-attr]
    names = ("--kind", "department", "--name-vi", "Sở Một", "--name-en", "One")
    assert command("agencies", "add", "so_mot", *names).exit_code == 0
    assert command("agencies", "key", "so_mot").exit_code == 0
    return command


def test_what_the_terminal_does_is_in_the_trail_and_found_there(run: Run) -> None:
    found = json.loads(run("audit", "search", "--agency", "so_mot", "--json").output)
    assert [each["action"] for each in found] == ["agency_key", "agency"]
    keys = json.loads(run("audit", "search", "--agency", "so_mot", "--action", "agency_key", "--json").output)
    assert [each["seq"] for each in keys] == [found[0]["seq"]]
    assert found[0]["login"]
    assert found[0]["member"]
    assert "sha256" not in found[0]["row"]
    assert json.loads(run("audit", "search", "--limit", "1", "--json").output)[0]["action"] == "search"
    later = run("audit", "search", "--from", "2999-01-01", "--json")
    assert json.loads(later.output) == []
    assert "agency_key insert" in run("audit", "search").output


def test_it_is_verified_against_a_kept_anchor_and_fails_with_1(run: Run, folder: Path) -> None:
    kept = folder / "anchors.txt"
    kept.write_text(run("audit", "anchor").output)
    told = json.loads(run("audit", "verify", "--anchors", str(kept), "--json").output)
    assert told["holds"]
    assert (told["anchors"], told["faults"]) == (1, [])
    seq, _, digest = kept.read_text().strip().partition(":")
    assert run("audit", "verify").exit_code == 0
    wrong = run("audit", "verify", "--anchor", f"{seq}:{digest[::-1]}")
    assert wrong.exit_code == 1
    assert "anchor" in wrong.output


def test_what_a_dead_process_left_is_brought_in(run: Run, folder: Path) -> None:
    place = spool.folder_of(folder, run.url)  # type: ignore[attr-defined]
    left = Spool(place, 10**6)
    left.write([b'{"at":"2026-01-01T00:00:00Z","kind":"read","action":"item","agency":"left_over","layers":[]}'])
    left.close()
    assert len(json.loads(run("audit", "status", "--json").output)["files"]) == 1
    assert run("audit", "collect").exit_code == 0
    assert json.loads(run("audit", "status", "--json").output)["files"] == {}
    found = json.loads(run("audit", "search", "--agency", "left_over", "--json").output)
    assert len(found) == 1


def test_only_whole_months_of_the_past_are_removed(run: Run) -> None:
    assert run("audit", "retain", "--before", "2020-01-01", "--reason", "kept").exit_code == 0
    assert run("audit", "retain", "--before", "2999-01-01", "--reason", "kept").exit_code != 0
    assert json.loads(run("audit", "verify", "--json").output)["removed"] == 0
