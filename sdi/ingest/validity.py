"""Whether geometries are valid, told of most parcels by arithmetic on all of them at once; GEOS is asked of the others.

A ring is simple where some place sees all of it, one vertex after the other on the way round once. The signs of the
cross products that say so are taken only where rounding cannot have turned them: nothing is called valid that is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

Coordinates = NDArray[np.float64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.intp]

ROUNDING = 1e-15
"""Share of the sum of two products by which their difference may be off: 4 units of 2^-53, and more."""
LEAST = 1e-290
"""Below it products are rounded to fewer digits."""
POLYGONS = (3, 6)
"""Type ids of Polygon and MultiPolygon."""


@dataclass(frozen=True)
class Vertices:
    """The vertices of geometries, in two dimensions. `xy`: one after the other; `begin`: where those of each begin, and
    the end; `lone`: which are surely one ring that does not meet itself, with what lies inside."""

    xy: Coordinates
    begin: Numbers
    lone: Mask


def vertices_of(shapes: NDArray[Any]) -> Vertices:
    xy = shapely.get_coordinates(shapes)
    begin: Numbers = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(shapes))])
    return Vertices(xy, begin, seen_whole(xy, begin) & np.isin(shapely.get_type_id(shapes), POLYGONS))


def valid(shapes: NDArray[Any]) -> Mask:
    """`shapely.is_valid`."""
    return told(shapes, np.flatnonzero(vertices_of(shapes).lone))


def told(shapes: NDArray[Any], certain: Numbers) -> Mask:
    """`shapely.is_valid`, where some are known to be."""
    found: Mask = np.zeros(len(shapes), dtype=bool)
    found[certain] = True
    others = np.flatnonzero(~found)
    found[others] = shapely.is_valid(shapes[others])
    return found


def seen_whole(xy: Coordinates, begin: Numbers) -> Mask:
    """Of polygons, whether the middle of their vertices sees the whole boundary, and that is one ring. xy: (n, 2), the
    vertices of all rings; begin: where each polygon's begin there, and the end.

    Several rings one after the other are no way round once, so they need not be told apart.
    """
    first, last, count = begin[:-1], begin[1:] - 1, np.diff(begin)
    some = count > 1
    if not some.all():
        found: Mask = np.zeros(len(first), dtype=bool)
        if some.any():
            found[some] = seen_whole(xy[np.repeat(some, count)], np.append(0, np.cumsum(count[some])))
        return found
    if not len(first):
        return np.zeros(0, dtype=bool)
    with np.errstate(all="ignore"):  # of what is not finite nothing is sure
        x, y = (_from_middle(np.ascontiguousarray(column), first, last) for column in xy.T)
        one, two = x[:-1] * y[1:], y[:-1] * x[1:]
        turn = one - two
        sure = np.abs(turn) > ROUNDING * (np.abs(one) + np.abs(two)) + LEAST
    left, below = turn > 0, y < 0
    rising = below[:-1] & ~below[1:]
    turned = left[1:] != left[:-1]
    between = last[:-1]  # from one polygon to the next no edge leads
    sure[between] = True
    turned[between - 1] = rising[between] = False
    turned[between[between < len(turned)]] = False
    seen: Mask = np.bincount(_owner(first, np.flatnonzero(rising)), minlength=len(first)) == 1
    seen &= (xy[first] == xy[last]).all(axis=1)
    seen[_owner(first, np.flatnonzero(~sure))] = False
    seen[_owner(first, np.flatnonzero(turned))] = False
    return seen


def counterclockwise(xy: Coordinates, begin: Numbers) -> Coordinates:
    """The vertices of rings that are seen whole, each so that what it encloses lies on its left (RFC 7946, 3.1.6)."""
    if not len(xy):
        return xy
    first, last, count = begin[:-1], begin[1:] - 1, np.diff(begin)
    middle = (np.add.reduceat(xy, first) - xy[last]) / (count - 1)[:, None]
    one, two = xy[first] - middle, xy[first + 1] - middle
    # All edges of such a ring turn the same way round its middle.
    turned = one[:, 0] * two[:, 1] < one[:, 1] * two[:, 0]
    if not turned.any():
        return xy
    places, back = np.arange(len(xy)), np.repeat(turned, count)
    places[back] = (np.repeat(first + last, count) - places)[back]
    around: Coordinates = xy[places]
    return around


def _owner(first: Numbers, vertices: Numbers) -> Numbers:
    """The polygon that each of some vertices is of."""
    owner: Numbers = np.searchsorted(first, vertices, side="right") - 1
    return owner


def _from_middle(column: NDArray[np.float64], first: Numbers, last: Numbers) -> NDArray[np.float64]:
    middle = (np.add.reduceat(column, first) - column[last]) / (last - first)
    moved: NDArray[np.float64] = column - np.repeat(middle, last - first + 1)
    return moved
