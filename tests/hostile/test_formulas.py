"""What a spreadsheet would calculate goes out guarded and comes back as it was."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyogrio
import pytest
import shapely

from sdi.cli import show
from sdi.contract.delivery import Request
from sdi.contract.quality import MARKS, delivered
from sdi.contract.registry import read_registry
from sdi.contract.report import Finding, Found, Report
from sdi.errors import UsageError
from sdi.ingest.source import read
from sdi.ingest.write import write_features
from sdi.ingest.write_quality import write_findings, write_quarantine
from sdi.settings import ROOT
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


CALCULATED = [text for text in TEXTS if text not in AS_THEY_ARE]


def test_findings_quote_a_formula_as_text(tmp_path: Path) -> None:
    """A finding quotes what a file said, in its value, its feature and its sentences."""
    found = [
        Finding("attribute.type", "error", "quarantine", feature=text, row=row, attribute="name", value=text,
                limit="date", other=text, place=(106.7, 10.8))
        for row, text in enumerate(TEXTS, start=1)
    ]  # fmt: skip
    write_findings(tmp_path / "found.csv", found)
    with (tmp_path / "found.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [str(row) for row in range(1, len(TEXTS) + 1)]
    for text, row in zip(TEXTS, rows, strict=True):
        for name in ("feature", "value", "other"):
            assert row[name] == (f"'{text}" if text in CALCULATED else text)
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t")) and cell not in AS_THEY_ARE]
    write_findings(tmp_path / "found.gpkg", found)
    _, table = pyogrio.read_arrow(tmp_path / "found.gpkg", layer="findings")
    assert table["value"].to_pylist() == TEXTS, "a table of text columns calculates nothing, and has what was said"
    with pytest.raises(UsageError):
        write_findings(tmp_path / "found.xlsx", found)


@pytest.mark.parametrize("text", CALCULATED)
def test_features_in_quarantine_go_out_guarded_too(tmp_path: Path, text: str) -> None:
    layer = read_registry(ROOT / "layers")["cadastral_parcels"]
    columns = {
        attribute.name: pa.array([text]) for attribute in (*MARKS, *delivered(layer)) if attribute.type == "text"
    }
    numbers = {"qa_row": pa.array([1]), "qa_load": pa.array([1])}
    shape = shapely.set_srid(shapely.box(588_000, 2_326_000, 588_020, 2_326_020), 5897)
    rows = pa.table({**columns, **numbers, "geom": pa.array([shapely.to_wkb(shape, include_srid=True)], pa.binary())})
    write_quarantine(tmp_path / "held.csv", layer, rows)
    with (tmp_path / "held.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert {row[name] for name in columns} == {f"'{text}"}
    assert read(Request(path=tmp_path / "held.csv")).table["address"].to_pylist() == [text]
    write_quarantine(tmp_path / "held.gpkg", layer, rows)
    _, table = pyogrio.read_arrow(tmp_path / "held.gpkg", layer=layer.id)
    assert {table[name][0].as_py() for name in columns} == {text}


def test_a_terminal_obeys_nothing_that_stands_in_a_file() -> None:
    value = "\x1b[2J\x1b]0;owned\x07\u202e[bold]x[/bold]\r"
    finding = Finding(
        "attribute.type", "error", "quarantine", feature=value, row=1, attribute="name", value=value, limit="date"
    )
    page = spoken(Report("plots", "1.0.0", 1, 0, 1, 0, Found([finding])))
    assert not set(page) & {"\x1b", "\x07", "\r", "\u202e"}
    assert "[bold]x[/bold]" in page
    assert show.escape("a") == "a"
