"""OGC 17-069r4 (Features Part 1), Annex A, and OGC API Common that it shares; each test is an abstract test of it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from tests.conformance.abstract import COMMON_1, COMMON_2, PART_1, conf
from tests.conformance.conftest import GEOJSON, Api, bbox, link, media_type, pretty

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
GEOMETRIES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")


def points(coordinates: Any) -> list[list[float]]:
    if isinstance(coordinates[0], int | float):
        return [coordinates]
    return [point for part in coordinates for point in points(part)]


def parameters_of(api: Api, collection: str) -> dict[str, dict[str, Any]]:
    """The parameters of `items` in the API definition, references resolved."""
    document = api.get(str(link(api.get(), "service-desc")), "application/vnd.oai.openapi+json")
    operation = document["paths"][f"/collections/{collection}/items"]["get"]
    given = [
        document["components"]["parameters"][each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
        for each in operation["parameters"]
    ]
    return {each["name"]: each for each in given}


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


@conf(PART_1, "core/api-definition-op", "core/api-definition-success")
@conf(PART_1, "oas30/definition-1", "oas30/definition-2", "oas30/oas-impl")
@conf(COMMON_1, "landing-page/api-definition-op", "landing-page/api-definition-success", "oas30/oas-definition-2")
def test_the_api_definition_is_openapi_3_0(api: Api) -> None:
    document = api.get(str(link(api.get(), "service-desc")), "application/vnd.oai.openapi+json")
    assert document["openapi"].startswith("3.0.")
    schema = files("pygeoapi") / "resources/schemas/openapi/openapi-3.0.x.json"
    jsonschema.Draft4Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(document)
    human = api.ask(str(link(api.get(), "service-doc")), accept="text/html")
    assert (human.status, media_type(human)) == (200, "text/html")


@conf(PART_1, "oas30/completeness", "oas30/exception-codes", "oas30/security")
def test_the_api_definition_names_every_address_and_its_faults(api: Api) -> None:
    document = api.get(str(link(api.get(), "service-desc")), "application/vnd.oai.openapi+json")
    for path in ("/", "/conformance", "/collections"):
        assert "200" in document["paths"][path]["get"]["responses"]
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
    document = api.get(str(link(api.get(), "service-desc")), "application/vnd.oai.openapi+json")
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
    assert link(document, "self")
    assert link(document, "alternate", "text/html")
    assert document["collections"]
    for each in document["collections"]:
        assert {"id", "title", "links", "extent"} <= each.keys()
        west, south, east, north = bbox(each)
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90
        for interval in each["extent"].get("temporal", {}).get("interval", []):
            assert len(interval) == 2
        if each["id"] in api.features:
            assert link(each, "items", GEOJSON)
            assert link(each, "items", "text/html")
            assert all(found.get("type") for found in each["links"] if found["rel"] == "items")


@conf(PART_1, "core/sfc-md-op", "core/sfc-md-success", "core/sf-md-op", "core/sf-md-success")
@conf(COMMON_2, "collections/rc-md-items-links", "collections/src-md-op", "collections/src-md-success")
def test_a_collection_is_what_the_collections_say_of_it(api: Api) -> None:
    for name, listed in api.collections.items():
        found = api.get(f"/collections/{name}")
        assert {key: found[key] for key in ("id", "title", "extent")} == {
            key: listed[key] for key in ("id", "title", "extent")
        }
        assert link(found, "self")


@conf(PART_1, "core/fc-op", "core/fc-links", "core/fc-numberMatched", "core/fc-numberReturned")
@conf(PART_1, "core/f-op", "core/f-links")
def test_features_and_each_of_them(api: Api) -> None:
    for name in api.features:
        found = api.items(name, limit=3)
        assert found["type"] == "FeatureCollection"
        assert found["numberReturned"] == len(found["features"]) <= 3
        assert found.get("numberMatched", 10**9) >= found["numberReturned"]
        assert link(found, "self", GEOJSON)
        assert link(found, "alternate", "text/html")
        for feature in found["features"]:
            href = f"/collections/{name}/items/{feature['id'].replace('/', '%2F')}"
            alone = api.get(href, GEOJSON)
            assert {key: alone[key] for key in ("id", "geometry", "properties")} == {
                key: feature[key] for key in ("id", "geometry", "properties")
            }, pretty(alone)
            assert link(alone, "self", GEOJSON)
            assert link(alone, "alternate", "text/html")
            assert str(link(alone, "collection")).startswith(f"{api.url}/collections/{name}")


@conf(PART_1, "core/fc-limit-definition", "core/fc-limit-response")
def test_limit(api: Api) -> None:
    for name in api.features:
        told = parameters_of(api, name)["limit"]
        assert (told["in"], told["required"], told["style"], told["explode"]) == ("query", False, "form", False)
        schema = told["schema"]
        assert schema["type"] == "integer"
        assert 1 == schema["minimum"] <= schema["default"] <= schema["maximum"]
        assert len(api.items(name, limit=2)["features"]) <= 2
        assert api.ask(f"/collections/{name}/items", limit=schema["maximum"] + 1).status == 200
        for wrong in (0, -1, "x"):
            assert api.ask(f"/collections/{name}/items", limit=wrong).status == 400


@conf(PART_1, "core/fc-bbox-definition", "core/fc-bbox-response")
def test_bbox(api: Api) -> None:
    for name, collection in api.features.items():
        told = parameters_of(api, name)["bbox"]
        assert (told["in"], told["required"], told["style"], told["explode"]) == ("query", False, "form", False)
        assert (told["schema"]["type"], told["schema"]["items"]["type"]) == ("array", "number")
        west, south, east, north = bbox(collection)
        placed = frozenset(
            feature["id"]
            for feature in api.items(name, limit=10_000)["features"] if feature["geometry"] is not None
        )  # fmt: skip
        assert api.ids(name, bbox=f"{west},{south},{east},{north}") == placed
        assert api.ids(name, bbox=f"{west},{south},-100,{east},{north},9000") == placed
        assert api.ids(name, bbox=f"{west - 2},{south - 2},{west - 1},{south - 1}") == frozenset()
        for wrong in ("1,2,3", "1,2,3,x", "1,5,2,4"):
            assert api.ask(f"/collections/{name}/items", bbox=wrong).status == 400


@conf(PART_1, "core/fc-time-definition", "core/fc-time-response")
def test_datetime(api: Api) -> None:
    timed = 0
    for name, collection in api.features.items():
        everything = api.ids(name)
        if "temporal" not in collection["extent"] or "datetime" not in parameters_of(api, name):
            assert api.ids(name, datetime="2024-01-01") == everything, "without time all match"
            continue
        timed += 1
        told = parameters_of(api, name)["datetime"]
        assert (told["in"], told["required"], told["style"], told["explode"]) == ("query", False, "form", False)
        assert told["schema"]["type"] == "string"
        before, after = api.ids(name, datetime="../2023-06-30"), api.ids(name, datetime="2023-07-01/..")
        assert before | after <= everything
        assert api.ids(name, datetime="2023-07-01T00:00:00Z/2024-01-01T00:00:00Z") <= after
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
