"""What a spreadsheet would calculate goes out guarded and comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import shapely

from sdi.cli import show
from sdi.contract.delivery import Request
from sdi.contract.report import Finding, Found, Report
from sdi.ingest.source import read
from sdi.ingest.write import write_features
from tests.hostile.conduct import spoken

TEXTS = [
    '=HYPERLINK("http://127.0.0.1/","x")', "+cmd|' /C calc'!A0", "@SUM(A1)", "-1+1", "\t=1", " =1", "'=quoted",
    "''=twice",
    "-5", "+84901234567", "-3,5", "'ngoặc", "Thửa 1", "—", "5-3",
]  # fmt: skip
AS_THEY_ARE = {"-5", "+84901234567", "-3,5", "'ngoặc", "Thửa 1", "—", "5-3"}


def test_an_exported_formula_is_text_to_a_spreadsheet_and_itself_again_to_a_load(tmp_path: Path) -> None:
    shapes = shapely.to_wkb([shapely.Point(603_000, 1_191_000)] * len(TEXTS))
    table = pa.table({"name": TEXTS, "number": list(range(len(TEXTS))), "geom": pa.array(shapes, pa.binary())})
    write_features(tmp_path / "plots.csv", "plots", table, 9210, "Point")
    cells = [
        line.split('","')[0].lstrip('"') for line in (tmp_path / "plots.csv").read_text("utf-8-sig").splitlines()[1:]
    ]
    assert sum(cell.startswith("'") for cell in cells) == len(TEXTS) - len(AS_THEY_ARE) + 1
    assert read(Request(path=tmp_path / "plots.csv")).table["name"].to_pylist() == TEXTS


def test_a_terminal_obeys_nothing_that_stands_in_a_file() -> None:
    value = "\x1b[2J\x1b]0;owned\x07\u202e[bold]x[/bold]\r"
    finding = Finding(
        "attribute.type", "error", "quarantine", feature=value, row=1, attribute="name", value=value, limit="date"
    )
    page = spoken(Report("plots", "1.0.0", 1, 0, 1, 0, Found([finding])))
    assert not set(page) & {"\x1b", "\x07", "\r", "\u202e"}
    assert "[bold]x[/bold]" in page
    assert show.escape("a") == "a"
