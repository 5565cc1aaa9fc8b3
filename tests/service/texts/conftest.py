"""Plots that are delivered again and again, and questions about them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
import shapely

from sdi import pipeline
from sdi.contract.layer import Layer
from sdi.contract.query import Area, FeatureQuery, Position, Sight
from sdi.contract.registry import Registry, read_registry
from sdi.national.vn2000 import to_wgs84
from sdi.service.lanes import Lane
from sdi.service.page import Page
from sdi.service.reader import Reader
from sdi.service.texts.make import Order, make
from sdi.service.texts.ready import Ready
from sdi.settings import Settings
from sdi.store import engine, forms, ledger, migrate
from tests.service.conftest import CORNER, SIZE, TOWN, deliver, plots

OPEN = (
    "key", "number", "owner_kind", "use", "legal_area", "height", "disputed", "valid_from", "valid_to", "changed_at",
    "uses", "unfindable",
)  # fmt: skip
TOWN_BOX = Area.of_box(105.0, 20.0, 107.0, 22.0)
GROUND = shapely.transform(
    shapely.box(CORNER[0], CORNER[1] - 10, CORNER[0] + 4.5 * SIZE, CORNER[1] + 500), lambda xy: to_wgs84(xy, 5897)
)
MET = {"op": "s_intersects", "args": [{"property": "geometry"}, json.loads(shapely.to_geojson(GROUND))]}
MASKED = Sight(OPEN, masks=(("owner_kind", MET), ("legal_area", MET)))
"""Two attributes are shown on a ground that plots are moved into and out of."""
SOME = Sight(OPEN, rows={"op": "<", "args": [{"property": "number"}, 12]})
"""Who sees some of the plots sees them as they are."""


@dataclass
class Land:
    """A database with plots that are delivered again and again."""

    database: str
    registry: Registry
    folder: Path

    @property
    def layer(self) -> Layer:
        return self.registry["plots"]

    def deliver(self, table: pa.Table, shapes: list[Any]) -> None:
        deliver(self.database, self.registry, self.layer, table, shapes, [5897] * len(shapes))

    def loads(self) -> list[int]:
        with engine.connect(self.database) as connection:
            return [entry.load_id for entry in ledger.history(connection, "plots") if entry.status == "done"]

    def roll_back(self, to: int) -> None:
        with engine.connect(self.database, engine.LOADER) as connection:
            settings = Settings(database_url=self.database, layers=TOWN)
            pipeline.rollback(connection, settings, self.registry, "plots", to, steward="test")

    @property
    def path(self) -> Path:
        return self.folder / "plots.texts"

    def write(self, most: int = 2**20) -> Ready:
        """Make the file of texts."""
        make(Order(self.database, str(TOWN), "plots", str(self.path), most))
        return Ready(self.path)

    @asynccontextmanager
    async def readers(self, kept: int = 1, *ready: Ready) -> Any:
        """One that keeps texts, and one that does not; with a file, one that has it before them."""
        files = {each.about.view: each for each in ready}
        made = [Reader(self.database, Settings(kept_text=each, ready_text=0)) for each in (kept, 0)]
        made += [Reader(self.database, Settings(kept_text=kept), ready=files.get)] if ready else []
        for reader in made:
            await reader.open()
        try:
            yield tuple(made[-1:] + made[:-1] if ready else made)
        finally:
            for reader in made:
                await reader.close()


@pytest.fixture
def land(new_database: Callable[[], str], tmp_path: Path) -> Land:
    registry, database = read_registry(TOWN), new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    found = Land(database, registry, tmp_path)
    found.deliver(*plots())
    return found


def changed(chance: Random) -> tuple[pa.Table, list[Any]]:
    """Some plots renamed, moved, revalued, ended."""
    table, shapes = plots()
    rows = table.to_pylist()
    for index, row in enumerate(rows):
        match chance.randrange(8):
            case 0:
                row["owner_kind"] = chance.choice(['"Ỷ Lan" \\ <b>', "Tổ chức", None])
            case 1:
                row |= {"legal_area": chance.random() * 1000, "valid_from": date(2020, 1, chance.randint(1, 28))}
            case 2:
                shapes[index] = shapely.affinity.translate(shapes[index], 0, SIZE * chance.randint(8, 40))
    staying = [index for index in range(len(rows)) if chance.random() < 0.95]
    return pa.Table.from_pylist([rows[index] for index in staying], table.schema), [shapes[i] for i in staying]


def asked(chance: Random) -> FeatureQuery:
    backward = chance.random() < 0.2
    place = Position((f"00004.{chance.randint(1, 5)}.4",), backward) if chance.random() < 0.4 else None
    return FeatureQuery(
        "plots",
        chance.choice([OPEN, OPEN, OPEN[:3], ()]),
        ids=chance.choice([None, None, ("00004.1.1", "00004.2.2", "nope")]),
        area=chance.choice([None, TOWN_BOX]),
        sight=chance.choice([None, MASKED, SOME]),
        filters=chance.choice([(), ({"op": ">", "args": [{"property": "number"}, 9]},)]),
        sort=() if place else chance.choice([(), (("owner_kind", True),)]),
        crs=(crs := chance.choice([4326, 4326, 5897])),
        north_first=crs == 4326 and chance.random() < 0.2,
        geometry=chance.random() < 0.9,
        limit=chance.choice([1, 7, 100]),
        place=place,
    )


async def both(readers: tuple[Reader, ...], layer: Layer, query: FeatureQuery) -> list[Page]:
    return [await reader.page(layer, query, Lane.QUICK, 100) for reader in readers]


def watched(reader: Reader, texts: list[str], then: Callable[[], None] = lambda: None) -> None:
    """Note the statements that a reader sends, and do something after each."""
    assert reader.texts is not None
    send: Callable[..., Awaitable[Any]] = reader.texts._rows_of

    async def noted(select: Any, layer: Layer, query: FeatureQuery, lane: Lane) -> Any:
        texts.append(select(layer, query).sql.as_string())
        rows = await send(select, layer, query, lane)
        await asyncio.to_thread(then)
        return rows

    reader.texts._rows_of = noted


async def streamed(reader: Reader, layer: Layer, query: FeatureQuery) -> bytes:
    _, parts = await reader.walk(layer, query, forms.geojson, ",\n")
    return b"".join([part async for part in parts])
