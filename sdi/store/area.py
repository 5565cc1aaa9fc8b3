"""The area of a query as a condition, for which the index over places serves."""

from __future__ import annotations

import json
from functools import lru_cache

from psycopg import sql

from sdi.contract.query import Area, FeatureQuery
from sdi.store import shapes
from sdi.store.cql_sql import GEOMETRY, NEAR
from sdi.store.statement import Parameters, Source


def inside(area: Area, query: FeatureQuery, parameters: Parameters) -> sql.Composable:
    """The condition that a feature meets an area."""
    if area.rectangle:
        boxes = [_in_box(box, number, query, parameters) for number, box in enumerate(area.boxes)]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(boxes))
    # A box without width or height is no valid polygon, but a line or a point once it is mended.
    mended = sql.SQL("ST_MakeValid(ST_SetSRID(ST_GeomFromGeoJSON({}), 4326))")
    literal = mended.format(parameters.draw(_polygon, query, "text"))
    inside = sql.SQL("({0} && {1} AND ST_Intersects({0}, {1}))").format(GEOMETRY, literal)
    return _near(literal, inside, parameters)


def _near(literal: sql.Composable, inside: sql.Composable, parameters: Parameters) -> sql.Composable:
    """Where places are told less exactly than they are stored, the stored ones find them, by their index."""
    if parameters.near is None:
        return inside
    near = parameters.bind(parameters.near, "double precision")
    return sql.SQL("({} && ST_Expand({}, {}) AND {})").format(NEAR, literal, near, inside)


def _polygon(query: FeatureQuery) -> str:
    assert query.area is not None
    return json.dumps({"type": "Polygon", "coordinates": [query.area.ring]})


def _in_box(
    box: tuple[float, float, float, float], number: int, query: FeatureQuery, parameters: Parameters
) -> sql.Composable:  # fmt: skip
    """Exact for rectangles, and cheap: what lies wholly inside by its own box needs no look at its geometry."""
    outer = [parameters.draw(_side(number, side, 0.0), query, "double precision") for side in range(4)]
    envelope = _envelope(outer, flat=box[0] == box[2] or box[1] == box[3])
    if not shapes.is_wide(box):
        inside = sql.SQL("({0} && {1} AND ST_Intersects({0}, {1}))").format(GEOMETRY, envelope)
        return _near(envelope, inside, parameters)
    inner = [parameters.draw(_side(number, side, shapes.MARGIN), query, "double precision") for side in range(4)]
    wide = sql.SQL("({0} && {1} AND ({0} @ {2} OR ST_Intersects({0}, {1})))").format(
        GEOMETRY, envelope, _envelope(inner, flat=False)
    )
    return _near(envelope, wide, parameters)


@lru_cache(maxsize=100)
def _side(number: int, side: int, inset: float) -> Source:
    """West, south, east or north of a box, so far inside."""
    moved = inset if side < 2 else -inset

    def side_of(query: FeatureQuery) -> float:
        assert query.area is not None
        return query.area.boxes[number][side] + moved

    return side_of


def _envelope(corners: list[sql.Composed], *, flat: bool) -> sql.Composable:
    """A box without width or height becomes a line or a point, as ST_Envelope makes it."""
    if flat:
        line = sql.SQL("ST_MakeLine(ST_MakePoint({}, {}), ST_MakePoint({}, {}))").format(*corners)
        return sql.SQL("ST_Envelope(ST_SetSRID({}, 4326))").format(line)
    return sql.SQL("ST_MakeEnvelope({}, {}, {}, {}, 4326)").format(*corners)
