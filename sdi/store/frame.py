"""Where deliveries must lie: the extent of administrative units that are loaded already."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.store import tables
from sdi.store.engine import Connection

Box = tuple[float, float, float, float]


def extent_of(connection: Connection, layer: Layer, code: str, day: date) -> Box | None:
    """West, south, east, north in WGS 84 degrees of the unit whose `frame` attribute is `code`; None: there is none.

    Codes are used again with another meaning, so the units in force on `day` go before those that are not.
    """
    assert layer.frame is not None
    statement = sql.SQL(
        "SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box)"
        " FROM (SELECT {} AS current, ST_Extent(geom_wgs84) AS box FROM {} WHERE {} = %(code)s GROUP BY 1) found"
        " ORDER BY current DESC LIMIT 1"
    ).format(in_force(layer, sql.Placeholder("day")), tables.now(layer), sql.Identifier(layer.frame))
    row = connection.execute(statement, {"code": code, "day": day}).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1], row[2], row[3])


def outline(connection: Connection, layer: Layer, codes: Sequence[str], day: date) -> str | None:
    """The ground of the units that have these codes on a day, GeoJSON in CRS84 to a centimetre; None: none has one."""
    assert layer.frame is not None
    statement = sql.SQL(
        "SELECT ST_AsGeoJSON(ST_UnaryUnion(ST_Collect(geom_wgs84)), 7, 0) FROM {} WHERE {} = ANY (%(codes)s) AND {}"
    ).format(tables.now(layer), sql.Identifier(layer.frame), in_force(layer, sql.Placeholder("day")))
    row = connection.execute(statement, {"codes": list(codes), "day": day}).fetchone()
    return None if row is None else row[0]


def in_force(layer: Layer, day: sql.Composable) -> sql.Composed:
    """SQL of whether a row of the layer holds on a day; an open end holds for ever."""
    temporal = layer.temporal
    conditions: list[sql.Composable] = [sql.SQL("true")]
    if temporal is not None and temporal.start is not None:
        conditions.append(sql.SQL("coalesce({} <= {}, true)").format(sql.Identifier(temporal.start), day))
    if temporal is not None and temporal.end is not None:
        conditions.append(sql.SQL("coalesce({} > {}, true)").format(sql.Identifier(temporal.end), day))
    return sql.SQL(" AND ").join(conditions)
