"""Real files through the whole of `receive`: what SOURCE.md says is in them is what is found."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from sdi.errors import SourceError, UsageError
from sdi.ingest.deliver import Received, receive
from sdi.national import vn2000
from tests.ingest.plots import PARCELS, QUANG_NAM, QUANG_NGAI, SOC_TRANG, contract, registry

Folder = Callable[[str], Path]

ZONES = """
identifier: {template: "{number}"}
geometry: {type: MultiPolygon, repair_tolerance: 100.0, on_other_type: %s}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: text, default: "1"}
  - {name: label, title: {vi: Tên, en: Label}, type: text, sources: [name, libelle, ten]}
"""


def found(received: Received, rule: str) -> list[Finding]:
    return [finding for finding in received.report.findings if finding.rule == rule]


def shapes(received: Received, column: str = "geom") -> Any:
    return shapely.from_wkb(received.features().read_all()[column].to_numpy())


def parcels(
    path: Path, extent: tuple[float, float, float, float], grid: int, text: str = PARCELS, **wish: Any
) -> Received:
    return receive(
        Request(path=path, day=date(2020, 1, 1), **wish), contract(text), registry(), grid=grid, extent=extent
    )


# --- Duy Nghĩa ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def duy_nghia(shared_data: Folder) -> Received:
    return parcels(shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip", QUANG_NAM, 5899)


def test_a_whole_commune_of_parcels_is_read_and_every_defect_of_it_found(duy_nghia: Received) -> None:
    report = duy_nghia.report
    assert report.read == 9777 == report.kept + report.quarantined
    assert len(found(duy_nghia, "geometry.repaired")) + len(found(duy_nghia, "geometry.invalid")) == 6
    assert {finding.other for finding in found(duy_nghia, "geometry.repaired")} == {"Ring Self-intersection"}
    repeated = {finding.value for finding in found(duy_nghia, "identifier.duplicate")}
    sharing = [name for name in duy_nghia.features().read_all()["id"].to_pylist() if name.split("~")[0] in repeated]
    assert len(sharing) == 44
    overlaps = found(duy_nghia, "coverage.overlap")
    assert len(overlaps) == 24
    assert sum(finding.value for finding in overlaps) == pytest.approx(940.8, rel=0.002)  # measured there in UTM
    assert all(finding.feature and finding.other and finding.place for finding in overlaps)


def test_nothing_personal_is_in_what_was_read_from_the_cadastre(duy_nghia: Received) -> None:
    assert {finding.attribute for finding in found(duy_nghia, "file.personal_dropped")} == {"tenchusdd", "cmnd"}
    assert "holder" not in duy_nghia.features().read_all().column_names
    everything = json.dumps([finding.to_json() for finding in duy_nghia.report.findings], ensure_ascii=False)
    everything += "".join(map(str, duy_nghia.features().read_all().drop_columns(["geom", "geom_wgs84"]).to_pylist()))
    assert "Hộ gia đình" not in everything


def test_a_wgs84_file_is_kept_in_the_deployments_grid_by_its_makers_operation(
    shared_data: Folder, duy_nghia: Received
) -> None:
    assert (duy_nghia.delivery.grid, duy_nghia.delivery.operation) == (5899, 6960)
    assert set(shapely.get_srid(shapes(duy_nghia))) == {5899}
    path = shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip"
    other = parcels(path, QUANG_NAM, 5899, operation=5194)
    apart = shapely.bounds(shapes(other))[0, :2] - shapely.bounds(shapes(duy_nghia))[0, :2]
    assert 0.5 < np.hypot(*apart) < 1.0
    back = shapely.transform(shapes(other), lambda xy: vn2000.to_wgs84(xy, 5899, 6960))
    # RFC 7946, 3.1.6: the outer rings of this file run clockwise.
    back = shapely.get_coordinates(shapely.orient_polygons(back))
    np.testing.assert_array_equal(shapely.get_coordinates(shapes(other, "geom_wgs84")), back)


def test_the_same_delivery_twice_gives_the_same_ids_and_bytes(shared_data: Folder, duy_nghia: Received) -> None:
    again = parcels(shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip", QUANG_NAM, 5899)
    assert again.features().read_all().equals(duy_nghia.features().read_all())
    assert again.delivery.sha256 == duy_nghia.delivery.sha256


# --- Thuận Hòa, Quảng Ngãi: where are we? ---------------------------------------------------------------------------


def test_a_wrong_declared_crs_is_refused_and_the_right_grid_proposed_not_applied(shared_data: Folder) -> None:
    path = shared_data("vn_landuse_thuanhoa") / "thuanhoa_tkdd2022.geojson"
    received = parcels(path, SOC_TRANG, 9209)
    assert received.report.refused
    assert found(received, "place.outside")[0].value == 50
    assert received.delivery.crs_used == "EPSG:3857"
    assert str(found(received, "place.proposal")[0].value).startswith("EPSG:9209 ")
    for language in ("vi", "en"):
        assert "EPSG:9209" in found(received, "place.proposal")[0].sentence(language)


def test_a_crs_said_by_the_steward_puts_the_parcels_where_they_are_bit_for_bit(shared_data: Folder) -> None:
    path = shared_data("vn_landuse_thuanhoa") / "thuanhoa_tkdd2022.geojson"
    received = parcels(path, SOC_TRANG, 5897, crs="EPSG:9209")
    assert not received.report.refused
    assert received.delivery.grid == 9209
    first = json.loads(path.read_text(encoding="utf-8"))["features"][0]["geometry"]["coordinates"][0][0]
    np.testing.assert_array_equal(shapely.get_coordinates(shapes(received)[0]), np.array(first))
    middle = shapely.centroid(shapes(received, "geom_wgs84")[0])
    assert (middle.x, middle.y) == pytest.approx((105.8679, 9.6806), abs=0.001)


def test_the_same_land_inventory_under_its_other_wrong_crs_is_refused_too(shared_data: Folder) -> None:
    received = parcels(shared_data("vn_landuse_thuanhoa") / "ThuanHoa_KKDD2019.geojson", SOC_TRANG, 9209)
    assert received.report.refused
    assert any(str(finding.value).startswith("EPSG:9209") for finding in found(received, "place.proposal"))


def test_metres_in_a_geojson_without_crs_are_not_taken_for_degrees(shared_data: Folder) -> None:
    path = shared_data("vn_planning_quangngai") / "2.geojson.zip"
    with pytest.raises(SourceError, match="does not say in which CRS") as error:
        parcels(path, QUANG_NGAI, 5898, ZONES % "quarantine")
    assert "EPSG:3405" in str(error.value)


def test_a_layer_in_utm_equals_its_twin_in_wgs84(shared_data: Folder) -> None:
    folder = shared_data("vn_planning_quangngai")
    text = ZONES % "quarantine" + "  - {name: size, title: {vi: Cỡ, en: Size}, type: number, sources: [Shape_Area]}\n"
    utm = parcels(folder / "2.geojson.zip", QUANG_NGAI, 5898, text.replace("{number}", "{label}"), crs="3405")
    twin = parcels(folder / "PhanVungKinhte.geojson.zip", QUANG_NGAI, 5898, text.replace("{number}", "{label}"))
    assert utm.delivery.grid == 3405
    assert twin.delivery.grid == 5898
    ours = dict(zip(utm.features().read_all()["id"].to_pylist(), shapes(utm, "geom_wgs84"), strict=True))
    theirs = dict(zip(twin.features().read_all()["id"].to_pylist(), shapes(twin, "geom_wgs84"), strict=True))
    assert ours.keys() & theirs.keys()
    for name in ours.keys() & theirs.keys():
        apart = np.abs(np.subtract(shapely.bounds(ours[name]), shapely.bounds(theirs[name]))).max() * 111_000
        assert apart < 0.5


@pytest.mark.parametrize(("action", "counts"), [("quarantine", (224, 1529, 0)), ("drop", (224, 0, 1529))])
def test_a_plan_of_polygons_and_lines_is_split_as_the_contract_says(
    action: str, counts: tuple[int, int, int], shared_data: Folder
) -> None:
    path = shared_data("vn_planning_quangngai") / "QHPK_SDD_NghiaChanh_2021.geojson.zip"
    text = (ZONES % action).replace('{number}"', '{number}", duplicates: suffix')
    received = parcels(path, QUANG_NGAI, 5898, text)
    report = received.report
    polygons, lines, dropped = counts
    assert (report.read, report.dropped) == (1753, dropped)
    assert report.kept + report.quarantined - lines == polygons
    assert Counter(finding.value for finding in found(received, "geometry.type")) == {"LineString": 1529}
    # 9 are invalid there, 4 of them lines of one point
    assert len(found(received, "geometry.invalid")) + len(found(received, "geometry.repaired")) == 5
    assert shapely.is_valid(shapes(received)).all()


# --- text -----------------------------------------------------------------------------------------------------------

TEXTS = PARCELS.replace(
    "checks:", "  - {name: term, title: {vi: Thời hạn, en: Term}, type: text, sources: [thoihan]}\nchecks:"
)


@pytest.mark.parametrize(
    ("file", "encoding"), [("dn16_tcvn3.shp", "TCVN3"), ("dn16_vni.shp", "VNI"), ("dn16_tcvn3_mapinfo.mif", "TCVN3")]
)
def test_legacy_text_is_read_to_the_last_letter(file: str, encoding: str, shared_data: Folder) -> None:
    folder = shared_data("vn_legacy_encoding_derived")
    received = parcels(folder / file, QUANG_NAM, 5899, TEXTS, crs="EPSG:5899")
    assert received.delivery.encoding == encoding
    with (folder / "dn16_truth_utf8.csv").open(encoding="utf-8", newline="") as lines:
        truth = list(csv.DictReader(lines))
    rows = zip(
        received.features().read_all()["source_row"].to_pylist(),
        received.features().read_all().to_pylist(),
        strict=True,
    )
    checked = 0
    for row, feature in rows:
        for name, column in (("address", "DIACHI"), ("land_use", "LOAIDAT"), ("term", "THOIHAN")):
            # Capital fonts of TCVN3 keep no case in the bytes, hence the comparison without it.
            said, true = feature[name] or "", " ".join(truth[row - 1][column].split())
            assert said.lower() == true.lower()
            checked += 1
    assert checked >= 3 * 1220
    assert {finding.limit for finding in found(received, "text.converted")} == {encoding}


def test_a_shapefile_without_prj_is_refused_with_grids_to_choose_from(shared_data: Folder) -> None:
    with pytest.raises(SourceError, match="does not say in which CRS") as error:
        parcels(shared_data("vn_legacy_encoding_derived") / "dn16_tcvn3.shp", QUANG_NAM, 5899)
    assert "EPSG:5899" in str(error.value)


def test_mapinfo_datum_9999_with_the_seven_parameters_is_vn2000(shared_data: Folder) -> None:
    received = parcels(shared_data("vn_legacy_encoding_derived") / "dn16_tcvn3_mapinfo.mif", QUANG_NAM, 5899)
    assert (received.delivery.crs_used, received.delivery.grid) == ("EPSG:5899", 5899)
    assert received.report.read == 1229


def test_a_cpg_that_lies_is_found_and_the_text_is_right(shared_data: Folder) -> None:
    path = shared_data("fr_departements_wrong_cpg") / "departements-20140306-100m.shp.zip"
    text = ZONES.replace("[name, libelle, ten]", "[nom]").replace('{number}"', '{label}"') % "quarantine"
    received = receive(Request(path=path), contract(text), registry(), grid=2154, extent=(-62, -22, 56, 52))
    told = found(received, "file.encoding")
    assert [(finding.value, finding.limit) for finding in told] == [("CP1252", "UTF-8")]
    names = received.features().read_all()["label"].to_pylist() + [
        json.loads(text)["label"] for text in received.quarantined().read_all()["attributes"].to_pylist()
    ]
    assert {"Ardèche", "Côte-d'Or", "Hérault"} <= set(names)


def test_utf8_without_a_cpg_is_no_mojibake_and_lambert_93_by_another_name_is_2154(shared_data: Folder) -> None:
    path = shared_data("fr_plu_zoning") / "41175_PLU_20140603" / "PRESCRIPTION_SURF.shp"
    text = (ZONES % "quarantine").replace('{number}"', '{number}", duplicates: suffix')
    received = receive(Request(path=path), contract(text), registry(), grid=2154)
    assert (received.delivery.encoding, received.delivery.crs_used) == ("UTF-8", "EPSG:2154")
    assert "Elément de paysage" in received.features().read_all()["label"].to_pylist()
    assert not found(received, "file.encoding")


def test_an_encoding_said_by_the_steward_goes_before_what_the_content_tells(shared_data: Folder) -> None:
    path = shared_data("vn_legacy_encoding_derived") / "dn16_tcvn3.shp"
    received = parcels(path, QUANG_NAM, 5899, crs="EPSG:5899", encoding="CP1252")
    assert received.delivery.encoding == "CP1252"
    assert "Th«n" in received.features().read_all()["address"][0].as_py()
    with pytest.raises(UsageError):
        parcels(path, QUANG_NAM, 5899, crs="EPSG:5899", encoding="TCVN4")


# --- other formats --------------------------------------------------------------------------------------------------


def test_a_topojson_of_a_town_is_read_though_it_names_no_crs(shared_data: Folder) -> None:
    path = shared_data("us_cambridge_ma") / "ASSESSING_ParcelsFY2013.topojson.zip"
    text = """
identifier: {template: "{key}", duplicates: suffix}
geometry: {type: MultiPolygon, repair_tolerance: 5.0}
attributes:
  - {name: key, title: {vi: Khóa, en: Key}, type: text, sources: [ml]}
checks:
  - {rule: coverage.overlap, tolerance: 0.1}
  - {rule: geometry.duplicate}
"""
    received = receive(Request(path=path), contract(text), registry(), grid=32619)
    report = received.report
    assert (report.read, received.delivery.driver, received.delivery.crs_used) == (13159, "TopoJSON", "EPSG:4326")
    assert received.delivery.grid == 32619
    assert received.delivery.operation is None
    assert 20 <= len(found(received, "geometry.repaired")) + len(found(received, "geometry.invalid")) <= 28
    assert 45 <= len(found(received, "coverage.overlap")) <= 55
    assert len(found(received, "geometry.duplicate")) == 1


def test_edigeo_sheets_come_out_of_their_archive_with_their_parcels(shared_data: Folder) -> None:
    folder = shared_data("fr_edigeo_25354")
    count = 0
    text = (ZONES % "quarantine").replace('{number}"', '{number}", duplicates: suffix')
    for path in sorted(folder.glob("*.tar.bz2")):
        wish = Request(path=path, layer_in_file="PARCELLE_id")
        received = receive(wish, contract(text), registry(), grid=2154)
        assert received.delivery.crs_used == "EPSG:2154"
        count += received.report.read
    assert count == 511
