"""The notebooks run from top to bottom against a served demo city, and show what the service holds."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
SDI = [sys.executable, "-c", "from sdi.cli import main; main()"]


@pytest.fixture(scope="module")
def served_city(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a small demo city, loaded and served by the commands a person would use."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("served")
    environment = os.environ | {"SDI_DATABASE_URL": new_database(), "SDI_DATA": str(folder), "SDI_URL": url}
    environment |= {"PYTHONPATH": str(ROOT)}
    load = [*SDI, "demo", "--parcels", "800", "--no-serve"]
    done = subprocess.run(load, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (folder / "log").open("w") as log:
        service = subprocess.Popen([*SDI, "serve", "--port", str(port)], env=environment, stdout=log, stderr=log)
    try:
        wait_for(url, service, folder / "log")
        yield url
    finally:
        service.terminate()
        service.wait(30)


def wait_for(url: str, service: subprocess.Popen[bytes], log: Path) -> None:
    while service.poll() is None:
        try:
            urlopen(f"{url}/health", timeout=30).close()
        except (URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the service ended: {log.read_text()[-2000:]}", pytrace=False)


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


def test_reading_the_api_counts_what_the_service_holds(served_city: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("reading_the_api", monkeypatch, SDI_DEMO_URL=served_city)
    counts = next(ast.literal_eval(text) for text in cells if text.startswith("{'admin_units'"))
    assert counts == {name: counted(served_city, name) for name in counts}
    assert counts["cadastral_parcels"] > 500
    assert "Did you mean 'land_use_code'?" in cells[-1]


@pytest.mark.qgis
def test_the_map_in_qgis_shows_every_feature(served_city: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = subprocess.run(["/usr/bin/python3", "-c", "import qgis.core"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("Debian's python3-qgis is not on this machine")
    cells = execute("map_in_qgis", monkeypatch, SDI_DEMO_URL=served_city)
    told = next(ast.literal_eval(text) for text in cells if text.startswith("{'planning_zones'"))
    assert {name: count for name, (count, _) in told.items()} == {name: counted(served_city, name) for name in told}
    assert any("iVBORw0KGgo" in text for text in cells)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_what_it_showed_and_no_error(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in cells)
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []
