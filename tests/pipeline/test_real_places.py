"""Real parcels against the real communes of 2025, by two makers who know nothing of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from tests.deployment import Deployment

Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def da_nang(new_deployment: Callable[..., Deployment], shared_data: Folder) -> Deployment:
    """A deployment with the communes of today's Đà Nẵng."""
    at = new_deployment(extent=(107.0, 14.9, 109.0, 16.5))
    file = shared_data("vn_admin_2025") / "communes_full_48_da_nang.geojson.zip"
    said = {"level": "commune", "valid_from": "2025-07-01", "parent_code": "48"}
    assert at.deliver("admin_units", file, constants=said).load is not None
    return at


def found(at: Deployment, file: Path, commune: str) -> list[Finding]:
    request = Request(file, grid=5899, constants={"commune_code": commune}, day=date(2026, 1, 1))
    with at.loader() as connection:
        checked = pipeline.check(connection, at.settings, at.registry, "cadastral_parcels", request)
        with checked:  # type: ignore[union-attr]
            return list(checked.report.findings)


@pytest.fixture(scope="module")
def duy_nghia(shared_data: Folder) -> Path:
    return shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip"


def test_hoang_sa_is_one_of_the_citys_units(da_nang: Deployment) -> None:
    """Đặc khu Hoàng Sa lies 3° east of the zone that the city's grid is meant for."""
    assert da_nang.rows("SELECT count(*) FROM admin.admin_units WHERE code = '20333'") == [(1,)]
    assert da_nang.rows("SELECT count(*) FROM admin.admin_units WHERE level = 'commune'") == [(94,)]
    [(west, east)] = da_nang.rows("SELECT west, east FROM sdi.publication WHERE layer = 'admin_units'")
    assert west < 108.3
    assert east > 111


def test_parcels_lie_in_their_own_commune(da_nang: Deployment, duy_nghia: Path) -> None:
    told = Counter(finding.rule for finding in found(da_nang, duy_nghia, "20635"))
    assert not {rule for rule in told if rule.startswith("place.")}
    assert told["attribute.unique"] == 44  # the rows of which SOURCE.md says that they share sheet and number


def test_all_parcels_of_a_delivery_under_the_next_communes_code_are_told(da_nang: Deployment, duy_nghia: Path) -> None:
    away = [finding for finding in found(da_nang, duy_nghia, "20623") if finding.rule == "place.commune"]
    assert len(away) > 0.99 * 9775
    assert all(finding.value > 5 and finding.other == "20623" and finding.place for finding in away)
    assert max(finding.value for finding in away) < 15_000


def test_a_code_that_is_no_unit_today_is_told_as_that(da_nang: Deployment, duy_nghia: Path) -> None:
    told = Counter(finding.rule for finding in found(da_nang, duy_nghia, "20735"))
    assert told["place.unknown"] == 9775  # all but the two in quarantine
    assert told["place.commune"] == 0
