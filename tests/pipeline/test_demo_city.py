"""The demo city, delivered in legacy files, stands in the store whole. (What was planted in it: tests/demo.)"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.ingest.deliver import Received
from sdi.settings import ROOT
from tests.deployment import DemoCity


def test_every_delivery_is_loaded(demo_city: DemoCity) -> None:
    refused = [(outcome.layer.id, outcome.report.by_rule()) for outcome in demo_city.outcomes if outcome.load is None]
    assert refused == []
    for outcome in demo_city.outcomes:
        report = outcome.report
        assert report.read == report.kept + report.quarantined + report.dropped


def test_vietnamese_text_survives_tcvn3_and_vni(demo_city: DemoCity) -> None:
    streets = [
        row[0]
        for row in demo_city.rows("SELECT address FROM cadastre.cadastral_parcels WHERE address IS NOT NULL LIMIT 500")
    ]
    assert streets
    assert any("Phường" in street for street in streets)
    names = [row[0] for row in demo_city.rows("SELECT DISTINCT land_use_name FROM land.land_use")]
    assert "Đất ở tại đô thị" in names


def test_no_personal_value_reaches_the_database(demo_city: DemoCity) -> None:
    personal = [
        (*layer.table, a.name) for layer in demo_city.registry for a in layer.attributes if a.privacy == "personal"
    ]
    assert len(personal) > 5
    columns = demo_city.rows("SELECT table_schema, table_name, column_name FROM information_schema.columns")
    assert set(personal) & set(columns) == set()
    dropped = [found for found in demo_city.findings("cadastral_parcels") if found.rule == "file.personal_dropped"]
    assert {found.attribute for found in dropped} >= {"TENCHU"}
    held = demo_city.rows("SELECT attributes FROM sdi.quarantine WHERE layer = 'cadastral_parcels'")
    assert held, "some parcels are in quarantine"
    assert not [row for row in held if "TENCHU" in row[0]], "a holder's name is kept in quarantine"


def test_sentences_name_attributes_by_title_and_column(demo_city: DemoCity) -> None:
    """In memory, in the store and beside what is held; also of what is found against other layers."""
    names = {attribute.name for layer in demo_city.registry for attribute in layer.attributes if "_" in attribute.name}
    stored = demo_city.rows("SELECT attribute, sentence_vi, sentence_en FROM sdi.finding")
    kept = demo_city.rows(
        "SELECT f ->> 'attribute', f ->> 'vi', f ->> 'en' FROM sdi.quarantine, jsonb_array_elements(findings) f"
    )
    assert {row[0] for row in (*stored, *kept)} & names >= {"land_use_code", "measured_area"}
    told = [sentence for _, *both in (*stored, *kept) for sentence in both]
    assert [sentence for sentence in told if names & set(re.findall(r"\w+", sentence))] == []
    exceeded = [found.sentence("vi") for found in demo_city.findings("buildings") if found.rule == "layer.exceeds"]
    assert exceeded
    assert all(sentence.startswith("Số tầng nổi (cột «soTang»): ") for sentence in exceeded)
    missing = {f.sentence("en") for f in demo_city.findings("cadastral_parcels") if f.rule == "identifier.missing"}
    assert missing == {"No identifier can be made: Map sheet number (column 'SOTO') is missing."}


def test_the_same_file_again_writes_nothing(demo_city: DemoCity) -> None:
    generation = demo_city.rows("SELECT generation FROM sdi.publication WHERE layer = 'buildings'")
    again = demo_city.deliver("buildings", demo_city.folder / "CongTrinh_2025.gpkg")
    assert again.load is not None
    assert (again.load.inserted, again.load.updated, again.load.deleted) == (0, 0, 0)
    assert again.load.unchanged == again.report.kept
    assert [load.inserted + load.updated + load.deleted for load in again.made] == [0] * len(again.made)
    assert demo_city.rows("SELECT generation FROM sdi.publication WHERE layer = 'buildings'") == generation


def test_every_parcel_knows_its_height_and_flood_depth(demo_city: DemoCity) -> None:
    rows = demo_city.rows(
        "SELECT count(*), count(elevation_mean), min(elevation_mean), max(elevation_mean),"
        " min(flood_depth_max), max(flood_depth_max)"
        " FROM cadastre.parcel_overview"
    )
    parcels, high, lowest, highest, driest, deepest = rows[0]
    assert parcels > 0
    assert high == parcels
    assert 0 < lowest < highest < 20
    assert driest == 0 < deepest


def test_a_kmz_keeps_the_attributes_of_its_kml(demo_city: DemoCity, tmp_path: Path) -> None:
    kml = demo_city.folder / "DuAn.kml"
    with zipfile.ZipFile(tmp_path / "DuAn.kmz", "w") as archive:
        archive.write(kml, "doc.kml")
    received = [
        pipeline.check(None, demo_city.settings, demo_city.registry, "construction_projects", Request(path))
        for path in (kml, tmp_path / "DuAn.kmz")
    ]
    plain, zipped = (found.features().read_all() for found in received if isinstance(found, Received))
    assert plain.num_rows > 0
    assert zipped.drop_columns(["source_row"]).equals(plain.drop_columns(["source_row"]))


def test_the_parcels_that_the_readme_leads_to_are_there(demo_city: DemoCity) -> None:
    told = re.findall(r"/parcels/([\w.]+)/dossier", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert told
    there = {row[0] for row in demo_city.rows("SELECT id FROM cadastre.parcel_overview")}
    assert set(told) <= there, "a reader meets a 404"
