"""OGC 19-079r2 (Features Part 3: Filtering), Annex A: queryables, filter, both languages, over every collection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.abstract import PART_3, conf
from tests.conformance.conftest import REL, SCHEMA, Api, bbox, link
from tests.conformance.test_core import parameters_of, points
from tests.conformance.test_crs import CRS84, WRONG

LANGUAGES = {
    "cql2-text": ("{queryable} IS NULL", "THIS IS NOT A FILTER"),
    "cql2-json": ('{{"op":"isNull","args":[{{"property":"{queryable}"}}]}}', '{"op":"this_is_no_operator","args":[]}'),
}


def plain(schema: dict[str, Any]) -> bool:
    return schema.get("type") in ("string", "number", "integer", "boolean")


def spatial(schema: dict[str, Any]) -> bool:
    return str(schema.get("format", "")).startswith("geometry-")


def box_filter(language: str, queryable: str, box: list[float]) -> str:
    if language == "cql2-text":
        return f"S_INTERSECTS({queryable},BBOX({','.join(map(repr, box))}))"
    return json.dumps({"op": "s_intersects", "args": [{"property": queryable}, {"bbox": box}]})


@conf(PART_3, "queryables/get-conformance", "queryables/get-collections", "queryables/get-queryables")
@conf(PART_3, "queryables/get-collection", "filter/get-conformance", "filter/get-collections", "filter/get-collection")
@conf(PART_3, "features-filter/get-conformance", "queryables-query-parameters/get-conformance", "filter/get-queryables")
def test_every_collection_leads_to_its_queryables(api: Api) -> None:
    for name, listed in api.features.items():
        path = f"/collections/{name}/queryables"
        assert link(listed, f"{REL}/queryables", SCHEMA) == api.url + path or link(listed, f"{REL}/queryables")
        found = api.get(path, SCHEMA)
        assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert found["$id"] == api.url + path
        assert found["type"] == "object"
        assert found["properties"]


@conf(PART_3, "queryables-query-parameters/parameters", "queryables-query-parameters/response")
def test_queryables_are_parameters_too(api: Api) -> None:
    compared = 0
    for name, queryables in api.queryables.items():
        told = parameters_of(api, name)
        for queryable, schema in queryables.items():
            # `key` in an address is an agency's key, whatever attributes are called; `filter` takes the attribute.
            if not plain(schema) or queryable in ("id", "key"):
                continue
            assert told[queryable]["in"] == "query"
            assert told[queryable]["schema"]["type"] == schema["type"]
            seen = [feature["properties"][queryable] for feature in api.items(name, limit=20)["features"]]
            value = next((each for each in seen if each is not None), None)
            if value is None or schema["type"] == "number":
                continue
            text = str(value).lower() if isinstance(value, bool) else value
            for feature in api.items(name, limit=100, **{queryable: text})["features"]:
                if "reform" not in schema and schema.get("x-ogc-role") is None and "commune" not in queryable:
                    assert feature["properties"][queryable] == value, (name, queryable)
            compared += 1
    assert compared > 5


@pytest.mark.parametrize("language", LANGUAGES)
@conf(PART_3, "filter/filter-param", "features-filter/filter-on-items", "filter/expression-construction")
def test_a_filter_is_evaluated_and_a_wrong_one_refused(api: Api, language: str) -> None:
    valid, invalid = LANGUAGES[language]
    for name, queryables in api.queryables.items():
        for queryable, schema in queryables.items():
            if not plain(schema):
                continue
            found = api.items(name, filter_lang=language, filter=valid.format(queryable=queryable), limit=100)
            values = [feature["properties"].get(queryable) for feature in found["features"]]
            assert not [value for value in values if value is not None], (name, queryable)
        assert api.ask(f"/collections/{name}/items", filter_lang=language, filter=invalid).status == 400
        unknown = valid.format(queryable="this_is_not_a_queryable")
        assert api.ask(f"/collections/{name}/items", filter_lang=language, filter=unknown).status == 400
        assert api.ask(f"/collections/{name}/items", filter_lang="there_is_none", filter=valid).status == 400


@conf(PART_3, "filter/filter-lang-default")
def test_text_is_the_language_where_none_is_said(api: Api) -> None:
    for name in api.features:
        assert parameters_of(api, name)["filter-lang"]["schema"]["default"] == "cql2-text"
        assert api.ids(name, filter="id IS NOT NULL") == api.ids(name)


@pytest.mark.parametrize("language", LANGUAGES)
@conf(PART_3, "filter/filter-crs-wgs84", "filter/mixing-expression")
def test_places_are_in_wgs84_unless_said_and_join_with_the_box(api: Api, language: str) -> None:
    for name, queryables in api.queryables.items():
        queryable = next((each for each, schema in queryables.items() if spatial(schema)), None)
        if queryable is None:
            continue
        west, south, east, north = bbox(api.features[name])
        there = box_filter(language, queryable, [west, south, east, north])
        placed = api.ids(name, bbox=f"{west},{south},{east},{north}")
        assert api.ids(name, filter_lang=language, filter=there) == placed
        outside = box_filter(language, queryable, [1e6, 1e6, 2e6, 2e6])
        assert api.ask(f"/collections/{name}/items", filter_lang=language, filter=outside).status == 400
        assert api.ids(name, filter_lang=language, filter=there, bbox=f"{west},{south},{east},{north}") == placed
        beside = f"{west - 2},{south - 2},{west - 1},{south - 1}"
        assert api.ids(name, filter_lang=language, filter=there, bbox=beside) == frozenset()


@pytest.mark.parametrize("language", LANGUAGES)
@conf(PART_3, "filter/filter-crs-param")
def test_places_may_be_told_in_each_crs(api: Api, language: str) -> None:
    for name, queryables in api.queryables.items():
        queryable = next((each for each, schema in queryables.items() if spatial(schema)), None)
        if queryable is None:
            continue
        for uri in api.features[name]["crs"]:
            found = api.items(name, crs=uri, limit=10_000)["features"]
            placed = {each["id"]: points(each["geometry"]["coordinates"]) for each in found if each["geometry"]}
            told = [point for shape in placed.values() for point in shape]
            low, high = [min(axis) for axis in zip(*told, strict=True)], [max(axis) for axis in zip(*told, strict=True)]
            step = 0.001 if max(map(abs, high)) <= 360 else 1.0  # degrees or metres
            box = [low[0] - step, low[1] - step, high[0] + step, high[1] + step]
            filter_ = box_filter(language, queryable, box)
            assert api.ids(name, filter_lang=language, filter_crs=uri, filter=filter_) == placed.keys(), uri
        filter_ = box_filter(language, queryable, bbox(api.features[name]))
        assert api.ask(f"/collections/{name}/items", filter_crs=WRONG, filter=filter_).status == 400
        assert api.ids(name, filter_lang=language, filter_crs=CRS84, filter=filter_)
