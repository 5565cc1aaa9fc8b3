"""What a FeatureQuery answers: the rows, their order, their GeoJSON, and where it stands in each CRS."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sdi.contract.query import Area, FeatureQuery, Interval
from sdi.errors import BadRequest
from sdi.national.vn2000 import from_wgs84, regrid, to_wgs84
from sdi.store import features, walks

EAST, NORTH = 550_000.0, 1_775_000.0
RING = np.array([[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]) + np.array((EAST, NORTH))
OPEN_NAMES = ("name", "floors", "area", "height", "lived_in", "built", "ended", "seen", "uses", "owners")


def text_of(store: Any, **query: Any) -> str:
    asked = FeatureQuery(store.layer.id, **{"attributes": OPEN_NAMES, **query})
    return str(store.run(features.select_geojson(store.layer, asked))[0][0])


def test_a_feature_is_written_with_the_types_of_its_contract(places: Any) -> None:
    text = text_of(places, ids=("p0",), geometry=False)
    assert text == (
        '{"type":"Feature","id":"p0","geometry":null,"properties":{"name":"Nguyễn Thị Ánh","floors":1,"area":100.25,'
        '"height":3.5,"lived_in":true,"built":"2010-05-01","ended":null,"seen":"2024-01-05T20:00:00.000Z",'
        '"uses":[{"use": "ONT"}, {"use": "CLN"}],"owners":null}}'
    )


def test_no_digit_and_no_sign_is_lost_on_the_way(places: Any) -> None:
    feature = json.loads(text_of(places, ids=("p3",)), parse_float=Decimal)
    assert feature["properties"]["floors"] == 9007199254740993
    assert feature["properties"]["area"] == Decimal("12345678901234567890.12")
    assert feature["properties"]["height"] == Decimal("0.3")
    assert '"name":"50% <b>&amp;</b>"' in text_of(places, ids=("p4",))
    assert json.loads(text_of(places, ids=("p6",)))["properties"]["name"] == "a_b\\c"
    assert ".999Z" in text_of(places, ids=("p8",))


def test_a_number_has_its_point_even_where_it_is_whole_and_an_integer_never(
    make_store: Callable[..., Any], places: Any
) -> None:
    """QGIS 3.22 takes types from the first features, and leaves 0.93 empty where they say 0."""
    values = [("300", 10.0), ("0", 0.0), ("-12.500", -3.0), ("1", 1e10), ("7", 999_999_999_999_999.0), ("2", 1e15)]
    rows = [{"id": f"x{n}", "area": area, "height": height} for n, (area, height) in enumerate(values)]
    store = make_store(places.layer, [{**row, "floors": 4} for row in rows])
    texts = [text_of(store, ids=(row["id"],), attributes=("floors", "area", "height")) for row in rows]
    assert [text.partition('"properties":')[2] for text in texts] == [
        '{"floors":4,"area":300.0,"height":10.0}}',
        '{"floors":4,"area":0.0,"height":0.0}}',
        '{"floors":4,"area":-12.500,"height":-3.0}}',
        '{"floors":4,"area":1.0,"height":10000000000.0}}',
        '{"floors":4,"area":7.0,"height":999999999999999.0}}',
        '{"floors":4,"area":2.0,"height":1e+15}}',
    ]


def test_a_feature_without_anything_has_nulls(places: Any) -> None:
    feature = json.loads(text_of(places, ids=("p9",)))
    assert list(feature["properties"]) == list(OPEN_NAMES)
    assert set(feature["properties"].values()) == {None}
    assert json.loads(text_of(places, ids=("pa",)))["geometry"] is None


def test_what_is_no_number_is_null(make_store: Callable[..., Any], places: Any) -> None:
    from_row = {"id": "x", "height": float("nan"), "area": "NaN"}
    store = make_store(places.layer, [from_row, {**from_row, "id": "y", "height": float("inf"), "area": "1"}])
    x, y = store.features()
    assert (x["properties"]["height"], x["properties"]["area"]) == (None, None)
    assert (y["properties"]["height"], y["properties"]["area"]) == (None, 1)
    ((_, height, _),) = store.run(
        features.select_rows(store.layer, FeatureQuery("places", ("height",), ids=("x",), limit=None))
    )
    assert height is None


def test_only_the_asked_attributes_are_answered_in_the_asked_order(places: Any) -> None:
    (feature,) = places.features(ids=("p0",), attributes=("floors", "name"))
    assert list(feature["properties"].items()) == [("floors", 1), ("name", "Nguyễn Thị Ánh")]
    assert places.features(ids=("p0",), attributes=())[0]["properties"] == {}


def test_the_session_s_time_zone_and_date_style_change_nothing(places: Any) -> None:
    before = text_of(places, ids=("p0",))
    with places.connection.transaction(force_rollback=True):
        places.connection.execute("SET LOCAL timezone = 'Asia/Ho_Chi_Minh'; SET LOCAL datestyle = 'German'")
        assert text_of(places, ids=("p0",)) == before


LONLAT = to_wgs84(RING, 5899)

CRSS = [
    ("CRS84", {"crs": 4326}, LONLAT, 2e-8),
    ("EPSG:4326", {"crs": 4326, "north_first": True}, LONLAT[:, ::-1], 2e-8),
    ("EPSG:3857", {"crs": 3857}, from_wgs84(LONLAT, 3857), 2e-4),
    ("EPSG:32648", {"crs": 32648}, from_wgs84(LONLAT, 32648), 2e-4),
    ("EPSG:5899", {"crs": 5899}, RING, 0.0),
    ("EPSG:9210", {"crs": 9210}, regrid(RING, 5899, 9210), 2e-4),
    ("EPSG:3405", {"crs": 3405}, regrid(RING, 5899, 3405), 2e-4),
    ("EPSG:4756", {"crs": 4756, "north_first": True}, regrid(RING, 5899, 4756)[:, ::-1], 2e-8),
]


@pytest.mark.parametrize(("name", "query", "expected", "tolerance"), CRSS, ids=[case[0] for case in CRSS])
def test_coordinates_are_right_in_every_crs(
    places: Any, name: str, query: dict[str, Any], expected: Any, tolerance: float
) -> None:
    (feature,) = places.features(ids=("p0",), **query)
    (ring,) = feature["geometry"]["coordinates"][0]
    assert np.abs(np.array(ring) - expected).max() <= tolerance
    assert set(feature["geometry"]) == {"type", "coordinates"}, "no member 'crs', which RFC 7946 took away"


def test_a_grid_is_answered_from_the_master_geometry(make_store: Callable[..., Any], places: Any) -> None:
    """`geom_wgs84` stands a degree away here: whoever transformed it back would be seen."""
    wrong = "SRID=4326;MULTIPOLYGON(((109 16,109.1 16,109.1 16.1,109 16)))"
    right = "SRID=9210;MULTIPOLYGON(((600000 1200000,600010 1200000,600010 1200010,600000 1200000)))"
    store = make_store(places.layer, [{"id": "x", "geom": right, "geom_wgs84": wrong}])
    ring = np.array(store.features(crs=9210)[0]["geometry"]["coordinates"][0][0])
    assert ring[0].tolist() == [600000, 1200000]
    ring = np.array(store.features(crs=5897)[0]["geometry"]["coordinates"][0][0])
    assert np.allclose(ring[0], regrid(np.array([[600000, 1200000]]), 9210, 5897)[0], atol=2e-4)


# --- conditions ---------------------------------------------------------------------------------------------------


def lonlat_box(west: float, south: float, east: float, north: float) -> tuple[float, float, float, float]:
    """The lon/lat box of a box in metres from the first place's corner."""
    corners = to_wgs84(np.array([[west, south], [east, north]]) + np.array((EAST, NORTH)), 5899)
    return (*corners[0].tolist(), *corners[1].tolist())


def test_a_bbox_finds_what_it_meets(places: Any) -> None:
    assert places.ids(area=Area.of_box(*lonlat_box(95, -5, 205, 5))) == ["p1", "p2"]
    assert places.ids(area=Area.of_box(*lonlat_box(20, -5, 90, 50))) == []
    assert len(places.ids(area=Area.of_box(-180, -90, 180, 90))) == 10, "what has no place is in no box"


def test_a_box_without_width_or_height_finds_what_it_meets(places: Any) -> None:
    lon, lat, *_ = lonlat_box(5, 5, 6, 6)
    assert places.ids(area=Area.of_box(lon, lat, lon, lat)) == ["p0"]
    assert places.ids(area=Area.of_box(lon, lat, lon + 0.0015, lat)) == ["p0", "p1"]
    assert places.ids(area=Area.of_box(lon, lat, lon, lat + 1)) == ["p0"]
    assert places.ids(area=Area(((lon, lat),) * 5, rectangle=False)) == ["p0"]


def test_a_box_across_the_antimeridian_is_two(places: Any) -> None:
    assert places.ids(area=Area.of_box(170, -20, -170, 20)) == []
    assert places.ids(area=Area.of_box(100, -20, -170, 20)) == [f"p{n}" for n in range(10)]
    assert places.ids(area=Area.of_box(170, -20, 109, 20)) == [f"p{n}" for n in range(10)]


def test_an_area_that_is_no_rectangle_is_met_by_its_own_shape(places: Any) -> None:
    triangle = to_wgs84(np.array([[0, -50], [1000, -50], [0, 300], [0, -50]]) + np.array((EAST, NORTH)), 5899)
    ring = tuple((lon, lat) for lon, lat in triangle.tolist())
    found = places.ids(area=Area(ring, rectangle=False))
    assert found == [f"p{n}" for n in range(9)], "the last place lies in the triangle's box and outside of the triangle"


@settings(max_examples=150, deadline=None)
@given(st.tuples(*[st.floats(-20, 920)] * 2), st.tuples(*[st.floats(-3, 13)] * 2), st.booleans())
def test_a_rectangle_finds_exactly_what_its_polygon_meets(
    places: Any, xs: tuple[float, float], ys: tuple[float, float], on_edge: bool
) -> None:
    """The short cut over the boxes of features must not show, least of all within its margin of 2 m."""
    if on_edge:
        xs = (round(xs[0] / 100) * 100 + 10.0, xs[1])
    assume(abs(xs[0] - xs[1]) > 0.001 < abs(ys[0] - ys[1]))  # a polygon without area is none; see the test above
    area = Area.of_box(*lonlat_box(min(xs), min(ys), max(xs), max(ys)))
    assert places.ids(area=area) == places.ids(area=Area(area.ring, rectangle=False))


def test_ids_are_taken_as_they_are(places: Any) -> None:
    assert places.ids(ids=("p3", "nope", "p1", "'; --", "\x00", "\ud800")) == ["p1", "p3"]
    assert places.ids(ids=()) == []


EQUALS = [
    ("floors", "1", ["p0"]),
    ("floors", 1, ["p0"]),
    ("floors", " +1.0 ", ["p0"]),
    ("floors", "9007199254740993", ["p3"]),
    ("floors", "99999999999999999999", []),
    ("area", "200.5", ["p1"]),
    ("height", "0.3", ["p3"]),
    ("lived_in", "TRUE", ["p0", "p2", "p4", "p8"]),
    ("built", "2020-01-01", ["p2"]),
    ("built", "2020-01-01T10:00:00Z", ["p2"]),
    ("seen", "2024-01-05", ["p0", "p1"]),
    ("seen", "2024-01-05T00:00:00Z", ["p1"]),
    ("name", "O'DT", ["p3"]),
    ("name", "1", []),
    ("name", None, ["p9"]),
]


@pytest.mark.parametrize(("name", "value", "expected"), EQUALS, ids=[f"{case[0]}={case[1]}" for case in EQUALS])
def test_an_attribute_equals_what_its_type_makes_of_the_text(
    places: Any, name: str, value: Any, expected: list[str]
) -> None:
    assert places.ids(equals=((name, value),)) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("floors", "one"), ("floors", "1_0"), ("floors", "NaN"), ("floors", ""), ("lived_in", "yes"), ("uses", "ODT"),
     ("built", "2020"), ("built", "2020-13-01"), ("seen", "now"), ("name", "a\x00"), ("height", "1e999")],
)  # fmt: skip
def test_a_value_that_the_type_cannot_have_is_refused(places: Any, name: str, value: str) -> None:
    with pytest.raises(BadRequest):
        places.ids(equals=((name, value),))


INTERVALS = [
    ("2011-06-01", "0346789a"),  # valid on a day: p1 began later, p2 and p5 too
    ("2013-01-01", "01346789a"),
    ("2015-06-30", "0134689a"),  # the end of p7 is exclusive
    ("2015-06-29", "01346789a"),
    ("2020-01-01", "023468 9a".replace(" ", "")),  # p1 ended, p2 began
    ("../2012-01-01", "01346789a"),
    ("/2011-12-31", "0346789a"),
    ("2031-01-01/..", "0234689a"),
    ("2012-01-01T00:00:00Z", "01346789a"),
    ("2012-01-01T06:00:00+07:00", "0346789a"),  # still 2011 in UTC
]


@pytest.mark.parametrize(("text", "expected"), INTERVALS, ids=[case[0] for case in INTERVALS])
def test_an_interval_finds_what_was_valid_in_it(places: Any, text: str, expected: str) -> None:
    assert places.ids(interval=Interval.parse(text)) == [f"p{name}" for name in expected]


def test_an_instant_attribute_is_met_by_the_second(places: Any) -> None:
    layer = places.layer.model_copy(update={"temporal": places.layer.temporal.model_validate({"instant": "seen"})})
    store = type(places)(layer, places.connection)
    assert store.ids(interval=Interval.parse("2024-01-05")) == ["p0", "p1"]
    assert store.ids(interval=Interval.parse("2024-01-05T00:00:00Z")) == ["p1"]
    assert store.ids(interval=Interval.parse("2024-01-05T00:00:01Z/..")) == ["p0"]
    assert store.ids(interval=Interval.parse("../2024-01-01")) == ["p8"]


def test_a_layer_without_time_refuses_datetime(places: Any) -> None:
    store = type(places)(places.layer.model_copy(update={"temporal": None}), places.connection)
    with pytest.raises(BadRequest, match="no time"):
        store.ids(interval=Interval.parse("2024-01-05"))


def test_datetime_is_read_as_the_standard_writes_it() -> None:
    day = Interval.parse("2024-01-05")
    assert (day.start, day.end) == (datetime(2024, 1, 5, tzinfo=UTC), datetime(2024, 1, 5, 23, 59, 59, 999999, UTC))
    assert Interval.parse("2024-01-05T07:00:00+07:00") == Interval.parse("2024-01-05t00:00:00z")
    assert Interval.parse("../2024-01-05T00:00:00Z") == Interval(None, datetime(2024, 1, 5, tzinfo=UTC))
    assert Interval.parse("2024-01-05T00:00:00.1234567Z").start == datetime(2024, 1, 5, 0, 0, 0, 123456, UTC)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2024-01-05/P2D", "2024-01-05/2024-01-06"),
        ("2024-01-31/P1M", "2024-01-31/2024-02-28"),
        ("2024-01-31/P1M1D", "2024-01-31/2024-02-29"),
        ("2023-12-01/P1Y1M1W", "2023-12-01/2025-01-07"),
        ("2024-01-05/P0D", "2024-01-05T00:00:00Z"),
        ("2024-01-05/PT36H", "2024-01-05T00:00:00Z/2024-01-06T11:59:59.999999Z"),
        ("2024-01-05T08:00:00+07:00/P1DT2H30M10S", "2024-01-05T01:00:00Z/2024-01-06T03:30:10Z"),
    ],
)
def test_an_interval_may_end_by_a_duration(text: str, same: str) -> None:
    assert Interval.parse(text) == Interval.parse(same)


@pytest.mark.parametrize(
    "text",
    ["", "..", "../..", "/", "2024", "2024-01", "yesterday", "2024-01-05/2024-01-04", "a/b/c", "2024-02-30",
     "0000-01-01",
     "2024-01-05/P", "2024-01-05/PT", "2024-01-05/P1H", "2024-01-05/P-2D", "2024-01-05/P1.5D", "../P2D",
     "P2D/2024-01-05", "P2D", "2024-01-05/P9999Y", "2024-01-05/P9999999D", "2024-01-05/P２D", "2024-01-05/P1D1M",
     "2024-01-05T25:00:00Z", "0001-01-01T00:00:00+14:00", "２０２４-01-01", "2024-01-05T00:00:00+7", "2024-W01-1"],
)  # fmt: skip
def test_a_datetime_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Interval.parse(text)


def test_all_conditions_hold_at_once(places: Any) -> None:
    query: dict[str, Any] = {"area": Area.of_box(*lonlat_box(-5, -5, 450, 5)), "equals": (("lived_in", True),)}
    assert places.ids(**query) == ["p0", "p2", "p4"]
    above = {"op": ">", "args": [{"property": "floors"}, 1]}
    assert places.ids(**query, filters=(above,)) == ["p2", "p4"]
    assert places.ids(**query, filters=(above, {"op": "<", "args": [{"property": "floors"}, 4]})) == ["p2"]


# --- order and pages ----------------------------------------------------------------------------------------------


def test_empty_values_come_last_both_ways_and_ids_break_ties(places: Any) -> None:
    assert places.ids(sort=(("floors", False),))[:3] == ["p5", "p6", "p0"]
    assert places.ids(sort=(("floors", False),))[-2:] == ["p8", "p9"]
    assert places.ids(sort=(("floors", True),))[:3] == ["p3", "pa", "p7"]
    assert places.ids(sort=(("floors", True),))[-2:] == ["p8", "p9"]
    assert places.ids(sort=(("lived_in", True), ("id", True)))[:5] == ["p8", "p4", "p2", "p0", "p6"]
    assert places.ids(sort=(("id", True),))[0] == "pa"


@pytest.mark.parametrize("sort", [(), (("lived_in", False),), (("height", True), ("name", False))])
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("gathered", [10_000, 3])
def test_pages_lie_side_by_side(
    places: Any, sort: Any, narrow: bool, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a page is found: by gathering the few matches or by walking the order of many."""
    monkeypatch.setattr(walks, "GATHERED", gathered)
    query = {
        "sort": sort,
        "filters": ({"op": "in", "args": [{"property": "id"}, [f"p{n:x}" for n in range(20)]]},) if narrow else (),
    }
    whole = places.ids(**query, limit=None)
    pages = [places.ids(**query, limit=3, offset=offset) for offset in range(0, 15, 3)]
    assert [id for page in pages for id in page] == whole
    assert len(whole) == 11
    assert places.ids(**query, limit=0) == []
    assert places.ids(**query, limit=3, offset=2**70) == []


# --- counts, extents, values --------------------------------------------------------------------------------------


def asked(**query: Any) -> FeatureQuery:
    return FeatureQuery("places", (), **query)


def test_a_count_knows_no_page_and_may_stop_early(places: Any) -> None:
    def count(at_most: int | None = None, **query: Any) -> int:
        return int(places.run(features.select_count(places.layer, asked(**query), at_most))[0][0])

    assert count(limit=1, offset=5) == 11
    assert count(equals=(("lived_in", True),)) == 4
    assert count(at_most=5) == 6
    assert count(at_most=11) == 11


def test_the_extent_is_that_of_the_matches(places: Any) -> None:
    (box,) = places.run(features.select_extent(places.layer, asked(ids=("p0", "p1"))))
    assert np.allclose(box, lonlat_box(0, 0, 110, 10), atol=1e-6)
    assert places.run(features.select_extent(places.layer, asked(ids=()))) == [(None,) * 4]


def test_the_values_of_an_attribute_are_listed_with_their_number(places: Any) -> None:
    def values(name: str, **more: Any) -> list[Any]:
        return places.run(features.select_domain(places.layer, asked(), name, **more))  # type: ignore[no-any-return]

    assert values("lived_in") == [(False, 2), (True, 4)]
    assert values("built", at_most=1) == [(date(2010, 5, 1), 1)]
    with pytest.raises(BadRequest, match="no plain values"):
        values("uses")


def test_rows_have_the_attributes_and_the_place_as_text(places: Any) -> None:
    query = FeatureQuery("places", ("name", "seen"), ids=("p0",), crs=5899)
    ((id, name, seen, place),) = places.run(features.select_rows(places.layer, query))
    assert (id, name, seen) == ("p0", "Nguyễn Thị Ánh", datetime(2024, 1, 5, 20, tzinfo=UTC))
    assert json.loads(place)["coordinates"][0][0] == RING.tolist()
