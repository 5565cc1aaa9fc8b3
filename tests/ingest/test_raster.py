"""Coverages: GeoTIFFs of stewards and of enemies, the COG that comes of them, and statistics of parcels."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.errors import NotFound, SdiError, SourceError, UsageError
from sdi.ingest import raster
from sdi.ingest.source import Limits
from sdi.ingest.zonal import zonal
from sdi.national import vn2000

Shared = Callable[[str], Path]
WORLD = (-180.0, -90.0, 180.0, 90.0)
CITY = (106.35, 10.15, 107.05, 11.17)
CORNER = (603_000.0, 1_192_000.0)


def coverage(bands: int = 1, data_types: tuple[str, ...] = ("float32", "uint8", "int16"), **more: Any) -> Layer:
    title = {"vi": "Độ cao", "en": "Elevation"}
    return Layer.model_validate({
        "id": "height", "version": "1.0.0", "kind": "coverage", "title": title, "description": title, "theme": "land",
        "steward": {"id": "survey", "name": title}, "legal_basis": [], "licence": {"id": "test", "title": title},
        "update_cycle": "annually",
        "coverage": {
            "bands": [
                {"name": f"band{i}", "title": title, "unit": "m", "minimum": -10, "maximum": 500} for i in range(bands)
            ],
            "data_types": list(data_types), "max_resolution": 500, **more,
        },
    })  # fmt: skip


def write(path: Path, values: np.ndarray, **profile: Any) -> Path:
    """A GeoTIFF of (rows, columns) or (bands, rows, columns); by default in EPSG:9210, 10 m, in TP.HCM."""
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    default = {
        "driver": "GTiff", "width": width, "height": height, "count": count, "dtype": values.dtype, "nodata": -9999,
        "crs": "EPSG:9210", "transform": from_origin(*CORNER, 10, 10),
    }  # fmt: skip
    with rasterio.open(path, "w", **default | profile) as target:
        target.write(values)
    return path


def ramp(height: int = 60, width: int = 80) -> np.ndarray:
    return (np.arange(height * width, dtype=np.float32).reshape(height, width) % 97) / 2


def receive(path: Path, layer: Layer | None = None, crs: str | None = None, **more: Any) -> raster.ReceivedCoverage:
    out = path.parent / "coverages" / "height.tif" if "out" not in more else more.pop("out")
    return raster.receive(Request(path, crs=crs), layer or coverage(), **{"grid": 9210, "out": out, **more})


def rules(received: raster.ReceivedCoverage) -> set[str]:
    return set(received.report.by_rule())


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_the_cells_come_through_as_they_were_delivered(tmp_path: Path) -> None:
    values = ramp(700, 900)
    values[:20, :30] = -9999
    received = receive(write(tmp_path / "dem.tif", values), extent=CITY)
    assert received.report.findings == []
    assert (received.report.read, received.report.kept) == (1, 1)
    assert received.cog is not None
    with rasterio.open(received.cog) as cog:
        assert (cog.read(1) == values).all()
        assert cog.crs.to_epsg() == 9210
        assert cog.transform == from_origin(*CORNER, 10, 10)
        assert cog.nodata == -9999
        assert cog.descriptions == ("band0",)
        assert cog.units == ("m",)
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert cog.compression.name == "deflate"
        assert cog.overviews(1) == [2]
        assert cog.block_shapes == [(512, 512)]


def test_the_facts_of_a_coverage_are_measured(tmp_path: Path) -> None:
    values = ramp()
    values[0, 0] = -9999
    path = write(tmp_path / "dem.tif", values)
    received = receive(path, extent=CITY)
    facts = received.facts
    good = values[values != -9999].astype(np.float64)
    assert facts["bands"] == [
        {"name": "band0", "dtype": "float32", "nodata": -9999.0, "count": 4799, "min": good.min(), "max": good.max(),
         "mean": pytest.approx(good.mean())}
    ]  # fmt: skip
    assert facts["crs"] == "EPSG:9210"
    assert facts["resolution_m"] == [10, 10]
    assert facts["bounds"] == [603_000, 1_191_400, 603_800, 1_192_000]
    assert (facts["file"], facts["size"]) == (str(received.cog), received.cog.stat().st_size)  # type: ignore[union-attr]
    delivery = received.delivery
    assert (delivery.driver, delivery.crs_used, delivery.grid, delivery.operation) == ("GTiff", "EPSG:9210", 9210, 6960)
    assert delivery.size == path.stat().st_size
    assert len(delivery.sha256) == 64


def test_the_extent_is_by_the_official_operation(tmp_path: Path) -> None:
    received = receive(write(tmp_path / "dem.tif", ramp()), extent=CITY)
    corners = vn2000.to_wgs84(
        np.array([[603_000, 1_191_400], [603_800, 1_192_000], [603_000, 1_192_000], [603_800, 1_191_400.0]]), 9210
    )
    assert received.extent_wgs84 == pytest.approx((*corners.min(axis=0), *corners.max(axis=0)), abs=1e-9)


def test_the_crs_the_steward_says_goes_before_the_declared(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", ramp(), crs="EPSG:5897")
    received = receive(path, crs="EPSG:9210", extent=CITY)
    assert received.report.findings == []
    assert received.delivery.crs_declared == "EPSG:5897"
    with rasterio.open(received.cog) as cog:
        assert cog.crs.to_epsg() == 9210
        assert (cog.read(1) == ramp()).all()


def test_photographs_and_masks_are_kept(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 255, (3, 600, 600), dtype=np.uint8)
    path = tmp_path / "photo.tif"
    profile = {"nodata": None, "photometric": "RGB", "crs": "EPSG:32648"}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, values, **profile)
        with rasterio.open(path, "r+") as target:
            mask = np.full((600, 600), 255, dtype=np.uint8)
            mask[:100] = 0
            target.write_mask(mask)
    received = receive(path, coverage(3, nodata_required=False), extent=WORLD)
    with rasterio.open(received.cog) as cog:
        assert (cog.read() == values).all()
        assert (cog.dataset_mask() == mask).all()
        assert [colour.name for colour in cog.colorinterp] == ["red", "green", "blue"]
    assert received.facts["bands"][0]["count"] == 500 * 600


def test_a_nodata_value_that_is_no_number_is_kept(tmp_path: Path) -> None:
    values = ramp()
    values[5] = np.nan
    received = receive(write(tmp_path / "dem.tif", values, nodata=math.nan), extent=CITY)
    assert received.facts["bands"][0]["nodata"] == "nan"
    assert received.facts["bands"][0]["count"] == 59 * 80
    with rasterio.open(received.cog) as cog:
        assert math.isnan(cog.nodata)


def test_progress_is_told_window_by_window(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = write(tmp_path / "dem.tif", ramp(1100, 100))
    receive(path, extent=CITY, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


# --- what is found ----------------------------------------------------------------------------------------------------


def test_all_faults_of_the_header_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "dem.tif",
        np.zeros((2, 9, 9), dtype=np.float64),
        nodata=None,
        transform=from_origin(*CORNER, 900, 900),
    )
    received = receive(path, extent=CITY)
    assert rules(received) == {"raster.bands", "raster.type", "raster.nodata", "raster.resolution"}
    assert received.report.refused
    assert received.cog is None
    assert not (tmp_path / "coverages").exists()
    assert all(finding.sentence("vi") and finding.sentence("en") for finding in received.report.findings)


def test_values_outside_the_contract_are_warned_of(tmp_path: Path) -> None:
    values = ramp()
    values[3, 3] = 777
    received = receive(write(tmp_path / "dem.tif", values), extent=CITY)
    (finding,) = received.report.findings
    assert (finding.rule, finding.attribute, finding.value, finding.limit) == ("raster.range", "band0", 777, "-10–500")
    assert received.cog is not None


def test_a_contract_may_refuse_values_outside_its_range(tmp_path: Path) -> None:
    values = ramp()
    values[3, 3] = 777
    layer = coverage().model_copy(update={"checks": [*_refuse_range()]})
    received = receive(write(tmp_path / "dem.tif", values), layer, extent=CITY)
    assert received.cog is None
    assert not (tmp_path / "coverages" / "height.tif").exists()


def _refuse_range() -> list[Any]:
    from sdi.contract.layer import Check

    return [Check(rule="raster.range", severity="error", action="refuse")]


def test_the_cells_of_degrees_are_measured_in_metres(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", ramp(), crs="EPSG:4326", transform=from_origin(106.6, 10.9, 0.001, 0.001))
    received = receive(path, extent=CITY)
    assert received.facts["resolution_m"] == pytest.approx([109.4, 110.6], abs=0.2)
    assert received.delivery.grid == 4326
    assert received.delivery.operation is None


def test_cells_are_moved_by_no_operation_and_naming_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", ramp())
    with pytest.raises(UsageError, match="--operation 5194 is for a file in WGS 84"):
        raster.receive(Request(path, operation=5194), coverage(), grid=9210, out=tmp_path / "out.tif", extent=CITY)


def test_a_coverage_in_another_place_is_refused_with_a_proposal(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", ramp(), crs="EPSG:5899")
    received = receive(path, extent=CITY)
    assert {"place.outside", "place.proposal"} == rules(received)
    proposals = [finding.value for finding in received.report.findings if finding.rule == "place.proposal"]
    assert "EPSG:9210 VN-2000 / TM-3 105-45" in proposals
    assert received.cog is None


def test_a_coverage_larger_than_the_city_is_welcome(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", ramp(800, 800), transform=from_origin(450_000, 1_400_000, 500, 500))
    assert receive(path, extent=CITY).report.findings == []


def test_a_raster_without_a_crs_gets_proposals(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", ramp(), crs=None)
    with pytest.raises(SourceError, match=r"declares no CRS.*EPSG:9210"):
        receive(path, extent=CITY)


def test_ha_noi_72_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TT 973/2001"):
        receive(write(tmp_path / "dem.tif", ramp()), crs="EPSG:2044")


def test_a_turned_raster_is_refused(tmp_path: Path) -> None:
    turned = rasterio.Affine(10, 3, CORNER[0], 3, -10, CORNER[1])
    with pytest.raises(SourceError, match="turned"):
        receive(write(tmp_path / "dem.tif", ramp(), transform=turned))


# --- enemies ----------------------------------------------------------------------------------------------------------


def test_gigabytes_from_a_few_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=60_000, height=60_000, count=1, dtype="uint8", nodata=0, crs="EPSG:9210",
        transform=from_origin(*CORNER, 1, 1), sparse_ok=True, tiled=True, blockxsize=8192, blockysize=8192,
    ):  # fmt: skip
        pass
    with pytest.raises(SourceError, match="unpacks to 3 GB"):
        receive(path, extent=CITY)


def test_reading_stops_when_its_time_is_over(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", ramp())
    with pytest.raises(SourceError, match="too long"):
        receive(path, limits=Limits(timeout=0.01))


def test_reading_stops_when_its_memory_is_used_up(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", np.zeros((3, 3000, 3000), dtype=np.float32), blockysize=3000, compress="deflate")
    with pytest.raises(SourceError):
        receive(path, coverage(3), extent=CITY, limits=Limits(memory=200 * 1024**2))
    assert not list(tmp_path.glob("coverages/[!.]*"))


def test_only_geotiff_is_opened_whatever_the_name(tmp_path: Path) -> None:
    target = write(tmp_path / "dem.tif", ramp())
    disguise = tmp_path / "virtual.tif"
    disguise.write_text(
        f'<VRTDataset rasterXSize="80" rasterYSize="60"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f"<SourceFilename>{target}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(SourceError, match="no GeoTIFF"):
        receive(disguise)


def test_files_beside_the_raster_are_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", ramp())
    (tmp_path / "dem.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:5899</SRS><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform></PAMDataset>"
    )
    with rasterio.open(path) as misled:
        assert misled.crs.to_epsg() != 9210
    received = receive(path, extent=CITY)
    assert received.delivery.crs_declared == "EPSG:9210"


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing\.tif"):
        receive(tmp_path / "nothing.tif")


def test_what_is_no_file_of_its_own_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "height.tif", ramp())
    (tmp_path / "link.tif").symlink_to(path)
    (tmp_path / "folder.tif").mkdir()
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "he\x1b[2Jight.tif").write_bytes(path.read_bytes())
    said = {"link": "is a link", "folder": "not a regular", "pipe": "not a regular", "he\x1b[2Jight": "cannot be shown"}
    for name, words in said.items():
        with pytest.raises(SourceError, match=words) as caught:
            receive(tmp_path / f"{name}.tif")
        assert caught.value.hint
        assert str(caught.value).isprintable()


def test_a_file_that_is_written_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "height.tif", ramp())

    def grow(done: int, total: int | None) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(SourceError, match="was changed while it was read"):
        receive(path, progress=grow)


@pytest.mark.parametrize("crs", [None, "EPSG:9210"])
def test_hostile_files_give_a_finding_or_a_sentence_never_a_crash(
    shared_data: Shared, tmp_path: Path, crs: str | None
) -> None:
    outcomes = {}
    for path in sorted(shared_data("raster_gdal_small").glob("*.tif")):
        try:
            received = receive(path, crs=crs, out=tmp_path / path.name, extent=CITY)
            outcomes[path.name] = ",".join(sorted(rules(received)))
            assert received.report.refused
        except SdiError as error:
            outcomes[path.name] = type(error).__name__
    assert len(outcomes) == 12
    assert outcomes["geomatrix.tif"] == "SourceError"
    assert outcomes["huge4GB.tif"] == "SourceError"
    assert outcomes["float32.tif"] == ("SourceError" if crs is None else "place.outside,raster.nodata")


@pytest.mark.parametrize("name", ["byte_truncated.tif", "leak-ZIPSetupDecode.tif"])
def test_cells_that_cannot_be_read_are_told(shared_data: Shared, tmp_path: Path, name: str) -> None:
    path = shared_data("raster_gdal_small") / name
    with pytest.raises(SourceError, match="damaged"):
        receive(path, coverage(nodata_required=False), "EPSG:9210", out=tmp_path / "out.tif", extent=WORLD)
    assert list(tmp_path.glob("[!.]*")) == []


# --- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["EK", "EL"])
def test_a_real_elevation_model_comes_through(shared_data: Shared, tmp_path: Path, name: str) -> None:
    path = shared_data("raster_nz_kart") / "cog-elevation" / f"{name}.tif"
    received = receive(path, out=tmp_path / "dem.tif", extent=WORLD)
    assert received.report.findings == []
    assert received.extent_wgs84 is not None
    assert received.extent_wgs84[:2] == pytest.approx((174.85, -36.84), abs=0.06)
    with rasterio.open(path) as delivered, rasterio.open(received.cog) as cog:
        assert (cog.read() == delivered.read()).all()
        assert cog.crs.to_epsg() == 2193


def test_a_real_photograph_comes_through(shared_data: Shared, tmp_path: Path) -> None:
    path = shared_data("raster_nz_kart") / "tif-aerial" / "aerial.tif"
    layer = coverage(4, nodata_required=False)
    received = receive(path, layer, out=tmp_path / "aerial.tif", extent=WORLD)
    assert received.report.findings == []
    with rasterio.open(path) as delivered, rasterio.open(received.cog) as cog:
        assert (cog.read() == delivered.read()).all()
    assert "raster.nodata" in rules(receive(path, coverage(4), out=tmp_path / "x.tif", extent=WORLD))


def test_the_mekong_raster_needs_its_crs_said(shared_data: Shared, tmp_path: Path) -> None:
    path = shared_data("raster_vn_mekong") / "t1_Can Tho.tif"
    can_tho = (105.22, 9.24, 106.31, 10.33)
    with pytest.raises(SourceError, match=r"declares EPSG:4030.*EPSG:4326"):
        receive(path, coverage(3), out=tmp_path / "mekong.tif", grid=5897, extent=can_tho)
    received = receive(path, coverage(3), "EPSG:4326", out=tmp_path / "mekong.tif", grid=5897, extent=can_tho)
    assert not received.report.refused
    assert received.facts["resolution_m"] == pytest.approx([104, 105], abs=1.5)
    with rasterio.open(path) as delivered, rasterio.open(received.cog) as cog:
        assert (cog.read() == delivered.read()).all()
        assert cog.crs.to_epsg() == 4326


# --- statistics of polygons -------------------------------------------------------------------------------------------


def table(**geometries: Any) -> pa.Table:
    return pa.table({"id": list(geometries), "geom": [ewkb(geometry) for geometry in geometries.values()]})


def ewkb(geometry: Any, srid: int = 9210) -> bytes | None:
    if geometry is None or shapely.get_srid(geometry):
        return shapely.to_wkb(geometry, include_srid=True)  # type: ignore[no-any-return]
    return shapely.to_wkb(shapely.set_srid(geometry, srid), include_srid=True)  # type: ignore[no-any-return]


@pytest.fixture
def heights(tmp_path: Path) -> Path:
    """4 by 4 cells of 10 m, value = 10 * row + column; the cell in row 3, column 3 has no data."""
    values = np.add.outer(10 * np.arange(4), np.arange(4)).astype(np.float32)
    values[3, 3] = -9999
    cog = receive(write(tmp_path / "heights.tif", values), extent=CITY).cog
    assert cog is not None
    return cog


def cell_box(row: float, column: float, rows: float, columns: float) -> Any:
    west, north = CORNER
    return shapely.box(west + 10 * column, north - 10 * (row + rows), west + 10 * (column + columns), north - 10 * row)


def test_zonal_statistics_are_known_answers(heights: Path) -> None:
    found = zonal(
        heights,
        9210,
        table(one=cell_box(1, 2, 1, 1), four=cell_box(0, 0, 2, 2), half=cell_box(0, 0, 1, 1.5)),
        ["min", "max", "mean", "median", "count", "stdev"],
        ["height"],
    )
    assert found.column_names == [
        "id", "height_min", "height_max", "height_mean", "height_median", "height_count", "height_stdev",
    ]  # fmt: skip
    one, four, half = found.to_pylist()
    assert list(one.values())[1:] == [12, 12, 12, 12, pytest.approx(1), pytest.approx(0)]
    assert (four["height_min"], four["height_max"], four["height_mean"]) == (0, 11, 5.5)
    assert four["height_stdev"] == pytest.approx(np.std([0, 1, 10, 11]))
    assert half["height_count"] == pytest.approx(1.5, abs=1e-6)
    assert half["height_mean"] == pytest.approx((0 * 1 + 1 * 0.5) / 1.5, abs=1e-6)


def test_a_polygon_without_data_has_no_value(heights: Path) -> None:
    west, north = CORNER
    found = zonal(
        heights,
        9210,
        table(
            hole=cell_box(3, 3, 1, 1), outside=cell_box(50, 50, 1, 1), nothing=None, point=shapely.Point(west, north),
            empty=shapely.Polygon(), edge=cell_box(3, 2, 1, 2), across=cell_box(0, -1, 1, 2),
        ),
        ["mean", "count"],
        ["height"],
    )  # fmt: skip
    rows = {row["id"]: (row["height_mean"], row["height_count"]) for row in found.to_pylist()}
    for name in ("hole", "outside", "nothing", "point", "empty"):
        assert rows[name] == (None, None), name
    assert rows["edge"] == (32, pytest.approx(1)), "the cell without data does not count"
    assert rows["across"] == (0, pytest.approx(1))


def test_a_parcel_of_another_meridian_is_brought_to_the_grid_of_the_coverage(heights: Path) -> None:
    parcel = cell_box(1, 1, 2, 2)
    there = shapely.set_srid(shapely.transform(parcel, lambda xy: vn2000.regrid(xy, 9210, 5899)), 5899)
    lonlat = shapely.set_srid(shapely.transform(parcel, lambda xy: vn2000.to_wgs84(xy, 9210)), 4326)
    found = zonal(heights, 9210, table(own=parcel, other=there, wgs84=lonlat), ["mean", "count"], ["height"])
    for row in found.to_pylist():
        assert row["height_mean"] == pytest.approx(16.5, abs=1e-3), row["id"]
        assert row["height_count"] == pytest.approx(4, abs=1e-3)


def test_bands_and_multipolygons_are_measured(tmp_path: Path) -> None:
    values = np.stack([np.full((8, 8), 3, np.int16), np.full((8, 8), 7, np.int16)])
    cog = receive(write(tmp_path / "two.tif", values), coverage(2), extent=CITY).cog
    parts = shapely.MultiPolygon([cell_box(0, 0, 1, 1), cell_box(5, 5, 2, 1)])
    found = zonal(cog, 9210, table(both=parts), ["mean", "count"], ["low", "high"])  # type: ignore[arg-type]
    assert found.to_pylist() == [
        {"id": "both", "low_mean": 3, "low_count": pytest.approx(3), "high_mean": 7, "high_count": pytest.approx(3)}
    ]


def test_thousands_of_parcels_answer_in_their_own_order(tmp_path: Path) -> None:
    values = np.random.default_rng(5).random((500, 500)).astype(np.float32)
    cog = receive(write(tmp_path / "dem.tif", values), extent=CITY).cog
    rng = np.random.default_rng(6)
    rows, columns = rng.integers(0, 498, 3000), rng.integers(0, 498, 3000)
    west, north = CORNER
    boxes = shapely.box(west + 10 * columns, north - 10 * rows - 20, west + 10 * columns + 20, north - 10 * rows)
    geometries = pa.table({
        "id": [f"p{i}" for i in range(3000)],
        "geom": shapely.to_wkb(shapely.set_srid(boxes, 9210), include_srid=True).tolist(),
    })  # fmt: skip
    found = zonal(cog, 9210, geometries, ["mean", "max"], ["height"])  # type: ignore[arg-type]
    expected = np.array([values[r : r + 2, c : c + 2].mean() for r, c in zip(rows, columns, strict=True)])
    assert found.column("id").to_pylist() == [f"p{i}" for i in range(3000)]
    assert found.column("height_mean").to_numpy() == pytest.approx(expected, abs=1e-6)


def test_no_parcels_give_an_empty_table(heights: Path) -> None:
    empty = pa.table({"id": pa.array([], pa.string()), "geom": pa.array([], pa.binary())})
    found = zonal(heights, 9210, empty, ["mean"], ["height"])
    assert found.num_rows == 0
    assert found.column_names == ["id", "height_mean"]


def test_a_wrong_question_is_a_usage_error(heights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'mean'"):
        zonal(heights, 9210, table(), ["meen"], ["height"])
    with pytest.raises(UsageError, match="1 bands, 2 names"):
        zonal(heights, 9210, table(a=cell_box(0, 0, 1, 1)), ["mean"], ["height", "depth"])
    with pytest.raises(SourceError, match="cannot be read"):
        zonal(tmp_path / "gone.tif", 9210, table(a=cell_box(0, 0, 1, 1)), ["mean"], ["height"])
