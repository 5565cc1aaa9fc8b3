"""Landing page, collections, schemas, OpenAPI, conformance, coverage, dossier: the documents beside the features."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from typing import Any

import jsonschema
import numpy as np
import pytest
import rasterio

from sdi.national import vn2000
from sdi.service import words
from sdi.settings import Settings
from tests.service.conftest import CORNER, Town

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"
REL = "http://www.opengis.net/def/rel/ogc/1.0"


def rels(document: dict[str, Any]) -> set[str]:
    return {each["rel"] for each in document["links"]}


def test_the_landing_page_leads_to_everything_that_is_there(town: Town) -> None:
    found = town.get("/")
    assert found["title"] == "Thị trấn thử"
    assert town.get("/?lang=en")["title"] == "Test town"
    maps = {
        f"http://www.opengis.net/def/rel/ogc/1.0/{name}" for name in ("tilesets-vector", "tiling-schemes", "styles")
    }
    catalogue = {"describedby", f"{REL}/ogc-catalog"}
    own = {"self", "alternate", "service-desc", "service-doc", "conformance", "data", "enclosure", "related"}
    assert own | maps | catalogue == rels(found)
    for each in found["links"]:
        assert town.ask(each["href"].removeprefix(town.url) or "/").status == 200, each
    west, south, east, north = found["extent"]["spatial"]["bbox"][0]
    assert 105 < west < east < 106
    assert 20 < south < north < 22


def test_every_page_leads_to_where_an_agency_signs_in(town: Town) -> None:
    page = town.ask("/collections?f=html&lang=en")
    found = re.search(r'<a href="([^"]+)"[^>]*>Sign in as an agency</a>', page.text)
    assert found is not None
    assert town.ask(found[1]).status == 401


def test_a_feature_is_looked_for_on_the_landing_page(town: Town) -> None:
    """Of a layer of whose features there are dossiers; others are looked for on their own pages."""
    for language, title in (("vi", "Tìm thửa đất thử"), ("en", "Find test plots")):
        page = town.ask(f"/?f=html&lang={language}").text
        assert f"<h2>{title}</h2>" in page
        (form,) = re.findall(r'<form class="search" method="get" action="([^"]+)">(.*?)</form>', page, re.DOTALL)
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', form[1])
        asked = "&".join(f"{name}={value}" for name, value in [*hidden, ("q", "00004.1.2")])
        found = town.ask(f"{unescape(form[0]).partition('?')[0]}?{asked}")
        assert f'<html lang="{language}">' in found.text
        assert re.findall(r'<tr><td><a href="/collections/plots/items/([^?"]+)', found.text) == ["00004.1.2"]


def test_a_map_is_called_so_in_the_language_of_the_page(town: Town) -> None:
    for path in ("/collections/plots", "/collections/plots/items", "/collections/plots/items/00004.1.1"):
        for language, called in (("vi", "Bản đồ"), ("en", "Map")):
            assert f'aria-label="{called}"' in town.ask(f"{path}?f=html&lang={language}").text


def test_every_link_of_a_collection_answers(town: Town) -> None:
    for name in ("plots", "works", "plot_card", "ground"):
        found = town.get(f"/collections/{name}")
        assert found == next(each for each in town.get("/collections")["collections"] if each["id"] == name)
        assert len({(each["rel"], each["href"]) for each in found["links"]}) == len(found["links"])
        for each in found["links"]:
            # A whole layer as a file is waited for in formats/test_export.py.
            if each["href"].startswith(town.url) and each["rel"] != "enclosure":
                answer = town.ask(each["href"].removeprefix(town.url) or "/")
                assert answer.status == 200, each
                assert answer.headers["Content-Type"].split(";")[0] == each["type"].split(";")[0], each


def test_a_collection_speaks_the_asked_language(town: Town) -> None:
    assert town.get("/collections/plots")["title"] == "Thửa đất thử"
    assert town.get("/collections/plots?lang=en")["title"] == "Test plots"
    assert town.get("/collections/plots", Accept_Language="en-GB,en;q=0.9,vi;q=0.5")["title"] == "Test plots"
    assert town.get("/collections/plots", Accept_Language="fr,vi;q=0.5")["title"] == "Thửa đất thử"
    assert town.get("/collections/plots?lang=vi", Accept_Language="en")["title"] == "Thửa đất thử"
    assert town.ask("/collections/plots?lang=en").headers["Content-Language"] == "en"
    assert town.get("/collections/plots?lang=en")["keywords"] == ["land"]


def test_a_collection_states_extent_time_licence_and_crs(town: Town) -> None:
    found = town.get("/collections/plots")
    assert found["itemType"] == "feature"
    assert found["crs"][0] == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    assert f"{EPSG}5897" in found["crs"]
    begin, end = found["extent"]["temporal"]["interval"][0]
    assert begin.startswith("2020-01-15")
    assert end is None
    assert {"license", "items", f"{REL}/schema", f"{REL}/queryables", f"{REL}/sortables"} <= rels(found)
    west, south, east, north = found["extent"]["spatial"]["bbox"][0]
    expected = vn2000.to_wgs84(np.array([CORNER, (CORNER[0] + 160, CORNER[1] + 100)]), 5897)
    assert [west, south] == pytest.approx(expected[0], abs=1e-5)
    assert [east, north] == pytest.approx(expected[1], abs=1e-5)


def test_what_is_withheld_is_not_counted_anywhere(town: Town) -> None:
    page = town.ask("/collections/plots?lang=en", Accept="text/html").text
    assert "<dd>35</dd>" in page
    assert "<dd>40</dd>" not in page
    assert town.get("/collections/plots/items?limit=1")["numberMatched"] == 35


def test_no_sign_of_a_title_is_written_as_an_entity(town: Town) -> None:
    assert "&lt;" not in town.ask("/collections").text
    assert "\\u" not in town.ask("/collections").text


def test_the_schema_is_json_schema_with_roles_units_and_codes_and_the_features_keep_it(town: Town) -> None:
    answer = town.ask("/collections/plots/schema?lang=en")
    assert answer.headers["Content-Type"] == "application/schema+json"
    schema = answer.json
    jsonschema.Draft202012Validator.check_schema(schema)
    properties = schema["properties"]
    assert schema["$id"] == f"{town.url}/collections/plots/schema"
    assert properties["id"]["x-ogc-role"] == "id"
    assert properties["geometry"] == {
        "x-ogc-role": "primary-geometry",
        "x-ogc-propertySeq": 2,
        "format": "geometry-multipolygon",
    }
    assert properties["valid_from"]["x-ogc-role"] == "primary-interval-start"
    assert properties["valid_to"]["x-ogc-role"] == "primary-interval-end"
    assert properties["legal_area"]["x-ogc-unit"] == "m2"
    assert properties["use"]["oneOf"][0] == {"const": "ODT", "title": "Urban residential land"}
    assert town.get(properties["use"]["x-ogc-codelistUri"].removeprefix(town.url))["codes"][0]["code"] == "ODT"
    for feature in town.get("/collections/plots/items?limit=30")["features"]:
        flat = {
            **{k: v for k, v in feature["properties"].items() if v is not None},
            "id": feature["id"],
            "geometry": feature["geometry"],
        }
        jsonschema.validate(flat, schema)


def test_a_code_list_is_called_by_its_title(town: Town) -> None:
    for language, title in (("vi", "Loại đất thử"), ("en", "Test use")):
        page = town.ask(f"/code-lists/use?f=html&lang={language}").text
        assert f"<h1>{title}</h1>" in page
        assert f"· {title}" in page.partition("</title>")[0]
        assert "<code>use</code>" in page
        assert town.get("/code-lists/use")["title"][language] == title


def test_queryables_and_sortables_say_what_may_be_named(town: Town) -> None:
    queryables = town.get("/collections/plots/queryables")["properties"]
    assert "unfindable" not in queryables
    assert {"number", "use", "geometry", "id"} <= queryables.keys()
    sortables = town.get("/collections/plots/sortables")["properties"]
    assert "uses" not in sortables
    assert "geometry" not in sortables
    for name in sortables:
        assert town.ask(f"/collections/plots/items?sortby={name}&limit=1").status == 200


def test_the_openapi_document_is_whole_and_true(town: Town) -> None:
    answer = town.ask("/openapi")
    assert answer.headers["Content-Type"].startswith("application/vnd.oai.openapi+json")
    document = answer.json
    assert document["openapi"].startswith("3.0.")
    limit = document["components"]["parameters"]["limit"]["schema"]
    assert (limit["default"], limit["maximum"]) == (10, 30)
    references: list[str] = []

    def walk(node: Any) -> None:
        for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            if isinstance(node, dict) and isinstance(node.get("$ref"), str):
                references.append(node["$ref"])
            walk(value)

    walk(document)
    assert references
    for reference in references:
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in document["components"][kind], reference
    operations = [about["get"]["operationId"] for about in document["paths"].values()]
    assert len(operations) == len(set(operations))
    for path in document["paths"]:
        asked = path.replace("{featureId}", "00004.1.1").replace("{codeList}", "use").replace("{recordId}", "plots")
        asked = asked.replace("{tileMatrixSetId}", "WebMercatorQuad")
        asked = asked.replace("{styleId}", "default").replace("{agencyId}", "public")
        asked = asked.replace("{tileMatrix}/{tileRow}/{tileCol}", "6/28/50")
        if "/works/items/" not in asked:
            also = (204,) if "tileRow" in path else (503,) if "/export" in path else ()  # 503: a file is being made
            assert town.ask(asked).status in (200, *also), path
    parameters = document["paths"]["/collections/plots/items"]["get"]["parameters"]
    number = next(each for each in parameters if each.get("name") == "number")
    assert number["schema"] == {"type": "integer"}
    assert number["explode"] is False


def test_layers_stand_below_the_name_of_their_theme(town: Town) -> None:
    page = town.ask("/collections?f=html").text
    assert re.findall(r"<h2>(.*?)</h2>\s*<ul class=\"cards\">", page) == ["testtown"]
    folder = Settings().layers
    themes = {line.split()[1] for path in folder.glob("*.yaml") for line in path.read_text("utf-8").splitlines()
              if line.startswith("theme:")}  # fmt: skip
    for language in ("vi", "en"):
        assert [theme for theme in themes if words.translator(language)(theme) == theme] == []


def test_each_operation_says_what_it_does(town: Town) -> None:
    """In English in the document, in the reader's language on its page."""
    document = town.get("/openapi")
    said = {path: about["get"]["summary"] for path, about in document["paths"].items() if "get" in about}
    assert said["/collections/plots/items"] == "Features of Test plots"
    assert said["/collections/plots/export"] == "Download all of Test plots"
    assert len({*said.values()}) == len(said), "two do the same"
    assert document["info"]["title"] == "Test town"
    assert document["components"]["parameters"]["lang"]["schema"]["default"] == "vi-VN"
    vietnamese, english = (unescape(town.ask(f"/openapi?f=html&lang={each}").text) for each in ("vi", "en"))
    assert "Các đối tượng của lớp Thửa đất thử</summary>" in vietnamese
    for path, text in said.items():
        assert f"<code>GET {path}</code> {text}</summary>" in english
        assert f"<code>GET {path}</code> " in vietnamese
        assert f"{text}</summary>" not in vietnamese, path
    assert "Thửa đất thử" not in english


def test_each_parameter_says_what_it_does(town: Town) -> None:
    """In English in the document, in the reader's language on its page."""
    document = town.get("/openapi")
    known = document["components"]["parameters"]
    operations = [(path, each) for path, about in document["paths"].items() for each in about.values()]
    own = [each for path, operation in operations for each in operation.get("parameters", ())
           if "$ref" not in each and not path.endswith("/items")]  # fmt: skip
    told = {each["name"]: each.get("description") for each in (*known.values(), *own)}
    assert [name for name, text in told.items() if not text] == []
    assert {"bbox", "limit", "datetime", "crs", "since", "by", "scale-size"} <= told.keys()
    vietnamese, english = (unescape(town.ask(f"/openapi?f=html&lang={each}").text) for each in ("vi", "en"))
    shown = {text for path, operation in operations for each in operation.get("parameters", ())
             if (text := known[each["$ref"].rsplit("/", 1)[1]]["description"] if "$ref" in each else
                 None if path.endswith("/items") else each["description"])}  # fmt: skip
    assert [text for text in shown if text not in english] == []
    assert [text for text in shown if text in vietnamese] == []
    assert "Chỉ những gì chạm vào khung" in vietnamese


def test_types_are_told_in_the_language_of_the_page(town: Town) -> None:
    for path in ("/collections/plots/schema", "/collections/plots/queryables", "/openapi"):
        english, vietnamese = (town.ask(f"{path}?f=html&lang={each}").text for each in ("en", "vi"))
        assert re.search(r"(<td>|empty\">)(string|integer|number)[ <]", english), path
        assert not re.search(r"(<td>|empty\">)(string|integer|number|boolean|array|date|date-time)[ <]", vietnamese), (
            path
        )


def test_a_coverage_takes_the_parameters_that_openapi_names(town: Town) -> None:
    document = town.get("/openapi")
    known = document["components"]["parameters"]
    examples = {"f": "GTiff", "lang": "en", "bbox": "105.8,21,105.9,21.1", "scale-size": "10",
                "properties": "elevation"}  # fmt: skip
    named = [known[each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
             for each in document["paths"]["/collections/ground/coverage"]["get"]["parameters"]]  # fmt: skip
    assert {each["name"] for each in named} == {*examples, "bbox-crs"}
    for name, value in examples.items():
        assert town.ask(f"/collections/ground/coverage?{name}={value}").status == 200, name


def test_every_parameter_that_openapi_names_is_taken(town: Town) -> None:
    document = town.get("/openapi")
    following = next(each["href"] for each in town.get("/collections/plots/items")["links"] if each["rel"] == "next")
    examples = {
        "cursor": following.partition("cursor=")[2],
        "limit": "2",
        "offset": "1",
        "bbox": "105,20,106,22",
        "datetime": "2026-01-01",
        "as-of": "2999-01-01",
        "sortby": "number",
        "filter": "number>1",
        "filter-lang": "cql2-text",
        "properties": "use",
        "skipGeometry": "true",
        "f": "json",
        "lang": "vi",
        "number": "3",
        "legal_area": "1.5",
        "height": "2",
        "disputed": "true",
        "valid_from": "2020-01-15",
        "valid_to": "2025-07-01",
        "changed_at": "2026-01-01T08:00:00Z",
    }
    for each in document["paths"]["/collections/plots/items"]["get"]["parameters"]:
        parameter = document["components"]["parameters"][each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
        name = parameter["name"]
        value = f"{EPSG}5897" if "crs" in name else examples.get(name, "x")
        extra = "&bbox=588000,2326000,588100,2326100" if name == "bbox-crs" else ""
        answer = town.ask(f"/collections/plots/items?{name}={value.replace('>', '%3E')}{extra}")
        assert answer.status == 200, (name, answer.text[:200])


def test_conformance_declares_what_clients_look_for_and_no_writing(town: Town) -> None:
    classes = town.get("/conformance")["conformsTo"]
    for wanted in (
        "ogcapi-features-1/1.0/conf/core",
        "ogcapi-features-2/1.0/conf/crs",
        "ogcapi-features-3/1.0/conf/filter",
        "ogcapi-features-3/1.0/conf/features-filter",
        "ogcapi-features-5/1.0/conf/schemas",
        "cql2/1.0/conf/cql2-text",
        "cql2/1.0/conf/basic-cql2",
        "cql2/1.0/conf/advanced-comparison-operators",
        "cql2/1.0/conf/basic-spatial-operators",
        "cql2/1.0/conf/basic-spatial-functions",
    ):
        assert f"http://www.opengis.net/spec/{wanted}" in classes
    assert not [each for each in classes if "create-replace-delete" in each]


def test_a_coverage_comes_as_numbers_in_its_own_grid(town: Town) -> None:
    found = town.get("/collections/ground/coverage")
    axes = found["domain"]["axes"]
    assert axes["x"] == {"start": CORNER[0] + 2.5, "stop": CORNER[0] + 197.5, "num": 40}
    assert axes["y"] == {"start": CORNER[1] + 147.5, "stop": CORNER[1] + 2.5, "num": 30}
    assert found["domain"]["referencing"][0]["system"] == {"type": "ProjectedCRS", "id": f"{EPSG}5897"}
    assert found["parameters"]["elevation"]["unit"]["symbol"]["value"] == "m"
    values = found["ranges"]["elevation"]["values"]
    assert found["ranges"]["elevation"]["shape"] == [30, 40]
    assert values[:3] == [None, 0.1, 0.2]
    assert len(values) == 1200


def test_a_coverage_is_cut_by_a_box_in_lon_lat_by_the_pinned_operation(town: Town) -> None:
    x, y = CORNER
    ring = vn2000.to_wgs84(np.array([(x + 51, y + 51), (x + 74, y + 74)]), 5897).ravel()
    lonlat = town.get(f"/collections/ground/coverage?properties=elevation&bbox={','.join(map(str, ring))}")
    box = f"bbox={x + 51},{y + 51},{x + 74},{y + 74}&bbox-crs={EPSG}5897"
    native = town.get(f"/collections/ground/coverage?properties=elevation&{box}")
    assert lonlat["domain"] == native["domain"]
    assert native["domain"]["axes"]["x"] == {"start": x + 52.5, "stop": x + 72.5, "num": 5}
    assert list(native["ranges"]) == ["elevation"]
    # The row of y = corner + 72.5 is the 16th from above, of x = corner + 52.5 the 11th from the left.
    assert native["ranges"]["elevation"]["values"][0] == pytest.approx((15 * 40 + 10) / 10)


def test_a_coverage_is_thinned_when_it_is_asked_to_be(town: Town) -> None:
    found = town.get("/collections/ground/coverage?scale-size=10")
    assert found["ranges"]["depth"]["shape"] == [7, 10]


@pytest.mark.parametrize(
    "box", ["", f"&bbox={CORNER[0]},{CORNER[1]},{CORNER[0] + 100},{CORNER[1] + 60}&bbox-crs={EPSG}5897"]
)
def test_a_geotiff_is_thinned_as_well(town: Town, box: str) -> None:
    """It was sent in full, whatever size was asked for."""
    whole = town.get(f"/collections/ground/coverage?scale-size=10{box}")
    answer = town.ask(f"/collections/ground/coverage?f=GTiff&scale-size=10{box}")
    with rasterio.MemoryFile(answer.body) as memory, memory.open() as file:
        values = file.read(masked=True)
        axes = whole["domain"]["axes"]
        assert (file.height, file.width) == tuple(whole["ranges"]["depth"]["shape"])
        assert max(file.height, file.width) == 10
        assert file.crs.to_epsg() == 5897
        assert file.xy(0, 0) == pytest.approx((axes["x"]["start"], axes["y"]["start"]))
        for band, name in zip(values, whole["ranges"], strict=True):
            told = [None if each is np.ma.masked else pytest.approx(float(each), abs=1e-5) for each in band.ravel()]
            assert whole["ranges"][name]["values"] == told


def test_the_geotiff_is_the_file_itself_or_a_window_of_it(town: Town) -> None:
    answer = town.ask("/collections/ground/coverage?f=GTiff")
    assert answer.headers["Content-Type"].startswith("image/tiff")
    with rasterio.MemoryFile(answer.body) as memory, memory.open() as file:
        assert (file.width, file.height, file.count, file.crs.to_epsg()) == (40, 30, 2, 5897)
    assert town.ask("/collections/ground/coverage?f=GTiff", Range="bytes=0-3").status == 206
    x, y = CORNER
    window = town.ask(
        f"/collections/ground/coverage?f=GTiff&properties=depth&bbox={x},{y},{x + 50},{y + 50}&bbox-crs={EPSG}5897"
    )
    with rasterio.MemoryFile(window.body) as memory, memory.open() as file:
        assert (file.width, file.height, file.count) == (10, 10, 1)
        assert file.bounds.left == x
        assert file.read(1)[9, 0] == pytest.approx(29 * 40 / 1000)


def test_the_json_ld_of_collections_leads_to_their_data_alone(town: Town) -> None:
    """schema.org's `contentUrl`, an open end as `..`, and no address that is not served."""
    every = {each["@id"].rpartition("/")[2]: each for each in town.get("/collections?f=jsonld")["dataset"]}
    assert every.keys() == {each["id"] for each in town.get("/collections")["collections"]} - {"data-catalogue"}
    for name, dataset in every.items():
        assert town.get(f"/collections/{name}?f=jsonld")["dataset"] == dataset
        assert dataset["distribution"], name
        assert "None" not in dataset.get("temporalCoverage", ""), name
        for download in dataset["distribution"]:
            address = download["contentUrl"]
            assert address.startswith(f"{town.url}/collections/{name}/"), address
            answer = town.ask(address.removeprefix(town.url), "HEAD")
            assert answer.status == 200 or "/export?" in address, address
            if answer.status == 200:
                said = answer.headers["Content-Type"].partition(";")[0]
                assert said == download["encodingFormat"].partition(";")[0]


@pytest.mark.parametrize("path", ["/collections/ground/coverage?f=GTiff", "/static/map.js"])
def test_a_file_is_sent_once_and_ranges_are_asked_for_by_get_in_bytes(town: Town, path: str) -> None:
    while (whole := town.ask(path)).headers["Last-Modified"] is None:
        time.sleep(0.2)  # it is told once nothing else can have that second
    assert town.ask(path, If_None_Match=whole.headers["ETag"]).status == 304
    assert town.ask(path, If_None_Match='"other"').status == 200
    assert town.ask(path, If_Modified_Since=whole.headers["Last-Modified"]).status == 304
    part = town.ask(path, Range="bytes=1-3", If_Range=whole.headers["ETag"])
    assert (part.status, part.body) == (206, whole.body[1:4])
    other = town.ask(path, Range="features=1-3")
    assert (other.status, other.body) == (200, whole.body), "a unit that is not understood (RFC 9110, 14.2)"
    head = town.ask(path, "HEAD", Range="bytes=1-3")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(whole.body)))


def test_a_box_beside_the_coverage_is_a_problem(town: Town) -> None:
    for query in (
        "bbox=0,0,1,1",
        "bbox=1,2",
        "properties=nope",
        "scale-size=0",
        "scale-size=x",
        f"bbox-crs={EPSG}5897",
        "bbox=1,2,3,4,5,6,7",
        f"bbox=0,0,1,1&bbox-crs={EPSG}9999",
    ):
        assert town.ask(f"/collections/ground/coverage?{query}").status == 400, query
        assert town.ask(f"/collections/ground/coverage?f=GTiff&{query}").status == 400, query


def test_the_dossier_joins_the_row_its_subject_and_the_related_features(town: Town) -> None:
    found = town.get("/lots/00004.1.1/dossier?lang=en")
    assert found["title"] == "Plot card"
    assert found["properties"] == {"map_area": 400, "work_count": 1}
    assert found["subject"]["collection"] == "plots"
    assert found["subject"]["feature"]["geometry"]["type"] == "MultiPolygon"
    assert "hidden_note" not in json.dumps(found)
    part = found["related"][0]
    assert (part["attribute"], part["collection"], part["title"]) == ("works", "works", "Works on the plot")
    item = part["items"][0]
    assert item["id"] == "01/GPXD"
    assert item["relation"] == {"distance": 1.5}
    assert item["properties"]["floors"] == 1
    assert town.get(item["href"].removeprefix(town.url))["id"] == "01/GPXD"
    schema = town.get("/openapi")["components"]["schemas"]
    assert set(schema["dossier"]["required"]) <= found.keys()


def test_health_and_metrics_are_for_machines(town: Town) -> None:
    assert town.get("/health")["status"] == "ok"
    town.get("/collections/plots/items?limit=3")
    text = town.ask("/metrics").text
    assert 'sdi_request_seconds_count{method="GET",route="/collections/{collection}/items",status="200"}' in text
    assert 'sdi_features_total{collection="plots"}' in text


def test_another_site_may_read_the_service(town: Town) -> None:
    answer = town.ask("/collections", Origin="https://example.org")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_every_word_of_the_pages_is_in_vietnamese() -> None:
    import re

    from sdi.service.pages import TEMPLATES

    said: set[str] = set()
    for path in [*TEMPLATES.glob("*.html"), *TEMPLATES.parent.glob("*.py")]:
        said |= set(re.findall(r'\b_\("([^"]+)"\)', path.read_text(encoding="utf-8")))
    vietnamese = words.translator("vi")
    assert len(said) > 40
    assert [text for text in sorted(said) if vietnamese(text) == text] == []
