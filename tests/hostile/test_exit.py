"""Hostile files at the terminal itself, `sdi check FILE` in a process of its own: exit code, a sentence, no traceback.

Without a database: a file that cannot be read ends before one is asked. (How hundreds of files end, without a process
for each: test_torture.py.)
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdi.settings import ROOT
from tests.hostile import samples

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def cut(folder: Path) -> Path:
    path = samples.write(folder, "shp")
    path.write_bytes(path.read_bytes()[:150])
    return path


def alone(folder: Path) -> Path:
    path = samples.write(folder, "shp")
    path.with_suffix(".dbf").unlink()
    return path


def climbing(folder: Path) -> Path:
    path = folder / "climbing.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("../../outside.geojson", "{}")
    return path


def bomb(folder: Path) -> Path:
    path = folder / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("plots.geojson", b"0" * 300_000_000)
    return path


def smuggled(folder: Path) -> Path:
    path = folder / "plots.gpkg"
    path.write_text("<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer>"
                    "</OGRVRTDataSource>", encoding="utf-8")  # fmt: skip
    return path


def nuls(folder: Path) -> Path:
    path = folder / "plots.geojson"
    path.write_bytes(b"\0" * 4096)
    return path


def remote(folder: Path) -> Path:
    return folder / "vsicurl" / "http:" / "127.0.0.1" / "plots.geojson"


ENDS: dict[Callable[[Path], Path], int] = {cut: 1, alone: 1, climbing: 1, bomb: 1, smuggled: 1, nuls: 1, remote: 2}
"""What is handed in, and the exit code: 1 for a file, 2 for a name under which no file is."""


def check(path: Path, layer: str = "buildings") -> subprocess.CompletedProcess[str]:
    said = {name: value for name, value in os.environ.items() if not name.startswith("SDI_")}
    environment = said | {"SDI_DATABASE_URL": NOWHERE, "SDI_DATA": str(path.parent), "SDI_LANG": "en", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "sdi", "check", layer, str(path)], env=environment, cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_a_hostile_file_ends_at_the_terminal_with_its_exit_code_and_a_sentence(tmp_path: Path) -> None:
    paths = []
    for make in ENDS:
        folder = tmp_path / make.__name__
        folder.mkdir()
        paths.append(make(folder))
    with ThreadPoolExecutor(2) as workers:
        done = list(workers.map(check, paths))
    for each, path, code in zip(done, paths, ENDS.values(), strict=True):
        assert each.returncode == code, (path, each.stdout, each.stderr)
        assert "Traceback" not in each.stdout + each.stderr, path
        assert path.name in each.stdout + each.stderr, (path, each.stderr)


def test_a_layer_that_is_made_from_others_names_them_and_what_to_do(tmp_path: Path) -> None:
    done = check(samples.write(tmp_path, "geojson"), "building_permits")
    assert done.returncode == 2
    assert "is made from construction_permits and takes no files" in done.stderr
    assert "→ Load these; it follows." in done.stderr
