"""Walking an order from place to place: nothing twice, nothing left out, whatever is loaded meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdi.contract.query import Area, FeatureQuery, Position, Sight
from sdi.errors import BadRequest
from sdi.store import cql, features, forms

SORTS: list[tuple[tuple[str, bool], ...]] = [
    (), (("id", True),), (("floors", False),), (("floors", True),), (("height", False),), (("height", True),),
    (("area", True),), (("name", False),), (("lived_in", True), ("built", False)), (("ended", False), ("id", True)),
    (("seen", True),), (("lived_in", False), ("floors", True), ("name", False)), (("ended", True),),
    (("built", True), ("height", False)), (("ended", False), ("floors", True)),
]  # fmt: skip


def block(store: Any, **query: Any) -> tuple[list[str], bool, Position | None, Position | None]:
    """The ids of a page, whether more lie beyond, and the places of its first and last one in the asked direction."""
    asked = FeatureQuery(store.layer.id, attributes=(), geometry=False, **query)
    ((text, number, first, last, _),) = store.run(features.select_block(store.layer, asked))
    ids = [feature["id"] for feature in json.loads(f"[{text or ''}]")]
    places = [None if each is None else Position(tuple(json.loads(each))) for each in (first, last)]
    return ids, number > query["limit"], places[0], places[1]


def walk(store: Any, limit: int, between: Callable[[], None] = lambda: None, **query: Any) -> list[list[str]]:
    """All pages, forward."""
    pages, more, place = [], True, None
    while more:
        ids, more, _, place = block(store, limit=limit, place=place, **query)
        pages.append(ids)
        between()
    return pages


@pytest.mark.parametrize("sort", SORTS, ids=str)
@pytest.mark.parametrize("limit", [1, 2, 3, 11, 12])
def test_pages_put_together_are_the_whole_order_forward_and_backward(places: Any, sort: Any, limit: int) -> None:
    whole = places.ids(sort=sort)
    assert len(whole) == 11
    pages = walk(places, limit, sort=sort)
    assert [id for page in pages for id in page] == whole
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    _, _, first, last = block(places, limit=11, sort=sort)
    assert first is not None
    assert last is not None
    met, more, place = [whole[-1]], True, last
    while more:
        ids, more, _, place = block(places, limit=limit, sort=sort, place=Position(place.keys, backward=True))
        met = ids + met
    assert met == whole


@pytest.mark.parametrize("sort", SORTS, ids=str)
def test_a_stream_is_the_same_as_a_block_in_both_directions(places: Any, sort: Any) -> None:
    _, _, first, _ = block(places, limit=6, sort=sort)
    for place in (None, first, Position(first.keys, backward=True) if first else None):
        for limit in (4, 30):
            asked = FeatureQuery("places", ("name",), sort=sort, place=place, limit=limit)
            ((text, number, *_),) = places.run(features.select_block(places.layer, asked))
            rows = places.run(features.select_stream(places.layer, asked))
            assert (",\n".join(row[0] for row in rows) or None) == text
            assert len(rows) == min(number, limit)


@pytest.mark.parametrize("sort", SORTS, ids=str)
def test_the_edges_of_a_page_and_its_features_by_name_are_those_of_a_block(places: Any, sort: Any) -> None:
    checked = cql.parse_filter("floors >= 0", "cql2-text", places.layer, places.layer.by_name)
    sight = Sight(("name", "built"), rows=checked, masks=(("built", checked),))
    _, _, first, _ = block(places, limit=6, sort=sort)
    assert first is not None
    around: list[dict[str, Any]] = [{}, {"place": first}, {"place": Position(first.keys, backward=True)}, {"offset": 3},
                                    {"offset": 30}]  # fmt: skip
    chosen: list[dict[str, Any]] = [{}, {"filters": (checked,)}, {"equals": (("floors", "2"),)},
                                    {"area": Area.of_box(107, 15, 109, 17)}, {"as_of": datetime.now(UTC)}]  # fmt: skip
    chosen += [] if {name for name, _ in sort} - {"name", "built", "id"} else [{"sight": sight}]
    for where in around:
        for which in chosen:
            for limit in (1, 4, 30):
                asked = FeatureQuery("places", ("name",), sort=sort, limit=limit, **where, **which)
                ((text, number, *told, _),) = places.run(features.select_block(places.layer, asked))
                ((edges, *ends, ids),) = places.run(features.select_edges(places.layer, asked))
                assert (edges, ends) == (number, told)
                assert (ids is None) == (number == 0 or not (sort or which or where.get("offset")))
                named = features.select_named(places.layer, asked, forms.geojson, ids or "")
                rows = places.run(named if ids else features.select_stream(places.layer, asked))
                assert (",\n".join(row[0] for row in rows) or None) == text


def test_a_page_of_more_features_than_are_held_by_name_is_told_without_its_ids(places: Any) -> None:
    for limit, held in ((features.NAMED, True), (features.NAMED + 1, False), (2**62, False)):
        asked = FeatureQuery("places", ("name",), sort=(("name", False),), limit=limit)
        ((number, _, last, ids),) = places.run(features.select_edges(places.layer, asked))
        assert (number, last, ids is not None) == (11, None, held)


def test_a_place_goes_with_filters_and_counts_are_of_all_pages(places: Any) -> None:
    checked = cql.parse_filter("floors >= 0", "cql2-text", places.layer, places.layer.by_name)
    whole = places.ids(filters=(checked,), sort=(("floors", True),))
    assert [id for page in walk(places, 2, filters=(checked,), sort=(("floors", True),)) for id in page] == whole
    _, _, first, _ = block(places, limit=2, filters=(checked,))
    asked = FeatureQuery("places", (), filters=(checked,), place=first)
    assert places.run(features.select_count(places.layer, asked)) == [(len(whole),)]


def test_matches_are_counted_with_a_page_that_is_not_the_last(places: Any) -> None:
    def matched(limit: int, count: int | None, **query: Any) -> int | None:
        asked = FeatureQuery("places", (), limit=limit, **query)
        return places.run(features.select_block(places.layer, asked, count))[0][4]  # type: ignore[no-any-return]

    checked = cql.parse_filter("floors >= 0", "cql2-text", places.layer, places.layer.by_name)
    _, _, first, _ = block(places, limit=1, filters=(checked,))
    whole = len(places.ids(filters=(checked,)))
    assert matched(2, 100, filters=(checked,)) == matched(2, 100, filters=(checked,), place=first) == whole
    assert matched(2, 3, filters=(checked,)) == 4
    assert matched(2, None, filters=(checked,)) is None
    assert matched(100, 100, filters=(checked,)) is None


def test_a_place_of_another_order_is_refused(places: Any) -> None:
    for keys in (("1", "p1"), (), (None,)):
        with pytest.raises(BadRequest):
            features.select_block(places.layer, FeatureQuery("places", (), place=Position(keys), limit=2))


# --- while others load --------------------------------------------------------------------------------------------

VALUES = st.one_of(st.none(), st.integers(-2, 2))
CHANGES = st.lists(
    st.tuples(st.sampled_from(["insert", "update", "delete"]), st.integers(0, 40), VALUES), max_size=4
)  # fmt: skip
KEPT = 20
"""Features that stay as they are, with even numbers; those with odd ones come, change and go."""


@pytest.fixture(scope="module")
def changing(make_store: Callable[..., Any], places: Any) -> Any:
    return make_store(places.layer, [])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), floors=st.lists(VALUES, min_size=KEPT, max_size=KEPT), limit=st.integers(1, 7),
       descending=st.booleans(), backward=st.booleans())  # fmt: skip
def test_what_no_load_touched_is_met_once_and_in_order_while_others_come_and_go(
    changing: Any, data: st.DataObject, floors: list[int | None], limit: int, descending: bool, backward: bool
) -> None:
    run = changing.connection.execute
    run("TRUNCATE sites.places")
    insert = "INSERT INTO sites.places (id, floors, row_hash, load_id) VALUES (%s, %s, '', 1) ON CONFLICT DO NOTHING"
    # Every second number, so that what comes may lie anywhere between.
    for number, value in enumerate(floors):
        run(insert, [f"{2 * number:03}", value])

    def load() -> None:
        for what, number, value in data.draw(CHANGES):
            id = f"{2 * number + 1:03}"
            match what:
                case "insert":
                    run(insert, [id, value])
                case "update":
                    run("UPDATE sites.places SET floors = %s WHERE id = %s", [value, id])
                case _:
                    run("DELETE FROM sites.places WHERE id = %s", [id])

    sort = (("floors", descending),)
    load()
    whole = [id for id in changing.ids(sort=sort) if int(id) % 2 == 0]
    met: list[str] = []
    if backward:
        # From behind everything, where no feature is.
        place, more = Position((None, "999"), backward=True), True
        while more:
            ids, more, _, next_place = block(changing, limit=limit, sort=sort, place=place)
            met = ids + met
            place = Position(next_place.keys, backward=True) if next_place else place
            load()
    else:
        met = [id for page in walk(changing, limit, load, sort=sort) for id in page]
    assert [id for id in met if int(id) % 2 == 0] == whole


# --- the plan -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(make_store: Callable[..., Any], places: Any) -> Any:
    store = make_store(places.layer, [])
    store.connection.execute(
        "INSERT INTO sites.places (id, name, floors, row_hash, load_id)"
        " SELECT to_char(i, 'FM000000'), 'Nhà ' || i, i % 7, '', 1 FROM generate_series(0, 59999) AS i"
    )
    store.connection.execute("ANALYZE sites.places")
    return store


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("select", [features.select_block, features.select_stream])
def test_a_deep_page_by_id_enters_the_index_at_its_place(many: Any, select: Any, backward: bool) -> None:
    place = Position(("055000",), backward)
    asked = FeatureQuery("places", ("name", "floors"), place=place, limit=10)
    plan = many.explain(select(many.layer, asked))
    line = next(line for line in plan.split("\n") if "places_pkey" in line)
    # A page that is held asks for one beyond it.
    assert f"actual rows={11 if select is features.select_block else 10} " in line, plan
    assert f"Index Cond: (id {'<' if backward else '>'} '055000'::text)" in plan
    assert "Seq Scan" not in plan
    ids = [row[0] for row in many.run(features.select_block(many.layer, asked))]
    assert ('"054999"' if backward else '"055001"') in ids[0]


@pytest.mark.parametrize("sort", [(), (("height", True),), (("floors", False),)])
def test_a_page_that_is_sent_in_parts_is_searched_once_and_its_features_come_by_their_ids(many: Any, sort: Any) -> None:
    asked = FeatureQuery("places", ("name", "floors"), sort=sort, offset=40_000, limit=5_000)
    plan = many.explain(features.select_edges(many.layer, asked))
    assert all("loops=1)" in line or "never executed" in line for line in plan.split("\n") if "places" in line), plan
    ((number, _, _, ids),) = many.run(features.select_edges(many.layer, asked))
    assert number == 5_001
    plan = many.explain(features.select_named(many.layer, asked, forms.geojson, ids))
    assert re.search(r"Index Scan using places_pkey on places .*rows=1 loops=5000", plan), plan
    # Only the numbers of the page may be sorted, below what renders its features.
    assert "Nested Loop" in plan.split("\n")[0], plan
    assert "Seq Scan" not in plan


def test_a_deep_page_in_a_box_uses_the_index_over_places(many: Any) -> None:
    asked = FeatureQuery(
        "places", ("name",), place=Position(("055000",)), area=Area.of_box(108, 16, 108.1, 16.1), limit=9
    )
    assert "places__geom_wgs84__ix" in many.explain(features.select_block(many.layer, asked))


@pytest.mark.parametrize("descending", [False, True])
def test_a_place_in_the_order_tells_nothing_of_a_value_that_is_masked(places: Any, descending: bool) -> None:
    names = places.layer.by_name
    shows, exists = (cql.parse_filter(text, "cql2-text", places.layer, names) for text in ("floors > 2", "name <> 'x'"))
    sight = Sight(("name", "built"), rows=exists, masks=(("built", shows),))
    sort = (("built", descending),)
    rows = places.connection.execute(
        "SELECT id, CASE WHEN floors > 2 THEN built END FROM sites.places WHERE name <> 'x'"
    )
    shown = dict(rows.fetchall())
    assert sum(built is None for built in shown.values()) > 2
    told = sorted(id for id, built in shown.items() if built)
    told.sort(key=lambda id: shown[id], reverse=descending)
    wanted = told + sorted(id for id, built in shown.items() if built is None)
    pages = walk(places, 2, sort=sort, sight=sight)
    assert [id for page in pages for id in page] == wanted
    _, _, _, last = block(places, limit=len(wanted), sort=sort, sight=sight)
    assert last is not None
    assert last.keys[0] is None
    ids, _, _, _ = block(places, limit=10, sort=sort, sight=sight, place=Position(last.keys, backward=True))
    assert ids == wanted[:-1]
