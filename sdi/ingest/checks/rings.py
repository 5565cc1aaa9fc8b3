"""Polygons as arrays of edges: what can be asked of all boundaries at once is asked of them so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from sdi.ingest.findings import Mask
from sdi.ingest.geometry import Shapes, distinct
from sdi.ingest.validity import vertices_of

Coordinates = NDArray[np.float64]
Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class Rings:
    """The boundaries of polygons. `xy`: every vertex, the last of a ring being its first again; `rings`: where each
    ring begins in `xy`, and the end; `features`: where the vertices of each feature begin, and the end."""

    xy: Coordinates
    rings: Numbers
    parts: Numbers
    """Where each polygon begins among the rings, and the end: its first ring is the shell."""
    features: Numbers
    lone: Mask
    """By feature: whether it is surely one ring that does not meet itself."""

    @cached_property
    def start(self) -> Numbers:
        """The vertex that each edge starts at; edges are as they come, the next vertex is their end."""
        last = np.zeros(len(self.xy), dtype=bool)
        last[self.rings[1:] - 1] = True
        return np.flatnonzero(~last)

    @cached_property
    def owner(self) -> Numbers:
        """The feature of each vertex."""
        owner: Numbers = np.repeat(np.arange(len(self.features) - 1), np.diff(self.features))
        return owner

    def beside(self, vertices: Numbers) -> tuple[Numbers, Numbers]:
        """The vertices before and after each on its ring, as places in `xy`."""
        ring = np.searchsorted(self.rings, vertices, side="right") - 1
        first, last = self.rings[ring], self.rings[ring + 1] - 1
        return np.where(vertices == first, last - 1, vertices - 1), np.where(vertices == last, first + 1, vertices + 1)

    def boxes(self, edges: Numbers | Mask) -> Coordinates:
        """(n, 4) what edges lie in."""
        a, b = self.xy[self.start[edges]], self.xy[self.start[edges] + 1]
        return np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=1)

    def lines(self, edges: Numbers | Mask) -> Shapes:
        start = self.start[edges]
        lines: Shapes = shapely.linestrings(np.stack([self.xy[start], self.xy[start + 1]], axis=1))
        return lines

    @cached_property
    def left_inside(self) -> Mask:
        """By edge: whether the feature lies on its left, for rings run either way round."""
        x, y = (self.xy - self.xy[np.repeat(self.rings[:-1], np.diff(self.rings))]).T
        cross = np.zeros(len(self.xy))
        cross[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
        cross[self.rings[1:] - 1] = 0.0
        area = np.add.reduceat(cross, self.rings[:-1]) if len(self.rings) > 1 else cross[:0]
        shell = np.zeros(len(area), dtype=bool)
        shell[self.parts[:-1]] = True
        ring = np.repeat(np.arange(len(area)), np.diff(self.rings))
        inside: Mask = ((area > 0) == shell)[ring[self.start]]
        return inside

    @cached_property
    def vertex(self) -> Numbers:
        """A number for each vertex, equal where the coordinates are equal to the last bit."""
        vertex: Numbers = distinct(self.xy + 0.0)[1].astype(np.intp)  # no -0.0
        return vertex

    @cached_property
    def _between(self) -> tuple[Numbers, Mask, Mask]:
        """By edge: a number, equal where the two vertices are; whether the feature lies on one side of it, the same
        for equal numbers, or on the other; whether it has a length."""
        a, b = self.vertex[self.start], self.vertex[self.start + 1]
        key = np.minimum(a, b).astype(np.int64) << 32 | np.maximum(a, b)
        _, key = np.unique(key, return_inverse=True)
        return key, (a < b) == self.left_inside, a != b

    @cached_property
    def open(self) -> Mask:
        """By edge: whether it is `free` in the whole coverage."""
        return self.free(None)

    def free(self, groups: NDArray[np.int64] | None) -> Mask:
        """By edge: whether it is not shared by just two features (of a group) that lie on either side of it."""
        key, forward, long = self._between
        if groups is not None:
            member = groups[self.owner[self.start]]
            _, key = np.unique(key * (int(member.max(initial=0)) + 1) + member, return_inverse=True)
        uses = np.bincount(key)
        balance = np.bincount(key, weights=np.where(forward, 1.0, -1.0))
        edge: Mask = ~((uses == 2) & (balance == 0))[key] & long
        return edge


def rings_of(shapes: Shapes) -> Rings:
    """The rings of Polygon and MultiPolygon geometries, none of them missing."""
    vertices = vertices_of(shapes)
    lone, others = np.flatnonzero(vertices.lone), np.flatnonzero(~vertices.lone)
    # What is one ring is told so; of the others each part and each ring is made to be counted.
    parts, feature = shapely.get_parts(shapes[others], return_index=True)
    made, part = shapely.get_rings(parts, return_index=True)
    length = np.concatenate([np.diff(vertices.begin)[lone], shapely.get_num_coordinates(made)])
    several = np.concatenate([np.ones(len(lone), dtype=np.intp), np.bincount(part, minlength=len(parts))])
    owner = np.concatenate([lone, others[feature]])
    order = np.argsort(np.concatenate([lone, others[feature[part]]]), kind="stable")
    rings, starts = _starts(length[order]), _starts(several[np.argsort(owner, kind="stable")])
    return Rings(vertices.xy, rings, starts, vertices.begin, vertices.lone)


def _starts(counts: Numbers) -> Numbers:
    """Where each of some runs begins, and the end."""
    starts: Numbers = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    return starts
