"""Text search over HTTP: the parameter `q` (OGC API Features Part 9, draft)."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.service.conftest import Town

ITEMS = "/collections/plots/items"


def found(town: Town, text: str, more: str = "") -> list[str]:
    return [each["id"] for each in town.get(f"{ITEMS}?limit=30&q={quote(text)}{more}")["features"]]


@pytest.mark.parametrize("text", ["nguyễn", "NGUYEN", "y lan", "khong co,nguyen", '"Nguyễn & Ỷ'])
def test_a_name_is_found_with_and_without_its_marks(town: Town, text: str) -> None:
    assert found(town, text) == ["00004.1.1"]


def test_all_words_must_stand_in_their_order(town: Town) -> None:
    everything = town.get(f"{ITEMS}?limit=30")["features"] + town.get(f"{ITEMS}?limit=30&offset=30")["features"]
    told = [each["id"] for each in everything if each["properties"]["owner_kind"] == "Tổ chức"]
    assert found(town, "tổ  chức") == found(town, "TO CHUC") == told
    assert told
    assert found(town, "chuc to") == []


def test_what_is_withheld_is_not_found(town: Town) -> None:
    assert found(town, "00004.1.7") == []
    assert found(town, "00004.1.6") == ["00004.1.6"]


def test_a_search_counts_pages_and_joins_with_what_else_is_asked(town: Town) -> None:
    whole = found(town, "ca nhan")
    page = town.get(f"{ITEMS}?limit=4&q=ca%20nhan")
    assert page["numberMatched"] == len(whole)
    following = next(each["href"] for each in page["links"] if each["rel"] == "next")
    after = town.get(following.removeprefix(town.url))
    assert [each["id"] for each in page["features"] + after["features"]] == whole[:8]
    cursor = following.partition("cursor=")[2].partition("&")[0]
    assert town.ask(f"{ITEMS}?limit=4&q=to%20chuc&cursor={cursor}").status == 400
    odt = [each["id"] for each in town.get(f"{ITEMS}?limit=30&use=ODT")["features"]]
    assert found(town, "ca nhan", "&use=ODT") == [each for each in whole if each in odt]


@pytest.mark.parametrize("text", ["", " ", "\t "])
def test_an_empty_search_is_none_for_features_as_for_records(town: Town, text: str) -> None:
    """Records, /req/record-core-query-parameters/empty-value; and a form of which nothing was filled in."""
    for path in (ITEMS, "/collections/data-catalogue/items"):
        asked = town.get(f"{path}?limit=3&q={quote(text)}")
        without = town.get(f"{path}?limit=3")
        assert asked["numberMatched"] == without["numberMatched"] > 1
        assert [each["id"] for each in asked["features"]] == [each["id"] for each in without["features"]]
        assert town.ask(f"{path}?q=,&lang=en").status == 400, "what has no word but says something is a mistake"
        nexts = [each["href"] for each in asked["links"] if each["rel"] == "next"]
        assert all(town.ask(href.removeprefix(town.url)).status == 200 for href in nexts)


def test_a_search_without_a_word_and_one_where_nothing_is_searched_are_refused(town: Town) -> None:
    assert "q=" in town.ask(f"{ITEMS}?q=,&lang=en").json["detail"]
    assert town.ask("/collections/works/items?q=x").status == 400
    parameters = town.get("/openapi")["paths"]
    assert {"$ref": "#/components/parameters/q"} in parameters[ITEMS]["get"]["parameters"]
    assert {"$ref": "#/components/parameters/q"} not in parameters["/collections/works/items"]["get"]["parameters"]
    schema = town.get("/openapi")["components"]["parameters"]["q"]
    assert (schema["schema"]["type"], schema["explode"]) == ("array", False)
