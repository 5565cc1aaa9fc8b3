"""The order of a Vietnamese dictionary: a ă â b … d đ e ê … o ô ơ … u ư … by letters first, and then by tones."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_LETTERS = {letter: chr(0x100 + place) for place, letter in enumerate("aăâbcdđeêfghijklmnoôơpqrstuưvwxyz")}
"""Each stands for its place, behind all signs and digits."""
_TONES = {"\u0300": "1", "\u0309": "2", "\u0303": "3", "\u0301": "4", "\u0323": "5"}
"""huyền, hỏi, ngã, sắc, nặng; none of them comes first. As CLDR has it (`vi`)."""
_NUMBER = "\u00f0"


@lru_cache(maxsize=5000)
def order(text: str) -> tuple[str, str, str]:
    """What names are sorted by: upper and lower case together, `Phường 2` before `Phường 10`."""
    letters: list[str] = []
    tones: list[str] = []
    for sign in unicodedata.normalize("NFD", text.casefold()):
        if letters and sign in _TONES:
            tones[-1] = _TONES[sign]
        elif letters and (unicodedata.combining(sign) or (sign.isdecimal() and letters[-1].isdecimal())):
            letters[-1] = unicodedata.normalize("NFC", letters[-1] + sign)
        else:
            letters.append(sign)
            tones.append("0")
    return "".join(map(_place, letters)), "".join(tones), text


def _place(letter: str) -> str:
    if letter.isdecimal():
        number = "".join(str(unicodedata.decimal(digit)) for digit in letter).lstrip("0")
        return f"{_NUMBER}{chr(len(number))}{number}"
    return _LETTERS.get(letter) or _LETTERS.get(unicodedata.normalize("NFD", letter)[0], letter)
