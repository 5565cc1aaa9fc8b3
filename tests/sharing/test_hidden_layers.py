"""A layer that is not seen shows itself nowhere, wherever its features lie."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import shapely

from tests.sharing.city import City, placed

FAR = np.array([3000.0, 2000.0])
"""Metres east and north of everything else."""
ASKED = [
    "/?f=json",
    "/collections",
    "/collections?f=html",
    "/catalogue",
    "/qgis/public.qgz",
    "/styles/default?f=mapbox",
]


@pytest.fixture
def moved(city: City) -> Iterator[None]:
    """The permits, which the public does not see, as they were again afterwards."""
    was = dict(city.rows["works"])
    yield
    city.rows["works"] = was
    city.load("works")


@pytest.mark.usefixtures("moved")
def test_a_hidden_feature_beyond_all_others_changes_no_extent_that_is_told(city: City) -> None:
    before = {path: _answer(city, path) for path in ASKED}
    name, row = sorted(city.rows["works"].items())[0]
    city.rows["works"][name] = placed(row, shapely.transform(row["shape"], lambda xy: xy + FAR))
    city.load("works")
    # From half a second after its last look on, the service looks at the ledger before it answers.
    time.sleep(0.6)
    assert {path: _answer(city, path) for path in ASKED} == before


def _answer(city: City, path: str) -> tuple[int, str | None, bytes]:
    answer = city.town.ask(path)
    return answer.status, answer.headers["ETag"], answer.body
