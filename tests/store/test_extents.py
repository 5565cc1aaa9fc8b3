"""What a publication tells of a layer that was just filled is what its rows say, though only its indexes are asked."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pytest
import shapely

from sdi.contract.layer import Temporal
from sdi.contract.report import Report
from sdi.store import bulk, extents, ledger, loader
from sdi.store.extents import Filled
from tests.store.town import EAST, GRID, NORTH, Town, delivery, features, plot

TIMES = (
    None,
    Temporal(instant="seen_at"),
    Temporal(start="surveyed_on"),
    Temporal(start="surveyed_on", end="seen_at"),
    Temporal(end="seen_at"),
)


def fill(town: Town, rows: pa.Table, name: str = "plots") -> None:
    layer = town.registry[name]
    with town.connection.transaction():
        loader.load(town.connection, layer, town.registry, rows, None, delivery(layer), Report(name, "1.0.0"))


def anywhere(seed: int, count: int, ended: float = 1.0) -> list[dict[str, Any]]:
    """Plots of all sizes all over the place. ended: share of those that have a last instant."""
    chance, rows = random.Random(seed), []
    for n in range(count):
        x, y = EAST + chance.uniform(-9e4, 9e4), NORTH + chance.uniform(-9e4, 9e4)
        box = shapely.box(x, y, x + chance.expovariate(1e-3), y + chance.expovariate(1e-3))
        seen = datetime(2026, 1 + n % 12, 1, tzinfo=UTC) if chance.random() < ended else None
        day = date(2000 + chance.randrange(26), 1, 1) if chance.random() < 0.9 else None
        rows.append(plot(n, geom=shapely.multipolygons([box]), seen_at=seen, surveyed_on=day))
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_indexes_tell_of_a_filled_layer_what_its_rows_do(town: Town, seed: int) -> None:
    rows = anywhere(seed, 300, ended=seed % 2)
    fill(town, features(town.registry["plots"], rows))
    for temporal in TIMES:
        layer = town.registry["plots"].model_copy(update={"temporal": temporal})
        told = extents.of_filled(town.connection, layer, Filled(300, (GRID,)))
        assert told == extents.of(town.connection, layer)
        assert told["count"] == 300
    first, last = (sorted(each for row in rows if (each := row[name])) for name in ("surveyed_on", "seen_at"))
    start = datetime.combine(first[0], time.min, UTC)
    assert (told["time_start"], told["time_end"]) == (None, last[-1] if seed % 2 else None)
    layer = town.registry["plots"]
    assert extents.of_filled(town.connection, layer, Filled(300, (GRID,)))["time_start"] == start


def test_a_first_load_publishes_all_grids_without_reading_its_rows(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    layer = town.registry["plots"]
    monkeypatch.setattr(bulk, "_WORTH", 30)
    monkeypatch.setattr(extents, "of", lambda *_: pytest.fail("the rows were read"))
    here, there = anywhere(1, 30), [plot(n + 30) | {"geom": row["geom"]} for n, row in enumerate(anywhere(2, 9))]
    fill(town, pa.concat_tables([features(layer, here), features(layer, there, grid=5899)]))
    published = ledger.published(town.connection)["plots"]
    monkeypatch.undo()
    told = extents.of(town.connection, layer)
    assert (published.count, published.grids) == (39, (5899, 9210))
    assert published.extent == tuple(told[side] for side in ("west", "south", "east", "north"))


def test_where_an_index_has_more_than_the_rows_the_rows_are_read(town: Town) -> None:
    layer = town.registry["plots"]
    fill(town, features(layer, anywhere(3, 200)))
    town.connection.execute("DELETE FROM town.plots WHERE ST_XMin(geom_wgs84) < 106.6 OR ST_YMax(geom_wgs84) > 10.9")
    told = extents.of(town.connection, layer)
    assert 0 < told["count"] < 200
    assert extents.of_filled(town.connection, layer, Filled(told["count"], (GRID,))) == told


def test_a_layer_without_shapes_has_no_extent(town: Town) -> None:
    rows = [{"id": f"S{n}", "number": f"S{n}", "plot": None, "geom": None} for n in range(3)]
    fill(town, features(town.registry["shops"], rows), "shops")
    shops = ledger.published(town.connection)["shops"]
    assert (shops.count, shops.extent, shops.grids) == (3, None, ())


def test_no_row_is_read_where_indexes_know(town: Town) -> None:
    fill(town, features(town.registry["plots"], anywhere(4, 3000, ended=0.5)))
    town.connection.execute("ANALYZE town.plots")
    query = extents._by_index(town.registry["plots"])
    plan = "\n".join(row[0] for row in town.connection.execute(b"EXPLAIN " + query.as_bytes(town.connection)))
    assert plan.count("plots__geom_wgs84__ix") == 4
    assert "Seq Scan" not in plan
