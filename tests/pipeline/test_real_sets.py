"""Files that cities and others really hold go the whole way; what comes out is held against what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.errors import UsageError
from tests.deployment import Deployment

Folder = Callable[[str], Path]
VIETNAM = (102.0, 4.5, 118.0, 23.5)
REFORM = {"valid_from": "2025-07-01"}


@pytest.fixture(scope="module")
def country(new_deployment: Callable[..., Deployment]) -> Deployment:
    """A deployment that takes data of all of Viet Nam."""
    return new_deployment(extent=VIETNAM)


def load(at: Deployment, layer: str, path: Path, **said: Any) -> pipeline.Outcome:
    outcome = at.deliver(layer, path, **said)
    assert outcome.load is not None, outcome.report.by_rule()
    return outcome


def test_the_administrative_units_of_2025(country: Deployment, shared_data: Folder) -> None:
    folder = shared_data("vn_admin_2025")
    load(country, "admin_units", folder / "provinces_34.geojson.zip", constants={"level": "province", **REFORM})
    load(country, "admin_units", folder / "communes_3321_simplified.fgb", constants={"level": "commune", **REFORM})
    counts = dict(country.rows("SELECT level, count(*) FROM admin.admin_units GROUP BY 1"))
    assert counts == {"province": 34, "commune": 3321}
    [(hanoi,)] = country.rows("SELECT count(*) FROM admin.admin_units WHERE level = 'commune' AND parent_code = '01'")
    assert hanoi == 126
    [(not_nfc,)] = country.rows("SELECT count(*) FROM admin.admin_units WHERE name IS NOT NFC NORMALIZED")
    assert not_nfc == 0


def test_a_whole_commune_of_parcels(country: Deployment, shared_data: Folder) -> None:
    """9,777 parcels: 6 invalid, 44 rows that repeat sheet and number, 24 overlaps of together 940.8 m2."""
    file = shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip"
    outcome = load(country, "cadastral_parcels", file, grid=5899, constants={"commune_code": "20635"})
    rules = outcome.report.by_rule()
    assert outcome.report.read == 9777
    assert rules["geometry.repaired"] + rules["geometry.invalid"] == 6
    assert rules["identifier.duplicate"] == 22
    assert rules["coverage.overlap"] == 24
    overlaps = [float(f.value) for f in outcome.report.findings if f.rule == "coverage.overlap"]
    assert sum(overlaps) == pytest.approx(940.8, rel=0.01)
    [(grid, west, south)] = country.rows(
        "SELECT ST_SRID(geom), min(ST_X(ST_Centroid(geom_wgs84))), min(ST_Y(ST_Centroid(geom_wgs84)))"
        " FROM cadastre.cadastral_parcels WHERE commune_code = '20635' GROUP BY 1"
    )
    assert grid == 5899
    assert 108.0 < west < 108.5
    assert 15.6 < south < 16.0


def test_parcels_and_communes_agree_on_where_the_commune_is(country: Deployment, shared_data: Folder) -> None:
    """Two makers' data meet: the parcels of Duy Nghĩa lie in communes of the new Đà Nẵng."""
    shared_data("vn_cadastre_duynghia")
    shared_data("vn_admin_2025")
    rows = country.rows(
        "SELECT u.parent_code, count(*) FROM cadastre.cadastral_parcels p JOIN admin.admin_units u"
        " ON u.level = 'commune' AND ST_Contains(u.geom_wgs84, ST_PointOnSurface(p.geom_wgs84))"
        " WHERE p.commune_code = '20635' GROUP BY 1 ORDER BY 2 DESC"
    )
    assert rows[0][0] == "48"
    assert rows[0][1] > 9000


def test_a_wrong_declared_grid_is_refused_and_the_right_one_proposed(country: Deployment, shared_data: Folder) -> None:
    shared_data("vn_admin_2025")
    file = shared_data("vn_landuse_thuanhoa") / "thuanhoa_tkdd2022.geojson"
    with country.loader() as connection:
        request = Request(file, area="94")
        with pytest.raises(UsageError, match="'94'"):  # Sóc Trăng's old code; it is Cần Thơ's 92 now
            pipeline.check(connection, country.settings, country.registry, "cadastral_parcels", request)
        found = pipeline.check(
            connection, country.settings, country.registry, "cadastral_parcels", Request(file, area="92")
        )
    assert found.report.refused
    proposals = [f.value for f in found.report.findings if f.rule == "place.proposal"]
    assert any("9209" in str(value) for value in proposals)
    right = load(country, "cadastral_parcels", file, crs="EPSG:9209")
    assert right.report.kept == 50
    [(lon, lat)] = country.rows(
        "SELECT avg(ST_X(ST_Centroid(geom_wgs84))), avg(ST_Y(ST_Centroid(geom_wgs84))) FROM cadastre.cadastral_parcels"
        " WHERE ST_SRID(geom) = 9209"
    )
    assert (lon, lat) == (pytest.approx(105.87, abs=0.02), pytest.approx(9.68, abs=0.02))


def test_two_grids_live_in_one_layer(country: Deployment, shared_data: Folder) -> None:
    """17 of 34 provinces have more than one meridian: the CRS belongs to the delivery, not to the layer."""
    shared_data("vn_landuse_thuanhoa")
    shared_data("vn_cadastre_duynghia")
    [(grids,)] = country.rows("SELECT grids FROM sdi.publication WHERE layer = 'cadastral_parcels'")
    assert grids == [5899, 9209]


@pytest.mark.parametrize(
    ("plan", "polygons", "code"),
    [("QHPK_SDD_NghiaChanh_2021", 224, "512121000001"), ("QHC_SDD_TTBaTo_BaTo_2015", 245, "511511000001")],
)
def test_plans_exported_from_cad(country: Deployment, shared_data: Folder, plan: str, polygons: int, code: str) -> None:
    file = shared_data("vn_planning_quangngai") / f"{plan}.geojson.zip"
    said = {"grid": 5898, "operation": 5194, "constants": {"plan_code": code}, "mapping": {"name": "object_code"}}
    outcome = load(country, "planning_zones", file, **said)
    report = outcome.report
    assert report.kept + report.quarantined == polygons
    assert report.dropped == report.read - polygons
    [(rows,)] = country.rows("SELECT count(*) FROM planning.planning_zones WHERE plan_code = %s", code)
    assert rows == report.kept


def test_the_operation_of_a_files_maker_moves_it_by_75_cm(country: Deployment, shared_data: Folder) -> None:
    """The file's WGS 84 is made by EPSG:5194; its VN-2000 by going back the same way, and WGS 84 by 6960 from there."""
    file = shared_data("vn_planning_quangngai") / "duan.geojson.zip"
    with country.loader() as connection:
        made = [
            pipeline.check(
                connection,
                country.settings,
                country.registry,
                "construction_projects",
                Request(file, grid=5898, operation=op),
            )
            for op in (5194, 6960)
        ]
    import shapely

    shapes = [shapely.from_wkb(received.features().read_all()["geom"].to_numpy()) for received in made]
    apart = shapely.distance(shapely.centroid(shapes[0]), shapely.centroid(shapes[1]))
    assert 0.69 < apart.min() <= apart.max() < 0.81


@pytest.mark.parametrize(
    ("file", "encoding"), [("dn16_tcvn3.shp", "TCVN3"), ("dn16_vni.shp", "VNI"), ("dn16_tcvn3_mapinfo.mif", "TCVN3")]
)
def test_legacy_text_becomes_unicode(
    new_deployment: Callable[..., Deployment], shared_data: Folder, file: str, encoding: str
) -> None:
    import csv

    folder = shared_data("vn_legacy_encoding_derived")
    at = new_deployment(extent=VIETNAM)
    crs = None if file.endswith(".mif") else "EPSG:5899"
    outcome = load(at, "cadastral_parcels", folder / file, crs=crs, constants={"commune_code": "20635"})
    assert outcome.delivery.encoding == encoding
    assert outcome.delivery.grid == 5899
    with (folder / "dn16_truth_utf8.csv").open(encoding="utf-8-sig") as rows:
        truth = {" ".join(row["DIACHI"].split()).casefold() for row in csv.DictReader(rows) if row["DIACHI"].strip()}
    stored = {
        " ".join(row[0].split()).casefold()
        for row in at.rows("SELECT DISTINCT address FROM cadastre.cadastral_parcels WHERE address IS NOT NULL")
    }
    assert stored == truth


def test_another_countrys_parcels_and_buildings(new_deployment: Callable[..., Deployment], shared_data: Folder) -> None:
    """A French cadastral sheet in EDIGEO (Licence Ouverte): parcels joined with buildings, as at home."""
    file = shared_data("fr_edigeo_25354") / "edigeo-25354000AK01.tar.bz2"
    at = new_deployment(extent=(5.0, 46.0, 8.0, 48.0), grid=2154)
    said = {"crs": "EPSG:2154", "constants": {"commune_code": "25354"}}
    parcels = load(at, "cadastral_parcels", file, layer_in_file="PARCELLE_id", **said)
    buildings = load(
        at, "buildings", file, layer_in_file="BATIMENT_id", mapping={"OBJECT_RID": "building_code"}, **said
    )
    assert (parcels.report.read, buildings.report.read) == (142, 134)
    [(built,)] = at.rows("SELECT count(*) FROM cadastre.parcel_overview WHERE building_count > 0")
    assert built > 50
    [(most,)] = at.rows("SELECT max(density) FROM cadastre.parcel_overview")
    assert 0 < most <= 100.5


def test_exchanged_axes_are_proposed_and_exchanged_when_asked(country: Deployment, tmp_path: Path) -> None:
    """Surveyors' X is north: Hồ Chí Minh City read as it stands falls into the sea at 112.0 E 5.4 N."""
    import json

    ring = [[1191440, 603480], [1191440, 603500], [1191460, 603500], [1191460, 603480], [1191440, 603480]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
               "properties": {"maXa": "26740", "soTo": "1", "soThua": "1"}}  # fmt: skip
    file = tmp_path / "swapped.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    saigon = Deployment(country.settings.model_copy(update={"extent": (106.3, 10.3, 107.1, 11.2)}), country.registry)
    refused = saigon.deliver("cadastral_parcels", file, crs="EPSG:9210")
    assert refused.load is None
    proposals = [str(f.value) for f in refused.report.findings if f.rule == "place.proposal"]
    assert any("9210" in proposal and "--swap-axes" in proposal for proposal in proposals)
    loaded = saigon.deliver("cadastral_parcels", file, crs="EPSG:9210", swapped=True)
    assert loaded.report.kept == 1
    [(x, y)] = country.rows(
        "SELECT ST_X(ST_Centroid(geom_wgs84)), ST_Y(ST_Centroid(geom_wgs84)) FROM cadastre.cadastral_parcels"
        " WHERE id = '26740.1.1'"
    )
    assert (x, y) == (pytest.approx(106.69807, abs=1e-4), pytest.approx(10.77242, abs=1e-4))
