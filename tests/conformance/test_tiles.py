"""OGC 20-057 (Tiles Part 1), Annex A, as far as its classes are declared: vector tiles in WebMercatorQuad."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.conformance.abstract import TILES, conf
from tests.conformance.conftest import REL, Api, link

MVT = "application/vnd.mapbox-vector-tile"


def tileset_of(api: Api, start: dict[str, Any]) -> dict[str, Any]:
    """The first tileset that a landing page or a collection leads to."""
    listed = api.get(str(link(start, f"{REL}/tilesets-vector")))["tilesets"][0]
    found: dict[str, Any] = api.get(str(link(listed, "self")))
    return found


def addresses(tileset: dict[str, Any]) -> list[str]:
    """A tile of each level, at the corner of the limits that are told."""
    template = str(link(tileset, "item", MVT))
    return [
        template.replace("{tileMatrix}", limits["tileMatrix"])
        .replace("{tileRow}", str(limits["minTileRow"])).replace("{tileCol}", str(limits["minTileCol"]))
        for limits in tileset["tileMatrixSetLimits"]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def starts(api: Api) -> list[dict[str, Any]]:
    found = [each for each in api.features.values() if link(each, f"{REL}/tilesets-vector")]
    assert found, "no collection has tiles"
    return [api.get(), *found]


@conf(TILES, "core/conformance-success", "tileset/conformance-success", "tilesets-list/conformance-success")
@conf(TILES, "dataset-tilesets/conformance-success", "geodata-tilesets/conformance-success")
@conf(TILES, "dataset-tilesets/landingpage", "dataset-tilesets/operation", "geodata-tilesets/operation")
@conf(TILES, "geodata-tilesets/desc-links", "tilesets-list/tileset-links", "tileset/tileset-description")
def test_links_lead_to_described_tilesets(api: Api, starts: list[dict[str, Any]]) -> None:
    for start in starts:
        address = str(link(start, f"{REL}/tilesets-vector"))
        assert address.partition("?")[0].endswith("/tiles")
        for listed in api.get(address)["tilesets"]:
            assert {"crs", "dataType", "links", "tileMatrixSetURI"} <= listed.keys()
            assert link(listed, f"{REL}/tiling-scheme")
            for each in listed["links"]:
                assert isinstance(api.get(each["href"], each["type"]), dict)
            tileset = api.get(str(link(listed, "self")))
            assert (tileset["crs"], tileset["dataType"]) == (listed["crs"], "vector")
            assert {"tileMatrixSetURI", "tileMatrixSetLimits", "layers", "links"} <= tileset.keys()
            scheme = api.get(str(link(tileset, f"{REL}/tiling-scheme")))
            known = {each["id"] for each in scheme["tileMatrices"]}
            assert {limits["tileMatrix"] for limits in tileset["tileMatrixSetLimits"]} <= known
            template = str(link(tileset, "item", MVT))
            assert f"/tiles/{tileset['tileMatrixSetURI'].rpartition('/')[2]}/" in template
            assert all(f"{{{name}}}" in template for name in ("tileMatrix", "tileRow", "tileCol"))


@conf(TILES, "core/tc-op", "core/tc-success", "core/tc-tilematrix-definition", "core/tc-tilerow-definition")
@conf(TILES, "core/tc-tilecol-definition", "mvt/content")
def test_tiles_are_answered(api: Api, starts: list[dict[str, Any]]) -> None:
    filled = 0
    for start in starts:
        for address in addresses(tileset_of(api, start))[10:18]:
            answer = api.ask(address, accept=MVT)
            assert answer.status in (200, 204), address
            if answer.status == 200:
                assert answer.headers["Content-Type"] == MVT
                body = gzip.decompress(answer.body) if answer.headers.get("Content-Encoding") else answer.body
                assert body[0] == 0x1A, "a tile begins with a layer (field 3 of the message Tile)"
                filled += 1
    assert filled


@conf(TILES, "core/tc-success", "mvt/content")
def test_a_tile_is_answered_to_who_names_no_format(api: Api, starts: list[dict[str, Any]]) -> None:
    for start in starts:
        address = addresses(tileset_of(api, start))[0]
        for accept in ("*/*", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"):  # the second is Java's own
            answer = api.ask(address, accept=accept)
            assert (answer.status, answer.headers.get("Content-Type")) in ((200, MVT), (204, None))


@conf(TILES, "core/tc-error")
def test_no_tile_stands_beyond_the_matrix(api: Api, starts: list[dict[str, Any]]) -> None:
    template = str(link(tileset_of(api, starts[1]), "item", MVT))
    most = str(2**31 - 1)
    for level, row, column in (("0", "1", "0"), ("0", "0", "1"), ("99", "0", "0"), ("x", "0", "0"), ("0", "-1", "0"),
                               ("15", most, most)):  # fmt: skip
        address = template
        for name, value in (("tileMatrix", level), ("tileRow", row), ("tileCol", column)):
            address = address.replace(f"{{{name}}}", value)
        assert api.ask(address, accept=MVT).status in (400, 404)


@conf(TILES, "collections-selection/collections-query", "collections-selection/collections-response")
@conf(TILES, "collections-selection/query-collections")
def test_collections_are_chosen(api: Api, starts: list[dict[str, Any]]) -> None:
    whole = tileset_of(api, starts[0])
    ids = [each["id"] for each in whole["layers"]]
    address = str(link(whole, "self")).partition("?")[0]
    assert [each["id"] for each in api.get(address, collections=ids[0])["layers"]] == ids[:1]
    assert api.ask(address, collections="there_is_none").status in (400, 404)


@conf(TILES, "oas30/completeness", "oas30/operationids")
def test_the_api_definition_names_the_tiles(api: Api) -> None:
    document = api.get("/openapi", "application/vnd.oai.openapi+json")
    ids = [about["get"]["operationId"] for about in document["paths"].values()]
    assert len(ids) == len(set(ids))
    for ending in ("getTileSetsList", "getTileSet", "getTile"):
        assert any(each.endswith(f".dataset.vector.{ending}") for each in ids)
        assert any(each.endswith(f".collection.vector.{ending}") for each in ids)
