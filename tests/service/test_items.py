"""Items and item as a client of OGC API - Features sees them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from sdi.national import vn2000
from tests.service.conftest import AWKWARD, CORNER, SIZE, Town, plots

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"
PLOTS = "/collections/plots/items"
SHOWN = 35
"""40 plots without the five of defence land."""


def links(document: dict[str, Any]) -> dict[str, str]:
    return {each["rel"]: each["href"] for each in document["links"]}


def ids(document: dict[str, Any]) -> list[str]:
    return [feature["id"] for feature in document["features"]]


def matched(town: Town, query: str) -> int:
    found = town.get(f"{PLOTS}?{query}")
    assert found["numberReturned"] == len(found["features"]) == min(found["numberMatched"], int(found_limit(query)))
    return int(found["numberMatched"])


def found_limit(query: str) -> str:
    limit = re.search(r"limit=(\d+)", query)
    return limit[1] if limit else "10"


def test_a_page_of_features_is_geojson_with_counts_and_links(town: Town) -> None:
    answer = town.ask(PLOTS)
    assert answer.headers["Content-Type"] == "application/geo+json"
    assert answer.headers["Content-Crs"] == f"<{CRS84}>"
    found = answer.json
    assert found["type"] == "FeatureCollection"
    assert found["numberReturned"] == len(found["features"]) == 10
    assert found["numberMatched"] == SHOWN
    assert "timeStamp" not in found  # the Date header tells it; equal features are equal bytes
    assert {"self", "alternate", "next", "collection"} <= links(found).keys()
    assert 'rel="next"' in answer.headers["Link"]
    assert links(found)["next"] in answer.headers["Link"]


def test_every_feature_is_met_once_when_the_next_links_are_followed(town: Town) -> None:
    address, met = f"{PLOTS}?limit=8&sortby=-height&filter=height%20%3E%200", []
    while address:
        found = town.get(address.removeprefix(town.url))
        met += ids(found)
        address = links(found).get("next", "")
    assert len(met) == len(set(met)) == found["numberMatched"] == 34
    assert links(found)["prev"]


def test_no_attribute_value_is_altered_on_the_way(town: Town) -> None:
    answer = town.ask(f"{PLOTS}/00004.1.1")
    properties = answer.json["properties"]
    assert properties["owner_kind"] == AWKWARD
    assert "Nguyễn & Ỷ Lan" in answer.text
    assert "<b>" in answer.text
    assert properties["uses"] == [{"area": 300.5, "code": "ODT"}, {"area": 99.6, "code": "CLN"}]
    assert properties["legal_area"] == 400.1
    assert properties["valid_from"] == "2020-01-15"
    assert properties["disputed"] is True


def test_a_whole_number_beyond_double_precision_keeps_its_digits(town: Town) -> None:
    assert town.get(f"{PLOTS}/00004.1.2")["properties"]["number"] == 2**53 + 1


def test_what_is_empty_is_null(town: Town) -> None:
    assert town.get(f"{PLOTS}/00004.1.6")["properties"]["height"] is None


def test_what_the_public_may_not_see_does_not_exist(town: Town) -> None:
    properties = town.get(PLOTS)["features"][0]["properties"]
    assert "hidden_note" not in properties
    assert "holder" not in properties
    assert town.ask(f"{PLOTS}/00004.1.7").status == 404
    assert town.ask(f"{PLOTS}?id=00004.1.7").json["numberMatched"] == 0
    assert town.ask(f"{PLOTS}?filter=use%3D'CQP'").json["numberMatched"] == 0
    assert town.ask(f"{PLOTS}?hidden_note=x").status == 400
    assert town.ask(f"{PLOTS}?filter=hidden_note%3D'x'").status == 400
    assert town.ask(f"{PLOTS}?sortby=hidden_note").status == 400
    assert town.ask(f"{PLOTS}?properties=hidden_note").status == 400
    assert "hidden_note" not in town.ask("/collections/plots/schema").text
    assert "hidden_note" not in town.ask("/openapi").text
    assert "secrets" not in town.ask("/openapi").text
    for path in ("/collections/secrets", "/collections/secrets/items", "/collections/secrets/items/a"):
        assert town.ask(path).status == 404
    assert "secrets" not in town.ask("/collections").text


def test_a_box_in_lon_lat_and_in_the_native_grid_choose_the_same_features(town: Town) -> None:
    x, y = CORNER
    box = (x + 1, y + 1, x + 2 * SIZE - 1, y + 2 * SIZE - 1)
    native = town.get(f"{PLOTS}?bbox={','.join(map(str, box))}&bbox-crs={EPSG}5897")
    west, south, east, north = vn2000.to_wgs84(np.array([box[:2], box[2:]]), 5897).ravel()
    lonlat = town.get(f"{PLOTS}?bbox={west},{south},{east},{north}")
    latlon = town.get(f"{PLOTS}?bbox={south},{west},{north},{east}&bbox-crs={EPSG}4326")
    with_heights = town.get(f"{PLOTS}?bbox={west},{south},0,{east},{north},100")
    corners = vn2000.to_mercator(np.array([(west, south), (east, north)])).ravel()
    mercator = town.get(f"{PLOTS}?bbox={','.join(map(str, corners))}&bbox-crs={EPSG}3857")
    expected = {"00004.1.1", "00004.1.2", "00004.2.1", "00004.2.2"}
    for found in (native, lonlat, latlon, with_heights, mercator):
        assert set(ids(found)) == expected


def test_a_box_across_the_antimeridian_is_two_boxes(town: Town) -> None:
    assert matched(town, "bbox=100,20,-100,22") == SHOWN
    assert matched(town, "bbox=110,20,-100,22") == 0


def test_coordinates_come_in_the_asked_crs_with_its_axis_order(town: Town) -> None:
    def first(crs: str) -> list[float]:
        answer = town.ask(f"{PLOTS}/00004.1.1?crs={crs}")
        assert answer.headers["Content-Crs"] == f"<{crs}>"
        ring = answer.json["geometry"]["coordinates"][0][0]
        return min(ring, key=lambda point: sum(point) if crs != f"{EPSG}3857" else point[0] + point[1])

    assert first(f"{EPSG}5897") == pytest.approx(CORNER, abs=0.0001)
    lon, lat = vn2000.to_wgs84(np.array([CORNER]), 5897)[0]
    assert first(CRS84) == pytest.approx([lon, lat], abs=2e-8)
    assert first(f"{EPSG}4326") == pytest.approx([lat, lon], abs=2e-8)
    assert first(f"{EPSG}3857") == pytest.approx(vn2000.to_mercator(np.array([[lon, lat]]))[0], abs=0.002)


def test_a_layer_in_two_grids_is_offered_in_both_and_stored_in_none(town: Town) -> None:
    collection = town.get("/collections/works")
    assert {f"{EPSG}5897", f"{EPSG}3405"} < set(collection["crs"])
    assert collection["storageCrs"] == CRS84
    assert town.get("/collections/plots")["storageCrs"] == f"{EPSG}5897"
    far = town.get(f"/collections/works/items/05?crs={EPSG}5897")["geometry"]["coordinates"]
    assert far == pytest.approx([CORNER[0] + 1000, CORNER[1] + 1000], abs=0.001)


def test_datetime_meets_the_validity_of_a_feature(town: Town) -> None:
    def valid(first: str, last: str) -> int:
        """The end of validity is exclusive."""
        return sum(
            str(row["valid_from"]) <= last and (row["valid_to"] is None or str(row["valid_to"]) > first)
            for row in seen()
        )

    assert matched(town, "datetime=2019-12-31") == 0
    assert (
        matched(town, "datetime=../2022-01-15")
        == valid("0", "2022-01-15")
        == matched(town, "datetime=/2022-01-15T00:00:00Z")
    )
    assert matched(town, "datetime=2025-06-30") == valid("2025-06-30", "2025-06-30")
    assert matched(town, "datetime=2025-07-01") == valid("2025-07-01", "2025-07-01")
    assert matched(town, "datetime=2025-06-30") > matched(town, "datetime=2025-07-01T00:00:00%2B00:00")
    assert matched(town, "datetime=2026-01-01/..") == valid("2026-01-01", "9")


def test_datetime_meets_an_instant(town: Town) -> None:
    def found(when: str) -> list[str]:
        return ids(town.get(f"/collections/works/items?datetime={when}"))

    assert found("2026-02-01") == ["02"]
    assert found("2026-02-01T00:00:00Z") == ["02"]
    assert found("2026-02-02/2026-04-01") == ["03", "04"]
    assert found("2026-04-01/..") == ["04", "05"]
    assert found("../2026-01-31") == ["01/GPXD"]


def seen() -> list[dict[str, Any]]:
    """The plots that the public sees, as they were delivered."""
    return [row for row in plots()[0].to_pylist() if row["use"] != "CQP"]


@pytest.mark.parametrize(
    ("filter_", "meant"),
    [
        ("number=1 OR number=3 AND number=4", lambda row: row["number"] == 1),
        ("NOT (use='ODT' OR use='CLN')", lambda row: False),
        ("NOT (number=1 OR use='CLN')", lambda row: row["number"] != 1 and row["use"] == "ODT"),
        ("owner_kind LIKE 'Cá nhân%' AND number BETWEEN 1 AND 10",
         lambda row: row["owner_kind"].startswith("Cá nhân") and row["number"] <= 10),
        ("use IN ('ODT','XXX') AND disputed = TRUE", lambda row: row["use"] == "ODT" and row["disputed"]),
        ("use IS NULL", lambda row: row["use"] is None),
        ("use IS NOT NULL AND legal_area > 430 AND height < 40",
         lambda row: row["use"] and row["legal_area"] > 430 and row["height"] < 40),
        ("valid_from >= DATE('2025-01-01')", lambda row: row["valid_from"].year >= 2025),
        ("changed_at > TIMESTAMP('2026-01-01T08:20:00Z')", lambda row: row["changed_at"].minute > 20),
        ("S_INTERSECTS(geometry, BBOX(105,20,106,22))", lambda row: True),
        ("S_INTERSECTS(geometry, POINT(0 0))", lambda row: False),
    ],
)  # fmt: skip
def test_a_cql2_filter_counts_what_it_says(town: Town, filter_: str, meant: Callable[[dict[str, Any]], bool]) -> None:
    found = town.get(f"{PLOTS}?limit=30&filter={quote(filter_)}")
    expected = [row["id"] for row in seen() if meant(row)]
    assert found["numberMatched"] == len(expected)
    assert ids(found) == sorted(expected)[:30]


def test_a_filter_in_json_and_in_the_native_grid(town: Town) -> None:
    x, y = CORNER
    filter_ = quote(
        f'{{"op":"s_intersects","args":[{{"property":"geometry"}},{{"type":"Point","coordinates":[{x + 5},{y + 5}]}}]}}'
    )
    found = town.get(f"{PLOTS}?filter={filter_}&filter-lang=cql2-json&filter-crs={EPSG}5897")
    assert ids(found) == ["00004.1.1"]


def test_a_queryable_is_a_parameter_with_its_type(town: Town) -> None:
    assert ids(town.get(f"{PLOTS}?number=9")) == ["00004.2.1"]
    assert ids(town.get(f"{PLOTS}?legal_area=408.10")) == ["00004.2.1"]
    assert ids(town.get(f"{PLOTS}?disputed=true&use=ODT&limit=1")) == ["00004.1.1"]
    assert ids(town.get(f"{PLOTS}?id=00004.2.1")) == ["00004.2.1"]
    assert matched(town, "number=99999999999999999999") == 0
    assert matched(town, "valid_from=2020-01-15") == sum(row["valid_from"].year == 2020 for row in seen())


def test_properties_and_skip_geometry_make_features_lean(town: Town) -> None:
    feature = town.get(f"{PLOTS}?properties=use,number&skipGeometry=true")["features"][0]
    assert list(feature["properties"]) == ["number", "use"]
    assert feature["geometry"] is None


def test_sorting_goes_both_ways_and_leaves_what_is_empty_to_the_end(town: Town) -> None:
    assert ids(town.get(f"{PLOTS}?sortby=-legal_area&limit=1")) == ["00004.5.8"]
    by_use = sorted((row for row in seen() if row["use"]), key=lambda row: (row["use"], -row["number"]))
    expected = [row["id"] for row in by_use] + ["00004.1.4"]
    found = ids(town.get(f"{PLOTS}?sortby=%2Buse,-number&limit=30"))
    assert found + ids(town.get(f"{PLOTS}?sortby=+use,-number&limit=30&offset=30")) == expected


def test_the_limit_is_held_to_the_greatest_and_the_links_keep_every_parameter(town: Town) -> None:
    found = town.get(f"{PLOTS}?limit=100000&use=ODT&sortby=-number&properties=use&lang=en")
    assert found["numberReturned"] == found["numberMatched"] <= 30
    page = town.get(f"{PLOTS}?limit=2&use=ODT&sortby=-number&properties=use&lang=en")
    address = links(page)["next"]
    for part in ("limit=2", "use=ODT", "sortby=-number", "properties=use", "lang=en", "cursor=", "f=json"):
        assert part in address


def test_a_huge_offset_is_an_empty_page(town: Town) -> None:
    found = town.get(f"{PLOTS}?offset=99999999999999999999999999")
    assert found["features"] == []
    assert found["numberMatched"] == SHOWN


def test_an_id_with_a_slash_is_found(town: Town) -> None:
    found = town.get("/collections/works/items/01%2FGPXD")
    assert found["id"] == "01/GPXD"
    assert links(found)["self"].startswith(f"{town.url}/collections/works/items/01%2FGPXD")
    assert town.get(links(found)["self"].removeprefix(town.url))["id"] == "01/GPXD"


def test_a_feature_links_to_itself_its_collection_and_its_dossier(town: Town) -> None:
    found = links(town.get(f"{PLOTS}/00004.1.1"))
    assert found["collection"] == f"{town.url}/collections/plots"
    assert found["related"] == f"{town.url}/lots/00004.1.1/dossier"


def test_head_answers_headers_without_a_body(town: Town) -> None:
    for path in ("/", "/collections/plots", PLOTS, f"{PLOTS}/00004.1.1", "/collections/ground/coverage", "/health"):
        answer = town.ask(path, "HEAD")
        assert (answer.status, answer.body) == (200, b""), path


@pytest.mark.parametrize(
    ("accept", "sent"),
    [
        ("*/*", "application/geo+json"), ("text/html", "text/html"), ("text/html, */*", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", "text/html"),
        ("text/html;q=0.1, */*", "application/geo+json"), ("text/*", "text/html"),
        ("application/*;q=0.2, text/html;q=0.1", "application/geo+json"),
        ("application/geo+json;Q=0.2, text/html;q=0.3", "text/html"),
        ("application/geo+json;q=0, */*", "text/html"), ("text/csv;q=0.9, text/*;q=0.5", "text/csv"),
        ("text/html;q=0.5, application/geo+json;q=0.5", "text/html"), ("application/json, text/html",
        "application/geo+json"), ("image/png", "application/geo+json"), ("*/*;q=0", "application/geo+json"),
        ("application/geo+json;q=0.4, application/vnd.ogc.fg+json", "application/vnd.ogc.fg+json"), ("",
        "application/geo+json"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_is_accepted_best(town: Town, accept: str, sent: str) -> None:
    """RFC 9110, 12.5.1: what names a format most closely tells its weight; `*` stands for the rest."""
    assert town.ask(f"{PLOTS}?limit=1", Accept=accept).headers.get_content_type() == sent


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("format_", ["json", "geojsonseq", "csv", "fgb", "gpkg", "parquet"])
@pytest.mark.parametrize("limit", [10, 5000])
def test_head_tells_no_other_length_than_get(town: Town, format_: str, limit: int, coding: str) -> None:
    """It said 0 of what is made while it is sent; a client that asks first would read nothing (RFC 9110, 8.6)."""
    path = f"{PLOTS}?f={format_}&limit={limit}"
    whole, head = town.ask(path, Accept_Encoding=coding), town.ask(path, "HEAD", Accept_Encoding=coding)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] in (None, whole.headers["Content-Length"])
    for name in ("Content-Type", "Content-Encoding", "ETag", "Link", "Content-Crs"):
        assert head.headers[name] == whole.headers[name], name


def test_csv_opens_in_a_spreadsheet_with_its_letters(town: Town) -> None:
    answer = town.ask(f"{PLOTS}?f=csv&limit=2&properties=owner_kind,number,legal_area,uses")
    assert answer.headers["Content-Type"].startswith("text/csv")
    lines = answer.body.decode("utf-8-sig").splitlines()
    assert lines[0] == "id,number,owner_kind,legal_area,uses"
    assert lines[1].startswith('00004.1.1,1,"Cá nhân <b>""Nguyễn & Ỷ Lan""</b> \\ </script>",400.1')
    assert "9007199254740993" in lines[2]


def test_json_ld_names_the_features_and_keeps_their_values(town: Town) -> None:
    found = town.get(f"{PLOTS}?f=jsonld&limit=1")
    assert found["features"][0]["@id"].endswith("/collections/plots/items/00004.1.1")
    one = town.get("/collections/plots/items/00004.1.1?f=jsonld")
    assert one["owner_kind"] == AWKWARD
