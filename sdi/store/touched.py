"""Which places each load changed, of every layer: so what was made of other places holds on.

Written with the layer's generation, in the load's own transaction, from `sdi_changed`, where every way of changing a
layer (delivery, rollback, reform, derived rows) enters the boxes of the old and new shapes. What is kept is bounded:
a load that changed much is told by boxes around groups of its changes, a larger one as everywhere, and old entries of a
layer become one that stands for everything up to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from sdi.contract.layer import Layer
from sdi.store.engine import Connection

MOST = 2_000
"""Boxes of one generation."""
LOOKED_AT = 100_000
"""Changes of one load that are looked at; beyond, everything is taken for changed."""
GROUP = 0.005
"""Degrees along the side of the cells that boxes are grouped by where they are too many: about 550 m."""
KEPT = 50_000
"""Boxes that are kept of one layer; when there are more, the older half goes."""

Row = tuple[str, int, str, list[float] | None]
"""Layer, generation, the instant at which it was written, boxes."""

_RECORD = """
WITH changed AS MATERIALIZED (
    SELECT id, box FROM sdi_changed WHERE layer = %(layer)s LIMIT %(looked)s + 1
),
box AS MATERIALIZED (
    SELECT DISTINCT ST_XMin(box) AS w, ST_YMin(box) AS s, ST_XMax(box) AS e, ST_YMax(box) AS n
    FROM changed WHERE box IS NOT NULL
),
grouped AS (
    SELECT w, s, e, n FROM box WHERE (SELECT count(*) FROM box) <= %(most)s
    UNION ALL
    SELECT min(w), min(s), max(e), max(n) FROM box WHERE (SELECT count(*) FROM box) > %(most)s
    GROUP BY floor((w + e) / 2 / %(group)s), floor((s + n) / 2 / %(group)s)
),
told AS (
    SELECT
        (SELECT count(*) BETWEEN 1 AND %(looked)s AND bool_and(id IS NOT NULL) FROM changed)
        AND (SELECT count(*) FROM grouped) <= %(most)s AS known
)
INSERT INTO sdi.touched (layer, generation, boxes)
SELECT %(layer)s, p.generation, CASE WHEN t.known THEN ARRAY(
    SELECT unnest(ARRAY[w, s, e, n]) FROM grouped ORDER BY w, s, e, n
) END
FROM sdi.publication p CROSS JOIN told t WHERE p.layer = %(layer)s"""
_FORGET = """
WITH kept AS (
    SELECT generation, boxes IS NULL AS everywhere,
        sum(1 + coalesce(cardinality(boxes), 0) / 4) OVER (ORDER BY generation DESC) AS total
    FROM sdi.touched WHERE layer = %(layer)s
),
last AS (
    SELECT max(generation) AS generation FROM kept
    WHERE everywhere OR (total > %(kept)s / 2 AND (SELECT max(total) FROM kept) > %(kept)s)
),
gone AS (
    DELETE FROM sdi.touched t USING last WHERE t.layer = %(layer)s AND t.generation < last.generation
)
UPDATE sdi.touched t SET boxes = NULL FROM last
WHERE t.layer = %(layer)s AND t.generation = last.generation AND t.boxes IS NOT NULL"""


def record(connection: Connection, layer: Layer) -> None:
    """Enter what this transaction changed of a layer under its generation, which has just grown."""
    # None is there, unless somebody has made the publication anew, and its generations are counted again.
    connection.execute(
        "DELETE FROM sdi.touched t USING sdi.publication p"
        " WHERE t.layer = %(layer)s AND p.layer = t.layer AND t.generation >= p.generation",
        {"layer": layer.id},
    )
    connection.execute(_RECORD, {"layer": layer.id, "looked": LOOKED_AT, "most": MOST, "group": GROUP})
    connection.execute(_FORGET, {"layer": layer.id, "kept": KEPT})


def read(connection: Connection, layers: Iterable[str]) -> list[Row]:
    """The entries of some layers, of each the oldest first."""
    rows = connection.execute(
        "SELECT layer, generation, at::text, boxes FROM sdi.touched WHERE layer = ANY (%s) ORDER BY layer, generation",
        [list(layers)],
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]
