"""When a place of a layer changed last, as one worker knows it; read again where a layer has a new generation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from sdi.service.reader import Reader
from sdi.store.ledger import Publication
from sdi.store.touched import Row

Version = tuple[int, str]
"""A generation of a layer, and when it was written: a restored database counts its generations again."""


@dataclass(frozen=True)
class Changes:
    """What is known of one layer. `oldest`: the version of all that was not touched since."""

    oldest: Version
    versions: list[Version]
    boxes: NDArray[np.float64]
    """A row for each box: west, south, east, north in degrees."""
    of: NDArray[np.intp]
    """Of each box: its place in `versions`, never falling."""

    @classmethod
    def of_rows(cls, rows: list[Row]) -> Changes:
        """Of a layer's entries, the oldest first."""
        _, generation, at, _ = rows[0]
        versions = [(each[1], each[2]) for each in rows]
        told = [np.asarray(boxes or (), np.float64).reshape(-1, 4) for _, _, _, boxes in rows]
        # The oldest entry stands for everything up to it, whatever it says of places.
        told[0] = np.empty((0, 4))
        of = np.repeat(np.arange(len(rows)), [len(each) for each in told])
        return cls((generation, at), versions, np.concatenate(told), of)

    def at(self, box: tuple[float, float, float, float]) -> Version:
        """The version of what lies in a box (west, south, east, north, degrees): of the last load that touched it."""
        west, south, east, north = box
        w, s, e, n = self.boxes.T
        hits = self.of[(w <= east) & (e >= west) & (s <= north) & (n >= south)]
        return self.versions[int(hits[-1])] if len(hits) else self.oldest


class Known:
    """The changes of every layer that was asked for."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._changes: dict[str, tuple[tuple[int, datetime], Changes | None]] = {}
        self._lock = asyncio.Lock()

    async def of(self, publications: Iterable[Publication]) -> Mapping[str, Changes | None]:
        """The changes of layers, at least up to the generations given; None: nothing is known of the layer's.

        What is read here is never older than the publications, so a tile that is made afterwards is not either.
        """
        wanted = {each.layer: (each.generation, each.changed_at) for each in publications}
        if stale := self._stale(wanted):
            async with self._lock:
                if stale := self._stale(wanted):
                    await self._read(stale)
        return {name: self._changes[name][1] for name in wanted}

    def _stale(self, wanted: dict[str, tuple[int, datetime]]) -> dict[str, tuple[int, datetime]]:
        return {
            name: stands
            for name, stands in wanted.items()
            if name not in self._changes or self._changes[name][0] != stands
        }

    async def _read(self, stale: dict[str, tuple[int, datetime]]) -> None:
        rows: dict[str, list[Row]] = {name: [] for name in stale}
        for row in await self._reader.touched(list(stale)):
            rows[row[0]].append(row)
        for name, stands in stale.items():
            self._changes[name] = stands, Changes.of_rows(rows[name]) if rows[name] else None
