"""A feature in quarantine is exported, corrected in QGIS and loaded again. Needs Debian's python3-qgis."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sdi.pipeline import quality
from sdi.store import quarantine
from tests.clients.test_qgis import PYTHON, has_qgis
from tests.deployment import Deployment
from tests.pipeline.test_quarantine import BOW_TIE, GRID, LAYER, parcel, written

__all__ = ["has_qgis"]
pytestmark = pytest.mark.qgis
SESSION = Path(__file__).parent / "qgis_correction.py"


def test_a_ring_that_crosses_itself_is_put_right_in_qgis_and_its_findings_are_gone(
    has_qgis: None, new_deployment: Callable[..., Deployment], tmp_path: Path
) -> None:
    at = new_deployment(grid=GRID)
    first = at.deliver(LAYER, written(tmp_path / "thua.gpkg", parcel(1), parcel(2, shape=BOW_TIE, area=400.0)))
    assert first.load is not None
    assert (first.load.inserted, first.load.quarantined) == (1, 1)
    path = tmp_path / "sua.gpkg"
    with at.loader() as connection:
        assert quality.write_quarantine(connection, at.registry[LAYER], path) == 1
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_", "PROJ_"))}
    settings = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    ended = subprocess.run(
        [PYTHON, "-X", "faulthandler", str(SESSION), str(path), LAYER],
        env={**inherited, **settings}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    assert (told["before"], told["after"]) == (False, True)
    assert told["said"].startswith("Hình học không hợp lệ")
    again = at.deliver(LAYER, path, mode="partial")
    assert again.load is not None
    assert (again.load.inserted, again.load.quarantined) == (1, 0)
    assert not {"geometry.invalid", "area.legal"} & set(again.report.by_rule())
    with at.loader() as connection:
        assert [(row.id, row.state) for row in quarantine.held(connection, LAYER)] == []
        assert [row.state for row in quarantine.held(connection, LAYER, ended=True)] == ["corrected"]
    assert at.rows(f"SELECT id, ST_IsValid(geom) FROM cadastre.{LAYER} ORDER BY id") == [
        ("00070.7.1", True), ("00070.7.2", True),
    ]  # fmt: skip
