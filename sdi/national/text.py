"""Vietnamese text of any age to Unicode NFC: decode, tell the encoding by content, trim, make a matching key.

Text is told by what its words are, not by what a file declares or which font it names: every candidate decoding is
scored by how many of its words are Vietnamese syllables. One letter proves nothing: `VÕ` is a surname and also how
TCVN3's `Vế` looks.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from sdi.errors import UsageError, nearest
from sdi.national.legacy import decode_cp1258, decode_tcvn3, decode_vni, legacy_bytes, western
from sdi.national.syllable import is_syllable

UNICODE = "unicode"
"""The text is Unicode as it stands: nothing to convert."""

_ALIASES = {
    UNICODE: "UTF-8",
    "utf8": "UTF-8",
    "tcvn": "TCVN3",
    "abc": "TCVN3",
    "tcvn57121": "TCVN3",
    "vniwindows": "VNI",
    "vniwin": "VNI",
    "latin1": "CP1252",
    "iso88591": "CP1252",
    "windows1252": "CP1252",
    "ansi1252": "CP1252",
    "1252": "CP1252",
    "windows1258": "CP1258",
    "ansi1258": "CP1258",
    "1258": "CP1258",
    "65001": "UTF-8",
    "cp65001": "UTF-8",
}
_LEGACY = ("TCVN3", "VNI", "CP1258")
"""What bytes taken for Latin-1 or CP1252 may have been."""
ENCODINGS = ("UTF-8", "CP1252", "CP1258", "TCVN3", "VNI")

_MOST_VALUES = 5000
_GOOD = 0.7
"""Share of syllables from which a decoding is believed; place names of the highlands (`Đắk`, `Krông`) are none."""
_CLEAR = 0.25
"""By how much a decoding must beat the text as it stands before it is changed."""

_DECODERS: dict[str, Callable[[bytes], str]] = {
    "UTF-8": lambda raw: raw.decode("utf-8", "replace"),
    "CP1252": western,
    "CP1258": decode_cp1258,
    "TCVN3": decode_tcvn3,
    "VNI": decode_vni,
}
_WORDS = re.compile(r"[^\x00-\x40\x5b-\x60\x7b-\x7f\xa0\xb0\xb2\xb3\u2000-\u206f]+")
_BLANKS = re.compile(r"[\s\xa0\u200b\u2060\ufeff]+")
_NO_KEY = re.compile(r"[^a-z0-9]+")
_ETH = str.maketrans("ðÐ", "đĐ")
_KEY = str.maketrans("đð", "dd")


@dataclass(frozen=True)
class Verdict:
    """How texts are encoded."""

    encoding: str
    """`unicode`: right as they stand; else the encoding of the bytes, for `decode` and `convert`."""
    sure: bool
    """False: show the values to a person, keep them as they are."""
    scores: dict[str, float]
    """Candidate -> share of its words with a letter beyond ASCII that are Vietnamese syllables."""


@cache
def encoding_name(encoding: str) -> str:
    """The house's name of an encoding: one of ENCODINGS or a character set of Python. Raises UsageError."""
    key = re.sub(r"[^a-z0-9]", "", encoding.lower())
    found = next((name for name in ENCODINGS if re.sub(r"[^a-z0-9]", "", name.lower()) == key), _ALIASES.get(key))
    if found is not None:
        return found
    codec = character_set(encoding)
    if codec is None:
        raise UsageError(
            f"'{encoding}' is no known encoding.{nearest(encoding.upper(), ENCODINGS)}",
            hint=f"Known: {', '.join(ENCODINGS)}, and others that Python has, as ISO-8859-2, GB18030 or UTF-16.",
        )
    return codec.upper()


_NO_SETS = frozenset(
    {"charmap", "idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
)
"""Codecs of Python that make text of bytes, but are none of characters; those that make bytes of bytes it tells."""


def character_set(encoding: str) -> str | None:
    """Python's name of a character set; None where it has none of this name."""
    try:
        codec = codecs.lookup(encoding)
        "".encode(codec.name)
    except (LookupError, ValueError):
        return None
    return None if codec.name.replace("_", "-") in _NO_SETS else codec.name


def decode(raw: bytes, encoding: str, *, capital_font: bool = False) -> str:
    """Decode bytes to Unicode NFC, to the last one; what an encoding has no character for becomes U+FFFD.

    capital_font: the text was set in a TCVN3 font whose name ends in H (`.VnTimeH`), which draws small letters as
    capitals. Raises UsageError for an unknown encoding.
    """
    name = encoding_name(encoding)
    known = _DECODERS.get(name)
    text = unicodedata.normalize("NFC", known(raw) if known else raw.decode(name, "replace"))
    return text.upper() if capital_font else text


def convert(values: Iterable[str], encoding: str, *, capital_font: bool = False) -> list[str]:
    """Read again as `encoding` what a reader had taken for Latin-1 or CP1252; return NFC.

    A value with a character beyond CP1252 is Unicode already and only brought to NFC, as is all for `unicode`.
    """
    name = UNICODE if encoding == UNICODE else encoding_name(encoding)
    return [_reread(value, name, capital_font) for value in values]


def _reread(value: str, encoding: str, capital_font: bool) -> str:
    raw = None if encoding == UNICODE or (value.isascii() and not capital_font) else legacy_bytes(value)
    if raw is None or (encoding == "UTF-8" and _utf8(raw) is None):
        return unicodedata.normalize("NFC", value)
    return decode(raw, encoding, capital_font=capital_font)


def detect(values: Sequence[str | bytes]) -> Verdict:
    """Tell how a column's values are encoded, by content.

    values: str as a reader gave them (bytes perhaps taken for Latin-1 or CP1252), or the bytes themselves. ASCII
    alone is `unicode` and sure. Genuine Unicode wins every tie, and a tie on all words there are is not sure: give
    the values of all text columns of a layer together where one column says too little. At most 5,000 different
    values are looked at.
    """
    distinct = dict.fromkeys(value for value in values if value and not value.isascii())
    sample = list(distinct)[:_MOST_VALUES]
    if not sample:
        return Verdict(UNICODE, True, {})
    if any(isinstance(value, bytes) for value in sample):
        return _detect_bytes([value if isinstance(value, bytes) else value.encode() for value in sample])
    texts = [value for value in sample if isinstance(value, str)]
    doubtful = {value: raw for value in texts if (raw := legacy_bytes(value)) is not None}
    if not doubtful:
        return Verdict(UNICODE, True, {UNICODE: _score(texts)[0]})
    if misread := [text for raw in doubtful.values() if (text := _utf8(raw)) is not None]:
        return Verdict("UTF-8", True, {"UTF-8": round(_score(misread)[0], 3)})
    return _judge(UNICODE, list(doubtful), list(doubtful.values()), certain=len(texts) - len(doubtful))


def _detect_bytes(raws: list[bytes]) -> Verdict:
    decoded = [text for raw in raws if (text := _utf8(raw, cut=True)) is not None]
    if len(decoded) >= 0.9 * len(raws):
        return Verdict("UTF-8", len(decoded) == len(raws), {"UTF-8": round(_score(decoded)[0], 3)})
    verdict = _judge("CP1252", [western(raw) for raw in raws], raws, certain=0)
    if verdict.encoding == "CP1252" and verdict.scores["CP1252"] < _GOOD:
        return Verdict("CP1252", False, verdict.scores)
    return verdict


def _judge(as_is: str, texts: list[str], raws: list[bytes], certain: int) -> Verdict:
    """Weigh the texts as they stand against what each legacy encoding makes of their bytes.

    certain: how many other values of the column are Unicode beyond doubt; they speak for the text as it stands.
    """
    scored = {as_is: _score(texts), **{name: _score_legacy(raws, name) for name in _LEGACY}}
    scores = {name: round(score, 3) for name, (score, _) in scored.items()}
    own = scores[as_is]
    best = max(_LEGACY, key=lambda name: scores[name])
    rest = max(score for name, score in scores.items() if name not in (best, as_is))
    if scores[best] < _GOOD or scores[best] - own < _CLEAR:
        ambiguous = scores[best] >= own and scores[best] >= _GOOD and best != "CP1258"
        return Verdict(as_is, bool(certain) or not (ambiguous or _strange(texts)), scores)
    proof = scored[best][1]
    return Verdict(best, proof >= 2 and scores[best] - rest >= _CLEAR / 2 and certain == 0, scores)


def _score_legacy(raws: list[bytes], encoding: str) -> tuple[float, int]:
    if encoding == "VNI":
        return _score([decode_vni(raw, orphans=True) for raw in raws])
    return _score([decode(raw, encoding) for raw in raws])


def _score(texts: list[str]) -> tuple[float, int]:
    """The share of words with a letter beyond ASCII that are Vietnamese, and how many such letters the right ones
    have."""
    words = {word for text in texts for word in _WORDS.findall(text) if not word.isascii()}
    right = [word for word in words if is_syllable(word.translate(_ETH))]
    letters = sum(not letter.isascii() for word in right for letter in word)
    return (len(right) / len(words) if words else 0.0), letters


def _strange(texts: list[str]) -> bool:
    """Whether control characters, soft hyphens or replacement characters stand in the texts."""
    letters = set().union(*texts) - set("\t\n\r")
    return any(letter == "\ufffd" or unicodedata.category(letter) in ("Cc", "Cf") for letter in letters)


def _utf8(raw: bytes, cut: bool = False) -> str | None:
    """Bytes as UTF-8, or None. cut: the last letter may be cut through, as a DBF field's width does.

    Legacy letters next to each other hardly ever make whole UTF-8 sequences, so a text that is one was meant as one.
    """
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(raw, final=not cut)
    except UnicodeDecodeError:
        return None
    return None if text.isascii() else text


def normalise(text: str) -> str:
    """Unicode NFC, one plain blank for any run of blanks (NBSP too), none at the ends, eth (ð Ð) to đ Đ."""
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", text)).strip().translate(_ETH)


def fold(text: str) -> str:
    """A key to match names by: lower case, no marks, đ to d, letters a–z and digits only. `Thuận Hoà` = `thuanhoa`."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return _NO_KEY.sub("", plain.translate(_KEY))
