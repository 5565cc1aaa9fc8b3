"""A file is written whole or not at all, wherever in it the disk is full."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely

from sdi.contract.layer import Layer
from sdi.contract.report import Finding
from sdi.errors import StoreError
from sdi.ingest.entire import entire
from sdi.ingest.write import DRIVERS, write_features
from sdi.ingest.write_quality import write_findings, write_quarantine
from tests.ingest.plots import PARCELS, contract

COUNT = 2000


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: to who writes that is a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def plots() -> pa.Table:
    east = 603_000 + 10 * np.arange(COUNT)
    shapes = shapely.box(east, 1_191_000, east + 9, 1_191_009)
    names = [f"Thửa đất số {number}" for number in range(COUNT)]
    return pa.table({"name": names, "geom": pa.array(shapely.to_wkb(shapes), pa.binary())})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("suffix", DRIVERS)
def test_a_file_that_the_disk_has_no_room_for_is_told_to_its_last_byte(suffix: str, tmp_path: Path) -> None:
    """GDAL keeps back the last 4 kB or more of most formats and loses them without a word."""
    target = tmp_path / f"plots{suffix}"
    write_features(target, "plots", plots(), 9210, "Polygon")
    made = contents(tmp_path)
    sizes = sorted({len(content) for content in made.values() if len(content) > 1000})
    for size in sizes:
        for less in (1, 900, 5000):
            with (
                room_for(max(500, size - less)),
                pytest.raises(StoreError, match="cannot be written: the disk is full"),
            ):
                write_features(target, "plots", plots(), 9210, "Polygon")
            assert contents(tmp_path) == made, "what stood there stands, and nothing is left"
    write_features(target, "plots", plots(), 9210, "Polygon")


def test_a_new_file_leaves_nothing_of_the_old_one_beside_it(tmp_path: Path) -> None:
    write_features(tmp_path / "plots.shp", "plots", plots(), 9210, "Polygon")
    (tmp_path / "plots.cpg").write_text("TCVN3")
    (tmp_path / "plots.txt").write_text("of somebody else")
    write_features(tmp_path / "plots.shp", "plots", plots(), 9210, "Polygon")
    assert (tmp_path / "plots.cpg").read_text() == "UTF-8"
    assert {path.suffix for path in tmp_path.iterdir()} == {".shp", ".shx", ".dbf", ".prj", ".cpg", ".txt"}


@pytest.mark.parametrize("suffix", [".gpkg", ".csv"])
def test_findings_and_quarantine_are_written_whole_or_not_at_all(suffix: str, tmp_path: Path) -> None:
    found = [Finding("geometry.empty", "error", "quarantine", feature=f"{n}", row=n, place=(106.7, 10.8))
             for n in range(COUNT)]  # fmt: skip
    held = plots().append_column("qa_rules", pa.array(["geometry.empty"] * COUNT))
    layer: Layer = contract(PARCELS)
    for size in (2_000, 50_000):
        with room_for(size), pytest.raises(StoreError, match="the disk is full"):
            write_findings(tmp_path / f"found{suffix}", found)
        with room_for(size), pytest.raises(StoreError, match="the disk is full"):
            write_quarantine(tmp_path / f"held{suffix}", layer, held)
    assert not list(tmp_path.iterdir())


def fail(path: Path, fault: Exception) -> None:
    with entire(path) as part:
        part.write_text("after")
        raise fault


def test_what_is_no_full_disk_is_not_called_one_and_leaves_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")
    for fault in (OSError(13, "Permission denied"), RuntimeError("the disk is full, says who is no writer")):
        with pytest.raises(type(fault)) as raised:
            fail(tmp_path / "a.txt", fault)
        assert raised.value is fault
    assert contents(tmp_path) == {"a.txt": b"before"}
