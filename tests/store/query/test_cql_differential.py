"""Filters made by chance: PostGIS and a small evaluator of our own must let the same features through.

What is tried is the same each time; SDI_TEST_FILTERS=20000 tries so many, and others each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import shapely
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sdi.errors import BadRequest
from sdi.store import cql
from tests.store.query import cql_grammar, cql_places
from tests.store.query.cql_grammar import AND, OR, TYPES, Filter, Row, column, denied, is_null, joined

EXAMPLES = int(os.environ.get("SDI_TEST_FILTERS", "0"))
FIXED = settings(
    deadline=None, derandomize=not EXAMPLES, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
ASKED = (*TYPES, "uses")
COUNT = 97


def make_rows() -> list[Row]:
    """Rows in which the values of each attribute meet those of every other."""
    steps = dict(zip(TYPES, (1, 5, 7, 11, 13, 17, 19, 23), strict=True))
    return [
        {
            "id": f"r{n:02}",
            **{name: values[n * steps[name] % len(values)] for name, values in TYPES.items()},
            "uses": cql_places.LISTS[n * 29 % len(cql_places.LISTS)],
            "geometry": cql_places.place_of(n),
        }
        for n in range(COUNT)
    ]


def stored(row: Row) -> Row:
    """The row as the table takes it; nobody asks for its place in the grid."""
    kept = {name: value for name, value in row.items() if name != "geometry"}
    shape, uses = row["geometry"], row["uses"]
    place = None if shape is None else f"SRID=4326;{shapely.to_wkt(shape, rounding_precision=12)}"
    listed = None if uses is None else json.dumps([{"use": use} for use in uses])
    return {**kept, "uses": listed, "geom": None, "geom_wgs84": place}


@pytest.fixture(scope="module")
def sample(make_store: Callable[..., Any], places: Any) -> Any:
    return make_store(places.layer, [*map(stored, make_rows())])


def as_json(tree: Any) -> str:
    """CQL2 JSON with all digits of its decimals."""
    if isinstance(tree, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{as_json(value)}" for name, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(as_json, tree)) + "]"
    return format(tree, "f") if isinstance(tree, Decimal) else json.dumps(tree)


filters = st.recursive(
    cql_grammar.predicates | cql_places.predicates,
    lambda inner: st.one_of(
        st.builds(lambda parts: joined("AND", AND, parts), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda parts: joined("OR", OR, parts), st.lists(inner, min_size=2, max_size=3)),
        inner.map(denied),
    ),
    max_leaves=8,
)


@settings(FIXED, max_examples=EXAMPLES or 600)
@given(filters)
@example(joined("OR", OR, [is_null(column("name"), True), denied(column("lived_in"))]))
def test_postgis_and_an_evaluator_of_our_own_agree_on_text_and_on_json(sample: Any, made: Filter) -> None:
    expected = [row["id"] for row in make_rows() if made.meaning(row) is True]
    for language, written in (("cql2-text", made.text), ("cql2-json", as_json(made.tree))):
        checked = cql.parse_filter(written, language, sample.layer, ASKED)  # type: ignore[arg-type]
        assert sample.ids(filters=(checked,)) == expected, written


@settings(FIXED, max_examples=EXAMPLES or 400)
@given(cql_places.predicates)
def test_places_and_lists_are_compared_as_shapely_and_sets_are(sample: Any, made: Filter) -> None:
    expected = [row["id"] for row in make_rows() if made.meaning(row) is True]
    checked = cql.parse_filter(made.text, "cql2-text", sample.layer, ASKED)
    assert sample.ids(filters=(checked,)) == expected, made.text


VOCABULARY = """
a = 1 OR floors = 2 AND NOT lived_in ( ) , ' " '' % \\ < <> <= . - + * / ^ div name area built seen LIKE IN BETWEEN IS
NULL CASEI( ACCENTI( S_INTERSECTS( geometry POINT(1 2) POLYGON(( BBOX( T_DURING( INTERVAL( DATE( '2020-01-01' '..'
TIMESTAMP( A_CONTAINS( uses 1e5 99999999999999999999 true Đ ỷ \x02 \x00
"""
WORDS = VOCABULARY.split(" ")


@settings(FIXED, max_examples=EXAMPLES or 1500)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)))
def test_no_text_does_more_than_be_refused(places: Any, text: str) -> None:
    for language in ("cql2-text", "cql2-json"):
        try:
            checked = cql.parse_filter(text, language, places.layer, TYPES)  # type: ignore[arg-type]
        except BadRequest:
            continue
        places.ids(filters=(checked,))


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
operations = st.sampled_from(["=", "<", "and", "not", "in", "like", "between", "isNull", "casei", "+", "^", "s_within",
                              "t_during", "a_equals", "nope"])  # fmt: skip
objects = st.recursive(
    scalars | st.sampled_from([*TYPES, "geometry"]).map(lambda name: {"property": name}),
    lambda inner: st.one_of(
        st.builds(lambda op, args: {"op": op, "args": args}, operations, st.lists(inner, max_size=3) | inner),
        st.dictionaries(st.sampled_from(["op", "property", "date", "interval", "bbox", "type", "coordinates"]), inner),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(FIXED, max_examples=EXAMPLES or 1500)
@given(objects)
def test_no_object_does_more_than_be_refused(places: Any, tree: Any) -> None:
    try:
        checked = cql.parse_filter(tree, "cql2-json", places.layer, TYPES)
    except BadRequest:
        return
    places.ids(filters=(checked,))
