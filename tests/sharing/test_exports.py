"""A file of a whole layer holds what was granted for export: what may only be read is in none."""

from __future__ import annotations

import csv
import time
from typing import Any

import pytest

from sdi.access import Agency, exported, rule_of
from tests.service.conftest import Answer
from tests.sharing.city import City
from tests.sharing.test_references import all_of, asker, given

FILE = "/collections/plots/export?f=csv"
EXPORT: dict[str, Any] = {"actions": frozenset({"export"})}
BOTH: dict[str, Any] = {"actions": frozenset({"read", "export"})}
NAMES = ("key", "number", "use")
"""What the contract shows to everybody."""


def file(city: City, key: str | None, path: str = FILE) -> Answer:
    ends = time.monotonic() + 60
    while (answer := city.town.ask(path, **({} if key is None else {"X_API_Key": key}))).status == 503:
        assert time.monotonic() < ends
        time.sleep(0.1)
    return answer


def rows_of(answer: Answer) -> dict[str, dict[str, str]]:
    assert answer.status == 200, answer.body[:300]
    return {row["id"]: row for row in csv.DictReader(answer.body.decode("utf-8-sig").splitlines())}


def test_what_may_only_be_read_is_in_no_file(city: City) -> None:
    key = asker(city, "reads_plots", given("reads_plots", "plots"))
    read = all_of(city, "plots", key)
    assert any(each.get("legal_area") for each in read.values()), "the comparison would be blind"
    assert any(each.get("use") == "CQP" for each in read.values())
    # What everybody has, and not a byte of what was granted to be read alone.
    everybody, agency = file(city, None), file(city, key)
    assert agency.body == everybody.body
    assert "legal_area" not in next(iter(rows_of(agency).values()))
    digests = [file(city, each, "/collections/plots/export/sha256?f=csv").text for each in (None, key)]
    assert digests[0] == digests[1]


def test_what_was_granted_for_export_too_is_in_the_file(city: City) -> None:
    key = asker(city, "takes_plots", given("takes_plots", "plots", **BOTH))
    read = all_of(city, "plots", key)
    held = rows_of(file(city, key))
    assert held.keys() == read.keys()
    assert {name: row["note"] or None for name, row in held.items()} == {
        name: row["note"] for name, row in read.items()
    }


def test_export_that_is_granted_beside_reading_is_of_what_both_grants_are_about(city: City) -> None:
    reads = given("takes_some", "plots", classes=frozenset({"open", "agency"}))
    takes = given("takes_some", "plots", rows="number < 5", attributes=(*NAMES, "legal_area", "mark"), **EXPORT)
    held = rows_of(file(city, asker(city, "takes_some", reads, takes)))
    told = {name for name, row in held.items() if row["legal_area"]}
    assert told == {name for name in held if city.rows["plots"][name]["number"] < 5} != set()
    assert not {"note", "mark"} & next(iter(held.values())).keys(), (
        "of the one the file was not granted, nor the other to be read"
    )
    assert held.keys() == rows_of(file(city, None)).keys()


@pytest.mark.parametrize(("actions", "status"), [({"read"}, 404), ({"read", "export"}, 200)])
def test_a_layer_that_is_not_open_has_a_file_for_who_may_export_it(city: City, actions: set[str], status: int) -> None:
    name = "_".join(("works", *sorted(actions)))
    key = asker(city, name, given(name, "works", actions=frozenset(actions)))
    assert all_of(city, "works", key)
    assert file(city, key, "/collections/works/export?f=csv").status == status
    told = [city.town.ask(f"/collections/works?f={form}", X_API_Key=key).text for form in ("json", "html")]
    assert ["/export" in each for each in told] == [status == 200] * 2


def test_a_file_tells_a_place_as_the_less_exact_of_both_grants_does(city: City) -> None:
    layer = city.town.registry["works"]
    reads, takes = (
        given("a", "works", precision="generalised", metres=20.0),
        given("a", "works", precision="centroid", **EXPORT),
    )
    (part,) = exported(Agency("a", grants=(reads, takes)), layer).parts
    assert (part.precision, part.metres) == ("centroid", 0.0)
    coarse = given("a", "works", precision="generalised", metres=50.0, **EXPORT)
    (part,) = exported(Agency("a", grants=(reads, coarse)), layer).parts
    assert (part.precision, part.metres) == ("generalised", 50.0)
    assert not exported(Agency("a", grants=(reads,)), layer).parts
    assert not exported(Agency("a", grants=(takes,)), layer).parts
    both = Agency("a", grants=(given("a", "works", **BOTH),))
    assert exported(both, layer) == rule_of(both, layer)
