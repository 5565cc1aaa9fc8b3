"""The national parcel identifier: a GeoHash of 12 characters of a point in WGS 84 (TT 19/2026/TT-BNNMT, Phụ lục I).

A cell of 12 characters is about 3.7 cm by 1.9 cm. The identifier is kept as it was issued: two makers' points differ
in the last characters. It is checked by asking whether its point lies in the parcel, never by making it anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LENGTH = 12
_ALPHABET = np.frombuffer(b"0123456789bcdefghjkmnpqrstuvwxyz", dtype=np.uint8)
_VALUE = np.full(256, 255, dtype=np.uint8)
_VALUE[_ALPHABET] = np.arange(32, dtype=np.uint8)
_SPREAD = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)
"""Steps that put a zero bit between the bits of a 32-bit number."""

Floats = NDArray[np.float64]


def is_valid(ids: Sequence[Any] | NDArray[Any]) -> NDArray[np.bool_]:
    """Say of each value whether it is a GeoHash of 12 characters, in lower case as the circular writes it."""
    digits, length = _digits(ids)
    within = np.arange(LENGTH) < length[:, None]
    return np.asarray((length == LENGTH) & ((digits < 32) | ~within).all(axis=1), dtype=np.bool_)


def decode(ids: Sequence[Any] | NDArray[Any]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the middle of each cell and half its size: lon, lat, half_lon, half_lat, in WGS 84 degrees.

    Takes GeoHashes of 1 to 12 characters; NaN where a value is none.
    """
    digits, length = _digits(ids)
    within = np.arange(LENGTH) < length[:, None]
    good = (length > 0) & (length <= LENGTH) & ((digits < 32) | ~within).all(axis=1)
    bits = np.zeros(len(length), dtype=np.uint64)
    for column in range(LENGTH):
        digit = np.where(within[:, column], digits[:, column], 0).astype(np.uint64)
        bits = (bits << np.uint64(5)) | digit
    lon_bits = np.where(good, (length * 5 + 1) // 2, 0)
    lat_bits = np.where(good, length * 5 // 2, 0)
    half_lon, half_lat = 180.0 / 2.0**lon_bits, 90.0 / 2.0**lat_bits
    # `bits` is filled up to 60 with zeros, so the two numbers are the cells' south-west corners in 2^-30 of the globe
    lon = -180.0 + _gather(bits >> np.uint64(1)) * (360.0 / 2**30) + half_lon
    lat = -90.0 + _gather(bits) * (180.0 / 2**30) + half_lat
    lon, lat, half_lon, half_lat = (np.where(good, values, np.nan) for values in (lon, lat, half_lon, half_lat))
    return lon, lat, half_lon, half_lat


def encode(lon: Floats | Sequence[float], lat: Floats | Sequence[float], length: int = LENGTH) -> NDArray[np.str_]:
    """Return the GeoHash of each place in WGS 84 degrees; an empty text where a coordinate is off the globe or NaN."""
    east, north = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    good = (np.abs(east) <= 180) & (np.abs(north) <= 90)
    x = np.where(good, (east + 180.0) / 360.0 * 2**30, 0)
    y = np.where(good, (north + 90.0) / 180.0 * 2**30, 0)
    top = float(2**30 - 1)
    column, row = np.minimum(np.floor(x), top).astype(np.uint64), np.minimum(np.floor(y), top).astype(np.uint64)
    bits = (_spread(column) << np.uint64(1)) | _spread(row)
    shifts = np.array([55 - 5 * position for position in range(length)], dtype=np.uint64)
    characters = _ALPHABET[((bits[:, None] >> shifts) & np.uint64(31)).astype(np.intp)]
    texts = np.ascontiguousarray(characters).view(f"S{length}").ravel().astype(f"U{length}")
    return np.where(good, texts, "")


def _digits(ids: Sequence[Any] | NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Values 0–31 of the first 12 characters (255: not of the alphabet), and each text's length (0: no text)."""
    texts = np.array([value if isinstance(value, str) else "" for value in ids], dtype=np.str_)
    length = np.char.str_len(texts).astype(np.int64)
    points = texts.astype(f"U{LENGTH}").view(np.uint32).reshape(len(texts), LENGTH)
    return _VALUE[np.minimum(points, 255)], length


def _spread(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put a zero between the bits of numbers below 2^30: the even bits of the result."""
    for shift, mask in _SPREAD:
        numbers = (numbers | (numbers << np.uint64(shift))) & np.uint64(mask)
    return numbers


def _gather(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The inverse of `_spread`: take the even bits."""
    numbers = numbers & np.uint64(_SPREAD[-1][1])
    for (shift, _), (_, mask) in zip(_SPREAD[::-1], [*_SPREAD[-2::-1], (0, 0x00000000FFFFFFFF)], strict=True):
        numbers = (numbers | (numbers >> np.uint64(shift))) & np.uint64(mask)
    return numbers
