"""A layer with values of every kind, in EPSG:5899, that a format may lose."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import shapely

from sdi.contract.registry import read_registry
from sdi.store import engine, migrate
from tests.service.conftest import Town, deliver, served

SHOP = Path(__file__).parent / "shop"
GRID = 5899
X, Y = 545000.0, 1777000.0
"""A place in Đà Nẵng, EPSG:5899, metres."""
LABELS = ["Nguyễn Thị Ỷ Lan · Hòa Quý", 'a "quoted", comma', "two\nlines\r\nthree", "=1+1", "'=1+1", " -2", "", None,
          "-12.5", "null", "\\N", "tab\there"]  # fmt: skip


def boxes() -> list[shapely.Geometry | None]:
    """Twelve places: one with a hole and two parts, one empty, one that is not there."""
    made = [shapely.MultiPolygon([shapely.box(X + 30 * i, Y, X + 30 * i + 20.123456, Y + 20)]) for i in range(12)]
    hole = shapely.box(X, Y + 100, X + 50, Y + 150).difference(shapely.box(X + 10, Y + 110, X + 20, Y + 120))
    made[3] = shapely.MultiPolygon([hole, shapely.box(X + 80, Y + 100, X + 90, Y + 110)])
    made[4] = shapely.from_wkt("MULTIPOLYGON EMPTY")
    return [*made[:5], None, *made[6:]]


def things() -> pa.Table:
    count = len(LABELS)
    some = range(count)
    prices = [
        Decimal("400.1"),
        Decimal("-0.0001"),
        Decimal("12345678901234567.1234"),
        None,
        *[Decimal(i) for i in some],
    ]
    return pa.table(
        {
            "id": pa.array([f"t{i:02}" for i in some]),
            "key": pa.array([f"t{i:02}" for i in some]),
            "label": pa.array(LABELS),
            "sort": pa.array([None if i == 2 else "ODT" for i in some]),
            "amount": pa.array([2**53 + 1, -(2**53) - 1, 2**63 - 1, None, 0, *range(5, count)], pa.int64()),
            "price": pa.array(prices[:count], pa.decimal128(38, 4)),
            "ratio": pa.array([1 / 3, 0.1, 1e15, None, *[i / 7 for i in range(4, count)]], pa.float64()),
            "rise": pa.array(
                [1 / 3, math.nan, math.inf, None, 1e300, -0.5, *map(float, range(6, count))], pa.float64()
            ),
            "truth": pa.array([None if i % 3 == 2 else i % 3 == 1 for i in some]),
            "since": pa.array([None if i == 6 else date(1954 + 6 * i, 2, 28) for i in some]),
            "seen": pa.array(
                [None if i == 7 else datetime(2026, 1, 1, 17, i, 59, 123000, UTC) for i in some],
                pa.timestamp("us", "UTC"),
            ),
            "pieces": pa.array([None if i == 8 else json.dumps([{"code": "ODT", "area": 0.1 + i}]) for i in some]),
            "inside": pa.array(["mật"] * count),
        }
    )


@pytest.fixture(scope="session")
def shop(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    registry = read_registry(SHOP)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    deliver(database, registry, registry["things"], things(), boxes(), [GRID] * len(LABELS))
    with served(database, registry, data=tmp_path_factory.mktemp("shop")) as found:
        yield found
