"""OGC 18-058 (Features Part 2: CRS by reference), Annex A, and what is offered of the draft of Coverages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conformance.abstract import COVERAGES, PART_2, conf
from tests.conformance.conftest import GEOJSON, Api, bbox
from tests.conformance.test_core import CRS84, points

URI = re.compile(r"http://www\.opengis\.net/def/crs/[A-Z]+/[0-9.]+/[0-9A-Za-z]+")
WRONG = ("http://www.opengis.net/def/crs/OGC/0/does_not_exist", "http://www.opengis.net/def/crs/0/unsupported")
EPSG_4326 = "http://www.opengis.net/def/crs/EPSG/0/4326"


def shapes(api: Api, name: str, **asked: Any) -> dict[str, Any]:
    return {
        feature["id"]: points(feature["geometry"]["coordinates"])
        for feature in api.items(name, limit=20, **asked)["features"] if feature["geometry"] is not None
    }  # fmt: skip


def one_of(api: Api, name: str) -> str:
    """The address of a collection's first feature."""
    first: str = api.items(name, limit=1)["features"][0]["id"]
    return f"/collections/{name}/items/{first.replace('/', '%2F')}"


@conf(PART_2, "crs/crs-uri", "crs/default-crs", "crs/storageCrs")
def test_each_collection_names_its_crss(api: Api) -> None:
    for collection in api.features.values():
        assert all(URI.fullmatch(each) for each in collection["crs"])
        assert collection["crs"][0] == CRS84
        if "storageCrs" in collection:
            assert collection["storageCrs"] in collection["crs"]


@conf(PART_2, "crs/crs-parameter", "crs/crs-parameter-default", "crs/crs-parameter-transform", "crs/crs-transform")
def test_the_answer_is_in_the_asked_crs_and_says_so(api: Api) -> None:
    for name, collection in api.features.items():
        plain = api.ask(f"/collections/{name}/items", accept="application/geo+json", limit=1)
        assert plain.headers["Content-Crs"] == f"<{CRS84}>"
        in_crs84 = shapes(api, name)
        for uri in collection["crs"]:
            answer = api.ask(f"/collections/{name}/items", crs=uri, limit=1)
            assert (answer.status, answer.headers["Content-Crs"]) == (200, f"<{uri}>")
            found = shapes(api, name, crs=uri)
            assert found.keys() == in_crs84.keys()
            assert (found == in_crs84) == (uri == CRS84 or not found), uri
            if uri == EPSG_4326:
                assert found == {id: [[y, x] for x, y in shape] for id, shape in in_crs84.items()}


@conf(PART_2, "crs/crs-parameter", "crs/crs-parameter-default", "crs/crs-parameter-transform")
def test_a_feature_alone_is_in_the_asked_crs_too(api: Api) -> None:
    for name, collection in api.features.items():
        plain = api.ask(one_of(api, name), accept=GEOJSON)
        assert (plain.status, plain.headers["Content-Crs"]) == (200, f"<{CRS84}>")
        for uri in collection["crs"]:
            answer = api.ask(one_of(api, name), accept=GEOJSON, crs=uri)
            assert (answer.status, answer.headers["Content-Crs"]) == (200, f"<{uri}>")
            among = api.items(name, limit=1, crs=uri)["features"][0]
            assert (answer.json["id"], answer.json["geometry"]) == (among["id"], among["geometry"])


@conf(PART_2, "crs/crs-parameter-invalid", "crs/bbox-crs-parameter-invalid")
def test_an_unknown_crs_is_refused(api: Api) -> None:
    for name in api.features:
        for wrong in WRONG:
            assert api.ask(f"/collections/{name}/items", crs=wrong).status == 400
            assert api.ask(f"/collections/{name}/items", bbox="1,2,3,4", bbox_crs=wrong).status == 400
            assert api.ask(one_of(api, name), crs=wrong).status == 400


@conf(PART_2, "crs/bbox-crs-parameter", "crs/bbox-crs-parameter-default")
def test_a_box_may_be_told_in_each_crs(api: Api) -> None:
    for name, collection in api.features.items():
        west, south, east, north = bbox(collection)
        expected = api.ids(name, bbox=f"{west},{south},{east},{north}")
        assert api.ids(name, bbox=f"{west},{south},{east},{north}", bbox_crs=CRS84) == expected
        assert api.ids(name, bbox=f"{south},{west},{north},{east}", bbox_crs=EPSG_4326) == expected
        for uri in collection["crs"]:
            told = [point for shape in shapes(api, name, crs=uri, bbox=f"{west},{south},{east},{north}").values()
                    for point in shape]  # fmt: skip
            low, high = [min(axis) for axis in zip(*told, strict=True)], [max(axis) for axis in zip(*told, strict=True)]
            around = ",".join(repr(value) for value in (low[0] - 1, low[1] - 1, high[0] + 1, high[1] + 1))
            if uri not in (CRS84, EPSG_4326):
                seen = shapes(api, name, bbox=f"{west},{south},{east},{north}").keys()
                assert seen <= api.ids(name, bbox=around, bbox_crs=uri), uri


@pytest.fixture
def coverages(api: Api) -> list[str]:
    found = [name for name in api.collections if name not in {*api.features, *api.catalogues}]
    assert found, "nothing to test the draft with"
    return found


@conf(COVERAGES, "core/coverage", "geodata-coverage/success", "coverage-bbox/success", "coverage-rangesubset/success")
def test_a_coverage_is_answered_whole_in_a_box_and_by_its_bands(api: Api, coverages: list[str]) -> None:
    """Drafts without abstract tests of their own: what each class asks for, in one."""
    for name in coverages:
        # A deployment's raster may be a whole city: of that the middle is asked for.
        west, south, east, north = bbox(api.collections[name])
        x, y = (west + east) / 2, (south + north) / 2
        dx, dy = (east - west) / 10, (north - south) / 10
        box = f"{x - dx},{y - dy},{x + dx},{y + dy}"
        found = api.ask(f"/collections/{name}/coverage", bbox=box).json
        bands = sorted(found["parameters"])
        assert bands
        one = api.ask(f"/collections/{name}/coverage", bbox=box, properties=bands[0]).json
        assert sorted(one["parameters"]) == bands[:1]
        outside = f"{west - 2},{south - 2},{west - 1},{south - 1}"
        assert api.ask(f"/collections/{name}/coverage", bbox=outside).status in (204, 400)
        tiff = api.ask(f"/collections/{name}/coverage", accept="image/tiff; application=geotiff", bbox=box, f="GTiff")
        assert (tiff.status, tiff.body[:2]) in ((200, b"II"), (200, b"MM"))
