"""Rows of a file that stand in it as before are not conformed again: what becomes of the delivery is the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.demo import city
from sdi.ingest import deliver as ingest_deliver
from sdi.ingest import recognition
from sdi.ingest.write import write_features
from sdi.store import waiver
from tests.deployment import DemoCity, Deployment
from tests.pipeline.test_checked_since import GRID, LAYER, SIDE, Town, edited

PART = 700
"""Features of a part: the towns here have several parts, and what changes is in some of them."""
STATE = {
    "now": "SELECT * FROM cadastre.cadastral_parcels ORDER BY id",
    "past": "SELECT * FROM cadastre.cadastral_parcels__past ORDER BY id, load_id, load_to",
    "findings": "SELECT * FROM sdi.finding ORDER BY load_id, ordinal",
    "quarantine": "SELECT q.* FROM sdi.quarantine q ORDER BY load_id, source_row",
    "ledger": "SELECT load_id, status, inserted, updated, deleted, unchanged, kept, quarantined,"
    " delivery - 'received_at' FROM sdi.load ORDER BY load_id",
    "derived": "SELECT * FROM cadastre.parcel_overview ORDER BY id",
}
"""All that a delivery leaves; the time of day apart."""


@pytest.fixture(autouse=True)
def _in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = import_module("sdi.pipeline.deliver")
    monkeypatch.setattr(whole, "receive", partial(ingest_deliver.receive, part=PART))


@pytest.fixture
def at(new_deployment: Callable[..., Deployment]) -> Deployment:
    return new_deployment(grid=GRID)


def written(town: Town, path: Path, order: list[int] | None = None) -> Request:
    """A town's file with areas, of which every seventh is told wrong, and in another order where one is given."""
    rows = list(range(len(town.shapes))) if order is None else order
    area = shapely.area(town.shapes)
    said = [round(float(area[row]) * (1.2 if int(town.number[row]) % 7 == 0 else 1.0), 2) for row in rows]
    columns = {
        "commune_code": town.commune, "sheet_number": town.sheet, "parcel_number": town.number, "address": town.address,
    }  # fmt: skip
    table = {name: pa.array([values[row] for row in rows]) for name, values in columns.items()}
    table |= {"measured_area": pa.array(said), "land_use_code": pa.array(["odt"] * len(rows))}
    table["geom"] = pa.array(shapely.to_wkb(town.shapes[rows]), pa.binary())
    path.unlink(missing_ok=True)
    write_features(path, "thua", pa.table(table), GRID, "Polygon")
    return Request(path, steward="test", allow_shrink=True, day=date(2026, 6, 1))


def deliver(at: Deployment, request: Request) -> None:
    with pipeline.reading(at.settings, needed=True) as connection:
        assert connection is not None
        pipeline.deliver(connection, at.settings, at.registry, LAYER, request)


def checked(at: Deployment, request: Request, layer: str = LAYER) -> tuple[int, dict[str, Any]]:
    """How many rows were recognised, and all that the check tells."""
    with pipeline.reading(at.settings, needed=True) as connection:
        received = pipeline.check(connection, at.settings, at.registry, layer, request)
        assert isinstance(received, ingest_deliver.Received)
        with closing(received):
            recognised, report = received.recognised, received.report
            told = {
                "findings": [repr(finding) for finding in report.findings],
                "counts": (report.read, report.kept, report.quarantined, report.dropped, report.by_rule()),
                "quarantined": received.quarantined().read_all().to_pylist(),
                "features": received.features().read_all(),
                "delivery": replace(received.delivery, received_at=received.delivery.received_at.min),
            }
            return recognised, told


def forgetting(at: Deployment) -> None:
    """Make every row of the next delivery a new one."""
    with at.loader() as connection:
        connection.execute("DELETE FROM sdi.recognised")


def state(at: Deployment) -> dict[str, list[Any]]:
    return {name: at.rows(query) for name, query in STATE.items()}


def permuted(town: Town, seed: int) -> list[int]:
    return [int(row) for row in np.random.default_rng(seed).permutation(len(town.shapes))]


def test_a_delivery_of_known_rows_tells_what_one_of_unknown_rows_tells(at: Deployment, tmp_path: Path) -> None:
    town, file = Town.drawn(1), tmp_path / "thua.gpkg"
    deliver(at, written(town, file))
    requests = []
    for seed in range(12):
        day = edited(town, seed)
        requests.append(written(day, tmp_path / f"{seed}.gpkg", permuted(day, seed) if seed % 3 == 0 else None))
    known = [checked(at, request) for request in requests]
    forgetting(at)
    for (recognised, told), request in zip(known, requests, strict=True):
        none, expected = checked(at, request)
        assert recognised > 0.6 * SIDE * SIDE
        assert none == 0
        assert {name: told[name] == expected[name] for name in told} == dict.fromkeys(told, True), request.path


def test_days_of_loads_leave_what_they_leave_where_every_row_is_new(
    new_deployment: Callable[..., Deployment], tmp_path: Path
) -> None:
    """Two stores are brought through the same days; one of them forgets each day what it has met."""
    stores = (new_deployment(grid=GRID), new_deployment(grid=GRID))
    town, file = Town.drawn(2), tmp_path / "thua.gpkg"

    def both(request: Request) -> None:
        for at in stores:
            deliver(at, request)
        forgetting(stores[1])
        one, other = map(state, stores)
        assert {name: one[name] == other[name] for name in STATE} == dict.fromkeys(STATE, True)

    both(written(town, file))
    both(written(town, file, permuted(town, 1)))
    for seed in range(3):
        town = edited(town, 10 + seed)
        town.number[100 + seed] = town.number[200]  # an id that stands twice, and a key that the law wants once
        both(written(town, file, permuted(town, seed)))
    first = town.copy()
    done = "SELECT load_id FROM sdi.load WHERE layer = %s AND status = 'done' ORDER BY load_id"
    second = int(stores[0].rows(done, LAYER)[1][0])
    for at in stores:
        with pipeline.reading(at.settings, needed=True) as connection:
            assert connection is not None
            waiver.give(
                connection, at.registry[LAYER], "area.legal", "00070.1.7", reason="biên bản 12/BB", steward="test",
                until=date.today() + timedelta(days=30),
            )  # fmt: skip
    part = replace(written(edited(town, 20).only(list(range(40, 60))), tmp_path / "part.gpkg"), mode="partial")
    both(part)
    both(written(town, file))
    for at in stores:
        with pipeline.reading(at.settings, needed=True) as connection:
            assert connection is not None
            pipeline.rollback(connection, at.settings, at.registry, LAYER, second, steward="test")
    town = edited(town, 30)
    both(written(town, file, permuted(town, 9)))
    both(written(first, file))
    assert checked(stores[0], written(first, file))[0] > 0.6 * SIDE * SIDE


def test_every_file_of_the_demo_city_tells_the_same_when_its_rows_are_known(demo_city: DemoCity) -> None:
    """TCVN3 and VNI text, MapInfo, KML, decimal commas, layers that are held against others."""
    features = [(name, request) for name, request in city.deliveries(demo_city.folder)
                if demo_city.registry[name].kind == "features"]  # fmt: skip
    known = [checked(demo_city, request, name) for name, request in features]
    forgetting(demo_city)
    for (_, told), (name, request) in zip(known, features, strict=True):
        none, expected = checked(demo_city, request, name)
        assert none == 0
        assert {key: told[key] == expected[key] for key in told} == dict.fromkeys(told, True), request.path
    assert sum(recognised for recognised, _ in known) > len(known)


def test_a_real_commune_in_degrees_tells_the_same_when_its_rows_are_known(
    new_deployment: Callable[..., Deployment], shared_data: Callable[[str], Path]
) -> None:
    at = new_deployment(grid=5899)
    file = shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip"
    request = Request(file, steward="test", constants={"commune_code": "20635"}, day=date(2026, 6, 1))
    deliver(at, request)
    recognised, told = checked(at, request)
    forgetting(at)
    none, expected = checked(at, request)
    assert none == 0
    assert {name: told[name] == expected[name] for name in told} == dict.fromkeys(told, True)
    assert recognised > 1000


def test_another_way_of_reading_knows_no_row(at: Deployment, tmp_path: Path) -> None:
    town = Town.drawn(3)
    request = written(town, tmp_path / "thua.gpkg")
    deliver(at, request)
    assert checked(at, request)[0] > 0.6 * SIDE * SIDE
    for other in (
        replace(request, encoding="CP1258"),
        replace(request, constants={"origin": "DG-KTT"}),
        replace(request, mapping={"address": ""}),
        replace(request, check_all=True),
    ):
        assert checked(at, other)[0] == 0
    layer = at.registry[LAYER]
    strict = [check.model_copy(update={"tolerance": 7.0}) if check.rule == "geometry.sliver" else check
              for check in layer.checks]  # fmt: skip
    at.registry.layers[LAYER] = layer.model_copy(update={"checks": strict})
    assert checked(at, request)[0] == 0


def test_what_lay_in_the_future_of_no_later_day_is_asked_again_on_an_earlier_one(
    at: Deployment, tmp_path: Path
) -> None:
    request = written(Town.drawn(4), tmp_path / "thua.gpkg")
    deliver(at, replace(request, day=date.today() + timedelta(days=1)))
    assert checked(at, replace(request, day=date.today() + timedelta(days=2)))[0] > 0
    assert checked(at, replace(request, day=date.today()))[0] == 0


def test_a_table_of_which_no_column_is_known_is_told_of(at: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "bang.csv"
    file.write_text("cot,khac\n1,2\n3,4\n", encoding="utf-8")
    _, told = checked(at, Request(file), "construction_permits")
    assert told["counts"][:3] == (2, 0, 2)
    with at.loader() as connection:
        done = pipeline.deliver(connection, at.settings, at.registry, "construction_permits", Request(file))
    assert done.load is None


def test_a_table_whose_ids_were_said_for_all_rows_is_known_again(at: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "bang.csv"
    file.write_text("tenCongTrinh\nNhà số 1\nNhà số 2\nNhà số 3\n", encoding="utf-8")
    request = Request(file, constants={"permit_number": "GP 1"}, mode="full")
    for written in (3, 0):
        with at.loader() as connection:
            done = pipeline.deliver(connection, at.settings, at.registry, "construction_permits", request)
        assert done.load is not None
        assert done.load.written == written


def test_a_mark_is_another_for_each_change_of_a_row() -> None:
    rows = pa.table({
        "text": pa.array(["a", "ab", "", None, "a", "a", "a"]),
        "more": pa.array(["bc", "c", "abc", "abc", "bc", "bc", "bc"]),
        "number": pa.array([1, 1, 1, 1, 0, None, 1]),
        "yes": pa.array([True, True, True, True, True, True, False]),
        "day": pa.array([date(2026, 1, 1)] * 7),
        "wkb": pa.array([b"\x01"] * 7, pa.large_binary()),
    })  # fmt: skip
    found = recognition.marks(rows, rows.column_names)
    assert found is not None
    assert len(set(found.tolist())) == 7
    parts = [recognition.marks(rows.slice(start, 3), rows.column_names) for start in (0, 3, 6)]
    assert np.concatenate([part for part in parts if part is not None]).tolist() == found.tolist()
    assert recognition.marks(pa.table({"list": [["a"]]}), ["list"]) is None
