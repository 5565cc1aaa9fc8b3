"""One city for all that is asked about sharing; what happens in it is told by its rows."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sdi.contract.registry import Registry, read_registry
from sdi.store import engine, migrate
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import served
from tests.sharing.city import City, Policy, plot, policy, work

FOLDER = Path(__file__).parent / "town"
AGENCIES = int(os.environ.get("POLICIES", "8"))
"""Random policies; POLICIES=300 for a long look."""
SEED = int(os.environ.get("SEED", "950"))
"""Of the policies and of what happens: a long look may be taken in parts."""


@pytest.fixture(scope="session")
def registry() -> Registry:
    return read_registry(FOLDER)


@pytest.fixture(scope="session")
def city(
    new_database: Callable[[], str], registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[City]:
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    chance = random.Random(5)
    rows = {"plots": {f"P{index:03}": plot(index, chance) for index in range(40)},
            "works": {f"W{index:02}": work(index, chance) for index in range(16)}}  # fmt: skip
    with served(database, registry, data=tmp_path_factory.mktemp("data"), audit="off", kept_answers=16) as town:
        city = City(town, rows)
        for layer in rows:
            city.load(layer)
        yield city


@pytest.fixture(scope="session")
def then(city: City) -> str:
    """An instant of the first state."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@pytest.fixture(scope="session")
def askers(city: City, then: str) -> list[Policy]:
    chance = random.Random(SEED)
    made = [policy(f"agency_{number}", chance) for number in range(AGENCIES)]
    with engine.connect(city.town.database, engine.OWNER) as owner:
        for each in made:
            agencies.add(owner, each.agency, "department", "Cơ quan thử", "Test agency")
            for part in each.parts:
                grants.give(owner, city.town.registry[part.grant.layer], part.grant)
            each.key = keys.make_key(owner, each.agency)
    return made
