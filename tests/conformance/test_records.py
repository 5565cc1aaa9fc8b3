"""OGC 20-004r1 (Records Part 1), Annex A, as far as its classes are declared: a searchable catalogue with sorting."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.conformance.abstract import RECORDS, conf
from tests.conformance.conftest import GEOJSON, REL, SCHEMA, Api, link, media_type

CATALOG = "application/ogc-catalog+json"
DATE, MOMENT = r"\d{4}-\d\d-\d\d", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
CORE = ("q", "bbox", "datetime", "type", "ids", "externalIds", "limit")


@pytest.fixture(scope="module")
def catalogue(api: Api) -> str:
    assert api.catalogues, "no collection has the item type record"
    return next(iter(api.catalogues))


@pytest.fixture(scope="module")
def records(api: Api, catalogue: str) -> list[dict[str, Any]]:
    found = api.items(catalogue)["features"]
    assert len(found) > 2
    return list(found)


def parameters_of(api: Api, catalogue: str) -> dict[str, dict[str, Any]]:
    document = api.get("/openapi", "application/vnd.oai.openapi+json")
    given = document["paths"][f"/collections/{catalogue}/items"]["get"]["parameters"]
    known = document["components"]["parameters"]
    return {known[each["$ref"].rsplit("/", 1)[1]]["name"]: known[each["$ref"].rsplit("/", 1)[1]] for each in given}


def found_ids(api: Api, catalogue: str, **parameters: Any) -> frozenset[str]:
    """The ids of the records that match."""
    return frozenset(each["id"] for each in api.items(catalogue, limit=1000, **parameters)["features"])


def words(record: dict[str, Any]) -> str:
    return str(record["properties"]["title"])


# --- records and their collection ------------------------------------------------------------------------------------


@conf(RECORDS, "record-core/mandatory-properties-record", "record-core/contact", "record-core/license")
@conf(RECORDS, "searchable-catalog/mandatory-record-properties", "searchable-catalog/building-blocks")
def test_a_record_has_what_it_must_have(records: list[dict[str, Any]]) -> None:
    assert len({each["id"] for each in records}) == len(records)
    for each in records:
        assert each["id"]
        assert each["properties"]["type"]
        assert each["properties"]["title"]
        for contact in each["properties"]["contacts"]:
            assert contact.get("name") or contact.get("organization")
            assert all(found["type"] for found in contact.get("links", []))
        if each["properties"]["license"] == "other":
            assert link(each, "license")


@conf(RECORDS, "record-core/links", "record-core/default-mediatype")
def test_a_record_names_its_one_catalogue(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    for each in records:
        (collection,) = [found["href"] for found in each["links"] if found["rel"] == "collection"]
        assert collection == f"{api.url}/collections/{catalogue}"


@conf(RECORDS, "record-core/time-interval", "record-core/time-instant", "record-core/time-zone")
@conf(RECORDS, "record-core/time-instant-interval")
def test_time_is_days_or_instants(records: list[dict[str, Any]]) -> None:
    timed = [each["time"]["interval"] for each in records if each["time"] is not None]
    assert timed
    for interval in timed:
        assert len(interval) == 2
        told = [end for end in interval if end != ".."]
        assert all(re.fullmatch(DATE, end) for end in told) or all(re.fullmatch(MOMENT, end) for end in told)


@conf(RECORDS, "record-collection/mandatory-properties-collection", "record-collection/itemType")
@conf(RECORDS, "record-collection/links", "record-collection/links-records", "record-collection/contact")
@conf(RECORDS, "record-collection/license", "record-collection/default-mediatype")
@conf(RECORDS, "searchable-catalog/mandatatory-catalog-properties", "sorting/defaultSortOrder-definition")
def test_the_catalogue_has_what_it_must_have(api: Api, catalogue: str) -> None:
    found = api.get(f"/collections/{catalogue}")
    assert (found["id"], found["type"], found["itemType"]) == (catalogue, "Collection", "record")
    assert found["title"]
    assert link(found, "self")
    assert link(found, "items", GEOJSON)
    assert found["license"] != "other" or link(found, "license")
    sortables = api.get(f"/collections/{catalogue}/sortables", SCHEMA)["properties"]
    for order in found["defaultSortOrder"]:
        assert order["field"] in sortables
        assert order["direction"] in ("asc", "desc")


# --- the API ----------------------------------------------------------------------------------------------------------


@conf(RECORDS, "records-api/features-api", "records-api/catalogs-response", "records-api/catalog-response")
@conf(RECORDS, "records-api/records-op", "records-api/record-op", "records-api/record-response")
@conf(RECORDS, "records-api/resource-name-mapping", "json/record-content", "json/record-response", "json/conformance")
def test_records_and_each_of_them_are_geojson(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    assert api.get(f"/collections/{catalogue}") == api.catalogues[catalogue]
    page = api.items(catalogue, limit=2)
    assert page["type"] == "FeatureCollection"
    assert (page["numberReturned"], page["numberMatched"]) == (2, len(records))
    assert link(page, "self", GEOJSON)
    assert link(page, "alternate", "text/html")
    following = api.get(str(link(page, "next")), GEOJSON)["features"]
    assert [each["id"] for each in page["features"] + following][:4] == [each["id"] for each in records][:4]
    for each in records:
        alone = api.get(f"/collections/{catalogue}/items/{each['id']}", GEOJSON)
        assert alone == each
        assert {"id", "type", "time", "geometry", "properties", "links"} <= alone.keys()
        assert alone["geometry"] is None or alone["geometry"]["type"] == "Polygon"
    assert api.ask(f"/collections/{catalogue}/items/there_is_none").status == 404


@conf(RECORDS, "json/catalog-response", "json/catalog-content")
def test_the_catalogue_has_a_media_type_of_its_own(api: Api, catalogue: str) -> None:
    assert api.get(f"/collections/{catalogue}", CATALOG) == api.get(f"/collections/{catalogue}")


@conf(RECORDS, "records-api/mandatory-params", "oas30/conformance", "oas30/oas30")
@conf(RECORDS, "record-core-query-parameters/q-definition", "record-core-query-parameters/type-definition")
@conf(RECORDS, "record-core-query-parameters/ids-definition", "sorting/sortby-definition")
@conf(RECORDS, "record-core-query-parameters/externalIds-definition")
def test_the_api_definition_names_the_parameters(api: Api, catalogue: str) -> None:
    told = parameters_of(api, catalogue)
    assert {*CORE, "sortby"} <= told.keys()
    for name in ("q", "type", "ids", "externalIds", "sortby"):
        assert (told[name]["in"], told[name]["required"], told[name]["style"]) == ("query", False, "form")
        assert told[name]["explode"] is False
        assert (told[name]["schema"]["type"], told[name]["schema"]["items"]["type"]) == ("array", "string")


@conf(RECORDS, "record-core-query-parameters/q-response")
def test_words(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    title = words(records[0])
    assert records[0]["id"] in found_ids(api, catalogue, q=title)
    assert found_ids(api, catalogue, q=title.upper()) == found_ids(api, catalogue, q=title)
    either = f"{title},{words(records[1])}"
    assert found_ids(api, catalogue, q=either) == found_ids(api, catalogue, q=title) | found_ids(
        api, catalogue, q=words(records[1])
    )
    assert found_ids(api, catalogue, q="there-is-no-such-word") == frozenset()
    backwards = " ".join(reversed(title.split()))
    assert records[0]["id"] not in found_ids(api, catalogue, q=backwards) or backwards == title


@conf(RECORDS, "record-core-query-parameters/bbox")
def test_bbox(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    placed = frozenset(each["id"] for each in records if each["geometry"] is not None)
    (west, south), (east, north) = (records[0]["geometry"]["coordinates"][0][at] for at in (0, 2))
    assert records[0]["id"] in found_ids(api, catalogue, bbox=f"{west},{south},{east},{north}")
    assert records[0]["id"] in found_ids(api, catalogue, bbox=f"{west},{south},0,{east},{north},9")
    assert found_ids(api, catalogue, bbox="-180,-90,180,90") == placed
    assert found_ids(api, catalogue, bbox="170,-90,-170,90") == frozenset()
    for wrong in ("1,2,3", "1,2,3,x", "1,5,2,4"):
        assert api.ask(f"/collections/{catalogue}/items", bbox=wrong).status == 400


@conf(RECORDS, "record-core-query-parameters/datetime")
def test_datetime(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    timeless = frozenset(each["id"] for each in records if each["time"] is None)
    first = {each["id"]: each["time"]["interval"][0] for each in records if each["time"] is not None}
    assert found_ids(api, catalogue, datetime="../1900-01-01") == timeless, "what tells no time is found at any"
    for name, begins in first.items():
        assert name in found_ids(api, catalogue, datetime=begins)
        assert name in found_ids(api, catalogue, datetime=f"{begins}/..")
    for wrong in ("x", "2024-13-01", "2024-01-02/2024-01-01"):
        assert api.ask(f"/collections/{catalogue}/items", datetime=wrong).status == 400


@conf(RECORDS, "record-core-query-parameters/type-response", "record-core-query-parameters/ids-response")
@conf(RECORDS, "record-core-query-parameters/externalIds-response")
def test_ids_types_and_external_ids(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    everything = frozenset(each["id"] for each in records)
    types = frozenset(each["properties"]["type"] for each in records)
    assert found_ids(api, catalogue, type=",".join(types)) == everything
    assert found_ids(api, catalogue, type="there-is-none") == frozenset()
    assert found_ids(api, catalogue, ids=f"{records[0]['id']},{records[2]['id']},x") == {
        records[0]["id"],
        records[2]["id"],
    }
    named = [(each["id"], found) for each in records for found in each["properties"].get("externalIds", [])]
    assert named
    for name, found in named:
        assert name in found_ids(api, catalogue, externalIds=found["value"])
        assert name in found_ids(api, catalogue, externalIds=f"{found['scheme']}:{found['value']}")
        assert found_ids(api, catalogue, externalIds=f"there-is-none:{found['value']}") == frozenset()
        assert found_ids(api, catalogue, externalIds=found["scheme"]) == {each for each, other in named
                                                                   if other["scheme"] == found["scheme"]}  # fmt: skip


@conf(RECORDS, "record-core-query-parameters/limit", "record-core-query-parameters/empty-value")
def test_limit_and_parameters_without_a_value(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    assert len(api.items(catalogue, limit=1)["features"]) == 1
    for wrong in (0, -1, "x"):
        assert api.ask(f"/collections/{catalogue}/items", limit=wrong).status == 400
    empty = dict.fromkeys(CORE, "")
    assert [each["id"] for each in api.items(catalogue, **empty)["features"]] == [each["id"] for each in records]
    assert api.ask(f"/collections/{catalogue}/items", this_is_none="x").status == 400


@conf(RECORDS, "sorting/conformance", "sorting/get-sortables-op", "sorting/get-sortables-success")
@conf(
    RECORDS, "sorting/sortby-response", "searchable-catalog/sorting/conformance", "searchable-catalog/sorting/sorting"
)
def test_sorting(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    address = str(link(api.catalogues[catalogue], f"{REL}/sortables"))
    sortables = api.get(address, SCHEMA)["properties"]
    for name in sortables:
        up = [value(each, name) for each in api.items(catalogue, sortby=name)["features"]]
        down = [value(each, name) for each in api.items(catalogue, sortby=f"-{name}")["features"]]
        assert up == sorted(up)
        assert down == sorted(down, reverse=True)
    assert api.ask(f"/collections/{catalogue}/items", sortby="there_is_none").status == 400


def value(record: dict[str, Any], name: str) -> str:
    return str(record["id"] if name == "id" else record["properties"][name]).casefold()


@conf(RECORDS, "searchable-catalog/conformance", "html/conformance", "html/definition", "html/content")
def test_every_answer_is_to_be_had_as_a_page(api: Api, catalogue: str, records: list[dict[str, Any]]) -> None:
    below = f"/collections/{catalogue}"
    for path in (below, f"{below}/items", f"{below}/items/{records[0]['id']}"):
        answer = api.ask(path, accept="text/html")
        assert (answer.status, media_type(answer)) == (200, "text/html"), path
        assert words(records[0]) in answer.text


class Leading(HTMLParser):
    """The <link> elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "link":
            self.found.append(dict(attrs))


@conf(RECORDS, "autodiscovery/links")
def test_pages_lead_to_the_catalogue(api: Api, catalogue: str) -> None:
    assert str(link(api.get(), f"{REL}/ogc-catalog")) == f"{api.url}/collections/{catalogue}/items"
    page = Leading()
    page.feed(api.ask("/", accept="text/html").text)
    (found,) = [each["href"] for each in page.found if each["rel"] == f"{REL}/ogc-catalog"]
    assert api.get(str(found), GEOJSON)["features"]
