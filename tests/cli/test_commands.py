"""The commands as a steward runs them: a process, its words, its exit code."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from sdi.cli import main
from sdi.settings import ROOT

PARCELS = """{"type": "FeatureCollection", "features": [
 {"type": "Feature",
  "properties": {"maXa": "00070", "soTo": "7", "soThua": "%s", "mdsd": "ODT",
                 "diaChi": "Phố Hàng Bạc", "tenChu": "Nguyễn Văn A"},
  "geometry": {"type": "Polygon", "coordinates": [[
   [105.8525,21.0287],[105.8526,21.0287],[105.8526,21.0288],[105.8525,21.0288],[105.8525,21.0287]]]}}]}"""


@dataclass(frozen=True)
class Terminal:
    environment: dict[str, str]
    folder: Path

    def __call__(self, *words: str, lang: str = "en") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sdi", *words], cwd=self.folder, text=True, capture_output=True, check=False,
            env={**self.environment, "SDI_LANG": lang, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        )  # fmt: skip

    def json(self, *words: str) -> Any:
        done = self(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def terminal(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    folder = tmp_path_factory.mktemp("desk")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SDI_")}
    return Terminal({**environment, "SDI_DATABASE_URL": new_database(), "SDI_DATA": str(folder / ".sdi")}, folder)


@pytest.fixture(scope="module")
def parcels(terminal: Terminal) -> Path:
    path = terminal.folder / "thua.geojson"
    path.write_text(PARCELS % "12", encoding="utf-8")
    return path


def test_every_command_explains_itself(terminal: Terminal) -> None:
    for words in (
        [],
        ["layers"],
        ["db"],
        ["check"],
        ["load"],
        ["history"],
        ["export"],
        ["parcel"],
        ["serve"],
        ["demo"],
        ["doctor"],
    ):
        done = terminal(*words, "--help")
        assert done.returncode == 0
        assert "·" in done.stdout, f"{words}: the help is in Vietnamese and English"


def test_the_service_takes_the_place_of_the_command_and_ends_when_it_is_told_to(terminal: Terminal) -> None:
    assert terminal("db", "migrate").returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**terminal.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sdi", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=terminal.folder, stderr=subprocess.DEVNULL) as process:
        while not answers(port):
            assert process.poll() is None
            time.sleep(0.1)
        assert b"uvicorn" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        with urlopen(f"http://127.0.0.1:{port}/?f=json") as answer:
            links = [link["href"] for link in json.load(answer)["links"]]
        own = f"http://127.0.0.1:{port}/"
        assert own + "conformance" in {link.partition("?")[0] for link in links}, "without SDI_URL they begin so"
        process.terminate()
        process.wait(60)


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_contracts_are_listed_and_shown(terminal: Terminal) -> None:
    listed = {layer["id"] for layer in terminal.json("layers", "list")}
    assert {"cadastral_parcels", "buildings", "construction_permits", "terrain", "parcel_overview"} <= listed
    assert "Thửa đất địa chính" in terminal("layers", "show", "cadastral_parcels", lang="vi").stdout


def test_an_unknown_layer_gets_the_nearest_name(terminal: Terminal) -> None:
    done = terminal("layers", "show", "cadastral_parcel")
    assert done.returncode == 2
    assert "Did you mean 'cadastral_parcels'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_broken_contracts_are_told_all_at_once_with_file_and_line(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "trees.yaml").write_text("id: trees\nkindd: features\nversion: one\n", encoding="utf-8")
    done = terminal("layers", "check", str(tmp_path))
    assert done.returncode == 3
    assert "trees.yaml:2: 'kindd' is not a word of the contract. Did you mean 'kind'?" in done.stderr
    assert "trees.yaml:3: version" in done.stderr


def test_check_writes_nothing_and_load_writes_once(terminal: Terminal, parcels: Path) -> None:
    checked = terminal("check", "cadastral_parcels", str(parcels), "--grid", "5897")
    assert checked.returncode == 0, checked.stderr
    assert terminal("db", "migrate").returncode == 0
    assert terminal.json("history") == []
    loaded = terminal("load", "cadastral_parcels", str(parcels), "--steward", "Phường Hoàn Kiếm")
    assert loaded.returncode == 0, loaded.stderr
    assert "1 new" in loaded.stdout
    entries = terminal.json("history", "cadastral_parcels")
    assert [(entry["status"], entry["steward"], entry["inserted"], entry["operation"]) for entry in entries] == [
        ("done", "Phường Hoàn Kiếm", 1, 6960)
    ]
    again = terminal("load", "cadastral_parcels", str(parcels), lang="vi")
    assert "1 không đổi" in again.stdout


def test_a_refused_file_leaves_exit_code_1_and_the_old_layer(terminal: Terminal, parcels: Path, tmp_path: Path) -> None:
    terminal("load", "cadastral_parcels", str(parcels))
    far = tmp_path / "far.geojson"
    far.write_text((PARCELS % "13").replace("105.85", "15.85"), encoding="utf-8")
    done = terminal("load", "cadastral_parcels", str(far), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["report"]["refused"] is True
    assert terminal.json("history", "cadastral_parcels")[0]["status"] == "refused"
    out = tmp_path / "out.geojson"
    assert terminal("export", "cadastral_parcels", str(out)).returncode == 0
    assert [feature["properties"]["parcel_number"] for feature in json.loads(out.read_text())["features"]] == ["12"]


def test_an_export_comes_back_in_the_right_place(terminal: Terminal, parcels: Path, tmp_path: Path) -> None:
    terminal("load", "cadastral_parcels", str(parcels))
    for name in ("out.gpkg", "out.shp", "out.fgb", "out.tab", "out.csv"):
        done = terminal("export", "cadastral_parcels", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    for name in ("out.gpkg", "out.shp", "out.fgb", "out.tab"):
        back = terminal.json("check", "cadastral_parcels", str(tmp_path / name))
        assert back["delivery"]["crs_used"] == "EPSG:5897", name
        assert back["kept"] == 1, name


def test_missing_files_and_bad_options_are_wrong_usage(terminal: Terminal, parcels: Path) -> None:
    for words in (["load", "cadastral_parcels", "nowhere.shp"], ["check", "buildings", str(parcels), "--crs", "9210x"],
                  ["check", "buildings", "x.shp", "--map", "a"], ["check", "buildings", "x.shp", "--date", "1.1.2026"],
                  ["load", "parcel_overview", "x.shp"]):  # fmt: skip
        done = terminal(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_the_doctor_finds_a_healthy_set_up_and_a_missing_server(terminal: Terminal) -> None:
    terminal("db", "migrate")
    healthy = terminal("doctor")
    assert healthy.returncode == 0, healthy.stdout
    assert "EPSG:6960" in healthy.stdout
    away = Terminal(
        {**terminal.environment, "SDI_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, terminal.folder
    )
    found = away("doctor")
    assert found.returncode == 4
    assert "→" in found.stdout
    assert away("history").returncode == 4


def test_only_a_file_of_a_like_name_is_proposed(terminal: Terminal, parcels: Path) -> None:
    (terminal.folder / "q.gpkg").touch()
    (terminal.folder / "thua_dat.gpkg").touch()
    for asked, proposed in (
        ("nofile.gpkg", None),
        ("thuadat.gpkg", "thua_dat.gpkg"),
        ("thua_dat.shp", "thua_dat.gpkg"),
    ):
        told = terminal("check", "buildings", str(terminal.folder / asked)).stderr
        assert ("Did you mean" in told) is (proposed is not None), told
        assert proposed is None or f"Did you mean '{proposed}'?" in told
        assert proposed is not None or "Look at the path" in told


def test_a_load_is_called_one_in_the_language_that_is_spoken(terminal: Terminal, parcels: Path) -> None:
    number = terminal.json("load", "cadastral_parcels", str(parcels))["load_id"]
    for language, load, status in (("vi", "lần nạp", "xong"), ("en", "load", "done")):
        assert f" · {load} {number} · {status} · " in terminal("report", str(number), lang=language).stdout
        assert f"✓ {load} {number + 1}: " in terminal("load", "cadastral_parcels", str(parcels), lang=language).stdout
        number += 1


def test_a_withdrawn_layer_is_published_again(terminal: Terminal, parcels: Path) -> None:
    terminal("load", "cadastral_parcels", str(parcels))
    assert terminal("withdraw", "cadastral_parcels").returncode == 0
    assert terminal("publish", "cadastral_parcels").returncode == 0
    assert terminal("publish", "red_lines").returncode == 2


def test_all_of_one_parcel(terminal: Terminal, parcels: Path) -> None:
    terminal("load", "cadastral_parcels", str(parcels))
    done = terminal("parcel", "00070.7.12")
    assert done.returncode == 0, done.stderr
    assert "00070.7.12" in done.stdout
    assert "Nguyễn Văn A" not in done.stdout
    assert re.search(r" 115,\d+ m²", terminal("parcel", "00070.7.12", lang="vi").stdout), "a comma parts the decimals"
    assert terminal("parcel", "00070.7.99").returncode == 2


@pytest.mark.parametrize(
    ("words", "vietnamese", "english"),
    [
        (["loda"], "Không có lệnh «loda». Có phải ý bạn là «load»?", "No such command 'loda'. Did you mean 'load'?"),
        (["load"], "Thiếu tham số «LAYER».", "Missing argument 'LAYER'."),
        (["serve", "--port", "x"], "Giá trị của --port không dùng được: Giá trị phải là số nguyên", "valid integer"),
        (["agencies", "merge", "a", "b", "--why", "x", "--on", "mai"], "«mai» không theo dạng", "'mai' does"),
        (["agencies", "list", "a", "b"], "Thừa tham số: b", "Got unexpected extra argument(s) (b)"),
        (["load", "a", "b", "--mode", "ful"], "--mode không dùng được: «ful» không phải là một", "'ful' is not one of"),
        (["rollback", "a", "--to", "x"], "của --to không dùng được: Giá trị phải là số nguyên", "'--to': Input"),
        (["load", "--foo"], "Không có tùy chọn --foo", "No such option: --foo"),
        (["--foo"], "sdi [TÙY CHỌN] LỆNH [THAM SỐ]...", "sdi [OPTIONS] COMMAND [ARGS]..."),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_in_the_language_that_is_spoken(
    words: list[str], vietnamese: str, english: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for language, said, help_ in (("vi", vietnamese, "Xem trợ giúp: "), ("en", english, "Try '")):
        monkeypatch.setattr(sys, "argv", ["sdi", *words])
        monkeypatch.setenv("SDI_LANG", language)
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        told = capsys.readouterr().err
        assert said in told
        assert help_ in told


@pytest.mark.parametrize(
    ("words", "vietnamese", "english"),
    [
        (["loda"], "Không có lệnh «loda».", "No such command 'loda'."),
        (["history", "--limit"], "Tùy chọn --limit cần một giá trị.", "Option '--limit' requires an argument."),
        (["history", "--json=3"], "Tùy chọn --json không nhận giá trị.", "Option '--json' does not take a value."),
        (["--foo"], "Không có tùy chọn --foo", "No such option: --foo"),
    ],
)
@pytest.mark.parametrize("said", ["--lang={}", "--lang {}"])
def test_what_is_said_of_the_language_counts_more_than_the_setting(
    said: str, words: list[str], vietnamese: str, english: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for language, setting, told in (("vi", "en", vietnamese), ("en", "vi", english)):
        monkeypatch.setattr(sys, "argv", ["sdi", *said.format(language).split(), *words])
        monkeypatch.setenv("SDI_LANG", setting)
        with pytest.raises(SystemExit) as left:
            main()
        assert (left.value.code, told in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize(
    ("words", "vietnamese", "english"),
    [
        ("layers show zzzz", "→ Xem 'sdi layers list'.", "→ See 'sdi layers list'."),
        ("check terrain a.tif", "thư mục «desk» không có tệp này.", "→ Look at the path: 'desk' has no such"),
        ("check buildings b/a.shp", "xem lại đường dẫn: không có thư mục «b».", "the path: there is no folder 'b'."),
        ("restore --verify a.tar", "→ Hãy xem lại đường dẫn:", "→ Look at the path:"),
        ("audit verify --anchors a.txt", "--anchors không dùng được: không có «a.txt»", "'a.txt' does not exist"),
        ("layers check a", "không dùng được: không có «a»", "'a' does not exist"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_where_to_look(
    words: str, vietnamese: str, english: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.setenv("SDI_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    for language, said in (("vi", vietnamese), ("en", english)):
        monkeypatch.setattr(sys, "argv", ["sdi", "--lang", language, *words.split()])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr().err
        assert (left.value.code, said in told) == (2, True), told


def test_a_language_that_there_is_not_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdi", "--lang", "de", "history"])
    with pytest.raises(SystemExit):
        main()
    assert "Giá trị của --lang (biến môi trường SDI_LANG) không dùng được: «de»" in capsys.readouterr().err


def test_the_doctor_speaks_the_language_that_is_spoken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for language, said in (("vi", ("cơ sở dữ liệu: ", "hợp đồng dữ liệu: ")), ("en", ("database: ", " code lists"))):
        monkeypatch.setattr(sys, "argv", ["sdi", "doctor"])
        monkeypatch.setenv("SDI_LANG", language)
        monkeypatch.setenv("SDI_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 4
        told = capsys.readouterr().out
        assert all(each in told for each in said), told


def test_a_file_that_cannot_be_written_is_told_before_anything_is_loaded(terminal: Terminal, parcels: Path) -> None:
    terminal("db", "migrate")
    before = terminal.json("history")
    (terminal.folder / "folder.gpkg").mkdir()
    layer = "cadastral_parcels"
    for words in (
        ("check", layer, str(parcels), "--findings"), ("load", layer, str(parcels), "--report"), ("export", layer),
        ("quarantine", layer, "--to"), ("report", layer, "--to"), ("report", layer, "--findings"),
        ("diff", layer, "1", "now", "--to"), ("qgis-project", "-o"),
    ):  # fmt: skip
        done = terminal(*words, str(terminal.folder / "gone" / "x.gpkg"))
        assert done.returncode == 2, (words, done.stderr)
        assert "✗ There is no folder gone.\n  → Make it first" in done.stderr
    assert "folder.gpkg is a folder." in terminal("export", layer, str(terminal.folder / "folder.gpkg")).stderr
    assert terminal.json("history") == before


def test_a_name_that_cannot_be_written_so_is_told_before_anything_is_read(terminal: Terminal) -> None:
    layer, missing = "cadastral_parcels", str(terminal.folder / "never_read.geojson")
    for *words, said in (
        ("check", layer, missing, "--findings", "x.xlsx", "'x.xlsx': findings cannot be written so."),
        ("check", layer, missing, "--report", "x.pdf", "'x.pdf' is not named as a page.\n  → Write a .html"),
        ("load", layer, missing, "--findings", "x", "'x': findings cannot be written so.\n  → Writable: .gpkg, .csv."),
        ("load", layer, missing, "--report", "x.gpkg", "'x.gpkg' is not named as a page."),
        ("export", "no_such_layer", "x.dwg", "'.dwg' cannot be written.\n  → Writable: .gpkg, .geojson, .fgb"),
        ("quarantine", "no_such_layer", "--to", "x.shp", "'.shp' cannot be written.\n  → Writable: .gpkg, .csv"),
        ("report", "no_such_layer", "--to", "x.docx", "'x.docx' is not named as a page."),
        ("report", "no_such_layer", "--findings", "x.shp", "'x.shp': findings cannot be written so."),
        ("diff", "no_such_layer", "1", "now", "--to", "x.csv", "'x.csv' is not a GeoPackage."),
    ):
        done = terminal(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert said in done.stderr, words


@pytest.mark.parametrize("name", ["idna", "punycode", "rot13", "unicode_escape", "base64", "undefined"])
def test_a_codec_that_is_no_character_set_is_told_before_anything_is_read(terminal: Terminal, name: str) -> None:
    done = terminal("check", "cadastral_parcels", str(terminal.folder / "never_read.shp"), "--encoding", name)
    assert done.returncode == 2
    assert f"'{name}' is no known encoding." in done.stderr
    assert "→ Known: UTF-8, CP1252, CP1258, TCVN3, VNI, and others that Python has" in done.stderr


@pytest.mark.parametrize("verb", ["check", "load"])
def test_what_is_found_is_not_written_over_what_was_delivered(terminal: Terminal, tmp_path: Path, verb: str) -> None:
    path = tmp_path / "thua.csv"
    path.write_text("maXa,soTo,soThua\n00070,7,1\n", encoding="utf-8")
    delivered = path.read_bytes()
    done = terminal(verb, "cadastral_parcels", str(path), "--findings", str(tmp_path / "." / "thua.csv"))
    assert done.returncode == 2
    assert "thua.csv is the file that is read.\n  → Name another file to be written." in done.stderr
    assert path.read_bytes() == delivered


def test_what_is_not_utf_8_is_told_in_a_sentence(terminal: Terminal, parcels: Path, tmp_path: Path) -> None:
    done = terminal("load", "cadastral_parcels", str(parcels), "--steward", "Nguy\udcd4n")
    assert done.returncode == 2
    assert "'Nguy?n' is not UTF-8." in done.stderr
    ids = tmp_path / "ids.txt"
    for content in ("00070.7.12\n".encode("utf-16-le"), b"\xff\xfe0"):
        ids.write_bytes(content)
        done = terminal("load", "cadastral_parcels", str(parcels), "--ended-ids", str(ids))
        assert done.returncode == 2
        assert "ids.txt is not UTF-8.\n  → Write one id a line" in done.stderr
