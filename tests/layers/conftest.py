"""A few hand-made features in a real, migrated database, around a point of Cần Thơ where PROJ's own choice is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from sdi.contract.registry import Registry, read_registry
from sdi.national import vn2000
from sdi.store import migrate

LAYERS = Path(__file__).resolve().parents[2] / "layers"
ORIGIN = (586_000.0, 1_109_600.0)
GRID = 5897


@pytest.fixture(scope="session")
def registry() -> Registry:
    return read_registry(LAYERS)


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str], registry: Registry) -> str:
    url = new_database()
    with psycopg.connect(url) as connection:
        migrate.apply(connection, registry)
    return url


@dataclass
class Town:
    """Adds features (metres from ORIGIN) and reads what the derived layers make of them."""

    connection: psycopg.Connection
    registry: Registry

    def add(
        self, layer: str, feature: str, rings: list[tuple[float, float]] | None, *, grid: int = GRID, **attributes: Any
    ) -> None:
        """A polygon's corners, a line's vertices or one point, by the layer's geometry type."""
        contract = self.registry[layer]
        assert contract.geometry is not None
        shapes = [self._shape(contract.geometry.type, rings, grid, srid) for srid in (grid, 4326)]
        values = {name: json.dumps(value) if isinstance(value, list) else value for name, value in attributes.items()}
        row = {"id": feature, "geom": shapes[0], "geom_wgs84": shapes[1], "row_hash": b"", "load_id": 0, **values}
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(*contract.table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Placeholder, row)),
        )
        self.connection.execute(statement, row)

    def _shape(self, kind: str, rings: list[tuple[float, float]] | None, grid: int, srid: int) -> str | None:
        if rings is None:
            return None
        points = np.asarray(rings, dtype=float) + np.asarray(ORIGIN)
        if grid != GRID:
            points = vn2000.regrid(points, GRID, grid)
        if srid == 4326:
            points = vn2000.to_wgs84(points, grid)
        if kind == "MultiPolygon":
            points = np.vstack([points, points[:1]])
        text = ",".join(f"{x!r} {y!r}" for x, y in points.tolist())
        brackets = {"Point": "({})", "MultiLineString": "(({}))", "MultiPolygon": "((({})))"}[kind]
        return f"SRID={srid};{kind.upper()}{brackets.format(text)}"

    def refresh(self) -> None:
        """Make every derived layer anew, in order, from its SQL file alone."""
        for layer in self.registry.derived_in_order():
            assert layer.derived is not None
            table = sql.Identifier(*layer.table)
            names = ["id", "subject_id", *(attribute.name for attribute in layer.stored), "geom", "geom_wgs84"]
            columns = sql.SQL(", ").join(map(sql.Identifier, names))
            subject = sql.Identifier(*self.registry[layer.derived.subject].table)
            self.connection.execute("DROP TABLE IF EXISTS subject")
            make = sql.SQL("CREATE TEMPORARY TABLE subject ON COMMIT DROP AS SELECT * FROM {}")
            self.connection.execute(make.format(subject))
            self.connection.execute("ANALYZE subject")
            self.connection.execute(sql.SQL("DELETE FROM {}").format(table))
            fill = sql.SQL("INSERT INTO {} ({}, row_hash, load_id) SELECT {}, '', 0 FROM ({}) AS made")
            query = sql.SQL(self.registry.sql(layer))  # type: ignore[arg-type]
            self.connection.execute(fill.format(table, columns, columns, query))

    def rows(self, layer: str) -> list[dict[str, Any]]:
        self.refresh()
        with self.connection.cursor(row_factory=dict_row) as cursor:
            query = sql.SQL("SELECT * FROM {} ORDER BY id").format(sql.Identifier(*self.registry[layer].table))
            return cursor.execute(query).fetchall()

    def overview(self, parcel: str) -> dict[str, Any]:
        return next(row for row in self.rows("parcel_overview") if row["id"] == parcel)

    def conflicts(self) -> list[tuple[str, str | None, str | None]]:
        """(rule, building, permit) of every conflict, in order."""
        found = [(row["rule"], row["building_id"], row["permit_id"]) for row in self.rows("permit_conflicts")]
        return sorted(found, key=str)


def box(west: float, south: float, east: float, north: float) -> list[tuple[float, float]]:
    return [(west, south), (east, south), (east, north), (west, north)]


@pytest.fixture(name="box")
def box_fixture() -> Callable[[float, float, float, float], list[tuple[float, float]]]:
    return box


@pytest.fixture
def town(database: str, registry: Registry) -> Iterator[Town]:
    """An empty town; what a test adds is rolled back."""
    with psycopg.connect(database) as connection:
        yield Town(connection, registry)
        connection.rollback()


@pytest.fixture
def lot(town: Town) -> Town:
    """One residential parcel of 20 m by 10 m with key 31120.1.1."""
    town.add(
        "cadastral_parcels",
        "31120.1.1",
        box(0, 0, 20, 10),
        parcel_key="31120.1.1",
        commune_code="31120",
        land_use_code="ODT",
    )
    return town
