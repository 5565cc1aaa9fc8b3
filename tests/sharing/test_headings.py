"""A feature's heading is made of what who asks sees of the feature, and of nothing else."""

from __future__ import annotations

import re
from html import unescape

from sdi.service import words
from tests.sharing.city import City, Policy, Row


def heading(name: str, shown: Row) -> str:
    """The contract's heading, made once more."""
    parts = [
        f"Plot {shown['number']}" if "number" in shown else "",
        f"mark {shown['mark']}" if "mark" in shown else "",
        f"note {shown['note']}, area {words.number(shown['legal_area'], 'en')}"
        if {"note", "legal_area"} <= set(shown)
        else "",
    ]
    told = ", ".join(filter(None, parts))
    return told[:1].upper() + told[1:] or name


def test_a_feature_whose_place_is_not_told_has_no_empty_map(city: City, askers: list[Policy]) -> None:
    told = set()
    for each in askers:
        for name in sorted(each.sees(city.rows)["plots"])[:20]:
            path = f"/collections/plots/items/{name}"
            page = city.town.ask(f"{path}?f=html&lang=en", X_API_Key=each.key).text
            hidden = city.town.get(path, X_API_Key=each.key)["geometry"] is None
            assert ("This feature has no place on the map." in page) == hidden
            assert ('id="map"' in page or "map.js" in page) != hidden
            told.add(hidden)
    assert told == {True, False}


def test_a_heading_has_what_who_asks_sees_and_nothing_else(city: City, askers: list[Policy]) -> None:
    kinds = set()
    for each in askers:
        seen = each.sees(city.rows)["plots"]
        for name in sorted(seen)[:20]:
            page = city.town.ask(f"/collections/plots/items/{name}?f=html&lang=en", X_API_Key=each.key)
            found = re.search(r"<h1>(.*?)</h1>", page.text)
            assert found is not None
            shown = seen[name][0]
            assert unescape(found[1]) == heading(name, shown), (each.agency, name, shown)
            kinds.add(frozenset({"mark", "note", "legal_area"} & set(shown)))
    assert len(kinds) > 3, kinds
