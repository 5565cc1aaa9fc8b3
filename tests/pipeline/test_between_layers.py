"""The demo city's layers held against each other: what was planted between them is found, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from tests.deployment import DemoCity


@pytest.fixture(scope="module")
def again(demo_city: DemoCity) -> list[Finding]:
    """What a check of the buildings finds when all layers are there; they were loaded before parcels and permits."""
    with demo_city.loader() as connection:
        request = Request(demo_city.folder / "CongTrinh_2025.gpkg")
        checked = pipeline.check(connection, demo_city.settings, demo_city.registry, "buildings", request)
        with checked:  # type: ignore[union-attr]
            return list(checked.report.findings)


def planted(demo_city: DemoCity, *rules: str) -> set[Any]:
    return {entry["key"] for entry in demo_city.planted if entry["rule"] in rules}


def told(findings: list[Finding], rule: str) -> set[Any]:
    return {finding.feature for finding in findings if finding.rule == rule}


def test_a_layer_that_comes_before_the_others_says_what_it_was_not_compared_with(demo_city: DemoCity) -> None:
    absent = {finding.other for finding in demo_city.findings("buildings") if finding.rule == "layer.absent"}
    assert absent == {"cadastral_parcels", "construction_permits"}


def test_buildings_across_a_boundary_are_those_that_were_planted(demo_city: DemoCity, again: list[Finding]) -> None:
    assert told(again, "layer.crosses") == planted(demo_city, "spanning", "outside_parcel")
    assert "layer.absent" not in {finding.rule for finding in again}


def test_buildings_without_a_permit_are_those_that_were_planted(demo_city: DemoCity, again: list[Finding]) -> None:
    assert told(again, "layer.missing") == planted(demo_city, "no_permit")


def test_buildings_with_more_floors_than_the_plan_allows_are_those_that_were_planted(
    demo_city: DemoCity, again: list[Finding]
) -> None:
    assert told(again, "layer.exceeds") == planted(demo_city, "over_floors")


def test_permits_for_more_than_the_plan_allows_come_of_what_was_planted(demo_city: DemoCity) -> None:
    """Of a building that was planted with too many floors, or at a place that is another zone's."""
    high = list(planted(demo_city, "over_floors"))
    known = {row[0] for row in demo_city.rows(
        "SELECT permit_number FROM construction.buildings WHERE id = ANY(%s)", high
    )}  # fmt: skip
    over = told(demo_city.findings("construction_permits"), "layer.exceeds")
    assert over
    assert over <= known | planted(demo_city, "permit_elsewhere")


def test_every_parcel_lies_in_the_commune_whose_code_it_bears(demo_city: DemoCity) -> None:
    rules = {finding.rule for finding in demo_city.findings("cadastral_parcels")}
    assert not {"place.commune", "place.nowhere", "place.unknown", "place.zone", "time.order", "time.future"} & rules


def test_a_use_against_the_plan_is_a_remark_of_the_same_parcels_as_in_the_overview(demo_city: DemoCity) -> None:
    """The overview compares all purposes with the zone of the largest part; the remark the main one, at a point."""
    differing = told(demo_city.findings("cadastral_parcels"), "layer.differs")
    overview = {row[0] for row in demo_city.rows("SELECT id FROM cadastre.parcel_overview WHERE use_differs_from_plan")}
    assert differing
    assert differing <= overview


def test_the_same_numbers_twice_are_told_beside_the_identifier(demo_city: DemoCity) -> None:
    repeated = [f for f in demo_city.findings("cadastral_parcels") if f.rule == "attribute.unique"]
    keys = {finding.feature.split("~")[0] for finding in repeated if finding.feature}
    again = {str(f.value) for f in demo_city.findings("cadastral_parcels") if f.rule == "identifier.duplicate"}
    assert keys == again
    assert len(repeated) == 2 * len(again)
