"""What a steward reads of a layer's quality: rates by ISO 19157-1, the account of a load, the quality collections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row

from sdi.contract import quality
from sdi.contract.layer import Layer
from sdi.errors import NotFound
from sdi.store import engine, tables
from sdi.store.engine import Connection
from sdi.store.ledger import Publication


@dataclass(frozen=True)
class Measure:
    """One data quality element after a load. Counts are features; `rate` is faulty of evaluated, 0 to 1."""

    layer: str
    load_id: int
    element: str
    evaluated: int
    faulty: int
    waived: int
    rate: float
    evaluated_at: datetime


@dataclass(frozen=True)
class Rate:
    """What is told of it to who sees the layer whole."""

    element: str
    rate: float
    load_id: int
    evaluated_at: datetime


def measures(connection: Connection, layer: str, load_id: int | None = None) -> list[Measure]:
    """The elements of a layer as a load left them, None: the last one; none from before they were kept."""
    statement = (
        "SELECT layer, load_id, element, evaluated, faulty, waived, rate, evaluated_at FROM sdi.quality"
        " WHERE layer = %(layer)s AND load_id ="
        " coalesce(%(load)s::bigint, (SELECT max(load_id) FROM sdi.quality WHERE layer = %(layer)s)) ORDER BY element"
    )
    with engine.translated(), connection.cursor(row_factory=class_row(Measure)) as cursor:
        return cursor.execute(statement, {"layer": layer, "load": load_id}).fetchall()


def rates(connection: Connection) -> dict[str, list[Rate]]:
    """The rates of every layer as its last load left them, over all its rows; what the public's role may read."""
    statement = (
        "SELECT layer, element, rate, load_id, evaluated_at FROM sdi.quality"
        " JOIN (SELECT layer, max(load_id) AS load_id FROM sdi.quality GROUP BY layer) AS last USING (layer, load_id)"
        " ORDER BY layer, element"
    )
    found: dict[str, list[Rate]] = {}
    for layer, *values in connection.execute(statement):
        found.setdefault(layer, []).append(Rate(*values))
    return found


# --- one load -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RuleCount:
    rule: str
    severity: str
    action: str
    count: int


def load_of(connection: Connection, word: str, layers: Iterable[str]) -> dict[str, Any]:
    """The ledger's entry that a word means: a load id, or a layer, whose last delivery is meant; where that was rolled
    back, the one whose state came back. Raises NotFound."""
    if word.isascii() and word.isdigit():
        return delivery(connection, int(word[:40]))  # no id is as long, and Python reads no more than 4,300
    if word not in set(layers):
        raise NotFound(f"There is neither a load nor a layer '{word}'.", hint="See 'sdi history'.")
    statement = (
        "SELECT * FROM sdi.load WHERE layer = %s AND cause IS NULL AND status IN ('done', 'refused')"
        " ORDER BY load_id DESC LIMIT 1"
    )
    with engine.translated(), connection.cursor(row_factory=dict_row) as cursor:
        entry = cursor.execute(statement, [word]).fetchone()
        while entry is not None and entry["restores"] is not None:
            entry = cursor.execute("SELECT * FROM sdi.load WHERE load_id = %s", [entry["restores"]]).fetchone()
    if entry is None:
        raise NotFound(f"No delivery of '{word}' was loaded or refused.", hint="See 'sdi history'.")
    return entry


def delivery(connection: Connection, load_id: int, layer: str | None = None) -> dict[str, Any]:
    """The ledger's entry of a delivery, or of a rollback, of this layer. Raises NotFound: there is none of the number,
    it is another layer's, it runs yet, or nobody delivered it."""
    with engine.translated(), connection.cursor(row_factory=dict_row) as cursor:
        # A number that is too long for a bigint is compared as what it is.
        entry = cursor.execute("SELECT * FROM sdi.load WHERE load_id = %s", [load_id]).fetchone()
    if entry is None:
        raise NotFound(f"There is no load {load_id}.", hint="See 'sdi history'.")
    if layer is not None and entry["layer"] != layer:
        raise NotFound(f"Load {load_id} is one of '{entry['layer']}', not of '{layer}'.",
                       hint=f"See 'sdi history {layer}'.")  # fmt: skip
    if entry["cause"] is not None or entry["status"] not in ("done", "refused"):
        raise NotFound(f"Load {load_id} is no delivery that was loaded or refused.", hint="See 'sdi history'.")
    return entry


def by_rule(connection: Connection, load_id: int) -> list[RuleCount]:
    """How many findings a load has, by rule and by what was done about them; the gravest first."""
    statement = (
        "SELECT rule, severity, action, count(*) AS count FROM sdi.finding WHERE load_id = %s GROUP BY 1, 2, 3 ORDER BY"
        " array_position(ARRAY['refuse', 'quarantine', 'warn', 'repair', 'waived'], action),"
        " array_position(ARRAY['error', 'warning', 'info'], severity), count(*) DESC, rule"
    )
    with engine.translated(), connection.cursor(row_factory=class_row(RuleCount)) as cursor:
        return cursor.execute(statement, [load_id]).fetchall()


def findings(connection: Connection, load_id: int, most: int) -> Iterator[dict[str, Any]]:
    """At most so many findings of a load for each rule and action, as `Finding.to_json()` gives them."""
    statement = (
        "SELECT rule, severity, action, feature, source_row AS row, attribute, value, limit_value AS limit, other,"
        " waived, sentence_vi AS vi, sentence_en AS en,"
        " CASE WHEN place IS NOT NULL THEN ARRAY[ST_X(place), ST_Y(place)] END AS place"
        " FROM (SELECT *, row_number() OVER (PARTITION BY rule, action ORDER BY ordinal) AS number FROM sdi.finding"
        " WHERE load_id = %s) AS f WHERE number <= %s ORDER BY ordinal"
    )
    with engine.translated(), connection.cursor(row_factory=dict_row) as cursor:
        yield from cursor.execute(statement, [load_id, most])


def places(connection: Connection, load_id: int, most: int) -> list[tuple[float, float, str]]:
    """Longitude, latitude and severity of the findings of a load that have a place; where there are more than `most`,
    every so manieth."""
    statement = (
        "SELECT ST_X(place), ST_Y(place), severity FROM (SELECT place, severity, row_number() OVER (ORDER BY ordinal)"
        " AS number, count(*) OVER () AS all_of_them FROM sdi.finding WHERE load_id = %(load)s AND place IS NOT NULL)"
        " AS f WHERE number %% (all_of_them / %(most)s + 1) = 0"
    )
    with engine.translated():
        return connection.execute(statement, {"load": load_id, "most": most}).fetchall()


def placed(connection: Connection, load_id: int) -> int:
    """How many findings of a load have a place."""
    statement = "SELECT count(*) FROM sdi.finding WHERE load_id = %s AND place IS NOT NULL"
    with engine.translated():
        row = connection.execute(statement, [load_id]).fetchone()
    return int(row[0]) if row else 0


def outlines(
    connection: Connection, layer: Layer, load_id: int, box: tuple[float, float, float, float] | None, most: int
) -> list[bytes]:
    """EWKB of at most so many of a layer's features as they are now, those of the load first; `box`: only what meets
    it, west, south, east, north in degrees."""
    parameters = {"box": list(box) if box else None, "load": load_id, "most": most}
    place = sql.SQL("AND geom_wgs84 && ST_MakeEnvelope({}, 4326)").format(
        sql.SQL(", ").join(sql.SQL("(%(box)s::float8[])[{}]").format(sql.Literal(n)) for n in (1, 2, 3, 4))
    ) if box else sql.SQL("")  # fmt: skip
    statement = sql.SQL(
        "SELECT ST_AsEWKB(geom) FROM {} WHERE geom IS NOT NULL {} ORDER BY load_id <> %(load)s LIMIT %(most)s"
    ).format(tables.now(layer), place)
    with engine.translated():
        return [row[0] for row in connection.execute(statement, parameters)]


# --- the quality collections ----------------------------------------------------------------------------------------


def publications(connection: Connection, layers: Mapping[str, Layer]) -> dict[str, Publication]:
    """The quality collections of the layers that were ever delivered, as if they were published layers.

    `connection`: of the stewards' role.
    """
    known = {row[0] for row in connection.execute("SELECT DISTINCT layer FROM sdi.load WHERE cause IS NULL")}
    found: dict[str, Publication] = {}
    for layer in layers.values():
        if layer.id not in known:
            continue
        for view in quality.beside(layer):
            found[view.id] = _publication(connection, layer, view)
    return found


def _publication(connection: Connection, layer: Layer, view: Layer) -> Publication:
    assert view.temporal is not None
    assert view.temporal.instant is not None
    statement = sql.SQL(
        "SELECT content, number, ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box), coalesce(grids, '{{}}'),"
        " first, last"
        " FROM (SELECT count(*) AS number, ST_Extent(geom_wgs84) AS box, min({time}) AS first, max({time}) AS last,"
        " array_agg(DISTINCT ST_SRID(geom)) FILTER (WHERE geom IS NOT NULL) AS grids,"
        " coalesce(sum(hashtextextended(v::text, 0)), 0) AS content FROM {view} AS v) AS f"
    ).format(view=tables.now(view), time=sql.Identifier(view.temporal.instant))
    row = connection.execute(statement).fetchone()
    assert row is not None
    # Told apart by what is in it: loads, waivers and days change it, and what happens to other layers does not.
    content, count, west, south, east, north, grids, first, last = row
    changed = last or datetime.fromisoformat("2000-01-01T00:00:00+00:00")
    return Publication(
        layer=view.id, published=True, generation=int(content), count=count,
        extent=None if west is None else (west, south, east, north),
        grids=tuple(grid for grid in grids if grid != 4326), time_start=first, time_end=last, load_id=None,
        loaded_at=changed, changed_at=changed, facts={},
    )  # fmt: skip
