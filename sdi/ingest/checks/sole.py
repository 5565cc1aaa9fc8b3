"""Which polygons of a coverage certainly share no ground with another one, told by edges instead of pair by pair.

How many polygons lie over a place changes only at a free edge: at any other, one feature ends where another begins. So
it is one number all over the interior of a polygon that no free edge of another enters, and one place of it tells that
number; where it is one, no other polygon's interior meets it, but for the last digit of coordinates. That clears all of
a clean coverage, at 4 µs a feature where holding pairs against each other costs 30 to 50; and 97 % of a real commune, a
fifth of whose edges are free, at what its pairs cost.
"""

from __future__ import annotations

import numpy as np
import shapely

from sdi.ingest.checks.neighbourhood import Rows
from sdi.ingest.checks.tiles import Held
from sdi.ingest.findings import Mask
from sdi.ingest.geometry import Shapes
from sdi.ingest.validity import told

MOST_FREE = 0.5
"""Share of free edges above which nothing is asked: edges would be held against polygons for little."""
BUDGET = 30
"""Boxes that free edges may meet, and places too, for each feature of a tile, a million at least: where so much lies
upon each other, pairs are counted elsewhere."""
ASKED = 1_024
"""Edges or places that are looked up at once."""


def sole(held: Held) -> Mask:
    """By position in `held.surfaces`: whether no other surface of the tile meets its interior. Of what lies beside the
    cell, is invalid, has several parts or could not be told, it is not said."""
    shapes, rings = held.shapes[held.surfaces], held.rings
    nothing: Mask = np.zeros(len(shapes), dtype=bool)
    if rings is None:
        return nothing
    valid = told(shapes, np.flatnonzero(rings.lone))
    free = rings.open
    if not valid.all():  # what an invalid polygon covers is not told by its edges: all of them count
        free = rings.free(valid.astype(np.int64)) | ~valid[rings.owner[rings.start]]
    if np.count_nonzero(free) > MOST_FREE * len(free):
        return nothing
    shapely.prepare(shapes)
    start, lines = rings.start[free], rings.lines(free)
    near = held.tile.near(shapely.bounds(shapes), 0.0)
    alone = _covered_once(held, shapes, np.flatnonzero(valid & near & (shapely.get_num_geometries(shapes) == 1)))
    budget = max(BUDGET * len(shapes), 1_000_000)
    for at in range(0, len(lines), ASKED):
        line, polygon = held.tree.query(lines[at : at + ASKED])
        budget -= len(line)
        if budget < 0:
            return nothing
        line += at
        asked = alone[polygon] & (rings.owner[start[line]] != polygon)
        line, polygon = line[asked], polygon[asked]
        alone[polygon[shapely.relate_pattern(shapes[polygon], lines[line], "T********")]] = False
    return alone


def _covered_once(held: Held, shapes: Shapes, asked: Rows) -> Mask:
    """By polygon: whether it is asked, and some place of it lies in no other one, nor on its boundary."""
    once: Mask = np.zeros(len(shapes), dtype=bool)
    places = shapely.point_on_surface(shapes[asked])
    budget = max(BUDGET * len(shapes), 1_000_000)
    for at in range(0, len(asked), ASKED):
        place, polygon = held.tree.query(places[at : at + ASKED])
        budget -= len(place)
        if budget < 0:
            break
        place += at
        inside = shapely.intersects(shapes[polygon], places[place])
        place, polygon = place[inside], polygon[inside]
        covers = np.bincount(place - at)
        once[polygon[(asked[place] == polygon) & (covers[place - at] == 1)]] = True
    return once
