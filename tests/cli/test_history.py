"""`sdi history`, `diff`, `rollback` and the modes of `load`, as a steward runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyogrio
import pytest
from typer.testing import CliRunner

from sdi.cli import history
from sdi.cli.app import app
from sdi.errors import SdiError

LAYER = "cadastral_parcels"


def collection(numbers: Sequence[int], **changed: Any) -> str:
    """Parcels of a street, 10 m wide each; `changed`: number (with a p before it) -> other properties, or a shift."""
    made = []
    for number in numbers:
        said = changed.get(f"p{number}", {})
        west, south = 105.8500 + number * 1e-4, 21.0280 + said.get("shift", 0.0)
        ring = [[west, south], [west + 9e-5, south], [west + 9e-5, south + 9e-5], [west, south + 9e-5], [west, south]]
        properties = {"maXa": "00070", "soTo": "7", "soThua": str(number), "mdsd": "ODT", "diaChi": "Phố Hàng Bạc"}
        made.append({
            "type": "Feature",
            "properties": properties | {name: value for name, value in said.items() if name != "shift"},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        })  # fmt: skip
    return json.dumps({"type": "FeatureCollection", "features": made})


@dataclass(frozen=True)
class Told:
    """What a command left: what it said, and its exit code as `sdi` gives it."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Terminal:
    """The commands without a process for each: test_commands.py sees to that way."""

    environment: dict[str, str]
    folder: Path

    def __call__(self, *words: str, lang: str = "en") -> Told:
        found = CliRunner().invoke(app, list(words), env={**self.environment, "SDI_LANG": lang}, input="")
        if isinstance(found.exception, SdiError):
            return Told(found.exception.exit_code, found.stdout, str(found.exception))
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Told(found.exit_code, found.stdout, found.stderr)

    def json(self, *words: str) -> Any:
        done = self(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def terminal(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    folder = tmp_path_factory.mktemp("desk")
    return Terminal({"SDI_DATABASE_URL": new_database(), "SDI_DATA": str(folder / ".sdi"), "COLUMNS": "300"}, folder)


@pytest.fixture(scope="module")
def loads(terminal: Terminal) -> tuple[int, int]:
    """Two deliveries of 40 parcels: one renamed, one moved, one replaced by another."""
    ids = []
    for name, text in (
        ("first", collection(range(40))),
        ("second", collection([*range(39), 50], p3={"diaChi": "Phố Hàng Đào"}, p4={"shift": 5e-6})),
    ):
        path = terminal.folder / f"{name}.geojson"
        path.write_text(text, encoding="utf-8")
        outcome = terminal.json("load", LAYER, str(path), "--steward", f"Văn phòng {name}", "--grid", "5897")
        assert outcome["load"] is not None, outcome["report"]
        ids.append(outcome["load_id"])
    return ids[0], ids[1]


def test_a_feature_tells_who_changed_what_and_when(terminal: Terminal, loads: tuple[int, int]) -> None:
    shown = terminal("history", LAYER, "00070.7.3", lang="vi")
    assert shown.returncode == 0, shown.stderr
    assert "Địa chỉ thửa đất: Phố Hàng Bạc → Phố Hàng Đào" in shown.stdout
    assert "Văn phòng second" in shown.stdout
    versions = terminal.json("history", LAYER, "00070.7.3")
    assert [(v["load_id"], v["load_to"]) for v in versions] == [loads, (loads[1], None)]
    assert versions[1]["changed"]["address"] == {"before": "Phố Hàng Bạc", "after": "Phố Hàng Đào"}
    assert versions[0]["known_to"] == versions[1]["known_from"]
    ended = terminal("history", LAYER, "00070.7.39")
    assert "ended by Văn phòng second" in ended.stdout
    unknown = terminal("history", LAYER, "00070.7.999")
    assert unknown.returncode == 2


def test_the_ledger_is_told_in_the_language_of_who_asks(terminal: Terminal, loads: tuple[int, int]) -> None:
    for language, heading, status in (("vi", "người nộp", "xong"), ("en", "steward", "done")):
        head, last, *_ = terminal("history", LAYER, lang=language).stdout.splitlines()
        assert heading in head
        assert f" {status} " in last
        assert last.split()[0] == str(loads[1])


def test_a_list_is_told_by_what_its_items_say() -> None:
    assert history._short([{"code": "ODT", "area": 90.5, "term": None}, {"code": "CLN"}]) == "ODT 90.5, CLN"
    assert history._short([]) == history._short(None) == "–"


def test_a_difference_is_counted_shown_and_written_for_qgis(
    terminal: Terminal, loads: tuple[int, int], tmp_path: Path
) -> None:
    first, second = map(str, loads)
    path = tmp_path / "diff.gpkg"
    shown = terminal("diff", LAYER, first, second, "--to", str(path))
    assert shown.returncode == 0, shown.stderr
    assert "1 new, 2 changed, 1 ended" in shown.stdout
    assert "Address of the parcel: Phố Hàng Bạc → Phố Hàng Đào" in shown.stdout
    assert "Address of the parcel × 1 · geometry × 1" in shown.stdout
    assert {name for name, _ in pyogrio.list_layers(path)} == {"before", "after", "changes"}
    _, before = pyogrio.read_arrow(path, layer="before")
    meta, after = pyogrio.read_arrow(path, layer="after")
    _, changes = pyogrio.read_arrow(path, layer="changes")
    assert meta["crs"] == "EPSG:5897"
    assert (
        dict(zip(before["id"].to_pylist(), before["address"].to_pylist(), strict=True))["00070.7.3"] == "Phố Hàng Bạc"
    )
    assert dict(zip(after["id"].to_pylist(), after["address"].to_pylist(), strict=True))["00070.7.3"] == "Phố Hàng Đào"
    rows = {row["id"]: row for row in changes.to_pylist()}
    assert {name: row["kind"] for name, row in rows.items()} == {
        "00070.7.3": "changed", "00070.7.4": "changed", "00070.7.39": "ended", "00070.7.50": "added",
    }  # fmt: skip
    assert rows["00070.7.4"]["reshaped"]
    assert rows["00070.7.4"]["moved_m"] == pytest.approx(0.55, abs=0.01)
    assert rows["00070.7.3"]["attributes"] == "address"
    assert rows["00070.7.3"]["steward"] == "Văn phòng second"
    assert all(row["geom"] for row in rows.values())
    assert changes["kind"].to_pylist() == ["added", "ended", "changed", "changed"]
    few = terminal("diff", LAYER, first, second, "--limit", "2").stdout
    assert "00070.7.50" in few
    assert "00070.7.39" in few
    assert "00070.7.3 " not in few, "what came and went stands before what changed"
    told = terminal.json("diff", LAYER, first, "now", "--limit", "1")
    assert (told["added"], told["changed"], told["ended"], len(told["changes"])) == (1, 2, 1, 1)
    assert terminal.json("diff", LAYER, "2001-01-01", first)["added"] == 40
    assert terminal("diff", LAYER, first, "tomorrow").returncode == 2
    assert terminal("diff", LAYER, first, "now", "--to", str(tmp_path / "x.shp")).returncode == 2


def test_a_rollback_asks_first_and_is_taken_back(terminal: Terminal, loads: tuple[int, int]) -> None:
    first, second = map(str, loads)
    asked = terminal("rollback", LAYER, "--to", first)
    assert asked.returncode == 1
    assert f"load {second}" in asked.stderr
    assert "1 new, 2 changed, 1 ended" in asked.stderr
    assert terminal.json("diff", LAYER, second, "now")["changes"] == [], "nothing was done"
    done = terminal("rollback", LAYER, "--to", first, "--yes", "--steward", "Trưởng phòng", lang="vi")
    assert done.returncode == 0, done.stderr
    assert f"về lần nạp {first}" in done.stdout
    assert f"sdi rollback {LAYER} --to {second}" in done.stderr
    assert terminal.json("diff", LAYER, first, "now")["changes"] == []
    entry = terminal.json("history", LAYER)[0]
    assert (entry["mode"], entry["restores"], entry["steward"]) == ("rollback", loads[0], "Trưởng phòng")
    back = terminal.json("rollback", LAYER, "--to", second, "--yes")
    assert back["load"]["updated"] == 2
    assert {load["layer"] for load in back["derived"]} >= {"parcel_overview"}
    assert terminal.json("diff", LAYER, second, "now")["changes"] == []
    assert terminal("rollback", LAYER, "--to", "99999", "--yes").returncode == 2
    assert terminal("rollback", "parcel_overview", "--to", first, "--yes").returncode == 2


def test_all_loads_are_taken_back_and_that_too(terminal: Terminal, loads: tuple[int, int]) -> None:
    before = terminal.json("diff", LAYER, "0", "now")["added"]
    done = terminal("rollback", LAYER, "--to", "0", "--yes", lang="vi")
    assert done.returncode == 0, done.stderr
    assert f"đưa lớp về lúc chưa có gì: 0 thêm mới, 0 thay đổi, {before} kết thúc" in done.stdout
    assert "⤺ ∅" in terminal("history", LAYER).stdout
    report = terminal("report", LAYER)
    assert report.returncode == 2, report.stdout
    derived = next(entry["load_id"] for entry in terminal.json("history") if entry["cause"] is not None)
    assert f"Load {derived} is no delivery that was loaded or refused." in terminal("report", str(derived)).stderr
    last = loads[1]
    assert terminal("rollback", LAYER, "--to", str(last), "--yes").returncode == 0
    assert terminal.json("diff", LAYER, str(last), "now")["changes"] == []


def test_a_full_delivery_that_is_cut_short_is_refused_unless_it_is_meant(
    terminal: Terminal, loads: tuple[int, int]
) -> None:
    path = terminal.folder / "short.geojson"
    path.write_text(collection(range(10)), encoding="utf-8")
    checked = terminal("check", LAYER, str(path))
    assert checked.returncode == 1
    first = next(line for line in checked.stdout.splitlines() if "●" in line)
    assert first.strip() in ("● Từ chối: delivery.shrinks × 1", "● Refused: delivery.shrinks × 1")
    assert terminal("check", LAYER, str(path), "--allow-shrink").returncode == 0
    assert terminal("check", LAYER, str(path), "--mode", "partial").returncode == 0
    refused = terminal("load", LAYER, str(path))
    assert refused.returncode == 1
    assert "delivery.shrinks" in refused.stdout
    assert terminal.json("history", LAYER)[0]["status"] == "refused"
    assert terminal.json("diff", LAYER, str(loads[1]), "now")["changes"] == []
    partial = terminal.json("load", LAYER, str(path), "--mode", "partial")
    assert (partial["load"]["deleted"], partial["load"]["inserted"]) == (0, 0)
    assert terminal.json("history", LAYER)[0]["mode"] == "partial"
    ids = terminal.folder / "ended.txt"
    ids.write_text("00070.7.20  # gộp thửa\n\n00070.7.21\n00070.7.777\n", encoding="utf-8")
    foreseen = terminal.json("check", LAYER, str(path), "--mode", "partial", "--ended-ids", str(ids))
    assert foreseen["by_rule"]["delivery.ended_unknown"] == 1
    ended = terminal.json("load", LAYER, str(path), "--mode", "partial", "--ended-ids", str(ids))
    assert ended["load"]["deleted"] == 2
    assert ended["report"]["by_rule"]["delivery.ended_unknown"] == 1
    meant = terminal.json("load", LAYER, str(path), "--allow-shrink")
    assert meant["load"]["deleted"] == 28
    assert "delivery.shrinks" in meant["report"]["by_rule"]


def test_numbers_are_written_as_the_language_writes_them(new_database: Callable[[], str], tmp_path: Path) -> None:
    desk = Terminal(
        {"SDI_DATABASE_URL": new_database(), "SDI_DATA": str(tmp_path / ".sdi"), "COLUMNS": "300"}, tmp_path
    )
    path, out = tmp_path / "pho.geojson", tmp_path / "ra.geojson"
    path.write_text(collection(range(1229)), encoding="utf-8")
    words = (LAYER, str(path), "--grid", "5897")
    assert "read 1,229 · kept 1,229 ·" in desk("check", *words).stdout
    assert "đã đọc 1.229 · giữ 1.229 ·" in desk("check", *words, lang="vi").stdout
    loaded = desk("load", *words, lang="vi")
    assert "1.229 thêm mới → parcel_overview 1.229" in loaded.stdout, loaded.stdout + loaded.stderr
    for lang, added, more, square in (
        ("vi", "1.229 thêm mới", "… 1.209 đối tượng nữa", r" 93,\d\d$"),
        ("en", "1,229 new", "… 1,209 more", r" 93\.\d\d$"),
    ):
        told = desk("diff", LAYER, "0", "now", lang=lang).stdout
        assert added in told
        assert more in told
        assert re.search(square, told, re.MULTILINE), told
    assert "✓ 1.229 → " in desk("export", LAYER, str(out), lang="vi").stderr
    measured = desk("quality", LAYER, lang="vi").stdout
    assert "1.229" in measured
    assert "0,0000%" in measured
    assert {each["evaluated"] for each in desk.json("quality", LAYER)} >= {1229}
    undone = desk("rollback", LAYER, "--to", "0", "--yes", lang="vi").stdout
    assert "1.229 kết thúc → parcel_overview 1.229" in undone
