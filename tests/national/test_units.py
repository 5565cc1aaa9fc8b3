"""Provinces in time and the grids of their cadastral data."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest

from sdi.errors import NotFound
from sdi.national import units, vn2000

BEFORE = date(2025, 6, 30)


def test_there_are_34_units_now_and_63_before() -> None:
    assert len(units.provinces()) == 34
    assert len(units.provinces(BEFORE)) == 63
    assert sum(unit.communes or 0 for unit in units.provinces().values()) == 3321


def test_a_code_is_read_with_a_date() -> None:
    assert units.province("44").name == "Quảng Trị"
    assert units.province("44", BEFORE).name == "Quảng Bình"
    assert units.province("24", BEFORE).name == "Bắc Giang"
    assert units.province("24").name == "Bắc Ninh"


def test_every_former_province_has_a_successor_that_exists() -> None:
    assert {former.successor for former in units.provinces(BEFORE).values()} == set(units.provinces())


def test_seventeen_units_hold_more_than_one_cadastral_grid() -> None:
    assert sum(len(units.cadastral_grids(code)) > 1 for code in units.provinces()) == 17
    assert units.cadastral_grids("79") == [9210, 5899]
    assert units.cadastral_grids("92") == [5897, 9209]
    assert units.cadastral_grids("48") == [5899]
    assert units.cadastral_grids("01") == [5897]


def test_the_grid_of_a_province_has_its_meridian() -> None:
    for province in units.PROVINCES:
        grid = vn2000.grid(province.epsg)
        assert (grid.kind, grid.meridian) == ("tm3", province.meridian)
        assert unicodedata.is_normalized("NFC", province.title_vi)


def test_the_areas_of_the_registry_hold_the_provinces_of_each_grid() -> None:
    """EPSG's area texts name the provinces of each cadastral grid: an independent check of the table."""
    from pyproj import CRS

    from sdi.national.text import fold

    for former in units.provinces(BEFORE).values():
        area = CRS.from_epsg(former.epsg).area_of_use
        scope = CRS.from_epsg(former.epsg).scope or ""
        assert area is not None
        if former.epsg in range(9205, 9219):
            assert fold(former.name) in fold(area.name + scope), former.name


def test_a_dissolved_province_names_what_it_became() -> None:
    with pytest.raises(NotFound, match=r"94.*Sóc Trăng until 2025-07-01.*92 Thành phố Cần Thơ"):
        units.province("94")
    with pytest.raises(NotFound, match="no provincial code"):
        units.province("99")


def test_a_unit_knows_the_provinces_it_was_made_of() -> None:
    assert [former.name for former in units.former_provinces("79")] == [
        "Bình Dương",
        "Bà Rịa - Vũng Tàu",
        "Hồ Chí Minh",
    ]
