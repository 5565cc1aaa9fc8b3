"""`sdi genealogy`, the parents in `sdi history`, and `sdi reform`, as a steward runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.test_history import LAYER, Terminal, collection
from tests.pipeline.test_reform import AFTER, BEFORE, square, unit


@pytest.fixture(scope="module")
def desk(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    folder = tmp_path_factory.mktemp("desk")
    return Terminal({"SDI_DATABASE_URL": new_database(), "SDI_DATA": str(folder / ".sdi"), "COLUMNS": "300"}, folder)


@pytest.fixture(scope="module")
def merged(desk: Terminal) -> Terminal:
    """A street of four parcels; then the second one, 1, has become 11 under another number."""
    for numbers, sources in (([0, 1, 2, 3], {}), ([0, 2, 3, 11], {"soToCu": "7", "soThuaCu": "1"})):
        load(desk, LAYER, json.loads(collection(numbers, p11=sources, p0={}))["features"])
    return desk


def load(desk: Terminal, layer: str, found: list[dict[str, Any]], grid: int = 5897) -> None:
    path = desk.folder / f"{layer}.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": found}), encoding="utf-8")
    outcome = desk.json("load", layer, str(path), "--steward", "Văn phòng", "--grid", str(grid))
    assert outcome["load"] is not None, outcome["report"]


def test_what_a_parcel_came_from_and_became_is_shown(merged: Terminal) -> None:
    shown = merged("genealogy", LAYER, "00070.7.11", lang="vi")
    assert shown.returncode == 0, shown.stderr
    assert "└ 00070.7.1  thay thế" in shown.stdout
    assert "00070.7.11 · Trở thành: không có" in shown.stdout
    told = merged.json("genealogy", LAYER, "00070.7.1")
    [child] = told["descendants"]
    assert (child["child"], child["told_by"], child["generation"], told["ancestors"]) == (
        "00070.7.11", "delivery", 1, [],
    )  # fmt: skip
    assert merged("genealogy", LAYER, "nobody").returncode == 2


def test_the_history_of_a_parcel_names_its_parents_and_children(merged: Terminal) -> None:
    assert "Formed from: 00070.7.1 (replaced)" in merged("history", LAYER, "00070.7.11").stdout
    assert "Became: 00070.7.11 (replaced)" in merged("history", LAYER, "00070.7.1").stdout
    assert "Became" not in merged("history", LAYER, "00070.7.2").stdout


def test_a_reform_is_planned_done_and_told(merged: Terminal) -> None:
    load(merged, "admin_units", [
        unit("00070", BEFORE, square(0, 1)), unit("00071", AFTER, square(0, 1), ("00070", 100)),
    ], grid=9210)  # fmt: skip
    planned = merged("reform", LAYER, "--on", "2025-07-01", "--dry-run")
    assert "4 features would get new codes" in planned.stdout, planned.stderr
    done = merged("reform", LAYER, "--on", "2025-07-01", "--steward", "Sở", lang="vi")
    assert "đơn vị kế thừa duy nhất" in done.stdout, done.stderr
    assert "4 đối tượng thay đổi" in done.stdout
    again = merged.json("reform", LAYER, "--on", "2025-07-01")
    assert (again["moves"], again["load"]["updated"]) == ([], 0)
    assert "admin_units 2025-07-01" in merged("history", LAYER).stdout
    wrong = merged("reform", LAYER, "--on", "1/7/2025")
    assert wrong.returncode != 0
    assert "is not a day" in wrong.stderr
