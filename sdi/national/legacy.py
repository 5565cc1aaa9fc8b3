"""The code pages of Viet Nam before Unicode that Python has no codec for: TCVN3 (ABC fonts) and VNI-Windows.

TCVN3: one byte a letter. The table is what glibc gives for TCVN5712-1, of which TCVN3 is the part in use; tables
copied from web pages lack ư, whose byte 0xAD is Latin-1's soft hyphen. Capitals with a tone have no code: fonts whose
name ends in H draw the small letters as capitals.

VNI-Windows: a vowel, then one byte for its marks; eight letters have a byte of their own.
"""

from __future__ import annotations

import re
import unicodedata

TCVN3_LETTERS = (
    "·ĂÂÊÔƠƯĐăâêôơưđẰ·····àảãáạẲằẳẵắẴ"
    "ẮẦẨẪẤỀặầẩẫấậèỂẻẽéẹềểễếệìỉỄẾỒĩíịò"
    "ỔỏõóọồổỗốộờởỡớợùỖủũúụừửữứựỳỷỹýỵ·"
)  # fmt: skip
"""Bytes 0xA0 to 0xFF; `·` is no letter. Generated with `iconv -f TCVN5712-1 -t UTF-8`, combining marks left out."""

_MARKS = {
    "ù": "\u0301", "ø": "\u0300", "û": "\u0309", "õ": "\u0303", "ï": "\u0323",
    "â": "\u0302", "á": "\u0302\u0301", "à": "\u0302\u0300", "å": "\u0302\u0309", "ã": "\u0302\u0303",
    "ä": "\u0302\u0323",
    "ê": "\u0306", "é": "\u0306\u0301", "è": "\u0306\u0300", "ú": "\u0306\u0309", "ü": "\u0306\u0303",
    "ë": "\u0306\u0323",
}  # fmt: skip
"""VNI's second byte (as CP1252 shows it) -> the combining marks it stands for."""
_TONES, _CIRCUMFLEX, _BREVE = "ùøûõï", "âáàåãä", "êéèúüë"
_TAKES = {
    "a": _TONES + _CIRCUMFLEX + _BREVE,
    "e": _TONES + _CIRCUMFLEX,
    "o": _TONES + _CIRCUMFLEX,
    "u": _TONES,
    "y": _TONES[:4],  # ỵ has its own byte, î
    "ô": _TONES,  # ơ
    "ö": _TONES,  # ư
}
_SINGLE = {"ñ": "đ", "ö": "ư", "ô": "ơ", "ì": "ì", "í": "í", "æ": "ỉ", "ó": "ĩ", "ò": "ị", "î": "ỵ"}
_ORPHAN = "\ufffd"


def _vni_table() -> dict[str, str]:
    table = dict(_SINGLE)
    for base, marks in _TAKES.items():
        for mark in marks:
            table[base + mark] = unicodedata.normalize("NFC", _SINGLE.get(base, base) + _MARKS[mark])
    capitals = {pair.upper(): letter.upper() for pair, letter in table.items()}
    mixed = {pair[0].upper() + pair[1:]: letter.upper() for pair, letter in table.items() if len(pair) == 2}
    return table | capitals | mixed | {p[0] + p[1:].upper(): letter for p, letter in table.items() if len(p) == 2}


VNI: dict[str, str] = _vni_table()
"""One or two characters as CP1252 shows them -> the Vietnamese letter. The base letter decides about the case."""

_VNI_PIECES = re.compile("|".join(sorted(map(re.escape, VNI), key=len, reverse=True)))
_VNI_ORPHANS = re.compile(f"[{''.join(_MARKS)}{''.join(_MARKS).upper()}]")
_TCVN3 = {0xA0 + i: letter for i, letter in enumerate(TCVN3_LETTERS) if letter != "·"}

_CP1252 = {byte: text for byte in range(0x80, 0xA0) if (text := bytes([byte]).decode("cp1252", "ignore"))}


def legacy_bytes(text: str) -> bytes | None:
    """The bytes that a reader took for Latin-1 or CP1252; None when the text has a character of neither."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        pass
    try:
        return b"".join(c.encode("latin-1") if ord(c) < 256 else c.encode("cp1252") for c in text)
    except UnicodeEncodeError:
        return None


def decode_tcvn3(raw: bytes) -> str:
    """Every byte; those that are no TCVN3 letter are read as CP1252."""
    return western(raw).translate(_TCVN3)


def decode_vni(raw: bytes, orphans: bool = False) -> str:
    """Every byte; a mark without a vowel stays as CP1252 shows it, or becomes U+FFFD when `orphans` is asked."""
    text = western(raw)
    if not orphans:
        return _VNI_PIECES.sub(lambda piece: VNI[piece[0]], text)
    pieces, end = [], 0
    for piece in _VNI_PIECES.finditer(text):
        pieces += [_VNI_ORPHANS.sub(_ORPHAN, text[end : piece.start()]), VNI[piece[0]]]
        end = piece.end()
    return "".join([*pieces, _VNI_ORPHANS.sub(_ORPHAN, text[end:])])


def decode_cp1258(raw: bytes) -> str:
    """Windows-1258 to NFC; its letters and combining tones come in two characters."""
    return unicodedata.normalize("NFC", raw.decode("cp1258", "replace"))


def western(raw: bytes) -> str:
    """CP1252 with its five holes filled from Latin-1, so that every byte is a character and comes back."""
    return raw.decode("latin-1").translate(_CP1252)
