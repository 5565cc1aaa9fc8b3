"""A layer, its table in a real database, and eleven places in Đà Nẵng to ask for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.contract.registry import Registry
from sdi.national.vn2000 import to_wgs84
from sdi.store import cql, engine, features, migrate
from sdi.store.statement import Statement

GRID = 5899
ORIGIN = (550_000.0, 1_775_000.0)
"""A corner in Đà Nẵng, E, N in EPSG:5899; the places stand 100 m apart on a line to the east."""
TEXT = {"vi": "Địa điểm", "en": "Places"}


def attribute(name: str, type: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, "title": {"vi": name, "en": name}, **more}


def make_layer(**changes: Any) -> Layer:
    who = {"name": "who", "type": "text", "title": TEXT}
    share = {"name": "share", "type": "decimal", "title": TEXT}
    contract: dict[str, Any] = {
        "id": "places",
        "version": "1.0.0",
        "title": TEXT,
        "description": TEXT,
        "theme": "sites",
        "steward": {"id": "office", "name": TEXT},
        "legal_basis": [],
        "identifier": {"attribute": "name"},
        "geometry": {"type": "MultiPolygon", "required": False},
        "licence": {"id": "CC-BY-4.0", "title": TEXT},
        "update_cycle": "daily",
        "temporal": {"start": "built", "end": "ended"},
        "attributes": [
            attribute("name", "text"),
            attribute("floors", "integer"),
            attribute("area", "decimal", scale=2, unit="m2"),
            attribute("height", "number"),
            attribute("lived_in", "boolean"),
            attribute("built", "date", required=True),
            attribute("ended", "date"),
            attribute("seen", "datetime"),
            attribute("uses", "list", items=[{"name": "use", "type": "text", "title": TEXT}]),
            attribute("owners", "list", items=[who, share]),
            attribute("secret", "text", privacy="agency"),
        ],
        **changes,
    }
    return Layer.model_validate(contract)


OPEN = ("name", "floors", "area", "height", "lived_in", "built", "ended", "seen", "uses", "owners")

ROWS: list[dict[str, Any]] = [
    {"name": "Nguyễn Thị Ánh", "floors": 1, "area": "100.25", "height": 3.5, "lived_in": True, "built": "2010-05-01",
     "seen": "2024-01-05T20:00:00Z", "uses": ["ONT", "CLN"], "secret": "red"},
    {"name": "nguyễn văn Đức", "floors": 2, "area": "200.50", "height": 7.25, "lived_in": False, "built": "2012-01-01",
     "ended": "2020-01-01", "seen": "2024-01-05T00:00:00Z", "uses": ["ODT"]},
    {"name": "Nguyen Van A", "floors": 3, "area": "300", "height": 10.0, "lived_in": True, "built": "2020-01-01"},
    {"name": "O'DT", "floors": 9007199254740993, "area": "12345678901234567890.12", "height": 0.3, "uses": []},
    {"name": "50% <b>&amp;</b>", "floors": 5, "area": "0.01", "lived_in": True, "uses": ["ODT", "ONT"]},
    {"name": "50 years", "floors": -6, "height": -1.5, "built": "2030-12-31", "ended": "2031-01-01"},
    {"name": "a_b\\c", "floors": 0, "area": "0", "height": 0.0, "lived_in": False, "secret": "blue"},
    {"name": "aXb", "floors": 7, "ended": "2015-06-30", "owners": [{"who": "Trần", "share": 0.5}]},
    {"name": "Đặng Ỷ Lan", "area": "9.99", "height": 1e10, "lived_in": True, "seen": "2023-12-31T23:59:59.999Z"},
    {},
    {"name": "nowhere", "floors": 11, "place": None},
]  # fmt: skip
"""Their ids are p0 … p9 and pa."""


def square(east: float, north: float, size: float = 10.0) -> tuple[str, str]:
    """EWKT in the grid and in WGS 84 of a square by its south-west corner, metres."""
    ring = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * size + (east, north)
    texts = [
        f"SRID={srid};MULTIPOLYGON((({','.join(f'{x!r} {y!r}' for x, y in corners.tolist())})))"
        for srid, corners in ((GRID, ring), (4326, to_wgs84(ring, GRID)))
    ]
    return texts[0], texts[1]


def make_table(url: str, layer: Layer, folder: Path, rows: Sequence[dict[str, Any]]) -> psycopg.Connection[Any]:
    """Migrate an empty database to the layer and write rows; `geom` and `geom_wgs84` are EWKT."""
    connection = engine.connect(url)
    migrate.apply(connection, Registry(folder, {layer.id: layer}))
    columns = [*(each.name for each in layer.stored), "id", "geom", "geom_wgs84", "row_hash", "load_id"]
    values = [
        sql.SQL("ST_GeomFromEWKT({})" if name.startswith("geom") else "{}").format(sql.Placeholder(name))
        for name in columns
    ]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(*layer.table), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(values)
    )
    empty = {**dict.fromkeys(columns), "row_hash": b"", "load_id": 1}
    with connection.cursor() as cursor:
        cursor.executemany(statement, [{**empty, **row} for row in rows])
    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*layer.table)))
    return connection


def place_row(index: int, row: dict[str, Any]) -> dict[str, Any]:
    row = dict(row)
    places = dict(zip(("geom", "geom_wgs84"), square(ORIGIN[0] + 100 * index, ORIGIN[1]), strict=True))
    if "place" in row:
        places = dict.fromkeys(places, row.pop("place"))
    if row.get("uses") is not None:
        row["uses"] = json.dumps([{"use": use} for use in row["uses"]])
    if row.get("owners") is not None:
        row["owners"] = json.dumps(row["owners"])
    return {**row, "id": f"p{index:x}", **places}


@dataclass
class Store:
    """A layer with its table, asked as the service's role is allowed to."""

    layer: Layer
    connection: psycopg.Connection[Any]

    def run(self, statement: Statement) -> list[Any]:
        return self.connection.execute(statement.sql, statement.params).fetchall()

    def explain(self, statement: Statement) -> str:
        text = sql.SQL("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) ") + statement.sql
        return "\n".join(line for (line,) in self.connection.execute(text, statement.params))

    def features(self, **query: Any) -> list[dict[str, Any]]:
        asked = FeatureQuery(self.layer.id, **{"attributes": OPEN, "limit": 100, **query})
        return [json.loads(text) for (text,) in self.run(features.select_geojson(self.layer, asked))]

    def ids(self, **query: Any) -> list[str]:
        return [feature["id"] for feature in self.features(**{"attributes": (), "geometry": False, **query})]

    def filtered(self, text: Any, lang: Any = "cql2-text", crs: cql.FilterCrs | None = None) -> str:
        """The ids that a filter lets through, without their `p`, in one word."""
        checked = cql.parse_filter(text, lang, self.layer, OPEN, crs)
        return "".join(id.removeprefix("p") for id in self.ids(filters=(checked,)))


@pytest.fixture(scope="session")
def make_store(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Store]]:
    opened: list[psycopg.Connection[Any]] = []

    def make(layer: Layer, rows: Sequence[dict[str, Any]]) -> Store:
        connection = make_table(new_database(), layer, tmp_path_factory.mktemp("layers"), rows)
        opened.append(connection)
        return Store(layer, connection)

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def places(make_store: Callable[..., Store]) -> Store:
    store = make_store(make_layer(), [place_row(index, row) for index, row in enumerate(ROWS)])
    store.connection.execute("SET ROLE sdi_reader")
    return store


CROWDED = 60_000
FILL = """
INSERT INTO sites.places (id, name, floors, built, ended, geom, geom_wgs84, row_hash, load_id)
SELECT to_char(i, 'FM000000'), 'Nhà ' || i, i %% 7, date '2000-01-01' + i %% 9000,
       date '2040-01-01' + i / 5000, ST_SetSRID(geom, 5899),
       ST_SetSRID(geom, 4326), '', 1
FROM generate_series(0, %s - 1) AS i,
     LATERAL (SELECT ST_Multi(ST_MakeEnvelope(x, y, x + 0.00008, y + 0.00008)) AS geom
              FROM (SELECT 108 + (i %% 300) * 0.0001 AS x, 16 + (i / 300) * 0.0001 AS y) AS corner) AS square
"""
"""Rows from south to north, numbered from west to east: like parcels, whose ids follow their places."""


@pytest.fixture(scope="session")
def district(make_store: Callable[..., Store], places: Store) -> Store:
    """300 by 200 places, each of 0.00008 degrees, 0.0001 degrees apart: a table large enough for plans, and a town."""
    store = make_store(places.layer, [])
    store.connection.execute(FILL, [CROWDED])
    store.connection.execute("ANALYZE sites.places")
    return store
