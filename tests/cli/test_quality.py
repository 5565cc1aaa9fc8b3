"""The steward's commands about bad features: quarantine, waive, waivers, report, quality; and keys."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyogrio
import pytest

from sdi.cli import main
from tests.cli.test_commands import PARCELS

LAYER = "cadastral_parcels"
FEATURE = "00070.7.12"
RULE = "code.unknown"


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Terminal:
    """`sdi` by its own entry, in this process: thirty of its own would take a minute to start."""

    folder: Path

    def __call__(self, *words: str, lang: str = "en") -> Done:
        out, err, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", ["sdi", "--lang", lang, *words])
            patch.chdir(self.folder)
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        return Done(code, out.getvalue(), err.getvalue())

    def json(self, *words: str) -> Any:
        done = self(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def terminal(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDI_DATABASE_URL", new_database())
        patch.setenv("SDI_DATA", str(folder / ".sdi"))
        yield Terminal(folder)


@pytest.fixture(scope="module")
def loaded(terminal: Terminal) -> Terminal:
    """A parcel whose use code nobody knows is in quarantine."""
    path = terminal.folder / "thua.geojson"
    text = PARCELS.replace('"mdsd": "ODT"', '"mdsd": "QQQ"') % "12"
    path.write_text(text, encoding="utf-8")
    done = terminal("load", LAYER, "thua.geojson", "--steward", "binh", "--report", "nap.html")
    assert done.returncode == 0, done.stderr
    return terminal


def test_every_command_explains_itself(terminal: Terminal) -> None:
    for words in (["quarantine"], ["waive"], ["waivers"], ["report"], ["quality"]):
        done = terminal(*words, "--help")
        assert done.returncode == 0
        assert "·" in done.stdout


def test_the_quarantine_is_listed_and_written_for_qgis(loaded: Terminal) -> None:
    (row,) = loaded.json("quarantine", LAYER)
    assert (row["id"], row["state"], row["attributes"]["land_use_code"]) == (FEATURE, "open", "QQQ")
    assert "Nguyễn" not in json.dumps(row, ensure_ascii=False)
    assert "QQQ" in loaded("quarantine").stdout
    done = loaded("quarantine", LAYER, "--load", str(row["load_id"]), "--to", "sua.gpkg")
    assert done.returncode == 0, done.stderr
    assert LAYER in pyogrio.list_layers(loaded.folder / "sua.gpkg")[:, 0]
    assert loaded("quarantine", "--to", "sua.gpkg").returncode == 2
    assert loaded("quarantine", LAYER, "--to", "sua.xlsx").returncode == 2


def test_a_report_is_written_by_check_by_load_and_afterwards(loaded: Terminal) -> None:
    told = (loaded.folder / "nap.html").read_text(encoding="utf-8")
    assert "binh" in told
    assert FEATURE in told
    checked = loaded("check", LAYER, "thua.geojson", "--report", "thu.html", lang="vi")
    assert checked.returncode == 1
    assert "Kiểm tra thử" in (loaded.folder / "thu.html").read_text(encoding="utf-8")
    again = loaded("report", LAYER, "--to", "lai.html", "--findings", "tatca.gpkg", lang="vi")
    assert again.returncode == 0, again.stderr
    assert "Biên bản tiếp nhận dữ liệu" in (loaded.folder / "lai.html").read_text(encoding="utf-8")
    assert "findings" in pyogrio.list_layers(loaded.folder / "tatca.gpkg")[:, 0]
    assert RULE in loaded("report", LAYER).stdout
    assert loaded("report", "no_such_layer").returncode == 2
    assert loaded("report", LAYER, "--to", "lai.pdf").returncode == 2


def test_a_part_is_checked_as_the_part_that_will_be_loaded(loaded: Terminal) -> None:
    """As a full delivery it would be held against other communes only, not against its neighbours in the layer."""
    (loaded.folder / "het.txt").write_text("00070.7.99\n", encoding="utf-8")
    words = ("check", LAYER, "thua.geojson", "--mode", "partial", "--ended-ids", "het.txt", "--report", "phan.html")
    assert loaded(*words, lang="vi").returncode == 1
    told = (loaded.folder / "phan.html").read_text(encoding="utf-8")
    assert ("một phần" in told, "đầy đủ" in told) == (True, False)
    delivery = loaded.json(*words)["delivery"]
    assert (delivery["mode"], delivery["ended"]) == ("partial", ["00070.7.99"])


def test_quality_is_told_by_iso_19157(loaded: Terminal) -> None:
    told = {each["element"]: each for each in loaded.json("quality", LAYER)}
    assert (told["domain consistency"]["evaluated"], told["domain consistency"]["faulty"]) == (1, 1)
    assert told["domain consistency"]["measure_id"] == 18
    assert "Nhất quán miền giá trị" in loaded("quality", LAYER, lang="vi").stdout


def test_a_key_is_shown_once_and_revoked(loaded: Terminal) -> None:
    made = loaded("agencies", "key", "so_nnmt", "--note", "máy của phòng 3")
    key = made.stdout.strip()
    assert made.returncode == 0, made.stderr
    assert len(key) >= 43
    listed = loaded("agencies", "keys")
    assert "phòng 3" in listed.stdout
    assert key not in listed.stdout + listed.stderr + json.dumps(loaded.json("agencies", "keys"))
    unknown = loaded("agencies", "key", "so_nnmtt")
    assert unknown.returncode == 2
    assert "so_nnmt" in unknown.stderr
    for left in (1, 0):
        ended = loaded("agencies", "revoke", "so_nnmt", "--why", "hết việc")
        assert (ended.returncode, f"keys {left}," in ended.stderr) == (0, True)


def test_a_waiver_is_given_listed_in_the_history_and_taken_back(loaded: Terminal) -> None:
    words = ("waive", LAYER, RULE, FEATURE, "--steward", "binh")
    assert loaded(*words).returncode == 2, "a reason is needed"
    assert loaded(*words, "--reason", "x", "--until", "mai").returncode == 2
    late = loaded(*words, "--reason", "x", "--until", "2020-01-01")
    assert (late.returncode, "is past" in late.stderr, loaded.json("waivers", LAYER)) == (2, True, [])
    given = loaded(*words, "--reason", "Chờ danh mục mới", "--until", "2099-12-31")
    assert given.returncode == 0, given.stderr
    (row,) = loaded.json("quarantine", LAYER)
    assert row["state"] == "waived"
    for command in (("waivers", LAYER), ("history", LAYER)):
        assert "Chờ danh mục mới" in loaded(*command).stdout
    done = loaded("load", LAYER, "thua.geojson")
    assert "1 new" in done.stdout, done.stdout + done.stderr
    assert "Chờ danh mục mới" in loaded("history", LAYER, FEATURE).stdout
    assert loaded(*words, "--revoke").returncode == 0
    (told,) = loaded.json("waivers", LAYER)
    assert (told["state"], told["revoked_by"]) == ("revoked", "binh")
    assert loaded(*words, "--revoke").returncode == 2


def test_a_waiver_of_a_feature_that_nobody_met_is_told_to_be_one(loaded: Terminal) -> None:
    """A slip in an id lets nothing pass, and the steward would learn of it by the next load."""
    for feature, unmet in ((FEATURE, False), ("00070.7.21", True)):
        words = ("waive", LAYER, "coverage.overlap", feature)
        given = loaded(*words, "--reason", "Đã đo lại")
        assert given.returncode == 0, given.stderr
        assert ("never had a feature" in given.stderr) == unmet
        assert loaded(*words, "--revoke").returncode == 0
    assert loaded("waive", "terrain", "coverage.overlap", "dem", "--reason", "x").returncode == 0


def test_a_report_can_go_where_the_steward_says_and_nowhere_else(loaded: Terminal, tmp_path: Path) -> None:
    assert loaded("report", LAYER, "--to", str(tmp_path / "ra.html")).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ra.html"]


def test_a_load_that_never_was_is_told_as_one(loaded: Terminal) -> None:
    """An empty table would say that nothing of it is in quarantine."""
    held = ("quarantine", LAYER, "--load", "9999")
    for words in (
        held,
        (*held, "--json"),
        (*held, "--to", "sua.gpkg"),
        ("quarantine", "--load", "9999"),
        ("report", "9999"),
    ):
        done = loaded(*words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert "✗ There is no load 9999." in done.stderr
        told = loaded(*words, lang="vi").stderr
        assert "✗ Không có lần nạp số 9999." in told
        assert "→ Xem 'sdi history'." in told
    assert loaded("report", "9" * 5_000).returncode == 2
    (row,) = loaded.json("quarantine", LAYER, "--load", "1")
    assert row["load_id"] == 1
    other = loaded("quarantine", "buildings", "--load", "1", lang="vi")
    assert (other.returncode, f"Lần nạp 1 là của «{LAYER}», không phải của «buildings»." in other.stderr) == (2, True)


def test_a_database_that_is_as_the_contracts_say_is_told_so_in_either_language(loaded: Terminal) -> None:
    for lang, said in (("vi", "✓ không cần làm gì"), ("en", "✓ nothing to do")):
        for command in ("plan", "status", "migrate"):
            done = loaded("db", command, lang=lang)
            assert (done.returncode, said in done.stderr) == (0, True), done.stderr
