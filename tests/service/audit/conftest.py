"""The town with an agency that has a key and a grant; its service records."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from sdi.access import Grant
from sdi.contract.registry import read_registry
from sdi.service.answers import Answer as KeptAnswer
from sdi.service.answers import Answers
from sdi.store import engine, migrate
from sdi.store.audit import search
from sdi.store.audit.search import Entry, Wanted
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import TOWN, Answer, Town, deliver, plots, served, works

PATIENCE = 60.0
"""Seconds that a test waits for what comes by itself."""
PURPOSE = "Quy hoạch phân khu"


@dataclass
class Watched:
    """A town that is asked by agencies. `after`: the entry behind which a test looks."""

    town: Town
    keys: dict[str, str]
    after: int = 0
    asked: int = field(default=0)
    given: list[str] = field(default_factory=list)

    def ask(self, path: str, who: str | None = "so_thu", method: str = "GET", **headers: str) -> Answer:
        if who is not None:
            secret = b64encode(f"{who}:{self.keys[who]}".encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        return self.town.ask(path, method, **headers)

    def entries(self, enough: Callable[[list[Entry]], bool] = bool) -> list[Entry]:
        """What came in since the last look, the oldest first, once it is enough."""
        began = time.monotonic()
        while True:
            with engine.connect(self.town.database) as connection:
                found = [each for each in search.find(connection, Wanted(limit=1000))
                         if each.seq > self.after and each.body["at"] >= BEGAN[-1]][::-1]  # fmt: skip
            if enough(found):
                self.after = max((each.seq for each in found), default=self.after)
                return found
            assert time.monotonic() - began < PATIENCE, f"only {len(found)} came"
            time.sleep(0.1)

    def bodies(self, count: int = 1) -> list[dict[str, Any]]:
        found = [each.body for each in self.entries(lambda found: len(found) >= count)]
        assert len(found) == count, found
        return found


BEGAN = [""]
"""When the test that runs began, as entries write it: what an earlier one asked may come in late."""


@pytest.fixture(autouse=True)
def begun() -> None:
    BEGAN.append(datetime.now(UTC).isoformat(timespec="microseconds"))


def granted(database: str, name: str, **about: Any) -> None:
    plots = read_registry(TOWN)["plots"]
    with engine.connect(database, engine.OWNER) as owner:
        grants.give(owner, plots, Grant(0, name, "plots", **about))


def hurried(app: FastAPI) -> None:
    """Bring in at once what is recorded: a test waits for it."""
    app.state.recorder.every = 0.02


@pytest.fixture(scope="module")
def quiet(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Nothing of what was loaded is waited for: a test begins with what it does itself."""
    registry, database = read_registry(TOWN), new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    table, shapes = works()
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    with engine.connect(database, engine.OWNER) as owner:
        for name in ("so_thu", "so_la"):
            agencies.add(owner, name, "department", f"Sở {name}", f"Department {name}")
    granted(database, "so_thu", classes=frozenset({"open", "agency"}), purpose=PURPOSE, legal_basis="Luật thử")
    with engine.connect(database, engine.OWNER) as owner:
        shown = {name: keys.make_key(owner, name, name="Bàn GIS") for name in ("so_thu", "so_la")}
    with served(database, registry, hurried, data=tmp_path_factory.mktemp("audited")) as town:
        yield Watched(town, shown)


@pytest.fixture
def watched(quiet: Watched) -> Watched:
    with engine.connect(quiet.town.database) as connection:
        quiet.after = search.find(connection, Wanted(limit=1))[0].seq
    return quiet


@pytest.fixture
def keeping(watched: Watched, tmp_path: Path) -> Iterator[Watched]:
    """The same, asked of a service that keeps its answers, and `given`, by their addresses, that it gave again."""
    found = replace(watched, given=[])

    def also(app: FastAPI) -> None:
        hurried(app)
        answers: Answers = app.state.answers
        of = answers.of

        def noted(key: Any) -> KeptAnswer | None:
            answer = of(key)
            found.given += [] if answer is None else [key[1]]
            return answer

        answers.of = noted  # type: ignore[method-assign]

    town = watched.town
    with served(town.database, town.registry, also, data=tmp_path, kept_answers=4) as found.town:
        yield found
