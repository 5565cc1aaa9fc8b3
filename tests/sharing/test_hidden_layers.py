"""A layer that is not seen shows itself nowhere, wherever its features lie."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import shapely

from sdi.access import Agency, Grant
from sdi.service.publications import told_of
from sdi.store import engine, seen
from tests.sharing.city import City, placed

WHOLE = frozenset({"open", "agency", "restricted"})
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


@pytest.mark.usefixtures("moved")
@pytest.mark.parametrize("rows", ["floors > 100", "permit = 'W07'"])
def test_however_many_hidden_loads_there_were_none_is_taken_for_a_seen_one(
    city: City, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    """Who sees nothing of a layer, and who saw its first load alone: of more than are read of the ledger at a time."""
    monkeypatch.setattr(seen, "TOGETHER", 2)
    layer = city.town.registry["works"]
    agency = Agency("a", grants=(Grant(1, "a", "works", rows=rows), Grant(2, "a", "plots", classes=WHOLE)))
    told = []
    with engine.connect(city.town.database, engine.STEWARD) as reader:
        for floors in (7, 8, 9, 10):
            told.append(told_of(reader, agency, layer))
            city.rows["works"]["W03"] = {**city.rows["works"]["W03"], "floors": floors}
            city.load("works")
        told.append(told_of(reader, agency, layer))
    assert told == told[:1] * 5


def _answer(city: City, path: str) -> tuple[int, str | None, bytes]:
    answer = city.town.ask(path)
    return answer.status, answer.headers["ETag"], answer.body
