"""Vietnamese text of legacy encodings: decoded to the last letter, told by content, Unicode left alone."""

from __future__ import annotations

import csv
import subprocess
import unicodedata
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi.errors import UsageError
from sdi.national import legacy, text
from sdi.national.syllable import is_syllable, syllables

Shared = Callable[[str], Path]
MARKS = "\u0301\u0300\u0309\u0303\u0323"
VOWELS = [unicodedata.normalize("NFC", v + m) for v, m in product("aăâeêioôơuưy", ["", *MARKS])]
LETTERS = [letter for letter in [*VOWELS, "đ"] if not letter.isascii()]
SENTENCE = "Đường Nguyễn Thị Ánh, phường Ỷ Lan, thửa đất ở hộp mứt tết"
VNI_TONES = dict(zip(MARKS, "ùøûõï", strict=True))
VNI_HAT = dict(zip(["", *MARKS], "âáàåãä", strict=True))
VNI_BREVE = dict(zip(["", *MARKS], "êéèúüë", strict=True))


def vni(words: str) -> str:
    """Vietnamese as VNI-Windows bytes look in CP1252, written from the published description of the code page."""
    return "".join(map(vni_letter, unicodedata.normalize("NFC", words)))


def vni_letter(letter: str) -> str:
    small = letter.lower()
    single = {"đ": "ñ", "ỉ": "æ", "ĩ": "ó", "ị": "ò", "ỵ": "î", "ì": "ì", "í": "í"}
    parts = unicodedata.normalize("NFD", small)
    tone = next((mark for mark in parts if mark in MARKS), "")
    base = unicodedata.normalize("NFC", "".join(mark for mark in parts if mark not in MARKS))
    if small in single:
        coded = single[small]
    elif base in "âêô":
        coded = {"â": "a", "ê": "e", "ô": "o"}[base] + VNI_HAT[tone]
    elif base == "ă":
        coded = "a" + VNI_BREVE[tone]
    else:
        coded = {"ơ": "ô", "ư": "ö"}.get(base, base) + VNI_TONES.get(tone, "")
    return coded.upper() if letter != small else coded


def cp1258(words: str) -> bytes:
    """Windows-1258 writes a letter and its tone in two bytes."""
    coded = b""
    for letter in words:
        parts = unicodedata.normalize("NFD", letter)
        tone = "".join(mark for mark in parts if mark in MARKS)
        base = unicodedata.normalize("NFC", "".join(mark for mark in parts if mark not in MARKS))
        coded += base.encode("cp1258") + tone.encode("cp1258")
    return coded


def tcvn3(words: str) -> bytes:
    return b"".join(bytes([0xA0 + legacy.TCVN3_LETTERS.index(c)]) if not c.isascii() else c.encode() for c in words)


def dbf_rows(path: Path) -> list[dict[str, bytes]]:
    """The raw bytes of a DBF's fields, without GDAL, which loses the last letter of stateful encodings."""
    raw = path.read_bytes()
    count, start, width = (int.from_bytes(raw[a:b], "little") for a, b in ((4, 8), (8, 10), (10, 12)))
    fields, place = [], 32
    while raw[place] != 0x0D:
        fields.append((raw[place : place + 11].split(b"\0")[0].decode("ascii"), raw[place + 16]))
        place += 32
    rows = []
    for index in range(count):
        at, row = start + index * width + 1, {}
        for name, size in fields:
            row[name] = raw[at : at + size].strip(b" \0")
            at += size
        rows.append(row)
    return rows


# --- decoding ---------------------------------------------------------------------------------------------------------


def test_published_examples_decode() -> None:
    assert text.decode(b"h\xe9p m\xf8t t\xd5t", "TCVN3") == "hộp mứt tết"
    assert text.convert(["ÑAÁT TRÖÔØNG MAÀM NON", "P. THÔÙI BÌNH", "Xin chaøo caùc baïn"], "VNI") == [
        "ĐẤT TRƯỜNG MẦM NON",
        "P. THỚI BÌNH",
        "Xin chào các bạn",
    ]


def test_tcvn3_is_the_table_of_iconv() -> None:
    for byte in range(0xA1, 0xFF):
        run = subprocess.run(["iconv", "-f", "TCVN5712-1", "-t", "UTF-8"], input=bytes([byte]), capture_output=True)
        letter = run.stdout.decode()
        if unicodedata.category(letter[0]).startswith("L"):
            assert text.decode(bytes([byte]), "TCVN3") == letter


@pytest.mark.parametrize("encoding", ["CP1258", "TCVN3", "VNI", "UTF-8"])
@pytest.mark.parametrize("letter", LETTERS)
def test_the_last_letter_is_never_lost(letter: str, encoding: str) -> None:
    words = "đất " + letter
    raw = {"CP1258": cp1258, "TCVN3": tcvn3, "VNI": lambda w: vni(w).encode("cp1252"), "UTF-8": str.encode}[encoding]
    assert text.decode(raw(words), encoding) == words


@given(st.lists(st.sampled_from([*LETTERS, *map(str.upper, LETTERS), *"bcdghlmnprstvx "]), max_size=30))
def test_vni_letters_come_back(letters: list[str]) -> None:
    words = "".join(letters)
    assert text.decode(vni(words).encode("cp1252"), "VNI") == words


@given(st.text(alphabet=st.sampled_from([*LETTERS, *map(str.upper, LETTERS), *"bcdghlmnprstvx "]), max_size=30))
def test_windows_1258_comes_back_in_nfc(words: str) -> None:
    assert text.decode(cp1258(words), "CP1258") == words


@given(st.binary(max_size=60), st.sampled_from([*text.ENCODINGS, "shift_jis"]))
def test_any_bytes_decode_in_any_encoding(raw: bytes, encoding: str) -> None:
    assert unicodedata.is_normalized("NFC", text.decode(raw, encoding))


def test_capital_fonts_are_an_option() -> None:
    assert text.decode(tcvn3("đất ở"), "TCVN3", capital_font=True) == "ĐẤT Ở"
    assert text.convert(["§Êt è", "trong"], "TCVN3", capital_font=True) == ["ĐẤT Ố", "TRONG"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("tcvn5712-1", "TCVN3"), ("ABC", "TCVN3"), ("vni-windows", "VNI"), ("windows-1258", "CP1258"), ("utf8", "UTF-8"),
     ("ISO-8859-1", "CP1252"), ("gb18030", "GB18030")],
)  # fmt: skip
def test_an_encoding_has_many_names(said: str, meant: str) -> None:
    assert text.encoding_name(said) == meant


@pytest.mark.parametrize(
    "name", ["TCVN-4", "hex", "no such thing", "idna", "Punycode", "raw_unicode_escape", "charmap", "rot13", "\0"]
)
def test_an_unknown_encoding_is_a_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match="no known encoding"):
        text.decode(b"x", name)


# --- telling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [["CHÙA"], ["VÕ"], ["Ù"], ["CHÙA", "VÕ", "Ù"], ["Lô A", "Lô B"], ["Hà"], ["Đà Nẵng"]]
)
def test_genuine_unicode_is_not_converted(values: list[str]) -> None:
    verdict = text.detect(values)
    assert verdict.encoding == text.UNICODE
    assert text.convert(values, verdict.encoding) == values


def test_what_may_be_either_is_not_sure() -> None:
    assert not text.detect(["VÕ"]).sure, "a surname, or TCVN3's Vế"
    assert text.detect(["VÕ", "Võ Văn Kiệt"]).sure


def test_ascii_alone_is_unicode_and_sure() -> None:
    assert text.detect(["ODT", "12", ""]) == text.Verdict(text.UNICODE, True, {})
    assert text.detect([b"ODT", b""]) == text.Verdict(text.UNICODE, True, {})
    assert text.detect([]).sure


@pytest.mark.parametrize("value", ["ÑAÁT TRÖÔØNG MAÀM NON", "P. THÔÙI BÌNH", "ÑAÁT"])
def test_a_few_words_of_vni_are_enough(value: str) -> None:
    verdict = text.detect([value])
    assert (verdict.encoding, verdict.sure) == ("VNI", True)


def test_words_of_other_languages_are_left_alone() -> None:
    for words in (["Forêt", "Rivière", "École", "Bâtiment"], ["Muñoz", "São Paulo"], ["Dvořák", "Novák"]):
        assert text.detect(words).encoding == text.UNICODE


@pytest.mark.parametrize("misread", ["latin-1", "cp1252"])
def test_utf8_misread_as_a_western_page_is_read_again(misread: str) -> None:
    words = ["Cầu Giấy", "Nguyễn Thị Ánh", "phố"]
    garbled = [word.encode().decode(misread, "replace") for word in words]
    verdict = text.detect(garbled)
    assert (verdict.encoding, verdict.sure) == ("UTF-8", True)
    whole = [(word, broken) for word, broken in zip(words, garbled, strict=True) if "\ufffd" not in broken]
    assert whole
    assert text.convert([broken for _, broken in whole], "UTF-8") == [word for word, _ in whole]


def test_a_dbf_field_may_cut_the_last_letter_of_utf8() -> None:
    values = ["Thôn Sơn Viên".encode(), "xã Duy Nghĩ".encode()[:-1], b"ODT"]
    assert text.detect(values).encoding == "UTF-8"


def test_mixed_columns_keep_what_is_unicode() -> None:
    values = ["Thöûa ñaát", "Thửa đất số 5"]
    assert not text.detect(values).sure
    assert text.convert(values, "VNI") == ["Thửa đất", "Thửa đất số 5"]


@pytest.mark.parametrize(("name", "encoding"), [("dn16_tcvn3", "TCVN3"), ("dn16_vni", "VNI")])
@pytest.mark.parametrize("as_text", [False, True])
def test_a_cadastral_table_is_decoded_without_being_told(
    shared_data: Shared, name: str, encoding: str, as_text: bool
) -> None:
    folder = shared_data("vn_legacy_encoding_derived")
    with (folder / "dn16_truth_utf8.csv").open(encoding="utf-8-sig", newline="") as file:
        truth = list(csv.DictReader(file))
    rows = dbf_rows(folder / f"{name}.dbf")
    assert len(rows) == len(truth) == 1229
    for column in truth[0]:
        raw = [row[column] for row in rows]
        expected = [row[column] for row in truth]
        misread = [value.decode("latin-1") for value in raw]
        verdict = text.detect(misread if as_text else raw)
        assert verdict.sure
        assert verdict.encoding == (text.UNICODE if all(map(str.isascii, expected)) else encoding)
        read = text.convert(misread, verdict.encoding) if as_text else [text.decode(v, verdict.encoding) for v in raw]
        assert read == expected


def test_a_column_in_windows_1258_is_told() -> None:
    values = [cp1258(word) for word in SENTENCE.split()]
    assert text.detect(values).encoding == "CP1258"
    assert text.detect([value.decode("latin-1") for value in values]).encoding == "CP1258"
    assert " ".join(text.decode(value, "CP1258") for value in values) == SENTENCE


# --- syllables, trimming, keys ----------------------------------------------------------------------------------------


def test_vietnamese_syllables_are_known_by_their_structure() -> None:
    words = "hòa hoà thúy thuý giếng gì quốc Nguyễn ƯỚC khuya quý nghĩa Đường ý kỳ xoong"
    for word in (words + " " + unicodedata.normalize("NFD", words)).split():
        assert is_syllable(word), word


def test_other_strings_are_no_syllables() -> None:
    for word in ("hoàc", "tìt", "ngiã", "cê", "Forêt", "ÑAÁT", "h¸c", "toç", "street", "brg"):
        assert not is_syllable(word), word


def test_the_names_of_all_communes_are_vietnamese(shared_data: Shared) -> None:
    path = shared_data("vn_admin_2025") / "full_json_vn_units_2026-07-25.json.zip"
    with zipfile.ZipFile(path) as archive:
        names = unicodedata.normalize("NFC", archive.read(archive.namelist()[0]).decode())
    words = [word for word in text._WORDS.findall(names) if not word.isascii()]
    known = sum(map(is_syllable, words))
    assert len(words) > 9000
    assert known / len(words) > 0.98, "the rest are names of the highlands"
    assert len(syllables()) < 4000


def test_blanks_composition_and_eth_are_normalised() -> None:
    assert text.normalise("  Hà\xa0 Nội\t") == "Hà Nội"
    assert text.normalise(unicodedata.normalize("NFD", "Ðường số 5")) == "Đường số 5"


@given(st.text())
def test_normalising_twice_changes_nothing(value: str) -> None:
    once = text.normalise(value)
    assert text.normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)


def test_a_key_matches_names_whatever_their_tone_placement() -> None:
    assert text.fold("Thuận Hoà") == text.fold("THUẬN  HÒA") == "thuanhoa"
    assert text.fold("Số_hiệu tờ-bản đồ (1)") == "sohieutobando1"
    assert text.fold("Ðường") == text.fold("đường") == "duong"
