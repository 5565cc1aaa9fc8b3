"""A page of features as it comes from the store, and what a client is told of the pages around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sdi.contract.query import Position
from sdi.service.cursors import Cursor
from sdi.service.parameters import Question


@dataclass(frozen=True)
class Page:
    """`text`: GeoJSON Features joined by commas. `first`, `last`: in the direction that was asked for, where known."""

    text: bytes | memoryview
    returned: int
    more: bool
    """Whether features lie beyond the page, in the direction that was asked for."""
    first: Position | None
    last: Position | None
    matched: int | None = None
    """How many features match, on whatever page, where that was counted with it."""

    def parsed(self, number: Callable[[str], Any] = float) -> list[dict[str, Any]]:
        """The features; `number` reads what has a decimal point."""
        features: list[dict[str, Any]] = json.loads(b"[" + self.text + b"]", parse_float=number)
        return features


@dataclass(frozen=True)
class Matched:
    """How many features a question matches: exactly, or at least."""

    number: int
    exact: bool = True
    settled: bool = True
    """False: counting was given up for time, and may end another way the next time."""

    @property
    def told(self) -> dict[str, int]:
        """The member of a collection that says so. `numberMatched` is exact wherever it stands."""
        return {"numberMatched" if self.exact else "numberMatchedAtLeast": self.number}


def place_of(text: bytes | None) -> Position | None:
    """A place as the store tells it, the text of a JSON array."""
    return None if text is None else Position(tuple(json.loads(text)))


def around(question: Question, page: Page) -> dict[str, Cursor]:
    """The places that `next` and `prev` lead to, as far as there are such pages."""
    passed, turned = question.passed, question.query.place is not None and question.query.place.backward
    if turned:
        found = {"next": page.first and Cursor(page.first, passed),
                 "prev": page.last and page.more and Cursor(_turned(page.last), passed - page.returned)}  # fmt: skip
    else:
        begun = question.query.offset == 0 and question.query.place is None
        found = {"next": page.last and page.more and Cursor(page.last, passed + page.returned),
                 "prev": page.first and not begun and Cursor(_turned(page.first), passed)}  # fmt: skip
    return {rel: cursor for rel, cursor in found.items() if cursor}


def begins(question: Question, page: Page) -> int:
    """How many features lie before the page, as far as is known."""
    turned = question.query.place is not None and question.query.place.backward
    return max(0, question.passed - page.returned) if turned else question.passed


def _turned(place: Position) -> Position:
    return Position(place.keys, backward=True)
