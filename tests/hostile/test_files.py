"""What nobody should hand in, and what people hand in all the same: every file ends as an answer or as a sentence."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyogrio
import pytest
import shapely

from sdi.contract.delivery import Request
from sdi.errors import SourceError, UsageError
from sdi.ingest.deliver import receive
from sdi.ingest.source import Limits, inspect, read
from sdi.ingest.stage import ArchiveLimits
from tests.ingest.plots import PARCELS, QUANG_NAM, contract, registry

PATIENT = Limits(timeout=60, memory=4 * 1024**3)


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


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = archive_of(tmp_path / "bomb.zip", {"plots.geojson": b" " * 20_000_000})
    with pytest.raises(SourceError, match="more than is allowed"):
        inspect(bomb)
    many = archive_of(tmp_path / "many.zip", {f"{number}.geojson": b"{}" for number in range(30)})
    with pytest.raises(SourceError, match="30 files"):
        inspect(many, Limits(archive=ArchiveLimits(files=20)))


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
