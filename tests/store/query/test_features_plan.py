"""The plans that PostgreSQL makes of our statements, on a table large enough to choose."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sdi.contract.query import Area, FeatureQuery, Position, Sight
from sdi.store import cql, features, tiles, walks
from tests.store.query.conftest import CROWDED

NORTH = Area.of_box(108.00505, 16.0185, 108.0099, 16.0199)
"""50 by 15 of the last places by id: who walks the primary key to them passes 55,000 others."""
ALL = Area.of_box(107, 15, 109, 17)


def statement(store: Any, **query: Any) -> features.Statement:
    return features.select_geojson(store.layer, FeatureQuery("places", ("name", "floors"), **query))


def gist(store: Any, place: str) -> None:
    """Whether a plan uses the index over geom_wgs84 and reads no whole table."""
    assert "places__geom_wgs84__ix" in place
    assert all("never executed" in line for line in place.split("\n") if "Seq Scan on places" in line), place


@pytest.mark.parametrize("limit", [10, 1000])
@pytest.mark.parametrize("sort", [(), (("floors", True),)])
def test_a_page_in_a_box_is_found_by_place_not_by_walking_the_ids(district: Any, limit: int, sort: Any) -> None:
    plan = district.explain(statement(district, area=NORTH, limit=limit, sort=sort))
    gist(district, plan)
    for line in plan.split("\n"):
        if "places_pkey" in line:
            assert "never executed" in line or "rows=1 loops" in line, plan
    assert f"actual rows={min(limit, 750)} " in plan.split("\n")[0]


def test_the_page_is_the_right_one(district: Any) -> None:
    rows = [text for (text,) in district.run(statement(district, area=NORTH, limit=3))]
    assert [row[23:31] for row in rows] == ['"055550"', '"055551"', '"055552"']


def test_a_page_in_a_box_that_holds_everything_walks_the_ids(district: Any) -> None:
    plan = district.explain(statement(district, area=ALL, limit=10))
    assert "places_pkey" in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("limit", [10, 1000])
def test_a_page_of_one_value_is_not_found_by_walking_the_ids(district: Any, limit: int) -> None:
    """The last 5,000 features by id have it, as the parcels of the last commune have its code."""
    plan = district.explain(statement(district, equals=(("ended", "2040-01-12"),), limit=limit))
    assert "Index Cond: (ended = '2040-01-12'::date)" in plan
    for line in plan.split("\n"):
        if "places_pkey" in line or "Seq Scan on places" in line:
            assert "never executed" in line or "rows=1 loops" in line, plan


def test_an_index_that_leaves_out_what_is_empty_serves_lists_and_joins_too(district: Any) -> None:
    asked = district.connection
    with asked.transaction(force_rollback=True):
        asked.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        asked.execute("PREPARE days (date[]) AS SELECT id FROM sites.places WHERE ended = ANY ($1)")
        joins = (
            "SELECT id FROM (VALUES (date '2040-01-11'), ('2040-01-12')) AS v (day) JOIN sites.places ON ended = day"
        )
        for query in ("EXECUTE days ('{2040-01-12}')", joins):
            plan = "\n".join(row[0] for row in asked.execute(f"EXPLAIN {query}"))
            assert "places__ended__known__ix" in plan, plan


def test_a_page_of_a_value_that_most_features_have_walks_the_ids(
    district: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "GATHERED", 1000)
    plan = district.explain(statement(district, equals=(("floors", 1),), limit=10))
    assert "Limit (actual rows=1001 loops=1)" in plan
    walked = next(line for line in plan.split("\n") if "Index Scan using places_pkey on places " in line)
    assert "rows=10 loops=1" in walked


def test_a_rule_that_withholds_few_features_costs_a_page_nothing(district: Any) -> None:
    withheld = {"op": "not", "args": [{"op": "=", "args": [{"property": "floors"}, 6]}]}
    plan = district.explain(statement(district, filters=(withheld,), limit=10))
    assert plan.startswith("Limit")
    assert "Index Scan using places_pkey" in plan


def test_a_page_without_conditions_reads_no_more_than_itself(district: Any) -> None:
    plan = district.explain(statement(district, limit=10))
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


def test_a_deep_page_renders_only_itself(district: Any) -> None:
    plan = district.explain(statement(district, limit=10, offset=50_000))
    rendered = [
        line for line in plan.split("\n") if "Seq Scan on places" in line or "Index Scan using places_pkey" in line
    ]
    assert any("rows=1 loops=10)" in line for line in rendered), plan


FILTERS = [
    "S_INTERSECTS(geometry, POLYGON((108.005 16.018, 108.01 16.018, 108.01 16.02, 108.005 16.018)))",
    "S_WITHIN(geometry, BBOX(108.005, 16.018, 108.01, 16.02))",
    "S_EQUALS(geometry, BBOX(108.005, 16.018, 108.00508, 16.01808)) AND floors < 9",
    "S_TOUCHES(geometry, POINT(108.005 16.018))",
    "S_CONTAINS(geometry, POINT(108.00501 16.01801))",
]


@pytest.mark.parametrize("text", FILTERS)
def test_a_spatial_filter_uses_the_index(district: Any, text: str) -> None:
    checked = cql.parse_filter(text, "cql2-text", district.layer, district.layer.by_name)
    gist(district, district.explain(statement(district, filters=(checked,))))
    gist(
        district,
        district.explain(features.select_count(district.layer, FeatureQuery("places", (), filters=(checked,)))),
    )


def test_a_count_and_an_extent_in_a_box_use_the_index(district: Any) -> None:
    query = FeatureQuery("places", (), area=NORTH)
    gist(district, district.explain(features.select_count(district.layer, query, at_most=100)))
    gist(district, district.explain(features.select_extent(district.layer, query)))


def test_a_box_across_the_antimeridian_uses_the_index(district: Any) -> None:
    gist(district, district.explain(statement(district, area=Area.of_box(170, -20, -170, 20))))


def test_a_box_of_the_native_grid_uses_the_index(district: Any) -> None:
    """Its sides are no straight lines in longitude and latitude: it is asked for as a ring, not as a box."""
    ring = ((108.00505, 16.0185), (108.0099, 16.01851), (108.00991, 16.0199), (108.00506, 16.01989))
    area = Area((*ring, ring[0]), rectangle=False)
    plan = district.explain(statement(district, area=area, limit=10))
    gist(district, plan)
    gist(district, district.explain(features.select_count(district.layer, FeatureQuery("places", (), area=area))))


def test_a_prepared_statement_keeps_the_index(district: Any) -> None:
    """After five executions PostgreSQL may plan without the values; the box must still be looked up."""
    with psycopg.connect(district.connection.info.dsn, autocommit=True) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        asked = statement(district, area=NORTH, limit=10)
        text = "EXPLAIN " + asked.sql.as_string(connection)
        for _ in range(7):
            lines = connection.execute(text, asked.params, prepare=True).fetchall()
    assert "places__geom_wgs84__ix" in "\n".join(line for (line,) in lines)


@pytest.mark.parametrize("zoom", [15, 16, 18])
def test_a_tile_is_found_by_place(district: Any, zoom: int) -> None:
    tile = tiles.Tile(zoom, tiles.row_of(16.019, zoom), tiles.column_of(108.0075, zoom))
    part = tiles.Part(district.layer, ("name", "floors"))
    other = tiles.Part(district.layer, (), (cql.parse_filter("floors > 3", "cql2-text", district.layer, ("floors",)),))
    assert len(district.run(tiles.select_tile(tile, [part]))[0][0]) > 0
    plan = district.explain(tiles.select_tile(tile, [part, other]))
    gist(district, plan)
    assert "places_pkey" not in plan


def test_one_feature_is_found_by_its_id_with_a_plan_that_is_kept(district: Any) -> None:
    query = FeatureQuery("places", ("name", "floors"), ids=("000007",), limit=1)
    rows = []
    with psycopg.connect(district.connection.info.dsn, autocommit=True, prepare_threshold=0) as connection:
        for number in range(20):
            written, values = features.select_geojson(
                district.layer, replace(query, ids=(f"{number:06}",))
            ).numbered  # fmt: skip
            rows += psycopg.RawCursor(connection).execute(written.text, values).fetchall()
        ((kept, anew),) = connection.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT concat%'"
        ).fetchall()
    assert [json.loads(row[0])["id"] for row in rows] == [f"{number:06}" for number in range(20)]
    # PostgreSQL makes five plans for values, and then knows that the one without is as good.
    assert (kept, anew) == (15, 5)
    assert "places_pkey" in district.explain(features.select_geojson(district.layer, query))


def masked(district: Any, box: str) -> features.Statement:
    """A page on which two attributes and the places are shown inside a box only."""
    inside = cql.parse_filter(f"S_INTERSECTS(geometry, {box})", "cql2-text", district.layer, ())
    shown = Sight(
        ("name", "floors", "built"), masks=(("name", inside), ("floors", inside)),
        places=((inside, "exact", 0.0), (None, "none", 0.0)),
    )  # fmt: skip
    return statement(district, sight=shown, area=NORTH, limit=10)


def test_what_several_columns_hang_on_is_asked_once_for_each_row(district: Any) -> None:
    made = masked(district, "BBOX(108.0, 16.0, 108.01, 16.02)")
    assert made.sql.as_string().count('ST_Intersects("geom_wgs84", (SELECT ') == 1
    plan = district.explain(made)
    gist(district, plan)


def test_a_rules_polygon_is_read_once_a_statement_and_only_where_boxes_do_not_tell(district: Any) -> None:
    """Planned for any polygon, as a plan that is kept is."""
    read = {}
    for box in ("107.9, 15.9, 108.1, 16.1", "108.0, 16.0, 108.007, 16.0191", "107.0, 16.0, 107.1, 16.1"):
        written, values = masked(district, f"BBOX({box})").numbered
        assert not written.placed
        with psycopg.connect(district.connection.info.dsn, autocommit=True) as connection:
            connection.execute("SET plan_cache_mode = force_generic_plan")
            connection.execute(b"PREPARE asked AS " + written.text)
            text = sql.SQL("EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF) EXECUTE asked ({})")
            lines = [line for (line,) in connection.execute(text.format(sql.SQL(", ").join(values)))]
        gist(district, "\n".join(lines))
        (place,) = re.findall(r"st_intersects\(\"R\".geom_wgs84, \$([0-9]+)\)", "\n".join(lines))
        (at,) = (number for number, line in enumerate(lines) if f"(returns ${place})" in line)
        read[box] = re.findall("never executed|loops=[0-9]+", lines[at + 1])[0]
    assert list(read.values()) == ["never executed", "loops=1", "never executed"]


def test_what_is_looked_for_by_a_rules_polygon_is_planned_for_it(district: Any) -> None:
    inside = cql.parse_filter("S_INTERSECTS(geometry, BBOX(108, 16, 108.01, 16.02))", "cql2-text", district.layer, ())
    shown = Sight(("name",), inside)
    assert statement(district, sight=shown, limit=10).numbered[0].placed
    for chosen in ({"area": NORTH}, {"ids": ("000007",)}, {"ids": ("000007", "000008")}):
        assert not statement(district, sight=shown, limit=10, **chosen).numbered[0].placed


@pytest.mark.parametrize("id", ["", "000007\x00", "000007\n", "no such"])
def test_an_id_that_no_feature_can_have_finds_none(district: Any, id: str) -> None:
    assert district.connection.execute(*_asked(statement(district, ids=(id,)))).fetchall() == []


def _asked(found: features.Statement) -> tuple[Any, Any]:
    return found.sql, found.params


MIDDLE = ("2012-04-27", "004500")


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("place", [None, Position(MIDDLE), Position(MIDDLE, backward=True)], ids=str)
def test_a_page_in_the_order_of_an_index_is_walked_from_its_place_on(
    district: Any, place: Position | None, descending: bool
) -> None:
    query = FeatureQuery("places", ("name",), sort=(("built", descending),), place=place, limit=30)
    block = features.select_block(district.layer, query)
    plan = district.explain(block)
    assert "places__built__known__ix" in plan
    # Those of a day are sorted by id, and what is empty is not looked for.
    read = [int(rows) * int(loops) for rows, loops in re.findall(r"actual rows=(\d+) loops=(\d+)", plan)]
    assert max(read) < 100, plan
    whole = sorted(range(CROWDED), key=lambda i: ((-1 if descending else 1) * (i % 9000), i))
    at = whole.index(4500)
    wanted = whole[:30] if place is None else whole[at - 30 : at] if place.backward else whole[at + 1 : at + 31]
    found = json.loads(f"[{district.run(block)[0][0]}]")
    assert [feature["id"] for feature in found] == [f"{i:06}" for i in wanted]


@pytest.mark.parametrize("descending", [False, True])
def test_at_the_end_of_an_order_the_table_is_not_read_to_find_that_nothing_lacks_what_is_required(
    district: Any, descending: bool
) -> None:
    day, last = ("2000-01-01", "054000") if descending else ("2024-08-20", "053998")
    query = FeatureQuery("places", (), sort=(("built", descending),), place=Position((day, last)), limit=30)
    plan = district.explain(features.select_block(district.layer, query))
    assert "places__built__without__ix" in plan
    assert all("never executed" in line for line in plan.split("\n") if "Seq Scan on places" in line), plan


def test_what_is_empty_comes_behind_all_that_an_index_has(district: Any) -> None:
    asked = district.connection
    with asked.transaction(force_rollback=True):
        asked.execute("UPDATE sites.places SET built = NULL WHERE id < '000005' OR id > '059994'")
        query = FeatureQuery("places", (), sort=(("built", True),), limit=4, place=Position(("2000-01-01", "045000")))
        pages = []
        for _ in range(3):
            ((text, _, _, last, _),) = district.run(features.select_block(district.layer, query))
            pages.append([feature["id"] for feature in json.loads(f"[{text}]")])
            query = replace(query, place=Position(tuple(json.loads(last)))) if last else query
        back = district.run(features.select_block(district.layer, replace(
            query, place=Position((None, "000001"), backward=True), limit=4
        )))[0][0]  # fmt: skip
    assert pages[0] == ["054000", "000000", "000001", "000002"]
    assert pages[1] == ["000003", "000004", "059995", "059996"]
    assert pages[2] == ["059997", "059998", "059999"]
    assert [feature["id"] for feature in json.loads(f"[{back}]")] == ["036000", "045000", "054000", "000000"]
