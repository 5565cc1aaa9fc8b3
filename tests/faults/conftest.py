"""The town under siege, once for each module of tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.deployment import Deployment
from tests.faults.siege import GRID, Besieged, besieged
from tests.store.conftest import write_contracts


@pytest.fixture(scope="module")
def town(new_deployment: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    """The town in its old state, with heights."""
    folder = tmp_path_factory.mktemp("siege")
    at = new_deployment(write_contracts(folder / "layers"), grid=GRID)
    with besieged(at, folder) as made:
        made.load("heights", made.files["heights_old"])
        made.settle()
        yield made
