"""What is hidden today is hidden in the past as well, and what was hidden then stays so: rows, values and places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sdi.access import Grant
from sdi.store import engine
from sdi.store.sharing import agencies, grants, keys
from tests.sharing.city import City


def asker(city: City, name: str, *given: Grant) -> str:
    with engine.connect(city.town.database, engine.OWNER) as owner:
        agencies.add(owner, name, "department", "Sở thử", "Test department")
        for grant in given:
            grants.give(owner, city.town.registry[grant.layer], grant)
        return keys.make_key(owner, name)


def given(agency: str, layer: str, **more: Any) -> Grant:
    told = {"classes": frozenset({"open", "agency"}), "legal_basis": "NĐ 194/2025/NĐ-CP", "purpose": "test"} | more
    return Grant(0, agency, layer, **told)


@contextmanager
def history(city: City, layer: str, name: str, *states: dict[str, Any]) -> Iterator[list[str]]:
    """States of one feature, one after the other, and an instant of each; the feature is as before afterwards."""
    was = city.rows[layer][name]
    instants = []
    try:
        for state in states:
            city.rows[layer][name] = {**was, **state}
            city.load(layer)
            instants.append(datetime.now(UTC).isoformat().replace("+00:00", "Z"))
        yield instants
    finally:
        city.rows[layer][name] = was
        city.load(layer)


def item(city: City, layer: str, name: str, key: str, moment: str) -> Any:
    """The feature as of an instant; None: it does not exist. As a list tells it, so does the item."""
    one = city.town.ask(f"/collections/{layer}/items/{name}?f=json&as-of={moment}", X_API_Key=key)
    listed = city.town.get(f"/collections/{layer}/items?f=json&id={name}&as-of={moment}", X_API_Key=key)["features"]
    assert one.status == (200 if listed else 404)
    if not listed:
        return None
    told = {name: one.json[name] for name in ("id", "geometry", "properties")}
    assert told == {name: listed[0][name] for name in told}
    return told


def test_a_value_that_is_masked_today_is_masked_in_the_past(city: City) -> None:
    key = asker(city, "reads_notes", given("reads_notes", "plots", rows="use = 'ODT'"))
    name = sorted(city.rows["plots"])[4]
    open_, closed = {"use": "ODT", "note": "bờ kè"}, {"use": "CLN", "note": "bờ kè"}
    with history(city, "plots", name, open_, closed) as (first, second):
        for moment in (first, second):
            told = item(city, "plots", name, key, moment)
            assert told["properties"]["note"] is None
        filtered = f"/collections/plots/items?f=json&as-of={first}&note=b%E1%BB%9D%20k%C3%A8&id={name}"
        assert city.town.get(filtered, X_API_Key=key)["features"] == []
    with history(city, "plots", name, open_, closed, open_) as (first, second, third):
        notes = [item(city, "plots", name, key, moment)["properties"]["note"] for moment in (first, second, third)]
    assert notes == ["bờ kè", None, "bờ kè"], "it is shown where it was shown then and is shown now"


def test_a_place_that_is_told_coarsely_today_was_nowhere_more_exact(city: City) -> None:
    exact = given("reads_places", "works", rows="floors >= 3")
    key = asker(city, "reads_places", given("reads_places", "works", precision="none"), exact)
    name = sorted(city.rows["works"])[2]
    with history(city, "works", name, {"floors": 5}, {"floors": 1}) as (first, second):
        assert [item(city, "works", name, key, moment)["geometry"] for moment in (first, second)] == [None, None]
    with history(city, "works", name, {"floors": 5}, {"floors": 1}, {"floors": 4}) as instants:
        places = [item(city, "works", name, key, moment)["geometry"] for moment in instants]
    assert [place is not None for place in places] == [True, False, True]


def test_a_feature_that_is_hidden_today_is_hidden_in_the_past_and_what_was_hidden_then_stays_so(city: City) -> None:
    key = asker(city, "reads_high_works", given("reads_high_works", "works", rows="floors >= 3"))
    name = sorted(city.rows["works"])[3]
    with history(city, "works", name, {"floors": 5}, {"floors": 1}) as instants:
        assert [item(city, "works", name, key, moment) for moment in instants] == [None, None]
    with history(city, "works", name, {"floors": 1}, {"floors": 5}) as instants:
        assert [item(city, "works", name, key, moment) is not None for moment in instants] == [False, True]


def test_who_sees_all_of_a_layer_is_told_of_its_past_by_what_is_restricted_as_well(city: City) -> None:
    whole = given("reads_marks", "plots", classes=frozenset({"open", "agency", "restricted"}))
    key = asker(city, "reads_marks", whole)
    name = sorted(city.rows["plots"])[5]
    with history(city, "plots", name, {"mark": "a1", "use": "CQP"}, {"mark": "b2", "use": "CQP"}) as instants:
        marks = [item(city, "plots", name, key, moment)["properties"]["mark"] for moment in instants]
        for asked in ("mark=a1", "filter=mark%20%3D%20'a1'", "sortby=mark&mark=a1", "properties=number&mark=a1"):
            found = city.town.get(f"/collections/plots/items?f=json&id={name}&as-of={instants[0]}&{asked}",
                                  X_API_Key=key)  # fmt: skip
            assert [each["id"] for each in found["features"]] == [name]
    assert marks == ["a1", "b2"]
