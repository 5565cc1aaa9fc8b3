"""What is remembered of each feature of a delivery after its part was worked on: 79 bytes, in files (`mapped`)."""

from __future__ import annotations

import numpy as np

from sdi.ingest import mapped
from sdi.ingest.chunk import Chunk
from sdi.ingest.findings import Findings
from sdi.ingest.place import Box
from sdi.ingest.reading import join


class Remembered:
    """The numbers are those of `Chunk`, of all rows."""

    def __init__(self, count: int) -> None:
        self.hashes = mapped.zeros(count, np.int64)
        self.boxes = mapped.zeros(count, np.float64, 4)
        self.places = mapped.zeros(count, np.float64, 2)
        self.marks = mapped.zeros(count, np.uint64)
        self.identified, self.dropped, self.ended, self.plain, self.known = (
            mapped.zeros(count, np.bool_) for _ in range(5)
        )
        self.bounds: Box | None = None
        self.marked: list[bool] = []
        """By part, whether its rows have their marks."""
        self.news: list[bool] = []
        self.found: list[tuple[int, Findings]] = []
        """By part, its first row and what was found in it."""
        self.measured: list[tuple[int, Findings]] = []

    def add(self, made: Chunk) -> None:
        """Take over a part."""
        rows = slice(made.start, made.start + len(made.ids))
        self.hashes[rows] = made.ids
        for name in ("boxes", "places", "identified", "dropped", "ended", "plain"):
            getattr(self, name)[rows] = getattr(made, name)
        if made.marks is not None:
            self.marks[rows] = made.marks
        if made.known is not None:
            self.known[made.start + made.known] = True
        self.bounds = join(self.bounds, made.bounds)
        self.marked.append(made.marks is not None)
        self.news.append(made.news)
        self.found.append((made.start, made.found))
        self.measured.append((made.start, made.measured))
