"""The first load of a layer writes its features while they are still held against each other: what is found then, and
what becomes of them, is what it would be otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely

from sdi.settings import ROOT
from sdi.store import bulk, quarantine
from tests.deployment import Deployment

LAYER = "cadastral_parcels"
CORNER = (588_000.0, 2_326_000.0)
OVERLAP = "{rule: coverage.overlap, severity: warning, tolerance: 0.1}"
DIFFERS = "rule: layer.differs\n    severity: info"
COUNT = 60
UPON = (7, 31)
"""Parcels that lie half upon the one before them."""


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_WORTH", 30)


@pytest.fixture(scope="module")
def strict(
    new_deployment: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Deployment]:
    """A deployment whose parcels may not overlap or be used against the plan, with what the contract does about it."""

    def make(action: str) -> Deployment:
        layers = tmp_path_factory.mktemp("contracts") / "layers"
        shutil.copytree(ROOT / "layers", layers)
        contract = layers / f"{LAYER}.yaml"
        text = contract.read_text(encoding="utf-8")
        assert OVERLAP in text
        assert DIFFERS in text
        text = text.replace(OVERLAP, OVERLAP[:-1] + f", action: {action}}}")
        contract.write_text(text.replace(DIFFERS, f"{DIFFERS}\n    action: {action}"), encoding="utf-8")
        return new_deployment(layers, grid=5897)

    return make


def parcels(path: Path, upon: tuple[int, ...]) -> Path:
    places = np.arange(COUNT, dtype=np.float64)
    places[list(upon)] -= 0.5
    x, y = CORNER[0] + 20 * places, CORNER[1]
    table = {
        "maXa": pa.array(["00070"] * COUNT), "soTo": pa.array(["7"] * COUNT),
        "soThua": pa.array([str(number) for number in range(COUNT)]), "mdsd": pa.array(["ODT"] * COUNT),
        "dienTich": pa.array([400.0] * COUNT),
        "geom": pa.array(shapely.to_wkb(shapely.box(x, y, x + 20, y + 20)), pa.binary()),
    }  # fmt: skip
    return written(path, table)


def zone(path: Path, first: int, last: int) -> Path:
    """A zone of another use over some parcels."""
    x, y = CORNER[0] + 20 * np.array([first, last + 1]), CORNER[1]
    table = {
        "maThongTinQH": pa.array(["010112000001"]), "kyHieuO": pa.array(["A1"]), "maLoaiDat": pa.array(["CLN"]),
        "geom": pa.array([shapely.to_wkb(shapely.box(x[0], y, x[1], y + 20))], pa.binary()),
    }  # fmt: skip
    return written(path, table)


def written(path: Path, table: dict[str, pa.Array]) -> Path:
    pyogrio.write_arrow(
        pa.table(table), path, layer="thua", driver="GPKG", geometry_name="geom", geometry_type="Polygon",
        crs="EPSG:5897",
    )  # fmt: skip
    return path


def served(at: Deployment) -> set[str]:
    return {row[0] for row in at.rows(f"SELECT id FROM cadastre.{LAYER}")}


def indexes(at: Deployment) -> list[tuple[str, bool]]:
    return at.rows(
        "SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index"
        f" WHERE indrelid = 'cadastre.{LAYER}'::regclass ORDER BY 1"
    )


def test_what_is_found_between_features_takes_those_back_that_were_written(
    strict: Callable[[str], Deployment], tmp_path: Path
) -> None:
    at, file = strict("quarantine"), parcels(tmp_path / "thua.gpkg", UPON)
    before = indexes(at)
    done = at.deliver(LAYER, file)
    held = {f"00070.7.{number}" for place in UPON for number in (place - 1, place)}
    assert done.load is not None
    assert (done.load.inserted, done.load.quarantined) == (COUNT - len(held), len(held))
    assert served(at) == {f"00070.7.{number}" for number in range(COUNT)} - held
    with at.loader() as connection:
        assert {row.id for row in quarantine.held(connection, LAYER)} == held
    assert at.rows("SELECT count FROM sdi.publication WHERE layer = %s", LAYER) == [(COUNT - len(held),)]
    assert at.rows("SELECT count(*) FROM cadastre.parcel_overview") == [(COUNT - len(held),)]
    assert indexes(at) == before
    again = at.deliver(LAYER, file)
    assert again.load is not None
    assert (again.load.written, again.load.unchanged) == (0, COUNT - len(held))


def test_what_is_found_against_other_layers_is_taken_back_too_and_from_what_is_derived(
    strict: Callable[[str], Deployment], tmp_path: Path
) -> None:
    at = strict("quarantine")
    assert at.deliver("planning_zones", zone(tmp_path / "quyhoach.gpkg", 10, 14)).load is not None
    done = at.deliver(LAYER, parcels(tmp_path / "thua.gpkg", ()))
    held = {f"00070.7.{number}" for number in range(10, 15)}
    assert done.load is not None
    assert (done.load.inserted, done.load.quarantined) == (COUNT - len(held), len(held))
    assert done.report.by_rule()["layer.differs"] == len(held)
    assert served(at) == {f"00070.7.{number}" for number in range(COUNT)} - held
    assert at.rows("SELECT count FROM sdi.publication WHERE layer = %s", LAYER) == [(COUNT - len(held),)]
    assert {row[0] for row in at.rows("SELECT id FROM cadastre.parcel_overview")} == served(at)


def test_what_is_found_between_features_may_refuse_them_all(
    strict: Callable[[str], Deployment], tmp_path: Path
) -> None:
    at = strict("refuse")
    before = indexes(at)
    refused = at.deliver(LAYER, parcels(tmp_path / "wrong.gpkg", UPON))
    assert refused.load is None
    assert refused.report.by_rule()["coverage.overlap"] == len(UPON)
    assert at.rows("SELECT status, read, by_rule ->> 'coverage.overlap' FROM sdi.load ORDER BY load_id") == [
        ("refused", COUNT, str(len(UPON)))
    ]
    assert at.rows("SELECT count(*) FROM sdi.publication") == [(0,)]
    assert served(at) == set()
    assert indexes(at) == before
    done = at.deliver(LAYER, parcels(tmp_path / "right.gpkg", ()))
    assert done.load is not None
    assert done.load.inserted == COUNT
    assert len(served(at)) == COUNT
