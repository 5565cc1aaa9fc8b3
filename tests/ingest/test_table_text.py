"""The text of a DBF, read and decoded a column at a time, is what GDAL and Python read value by value."""

from __future__ import annotations

import sys
import unicodedata
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi.ingest import octets
from sdi.ingest.encoding import _decode_bytes, _read

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


@given(st.lists(RAW))
def test_utf8_is_read_at_once_as_value_by_value(raws: list[bytes | None]) -> None:
    column = as_latin1(raws)
    made, old = _decode_bytes(pa.chunked_array([column]), "UTF-8")
    assert made.type == pa.string()
    assert old == 0
    assert made.to_pylist() == [_read(value, "UTF-8") for value in column.to_pylist()]


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
