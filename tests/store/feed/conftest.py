"""A small layer with a history, what one sees of it, and a copy that is kept by its changes alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, Sight
from sdi.contract.registry import read_registry
from sdi.store import cql, engine, features, migrate
from sdi.store.feed import page, turning, walk
from sdi.store.feed.page import Mark, Place
from tests.store.test_edit_scripts import THINGS, Things

VIEWS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "all": (("name", "ward", "amount", "count", "ratio", "listed", "uses"), None),
    "without what is listed": (("name", "amount"), "NOT (listed = true)"),
    "places alone": ((), "ward IS NOT NULL"),
}
"""Attributes and filter of each."""
SIGHT = "some of each, not everywhere as exactly"


def view(layer: Layer, name: str) -> FeatureQuery:
    def read(text: str) -> dict[str, Any]:
        return cql.parse_filter(text, "cql2-text", layer, tuple(attribute.name for attribute in layer.stored))

    if name == SIGHT:
        attributes = ("name", "amount", "listed")
        masks = (("amount", read("count IS NULL")),)
        places: Any = ((read("listed = true"), "exact", 0.0), (None, "generalised", 50.0))
        shown = Sight(attributes, read("ward IS NULL OR ratio IS NOT NULL"), masks, places)
        return FeatureQuery(layer.id, attributes=attributes, sight=shown, limit=None)
    attributes, rule = VIEWS[name]
    return FeatureQuery(layer.id, attributes=attributes, filters=() if rule is None else (read(rule),), limit=None)


@dataclass
class Copy:
    """What a client holds, and where it goes on."""

    things: Things
    view: FeatureQuery
    place: Place = field(default_factory=Place)
    features: dict[str, Any] = field(default_factory=dict)
    mark: Mark = field(default_factory=Mark)

    def take(self, limit: int, met: set[str] | None = None) -> bool:
        """Replay a page; whether there is more. `met`: what no page may tell again."""
        with self.things.connection.transaction():
            found = page.run(
                self.things.connection, page.read(self.things.layer, self.view, self.place, limit, self.mark)
            )
        assert len(found.entries) <= limit
        assert not found.more or len(found.entries) == limit
        names = {entry.id for entry in found.entries}
        assert len(names) == len(found.entries)
        if met is not None:
            assert not met & names, "each feature is told once"
            met |= names
        for entry in found.entries:
            if entry.text is None:
                self.features.pop(entry.id, None)
            else:
                self.features[entry.id] = json.loads(entry.text)
        assert isinstance(found.place, Place)
        self.place = found.place
        return found.more

    def drain(self, limit: int) -> None:
        met: set[str] = set()
        while self.take(limit, met):
            pass
        assert self.features == download(self.things, self.view)


def download(things: Things, asked: FeatureQuery) -> dict[str, Any]:
    statement = features.select_geojson(things.layer, asked)
    rows = things.connection.execute(statement.sql, statement.params).fetchall()
    return {feature["id"]: feature for feature in (json.loads(text) for (text,) in rows)}


@pytest.fixture(scope="module")
def things(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Things]:
    folder: Path = tmp_path_factory.mktemp("things")
    (folder / "things.yaml").write_text(THINGS, encoding="utf-8")
    registry, url = read_registry(folder), new_database()
    with engine.connect(url) as connection:
        migrate.apply(connection, registry)
        connection.execute("SET synchronous_commit = off")
        yield Things(connection, registry)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts so small that few rows make many of them."""
    monkeypatch.setattr(page, "BATCH", 10)
    monkeypatch.setattr(walk, "TOGETHER", 40)
    monkeypatch.setattr(walk, "LOADS", 2)
    monkeypatch.setattr(walk, "MOST", 20)
    monkeypatch.setattr(turning, "BATCH", 7)
