"""Lines of a network whose ends fall short of another line, or run a little over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Check
from sdi.ingest.checks.neighbourhood import Rows
from sdi.ingest.checks.tiles import Held
from sdi.ingest.findings import Findings
from sdi.ingest.place import Placement

TOUCH = 0.001
"""Metres within which an end touches a line: the rounding of coordinates."""


@dataclass(frozen=True)
class Ends:
    """Ends of lines that touch nothing: row, the row that lies nearest within the tolerance (-1: none), metres to it,
    where the end is."""

    row: Rows
    other: Rows
    distance: NDArray[np.float64]
    spots: NDArray[np.float64]


@dataclass(frozen=True)
class DangleCheck:
    """Ends that touch no line and have one within the tolerance; with `free_ends: false`, every end that touches none.
    `groups`: lines of a group make a network (parameter `within`), by row."""

    entry: Check
    groups: NDArray[np.int64] | None

    @property
    def reach(self) -> float:
        return self.entry.bound

    def look(self, held: Held) -> Ends:
        tile = held.tile
        lines = np.flatnonzero(shapely.get_dimensions(held.shapes) == 1)
        parts, owner = shapely.get_parts(held.shapes[lines], return_index=True)
        ends = np.concatenate([shapely.get_point(parts, 0), shapely.get_point(parts, -1)])
        part = np.tile(np.arange(len(parts)), 2)
        mine = ~np.tile(shapely.is_closed(parts), 2) & tile.owns(shapely.get_x(ends), shapely.get_y(ends))
        ends, part = ends[mine], part[mine]
        end, near = shapely.STRtree(parts).query(ends, predicate="dwithin", distance=self.reach)
        keep = near != part[end]
        if self.groups is not None:
            member = self.groups[tile.rows[lines[owner]]]
            keep &= member[near] == member[part[end]]
        end, near = end[keep], near[keep]
        distance = shapely.distance(ends[end], parts[near])
        order = np.lexsort([near, distance, end])
        order = order[np.flatnonzero(np.diff(end[order], prepend=-1))]
        other, apart = np.full(len(ends), -1), np.full(len(ends), np.inf)
        other[end[order]], apart[end[order]] = tile.rows[lines[owner[near[order]]]], distance[order]
        loose = apart > TOUCH
        if self.entry.parameters.get("free_ends", True):
            loose &= np.isfinite(apart)
        row = tile.rows[lines[owner[part]]]
        return Ends(row[loose], other[loose], apart[loose], shapely.get_coordinates(ends[loose]))

    def tell(self, seen: Sequence[Ends], where: Placement, findings: Findings) -> None:
        row, other, distance, spots = (
            np.concatenate([getattr(one, name) for one in seen]) for name in ("row", "other", "distance", "spots")
        )
        order = np.lexsort([spots[:, 1], spots[:, 0], row])
        row, other, distance, places = row[order], other[order], distance[order], where.to_wgs84(spots[order])
        free = other < 0
        findings.add(self.entry.rule, row[~free], values=np.round(distance[~free], 4), limit=self.reach,
                     other_rows=other[~free], places=places[~free], entry=self.entry)  # fmt: skip
        findings.add("network.free_end", row[free], places=places[free], severity=self.entry.severity,
                     action=self.entry.action)  # fmt: skip
