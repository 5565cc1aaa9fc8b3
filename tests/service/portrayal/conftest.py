"""A key of the test town's steward."""

from __future__ import annotations

import pytest

from sdi.store import engine
from sdi.store.sharing import keys
from tests.service.conftest import Town

STEWARD = "so_thu"


@pytest.fixture(scope="session")
def key(town: Town) -> str:
    """A key of the agency that collects the town's layers."""
    with engine.connect(town.database, engine.OWNER) as connection:
        return keys.make_key(connection, STEWARD)
