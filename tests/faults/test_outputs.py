"""A full disk where a command writes what was asked for: one sentence, no half file, and what stood there stands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdi.settings import ROOT
from tests.faults.siege import Besieged
from tests.faults.test_backup import url_of
from tests.faults.test_faults import fill, small_disk


def command(town: Besieged, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SDI_", "PG"))}
    environment |= {
        "PYTHONPATH": str(ROOT), "SDI_DATABASE_URL": url_of(town), "SDI_LAYERS": str(town.settings.layers),
        "SDI_DATA": str(town.settings.data), "SDI_GRID": str(town.settings.grid), "SDI_LANG": "en",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "sdi", *words], env=environment, text=True, capture_output=True, check=False
    )


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="a small disk needs root and mount")
def test_what_is_written_to_a_full_disk_is_told_and_leaves_no_half_file(town: Besieged, tmp_path: Path) -> None:
    file = str(town.files["plots_new"])
    with small_disk(tmp_path / "disk", 1) as disk:
        for name in ("a.gpkg", "a.html", "a.qgz"):
            (disk / name).write_text("what stood there")
        fill(disk)
        before = {path.name: path.stat().st_size for path in disk.iterdir()}
        for words in (
            ("check", "plots", file, "--findings", "a.gpkg"), ("check", "plots", file, "--findings", "b.csv"),
            ("check", "plots", file, "--report", "a.html"), ("load", "plots", file, "--findings", "a.gpkg"),
            ("load", "plots", file, "--report", "a.html"), ("export", "plots", "a.gpkg"), ("export", "plots", "b.shp"),
            ("export", "plots", "b.mif"), ("quarantine", "plots", "--to", "a.gpkg"),
            ("diff", "plots", "1", "now", "--to", "a.gpkg"), ("report", "plots", "--to", "b.html"),
            ("report", "plots", "--findings", "b.gpkg"), ("qgis-project", "-o", "a.qgz"),
        ):  # fmt: skip
            *said, name = words
            done = command(town, *said, str(disk / name))
            assert done.returncode == 4, (words, done.stderr)
            assert done.stderr.endswith(
                f"✗ {name} cannot be written: the disk is full.\n  → Free space there, or name another place; nothing "
                "was written, and what stood there still stands.\n"
            ), (words, done.stderr)
            assert {path.name: path.stat().st_size for path in disk.iterdir()} == before, words
            assert said[0] not in ("check", "load") or "plots  read" in done.stdout, (
                "what was found is told all the same"
            )
    town.load("plots", town.files["plots_old"])
