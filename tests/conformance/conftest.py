"""A served API, asked over HTTP only: the test town, or with SDI_TEST_IUT=http://… any API that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.service.conftest import Answer, Town, served
from tests.service.conftest import town as town

GEOJSON = "application/geo+json"
SCHEMA = "application/schema+json"
HYPHENED = {name.replace("-", "_"): name for name in ("bbox-crs", "filter-lang", "filter-crs")}
REL = "http://www.opengis.net/def/rel/ogc/1.0"


@dataclass(frozen=True)
class Api:
    """The API under test by its landing page's URL, without a slash at its end."""

    url: str

    def ask(self, path: str = "/", method: str = "GET", accept: str = "application/json", **parameters: Any) -> Answer:
        """`path`: below the landing page, or a whole URL. HYPHENED says which are written otherwise."""
        url = path if path.startswith("http") else self.url + path
        parts = urlsplit(url)
        query = urlencode({HYPHENED.get(name, name): value for name, value in parameters.items()})
        target = parts.path + (f"?{'&'.join(filter(None, (parts.query, query)))}" if parts.query or query else "")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.netloc, timeout=120)
        try:
            connection.request(method, target or "/", headers={"Accept": accept})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str = "/", accept: str = "application/json", **parameters: Any) -> Any:
        """The JSON of a 200 in the media type that was asked for."""
        answer = self.ask(path, accept=accept, **parameters)
        assert answer.status == 200, (path, parameters, answer.status, answer.text[:500])
        assert media_type(answer) == accept, (path, answer.headers["Content-Type"])
        return answer.json

    @cached_property
    def classes(self) -> list[str]:
        found: list[str] = self.get("/conformance")["conformsTo"]
        return found

    @cached_property
    def collections(self) -> dict[str, dict[str, Any]]:
        return {each["id"]: each for each in self.get("/collections")["collections"]}

    @cached_property
    def features(self) -> dict[str, dict[str, Any]]:
        """The collections of features."""
        found = {name: each for name, each in self.collections.items() if link(each, "items")}
        return {name: each for name, each in found.items() if each.get("itemType") == "feature"}

    @cached_property
    def catalogues(self) -> dict[str, dict[str, Any]]:
        """The collections of records."""
        return {name: each for name, each in self.collections.items() if each.get("itemType") == "record"}

    @cached_property
    def queryables(self) -> dict[str, dict[str, Any]]:
        """Collection of features -> queryable -> its schema."""
        return {name: self.get(f"/collections/{name}/queryables", SCHEMA)["properties"] for name in self.features}

    def items(self, collection: str, **parameters: Any) -> Any:
        return self.get(f"/collections/{collection}/items", GEOJSON, **parameters)

    def ids(self, collection: str, **parameters: Any) -> frozenset[str]:
        """The ids of all features that match."""
        found = self.items(collection, **{"limit": 10_000, "skipGeometry": "true", **parameters})
        assert not link(found, "next"), "the collection is too large for this test"
        return frozenset(feature["id"] for feature in found["features"])


def media_type(answer: Answer) -> str:
    return str(answer.headers["Content-Type"]).partition(";")[0]


def link(document: dict[str, Any], rel: str, type_: str | None = None) -> str | None:
    """The href of the first link with a relation."""
    found = (each for each in document["links"] if each["rel"] == rel and type_ in (None, each.get("type")))
    return next((each["href"] for each in found), None)


def bbox(collection: dict[str, Any]) -> list[float]:
    """West, south, east, north."""
    found: list[float] = collection["extent"]["spatial"]["bbox"][0]
    return found


def pretty(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)[:500]


@pytest.fixture(scope="session")
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    given = os.environ.get("SDI_TEST_IUT")
    if given:
        yield Api(given.rstrip("/"))
        return
    town: Town = request.getfixturevalue("town")
    with served(town.database, town.registry, max_limit=10_000) as all_of_it:
        yield Api(all_of_it.url)


@pytest.fixture(autouse=True)
def _told_in_the_report(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    for each in getattr(request.function, "conf", ()):
        record_property("conf", each)
