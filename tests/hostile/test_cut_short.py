"""Files that are cut short, in every format: none of their features goes missing without a word."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdi.contract.delivery import Request
from sdi.errors import SourceError
from sdi.ingest import geojson
from sdi.ingest.completeness import check_whole
from sdi.ingest.markup import broken_line
from sdi.ingest.source import read
from tests.hostile import samples
from tests.hostile.conduct import End, hand_in, together

CUTS = (0.05, 0.3, 0.5, 0.8, 0.93, 0.99) if os.environ.get("SDI_TEST_TORTURE") == "all" else (0.6,)
PARTS = {"shp": (".shp", ".shx", ".dbf"), "tab": (".dat", ".id", ".map"), "mif": (".mif", ".mid")}


def cut_short(folder: Path, kind: str) -> Iterator[Path]:
    """Copies of a good file, each with one part cut in the middle of a line or a record."""
    (folder / "good").mkdir()
    good = samples.write(folder / "good", kind)
    for suffix in PARTS.get(kind, (good.suffix,)):
        for cut in CUTS:
            target = folder / f"{suffix[1:]}{cut}"
            shutil.copytree(folder / "good", target)
            victim = target / f"plots{suffix}"
            raw = victim.read_bytes()
            victim.write_bytes(raw[: _within_a_value(raw, int(len(raw) * cut), kind)])
            yield target / good.name


def _within_a_value(raw: bytes, at: int, kind: str) -> int:
    """A text that is cut behind a whole line says nothing of it; in a quotation or a number of coordinates it does."""
    return raw.rindex(b"POLYGON", 0, at) + 12 if kind == "csv" and b"POLYGON" in raw[:at] else at


@pytest.mark.parametrize("kind", ["gpkg", "shp", "geojson", "geojsonl", "fgb", "csv", "kml", "gml", "mif", "tab", "dxf",
                                  "dgn", "gpx", "xlsx", "zip"])  # fmt: skip
def test_a_file_that_is_cut_short_is_refused_or_read_whole(tmp_path: Path, kind: str) -> None:
    paths = list(cut_short(tmp_path, kind))
    for path, ends in zip(paths, together(paths, crs="EPSG:9210"), strict=True):
        assert all(_nothing_is_missing(end) for end in ends), path


def _nothing_is_missing(end: End) -> bool:
    return end.report is None or end.report.refused or end.report.read == samples.COUNT


def test_a_good_file_of_every_format_is_read_whole(tmp_path: Path) -> None:
    paths = []
    for kind in (*samples.DRIVERS, "xlsx", "zip"):
        (tmp_path / kind).mkdir()
        paths.append(samples.write(tmp_path / kind, kind))
    for path, ends in zip(paths, together(paths, crs="EPSG:9210"), strict=True):
        assert [end.report.read for end in ends if end.report] == [samples.COUNT], path


def test_a_geodatabase_whose_rows_are_not_all_found_is_refused(tmp_path: Path) -> None:
    """The number of rows and the place of each stand in the .gdbtablx; where it is damaged GDAL passes rows over
    without a word, or takes the table for empty."""
    good = samples.write(tmp_path, "gdb.zip")
    with zipfile.ZipFile(good) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    table = next(
        name for name, content in parts.items()
        if name.endswith(".gdbtable") and int.from_bytes(content[4:8], "little") == samples.COUNT
    )  # fmt: skip
    assert read(Request(path=good)).table.num_rows == samples.COUNT
    for at, damage, left in (
        (31, b"\0" * 5, 39),
        (31, b"\xff\xff\1\0\0", 39),
        (8, b"\x20", 32),
        (4, b"\0", 0),
        (0, b"\1", 0),
    ):
        path = tmp_path / "spoilt.gdb.zip"
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in parts.items():
                spoilt = content[:at] + damage + content[at + len(damage) :]
                packed.writestr(name, spoilt if name == table.replace(".gdbtable", ".gdbtablx") else content)
        with pytest.raises(SourceError, match=f"Of {samples.COUNT} features of spoilt.gdb.zip only {left} can be read"):
            read(Request(path=path))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("geojson", b'"type": "Feature"', b'"type": "Fecture"'),
        ("geojson", b'"type": "Feature"', b'"typd": "Feature"'),
        ("geojsonl", b'}\n{ "type"', b'}\x0b{ "type"'),
        ("gpx", b"lat=", b"let="),
        ("topojson", b'"type": "Polygon"', b'"typd": "Polygon"'),
        ("topojson", b'"arcs": [[39]]', b'"arcz": [[39]]'),
    ],
)
def test_a_feature_that_is_passed_over_is_missed(tmp_path: Path, kind: str, good: bytes, bad: bytes) -> None:
    path = samples.write(tmp_path, kind)
    head, tail = path.read_bytes().rsplit(good, 1)
    path.write_bytes(head + bad + tail)
    with pytest.raises(SourceError, match=f"Of {samples.COUNT} features of plots.{kind} only 39 can be read"):
        read(Request(path=path))


_VALUES = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('{}[]:,"\\ ệ\n') | st.characters(codec="utf-8"), max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["features", "a", '"{\\']), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    root=st.dictionaries(st.sampled_from(["features", "type", "crs", 'x"features": [']), _VALUES, max_size=4),
    piece=st.integers(1, 99), dense=st.booleans(),
)  # fmt: skip
def test_features_are_counted_as_a_reader_of_json_does(root: dict[str, Any], piece: int, dense: bool) -> None:
    text = json.dumps(root, ensure_ascii=dense, indent=None if dense else 1, separators=(",", ":") if dense else None)
    listed = root.get("features")
    expected = sum(isinstance(each, dict) for each in listed) if isinstance(listed, list) else None
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(geojson, "_PIECE", piece)
        path = Path(folder, "a.json")
        path.write_text(text, encoding="utf-8")
        assert geojson.features(path) == expected
        path.write_text(f"{text}\n{text}\n", encoding="utf-8")
        assert geojson.records(path) == 2


@pytest.mark.parametrize("kind", ["gml", "kml", "gpx"])
def test_xml_that_is_damaged_in_its_middle_is_refused(tmp_path: Path, kind: str) -> None:
    """Of GML GDAL gives what stands before the damage and no more."""
    path = samples.write(tmp_path, kind)
    raw = path.read_bytes()
    at = raw.index(b"<", len(raw) // 2)
    line = raw.count(b"\n", 0, at) + 1
    for damage in (b"\xd2", b"</x>", b"&&"):
        path.write_bytes(raw[:at] + damage + raw[at + 1 :])
        with pytest.raises(SourceError, match=f"begins at line {line} is" if kind == "gml" else "damaged"):
            read(Request(path=path))


def test_what_stands_behind_a_document_is_no_damage(tmp_path: Path) -> None:
    for number, rest in enumerate((b"\0" * 512, b"\n\n", b"<!-- made by hand -->", b"<kml/>")):
        (tmp_path / str(number)).mkdir()
        path = samples.write(tmp_path / str(number), "gml")
        path.write_bytes(path.read_bytes() + rest)
        assert broken_line(path) is None


@pytest.mark.parametrize("says", ['numberOfFeatures="{0}"', "numberMatched='999' numberReturned='{0}'"])
def test_an_answer_of_a_wfs_that_has_fewer_features_than_it_says_is_refused(tmp_path: Path, says: str) -> None:
    good = samples.write(tmp_path, "gml").read_text(encoding="utf-8")
    path = tmp_path / "answer.gml"
    for number in ("0", str(samples.COUNT)):
        path.write_text(good.replace("<ogr:FeatureCollection", f"<ogr:FeatureCollection {says.format(number)}", 1))
        assert read(Request(path=path)).table.num_rows == samples.COUNT
    path.write_text(good.replace("<ogr:FeatureCollection", f"<ogr:FeatureCollection {says.format(41)}", 1))
    with pytest.raises(SourceError, match=r"Of 41 features of answer.gml only 40 can be read"):
        read(Request(path=path))


def test_a_prj_that_cannot_be_understood_is_named(tmp_path: Path) -> None:
    path = samples.write(tmp_path, "shp")
    path.with_suffix(".prj").write_bytes(path.with_suffix(".prj").read_bytes()[:60])
    with pytest.raises(SourceError, match=r"declares its CRS \(\.prj\)"):
        read(Request(path=path))


@pytest.mark.parametrize(
    "text",
    [
        'name,wkt\n"2"" pipe",POINT (1 2)\n',
        'name,wkt\n2" pipe,POINT (1 2)\n',
        "name,wkt\na,POINT (1 2)",
        'name,wkt\n"a\nb","POINT (1 2)"',
    ],
)
def test_a_csv_that_only_looks_unfinished_is_whole(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    check_whole(tmp_path / "a.csv", "a.csv")


def test_every_real_file_is_found_whole(shared_data: Callable[[str], Path]) -> None:
    for name in ("cz_cadastre_dxf", "vn_osm_hcmc_district1", "vn_admin_2025", "us_cambridge_ma"):
        for path in shared_data(name).rglob("*"):
            if path.suffix in (".dxf", ".xml", ".csv"):
                check_whole(path, path.name)


def test_a_place_that_the_grid_cannot_reach_is_held_back_and_breaks_nothing(
    shared_data: Callable[[str], Path],
) -> None:
    """The transverse Mercator of one meridian has no coordinates on the other side of the Earth."""
    (end,) = hand_in(shared_data("torture_pyogrio") / "naturalearth_lowres" / "naturalearth_lowres.shp")
    assert end.report is not None
    held = end.report.by_rule()["place.outside"]
    assert held == end.report.quarantined > 0
    assert end.report.read == 177


def test_a_finding_on_a_place_beyond_reach_is_json_that_every_reader_takes(shared_data: Callable[[str], Path]) -> None:
    (end,) = hand_in(shared_data("torture_gdal_autotest") / "shp" / "bigoffset.shp")
    assert end.report is not None
    assert all(finding.place is None or max(map(abs, finding.place)) <= 180 for finding in end.report.findings)
