"""What nobody should hand in, and what people hand in all the same: every file ends as an answer or as a sentence."""

from __future__ import annotations

import shutil
import signal
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyogrio
import pytest
import shapely

from sdi.contract.delivery import Request
from sdi.errors import NotFound, SdiError, SourceError, UsageError
from sdi.ingest.deliver import receive
from sdi.ingest.source import Inspection, Limits, inspect, read
from sdi.ingest.stage import ArchiveLimits
from tests.ingest.plots import PARCELS, QUANG_NAM, contract, registry

PATIENT = Limits(timeout=60, memory=4 * 1024**3)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """The product's own limits must end the reading; this is the generous net below them."""

    def fail(*_: object) -> None:
        raise AssertionError(f"not over after {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(path: Path) -> str:
    """How inspecting and reading a file ends; anything but an answer or an SdiError is a bug and goes through."""
    try:
        with within(180):
            found = inspect(path, PATIENT)
            assert isinstance(found, Inspection)
            for layer in found.layers[:2]:
                read(Request(path=path, layer_in_file=layer.name), PATIENT)
    except SdiError as error:
        return type(error).__name__ if "Traceback" not in str(error) else "a traceback"
    return "read"


def datasets(folder: Path, every: int = 1) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".csv", ".md"))
    return files[::every]


@pytest.mark.parametrize("name", ["torture_geojson_invalid", "torture_gpkg_pdok", "torture_pyogrio"])
def test_every_file_of_a_torture_set_ends_as_an_answer_or_a_sentence(
    name: str, shared_data: Callable[[str], Path]
) -> None:
    outcomes = {path.name: outcome(path) for path in datasets(shared_data(name))}
    assert set(outcomes.values()) >= {"read", "SourceError"}, outcomes
    assert "a traceback" not in outcomes.values()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "every"), [("torture_gdal_autotest", 17), ("torture_mapshaper", 11)])
def test_a_sample_of_the_large_torture_sets_ends_as_an_answer_or_a_sentence(
    name: str, every: int, shared_data: Callable[[str], Path]
) -> None:
    outcomes = [outcome(path) for path in datasets(shared_data(name), every)]
    assert "read" in outcomes
    assert "SourceError" in outcomes
    assert "a traceback" not in outcomes


def test_a_vrt_named_as_geopackage_does_not_read_the_file_it_points_at(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("name,wkt\npassword,POINT (1 2)\n", encoding="utf-8")
    layer = f'<OGRVRTLayer name="secret"><SrcDataSource>{secret}</SrcDataSource></OGRVRTLayer>'
    for suffix in (".gpkg", ".geojson", ".xml", ".kml"):
        trap = tmp_path / f"trap{suffix}"
        trap.write_text(f"<OGRVRTDataSource>{layer}</OGRVRTDataSource>", encoding="utf-8")
        with pytest.raises(SourceError):
            inspect(trap)


def test_the_reading_process_has_no_driver_beyond_the_allowed_and_no_secret_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess
    import sys

    from sdi.ingest.child import ALLOWED
    from sdi.ingest.source import _environment

    monkeypatch.setenv("SDI_DATABASE_URL", "postgresql://u:secret@db/x")
    environment = _environment(str(tmp_path))
    assert "secret" not in str(environment)
    script = (
        "from sdi.ingest import child\nchild._shut_out_drivers({'isolated': False})\n"
        "import pyogrio\nprint('|'.join(pyogrio.list_drivers()))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert set(done.stdout.strip().split("|")) <= ALLOWED | {"MEM"}


def test_an_entity_bomb_is_stopped_within_its_limits(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    for suffix in (".kml", ".gml"):
        bomb = tmp_path / f"bomb{suffix}"
        bomb.write_text(
            f'<?xml version="1.0"?><!DOCTYPE kml [<!ENTITY l0 "lol">{entities}]>'
            '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><name>&l9;</name>'
            "<Point><coordinates>1,2</coordinates></Point></Placemark></Document></kml>",
            encoding="utf-8",
        )
        with within(120):
            assert outcome(bomb) in ("read", "SourceError")


def test_a_file_that_takes_too_long_or_too_much_memory_is_refused_with_the_reason(
    shared_data: Callable[[str], Path],
) -> None:
    path = shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip"
    with pytest.raises(SourceError, match="took longer than"):
        read(Request(path=path), Limits(timeout=0.05))
    with pytest.raises(SourceError):
        read(Request(path=path), Limits(timeout=60, memory=160 * 1024**2))


# --- shapefiles with something missing ------------------------------------------------------------------------------


@pytest.fixture
def shapefile(tmp_path: Path, shared_data: Callable[[str], Path]) -> Path:
    for part in (shared_data("vn_legacy_encoding_derived")).glob("dn16_tcvn3.*"):
        shutil.copy(part, tmp_path / part.name)
    return tmp_path / "dn16_tcvn3.shp"


@pytest.mark.parametrize("part", [".shx", ".dbf"])
def test_a_shapefile_without_one_of_its_parts_is_refused_naming_the_part(shapefile: Path, part: str) -> None:
    shapefile.with_suffix(part).unlink()
    with pytest.raises(SourceError, match=f"dn16_tcvn3\\{part} is missing"):
        read(Request(path=shapefile))


def test_a_shapefile_without_its_shp_is_refused_and_not_read_as_a_table(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("vn_incomplete_shapefile")
    for suffix in (".dbf", ".shx", ".cpg"):
        with pytest.raises(SourceError, match=r"shapefile\.shp is missing"):
            inspect(folder / f"DiaPhanCapTinh_shapefile{suffix}")


def test_an_archive_of_a_shapefile_without_its_shp_is_refused(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    archive = tmp_path / "provinces.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for part in shared_data("vn_incomplete_shapefile").glob("DiaPhan*"):
            out.write(part, part.name)
    with pytest.raises(SourceError):
        inspect(archive)


@pytest.mark.parametrize("part", [".shp", ".shx", ".dbf"])
def test_a_shapefile_that_is_cut_short_is_told_with_both_lengths(shapefile: Path, part: str) -> None:
    whole = shapefile.with_suffix(part).read_bytes()
    shapefile.with_suffix(part).write_bytes(whole[: len(whole) // 2])
    if part == ".shx":
        with pytest.raises(SourceError, match=f"cut short: {len(whole) // 2} bytes of {len(whole)}"):
            read(Request(path=shapefile))
    else:
        there, promised = read(Request(path=shapefile)).facts.truncated or (0, 0)
        assert there == len(whole) // 2
        assert len(whole) - 1 <= promised <= len(whole)  # a DBF's end mark may be absent


def test_parts_are_found_whatever_the_case_of_their_suffix(shapefile: Path) -> None:
    for suffix in (".shx", ".dbf"):
        part = shapefile.with_suffix(suffix)
        part.rename(part.with_suffix(suffix.upper()))
    assert read(Request(path=shapefile)).table.num_rows == 1229


def test_a_shapefile_cut_short_refuses_the_whole_delivery(shapefile: Path) -> None:
    shapefile.write_bytes(shapefile.read_bytes()[:-100])
    wish = Request(path=shapefile, crs="EPSG:5899")
    received = receive(wish, contract(PARCELS), registry(), grid=5899, extent=QUANG_NAM)
    assert received.report.refused
    assert "file.truncated" in received.report.by_rule()
    assert received.report.read == 1229


# --- archives -------------------------------------------------------------------------------------------------------


def archive_of(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in entries.items():
            out.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../plots.geojson", "/etc/plots.geojson", "a/../../plots.geojson", "C:/p.geojson", "..\\p.geojson"]
)
def test_an_archive_that_reaches_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="outside its own folder"):
        inspect(archive_of(tmp_path / "a.zip", {name: b"{}"}))


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = archive_of(tmp_path / "bomb.zip", {"plots.geojson": b" " * 20_000_000})
    with pytest.raises(SourceError, match="more than is allowed"):
        inspect(bomb)
    many = archive_of(tmp_path / "many.zip", {f"{number}.geojson": b"{}" for number in range(30)})
    with pytest.raises(SourceError, match="30 files"):
        inspect(many, Limits(archive=ArchiveLimits(files=20)))


def test_an_archive_within_an_archive_a_link_and_a_password_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="another archive"):
        inspect(archive_of(tmp_path / "a.zip", {"inner.zip": b"PK"}))
    link = tmp_path / "link.zip"
    with zipfile.ZipFile(link, "w") as out:
        entry = zipfile.ZipInfo("plots.geojson")
        entry.external_attr = 0o120777 << 16
        out.writestr(entry, "/etc/passwd")
    with pytest.raises(SourceError, match="symbolic link"):
        inspect(link)
    locked = bytearray(archive_of(tmp_path / "locked.zip", {"plots.geojson": b"{}"}).read_bytes())
    central = locked.index(b"PK\x01\x02")
    locked[6] |= 1
    locked[central + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    with pytest.raises(SourceError, match="encrypted"):
        inspect(tmp_path / "locked.zip")


def test_a_tar_with_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as out:
        entry = tarfile.TarInfo("plots.geojson")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(entry)
    with pytest.raises(SourceError, match="link"):
        inspect(path)


def test_an_archive_of_several_datasets_lists_them_and_takes_the_one_that_is_named(tmp_path: Path) -> None:
    point = b'{"type":"Point","coordinates":[106.7,10.8]}'
    archive = archive_of(
        tmp_path / "two.zip", {"roads.geojson": point, "rivers.geojson": point, "__MACOSX/._x.geojson": b""}
    )
    with pytest.raises(UsageError, match=r"rivers\.geojson, roads\.geojson"):
        inspect(archive)
    assert read(Request(path=archive, layer_in_file="roads")).facts.layer == "roads"


@pytest.mark.parametrize("name", ["testopenfilegdb.zip", "weird_winding_order_fgdb.zip", "test3005.gdb.zip"])
def test_a_geodatabase_is_found_in_its_archive_however_it_was_packed(
    name: str, shared_data: Callable[[str], Path]
) -> None:
    found = inspect(shared_data("torture_gdal_autotest") / "filegdb" / name)
    assert found.driver == "OpenFileGDB"
    assert any(layer.feature_count for layer in found.layers)


@pytest.mark.parametrize(
    ("path", "driver"),
    [
        ("dgn/smalltest.dgn", "DGN"),
        ("dxf/text.dxf", "DXF"),
        ("gml/test_point1.gml", "GML"),
        ("mitab/small.mif", "MapInfo File"),
        ("mitab/all_geoms.tab", "MapInfo File"),
        ("kml/non_conformant_multi.kml", "LIBKML"),
        ("xlsx/datetime.xlsx", "XLSX"),
        ("filegdb/filegdb_polygonzm_nan_m_with_curves.gdb", "OpenFileGDB"),
    ],
)
def test_every_format_that_stewards_use_is_read(path: str, driver: str, shared_data: Callable[[str], Path]) -> None:
    source = read(Request(path=shared_data("torture_gdal_autotest") / path))
    assert source.facts.driver == driver
    assert source.table.num_rows > 0


# --- paths and layers -----------------------------------------------------------------------------------------------


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.geojson")
    with pytest.raises(SourceError, match="not a regular file"):
        inspect(tmp_path / "pipe.geojson")
    with pytest.raises(NotFound):
        inspect(Path("http://127.0.0.1/plots.geojson"))
    with pytest.raises(NotFound, match=r"plots\.geojson"):
        inspect(tmp_path / "plots.geojson")


def test_a_file_with_several_layers_lists_name_type_and_count(tmp_path: Path) -> None:
    path = tmp_path / "city.gpkg"
    for name, shape in (("trees", shapely.Point(1, 2)), ("roads", shapely.LineString([(0, 0), (1, 1)]))):
        pyogrio.raw.write(
            path, geometry=shapely.to_wkb([shape]), field_data=[], fields=[], layer=name, crs="EPSG:9210",
            geometry_type=shape.geom_type, append=path.exists(),
        )  # fmt: skip
    with pytest.raises(UsageError, match=r"trees \(Point, 1\); roads \(LineString, 1\)"):
        read(Request(path=path))
    with pytest.raises(UsageError, match="Did you mean 'roads'"):
        read(Request(path=path, layer_in_file="road"))
    assert read(Request(path=path, layer_in_file="roads")).facts.geometry_type == "LineString"


def test_lengths_of_a_shapefile_are_read_as_big_endian_words(shapefile: Path) -> None:
    head = shapefile.read_bytes()[:28]
    assert 2 * struct.unpack(">i", head[24:28])[0] == shapefile.stat().st_size


def test_progress_counts_up_to_the_number_of_features(shared_data: Callable[[str], Path]) -> None:
    seen: list[tuple[int, int | None]] = []
    path = shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip"
    read(Request(path=path), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9777, 9777)
