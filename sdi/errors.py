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
    │   └── BadRequest          an HTTP parameter or a filter that cannot be meant
    ├── ContractError           carries every Fault at once
    ├── SettingError
    ├── SourceError             a delivery that cannot be read at all
    ├── StoreError              PostGIS is away, too old, or not set up
    │   └── Overloaded          the statement timeout or the pool's limit was reached
    └── NotAllowed

Bad data is a Finding in a Report, never one of these. Anything else that is raised is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


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


class UsageError(SdiError):
    exit_code = 2
    status = 400
    title = "Wrong usage"


class NotFound(UsageError):
    status = 404
    title = "Not found"


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


class ContractError(SdiError):
    """Every fault of the contracts at once."""

    exit_code = 3
    title = "A contract is wrong"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(faults, key=lambda fault: (fault.file, fault.line, fault.message))
        super().__init__("\n".join(map(str, self.faults)))


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest of `words`, or an empty string."""
    found = get_close_matches(word, list(words), n=1, cutoff=0.55)
    return f" Did you mean '{found[0]}'?" if found else ""
