"""The notebooks run from top to bottom against a served demo city, and show what the service holds."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import nbformat
import pytest
from nbclient import NotebookClient

from tests.deployment import DemoCity, serving

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(scope="module")
def served_city(demo_city: DemoCity) -> Iterator[str]:
    with serving(demo_city) as url:
        yield url


def execute(name: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """Run a notebook in a kernel of its own; the text that each code cell showed."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    return [shown(cell) for cell in book.cells if cell.cell_type == "code"]


def shown(cell: Any) -> str:
    texts = []
    for output in cell.outputs:
        data = output.get("data", {})
        texts.append(output.get("text") or data.get("text/plain", "") + data.get("image/png", ""))
    return "".join(texts)


def counted(url: str, collection: str) -> int:
    with urlopen(f"{url}/collections/{collection}/items?f=json&limit=1", timeout=60) as answer:
        return int(json.load(answer)["numberMatched"])


def test_bringing_a_layer_ends_at_a_served_collection(
    new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "\n".join(execute("bringing_a_layer", monkeypatch, SDI_DATABASE_URL=new_database()))
    assert "Did you mean 'Point'?" in said
    assert "EPSG:5897 VN-2000" in said
    assert "read 200 · kept 196 · quarantined 4" in said
    assert "196 unchanged" in said
    served = ast.literal_eval(re.findall(r"served at\s+(\[.*\])", said)[0])
    delivered = ast.literal_eval(re.findall(r"delivered at\s+(\[.*\])", said)[0])
    assert served == pytest.approx(delivered, abs=1e-3)


def test_a_stewards_session_brings_in_the_worst_real_file(
    new_database: Callable[[], str], shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [shared_data(name) for name in ("vn_admin_2025", "vn_landuse_thuanhoa", "vn_cadastre_duynghia")]
    place = {"SDI_DATABASE_URL": new_database(), "SDI_SHARED_DATA": str(sets[0].parent)}
    said = "\n".join(execute("a_stewards_session", monkeypatch, **place))
    assert "EPSG:9209 VN-2000 / TM-3 105-30: 100%" in said
    assert "read 9,777 · kept 0 · quarantined 9,777" in said
    assert re.search(r"✓ load \d+: 9,775 new, 2 in quarantine", said)
    assert len(re.findall(r"20635\.11\.\d+  corrected", said)) == 2
    assert re.search(r"✓ load \d+: 9,775 unchanged, 2 in quarantine", said)
    assert re.search(r"✓ load \d+: 2 new, 95 changed, 1 ended, 9,681 unchanged", said)
    assert re.search(r"area\.legal +warning +waived +1\b", said)
    assert "1 new, 95 changed, 2 ended → parcel_overview 98" in said
    assert "trước · before  9,777 thửa · parcels {'20635.16.25': 200, '20635.16.1259': 404}" in said
    assert "nay · now       9,778 thửa · parcels {'20635.16.25': 404, '20635.16.1259': 200}" in said


def test_reading_the_api_counts_what_the_service_holds(served_city: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("reading_the_api", monkeypatch, SDI_DEMO_URL=served_city)
    counts = next(ast.literal_eval(text) for text in cells if text.startswith("{'admin_units'"))
    assert counts == {name: counted(served_city, name) for name in counts}
    assert counts["cadastral_parcels"] > 500
    assert "Did you mean 'land_use_code'?" in cells[-1]


@pytest.mark.qgis
def test_the_map_in_qgis_shows_every_feature(served_city: str, monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path("/usr/bin/python3")  # QGIS lives in the distribution's Python
    if (
        not python.exists()
        or subprocess.run([python, "-c", "import qgis.core"], capture_output=True, check=False).returncode
    ):
        pytest.skip("Debian's python3-qgis is not on this machine")
    cells = execute("map_in_qgis", monkeypatch, SDI_DEMO_URL=served_city)
    told = next(ast.literal_eval(text) for text in cells if text.startswith("{'planning_zones'"))
    assert {name: count for name, (count, _) in told.items()} == {name: counted(served_city, name) for name in told}
    assert any("iVBORw0KGgo" in text for text in cells)


def test_three_views_of_one_place_differ_by_what_was_granted(
    served_city: str, demo_city: DemoCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert demo_city.settings.database_url is not None
    place = {"SDI_DATABASE_URL": demo_city.settings.database_url.get_secret_value(),
             "SDI_DATA": str(demo_city.settings.data)}  # fmt: skip
    said = "\n".join(execute("three_views", monkeypatch, SDI_DEMO_URL=served_city, **place))
    assert "sdi_" not in said, "a key is shown to nobody"

    def row(title: str) -> list[int]:
        found = re.search(rf"^{title} +(\d+) +(\d+) +(\d+)$", said, re.MULTILINE)
        assert found is not None, title
        return [int(each) for each in found.groups()]

    citizen, officer, planner = row("parcels in the city")
    assert citizen == officer == counted(served_city, "cadastral_parcels")
    assert planner > citizen
    assert row("parcels here")[2] > row("parcels here")[0]
    nobody, in_ward, everywhere = row("with the origin of the right")
    assert nobody == 0
    assert 0 < in_ward < everywhere
    assert row("of these in the ward")[1] == in_ward
    assert "Legal area, ha" in said
    assert re.search(r"^ODT +\d+ ", said, re.MULTILINE), "parcels are counted by land use"
    assert len(re.findall(r"404 Not found", said)) == 2


def test_no_shape_and_no_folder_is_kept_of_a_stewards_session() -> None:
    """The real sets may not be published: a drawing of parcels is made where the notebook runs, and is not stored."""
    book = nbformat.read(NOTEBOOKS / "a_stewards_session.ipynb", as_version=4)
    kept = json.dumps([cell.get("outputs", []) for cell in book.cells])
    assert "<rect" in kept
    for word in ("<path", "POLYGON", "coordinates", "postgresql:", tempfile.gettempdir(), str(ROOT.parent)):
        assert word not in kept


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_what_it_showed_and_no_error(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in cells)
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []
