"""What is said about tiles: links, lists, metadata, TileJSON, and the tile matrix set."""

from __future__ import annotations

import re
from html import escape, unescape

from owslib.ogcapi import API

from sdi.service.tiles.documents import CONFORMANCE
from sdi.service.tiles.tileset import SEARCHED, Shown
from sdi.store.ledger import Publication
from tests.service.conftest import Town
from tests.service.tiles.conftest import QUAD

REL = "http://www.opengis.net/def/rel/ogc/1.0"


def follow(document: dict[str, object], rel: str, type_: str | None = None) -> str:
    links = document["links"]
    assert isinstance(links, list)
    (found,) = {each["href"] for each in links if each["rel"] == rel and type_ in (None, each["type"])}
    assert isinstance(found, str)
    return found


def test_links_lead_from_the_landing_page_and_from_a_collection_to_a_tile(town: Town) -> None:
    for start in ("/", "/collections/plots"):
        path = follow(town.get(start), f"{REL}/tilesets-vector").removeprefix(town.url)
        (listed,) = town.get(path)["tilesets"]
        assert listed["dataType"] == "vector"
        assert listed["crs"] == "http://www.opengis.net/def/crs/EPSG/0/3857"
        assert listed["tileMatrixSetURI"].endswith("/tilematrixset/OGC/1.0/WebMercatorQuad")
        scheme = town.get(follow(listed, f"{REL}/tiling-scheme").removeprefix(town.url))
        assert scheme["uri"] == listed["tileMatrixSetURI"]
        tileset = town.get(follow(listed, "self").removeprefix(town.url))
        template = follow(tileset, "item", "application/vnd.mapbox-vector-tile")
        limits = tileset["tileMatrixSetLimits"][-1]
        for name, value in (("tileMatrix", "tileMatrix"), ("tileRow", "minTileRow"), ("tileCol", "minTileCol")):
            template = template.replace(f"{{{name}}}", str(limits[value]))
        assert town.ask(template.removeprefix(town.url)).status in (200, 204)
    assert not [each for each in town.get("/collections/ground")["links"] if "tilesets" in each["rel"]]


def test_the_tile_matrix_set_is_that_of_the_standard(town: Town) -> None:
    (listed,) = town.get("/tileMatrixSets")["tileMatrixSets"]
    assert listed["id"] == "WebMercatorQuad"
    found = town.get(follow(listed, "self").removeprefix(town.url))
    # OGC 17-083r4, D.1; the scales of the zooms 0 and 18 are those of GoogleMapsCompatible in OGC 07-057r7, table E.4.
    assert len(found["tileMatrices"]) == 25
    assert round(found["tileMatrices"][0]["scaleDenominator"], 6) == 559082264.028718
    assert round(found["tileMatrices"][0]["cellSize"], 9) == 156543.033928041
    assert round(found["tileMatrices"][18]["scaleDenominator"], 6) == 2132.729584
    assert [each["matrixWidth"] for each in found["tileMatrices"]] == [2**zoom for zoom in range(25)]
    assert found["tileMatrices"][3]["pointOfOrigin"] == [-20037508.342789244, 20037508.342789244]


def test_metadata_and_tilejson_name_the_same_layers_attributes_and_zooms(town: Town) -> None:
    for path in (f"/collections/plots/{QUAD}", f"/{QUAD}", f"/{QUAD}?collections=works,plots"):
        tileset = town.get(path)
        tilejson = town.get(f"{path}{'&' if '?' in path else '?'}f=tilejson")
        assert tilejson["tilejson"] == "3.0.0"
        layers = {each["id"]: each for each in tilejson["vector_layers"]}
        assert list(layers) == [each["id"] for each in tileset["layers"]]
        for each in tileset["layers"]:
            assert set(each["propertiesSchema"]["properties"]) == set(layers[each["id"]]["fields"])
            assert int(each["minTileMatrix"]) == layers[each["id"]]["minzoom"]
        assert "hidden_note" not in str(tileset) + str(tilejson)
        zooms = [int(each["tileMatrix"]) for each in tileset["tileMatrixSetLimits"]]
        assert (tilejson["minzoom"], tilejson["maxzoom"]) == (zooms[0], zooms[-1])
        (template,) = tilejson["tiles"]
        limits = tileset["tileMatrixSetLimits"][14]
        for name, value in (("z", 14), ("y", limits["minTileRow"]), ("x", limits["minTileCol"])):
            template = template.replace(f"{{{name}}}", str(value))
        assert town.ask(template.removeprefix(town.url)).status == 200
        west, south, east, north = tilejson["bounds"]
        assert west < east
        assert south < north


def test_titles_are_spoken_in_both_languages(town: Town) -> None:
    path = "/collections/plots/tiles"
    vietnamese, english = (town.get(f"{path}?lang={each}")["tilesets"][0]["title"] for each in ("vi", "en"))
    assert vietnamese == town.get("/collections/plots?lang=vi")["title"]
    assert english == town.get("/collections/plots?lang=en")["title"]
    titles = {each["title"] for each in town.get("/?lang=vi")["links"]}
    assert {"Ô bản đồ vectơ", "Các bộ ma trận ô bản đồ"} <= titles


def test_a_persons_browser_is_shown_the_addresses_that_a_map_takes(town: Town) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path, style in (
        ("/tiles", "/styles/default"), (f"/{QUAD}", "/styles/default"),
        ("/collections/plots/tiles", "/collections/plots/styles/default"),
        (f"/collections/plots/{QUAD}", "/collections/plots/styles/default"), (f"/{QUAD}?collections=works,plots", None),
    ):  # fmt: skip
        answer = town.ask(path, **browser)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8"), path
        addresses = [unescape(each) for each in re.findall(r"<td><code>(http[^<]*)</code>", answer.text)]
        # Told once for QGIS and once for the web: tiles, style, TileJSON, style.
        assert len(addresses) == (4 if style else 2), path
        template, tilejson = addresses[0], next(each for each in addresses if "tilejson" in each)
        described = town.get(tilejson.removeprefix(town.url))
        assert template == described["tiles"][0]
        assert f"{described['minzoom']} – {described['maxzoom']}" in answer.text
        for layer in described["vector_layers"]:
            assert f"<code>{layer['id']}</code>" in answer.text
            assert all(escape(title) in answer.text for title in layer["fields"].values())
        if style is not None:
            assert addresses.count(f"{town.url}{style}?f=mapbox") == 2
            assert town.get(f"{style}?f=mapbox")["version"] == 8
        assert "hidden_note" not in answer.text


def test_tilesets_are_json_to_who_asks_for_no_page_and_each_leads_to_the_other(town: Town) -> None:
    for path in ("/tiles", f"/{QUAD}", "/collections/plots/tiles", f"/collections/plots/{QUAD}"):
        for accept in ("*/*", "application/json", "application/json,text/html;q=0.9"):
            assert town.ask(path, Accept=accept).headers["Content-Type"] == "application/json"
        page = follow(town.get(path), "alternate", "text/html")
        assert town.ask(page.removeprefix(town.url)).headers["Content-Type"].startswith("text/html")
    for language, heading in (("vi", "Ô bản đồ vectơ: Thửa đất thử"), ("en", "Vector tiles: Test plots")):
        page = town.ask(f"/collections/plots/tiles?f=html&lang={language}").text
        assert f"<h1>{heading}</h1>" in page
    # Pages lead to them.
    assert 'href="/collections/plots/tiles"' in town.ask("/collections/plots?f=html").text
    assert 'href="/tiles"' in town.ask("/?f=html").text
    assert "/tiles" not in town.ask("/collections/ground?f=html").text


def test_a_layer_of_a_million_is_shown_from_the_zoom_on_at_which_a_tile_can_be_searched(town: Town) -> None:
    layer = town.registry["plots"]

    def shown(count: int) -> Shown:
        facts = dict.fromkeys(Publication.__dataclass_fields__) | {"layer": layer.id, "count": count}
        return Shown(layer, Publication(**{**facts, "extent": (105.6, 20.8, 106.0, 21.2)}))

    assert shown(1_000).first == 0
    million = shown(1_000_000)
    assert 10 <= million.first <= 13
    assert million.expected(million.first) <= SEARCHED < million.expected(million.first - 1)
    assert million.limits(million.first - 1) is None
    assert [each.first for each in map(shown, (10**5, 10**6, 10**7))] == sorted(
        each.first for each in map(shown, (10**5, 10**6, 10**7))
    )


def test_the_declared_classes_are_those_that_are_tested(town: Town) -> None:
    declared = {each for each in town.get("/conformance")["conformsTo"] if "ogcapi-tiles" in each}
    assert declared == set(CONFORMANCE)
    operations = {each["get"]["operationId"] for each in town.get("/openapi")["paths"].values()}
    for name in ("getTileSetsList", "getTileSet", "getTile"):
        assert f".dataset.vector.{name}" in operations
        assert f"plots.collection.vector.{name}" in operations
    assert {"getTileMatrixSetsList", "getTileMatrixSet"} <= operations
    collections = town.get("/openapi")["components"]["parameters"]["collections"]
    assert (collections["style"], collections["explode"], collections["required"]) == ("form", False, False)


def test_owslib_reads_the_lists(town: Town) -> None:
    client = API(f"{town.url}/")
    (listed,) = client._request(path="collections/plots/tiles")["tilesets"]
    assert listed["tileMatrixSetURI"].endswith("WebMercatorQuad")
