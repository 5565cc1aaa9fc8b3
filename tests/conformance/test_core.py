"""OGC 17-069r4 (Features Part 1), Annex A, and OGC API Common that it shares; each test is an abstract test of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import shapely
import shapely.geometry

from tests.conformance.abstract import COMMON_1, COMMON_2, PART_1, conf
from tests.conformance.conftest import GEOJSON, Api, bbox, link, media_type, pretty

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
GEOMETRIES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")
ELSEWHERE = (
    "-1.5000000,50.0000000,1.5000000,53.0000000", "-80.0000000,-5.0000000,-70.0000000,5.0000000",
    "177.0000000,65.0000000,-177.0000000,70.0000000", "-180.0000000,85.0000000,180.0000000,90.0000000",
    "-180.0000000,-90.0000000,180.0000000,-85.0000000", "-.5000000,-.5000000,.5000000,.5000000",
)  # fmt: skip
"""Across the meridian, the equator and the antimeridian, at the poles, and without the nought before the point."""


def points(coordinates: Any) -> list[list[float]]:
    if isinstance(coordinates[0], int | float):
        return [coordinates]
    return [point for part in coordinates for point in points(part)]


def rings_of(shape: Any) -> list[tuple[shapely.LinearRing, bool]]:
    """The rings that enclose more than a square metre, and whether they are outer ones: a sliver may be a line in the
    digits that are told."""
    polygons = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    rings = [(ring, ring == part.exterior) for part in polygons for ring in (part.exterior, *part.interiors)]
    return [(ring, outer) for ring, outer in rings if shapely.Polygon(ring).area > 1e-10]


def definition(api: Api) -> Any:
    """The API definition, as the landing page leads to it."""
    return api.get(str(link(api.get(), "service-desc")), "application/vnd.oai.openapi+json")


def parameters_of(api: Api, collection: str) -> dict[str, dict[str, Any]]:
    """The parameters of `items` in the API definition, references resolved."""
    document = definition(api)
    operation = document["paths"][f"/collections/{collection}/items"]["get"]
    given = [
        document["components"]["parameters"][each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
        for each in operation["parameters"]
    ]
    return {each["name"]: each for each in given}


def in_query(told: dict[str, Any]) -> bool:
    """A parameter as Part 1 defines bbox, datetime and limit, each word of it told: 7.15.2 to 7.15.4."""
    return (told["in"], told["required"], told["style"], told["explode"]) == ("query", False, "form", False)


def asked(api: Api, name: str, **parameters: Any) -> Any:
    """A page of features, held against what Part 1 asks of each, whatever was asked for: /conf/core/fc-response."""
    found = api.items(name, **parameters)
    assert found["type"] == "FeatureCollection"
    assert found["numberReturned"] == len(found["features"]) <= found["numberMatched"], (name, parameters)
    assert link(found, "self", GEOJSON)
    assert link(found, "alternate", "text/html")
    assert all(each.get("rel") and each.get("type") for each in found["links"])
    for feature in found["features"]:
        for lon, lat, *_ in points(feature["geometry"]["coordinates"]) if feature["geometry"] is not None else ():
            assert abs(lon) <= 180
            assert abs(lat) <= 90
    return found


@conf(PART_1, "core/http")
@conf(COMMON_1, "core/http")
def test_http_1_1(api: Api) -> None:
    for path in ("/", "/conformance", "/collections"):
        assert api.ask(path).status == 200
        head = api.ask(path, "HEAD")
        assert (head.status, head.body) == (200, b"")
    assert api.ask("/collections/there_is_none").status == 404
    assert api.ask("/", "DELETE").status == 405
    assert api.ask("/conformance", accept="application/json").headers["Content-Type"].startswith("application/json")


@conf(PART_1, "core/crs84", "geojson/content", "geojson/definition")
def test_features_are_geojson_in_crs84(api: Api) -> None:
    for name in api.features:
        assert CRS84 in api.features[name]["crs"]
        for feature in api.items(name, limit=50)["features"]:
            assert feature["type"] == "Feature"
            if feature["geometry"] is not None:
                assert feature["geometry"]["type"] in GEOMETRIES
                for lon, lat, *_ in points(feature["geometry"]["coordinates"]):
                    assert abs(lon) <= 180
                    assert abs(lat) <= 90
                for ring, outer in rings_of(shapely.geometry.shape(feature["geometry"])):
                    assert ring.is_ccw == outer, (name, feature["id"], "RFC 7946, 3.1.6")


@conf(PART_1, "core/root-op", "core/root-success")
@conf(COMMON_1, "landing-page/root-op", "landing-page/root-success", "json/content", "core/root-success")
def test_the_landing_page(api: Api) -> None:
    document = api.get()
    assert link(document, "service-desc") or link(document, "service-doc")
    for rel, path in (("conformance", "/conformance"), ("data", "/collections")):
        assert str(link(document, rel)).startswith(api.url + path)
        assert api.ask(str(link(document, rel))).status == 200
    assert link(document, "self")
    assert link(document, "alternate", "text/html")
    assert link(document, "service-desc", OPENAPI), "a client finds the definition by its media type"


@conf(PART_1, "core/api-definition-op", "core/api-definition-success")
@conf(PART_1, "oas30/definition-1", "oas30/definition-2", "oas30/oas-impl")
@conf(COMMON_1, "landing-page/api-definition-op", "landing-page/api-definition-success", "oas30/oas-definition-2")
def test_the_api_definition_is_openapi_3_0(api: Api) -> None:
    document = definition(api)
    assert document["openapi"].startswith("3.0.")
    assert api.ask(str(link(api.get(), "service-desc")), accept=OPENAPI).headers["Content-Type"] == OPENAPI
    operations = [about["get"]["operationId"] for about in document["paths"].values()]
    assert len(operations) == len(set(operations))
    schema = files("pygeoapi") / "resources/schemas/openapi/openapi-3.0.x.json"
    jsonschema.Draft4Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(document)
    human = api.ask(str(link(api.get(), "service-doc")), accept="text/html")
    assert (human.status, media_type(human)) == (200, "text/html")


@conf(PART_1, "oas30/completeness", "oas30/exception-codes", "oas30/security")
def test_the_api_definition_names_every_address_and_its_faults(api: Api) -> None:
    document = definition(api)
    for path in ("/", "/conformance", "/collections"):
        assert "200" in document["paths"][path]["get"]["responses"]
        for server in document["servers"]:
            assert api.ask(server["url"] + path).status == 200, "a server's address and a path are an address"
    for name in api.features:
        for path in (f"/collections/{name}", f"/collections/{name}/items", f"/collections/{name}/items/{{featureId}}"):
            responses = document["paths"][path]["get"]["responses"]
            assert {"200", "400", "404", "500"} <= responses.keys(), path
    assert {} in document["security"], "what is open asks for no key"
    schemes = document["components"]["securitySchemes"]
    assert {name for way in document["security"] for name in way} <= schemes.keys()


def resolved(node: Any, components: dict[str, Any]) -> Any:
    """The schema with its references to components inside: OpenAPI 3.0 schemas as JSON Schema, with `nullable`."""
    if isinstance(node, list):
        return [resolved(each, components) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return resolved(components["schemas"][node["$ref"].rsplit("/", 1)[1]], components)
    found = {key: resolved(value, components) for key, value in node.items() if key != "nullable"}
    return {"anyOf": [found, {"type": "null"}]} if node.get("nullable") else found


@conf(PART_1, "core/fc-response", "core/f-success")
def test_each_answer_is_as_the_api_definition_says(api: Api) -> None:
    document = definition(api)
    components, checked = document["components"], 0
    for path, about in document["paths"].items():
        answers = about["get"]["responses"]
        told = answers["200"]
        told = components["responses"][told["$ref"].rsplit("/", 1)[1]] if "$ref" in told else told
        if "{" in path or not told.get("content") or path.endswith("/export"):
            continue  # a file of a whole layer is made when it is asked for; until then the answer is a 503
        accepted = next((each for each in told["content"] if each.endswith("json")), None)
        if accepted is None:
            continue
        answer = api.ask(path, accept="application/json" if "coverage" in accepted else accepted)
        assert answer.status == 200, (path, answer.text[:300])
        assert media_type(answer).endswith("json"), path
        jsonschema.validate(answer.json, resolved(told["content"][accepted].get("schema", {}), components))
        checked += 1
    assert checked > 5
    problem = components["responses"]["Problem"]["content"]["application/problem+json"]["schema"]
    for path in (f"/collections/{next(iter(api.features))}/items?limit=x", "/collections/there_is_none"):
        jsonschema.validate(api.ask(path).json, resolved(problem, components))


@conf(PART_1, "core/conformance-op", "core/conformance-success")
@conf(COMMON_1, "landing-page/conformance-op", "landing-page/conformance-success", "oas30/oas-impl")
def test_the_declaration_of_conformance(api: Api) -> None:
    assert f"http://www.opengis.net/spec/{PART_1}/conf/core" in api.classes
    assert all(isinstance(each, str) for each in api.classes)
    assert len(api.classes) == len(set(api.classes))


@conf(PART_1, "core/fc-md-op", "core/fc-md-success", "core/fc-md-links", "core/fc-md-items", "core/fc-md-items-links")
@conf(PART_1, "core/fc-md-extent", "core/fc-md-extent-multi")
@conf(COMMON_2, "collections/rc-md-op", "collections/rc-md-success")
def test_the_collections(api: Api) -> None:
    document = api.get("/collections")
    assert link(document, "self", "application/json")
    assert link(document, "alternate", "text/html")
    assert document["collections"]
    for each in document["collections"]:
        assert {"id", "title", "links", "extent"} <= each.keys()
        west, south, east, north = bbox(each)
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90
        for interval in each["extent"].get("temporal", {}).get("interval", []):
            assert len(interval) == 2
        assert all(found.get("rel") and found.get("type") and found.get("href") for found in each["links"]), each["id"]
        if each["id"] in api.features:
            assert link(each, "items", "text/html")
            assert api.get(str(link(each, "items", GEOJSON)), GEOJSON, limit=1)["type"] == "FeatureCollection"
            assert each["crs"][0] == CRS84


@conf(PART_1, "core/sfc-md-op", "core/sfc-md-success", "core/sf-md-op", "core/sf-md-success")
@conf(COMMON_2, "collections/rc-md-items-links", "collections/src-md-op", "collections/src-md-success")
def test_a_collection_is_what_the_collections_say_of_it(api: Api) -> None:
    for name, listed in api.collections.items():
        found = api.get(f"/collections/{name}")
        for key in ("id", "title", "description", "extent"):
            assert found.get(key) == listed.get(key)
        assert link(found, "self")


@conf(PART_1, "core/fc-op", "core/fc-links", "core/fc-numberMatched", "core/fc-numberReturned")
@conf(PART_1, "core/f-op", "core/f-links")
def test_features_and_each_of_them(api: Api) -> None:
    for name in api.features:
        found = asked(api, name, limit=3)
        assert len(found["features"]) <= 3
        for feature in found["features"]:
            href = f"/collections/{name}/items/{feature['id'].replace('/', '%2F')}"
            alone = api.get(href, GEOJSON)
            assert {key: alone[key] for key in ("id", "geometry", "properties")} == {
                key: feature[key] for key in ("id", "geometry", "properties")
            }, pretty(alone)
            assert link(alone, "self", GEOJSON)
            assert link(alone, "alternate", "text/html")
            assert str(link(alone, "collection")).startswith(f"{api.url}/collections/{name}")
            assert all(each.get("rel") and each.get("type") for each in alone["links"])


@conf(PART_1, "core/fc-numberMatched")
def test_the_pages_together_have_as_many_features_as_are_told(api: Api) -> None:
    paged = 0
    for name in api.features:
        page = asked(api, name, limit=5)
        matched, seen = page["numberMatched"], [feature["id"] for feature in page["features"]]
        while (following := link(page, "next", GEOJSON)) and len(seen) < 50:
            page = api.get(following, GEOJSON)
            seen += [feature["id"] for feature in page["features"]]
            paged += 1
        assert len(seen) == len(set(seen)) <= matched
        assert len(seen) == matched or len(seen) >= 50, name
        # A page may be asked for with more features than the link says.
        rest = api.get(re.sub(r"limit=\d+", "limit=10000", following), GEOJSON) if following else {"features": []}
        assert following is None or matched > 10_000 or len(seen) + len(rest["features"]) == matched
    assert paged


@conf(PART_1, "core/fc-limit-definition", "core/fc-limit-response")
def test_limit(api: Api) -> None:
    for name in api.features:
        told = parameters_of(api, name)["limit"]
        assert in_query(told)
        schema = told["schema"]
        assert schema["type"] == "integer"
        assert 1 == schema["minimum"] <= schema["default"] <= schema["maximum"]
        for limit in (1, 2, min(100, schema["maximum"])):
            assert len(asked(api, name, limit=limit)["features"]) <= limit
        assert len(api.items(name)["features"]) <= schema["default"]
        assert len(asked(api, name, limit=schema["maximum"] + 1)["features"]) <= schema["maximum"]
        for wrong in (0, -1, "x"):
            assert api.ask(f"/collections/{name}/items", limit=wrong).status == 400


@conf(PART_1, "core/fc-bbox-definition", "core/fc-bbox-response")
def test_bbox(api: Api) -> None:
    for name, collection in api.features.items():
        told = parameters_of(api, name)["bbox"]
        assert in_query(told)
        assert (told["schema"]["type"], told["schema"]["items"]["type"]) == ("array", "number")
        assert (told["schema"]["minItems"], told["schema"]["maxItems"]) == (4, 6)
        west, south, east, north = bbox(collection)
        placed = frozenset(
            feature["id"]
            for feature in api.items(name, limit=10_000)["features"] if feature["geometry"] is not None
        )  # fmt: skip
        assert api.ids(name, bbox=f"{west},{south},{east},{north}") == placed
        assert api.ids(name, bbox=f"{west},{south},-100,{east},{north},9000") == placed
        assert api.ids(name, bbox=f"{west - 2},{south - 2},{west - 1},{south - 1}") == frozenset()
        for elsewhere in ELSEWHERE:
            assert asked(api, name, bbox=elsewhere)["features"] == []
        for wrong in ("1,2,3", "1,2,3,x", "1,5,2,4"):
            assert api.ask(f"/collections/{name}/items", bbox=wrong).status == 400


@conf(PART_1, "core/fc-bbox-response")
def test_a_box_finds_what_meets_it_and_nothing_else(api: Api) -> None:
    told_apart = 0
    for name, collection in api.features.items():
        west, south, east, north = bbox(collection)
        # Not a half or a third: there edges of the town's plots lie, and a rounded coordinate is on either side.
        box = (west - 0.001, south - 0.001, west + (east - west) * 0.3137, south + (north - south) * 0.4219)
        shapes = {each["id"]: shapely.geometry.shape(each["geometry"])
                  for each in api.items(name, limit=10_000)["features"] if each["geometry"] is not None}  # fmt: skip
        expected = {id for id, shape in shapes.items() if shapely.box(*box).intersects(shape)}
        assert api.ids(name, bbox=",".join(f"{value:.9f}" for value in box)) == expected
        told_apart += 0 < len(expected) < len(shapes)
    assert told_apart


@conf(PART_1, "core/fc-time-definition", "core/fc-time-response")
def test_datetime(api: Api) -> None:
    timed = 0
    for name, collection in api.features.items():
        everything = api.ids(name)
        told = parameters_of(api, name)["datetime"]  # of every collection, whether its features have a time or not
        assert in_query(told)
        assert told["schema"]["type"] == "string"
        # The last is no interval of Part 1; OGC's executable suite asks for it all the same.
        for when in ("2023-07-01T00:00:00Z", "2023-07-01T00:00:00Z/2024-01-01T00:00:00Z", "2023-07-01/P2D"):
            asked(api, name, datetime=when, limit=10)
        if "temporal" not in collection["extent"]:
            assert api.ids(name, datetime="2024-01-01") == everything, "without time all match"
            continue
        timed += 1
        before, after = api.ids(name, datetime="../2023-06-30"), api.ids(name, datetime="2023-07-01/..")
        assert before | after <= everything
        assert api.ids(name, datetime="2023-07-01T00:00:00Z/2024-01-01T00:00:00Z") <= after
        assert api.ids(name, datetime="2023-07-01/P1M") == api.ids(name, datetime="2023-07-01/2023-07-31")
        whole = collection["extent"]["temporal"]["interval"][0]
        if any(whole):
            assert api.ids(name, datetime="/".join(each or ".." for each in whole)) == everything
        for wrong in ("x", "2024-13-01", "2024-01-02/2024-01-01", "2024-01-01/2024-01-02/2024-01-03"):
            assert api.ask(f"/collections/{name}/items", datetime=wrong).status == 400
    assert timed


@conf(PART_1, "core/query-param-unknown", "core/query-param-invalid")
@conf(COMMON_1, "core/query-param-unknown", "core/query-param-invalid")
def test_unknown_and_invalid_parameters_are_refused(api: Api) -> None:
    for path in ("/", "/conformance", "/collections", *(f"/collections/{name}/items" for name in api.features)):
        answer = api.ask(path, this_is_not_a_parameter="x")
        assert answer.status == 400, path
        assert media_type(answer) == "application/problem+json"
        assert api.ask(path, f="there_is_no_such_format").status in (400, 406)


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.closed = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hrefs += [str(value) for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        self.closed = self.closed or tag == "html"


@conf(PART_1, "html/definition", "html/content")
@conf(COMMON_1, "html/content", "html/definition")
def test_every_answer_is_to_be_had_as_a_page(api: Api) -> None:
    name = next(iter(api.features))
    first = api.items(name, limit=1)["features"][0]["id"].replace("/", "%2F")
    below = f"/collections/{name}"
    for path in ("/", "/conformance", "/collections", below, f"{below}/items", f"{below}/items/{first}"):
        answer = api.ask(path, accept="text/html")
        assert (answer.status, media_type(answer)) == (200, "text/html"), path
        page = Links()
        page.feed(answer.text)
        assert page.closed
        assert page.hrefs, path


@pytest.mark.parametrize("path", ["/", "/conformance", "/collections"])
@conf(COMMON_1, "json/definition")
@conf(COMMON_2, "collections/json")
def test_json_is_what_is_answered_when_json_is_asked_for(api: Api, path: str) -> None:
    assert isinstance(api.get(path, "application/json"), dict)
