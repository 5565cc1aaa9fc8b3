"""Where deliveries must lie: the extent of administrative units that are loaded already."""

from __future__ import annotations

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.store import tables
from sdi.store.engine import Connection

Box = tuple[float, float, float, float]


def extent_of(connection: Connection, layer: Layer, code: str) -> Box | None:
    """West, south, east, north in WGS 84 degrees of the features whose `frame` attribute is `code`; None: there are none."""
    assert layer.frame is not None
    statement = sql.SQL(
        "SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box)"
        " FROM (SELECT ST_Extent(geom_wgs84) AS box FROM {} WHERE {} = %s) found"
    ).format(tables.now(layer), sql.Identifier(layer.frame))
    row = connection.execute(statement, [code]).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1], row[2], row[3])
