"""A small town of its own that is loaded again and again, and agencies that see more and less of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from sdi.contract.registry import read_registry
from sdi.store import engine, migrate
from tests.service.conftest import TOWN, Answer, Town, deliver, plots, served, works

PLANNERS = "planners"
KEY = "a-key-for-tests-alone"


@dataclass
class Changing:
    """The served town."""

    town: Town
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The plots as they were delivered last, by id."""

    def change(self, *gone: str, **plots_: dict[str, Any]) -> None:
        """Deliver all plots, some with other values, without the ones that are gone."""
        for name, values in plots_.items():
            self.rows[name] = {**self.rows[name], **values}
        for name in gone:
            del self.rows[name]
        rows = [self.rows[name] for name in sorted(self.rows)]
        table = pa.Table.from_pylist(
            [{name: value for name, value in row.items() if name != "shape"} for row in rows],
            schema=plots()[0].schema,
        )
        shapes = [row["shape"] for row in rows]
        registry = self.town.registry
        deliver(self.town.database, registry, registry["plots"], table, shapes, [5897] * len(shapes))

    def ask(self, path: str, key: str | None = None, **headers: str) -> Answer:
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return self.town.ask(path, **headers)

    def changes(self, key: str | None = None, **parameters: Any) -> dict[str, Any]:
        """A page of the changes of the plots."""
        asked = "&".join(f"{name}={value}" for name, value in parameters.items())
        answer = self.ask(f"/collections/plots/changes?{asked}", key)
        assert answer.status == 200, answer.text
        return dict(answer.json)

    def download(self, key: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        path = "/collections/plots/items?f=json&limit=30"
        while path:
            page = self.ask(path, key).json
            found |= {feature["id"]: feature for feature in page["features"]}
            follows = [each["href"] for each in page["links"] if each["rel"] == "next"]
            path = _path(follows[0]) if follows else ""
        return found


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@dataclass
class Client:
    """A copy, kept by the changes alone; it goes by the links of the answers."""

    changing: Changing
    key: str | None = None
    path: str = "/collections/plots/changes?limit=7"
    features: dict[str, Any] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def poll(self) -> list[dict[str, Any]]:
        """Follow the pages to the end; what they told."""
        told: list[dict[str, Any]] = []
        more = True
        while more:
            page = self.changing.ask(self.path, self.key)
            assert page.status == 200, page.text
            told += page.json["changes"]
            more = page.json["more"]
            rel = "next" if more else "monitor"
            self.path = _path(next(each["href"] for each in page.json["links"] if each["rel"] == rel))
        for entry in told:
            self.features.pop(entry["id"], None)
            if entry["action"] != "delete":
                self.features[entry["id"]] = entry["feature"]
        return told


@pytest.fixture(scope="module")
def made(new_database: Callable[[], str]) -> Iterator[Changing]:
    registry, database = read_registry(TOWN), new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
        connection.execute(
            "INSERT INTO sdi.agency (id, kind, name_vi, name_en) VALUES (%s, 'department', 'Quy hoạch', 'Planning')",
            [PLANNERS],
        )
        connection.execute(
            "INSERT INTO sdi.agency_key (agency, sha256) VALUES (%s, %s)",
            [PLANNERS, hashlib.sha256(KEY.encode()).hexdigest()],
        )
    table, shapes = works()
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    rows = {row["id"]: {**row, "shape": shape} for row, shape in zip(table.to_pylist(), shapes, strict=True)}
    with served(database, registry, max_limit=1000) as town:
        yield Changing(town, rows)


@pytest.fixture
def changing(made: Changing) -> Changing:
    return made


def copy_of(text: str) -> list[dict[str, Any]]:
    """The objects of lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]
