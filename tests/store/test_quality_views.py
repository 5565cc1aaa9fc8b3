"""The quality collections asked as QGIS asks them: a window of a large register."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from sdi.contract import quality
from sdi.contract.layer import Layer
from sdi.contract.query import Area, FeatureQuery
from sdi.store import engine, features
from sdi.store.engine import Connection
from sdi.store.statement import Statement
from tests.deployment import Deployment

LAYER = "cadastral_parcels"
WINDOW = (105.8000, 21.0000, 105.8031, 21.0031)
"""Of a register that lies 0.001° apart on a square: 4 × 4 of its places."""


@pytest.fixture(scope="module")
def register(new_deployment: Callable[..., Deployment]) -> Iterator[tuple[Deployment, Connection]]:
    """100,000 findings and 20,000 features in quarantine, of two layers; half of them have ended."""
    at = new_deployment()
    with engine.connect(engine.database_url(at.settings)) as owner:
        for layer in (LAYER, "buildings"):
            load = (
                "INSERT INTO sdi.load (layer, kind, status, steward, contract_version, contract_sha256)"
                " VALUES (%s, 'features', 'done', 'a', '1', 'x') RETURNING load_id"
            )
            first = owner.execute(load, [layer]).fetchone()
            last = owner.execute(load, [layer]).fetchone()
            assert first
            assert last
            told = {"layer": layer, "load": first[0], "end": last[0]}
            owner.execute(
                "INSERT INTO sdi.finding (load_id, ordinal, layer, rule, severity, action, feature, source_row,"
                " sentence_vi, sentence_en, place, ended_by) SELECT %(load)s, n, %(layer)s, 'code.unknown', 'error',"
                " 'quarantine', n::text, n, 'a', 'b', ST_SetSRID(ST_MakePoint(105.8 + (n %% 224) * 0.001,"
                " 21 + (n / 224) * 0.001), 4326), CASE WHEN n >= 25000 THEN %(end)s END"
                " FROM generate_series(0, 49999) n",
                told,
            )
            owner.execute(
                "INSERT INTO sdi.quarantine (load_id, source_row, layer, id, findings, attributes, geom, geom_wgs84,"
                " ended_by, ended_as) SELECT %(load)s, n, %(layer)s, n::text, '[]', '{}', g, g,"
                " CASE WHEN n >= 5000 THEN %(end)s END, CASE WHEN n >= 5000 THEN 'corrected' END"
                " FROM (SELECT n, ST_MakeEnvelope(105.8 + (n %% 100) * 0.001, 21 + (n / 100) * 0.001,"
                " 105.8005 + (n %% 100) * 0.001, 21.0005 + (n / 100) * 0.001, 4326) AS g"
                " FROM generate_series(0, 9999) n) s",
                told,
            )
        owner.execute("ANALYZE sdi.finding, sdi.quarantine, sdi.load")
        owner.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(engine.STEWARD)))
        yield at, owner


def views(at: Deployment) -> dict[str, Layer]:
    layer = at.registry[LAYER]
    return {"finding": quality.findings_of(layer), "quarantine": quality.quarantine_of(layer)}


def window(view: Layer) -> FeatureQuery:
    names = tuple(attribute.name for attribute in view.stored)
    return FeatureQuery(view.id, names, area=Area.of_box(*WINDOW), limit=10)


def run(connection: Connection, statement: Statement, head: str = "") -> list[str]:
    return [str(row[0]) for row in connection.execute(sql.SQL(head) + statement.sql, statement.params)]


@pytest.mark.parametrize("table", ["finding", "quarantine"])
@pytest.mark.parametrize("what", ["page", "count"])
def test_a_window_of_a_large_register_is_found_by_place(
    register: tuple[Deployment, Connection], table: str, what: str
) -> None:
    at, connection = register
    view = views(at)[table]
    make = {"page": features.select_geojson, "count": features.select_count}[what]
    plan = "\n".join(run(connection, make(view, window(view)), "EXPLAIN "))
    assert f"Index Scan using {table}_place" in plan or f"Bitmap Index Scan on {table}_place" in plan, plan
    assert f"Seq Scan on {table}" not in plan, plan


@pytest.mark.parametrize("table", ["finding", "quarantine"])
def test_what_is_found_by_place_is_what_stands_there(register: tuple[Deployment, Connection], table: str) -> None:
    at, connection = register
    view = views(at)[table]
    (count,) = run(connection, features.select_count(view, window(view)))
    assert int(count) == 16
    assert len(run(connection, features.select_geojson(view, window(view)))) == 10
