"""Text search: which names a word finds, what it may not be, and that an index serves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sdi.contract.query import FeatureQuery
from sdi.errors import BadRequest
from sdi.store import features, search
from tests.store.query.conftest import ROWS, Store, make_layer, place_row

LAYER = make_layer(search=["name"])
MANY = 20_000


@pytest.fixture(scope="module")
def named(make_store: Callable[..., Store]) -> Store:
    store = make_store(LAYER, [place_row(index, row) for index, row in enumerate(ROWS)])
    store.connection.execute("SET ROLE sdi_reader")
    return store


def found(store: Store, text: str) -> str:
    return "".join(id.removeprefix("p") for id in store.ids(search=search.groups(text), searched=("name",)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nguyễn", "012"), ("NGUYEN", "012"), ("nguyen", "012"), ("guye", "012"),
        ("nguyễn thị", "0"), ("nguyen  \t thi   anh", "0"), ("thi nguyen", ""), ("dang", "8"), ("Đặng Ỷ", "8"),
        ("y lan", "8"), ("đức,ánh", "01"), ("duc,anh,,", "01"), ("xyz", ""), ("a", "01245678"),
        ("50%", "4"), ("50", "45"), ("a_b", "6"), ("a_b\\c", "6"), ("a.b", ""), ("o'dt", "3"), ("<b>&amp;</b>", "4"),
        ("(", ""), ("[a-z]", ""), ("***=nguyen", ""), ("(?i)nguyen", ""), ("nguyen|dang", ""), ("^nguyen", ""),
        ("Nguyễn", "012"),
    ],
)  # fmt: skip
def test_words_find_names_without_case_and_marks_and_mean_nothing_else(named: Store, text: str, expected: str) -> None:
    assert sorted(found(named, text)) == sorted(expected)


def test_letters_that_unicode_does_not_take_apart_lose_their_strokes_too(named: Store) -> None:
    ((plain,),) = named.connection.execute("SELECT sdi.accenti('København Łódź Đà Nẵng')").fetchall()
    assert plain == "Kobenhavn Lodz Da Nang"


@pytest.mark.parametrize("text", ["", "   ", ",", " , ,", "a\x00b", "x" * 501, "a " * 21])
def test_what_is_no_search_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        search.groups(text)


def test_a_search_joins_with_box_filter_and_past_and_pages_follow_it(named: Store) -> None:
    words = {"search": search.groups("nguyen"), "searched": ("name",)}
    assert named.ids(**words, equals=(("floors", "2"),)) == ["p1"]
    assert named.ids(**words, sort=(("floors", True),), limit=2) == ["p2", "p1"]
    ((count,),) = named.run(features.select_count(LAYER, FeatureQuery(LAYER.id, attributes=(), **words)))
    assert count == 3


def test_the_trigrams_of_the_name_are_looked_up(make_store: Callable[..., Store]) -> None:
    names = ["Phạm", "Trần", "Lê", "Huỳnh", "Võ", "Bùi"]
    rows: list[dict[str, Any]] = [
        {"id": f"r{n:06}", "name": f"{names[n % 6]} Văn {n:x}", "geom": None, "geom_wgs84": None} for n in range(MANY)
    ]
    rows[77]["name"] = "Đặng Ỷ Lan"
    store = make_store(LAYER, rows)
    store.connection.execute("SET ROLE sdi_reader")
    query = FeatureQuery(LAYER.id, attributes=(), search=search.groups("dang y lan"), searched=("name",), limit=10)
    plan = store.explain(features.select_geojson(LAYER, query))
    assert "places__name__search__ix" in plan
    assert "Seq Scan on places" not in plan
    assert store.ids(search=query.search, searched=("name",)) == ["r000077"]
