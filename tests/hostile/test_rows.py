"""Rows of a CSV that GDAL makes one of, or cuts, are told; those that are only unusual are not."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pyogrio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from sdi.ingest.deliver import receive
from sdi.ingest.separated import LONGEST, MOST, Odd, odd_rows
from tests.ingest.plots import contract, registry

PLOTS = """
geometry: {type: Point, required: false}
attributes:
  - {name: name, title: {vi: Tên, en: Name}, type: text}
  - {name: number, title: {vi: Số, en: Number}, type: text}
"""


def handed_in(path: Path, text: str) -> tuple[int, list[Finding]]:
    path.write_text(text, encoding="utf-8", newline="")
    with receive(Request(path, crs="EPSG:9210"), contract(PLOTS), registry(), grid=9210) as received:
        found = received.report.findings
        return received.report.read, [each for each in found if each.rule.startswith("file.")]


def test_rows_that_a_quotation_mark_made_one_are_told_with_their_lines(tmp_path: Path) -> None:
    text = 'name,number\n"Lý Tự Trọng",1\n"Hai Bà Trưng,2\n"Lê Lợi",3\n"Pasteur",4\n'
    read, (found,) = handed_in(tmp_path / "a.csv", text)
    assert read == 3
    assert (found.rule, found.row, found.severity, found.action) == ("file.rows_merged", 2, "warning", "warn")
    assert found.sentence("en").startswith("Lines 3 to 4 of the file were read as one row")
    assert found.sentence("vi").startswith("Các dòng 3–4 của tệp được đọc thành một hàng")


def test_fields_beyond_the_columns_are_told(tmp_path: Path) -> None:
    """A line feed that is gone: the second row stands behind the first one, and GDAL leaves it out."""
    for text in ("name,number\na,1b,2\nc,3\n", 'name,number\n"a","1""b","2"\nc,3\n', 'name,number\n"a",1"b",2\nc,3\n'):
        read, (found,) = handed_in(tmp_path / "a.csv", text)
        assert read == 2
        assert (found.rule, found.row, found.other) == ("file.fields_lost", 1, 3)
        assert found.sentence("en").startswith("Line 2 of the file has 3 fields for 2 columns")


def test_a_zero_byte_is_told(tmp_path: Path) -> None:
    """GDAL takes it for the end of the line, and the quotation for one that goes on in the next."""
    read, found = handed_in(tmp_path / "a.csv", 'name,number\n"a\0",1\n"b",2\n"c",3\n')
    assert read == 2
    assert [(each.rule, each.value) for each in found] == [("file.zero_byte", 2)]


def test_a_first_line_that_took_a_row_into_it_is_told(tmp_path: Path) -> None:
    read, found = handed_in(tmp_path / "a.csv", "name,number,note a,b,c\nd,e,f\ng,h,i\n")
    assert read == 2
    (told,) = (each for each in found if each.rule == "file.header_long")
    assert told.sentence("en").startswith("The first line of the file names 5 columns and no row has more than 3")


@pytest.mark.parametrize(
    "text",
    [
        'name,number\n"a\nb, c, d, e",1\nb,2\n',
        'name,number\n"a ""b""\n""c"", d",1\nb,2\n',
        'name,number\n2" pipe,1\nx"y"z,2\n3" pipe,4\n',
        'name,number\na,1,\nb,2,,,\nc,3, \n',
        "name,number\na\nb,2\n\n\nc,3\n",
        'name;number\n"a;b";1\n"c, d, e, f";2\n',
        'name\tnumber\na, b, c\t1\n"d\te"\t2\n',
        'name|number\na,b|1\n',
        'name,number\r\n"a\r\nb",1\r\nb,2',
        "name,number\ra,1\rb,2\r",
        '\ufeffname,number\n"a",1\n',
        '"name","number"\n"",""\n"",1\n',
        "1,2\n3,4\n",
        "name,number\n",
        "",
        "\n",
    ],
)  # fmt: skip
def test_a_table_that_is_well_written_is_not_accused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    columns = len(csv_columns(path))
    assert odd_rows(path, columns, 2) == []


def csv_columns(path: Path) -> list[str]:
    try:
        return list(pyogrio.read_info(path)["fields"])
    except pyogrio.errors.DataSourceError:
        return []


def test_nothing_is_told_of_real_tables(shared_data: Callable[[str], Path]) -> None:
    seen = 0
    for path in shared_data("torture_mapshaper").parent.rglob("*.csv"):
        try:
            _, table = pyogrio.read_arrow(path)
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError):
            continue
        seen += 1
        odd = odd_rows(path, len(csv_columns(path)), table.num_rows)
        # Its points stand in a fourth field, for which the table has no column: they are lost.
        assert bool(odd) == (path.name == "csv_with_utf8_bom.csv"), path
    assert seen > 30


CELLS = st.text(alphabet='ab ,;"\n\r\t|đ', max_size=8)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8), eol=st.sampled_from(["\n", "\r\n"]))
def test_whatever_pythons_writer_writes_is_not_accused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], eol: str
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator=eol).writerows([("one", "two", "three"), *rows])
    assert odd_rows(path, 3, len(rows)) == []


def test_the_row_is_not_told_where_the_count_does_not_tell_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,number\na,1,2\n")
    assert odd_rows(tmp_path / "a.csv", 2, 1) == [Odd("file.fields_lost", 0, 2, 2, 3)]
    assert odd_rows(tmp_path / "a.csv", 2, 7) == [Odd("file.fields_lost", None, 2, 2, 3)]


def test_what_is_told_of_a_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name,number\n" + "a,1,2\n" * (MOST + 100))
    assert len(odd_rows(path, 2, MOST + 100)) == MOST
    path.write_text('name,number\n"' + '"",\n' * LONGEST)
    assert odd_rows(path, 2, 1) == []
