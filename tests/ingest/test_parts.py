"""A delivery is worked on in parts: what comes out does not depend on where they are cut, nor memory on how many."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from sdi.ingest.cast import clean
from sdi.ingest.deliver import Received, receive
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import conform, ewkb, ewkb_of_delivered
from sdi.ingest.write import write_features
from sdi.national.text import normalise
from tests.ingest.plots import PARCELS, QUANG_NAM, code, contract, geojson, registry, square

ROOT = Path(__file__).resolve().parents[2]
HCMC = (106.3, 10.3, 107.1, 11.2)
Folder = Callable[[str], Path]
KEYED = """
identifier: {template: "{number}", duplicates: quarantine}
geometry: {type: Polygon, on_invalid: quarantine}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: text}
  - {name: area, title: {vi: Diện tích, en: Area}, type: decimal, scale: 2}
  - {name: use, title: {vi: Loại, en: Use}, type: code, code_list: uses}
  - {name: street, title: {vi: Đường, en: Street}, type: text, required: true}
checks:
  - {rule: geometry.duplicate}
  - {rule: coverage.overlap, tolerance: 0.1, action: quarantine}
  - {rule: area.legal, tolerance: 1.0, parameters: {attribute: area}}
"""


def told(received: Received) -> tuple[Any, ...]:
    """All that a delivery became."""
    with received:
        delivery = replace(received.delivery, received_at=datetime.min)
        tables = [table.read_all().to_pylist() for table in (received.features(), received.quarantined())]
        return delivery, received.report.by_rule(), list(received.report.findings), *tables


def untidy(path: Path) -> Path:
    """Forty lots: repeated ids, a crossed ring, overlaps, a stray, an old encoding in the last."""
    crossed = {"type": "Polygon", "coordinates": [[[603_900, 1_191_000], [603_910, 1_191_010], [603_910, 1_191_000],
                                                   [603_900, 1_191_010], [603_900, 1_191_000]]]}  # fmt: skip
    lots: list[tuple[Any, dict[str, Any]]] = []
    for number in range(40):
        shape: Any = square(603_500 + 9.0 * (number % 20), 1_191_400 + 50 * (number // 20))
        values = {"number": str(number % 37), "area": "1.200,5" if number == 3 else "100"}
        values["use"] = "ODT" if number % 5 else "XXX"
        lots.append((shape, values | ({"street": "Pho Hue"} if number % 7 else {})))
    lots[11] = (crossed, lots[11][1])
    lots[23] = (square(650_000, 1_400_000), lots[23][1])
    lots[30] = (None, lots[30][1])
    lots[39][1]["street"] = "§­êng TrÇn H­ng §¹o, ph­êng BÕn NghÐ"
    return geojson(path, lots, crs=9210)


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_what_a_delivery_becomes_does_not_depend_on_where_it_is_cut(tmp_path: Path, part: int) -> None:
    wish = Request(path=untidy(tmp_path / "lots.geojson"), day=date(2026, 1, 1))
    layer, lists = contract(KEYED), registry(code("ODT"))
    whole = told(receive(wish, layer, lists, grid=9210, extent=HCMC))
    assert {"identifier.duplicate", "geometry.invalid", "coverage.overlap", "place.outside"} <= set(whole[1])
    assert {"text.converted", "area.legal", "code.unknown", "attribute.required"} <= set(whole[1])
    assert whole[3]
    assert whole[4]
    assert told(receive(wish, layer, lists, grid=9210, extent=HCMC, part=part)) == whole


@pytest.mark.parametrize(
    ("folder", "file", "crs"),
    [
        ("vn_cadastre_duynghia", "duynghia_parcels_redacted.geojson.zip", None),
        ("vn_legacy_encoding_derived", "dn16_tcvn3.shp", "EPSG:5899"),
        ("vn_legacy_encoding_derived", "dn16_vni.shp", "EPSG:5899"),
    ],
)
def test_real_files_cut_small_give_what_they_give_whole(
    folder: str, file: str, crs: str | None, shared_data: Folder
) -> None:
    wish = Request(path=shared_data(folder) / file, crs=crs, day=date(2020, 1, 1))
    layer = contract(PARCELS)
    whole = told(receive(wish, layer, registry(), grid=5899, extent=QUANG_NAM))
    assert told(receive(wish, layer, registry(), grid=5899, extent=QUANG_NAM, part=500)) == whole


def test_the_last_value_tells_how_a_column_writes_its_numbers(tmp_path: Path) -> None:
    """`1.234` alone could be either; that `5,5` follows far below makes it a thousand."""
    path = tmp_path / "points.csv"
    rows = [f"{number};106,7;10,8;1.234" for number in range(20)] + ["20;106,7;10,8;5,5"]
    path.write_text("\n".join(["number;lon;lat;area", *rows]), encoding="utf-8")
    text = KEYED.replace("type: Polygon, on_invalid: quarantine", "type: Point").partition("checks:")[0]
    text = text.replace(", required: true", "")
    received = receive(Request(path=path), contract(text), registry(), grid=9210, extent=HCMC, part=3)
    table = received.features().read_all()
    assert {float(value) for value in table["area"].to_pylist()} == {1234.0, 5.5}
    assert shapely.get_coordinates(shapely.from_wkb(table["geom_wgs84"].to_numpy()))[0] == pytest.approx((106.7, 10.8))


def test_legacy_text_that_only_the_last_part_has_is_read(tmp_path: Path) -> None:
    lots = [(square(603_500 + 20.0 * n, 1_191_400), {"number": str(n), "street": "ascii"}) for n in range(30)]
    lots[-1][1]["street"] = "§­êng TrÇn H­ng §¹o, ph­êng BÕn NghÐ"
    path = geojson(tmp_path / "lots.geojson", lots, crs=9210)
    received = receive(Request(path=path), contract(KEYED), registry(), grid=9210, extent=HCMC, part=4)
    assert received.features().read_all()["street"].to_pylist()[-1] == "Đường Trần Hưng Đạo, phường Bến Nghé"
    assert received.report.by_rule() == {"text.converted": 1}


def test_what_no_feature_has_is_told_once_and_what_some_parts_lack_of_each_feature(tmp_path: Path) -> None:
    text = KEYED.replace("name: street,", "name: street, template: '{use}',")
    layer = contract(text)
    for values, rows in (([None] * 6, [None]), (["ODT"] * 4 + [None] * 2, [5, 6])):
        lots = [(square(603_500 + 20.0 * n, 1_191_400), {"number": str(n), "use": use}) for n, use in enumerate(values)]
        path = geojson(tmp_path / "lots.geojson", lots, crs=9210)
        for part in (1, 2, 100):
            received = receive(Request(path=path), layer, registry(code("ODT")), grid=9210, extent=HCMC, part=part)
            assert [f.row for f in received.report.findings if f.rule == "attribute.required"] == rows
            assert received.report.refused == (rows == [None])


# --- waivers ------------------------------------------------------------------------------------------------------


def test_a_waiver_lets_one_finding_of_one_feature_pass_and_says_why(tmp_path: Path) -> None:
    wish = Request(path=untidy(tmp_path / "lots.geojson"), day=date(2026, 1, 1))
    layer, lists = contract(KEYED), registry(code("ODT"))
    before = receive(wish, layer, lists, grid=9210, extent=HCMC)
    held = {f.feature for f in before.report.findings if f.rule == "coverage.overlap"}
    held -= {f.feature for f in before.report.findings if f.action == "quarantine" and f.rule != "coverage.overlap"}
    name = min(feature for feature in held if feature)
    waivers = {("coverage.overlap", name): "ranh giới đang tranh chấp", ("area.legal", name): "đo lại năm 2027"}
    after = receive(wish, layer, lists, grid=9210, extent=HCMC, part=5, waivers=waivers)
    passed = [f for f in after.report.findings if f.rule == "coverage.overlap" and f.feature == name]
    assert {(f.action, f.waived) for f in passed} == {("waived", "ranh giới đang tranh chấp")}
    others = [f for f in after.report.findings if f.rule == "coverage.overlap" and f.feature != name]
    assert {(f.action, f.waived) for f in others} == {("quarantine", None)}
    assert name in after.features().read_all()["id"].to_pylist()
    assert name not in before.features().read_all()["id"].to_pylist()
    assert after.report.kept == before.report.kept + 1


def test_no_waiver_makes_two_features_of_one_id_or_one_without_a_shape(tmp_path: Path) -> None:
    wish = Request(path=untidy(tmp_path / "lots.geojson"), day=date(2026, 1, 1))
    waivers = {(rule, str(n)): "vì" for rule in ("identifier.duplicate", "geometry.missing") for n in range(40)}
    plain, waived = (
        receive(wish, contract(KEYED), registry(code("ODT")), grid=9210, extent=HCMC, waivers=each)
        for each in ({}, waivers)
    )
    assert told(plain) == told(waived)


# --- the columns of findings --------------------------------------------------------------------------------------


def test_findings_are_made_when_they_are_asked_for_and_read_like_a_list() -> None:
    findings = Findings(contract(KEYED), 5)
    findings.add("attribute.range", [3, 1], attribute="area", values=np.array([7.5, 8.5]), limits=["a", None])
    findings.add("file.truncated", value=1, limit=2)
    findings.add("geometry.duplicate", [2], other_rows=[0], places=[(106.5, 10.5)])
    found = findings.finish(lambda rows: [None if row == 0 else f"f{row}" for row in rows],
                            lambda rows: np.column_stack([rows, rows]).astype(float))  # fmt: skip
    assert [f.row for f in found] == [None, 2, 3, 4]
    assert [f.value for f in found] == [1, 8.5, None, 7.5]
    assert [f.limit for f in found] == [2, None, None, "a"]
    assert (found[2].other, found[2].place, found[2].feature) == ("#1", (106.5, 10.5), "f2")
    assert found[-1] == found[3]
    assert found[1:3] == list(found)[1:3]
    assert found[1].place == (1.0, 1.0)
    assert len(found) == 4
    assert found.by_rule() == {"attribute.range": 2, "file.truncated": 1, "geometry.duplicate": 1}
    assert [f.row for f in found.of("attribute.range", 1)] == [2]
    found.insert(0, Finding("place.operation", "warning", "warn"))
    assert (found[0].rule, found[1].rule, len(found)) == ("place.operation", "file.truncated", 5)
    with pytest.raises(IndexError):
        found[5]


@given(
    st.lists(
        st.one_of(st.none(), st.text(st.sampled_from("ab ðÐđế\u0301e\t\n\x0b\x85\xa0\u2003\u200b\u202f\ufeffNULnul<>")))
    )
)
def test_a_column_is_normalised_as_each_of_its_values_would_be(values: list[str | None]) -> None:
    nothing = {"", "null", "<null>", "nan"}
    tidy = [None if value is None else normalise(value) for value in values]
    assert clean(pa.array(values, pa.string())).to_pylist() == [
        None if value is None or value.lower() in nothing else value for value in tidy
    ]


def test_the_srid_stands_in_wkb_where_geos_would_put_it() -> None:
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)])
    shapes = np.array([shapely.Point(1, 2), None, two, shapely.Polygon(), shapely.MultiPoint([(1, 2)])], dtype=object)
    for some in (shapes, shapes[1:2], shapes[:0]):
        made = shapely.to_wkb(shapely.set_srid(some, 9210), include_srid=True, byte_order=1)
        assert ewkb(some, 9210).equals(pa.array(made, pa.binary()))


def test_the_bytes_of_a_file_are_taken_where_they_are_what_would_be_written() -> None:
    def multi(*parts: shapely.Polygon) -> shapely.MultiPolygon:
        return shapely.MultiPolygon(parts)

    lot, yard = shapely.box(0, 0, 1, 1), shapely.Polygon([(0, 0), (9, 0), (9, 9)], [[(4, 1), (5, 1), (5, 2)]])
    shapes = np.array(
        [multi(lot), multi(lot, shapely.box(2, 2, 3, 3)), multi(yard), lot, None, multi(shapely.box(5, 5, 6, 7))],
        dtype=object,
    )
    told = [None if shape is None else shapely.to_wkb(shape, byte_order=1) for shape in shapes]
    told[5] = shapely.to_wkb(shapes[5], byte_order=0)  # big-endian
    mixed = bytearray(told[0])
    mixed[9:] = shapely.to_wkb(lot, byte_order=0)  # big-endian inside, of the same length
    deep = shapely.to_wkb(shapely.force_3d(shapes[0]), byte_order=1)
    column = pa.chunked_array([pa.array([*told, bytes(mixed), deep, told[0] + b"more"], pa.large_binary())])
    raw = shapely.from_wkb(column.to_numpy())
    raw[7] = shapely.force_2d(raw[7])
    master = raw.copy()
    for some in (slice(None), slice(1, None), slice(0, 1)):
        mine, part = master[some], column.slice(some.start or 0, len(master[some]))
        assert ewkb_of_delivered(mine, raw[some], raw[some], part, 9210).equals(ewkb(mine, 9210))
    moved = np.array([multi(shapely.box(0, 0, 1, 2))], dtype=object)
    assert ewkb_of_delivered(moved, raw[:1], raw[:1], column.slice(0, 1), 9210).equals(ewkb(moved, 9210))


def test_the_bytes_of_a_polygon_are_taken_for_its_multipolygon() -> None:
    """Shapefiles have the one where contracts promise the other."""
    lot, yard = shapely.box(0, 0, 1, 1), shapely.Polygon([(0, 0), (9, 0), (9, 9)], [[(4, 1), (5, 1), (5, 2)]])
    shapes = [lot, None, yard, shapely.MultiPolygon([lot]), lot, shapely.MultiPolygon([lot, shapely.box(2, 2, 3, 3)])]
    told = [None if shape is None else shapely.to_wkb(shape, byte_order=1) for shape in shapes]
    told += [shapely.to_wkb(lot, byte_order=0), shapely.to_wkb(lot, byte_order=1) + b"more"]
    column = pa.chunked_array([pa.array([*told, told[0]], pa.large_binary())])
    raw = shapely.from_wkb(column.to_numpy())
    layer = contract(PARCELS)
    assert layer.geometry is not None
    assert layer.geometry.type == "MultiPolygon"
    promised, _ = conform(raw, layer.geometry, Findings(layer, len(raw)))
    master = promised.copy()
    master[4] = shapely.MultiPolygon([shapely.box(0, 0, 1, 2)])  # a repair: of as many points, and another place
    for some in (slice(None), slice(1, None), slice(0, 1), slice(4, 5)):
        mine, part = master[some], column.slice(some.start or 0, len(master[some]))
        for first in (promised[some], raw[some]):
            assert ewkb_of_delivered(mine, first, raw[some], part, 9210).equals(ewkb(mine, 9210))
    taken = ewkb_of_delivered(promised[:1], promised[:1], raw[:1], _at(column.slice(0, 1), 13 + 16, 7.0), 9210)
    assert shapely.get_coordinates(shapely.from_wkb(taken[0].as_py()))[1, 0] == 7.0  # the bytes, not the shape


def _at(column: pa.ChunkedArray, place: int, number: float) -> pa.ChunkedArray:
    """The only value with another number at a place."""
    raw = bytearray(column[0].as_py())
    raw[place : place + 8] = struct.pack("<d", number)
    return pa.chunked_array([pa.array([bytes(raw)], pa.large_binary())])


# --- memory -------------------------------------------------------------------------------------------------------

PEAK = """
import json, re, sys, threading, time
from pathlib import Path
from sdi.contract.codelist import CodeList
from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.ingest.deliver import receive

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

peak, running = anonymous(), True
def watch():
    global peak
    while running:
        peak = max(peak, anonymous())
        time.sleep(0.005)

watcher = threading.Thread(target=watch)
watcher.start()
registry = Registry(Path(), {}, {"uses": CodeList("uses", ())})
layer = Layer.model_validate_json(sys.argv[2])
received = receive(Request(Path(sys.argv[1])), layer, registry, grid=9210, part=1000)
rows = sum(batch.num_rows for batch in received.features())
running = False
watcher.join()
print(json.dumps([rows, len(received.report.findings), peak]))
"""


def _peak(path: Path, layer: str, count: int) -> int:
    """Bytes. On a busy machine parts wait for each other in memory, now more, now fewer; they are small."""
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), layer], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert not ran.returncode, ran.stderr
    rows, findings, peak = json.loads(ran.stdout)
    assert (rows, findings) == (count, count)
    return int(peak)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells of memory in /proc")
def test_memory_does_not_grow_with_the_features(tmp_path: Path) -> None:
    """Every feature has a finding besides. A feature may cost its box, place, hash and finding, not the 1,600 bytes
    that its geometry and texts are; of 1,300 most is room for what the allocator keeps."""
    text = KEYED.partition("checks:")[0].replace("required: true", "required: true, max_length: 3")
    text += "checks: [{rule: attribute.length, action: warn}]"
    layer = contract(text).model_dump_json()
    peaks = {}
    for count in (20_000, 120_000):
        path = tmp_path / f"{count}.gpkg"
        west, south = 600_000 + 12.0 * (np.arange(count) % 1000), 1_190_000 + 12.0 * (np.arange(count) // 1000)
        table = pa.table({
            "number": np.arange(count).astype(str), "street": np.full(count, "Đường Trần Hưng Đạo"),
            "geom": pa.array(shapely.to_wkb(shapely.buffer(shapely.points(west, south), 5, 24)), pa.binary()),
        })  # fmt: skip
        write_features(path, "lots", table, 9210, "Polygon")
        peaks[count] = min(_peak(path, layer, count) for _ in range(2))
    assert peaks[120_000] - peaks[20_000] < 100_000 * 1_300, peaks


HELD = """
import json, sys, tracemalloc
from functools import partial
from pathlib import Path
import pyarrow as pa
from sdi.contract.codelist import CodeList
from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.ingest import abreast, deliver, mapped
from sdi.ingest.checks import duplicates

# What is large of a million features is so of some thousand, too: parts, tiles, blocks, what goes into a file.
mapped.LEAST, mapped.BLOCK, duplicates.READ, abreast.THREADS = 4096, 1000, 1000, 1
deliver.between.check_between = partial(deliver.between.check_between, size=1000, threads=1)
registry = Registry(Path(), {}, {"uses": CodeList("uses", ())})
layer = Layer.model_validate_json(sys.argv[2])
tracemalloc.start()
received = deliver.receive(Request(Path(sys.argv[1])), layer, registry, grid=9210, part=1000)
peaks = tracemalloc.get_traced_memory()[1], pa.default_memory_pool().max_memory()
print(json.dumps([received.report.by_rule(), *peaks]))
"""
ALL_BETWEEN = """checks:
  - {rule: attribute.unique, parameters: {attributes: [number], within: [street]}}
  - {rule: geometry.duplicate, tolerance: 0.01}
  - {rule: coverage.overlap, tolerance: 0.1, parameters: {within: [street]}}
  - {rule: coverage.gap}
  - {rule: coverage.edge_mismatch, tolerance: 0.1, parameters: {between: [street]}}
"""


def test_what_is_held_of_all_features_is_no_memory_of_the_process(tmp_path: Path) -> None:
    """At its peak, of Python, NumPy and Arrow; of each feature some masks of a byte are, and what stands in files is
    not. A box alone would be 32 bytes."""
    layer = contract(KEYED.partition("checks:")[0] + ALL_BETWEEN).model_dump_json()
    peaks = []
    for count in (10_000, 30_000):
        path = tmp_path / f"{count}.gpkg"
        west, south = 600_000 + 12.0 * (np.arange(count) % 100), 1_190_000 + 12.0 * (np.arange(count) // 100)
        table = pa.table({
            "number": np.arange(count).astype(str), "street": (np.arange(count) % 50).astype(str),
            "geom": pa.array(shapely.to_wkb(shapely.box(west, south, west + 12, south + 12)), pa.binary()),
        })  # fmt: skip
        write_features(path, "lots", table, 9210, "Polygon")
        ran = subprocess.run(
            [sys.executable, "-c", HELD, str(path), layer], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert not ran.returncode, ran.stderr
        found, *peak = json.loads(ran.stdout)
        assert found == {}
        peaks.append(sum(peak))
    assert peaks[1] - peaks[0] < 20_000 * 16, peaks
