"""A grant for communes, of a layer whose features bear no codes: what meets the ground that the communes have today."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pyarrow as pa
import pytest
import shapely

from sdi.errors import UsageError
from sdi.store import engine, ledger
from tests.service.conftest import CORNER, SIZE, deliver
from tests.sharing.city import GRID, City
from tests.sharing.test_past import asker, given

WARDS = {"W1": (0, 3), "W2": (3, 5), "W3": (5, 8)}
"""The columns of plots that each ward covers; between two of them a plot's edge."""


@pytest.fixture
def wards(city: City) -> Iterator[None]:
    """Three wards, of which the last one is of former days."""
    layer = city.town.registry["wards"]
    table = pa.table({
        "id": pa.array([*WARDS]), "code": pa.array([*WARDS]),
        "valid_from": pa.array([date(2020, 1, 1)] * 3),
        "valid_to": pa.array([None, None, date.today() - timedelta(days=30)], pa.date32()),
        "succeeds": pa.array([None] * 3, pa.string()),
    })  # fmt: skip
    x, y = CORNER
    boxes = [shapely.box(x + SIZE * west, y - 1, x + SIZE * east, y + 200) for west, east in WARDS.values()]
    shapes = [shapely.MultiPolygon([box]) for box in boxes]
    deliver(city.town.database, city.town.registry, layer, table, shapes, [GRID] * 3)
    yield
    with engine.connect(city.town.database, engine.OWNER) as owner:
        ledger.withdraw(owner, layer)


@pytest.mark.usefixtures("wards")
@pytest.mark.parametrize(
    ("name", "communes", "columns"),
    [("of_w1", ("W1",), {0, 1, 2}), ("of_both", ("W1", "W2"), {0, 1, 2, 3, 4}), ("of_former", ("W3",), set())],
)  # fmt: skip
def test_an_agency_of_communes_sees_what_stands_on_their_ground(
    city: City, name: str, communes: tuple[str, ...], columns: set[int]
) -> None:
    key = asker(city, name, given(name, "works", communes=communes))
    first = {index for index in range(16) if f"W{index:02}" in city.rows["works"]}
    expected = {f"W{index:02}" for index in first if index % 8 in columns}
    page = city.town.get("/collections/works/items?f=json&limit=30", X_API_Key=key)
    assert {each["id"] for each in page["features"]} == expected
    assert page["numberMatched"] == len(expected)
    for index in sorted(first):
        status = city.town.ask(f"/collections/works/items/W{index:02}", X_API_Key=key).status
        assert status == (200 if f"W{index:02}" in expected else 404)


@pytest.mark.usefixtures("wards")
def test_a_code_that_no_unit_ever_had_cannot_be_granted(city: City) -> None:
    with pytest.raises(UsageError, match="has or had the code 'W9'"):
        asker(city, "of_none", given("of_none", "works", communes=("W1", "W9")))
