"""Answers that a worker keeps: what their entries have in common is written once, by the thread that writes entries."""

from __future__ import annotations

from typing import NamedTuple

from starlette.types import Scope

from sdi.access import Agency
from sdi.contract.registry import Registry
from sdi.service.audit.reads import Read
from sdi.service.audit.record import about_of, asked, beginning, end, exceeds, layers_of, question


class Kept:
    """An answer to one agency, as all entries of it have it. Of the request that it was made for nothing else is held:
    who shows a key shows it there."""

    __slots__ = ("_asked", "_of", "_open", "_reads", "_registry", "agency", "layers", "route", "size")

    def __init__(self, scope: Scope, agency: Agency, registry: Registry, reads: tuple[Read, ...]) -> None:
        self.agency, self._reads = agency, reads
        self.layers = layers_of(scope, registry, reads)
        self.route: str = getattr(scope.get("route"), "path", "none")
        self._of = scope["method"], scope["path"], scope["query_string"], scope["path_params"].get("feature")
        self._registry = registry if agency.public else None
        self._open, self._asked = False, b""
        self.size = 2 * (len(scope["path"]) + len(scope["query_string"])) + sum(read.size for read in reads)
        """Bytes that it takes, about; they stay the same."""

    @property
    def is_open(self) -> bool:
        """Whether nothing that is not open to everybody was answered, by the contracts that it was made with."""
        registry = self._registry
        if registry is not None:
            self._open, self._registry = not exceeds(self.agency, registry, self.layers), None
        return self._open

    @property
    def asked(self) -> bytes:
        """The question, as the entry has it."""
        if not self._asked:
            *about, feature = self._of
            self._asked = (question(*about) + asked(feature)).encode("utf-8", "replace")
        return self._asked

    @property
    def end(self) -> bytes:
        """What was read, as the entry has it."""
        return end(self._reads)


class Given(NamedTuple):
    """A kept answer as it leaves. Of the request nothing is held but this: what is, is let go of by another thread, and
    mostly by another processor, and whoever answers next pays more for that than for picking this out."""

    at: float
    """Seconds since 1970."""
    kept: Kept
    request: str
    status: int
    member: str | None
    key: int | None
    client: str | None
    purpose: bytes | None
    """As it was sent; None: none was."""

    @property
    def agency(self) -> Agency:
        return self.kept.agency

    @property
    def is_open(self) -> bool:
        return self.kept.is_open

    def entry(self) -> bytes | None:
        """The entry as a line of JSON; None: nothing that is not open to everybody was answered."""
        kept = self.kept
        if kept.is_open:
            return None
        who = kept.agency.id, self.member, self.key, self.client
        about = about_of(kept.agency, who, kept.route, kept.layers)
        begin = f"{beginning(self.at, about, self.request, self.status)}{about.right(self.purpose)}"
        return begin.encode("utf-8", "replace") + kept.asked + kept.end
