"""What can go wrong in the world, with the exit code and the HTTP status each carries.

Exit codes of the terminal:

    0  done
    1  the data breaks the contract           (never an exception: a Report says it)
    2  wrong usage                            UsageError
    3  a contract or a setting is wrong       ContractError, SettingError
    4  the store or the service is missing    StoreError
    5  not allowed                            NotAllowed

The tree:

    SdiError
    ├── UsageError
    │   ├── NotFound            no such layer, feature, load, file
    │   ├── Gone                what an earlier answer led to, and is not there any more
    │   ├── Unmet               what is there now is not what the client wants it to be
    │   └── BadRequest          an HTTP parameter or a filter that cannot be meant
    ├── ContractError           carries every Fault at once
    ├── SettingError
    ├── SourceError             a delivery that cannot be read at all
    ├── StoreError              PostGIS is away, too old, or not set up
    │   └── Overloaded          the statement timeout or the pool's limit was reached
    └── NotAllowed

Bad data is a Finding in a Report, never one of these. Anything else that is raised is a bug.

Who raises writes English. `errors.vi.json` has each sentence in Vietnamese: titles, messages, hints, the faults of
contracts, the findings of `sdi doctor`, what typer says of wrong usage, and the phrases that stand within them. In its
English `{0}` is a value, which stays as it is, and `{1:nearest}` a phrase of the section `nearest`, which is in
Vietnamese too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal

VIETNAMESE = Path(__file__).with_name("errors.vi.json")
Section = Literal["titles", "messages", "hints", "faults", "findings", "usage"]


class SdiError(Exception):
    """What happened, where, and what to do next; safe to be shown to a client."""

    exit_code = 4
    status = 500
    title = "Internal error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def in_language(self, language: str) -> tuple[str, str | None]:
        """Message and hint in a language, `vi` or `en`."""
        return translated(self.message, language), translated(self.hint, language, "hints") if self.hint else None


class UsageError(SdiError):
    exit_code = 2
    status = 400
    title = "Wrong usage"


class NotFound(UsageError):
    status = 404
    title = "Not found"


class Gone(UsageError):
    status = 410
    title = "Gone"


class Unmet(UsageError):
    status = 412
    title = "Precondition failed"


class BadRequest(UsageError):
    title = "Bad request"


class SettingError(SdiError):
    exit_code = 3
    title = "Wrong setting"


class SourceError(SdiError):
    exit_code = 1
    status = 422
    title = "The delivery cannot be read"


class StoreError(SdiError):
    exit_code = 4
    status = 503
    title = "The store is not available"


class Overloaded(StoreError):
    title = "The request takes too long"


class NotAllowed(SdiError):
    exit_code = 5
    status = 403
    title = "Not allowed"


@dataclass(frozen=True)
class Fault:
    """One fault of a contract: where it stands and what would be right. `line` counts from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"

    def in_language(self, language: str) -> str:
        return f"{self.file}:{self.line}: {translated(self.message, language, 'faults')}"


class ContractError(SdiError):
    """Every fault of the contracts at once."""

    exit_code = 3
    title = "A contract is wrong"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(set(faults), key=lambda fault: (fault.file, fault.line, fault.message))
        super().__init__("\n".join(map(str, self.faults)))

    def in_language(self, language: str) -> tuple[str, str | None]:
        return "\n".join(fault.in_language(language) for fault in self.faults), None


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest of `words`, or an empty string."""
    found = get_close_matches(word, list(words), n=1, cutoff=0.55)
    return f" Did you mean '{found[0]}'?" if found else ""


def translated(text: str, language: str, section: Section = "messages") -> str:
    """An English sentence of ours in a language, `vi` or `en`; as it is where the catalogue does not have it."""
    if language != "vi":
        return text
    lines = []
    for line in text.split("\n"):  # wrong settings are told in one text, a line for each
        spoken = _spoken(section, line)
        if spoken is None:
            return _spoken(section, text) or text
        lines.append(spoken)
    return "\n".join(lines)


LONGEST_PHRASE = 800
"""Characters; phrases within phrases end somewhere."""
_SEPARATORS = str.maketrans(",.", ".,")
"""A point parts thousands in Vietnamese, and a comma the decimals."""
_HOLE = re.compile(r"\{\d+(?::(\w+))?\}")


@dataclass(frozen=True)
class _Template:
    """A sentence with holes. `literals` stand around and between the holes; a hole names its section, or is empty."""

    literals: tuple[str, ...]
    holes: tuple[str, ...]
    vietnamese: str

    @classmethod
    def read(cls, english: str, vietnamese: str) -> _Template:
        parts = _HOLE.split(english)
        return cls(tuple(parts[0::2]), tuple(hole or "" for hole in parts[1::2]), vietnamese)

    @property
    def literal(self) -> int:
        return sum(map(len, self.literals))

    def spoken(self, text: str) -> str | None:
        """The Vietnamese sentence with the values of the English one; None where it is another sentence."""
        for values in self._values(text):
            pairs = list(zip(self.holes, values, strict=True))
            if any(hole and len(value) > LONGEST_PHRASE for hole, value in pairs):
                continue
            phrases = [_spoken(hole, value) if hole else value for hole, value in pairs]
            if None not in phrases:
                return self.vietnamese.format(*phrases)
        return None

    def _values(self, text: str) -> Iterator[list[str]]:
        """What may stand in the holes, at most two ways: each literal where it is first found, or last.

        In linear time, whatever a client has put into a value; a regular expression might go back and forth for hours.
        """
        first, last = self.literals[0], self.literals[-1]
        if not self.holes:
            if text == first:
                yield []
            return
        if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
            return
        inner, between = text[len(first) : len(text) - len(last)], self.literals[1:-1]
        rest, values = inner, list[str]()
        for literal in between:
            value, found, rest = rest.partition(literal) if literal else ("", "", rest)
            if found != literal:
                return
            values.append(value)
        yield [*values, rest]
        rest, values = inner, []
        for literal in reversed(between):
            rest, _, value = rest.rpartition(literal) if literal else (rest, "", "")
            values.insert(0, value)
        yield [rest, *values]


def _spoken(section: str, text: str) -> str | None:
    """A sentence or a phrase of a section in Vietnamese; None where the section does not have it."""
    if section == "number":
        return text.translate(_SEPARATORS) if re.fullmatch(r"[\d.,]+", text) else None
    return next((found for each in _catalogue()[section] if (found := each.spoken(text)) is not None), None)


@cache
def _catalogue() -> dict[str, tuple[_Template, ...]]:
    """The sections: sentences from the most literal on, so that none is taken for a vaguer one; phrases as written."""
    written = json.loads(VIETNAMESE.read_text(encoding="utf-8"))
    phrases = written.pop("phrases")
    sections = {name: [_Template.read(*pair) for pair in pairs.items()] for name, pairs in (written | phrases).items()}
    for name in written:
        sections[name].sort(key=lambda template: -template.literal)
    return {name: tuple(templates) for name, templates in sections.items()}
