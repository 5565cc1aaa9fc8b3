"""Law: areas and identifiers, each check with a delivery that breaks it and one that keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely

from sdi.contract.report import Finding
from sdi.ingest.checks.law import area_error
from sdi.ingest.deliver import Received
from sdi.national import parcel_id, vn2000
from tests.ingest.plots import square

HandIn = Callable[..., Received]
X, Y = 603_500.0, 1_191_400.0

PLOTS = """
identifier: {template: "{number}"}
geometry: {type: Polygon}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: integer}
  - {name: area, title: {vi: Diện tích, en: Area}, type: decimal, scale: 2, unit: m2}
  - {name: geohash, title: {vi: Mã, en: Id}, type: text}
checks:
"""


def contract(check: str) -> str:
    return f"{PLOTS}  - {check}\n"


def found(received: Received, rule: str) -> list[Finding]:
    return [finding for finding in received.report.findings if finding.rule == rule]


# --- measured against legal area --------------------------------------------------------------------------------------
# A square of 10 m: P = 100 m², √P = 10, the distances between the neighbours of each vertex 4 · 10·√2.


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ("tolerance: 1.5, parameters: {attribute: area}", 1.5),
        ("parameters: {attribute: area, percent: 3}", 3.0),
        ("parameters: {attribute: area, formula: scale, scale: 500}", 0.0004 * 500 * 10),
        ("parameters: {attribute: area, formula: position, accuracy: 0.07}", 2 * 0.07 * 10),
        ("parameters: {attribute: area, formula: propagation, accuracy: 0.07}", 2 * 0.07 / 2 * np.sqrt(4 * 200)),
        ("parameters: {attribute: area, formula: propagation, accuracy: 0.07, times: 3}", 0.105 * np.sqrt(4 * 200)),
        ("tolerance: 5, parameters: {attribute: area, formula: scale, scale: 500}", 5.0),  # the largest holds
    ],
)
def test_an_area_may_differ_by_what_the_contract_allows_and_no_more(hand_in: HandIn, said: str, allowed: float) -> None:
    check = f"{{rule: area.legal, {said}}}"
    near, far = 100 / (1 - 0.03) if "percent" in said else 100 + allowed, 100 + allowed + 0.2
    received = hand_in(contract(check), [(square(X, Y), {"number": 1, "area": round(near - 0.01, 2)}),
                                         (square(X + 20, Y), {"number": 2, "area": round(far, 2)}),
                                         (square(X + 40, Y), {"number": 3})])  # fmt: skip
    told = found(received, "area.legal")
    assert [(f.feature, f.value, f.other) for f in told] == [("2", round(far, 2), 100.0)]
    assert told[0].limit == pytest.approx(allowed, rel=0.05)


def test_the_error_of_an_area_is_what_shaking_its_vertices_gives() -> None:
    rng = np.random.default_rng(3)
    shape = shapely.Polygon([(0, 0), (40, 3), (52, 30), (25, 45), (-4, 28)], [[(10, 10), (10, 20), (20, 20), (20, 10)]])
    rings = [np.array(ring.coords)[:-1] for ring in (shape.exterior, *shape.interiors)]
    areas = []
    for _ in range(4000):
        moved = [ring + rng.normal(0, 0.05, ring.shape) for ring in rings]
        areas.append(shapely.area(shapely.Polygon(moved[0], moved[1:])))
    expected = area_error(np.array([shape, None, shapely.box(0, 0, 1, 1)], dtype=object), 0.05)
    assert np.std(areas) == pytest.approx(expected[0], rel=0.05)
    assert expected[1] == 0
    assert expected[2] == pytest.approx(0.05 / 2 * np.sqrt(4 * 2))


def test_two_areas_of_a_layer_have_their_own_tolerance_and_action(hand_in: HandIn) -> None:
    text = (
        contract("{rule: area.legal, tolerance: 50, parameters: {attribute: area}}").replace(
            "  - {name: geohash",
            "  - {name: legal, title: {vi: Pháp lý, en: Legal}, type: number, unit: m2}\n  - {name: geohash",
        )
        + "  - {rule: area.legal, action: quarantine, tolerance: 1, parameters: {attribute: legal}}\n"
    )
    received = hand_in(text, [(square(X, Y), {"number": 1, "area": 140, "legal": 100.5}),
                              (square(X + 20, Y), {"number": 2, "area": 100, "legal": 140})])  # fmt: skip
    assert [(f.feature, f.attribute, f.action) for f in received.report.findings] == [("2", "legal", "quarantine")]
    assert received.report.quarantined == 1


# --- the national parcel id -------------------------------------------------------------------------------------------

PLACED = "{rule: identifier.place, parameters: {attribute: geohash}}"


def ids(*points: tuple[float, float]) -> list[str]:
    lonlat = vn2000.to_wgs84(np.array(points), 9210)
    return [str(value) for value in parcel_id.encode(lonlat[:, 0].tolist(), lonlat[:, 1].tolist())]


def delivered(hand_in: HandIn, *values: str | None) -> Received:
    shapes: list[tuple[Any, dict[str, Any]]] = [
        (square(X, Y), {"number": number, "geohash": value}) for number, value in enumerate(values, start=1)
    ]
    return hand_in(contract(PLACED), shapes)


def test_an_id_of_a_point_in_the_parcel_is_kept_whatever_program_chose_the_point(hand_in: HandIn) -> None:
    assert not delivered(hand_in, *ids((X + 5, Y + 5), (X + 4.98, Y + 5.03), (X + 0.5, Y + 9.5)), None).report.findings


def test_an_id_of_another_place_is_told(hand_in: HandIn) -> None:
    right, wrong = ids((X + 5, Y + 5), (X + 12, Y + 5))
    told = delivered(hand_in, right, wrong).report.findings
    assert [(f.rule, f.feature, f.value) for f in told] == [("identifier.place", "2", wrong)]


@pytest.mark.parametrize("value", ["w3gv7cp1us", "w3gv7cp1usbaa", "w3gv7cp1usai", "000123"])
def test_what_cannot_be_an_id_is_told_as_that_and_not_as_another_place(hand_in: HandIn, value: str) -> None:
    told = delivered(hand_in, *ids((X + 5, Y + 5)), value).report.findings
    assert [(f.rule, f.feature, f.value, f.limit) for f in told] == [("identifier.malformed", "2", value, 12)]
