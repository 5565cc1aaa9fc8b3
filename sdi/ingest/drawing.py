"""What a drawing has and no feature was made of, as it is told."""

from __future__ import annotations

from dataclasses import dataclass

TYPES = 20
"""Types that are told one by one: a drawing has few, a damaged one may seem to have thousands."""
NAMED = 5
"""Handles or levels that are told of a type."""
_LETTERS = 80


@dataclass(frozen=True)
class Unread:
    """Entities or elements of a type of which nothing was delivered. `where`: the handles of the first of them, as they
    stand in a DXF, or the levels that they lie on, of a DGN."""

    type: str
    count: int
    where: tuple[str, ...]


def shown(word: str) -> str:
    """A word of the drawing without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in word[:_LETTERS])
