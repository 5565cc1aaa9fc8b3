"""Texts of features that a worker process has rendered, kept for who asks next.

Rendering is most of what a page costs: four fifths of the time of 1,000 parcels. What a feature is written as follows
from its version and from the form alone, and a version never changes: a load that changes a row writes another one,
with its own load_id. So a page is found first, feature by feature with its version, and only what is not kept yet is
rendered. Nothing is ever struck out for being old: an old version is not asked for again, and makes room.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

_ESCAPED = bytes({*range(0x20), 0x22, 0x5C})
"""What JSON writes otherwise than it is."""
OVERHEAD = 200
"""Bytes that a text takes besides its own and its version's."""


class Texts:
    """At most about `most` bytes of texts, the latest asked for. Kept in two halves: when the new one is full the old
    one is let go of, and what is found in the old one moves to the new."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._new: dict[Hashable, dict[bytes, bytes]] = {}
        self._old: dict[Hashable, dict[bytes, bytes]] = {}
        self.size = 0
        """Bytes of the new half."""
        self._left = 0
        self.plain = True
        """Whether JSON writes all versions that were ever kept as they are."""

    @property
    def taken(self) -> int:
        """Bytes that are taken now, about."""
        return self.size + self._left

    def found(self, kind: Hashable, versions: Sequence[bytes]) -> dict[bytes, bytes]:
        """The texts that are kept of these versions. `kind`: the form, and the table that the versions are of."""
        new, old = self._new.get(kind, {}), self._old.get(kind, {})
        texts = {version: new[version] for version in versions if version in new}
        if old and len(texts) < len(versions):
            again = {version: old[version] for version in versions if version in old and version not in new}
            self.keep(kind, again.items())
            texts |= again
        return texts

    def keep(self, kind: Hashable, texts: Iterable[tuple[bytes, bytes]]) -> None:
        for version, text in texts:
            if self.size >= self._half:
                self._old, self._new, self._left, self.size = self._new, {}, self.size, 0
            kept = self._new.setdefault(kind, {})
            if version not in kept:
                self.plain = self.plain and len(version.translate(None, _ESCAPED)) == len(version)
                kept[version] = text
                self.size += len(version) + len(text) + OVERHEAD
