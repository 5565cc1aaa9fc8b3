"""Requests made by chance, over HTTP: whatever a client sends is its own fault (4xx) or is answered, never a 5xx.

What is tried is the same each time; SDI_TEST_FUZZ=600 goes on for so many seconds with new ones.
"""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.conftest import Town

SECONDS = float(os.environ.get("SDI_TEST_FUZZ", "0"))
FIXED = settings(
    max_examples=50_000 if SECONDS else 500, deadline=None, derandomize=not SECONDS, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
_began = time.monotonic()

GOOD = [
    "number > 5 AND use = 'ODT'",
    "NOT (disputed = TRUE OR height IS NULL)",
    "CASEI(ACCENTI(owner_kind)) LIKE '%nguyen%\\\\_'",
    "S_INTERSECTS(geometry, POLYGON((105.8 21.0,105.9 21.0,105.9 21.1,105.8 21.1,105.8 21.0)))",
    "S_WITHIN(geometry, BBOX(105.8,21.0,105.9,21.1))",
    "T_DURING(INTERVAL(valid_from, valid_to), INTERVAL('2020-01-01', '..'))",
    "changed_at >= TIMESTAMP('2026-01-01T08:00:00Z') AND valid_from BETWEEN DATE('2020-01-01') AND DATE('2026-01-01')",
    "legal_area * 2 - 1 / number > 10 ^ 2 % 7 div 3",
    "number IN (1, 2, 9007199254740993) AND legal_area <= 4e2",
    '{"op":"and","args":[{"op":"=","args":[{"property":"number"},1]},{"op":"not","args":[true]}]}',
    '{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Point","coordinates":[105.85,21.02]}]}',
    '{"op":"t_after","args":[{"property":"valid_from"},{"interval":["2020-01-01",".."]}]}',
]
PIECES = [
    "(", ")", "((((((((((((((((((((", "NOT NOT NOT NOT ", "[" * 300, '{"op":"not","args":[' * 60, "'", '"', "\\", "%",
    "\x00", "\x1b", "\ud7ff", "\U0010ffff", "é", "9" * 400, "-1e309", "1e-400", "NaN", "Infinity", "null", "..", ",,",
    "DATE('0000-00-00')", "DATE('9999-12-31')", "TIMESTAMP('2026-12-31T23:59:60Z')", "POINT(1e308 -1e308)",
    "POINT EMPTY",
    "POLYGON((0 0,1 1,1 0,0 1,0 0))", "GEOMETRYCOLLECTION(POINT(0 0))", "CURVEPOLYGON((0 0))", "; DROP TABLE x; --",
    "%(p0)s", "{}", "${7*7}", "<!--", "geometry", "unfindable", "hidden_note", "holder", "geom_wgs84", "load_id", "id",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, good: list[str]) -> str:
    """A good text with a few of its parts cut out, doubled or replaced."""
    text = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 12)))
        between = draw(
            st.one_of(st.just(""), st.just(text[start:stop] * 2), st.sampled_from(PIECES), st.text(max_size=3))
        )
        text = text[:start] + between + text[stop:]
    return text


VALUES = {
    "limit": ["1", "0", "-1", "10000000000000000000000", "1.5", "١"],
    "offset": ["0", "9223372036854775807", "9223372036854775808", "1e3"],
    "bbox": ["105.8,21.0,105.9,21.1", "1,2,3", "180,-90,-180,90", "nan,nan,nan,nan", "inf,0,1,1", "0,0,0,0,0,0",
             "1e400,0,1,1"],
    "bbox-crs": ["http://www.opengis.net/def/crs/EPSG/0/5897", "EPSG:5897", "",
                 "http://www.opengis.net/def/crs/OGC/1.3/CRS84"],
    "crs": ["http://www.opengis.net/def/crs/EPSG/0/3857", "http://www.opengis.net/def/crs/EPSG/0/999999999999", "x"],
    "datetime": ["2026-01-01/..", "../..", "0000-01-01", "9999-12-31T23:59:59.999999999+23:59",
                 "0001-01-01T00:00:00+23:00"],
    "as-of": ["2026-01-01", "0001-01-01", "9999-12-31", "0001-01-01T00:00:00+20:00"],
    "properties": ["use", "", ",", "use,use", "hidden_note", "geometry", "*"],
    "sortby": ["-number,+use", "number,number", "geometry", "-", "uses"],
    "filter": GOOD,
    "filter-lang": ["cql2-text", "cql2-json", "ecql"],
    "filter-crs": ["http://www.opengis.net/def/crs/EPSG/0/5897", "http://www.opengis.net/def/crs/EPSG/0/4326"],
    "skipGeometry": ["true", "TRUE", "1"],
    "cursor": ["x", "AAAA.BBBB", "é"],
    "f": ["json", "html", "jsonld", "csv", "gml"],
    "lang": ["vi", "en", "xx"],
    "id": ["00004.1.1", "\x00"],
    "number": ["1", "9" * 300, "1e5"],
    "legal_area": ["400.1", "1e999", "-0"],
    "height": ["5.5", "nan", "1e-999"],
    "disputed": ["true", "yes"],
    "valid_from": ["2020-01-15", "-4713-01-01"],
    "changed_at": ["2026-01-01T08:00:00Z", "2026-01-01T08:00:00.1234567890Z"],
    "uses": ["ODT"],
}  # fmt: skip


def ended() -> bool:
    return bool(SECONDS) and time.monotonic() - _began > SECONDS


def asked(town: Town, path: str) -> None:
    if ended():
        return
    answer = town.ask(path)
    assert answer.status < 500, (answer.status, path, answer.text[:500])


@pytest.mark.parametrize("filter_", GOOD)
def test_what_the_mutations_start_from_is_answered(town: Town, filter_: str) -> None:
    language = "cql2-json" if filter_.startswith("{") else "cql2-text"
    assert town.ask(f"/collections/plots/items?filter-lang={language}&filter={quote(filter_)}").status == 200


@FIXED
@given(filter_=mutated(GOOD), language=st.sampled_from(["cql2-text", "cql2-json"]))
def test_no_filter_is_a_fault_of_the_service(town: Town, filter_: str, language: str) -> None:
    written = quote(filter_, safe="", errors="surrogatepass")
    asked(town, f"/collections/plots/items?limit=3&filter-lang={language}&filter={written}")


@FIXED
@given(st.data())
def test_no_parameter_is_a_fault_of_the_service(town: Town, data: Any) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    pairs = [
        (name, data.draw(st.sampled_from(VALUES[name]) | mutated(VALUES[name]) | st.text(max_size=10)))
        for name in names
    ]
    collection = data.draw(st.sampled_from(["plots", "works", "plot_card"]))
    query = "&".join(f"{name}={quote(value, safe='', errors='surrogatepass')}" for name, value in pairs)
    asked(town, f"/collections/{collection}/items?{query}")


@FIXED
@given(
    st.lists(
        st.sampled_from(
            ["collections", "plots", "items", "ground", "coverage", "lots", "dossier", "conformance", "..", ""]
        )
        | st.binary(max_size=6),
        max_size=6,
    ),
    st.binary(max_size=12),
)
def test_no_address_is_a_fault_of_the_service(town: Town, parts: list[str | bytes], query: bytes) -> None:
    path = "/".join(quote_from_bytes(part if isinstance(part, bytes) else part.encode(), safe="") for part in parts)
    asked(town, f"/{path}?{quote_from_bytes(query, safe='=&')}")
