"""Is this a Vietnamese syllable? Told from how one is built (initial + rime + tone), not from a word list.

The spelling is regular: about 25 initials, 160 rimes and six tones, with three rules that forbid most other strings.
That is enough to tell a right decoding of a text from a wrong one: bytes read by the wrong table rarely make a
syllable.
"""

from __future__ import annotations

import unicodedata
from functools import cache

_RIMES = {
    "a": "a ac ach ai am an ang anh ao ap at au ay",
    "ă": "ăc ăm ăn ăng ăp ăt",
    "â": "âc âm ân âng âp ât âu ây",
    "e": "e ec em en eng eo ep et",
    "ê": "ê êch êm ên ênh êp êt êu",
    "i": "i ia ich im in inh ip it iu iêc iêm iên iêng iêp iêt iêu",
    "o": "o oc oi om on ong op ot ooc oong oa oac oach oai oam oan oang oanh oao oap oat oay"
    " oăc oăm oăn oăng oăt oe oen oeo oet",
    "ô": "ô ôc ôi ôm ôn ông ôp ôt",
    "ơ": "ơ ơi ơm ơn ơp ơt",
    "u": "u ua uc ui um un ung up ut uân uâng uât uây uê uêch uênh uơ uôc uôi uôm uôn uông uôt"
    " uy uya uych uyn uynh uyt uyu uyên uyêt",
    "ư": "ư ưa ưc ưi ưm ưn ưng ưt ưu ươc ươi ươm ươn ương ươp ươt ươu",
    "y": "y yêm yên yêng yêt yêu",
}
_PLAIN = ["b", "ch", "d", "đ", "h", "kh", "l", "m", "n", "nh", "p", "ph", "r", "s", "t", "th", "tr", "v", "x"]
"""Initials that stand before any rime; the others choose by the rime's first letter."""
_AFTER_Q = (
    "ua uac uach uai uan uang uanh uao uat uau uay uăc uăm uăn uăng uăt uâc uân uâng uât uây ue uen ueo uet"
    " uê uên uêch uênh uêt uêu ui uit uôc uơ uơi uơn uy uych uyên uyêt uynh uyt"
)
_AFTER_GI = "êc êm ên êng êt êu n m"
"""Rimes that lose their i after `gi`: `giếng`, `gìn`."""
_TONES = {"\u0301", "\u0300", "\u0309", "\u0303", "\u0323"}
_STOPS = ("c", "ch", "p", "t")


def is_syllable(word: str) -> bool:
    """Whether a word of any case, in NFC or NFD, is spelt as a Vietnamese syllable; both `hòa` and `hoà` are."""
    parts = unicodedata.normalize("NFD", word.casefold())
    tones = [mark for mark in parts if mark in _TONES]
    if len(tones) > 1:
        return False
    toneless = unicodedata.normalize("NFC", "".join(mark for mark in parts if mark not in _TONES))
    if toneless not in syllables():
        return False
    return not tones or (_tone_is_placed(parts, tones[0]) and _stop_allows(toneless, tones[0]))


@cache
def syllables() -> frozenset[str]:
    """Every syllable without its tone, in lower case NFC: about 2,900, more than are in use."""
    made = {"q" + rime for rime in _AFTER_Q.split()} | {"gi" + rest for rest in _AFTER_GI.split()}
    for first, rimes in _RIMES.items():
        for rime in rimes.split():
            made.update(initial + rime for initial in _initials(first, rime))
    return frozenset(made)


def _initials(first: str, rime: str) -> list[str]:
    """The initials that may stand before a rime: c, g, ng change to k, gh, ngh before e, ê, i, y."""
    if first == "y":
        return ["", "h", "k", "l", "m", "s", "t", "v"] if rime == "y" else [""]
    if first in "eêi":
        return ["", "k", "gh", "ngh", *_PLAIN, *(["gi", "g"] if rime == "i" else ["gi"] if first != "i" else [])]
    return ["", "c", "g", "ng", "gi", *_PLAIN, *(["k"] if rime.startswith("uy") else [])]


def _tone_is_placed(parts: str, tone: str) -> bool:
    """A tone stands on a vowel; on the last one with a mark of its own (ă â ê ô ơ ư) where there is such a one."""
    before = parts[: parts.index(tone)].rstrip("\u0302\u0306\u031b")
    if not before or before[-1] not in "aeiouy":
        return False
    marked = max((parts.rfind(mark) for mark in "\u0302\u0306\u031b"), default=-1)
    return marked < 0 or marked in (len(before), parts.index(tone) + 1)


def _stop_allows(toneless: str, tone: str) -> bool:
    """Syllables that end in c, ch, p or t know two tones only, sắc and nặng."""
    return not toneless.endswith(_STOPS) or tone in ("\u0301", "\u0323")
