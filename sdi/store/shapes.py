"""Statements of one shape are put together once.

Putting a statement together takes longer than sending it. What distinguishes the questions of a map that is moved, of a
layer that is paged through, of features that are opened one after another, are some values: corners, a place, an id.
So a statement's text is kept by its shape, which is everything else, and filled with the values of the query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import Area, FeatureQuery
from sdi.store.statement import Statement, write

MARGIN = 2e-5
"""Degrees by which a box inside the searched one is smaller: more than PostGIS rounds a box by (float32: 1.5e-5)."""
KEPT = 500
"""Shapes that are kept; each text has some kilobytes."""

Select = Callable[..., Statement]
"""Puts a statement together, of a layer, a query, and how it is to be answered."""


def filled(select: Select, layer: Layer, query: FeatureQuery, *how: Any) -> Statement:
    """What `select(layer, query, *how)` gives, its text from those that are kept. `how`: hashable."""
    key = _key(layer, query)
    if key is None:
        return select(layer, query, *how)
    statement = _put_together(_Shape((select, *how, *key), select, layer, query, how))
    drawn = statement.drawn
    values = {name: drawn[name](query) if name in drawn else value for name, value in statement.params.items()}
    return Statement(statement.sql, values, drawn, statement.written)


def is_wide(box: tuple[float, float, float, float]) -> bool:
    """Whether a box (west, south, east, north, degrees) has room for one that is smaller by MARGIN on each side."""
    west, south, east, north = box
    return west + MARGIN < east - MARGIN and south + MARGIN < north - MARGIN


def _key(layer: Layer, query: FeatureQuery) -> tuple[Any, ...] | None:
    """What a statement's text follows from; None: from too much. Filters are the same when they are the same object:
    1, 1.0 and true are equal, but not what is compared with them."""
    if query.as_of is not None or query.interval is not None or query.meant is not None or query.search:
        return None
    if any(not isinstance(value, str | None) for _, value in query.equals):
        return None
    place = query.place and (query.place.backward, *(key is None for key in query.place.keys))
    return (
        id(layer), id(query.sight), tuple(map(id, query.filters)), query.attributes,
        None if query.ids is None else len(query.ids) == 1, query.area and _kinds(query.area), query.equals, query.sort,
        query.crs, query.north_first, query.geometry, query.limit is None, query.offset > 0, place,
    )  # fmt: skip


def _kinds(area: Area) -> tuple[Any, ...]:
    return tuple((box[0] == box[2] or box[1] == box[3], is_wide(box)) for box in area.boxes) if area.rectangle else ()


@dataclass(frozen=True, eq=False)
class _Shape:
    """Equal by its key; holds the objects that the key names by their address, so that no others take their place."""

    key: tuple[Any, ...]
    select: Select
    layer: Layer
    query: FeatureQuery
    how: tuple[Any, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shape) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=KEPT)
def _put_together(shape: _Shape) -> Statement:
    """The statement of the first query of a shape."""
    made = shape.select(shape.layer, shape.query, *shape.how)
    return Statement(sql.SQL(made.sql.as_string()), made.params, made.drawn, write(made.sql))
