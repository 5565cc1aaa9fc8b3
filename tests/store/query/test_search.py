"""Text search: which names a word finds, what it may not be, and that an index serves it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from sdi.contract.query import FeatureQuery, Position
from sdi.errors import BadRequest
from sdi.store import features, search, walks
from tests.store.query.conftest import ROWS, Store, make_layer, place_row

LAYER = make_layer(search=["name"])
MANY = 20_000
NAMES = ["Phạm", "Trần", "Lê", "Huỳnh", "Võ", "Bùi"]


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


@pytest.fixture(scope="module")
def crowd(make_store: Callable[..., Store]) -> Store:
    """One name that stands once, some that every row or every sixth has, and one that only the last rows have."""
    rows: list[dict[str, Any]] = [
        {"id": f"r{n:06}", "name": f"{NAMES[n % 6]} Văn {n:x}", "geom": None, "geom_wgs84": None} for n in range(MANY)
    ]
    rows[77]["name"] = "Đặng Ỷ Lan"
    for row in rows[-3000:]:
        row["name"] = f"Bến cảng {row['id']}"
    store = make_store(LAYER, rows)
    store.connection.execute("VACUUM ANALYZE sites.places")  # what lies beside the index makes it dear
    store.connection.execute("SET ROLE sdi_reader")
    return store


def looked_for(text: str, **more: Any) -> FeatureQuery:
    return FeatureQuery(LAYER.id, (), search=search.groups(text), searched=("name",), **{"limit": 10, **more})


def test_the_trigrams_of_the_name_are_looked_up(crowd: Store) -> None:
    plan = crowd.explain(features.select_geojson(LAYER, looked_for("dang y lan")))
    assert "places__name__search__ix" in plan
    for line in plan.split("\n"):
        if "Seq Scan on places" in line or "places_pkey" in line:
            assert "never executed" in line or "rows=1 " in line, plan
    assert crowd.ids(search=search.groups("dang y lan"), searched=("name",)) == ["r000077"]


@pytest.mark.parametrize("text", ["văn", "tran", "a"])
def test_a_page_of_a_common_word_folds_few_names(crowd: Store, text: str) -> None:
    plan = crowd.explain(features.select_geojson(LAYER, looked_for(text)))
    met = 0
    for line, after in zip(lines := plan.split("\n"), [*lines[1:], ""], strict=True):
        # A bitmap's rows are counted where they are read.
        if "Scan" in line and "Bitmap Index" not in line and "CTE" not in line and "never executed" not in line:
            met += int(re.findall(r"actual rows=(\d+)", line)[0])
            met += int((re.findall(r"Rows Removed by Filter: (\d+)", after) or ["0"])[0])
    assert 0 < met < MANY / 2, plan


@pytest.mark.parametrize("bounds", [((1_000, 3), (2_000, 12), 20_000), ((1, 0), (10, 1), 20_000), ((1, 0), (1, 0), 5)])
@pytest.mark.parametrize("text", ["van", "ben cang", "le", "dang", "a", "xyz"])
def test_a_page_is_the_same_whichever_way_it_is_come_to(
    crowd: Store, text: str, bounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, ahead, gathered = bounds
    for name, value in (("FEW", few), ("AHEAD", ahead), ("GATHERED", gathered)):
        monkeypatch.setattr(walks, name, value)
    folded = "SELECT id FROM sites.places WHERE sdi.fold(name) LIKE %s ORDER BY id"
    every = [id for (id,) in crowd.connection.execute(folded, [f"%{text}%"])]
    words = {"search": search.groups(text), "searched": ("name",)}
    middle = every[len(every) // 2] if every else "r000000"
    before, after = [id for id in every if id < middle], [id for id in every if id > middle]
    assert crowd.ids(**words, limit=7) == every[:7]
    assert crowd.ids(**words, limit=7, offset=5) == every[5:12]
    assert crowd.ids(**words, limit=7, place=Position((middle,))) == after[:7]
    assert crowd.ids(**words, limit=7, place=Position((middle,), backward=True)) == before[:-8:-1]
    assert crowd.ids(**words, limit=5000, offset=max(0, len(every) - 3)) == every[-3:]
