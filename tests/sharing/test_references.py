"""Ids of other layers' features, and what is derived from other layers, are told as far as those may be seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from sdi.access import PUBLIC, Agency, Grant, visible
from sdi.contract.query import FeatureQuery
from sdi.contract.registry import read_registry
from sdi.service.rights import seen
from sdi.store import engine, features
from sdi.store.sharing import agencies, grants, keys
from tests.sharing.city import City, cards_of

LAYERS = Path(__file__).parents[2] / "layers"
ALL = frozenset({"open", "agency", "restricted"})


def asker(city: City, name: str, *given: Grant) -> str:
    """The key of a new agency with these grants."""
    with engine.connect(city.town.database, engine.OWNER) as owner:
        agencies.add(owner, name, "ward", "Phường thử", "Test ward")
        for grant in given:
            grants.give(owner, city.town.registry[grant.layer], grant)
        return keys.make_key(owner, name)


def given(agency: str, layer: str, **more: Any) -> Grant:
    told = {"classes": ALL, "legal_basis": "NĐ 194/2025/NĐ-CP", "purpose": "test"} | more
    return Grant(0, agency, layer, **told)


def all_of(city: City, layer: str, key: str | None, more: str = "") -> dict[str, dict[str, Any]]:
    headers = {} if key is None else {"X_API_Key": key}
    pages = [city.town.get(f"/collections/{layer}/items?f=json&limit=30&offset={offset}{more}", **headers)
             for offset in (0, 30)]  # fmt: skip
    return {feature["id"]: feature["properties"] for page in pages for feature in page["features"]}


def test_a_list_of_ids_holds_those_of_features_that_exist_for_who_asks(city: City) -> None:
    high = asker(city, "sees_high_works", given("sees_high_works", "works", rows="floors >= 3"))
    works = {name for name, row in city.rows["works"].items() if row["floors"] >= 3}
    for name, card in all_of(city, "cards", high).items():
        there = [item["id"] for item in cards_of(city.rows)[name]["works"] if item["id"] in works]
        assert [item["id"] for item in card["works"] or []] == there, name
        assert "work_count" not in card, "the number tells of those that are not seen"
    assert {name for name, card in all_of(city, "cards", None).items() if card["works"]} == set()
    whole = asker(city, "sees_all_works", given("sees_all_works", "works"))
    counts = {name: card["work_count"] for name, card in all_of(city, "cards", whole).items()}
    assert counts == {name: cards_of(city.rows)[name]["work_count"] for name in counts}


def test_what_an_item_tells_beside_its_id_is_told_to_who_sees_the_other_layer_whole(city: City) -> None:
    """Neither hidden attributes nor a place that is told coarsely come back through the fields of a list."""
    works = {name: row["works"] for name, row in cards_of(city.rows).items()}
    assert any(works.values())
    partly = {
        "named": {"attributes": ("permit",)}, "coarse": {"precision": "none"}, "high": {"rows": "floors >= 3"},
        "of_the_open": {"classes": frozenset({"open"})}, "of_all": {},
    }  # fmt: skip
    for name, more in partly.items():
        key = asker(city, f"items_{name}", given(f"items_{name}", "works", **more))
        whole = name in ("of_the_open", "of_all")
        seen_ = {each for each, row in city.rows["works"].items() if name != "high" or row["floors"] >= 3}
        for plot, card in all_of(city, "cards", key).items():
            told = [item if whole else {"id": item["id"]} for item in works[plot] if item["id"] in seen_]
            assert (card["works"] or []) == told, (name, plot)
            assert ("work_count" in card) == whole


def test_what_is_made_of_a_hidden_attribute_is_hidden(city: City) -> None:
    """The sum of the costs, for who has all works exactly, but not all of them their costs."""
    for name, classes, told in (("costless", {"open"}, False), ("costly", {"open", "agency"}, True)):
        key = asker(city, name, given(name, "works", classes=frozenset(classes)), given(name, "cards"))
        cards = all_of(city, "cards", key).values()
        assert all(("cost_sum" in card) == told for card in cards), name
        assert all("work_count" in card for card in cards), name


def test_an_id_that_is_not_told_is_found_by_no_filter_and_no_order(city: City) -> None:
    key = asker(city, "sees_works", given("sees_works", "works"))
    hidden = {name for name, row in city.rows["plots"].items() if row["use"] == "CQP"}
    stored = {name: row["plot"] for name, row in city.rows["works"].items()}
    of_hidden = {name for name, plot in stored.items() if plot in hidden or plot == "P900"}
    assert of_hidden, "the rows are such that it is seen"
    for name in of_hidden:
        assert all_of(city, "works", key, f"&plot={stored[name]}") == {}
    empty = {name for name, plot in stored.items() if plot is None or plot not in city.rows["plots"]} | of_hidden
    assert all_of(city, "works", key, "&filter=plot%20IS%20NULL").keys() == empty
    told = [city.rows["works"][name]["plot"] for name in sorted(stored) if name not in empty]
    page = city.town.get("/collections/works/items?f=json&limit=30&sortby=plot", X_API_Key=key)
    assert [row["properties"]["plot"] for row in page["features"]][: len(told)] == sorted(told)


def test_rows_of_a_hidden_subject_do_not_exist_whatever_was_granted_of_them(city: City) -> None:
    cards = asker(city, "sees_cards", given("sees_cards", "cards"))
    both = asker(city, "sees_cards_and_plots", given("sees_cards_and_plots", "cards"),
                 given("sees_cards_and_plots", "plots"))  # fmt: skip
    hidden = {name for name, row in city.rows["plots"].items() if row["use"] == "CQP"}
    assert hidden
    assert all_of(city, "cards", cards).keys() == city.rows["plots"].keys() - hidden
    assert all_of(city, "cards", both).keys() == city.rows["plots"].keys()


def test_who_sees_all_is_asked_nothing_more(city: City) -> None:
    """Neither an agency that sees every feature of the layers in question nor, of our own layers, the public."""
    registry = city.town.registry
    whole = Agency("whole", grants=tuple(given("whole", layer) for layer in ("plots", "works", "cards")))
    assert all(seen(whole, layer).sight is None for layer in registry)
    for layer in read_registry(LAYERS):
        assert seen(PUBLIC, layer).sight is None, layer.id
        told = [each.name for each in layer.stored if each.privacy == "open"]
        assert list(visible(PUBLIC, layer)) == told, layer.id


@pytest.mark.parametrize(
    ("layer", "query", "found"),
    [
        ("works", {"equals": (("plot", "P001"),)}, ["Index Cond: (plot = ", "Index Cond: (id = "]),
        ("cards", {"ids": ("P001",)}, ["Index Cond: (id = ", "Index Cond: (id = (item.value ->> 'id'"]),
    ],
)
def test_ids_are_looked_up_by_index(city: City, layer: str, query: dict[str, Any], found: list[str]) -> None:
    some = Agency("some", grants=(given("some", "works", rows="floors >= 3"), given("some", "cards")))
    of = city.town.registry[layer]
    shown = seen(some, of)
    assert shown.sight is not None
    asked = FeatureQuery(layer, shown.attributes, sight=shown.sight, limit=10, **query)
    statement = features.select_block(of, asked)
    with engine.connect(city.town.database, engine.STEWARD) as reader:
        reader.execute("SET enable_seqscan = off")
        plan = [row[0] for row in reader.execute(sql.SQL("EXPLAIN ") + statement.sql, statement.params)]
    for each in found:
        assert any(each in line for line in plan), (each, plan)


def test_a_cursor_of_changes_is_gone_when_another_layer_shows_other_ids(city: City) -> None:
    """The rows have not changed: who replays changes would never learn that an id is told now."""
    key = asker(city, "follows_works", given("follows_works", "works"))
    name = next(name for name, row in city.rows["plots"].items() if row["use"] not in ("CQP", None))
    cursor = city.town.get("/collections/works/changes", X_API_Key=key)["cursor"]
    again = f"/collections/works/changes?since={cursor}"
    assert city.town.ask(again, X_API_Key=key).status == 200
    row = city.rows["plots"][name]
    city.rows["plots"][name] = {**row, "note": "ai cũng không thấy", "use": "CQP"}
    try:
        city.load("plots")
        until(lambda: city.town.ask(again, X_API_Key=key).status == 410)
    finally:
        city.rows["plots"][name] = row
        city.load("plots")


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)
