"""The city's files through the real pipeline: what was planted is found, where it was planted, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdi import pipeline
from sdi.contract.registry import Registry, read_registry
from sdi.demo.city import City, deliveries
from sdi.ingest.deliver import Received, receive
from sdi.settings import Settings
from sdi.store import engine, migrate

LAYERS = Path(__file__).resolve().parents[2] / "layers"
CONSEQUENCES = {
    "geometry.invalid": {"area.legal", "identifier.place"},
    "identifier.duplicate": {"attribute.unique"},
    "geometry.repaired": {"geometry.tiny_part"},
}
"""A crossed ring has another area and may not hold its own id; an id that is made of sheet and number repeats both;
of a loop that is cut off a crumb may stay."""
REMARKS = {"file.personal_dropped", "text.converted", "file.column_unknown"}
"""On the file as a whole."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry(LAYERS)


@pytest.fixture(scope="module")
def received(city: City, registry: Registry) -> list[tuple[str, Received]]:
    """Every delivery of features as it was read."""
    handed = [handover for handover in deliveries(city.folder) if registry[handover.layer].kind == "features"]
    return [(h.layer, receive(h.request, registry[h.layer], registry, grid=5897)) for h in handed]


def test_every_file_is_read_and_none_refused(received: list[tuple[str, Received]]) -> None:
    for _, one in received:
        assert not one.report.refused, one.report.by_rule()
        assert one.features().read_all().num_rows > 0


def test_every_planted_defect_is_found_in_its_row(
    received: list[tuple[str, Received]], truth: list[dict[str, Any]]
) -> None:
    found = {(one.delivery.file_name, f.rule, f.row) for _, one in received for f in one.report.findings}
    whole = {(file, rule) for file, rule, _ in found}
    for entry in truth:
        if entry["rule"] == "text.converted":
            assert (entry["file"], entry["rule"]) in whole
        elif "." in entry["rule"]:
            assert any((entry["file"], entry["rule"], row) in found for row in _rows(entry)), entry


def test_nothing_is_found_that_was_not_planted(
    received: list[tuple[str, Received]], truth: list[dict[str, Any]]
) -> None:
    planted = {(entry["file"], entry["rule"], row) for entry in truth for row in _rows(entry)}
    planted |= {(file, more, row) for file, rule, row in planted for more in CONSEQUENCES.get(rule, ())}
    for _, one in received:
        for finding in one.report.findings:
            if finding.rule not in REMARKS:
                assert (one.delivery.file_name, finding.rule, finding.row) in planted, finding


def test_a_finding_stands_where_the_defect_was_planted(
    received: list[tuple[str, Received]], truth: list[dict[str, Any]]
) -> None:
    places = {
        (one.delivery.file_name, f.rule, f.row): f.place for _, one in received for f in one.report.findings if f.place
    }
    compared = 0
    for entry in truth:
        place = places.get((entry["file"], entry["rule"], entry["row"]))
        if place and entry["place"] and entry["rule"] != "identifier.place":
            compared += 1
            assert place == pytest.approx(entry["place"], abs=5e-4)
    assert compared > 20


def test_the_overlap_found_is_the_overlap_planted(
    received: list[tuple[str, Received]], truth: list[dict[str, Any]]
) -> None:
    found = sorted(f.value for _, one in received for f in one.report.findings if f.rule == "coverage.overlap")
    planted = sorted(entry["detail"]["m2"] for entry in truth if entry["rule"] == "coverage.overlap")

    assert found == pytest.approx(planted, abs=0.02)


def test_legacy_text_comes_back_as_it_was(city: City, received: list[tuple[str, Received]]) -> None:
    parcels = city.tables["parcels"]
    written = set(parcels["place"].tolist())
    read = {
        value
        for layer, one in received
        if one.delivery.encoding == "TCVN3" and one.delivery.driver == "ESRI Shapefile"
        for value in one.features().read_all()["address"].to_pylist()
    }

    assert read
    assert read <= written


def test_every_conflict_between_the_layers_is_found_and_no_other(
    city: City, truth: list[dict[str, Any]], registry: Registry, new_database: Callable[[], str], tmp_path: Path
) -> None:
    url = new_database()
    settings = Settings(database_url=url, data=tmp_path)  # type: ignore[arg-type]
    with engine.connect(url) as owner:
        migrate.apply(owner, registry)
    with engine.connect(url, engine.LOADER) as connection:
        for layer, request in deliveries(city.folder):
            assert pipeline.deliver(connection, settings, registry, layer, request).load is not None
        rows = connection.execute("SELECT rule, building_id, permit_id FROM construction.permit_conflicts").fetchall()
    found = {(rule, permit if building is None else building) for rule, building, permit in rows}

    assert found == {(e["rule"], e["key"]) for e in truth if "." not in e["rule"] and e["rule"] != "spanning"}


def _rows(entry: dict[str, Any]) -> list[int]:
    """The rows that may be told of: of two that overlap, are equal or bear one key, it may be either."""
    detail = entry["detail"]
    return [entry["row"], *(detail[name] for name in ("other_row", "same_as_row") if name in detail)]
