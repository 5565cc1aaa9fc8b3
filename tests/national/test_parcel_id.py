"""The national parcel identifier: GeoHash of 12 characters (TT 19/2026/TT-BNNMT Phụ lục I)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi.national import parcel_id, vn2000

ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"


def by_halving(lon: float, lat: float, length: int) -> str:
    """GeoHash as its definition says it: halve, and write which half."""
    boxes, bits = [[-180.0, 180.0], [-90.0, 90.0]], []
    for step in range(length * 5):
        low, high = boxes[step % 2]
        middle, value = (low + high) / 2, (lon, lat)[step % 2]
        bits.append(value >= middle)
        boxes[step % 2] = [middle, high] if bits[-1] else [low, middle]
    return "".join(ALPHABET[int("".join("01"[b] for b in bits[i : i + 5]), 2)] for i in range(0, len(bits), 5))


def test_the_worked_example_of_an_l_shaped_parcel() -> None:
    lon, lat = vn2000.to_wgs84(np.array([[603485.8577, 1191445.8580]]), 9210).T
    assert (lon[0], lat[0]) == pytest.approx((106.69803879, 10.77242075), abs=1e-8)
    assert parcel_id.encode(lon, lat).tolist() == ["w3gv7cp1usb0"]


def test_the_wrong_operation_changes_the_identifier() -> None:
    lon, lat = vn2000.to_wgs84(np.array([[603485.8577, 1191445.8580]]), 9210, 5194).T
    assert parcel_id.encode(lon, lat).tolist() == ["w3gv7cp1usve"]


def test_an_identifier_decodes_to_a_cell_of_centimetres() -> None:
    lon, lat, half_lon, half_lat = parcel_id.decode(["w3gv7cp1usb0"])
    assert abs(lon[0] - 106.69803879) <= half_lon[0]
    assert abs(lat[0] - 10.77242075) <= half_lat[0]
    assert 2 * half_lon[0] * 109_300 == pytest.approx(0.037, abs=0.001)
    assert 2 * half_lat[0] * 110_600 == pytest.approx(0.0185, abs=0.001)


@given(st.integers(-180 * 10**9, 180 * 10**9 - 1), st.integers(-90 * 10**9, 90 * 10**9 - 1), st.integers(1, 12))
def test_encoding_halves_the_globe(nano_lon: int, nano_lat: int, length: int) -> None:
    lon, lat = nano_lon / 1e9, nano_lat / 1e9
    assert parcel_id.encode([lon], [lat], length)[0] == by_halving(lon, lat, length)


@given(st.lists(st.text(ALPHABET, min_size=1, max_size=12), min_size=1, max_size=20))
def test_the_middle_of_a_cell_encodes_to_its_identifier(ids: list[str]) -> None:
    lon, lat, _, _ = parcel_id.decode(ids)
    for text, x, y in zip(ids, lon, lat, strict=True):
        assert parcel_id.encode([x], [y], len(text))[0] == text


def test_what_is_no_identifier_is_not_valid_and_has_no_place() -> None:
    ids = ["w3gv7cp1usb0", "w3gv7cp1usb", "w3gv7cp1usb00", "a3gv7cp1usb0", "W3GV7CP1USB0", "", None, 12, "w3gv7cp1usbề"]
    assert parcel_id.is_valid(ids).tolist() == [True] + [False] * 8
    lon, lat, half_lon, half_lat = parcel_id.decode(ids)
    nowhere = [False, False, True, True, True, True, True, True, True]
    for values in (lon, lat, half_lon, half_lat):
        assert np.isnan(values).tolist() == nowhere


def test_a_place_off_the_globe_has_no_identifier() -> None:
    assert parcel_id.encode([181.0, np.nan, 106.7], [0.0, 10.0, np.inf]).tolist() == ["", "", ""]


def test_no_identifiers_are_no_trouble() -> None:
    assert parcel_id.is_valid([]).tolist() == []
    assert parcel_id.encode([], []).tolist() == []
    assert all(len(values) == 0 for values in parcel_id.decode([]))
