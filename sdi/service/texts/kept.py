"""Texts of features that a worker process has rendered, kept for who asks next.

Rendering is most of what a page costs: four fifths of the time of 1,000 parcels. What a feature is written as follows
from its version and from the form alone, and a version never changes: a load that changes a row writes another one,
with its own load_id. So a page is found first, feature by feature with its version, and only what is not kept yet is
rendered. Nothing is ever struck out for being old: an old version is not asked for again, and makes room.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType

_ESCAPED = bytes({*range(0x20), 0x22, 0x5C})
"""What JSON writes otherwise than it is."""
LATELY = 500
"""Features, about, by which it is told how many of those that are asked for are kept."""
_NOTHING: Mapping[bytes, bytes] = MappingProxyType({})
OVERHEAD = 200
"""Bytes that a text takes besides its own and its version's."""


class Texts:
    """At most about `most` bytes of texts, the latest asked for. Kept in two halves: when the new one is full the old
    one is let go of, and what is found in the old one moves to the new."""

    def __init__(self, most: int) -> None:
        self.room = most
        self._half = most // 2
        self._new: dict[Hashable, dict[bytes, bytes]] = {}
        self._old: dict[Hashable, dict[bytes, bytes]] = {}
        self.size = 0
        """Bytes of the new half."""
        self._left = 0
        self.share = 0.0
        """Of the features that were asked for lately, how many were kept."""
        self.plain = True
        """Whether JSON writes all versions that were ever kept as they are."""

    @property
    def taken(self) -> int:
        """Bytes that are taken now, about."""
        return self.size + self._left

    def found(self, kind: Hashable, versions: Sequence[bytes]) -> list[bytes | None]:
        """The texts of these versions; None of one that is not kept. `kind`: the form, and the table that the versions
        are of."""
        texts = list(map(self._new.get(kind, _NOTHING).get, versions))
        old = self._old.get(kind)
        if old and None in texts:
            texts = [old.get(version) if text is None else text for version, text in zip(versions, texts, strict=True)]
            self._put(kind, versions, texts)
        self._asked(len(versions), len(versions) - texts.count(None))
        return texts

    def see(self, kind: Hashable, versions: Sequence[bytes], texts: Sequence[bytes]) -> None:
        """Keep texts that were rendered whether they were kept or not."""
        new, old = self._new.get(kind, _NOTHING), self._old.get(kind, _NOTHING)
        self._asked(len(versions), sum(version in new or version in old for version in versions))
        self.keep(kind, versions, texts)

    def keep(self, kind: Hashable, versions: Sequence[bytes], texts: Sequence[bytes]) -> None:
        if self.plain:
            written = b"".join(versions)
            self.plain = len(written.translate(None, _ESCAPED)) == len(written)
        self._put(kind, versions, texts)

    def _put(self, kind: Hashable, versions: Sequence[bytes], texts: Sequence[bytes | None]) -> None:
        kept = self._new.setdefault(kind, {})
        for version, text in zip(versions, texts, strict=True):
            if text is None or version in kept:
                continue
            if self.size >= self._half:
                self._old, self._new, self._left, self.size = self._new, {}, self.size, 0
                kept = self._new.setdefault(kind, {})
            kept[version] = text
            self.size += len(version) + len(text) + OVERHEAD

    def _asked(self, number: int, kept: int) -> None:
        self.share += (kept - number * self.share) / (number + LATELY)
