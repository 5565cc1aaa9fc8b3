"""However a file spells its coordinate reference system, it is known, or it is said not to be."""

from __future__ import annotations

import pytest
from pyproj import CRS

from sdi.errors import UsageError
from sdi.ingest import crs
from sdi.national import vn2000


@pytest.mark.parametrize("version", ["WKT2_2019", "WKT1_GDAL", "WKT1_ESRI"])
@pytest.mark.parametrize("epsg", sorted(vn2000.GRIDS))
def test_every_known_grid_is_recognised_in_every_dialect(epsg: int, version: str) -> None:
    assert crs.recognise(CRS.from_epsg(epsg).to_wkt(version)) == epsg


@pytest.mark.parametrize("rotations", ["-0.00928836,0.01975479,-0.00427372", "0.00928836,-0.01975479,0.00427372"])
def test_the_seven_parameters_tell_vn2000_with_either_sign(rotations: str) -> None:
    shift = f"-191.90441429,-39.30318279,-111.45032835,{rotations},0.252906278"
    text = "+proj=tmerc +lat_0=0 +lon_0=107.75 +k=0.9999 +x_0=500000 +y_0=0 +ellps=WGS84 +units=m +type=crs"
    assert crs.recognise(f"{text} +towgs84={shift}") == 5899


def test_the_old_string_of_3405_is_vn2000_too() -> None:
    shift = "-192.873,-39.382,-111.202,-0.00205,-0.0005,0.00335,0.0188"
    assert crs.recognise(f"+proj=utm +zone=48 +ellps=WGS84 +towgs84={shift} +units=m +type=crs") == 3405


def test_a_vn2000_projection_on_the_datum_of_wgs84_is_no_registered_grid() -> None:
    text = "+proj=tmerc +lat_0=0 +lon_0=107.75 +k=0.9999 +x_0=500000 +y_0=0 +datum=WGS84 +type=crs"
    assert crs.recognise(text) is None
    other_scale = text.replace("0.9999", "0.9996").replace("+datum=WGS84", "+ellps=WGS84")
    assert crs.recognise(other_scale) is None


def test_an_unknown_but_registered_code_is_kept_for_the_sentence() -> None:
    assert crs.recognise("EPSG:5514") == 5514
    assert crs.title("EPSG:5514") == "EPSG:5514"
    assert crs.recognise("nonsense") is None
    assert crs.recognise(None) is None


def test_a_code_is_written_as_stewards_write_it() -> None:
    assert [crs.parse(text) for text in ("EPSG:9210", "epsg:9210", "9210", " EPSG::9210 ")] == [9210] * 4
    with pytest.raises(UsageError, match="EPSG:9210"):
        crs.parse("VN-2000")
