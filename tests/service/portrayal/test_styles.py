"""Styles and projects as the service offers them: addresses, encodings, links, and what is not for everybody."""

from __future__ import annotations

import io
import json
import zipfile
from xml.etree import ElementTree as ET

from sdi.catalog.qgis.layers import AUTHENTICATION
from tests.service.conftest import Town
from tests.service.portrayal.conftest import STEWARD

REL = "http://www.opengis.net/def/rel/ogc/1.0"
TYPES = {
    "mapbox": "application/vnd.mapbox.style+json",
    "sld11": "application/vnd.ogc.sld+xml;version=1.1",
    "qml": "application/vnd.qgis.qml",
}


def project(body: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        [name] = archive.namelist()
        assert name.endswith(".qgs")
        return archive.read(name).decode("utf-8")


def test_a_collection_leads_to_its_style_in_every_encoding(town: Town) -> None:
    links = town.get("/collections/plots")["links"]
    [listed] = [each["href"] for each in links if each["rel"] == f"{REL}/styles"]
    found = town.get(listed.removeprefix(town.url))
    assert (found["default"], [each["id"] for each in found["styles"]]) == ("default", ["default"])
    offered = {each["type"]: each["href"] for each in found["styles"][0]["links"] if each["rel"] == "stylesheet"}
    assert set(offered) == set(TYPES.values())
    for media_type, href in offered.items():
        answer = town.ask(href.removeprefix(town.url))
        assert (answer.status, answer.headers["Content-Type"]) == (200, media_type)
        assert answer.headers["ETag"]


def test_an_encoding_is_chosen_by_f_or_accept(town: Town) -> None:
    for name, media_type in TYPES.items():
        by_name = town.ask(f"/collections/plots/styles/default?f={name}")
        by_type = town.ask("/collections/plots/styles/default", Accept=media_type.partition(";")[0])
        assert by_name.body == by_type.body
    assert town.ask("/collections/plots/styles/default?f=css").status == 400
    assert town.ask("/styles/default?f=qml").status == 400, "only tiles have one style of all layers"


def test_the_style_of_the_dataset_draws_its_tiles_the_lines_above_the_areas(town: Town) -> None:
    style = town.get("/styles/default")
    [source] = style["sources"].values()
    tiles = town.get(source["url"].removeprefix(town.url))
    known = {each["id"] for each in tiles["vector_layers"]}
    assert {each["source-layer"] for each in style["layers"] if "source-layer" in each} == known
    drawn = [each["id"] for each in style["layers"]]
    assert drawn.index("plots.area") < drawn.index("plots.outline") < drawn.index("works.point")
    assert drawn.index("works.point") < drawn.index("plots.label"), "labels are above all shapes"
    [fill] = [each["paint"]["fill-color"] for each in style["layers"] if each["id"] == "plots.area"]
    assert fill[:4] == ["match", ["get", "use"], "ODT", "#ffd0e0"]
    legend = style["metadata"]["sdi:legend"]["plots"]
    assert legend["attribute"] == "Mã loại đất"
    assert legend["entries"][0] == {"value": "ODT", "title": "Đất ở tại đô thị (ODT)", "colour": "#ffd0e0"}


def test_the_map_of_all_layers_begins_without_what_is_computed_of_others(town: Town) -> None:
    off = {each["source-layer"] for each in town.get("/styles/default")["layers"]
           if each.get("layout", {}).get("visibility") == "none"}  # fmt: skip
    assert off == {"plot_card"}
    alone = town.get("/collections/plot_card/styles/default?f=mapbox")["layers"]
    assert all("visibility" not in each.get("layout", {}) for each in alone), "who asks for a layer wants to see it"


def test_styles_and_projects_speak_the_asked_language(town: Town) -> None:
    assert "Urban residential land (ODT)" in town.ask("/collections/plots/styles/default?f=qml&lang=en").text
    assert "Đất ở tại đô thị (ODT)" in town.ask("/collections/plots/styles/default?f=sld11").text
    assert "Test plots" in project(town.ask("/qgis/public.qgz?lang=en").body)


def test_what_is_not_there_is_not_found(town: Town) -> None:
    unknown = town.ask("/collections/nothing/styles?f=json").json["detail"]
    for path in ("/collections/secrets/styles", "/collections/secrets/styles/default"):
        answer = town.ask(f"{path}?f=mapbox" if path.endswith("default") else path)
        assert answer.status == 404
        assert answer.json["detail"].replace("secrets", "nothing") == unknown
    for path in ("/collections/plots/styles/night", "/styles/night", "/collections/ground/styles"):
        assert town.ask(path).status == 404
    assert "secrets" not in town.ask("/styles/default").text


def test_the_publics_project_is_everybodys_and_names_no_key(town: Town, key: str) -> None:
    answer = town.ask("/qgis/public.qgz")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-qgis-project")
    assert answer.headers["Cache-Control"].startswith("public")
    text = project(answer.body)
    ET.fromstring(text.partition("\n")[2])
    assert "typename='plots'" in text
    for hidden in ("secrets", "hidden_note", "__findings", AUTHENTICATION):
        assert hidden not in text
    assert town.ask("/qgis/public.qgz", Authorization=f"Bearer {key}").body == answer.body
    again = town.ask("/qgis/public.qgz", If_None_Match=answer.headers["ETag"])
    assert again.status == 304


def test_an_agencys_project_exists_for_who_shows_its_key_alone(town: Town, key: str) -> None:
    own = town.ask(f"/qgis/{STEWARD}.qgz", Authorization=f"Bearer {key}")
    assert own.status == 200
    assert own.headers["Cache-Control"] == "private, no-cache"
    text = project(own.body)
    assert f"authcfg='{AUTHENTICATION}'" in text
    assert "typename='plots__findings'" in text
    assert key not in text
    nobody = town.ask("/qgis/so_nobody.qgz")
    for name, headers in ((STEWARD, {}), ("so_khac", {"Authorization": f"Bearer {key}"})):
        answer = town.ask(f"/qgis/{name}.qgz", **headers)
        told = json.dumps(answer.json).replace(name, "so_nobody")
        assert (answer.status, told) == (404, json.dumps(nobody.json))


def test_the_landing_page_leads_to_the_project_of_who_asks(town: Town, key: str) -> None:
    def leads(**headers: str) -> list[str]:
        return [each["href"] for each in town.get("/?f=json", **headers)["links"] if each["rel"] == "enclosure"]

    assert leads() == [f"{town.url}/qgis/public.qgz"]
    assert leads(Authorization=f"Bearer {key}") == [f"{town.url}/qgis/{STEWARD}.qgz"]
    assert "/qgis/public.qgz" in town.ask("/", Accept="text/html").text


def test_the_openapi_document_has_the_styles_of_every_layer_with_a_shape(town: Town) -> None:
    document = town.get("/openapi")
    assert {"/styles", "/styles/{styleId}", "/collections/plots/styles", "/qgis/{agencyId}.qgz"} <= set(
        document["paths"]
    )
    assert "/collections/ground/styles" not in document["paths"]
    offered = document["components"]["responses"]["Style"]["content"]
    assert set(offered) == set(TYPES.values())
