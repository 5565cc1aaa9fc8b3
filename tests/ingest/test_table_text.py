"""The text of a DBF, read and decoded a column at a time, is what GDAL and Python read value by value."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from sdi.ingest import child, octets
from sdi.ingest.dbf import Table
from sdi.ingest.encoding import Evidence, _decode_bytes, _read
from sdi.ingest.source import Facts

SYLLABLES = [
    "Đường",
    "Nguyễn",
    "số 7",
    "Huế",
    "e\u0301",
    "–",
    "\u1e9b\u0323",
    "Å",
    "𝄞",
    "a\x00b",
    "",
    "ASCII",
    "\u0958",
]
RAW = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.lists(st.sampled_from(SYLLABLES), max_size=4).map(lambda words: " ".join(words).encode()),
    st.tuples(st.sampled_from(SYLLABLES), st.integers(0, 9)).map(lambda each: each[0].encode()[: each[1]]),
)


def as_latin1(raws: list[bytes | None]) -> pa.Array:
    return pa.array([None if raw is None else raw.decode("latin-1") for raw in raws], pa.string())


@settings(deadline=None)
@given(st.lists(RAW))
def test_bytes_become_one_character_each_and_come_back(raws: list[bytes | None]) -> None:
    column = pa.array(raws, pa.binary())
    offsets, data = octets.widened(*octets.parts(column))
    texts = pa.Array.from_buffers(
        pa.string(), len(raws), [column.buffers()[0], pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    texts.validate(full=True)
    assert texts.equals(as_latin1(raws))
    back = octets.narrowed(*octets.parts(texts))
    assert back is not None
    assert [bytes(back[1][a:b]) for a, b in zip(back[0][:-1], back[0][1:], strict=True)] == [raw or b"" for raw in raws]


@settings(deadline=None)
@given(st.lists(RAW))
def test_utf8_is_read_at_once_as_value_by_value(raws: list[bytes | None]) -> None:
    column = as_latin1(raws)
    made, old = _decode_bytes(pa.chunked_array([column]), "UTF-8")
    assert made.type == pa.string()
    assert old == 0
    assert made.to_pylist() == [_read(value, "UTF-8") for value in column.to_pylist()]


@settings(deadline=None)
@given(st.lists(RAW, max_size=6), st.sampled_from([None, "CP1258", "CP936", "UTF-16", "ISO-2022-JP", "ISO-8859-1"]))
def test_what_a_table_may_be_encoded_in_is_told_of_all_values_as_of_one_after_the_other(
    raws: list[bytes | None], hint: str | None
) -> None:
    """A cut letter at the end of one value and the begin of the next are none together."""
    facts = Facts("a.shp", "", 0, ".shp", "ESRI Shapefile", "a", None, None, 0, encoding=hint, code_page="CP1252")
    values = [value for value in as_latin1(raws).to_pylist() if value is not None]
    whole, each = Evidence(facts, ["a"]), Evidence(facts, ["a"])
    whole._ask(values)
    for value in values:
        each._ask([value])
    assert (whole._possible, whole._whole_letters) == (each._possible, each._whole_letters)


@pytest.mark.parametrize(
    "raws",
    [
        ["Đường Nguyễn Trãi".encode(), "Huế".encode()],
        ["Huế".encode()[:-1], b"\xbf\xbf"],  # one after the other they would be whole
        [b"\xe1\xba", b"\xbf"], [b"\xc3", b"\xa9"], [b"\xa9"], [b"\xe0\x80\xaf"], [b"\xed\xa0\x80"], [b"\xc0\xaf"],
        [None, None], [], [b""], [None, "é".encode()],
        ["e\u0301".encode(), "Huế".encode(), b"\xff"],
    ],
)  # fmt: skip
def test_what_is_no_whole_letter_is_read_as_before(raws: list[bytes | None]) -> None:
    column = as_latin1(raws)
    made, _ = _decode_bytes(pa.chunked_array([column]), "UTF-8")
    assert made.to_pylist() == [_read(value, "UTF-8") for value in column.to_pylist()]
    some, _ = _decode_bytes(pa.chunked_array([column]).slice(1), "UTF-8")
    assert some.to_pylist() == made.to_pylist()[1:]


def test_letters_that_are_taken_as_they_stand_are_composed_whatever_follows() -> None:
    """Of every character of Unicode: what is said to be settled is NFC, and nothing before it changes that."""
    letters = [chr(code) for code in chain(range(1, 0xD800), range(0xE000, sys.maxunicode + 1))]
    raw = [letter.encode() for letter in letters]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in raw])]).astype(np.int32)
    which = octets.settled(offsets, np.frombuffer(b"".join(raw), np.uint8))
    known = [letter for letter, told in zip(letters, which, strict=True) if told]
    assert {"đ", "ế", "Ữ", "Ư", "a"} <= set(known)
    assert len(known) == 0x2FF + 0x100
    assert all(unicodedata.normalize("NFC", before + each) == before + each for each in known for before in "aeouAy ")
    assert all(unicodedata.combining(each) == 0 for each in known)


def test_vietnamese_is_read_without_a_value_of_its_own() -> None:
    column = as_latin1(["Ngõ Huế".encode(), None, b"Pho Hue", "Đường Âu Cơ".encode()])
    told = octets.utf8(column)
    assert told is not None
    assert told[1].all()
    assert told[0].to_pylist() == ["Ngõ Huế", None, "Pho Hue", "Đường Âu Cơ"]


# --- a table, as GDAL reads it and as we do -----------------------------------------------------------------------

COLUMNS = [(b"ten", "C", 12), (b"so", "N", 6), (b"ghi_chu", "C", 40), (b"dien_tich", "F", 12), (b"ngay", "D", 8),
           (b"co", "L", 1), (b"dai", "C", 254)]  # fmt: skip
CELL = st.one_of(
    st.binary(max_size=12),
    st.text("aà ế\x00", max_size=6).map(lambda text: text.encode()[:12]),
    st.sampled_from([b"", b" ", b"\x00", b"  \x00a", b"a\x00b  ", b" a b ", b"\t a \t", b"*", b"?", b"\x00" * 12]),
    st.sampled_from([b"\xa0\xff", b"\xc3\x20", b"\xe1\xba\x20 \xbf"]),
)  # fmt: skip


def dbf(columns: list[tuple[bytes, str, int]], rows: list[list[bytes]], deleted: frozenset[int] = frozenset()) -> bytes:
    """A dBase III table of these bytes, padded with blanks."""
    length = 1 + sum(width for _, _, width in columns)
    head = b"\x03\x7a\x01\x01" + len(rows).to_bytes(4, "little")
    head += (33 + 32 * len(columns)).to_bytes(2, "little") + length.to_bytes(2, "little") + bytes(20)
    described = [name.ljust(11, b"\0") + kind.encode() + bytes(4) + bytes([width, 0]) + bytes(14)
                 for name, kind, width in columns]  # fmt: skip
    made = [
        (b"*" if number in deleted else b" ")
        + b"".join(cell[:width].ljust(width) for cell, (_, _, width) in zip(row, columns, strict=True))
        for number, row in enumerate(rows)
    ]
    return head + b"".join(described) + b"\x0d" + b"".join(made) + b"\x1a"


def shapefile(folder: Path, table: bytes, count: int) -> dict[str, Any]:
    """An order for the child: to read points that have this table."""
    path = folder / "points.shp"
    points = shapely.to_wkb(shapely.points(np.arange(count), 0.0))
    values = [np.arange(count, dtype=np.int64)]
    pyogrio.raw.write(path, geometry=points, fields=["n"], field_data=values, geometry_type="Point", crs="EPSG:9210",
                      driver="ESRI Shapefile")  # fmt: skip
    path.with_suffix(".cpg").unlink()
    path.with_suffix(".dbf").write_bytes(table)
    return {"path": str(path), "layer": "points", "encoding": child.BYTES, "part": 7}


def both(order: dict[str, Any]) -> tuple[pa.Table, pa.Table]:
    """By GDAL alone, and as it is read."""
    fields = child._info(order, order["layer"], force=False)["fields"]
    with child._reader(order) as (_, reader):
        plain = reader.read_all()
    with child._stream(order, fields) as (meta, schema, batches):
        assert meta["geometry_name"] in ("", None, "wkb_geometry")
        ours = pa.Table.from_batches(batches, schema)
    assert ours.schema.equals(plain.schema)
    return plain, ours


@pytest.mark.filterwarnings("ignore:Value:RuntimeWarning")  # GDAL says what is no number
@settings(deadline=None)  # each example is a file
@given(st.lists(st.tuples(st.booleans(), *[CELL] * 7), min_size=1, max_size=20))
def test_a_table_is_read_as_gdal_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]]
) -> None:
    numbers = [[b"7", b"-12", b"1.5", b"", b"*****", b"x"][len(row[2]) % 6] for row in rows]
    cells = [
        [row[1], number, row[3], number, b"20240229", row[6][:1], row[7]]
        for row, number in zip(rows, numbers, strict=True)
    ]
    gone = frozenset(number for number, row in enumerate(rows) if row[0])
    order = shapefile(tmp_path_factory.mktemp("dbf"), dbf(COLUMNS, cells, gone), len(rows))
    fields = child._info(order, "points", force=False)["fields"]
    assert Table.of(Path(order["path"]), fields) is not None
    plain, ours = both(order)
    assert len(ours) == len(rows) - len(gone)
    assert ours.equals(plain)


def test_a_long_table_is_read_as_gdal_reads_it(tmp_path: Path) -> None:
    rows = [[f"Ngõ {n % 7} ".encode(), b"%d" % n, ("Đ" * (n % 60)).encode(), b"0.5", b"", b"T", b"x" * (n % 255)]
            for n in range(300)]  # fmt: skip
    plain, ours = both(shapefile(tmp_path, dbf(COLUMNS, rows, frozenset(range(40, 260))), 300))
    assert len(ours) == 80
    assert ours.equals(plain)


def short(table: bytes) -> bytes:
    return table[:-30]


def wide_field(table: bytes) -> bytes:
    """The first column as if it had 255 bytes: the columns do not fit into a row."""
    return table[:48] + b"\xff" + table[49:]


@pytest.mark.parametrize("spoil", [short, wide_field])
def test_a_table_that_is_not_what_it_says_is_left_to_gdal(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    rows = [[b"a", b"1", b"b", b"2", b"20240101", b"T", b"c"] for _ in range(9)]
    order = shapefile(tmp_path, spoil(dbf(COLUMNS, rows)), 9)
    fields = child._info(order, "points", force=False)["fields"]
    assert Table.of(Path(order["path"]), fields) is None
    plain, ours = both(order)
    assert ours.equals(plain)


@pytest.mark.parametrize(
    "columns",
    [
        [(b"a", "C", 5)],
        [(b"a", "C", 5), (b"a", "C", 5)],
        [(b"t\xean", "C", 5), (b"s\xe8", "N", 5)],
        [(b"OGC_FID", "C", 5), (b"wkb_geomet", "N", 5)],
        [(b"fid", "N", 5), (b"a", "C", 5)],
        [(b"a", "M", 10), (b"b", "C", 3), (b"c", "G", 10)],
        [(b"a", "N", 5)],
        [(b"a", "C", 1), (b"b ", "C", 255), (b" b", "C", 3), (b"", "C", 2)],
        [(b"a", "c", 5), (b"b", "C", 5)],
    ],
    ids=str,
)
def test_columns_of_every_kind_and_name_are_read_as_gdal_reads_them(
    tmp_path: Path, columns: list[tuple[bytes, str, int]]
) -> None:
    rows = [[(b"%d" % (7 * n)) for _ in columns] for n in range(20)]
    plain, ours = both(shapefile(tmp_path, dbf(columns, rows), 20))
    assert len(ours) == 20
    assert ours.equals(plain)
