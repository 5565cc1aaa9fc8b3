"""QGIS with an agency's key lists and reads the quality collections of its own layers. Needs Debian's python3-qgis."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdi.store import engine
from sdi.store.sharing import agencies, keys
from tests.clients.test_qgis import PYTHON, has_qgis
from tests.deployment import Deployment, serving
from tests.service.test_qa import LAYER, QA, STEWARD, parcels

__all__ = ["has_qgis"]
pytestmark = pytest.mark.qgis
SESSION = Path(__file__).parent / "qgis_steward.py"
USES = ("ODT", "XYZ", "CLN", "UVW")
"""The second and the fourth are known to no list: these parcels go to quarantine."""
BOX = (105.8520, 21.0280, 105.8530, 21.0290)
"""Around the second."""


@pytest.fixture(scope="module")
def facts(
    has_qgis: None, new_deployment: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What one session of QGIS with a profile of its own tells."""
    home = tmp_path_factory.mktemp("qgis")
    at = new_deployment()
    at.deliver(LAYER, parcels(home / "thua.geojson", *USES))
    with engine.connect(engine.database_url(at.settings), engine.OWNER) as connection:
        agencies.add(connection, STEWARD, "department", "Sở", "Department")
        key = keys.make_key(connection, STEWARD)
    orders = {"user": STEWARD, "key": key, "layers": [LAYER, *QA], "box": BOX}
    settings = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "QT_QPA_PLATFORM": "offscreen"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_", "PROJ_"))}
    with serving(at) as url:
        ended = subprocess.run(
            [PYTHON, "-X", "faulthandler", str(SESSION), url, json.dumps(orders)],
            env={**inherited, **settings}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


def test_qgis_lists_the_quality_collections_with_the_key_alone(facts: dict[str, Any]) -> None:
    def shown(who: str) -> set[str]:
        return {name for name in (LAYER, *QA) if any(f"typename='{name}'" in uri for uri in facts["listed"][who])}

    assert shown("steward") == {LAYER, *QA}
    assert shown("public") == {LAYER}
    assert shown("wrong") <= {LAYER}


def test_qgis_reads_what_stands_in_quarantine_and_why(facts: dict[str, Any]) -> None:
    held = facts["layers"]["steward"][f"{LAYER}__quarantine"]
    assert held["type"].startswith(("Polygon", "MultiPolygon"))
    assert {row["qa_feature"]: (row["land_use_code"], row["qa_state"]) for row in held["features"]} == {
        "00070.7.2": ("XYZ", "open"), "00070.7.4": ("UVW", "open"),
    }  # fmt: skip
    assert all("code.unknown" in row["qa_rules"] and "XYZ" not in row["wkt"] for row in held["features"])
    assert len(held["inside"]) == 1


def test_qgis_reads_the_findings_at_their_places(facts: dict[str, Any]) -> None:
    found = facts["layers"]["steward"][f"{LAYER}__findings"]
    assert found["type"].startswith("Point")
    told = {row["feature"] for row in found["features"] if row["rule"] == "code.unknown"}
    assert told == {"00070.7.2", "00070.7.4"}
    placed = {row["id"]: row["feature"] for row in found["features"] if "Point (" in row["wkt"]}
    assert {placed[each] for each in found["inside"]} == {"00070.7.2"}


@pytest.mark.parametrize("who", ["public", "wrong"])
def test_without_the_key_qgis_reads_none_of_it(facts: dict[str, Any], who: str) -> None:
    assert [facts["layers"][who][name]["valid"] for name in QA] == [False, False]
    assert facts["layers"]["public"][LAYER]["valid"]
    assert len(facts["layers"]["public"][LAYER]["features"]) == 2
