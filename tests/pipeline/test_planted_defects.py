"""Recall and precision of the checks: the measurement of bench/checks.py, small, in every run of the tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdi.contract.rules import RULES

FOLDER = Path(__file__).resolve().parents[2] / "bench"
RECALL, PRECISION = 0.99, 0.98
EACH = 4
LOTS = 1_200


@pytest.fixture(scope="module")
def checks() -> Iterator[Any]:
    sys.path.insert(0, str(FOLDER))
    import checks

    yield checks
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def bench(checks: Any, server_url: str) -> Iterator[Any]:
    with checks.deployment(server_url) as (settings, registry, folder):
        yield checks.Bench(settings, registry, folder)


def judge(scores: dict[str, Any]) -> dict[str, Any]:
    """The rules that miss what was planted or cry wolf."""
    return {rule: s for rule, s in scores.items() if s.recall < RECALL or s.precision < PRECISION}


@pytest.fixture(scope="module")
def generated(checks: Any, bench: Any) -> Any:
    return checks.scores(bench, checks.town(checks.parcels(6_000), checks.NAMES), EACH, checks.GRID)


@pytest.fixture(scope="module")
def under_other_contracts(checks: Any, bench: Any, generated: Any) -> Any:
    return checks.other_contracts(bench, 1_000, EACH)


@pytest.fixture(scope="module")
def city(checks: Any, server_url: str) -> Iterator[Any]:
    with checks.deployment(server_url) as (settings, registry, folder):
        yield checks.Bench(settings, registry, folder)


@pytest.fixture(scope="module")
def between_layers(checks: Any, city: Any) -> Any:
    """Leaves a city in the store, all but its buildings."""
    return checks.between_layers(city, LOTS, EACH)


def test_every_defect_planted_into_generated_parcels_is_found_and_nothing_else(generated: Any) -> None:
    assert judge(generated) == {}
    assert sum(score.own for score in generated.values()) == 0


def test_every_defect_that_only_other_contracts_look_for_is_found_and_nothing_else(under_other_contracts: Any) -> None:
    assert judge(under_other_contracts) == {}


def test_every_defect_planted_between_the_layers_of_a_city_is_found_and_nothing_else(between_layers: Any) -> None:
    assert set(between_layers) == {"buildings", "construction_permits"}
    assert [judge(scores) for scores in between_layers.values()] == [{}, {}]


def test_every_rule_is_planted_or_stands_in_the_table_with_the_reason_why_not(
    checks: Any, generated: Any, under_other_contracts: Any, between_layers: Any
) -> None:
    tables = [generated, under_other_contracts, *between_layers.values()]
    planted = {rule for scores in tables for rule, score in scores.items() if score.planted >= EACH}
    excused = {rule for rules in checks.UNPLANTED.values() for rule in rules}
    assert not planted & excused
    assert planted | excused == set(RULES)


def test_every_defect_planted_into_a_real_commune_is_found_and_nothing_else(
    checks: Any, bench: Any, shared_data: Any
) -> None:
    shared_data("vn_cadastre_duynghia")
    scores = checks.scores(bench, checks.town(checks.surveyed(), checks.REAL_NAMES), EACH, checks.REAL_GRID)
    assert judge(scores) == {}
    assert scores["coverage.overlap"].own > 20


def test_of_a_city_made_for_measuring_every_check_between_layers_has_something_to_say(
    checks: Any, city: Any, between_layers: Any
) -> None:
    """So that the time of none is that of an empty table; the parcels' own checks have their columns filled."""
    said = {}
    for layer, table in checks.City(LOTS, flawed=True).layers():
        if layer in (checks.PARCELS, checks.PERMITS, checks.BUILDINGS):
            path = city.folder / f"{layer}.gpkg"
            checks.write_table(path, layer, table)
            said[layer] = set(city.check(path, layer).by_rule())
    assert not {"layer.absent", "attribute.type", "identifier.duplicate", "place.commune"} & set().union(*said.values())
    assert {"layer.differs", "identifier.place", "area.legal", "time.order", "time.future"} <= said[checks.PARCELS]
    assert {"layer.missing", "reference.missing", "layer.exceeds"} <= said[checks.PERMITS]
    assert {"layer.crosses", "layer.missing", "layer.exceeds"} <= said[checks.BUILDINGS]
