"""A delivered GeoTIFF becomes a Cloud Optimized GeoTIFF in its own grid: the cells as they are, nothing is resampled.

The file is opened by a child process that may crash, hang or run out of memory without harm to us. The CRS is the one
the steward says, else the one the file declares; it is written into the COG as its EPSG code.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdi.contract.delivery import Delivery, Request
from sdi.contract.layer import Coverage, Layer
from sdi.contract.report import Report
from sdi.errors import SourceError
from sdi.ingest import crs, stage
from sdi.ingest.findings import Findings
from sdi.ingest.place import Box, propose
from sdi.ingest.scratch import Scratch
from sdi.ingest.source import Limits, Progress, last_words
from sdi.national import vn2000

log = logging.getLogger(__name__)
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
PER_EDGE = 21
"""Points along an edge of the box when it is brought to WGS 84: a straight edge becomes a curve."""
BOMB = 2000
"""Times that a file over 1 GB of cells may be larger unpacked than packed."""
ROOM = 64 * 1024**2


@dataclass(frozen=True)
class ReceivedCoverage:
    """`cog` is None when the delivery is refused. `extent_wgs84`: west, south, east, north in degrees.

    `facts`: file, size (bytes), crs, width, height, bounds and resolution in the grid's unit, resolution_m (metres,
    across and down), and of each band name, dtype, nodata, and once converted count (cells with data), min, max,
    mean.
    """

    delivery: Delivery
    report: Report
    cog: Path | None
    extent_wgs84: Box | None
    facts: dict[str, Any]

    def close(self) -> None:
        """As `deliver.Received` has it; the file belongs to whoever asked for it."""


def receive(
    request: Request,
    layer: Layer,
    *,
    grid: int,
    out: Path,
    extent: Box | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ReceivedCoverage:
    """Check a GeoTIFF against the contract of a coverage and write it to `out` as a Cloud Optimized GeoTIFF.

    grid: EPSG code of the deployment's grid, whose area the coverage is expected in where no `extent` (west, south,
    east, north in WGS 84 degrees) is given. progress: called with windows done and their number.
    Raises NotFound, UsageError for a CRS that is refused, SourceError for a file that cannot be read or placed.
    """
    limits, coverage = limits or Limits(), layer.coverage
    assert coverage is not None, "the layer is no coverage"
    path, digest = stage.in_place(request.path)
    head = _ask({"action": "describe", "path": str(path)}, path.name, limits, None)
    _require_north_up(head, path)
    expected = extent or vn2000.grid(grid).area
    used = _decide_grid(head, request, expected, grid)
    crs.require_operation(request.operation, path.name, used, used)
    findings = Findings(layer, 1)
    box = _extent(head["bounds"], used)
    facts = _facts(head, coverage, used)
    _check_header(head, facts, coverage, findings)
    _check_place(head, used, box, expected, grid, findings)
    report = Report(layer.id, layer.version, read=1)
    if not _refused(findings):
        _write(head, facts, coverage, path, out, limits, progress)
        _check_values(facts, coverage, findings)
    report.findings = findings.finish(lambda rows: [None] * len(rows), lambda rows: np.full((len(rows), 2), np.nan))
    report.kept, report.quarantined = (0, 1) if report.refused else (1, 0)
    if report.refused and "file" in facts:
        out.unlink(missing_ok=True)
    delivery = _delivery(request, digest(), path.stat().st_size, head, used)
    return ReceivedCoverage(delivery, report, None if report.refused else out, box, facts)


def _refused(findings: Findings) -> bool:
    return findings.refused


# --- where the cells lie ----------------------------------------------------------------------------------------------


def _require_north_up(head: dict[str, Any], path: Path) -> None:
    a, b, _, d, e, _ = head["transform"]
    if [a, b, d, e] == [1, 0, 0, 1]:
        raise SourceError(
            f"{path.name} says no place: it has no geotransform.", hint="Export it as GeoTIFF, with its CRS."
        )
    if b or d or a <= 0 or e >= 0:
        raise SourceError(f"{path.name} is turned: its rows do not run from west to east and north to south.",
                          hint="Have its maker export it with north up; this service does not resample.")  # fmt: skip
    size = head["width"] * head["height"] * sum(np.dtype(name).itemsize for name in head["dtypes"])
    if size > 1024**3 and size > BOMB * path.stat().st_size:
        raise SourceError(f"{path.name} unpacks to {size / 1024**3:.0f} GB from {path.stat().st_size} bytes.",
                          hint="Such a file holds no data; export it again.")  # fmt: skip


def _decide_grid(head: dict[str, Any], request: Request, expected: Box, grid: int) -> int:
    """The EPSG code of the cells' grid: what the steward says, else what the file declares. Raises with proposals."""
    if request.crs is not None:
        return vn2000.grid(crs.parse(request.crs)).epsg
    declared = crs.recognise(head["crs"])
    if declared in vn2000.GRIDS:
        return int(declared)
    title = crs.title(head["crs"])
    said = f"declares {title}, which is no known grid" if title else "declares no CRS"
    hint = f"{propose(tuple(head['bounds']), expected, None, (grid,))} Say it with --crs EPSG:….".strip()
    raise SourceError(f"{request.path.name} {said}.", hint=hint)


def _extent(bounds: list[float], epsg: int) -> Box | None:
    """The box in WGS 84 degrees around a box in a grid; None where the projection cannot reach."""
    left, bottom, right, top = bounds
    along = np.linspace(0, 1, PER_EDGE)
    x, y = left + along * (right - left), bottom + along * (top - bottom)
    ring = [np.column_stack([x, np.full(PER_EDGE, edge)]) for edge in (bottom, top)]
    ring += [np.column_stack([np.full(PER_EDGE, edge), y]) for edge in (left, right)]
    lonlat = vn2000.to_wgs84(np.concatenate(ring), epsg)
    if not np.isfinite(lonlat).all() or (np.abs(lonlat) > (180, 90)).any():
        return None
    (west, south), (east, north) = lonlat.min(axis=0), lonlat.max(axis=0)
    return float(west), float(south), float(east), float(north)


def _resolution_m(head: dict[str, Any], epsg: int) -> list[float]:
    """Metres across and down of the cell in the middle."""
    a, _, x0, _, e, y0 = head["transform"]
    x, y = x0 + a * (head["width"] // 2), y0 + e * (head["height"] // 2)
    grid = vn2000.grid(epsg)
    if not grid.geographic and grid.kind != "mercator":
        return [round(abs(a), 4), round(abs(e), 4)]
    corners = vn2000.to_wgs84(np.array([[x, y], [x + a, y + e]]), epsg)
    if not np.isfinite(corners).all():
        return [0.0, 0.0]
    (east, north), shrink = np.abs(corners[1] - corners[0]), np.cos(np.radians(corners[0, 1]))
    return [round(float(east * shrink) * 111_320, 4), round(float(north) * 110_574, 4)]


# --- what the contract says -------------------------------------------------------------------------------------------


def _facts(head: dict[str, Any], coverage: Coverage, epsg: int) -> dict[str, Any]:
    names = [band.name for band in coverage.bands]
    bands = [
        {"name": name, "dtype": dtype, "nodata": nodata}
        for name, dtype, nodata in zip(names, head["dtypes"], head["nodata"], strict=False)
    ]
    a, _, _, _, e, _ = head["transform"]
    return {
        "crs": f"EPSG:{epsg}", "width": head["width"], "height": head["height"], "bounds": head["bounds"],
        "resolution": [abs(a), abs(e)], "resolution_m": _resolution_m(head, epsg), "bands": bands,
    }  # fmt: skip


def _check_header(head: dict[str, Any], facts: dict[str, Any], coverage: Coverage, findings: Findings) -> None:
    """Bands, data type, nodata and resolution."""
    if head["count"] != len(coverage.bands):
        findings.add("raster.bands", value=head["count"], limit=len(coverage.bands))
    for dtype in dict.fromkeys(head["dtypes"]):
        if dtype not in coverage.data_types:
            findings.add("raster.type", value=dtype, limit=", ".join(coverage.data_types))
    if coverage.nodata_required and any(value is None for value in head["nodata"]):
        findings.add("raster.nodata")
    least, greatest = coverage.min_resolution, coverage.max_resolution
    for size in dict.fromkeys(facts["resolution_m"]):
        if not least <= size <= greatest:
            findings.add("raster.resolution", value=size, limit=f"{least:g}–{greatest:g}")


def _check_place(
    head: dict[str, Any], used: int, box: Box | None, expected: Box, grid: int, findings: Findings
) -> None:
    """The middle of the file lies in the expected extent, or the middle of the extent in the file."""
    if box is not None and (_holds(expected, _middle(box)) or _holds(box, _middle(expected))):
        return
    findings.add("place.outside", value=1, limit=f"EPSG:{used}")
    for found in vn2000.propose_grids(tuple(head["bounds"]), expected, used, (grid,))[:3]:
        exchanged = " (--swap-axes)" if found.swapped else ""
        name = f"EPSG:{found.epsg} {vn2000.GRIDS[found.epsg].name}{exchanged}"
        distance = f"{found.distance_m / 1000:.1f} km"
        findings.add("place.proposal", value=name, limit=f"{found.inside:.0%}", other=distance)


def _check_values(facts: dict[str, Any], coverage: Coverage, findings: Findings) -> None:
    """The least and the greatest value of each band."""
    for band, found in zip(coverage.bands, facts["bands"], strict=True):
        least = -np.inf if band.minimum is None else band.minimum
        greatest = np.inf if band.maximum is None else band.maximum
        values = dict.fromkeys(value for value in (found["min"], found["max"]) if value is not None)
        for value in values:
            if not least <= value <= greatest:
                findings.add("raster.range", attribute=band.name, value=value, limit=f"{least:g}–{greatest:g}")


def _holds(box: Box, place: tuple[float, float]) -> bool:
    west, south, east, north = box
    return west <= place[0] <= east and south <= place[1] <= north


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _delivery(request: Request, sha256: str, size: int, head: dict[str, Any], used: int) -> Delivery:
    path = request.path
    return Delivery(
        file_name=path.name, sha256=sha256, size=size, driver="GTiff", layer_in_file=path.stem,
        feature_count=1, encoding="binary", crs_declared=crs.title(head["crs"]), crs_used=f"EPSG:{used}", grid=used,
        operation=vn2000.grid(used).operation, steward=request.steward,
    )  # fmt: skip


# --- the child --------------------------------------------------------------------------------------------------------


def _write(
    head: dict[str, Any], facts: dict[str, Any], coverage: Coverage, path: Path, out: Path, limits: Limits,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Have the child write the COG beside `out`, put it in place at once, and complete the facts."""
    size = head["width"] * head["height"] * sum(np.dtype(name).itemsize for name in head["dtypes"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with Scratch("raster", out.parent) as folder:
        order = {
            "action": "convert", "path": str(path), "out": str(Path(folder, "cog.tif").resolve()),
            "epsg": int(facts["crs"].removeprefix("EPSG:")), "file_size": 2 * size + ROOM,
            "bands": [{"name": band.name, "unit": band.unit} for band in coverage.bands],
        }  # fmt: skip
        found = _ask(order, path.name, limits, progress)
        Path(order["out"]).replace(out)
    facts |= {"file": str(out), "size": found["size"]}
    for band, values in zip(facts["bands"], found["bands"], strict=True):
        band |= values


def _ask(order: dict[str, Any], name: str, limits: Limits, progress: Progress | None) -> dict[str, Any]:
    """Run the child on an order and return its facts. Raises SourceError in a sentence for every other end."""
    order = {"file_size": ROOM} | order | {"memory": limits.memory, "cpu": int(limits.timeout) + 1}
    answer: dict[str, Any] = {}
    with Scratch("child") as folder, Path(folder, "stderr").open("wb") as stderr:
        # Nothing of our own environment, which may hold secrets, but where Python finds this package.
        environment = {"PYTHONPATH": str(PACKAGE_ROOT), "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
        child = subprocess.Popen(
            [sys.executable, "-m", "sdi.ingest.raster_child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=stderr, env=environment | {"PATH": os.defpath}, cwd=folder, start_new_session=True,
        )  # fmt: skip
        with _ended(child, limits.timeout) as late:
            for message in _talk(child, order):
                if "done" not in message:
                    answer = message
                elif progress is not None:
                    progress(message["done"], message["total"])
        words = last_words(Path(folder, "stderr"))
    if "facts" in answer:
        return dict(answer["facts"])
    log.debug("reading %s failed (exit %s): %s %s", name, child.returncode, answer, words)
    raise _failure(name, answer, child.returncode, words, limits.timeout if late else None)


@contextmanager
def _ended(child: subprocess.Popen[bytes], timeout: float) -> Iterator[list[bool]]:
    """Kill the child and all it started when the time (s) is over and when the block ends; says whether it was late."""
    late: list[bool] = []

    def kill() -> None:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)

    def run_out() -> None:
        late.append(True)
        kill()

    timer = threading.Timer(timeout, run_out)
    timer.start()
    try:
        yield late
        child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        late.append(True)
    finally:
        timer.cancel()
        kill()
        child.wait()


def _talk(child: subprocess.Popen[bytes], order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(order).encode())
        child.stdin.close()
    except BrokenPipeError:
        return
    with child.stdout as lines:
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # a library wrote to stdout
            if isinstance(message, dict):
                yield message


def _failure(name: str, answer: dict[str, Any], code: int | None, words: str, late: float | None) -> SourceError:
    if late is not None or code in (-signal.SIGXCPU, -signal.SIGKILL):
        return SourceError(f"Reading {name} took too long and was stopped.",
                           hint="The file may be hostile, or SDI_READ_TIMEOUT too small.")  # fmt: skip
    told = words + answer.get("detail", "")
    if answer.get("error") == "memory" or any(
        sign in told for sign in ("bad_alloc", "MemoryError", "allocate", "Out of memory")
    ):
        return SourceError(f"Reading {name} needs more memory than is allowed.",
                           hint="Have it exported in tiles, or raise SDI_READ_MEMORY.")  # fmt: skip
    return SourceError(
        f"{name} cannot be read: it is damaged or no GeoTIFF.", hint="Open it in QGIS and export it again."
    )
