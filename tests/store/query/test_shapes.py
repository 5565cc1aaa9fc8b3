"""A statement whose text is kept is the one that would be put together anew, whatever was asked before."""

from __future__ import annotations

from typing import Any

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st

from sdi.contract.query import Area, FeatureQuery, Position
from sdi.store import cql, features, forms, shapes, versions
from sdi.store.statement import write
from tests.store.query.conftest import OPEN, make_layer

LAYER = make_layer()
SAME = cql.parse_filter("floors > 1 AND name LIKE '5%'", "cql2-text", LAYER, OPEN)
OTHER = cql.parse_filter("floors > 2 AND name LIKE '5%'", "cql2-text", LAYER, OPEN)
EDGE = st.floats(-2e-5, 2e-5) | st.floats(0.0, 3.0)


@st.composite
def areas(draw: st.DrawFn) -> Area:
    west, south = draw(st.floats(-180, 177)), draw(st.floats(-90, 87))
    east, north = west + abs(draw(EDGE)), south + abs(draw(EDGE))
    if draw(st.booleans()):
        return Area(((west, south), (east, south), (east, north), (west, south)), rectangle=False)
    return Area.of_box(*draw(st.sampled_from([(west, south, east, north), (west + 3, south, west, north)])))


@st.composite
def queries(draw: st.DrawFn) -> FeatureQuery:
    sort = draw(st.sampled_from([(), (("floors", True),), (("name", False), ("seen", True))]))
    keys = st.tuples(*(st.none() | st.sampled_from("012") for _ in sort), st.text("abc", min_size=1))
    place = draw(st.none() | st.builds(Position, keys, st.booleans()))
    return FeatureQuery(
        LAYER.id,
        draw(st.sampled_from([OPEN, OPEN[:2], ()])),
        ids=draw(st.none() | st.lists(st.text(max_size=3), max_size=3).map(tuple)),
        area=draw(st.none() | areas()),
        equals=draw(st.sampled_from([(), (("floors", "1"),), (("floors", "2"),), (("floors", 2),), (("name", None),)])),
        filters=draw(st.sampled_from([(), (SAME,), (OTHER,), (SAME, OTHER), (dict(OTHER),)])),
        sort=sort,
        crs=draw(st.sampled_from([4326, 5899])),
        north_first=draw(st.booleans()),
        geometry=draw(st.booleans()),
        limit=draw(st.integers(1, 3)),
        offset=draw(st.sampled_from([0, 1, 9])) if place is None else 0,
        place=place,
    )


@settings(max_examples=80, derandomize=True, deadline=None)
@given(queries(), st.sampled_from([None, 5, 6]))
def test_a_statement_that_is_filled_is_the_one_that_is_put_together_anew(
    query: FeatureQuery, count: int | None
) -> None:
    text, both = ((forms.geojson, ",\n"),), ((forms.geojson, ",\n"), *versions._VERSIONS)
    for select, how in (
        (features._blocks, (count, text)), (features._stream, (forms.geojson,)), (features._edges, ()),
        (features._text, (forms.geojson,)), (versions._versions, (count, versions._VERSIONS)),
        (versions._versions, (count, both)), (features._count, (count,)),
    ):  # fmt: skip
        kept, anew = shapes.filled(select, LAYER, query, *how), select(LAYER, query, *how)
        assert kept.sql.as_string() == anew.sql.as_string()
        assert repr(kept.params) == repr(anew.params)
        assert kept.numbered == anew.numbered


def test_a_filter_that_was_changed_in_place_of_another_is_not_taken_for_it() -> None:
    """1, 1.0 and true are equal as keys."""
    texts = set()
    for value in (1, True):
        expression = {"op": "=", "args": [{"property": "lived_in"}, value]}
        query = FeatureQuery(LAYER.id, OPEN, filters=(expression,))
        texts.add(features.select_block(LAYER, query).sql.as_string())
    assert len(texts) == 2


def test_a_layer_whose_contract_was_read_again_is_another_one() -> None:
    query = FeatureQuery("places", ("name",))
    one = features.select_block(make_layer(), query).sql.as_string()
    assert features.select_block(make_layer(theme="places"), query).sql.as_string() != one


def test_values_go_by_number_where_a_cursor_reads_no_names() -> None:
    written = write(psycopg.sql.SQL("SELECT %(p1)s::text, 5 %% 3, %(p0)s::text, %(p1)s::text"))
    assert written.text == b"SELECT $1::text, 5 % 3, $2::text, $1::text"
    assert written.names == ("p1", "p0")


def test_the_numbered_statement_finds_what_the_named_one_finds(places: Any) -> None:
    box = Area.of_box(100.0, 10.0, 120.0, 20.0)
    for query in (FeatureQuery("places", OPEN, area=box, limit=3), FeatureQuery("places", OPEN, ids=("p1", "p3"))):
        statement = features.select_block(places.layer, query, 100)
        written, values = statement.numbered
        cursor = psycopg.RawCursor(places.connection)
        assert cursor.execute(written.text, values).fetchall() == places.run(statement)
