"""What GDAL takes to read our FlatGeobuf beside our GeoJSON: a page of 10,000, and the whole layer as a file.

Both are fetched first, and read from the disk in turn: what is compared is the formats, not the network. By rows in
NumPy and in Arrow batches by pyogrio, and feature by feature as GDAL's programs do it, by Debian's own binding, where
that is installed.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

import pyogrio
from land import LAYER, arguments, deployment, show, write
from readers import SYSTEM_PYTHON
from serve import MOST, load
from servers import ours

ROUNDS = 7
FORMATS = ("json", "fgb")
FEATURES = """
import sys, time
from osgeo import gdal
began = time.process_time()
source = gdal.OpenEx(sys.argv[1])
layer = source.GetLayer(0)
while layer.GetNextFeature() is not None:
    pass
print(time.process_time() - began)
"""


def main() -> None:
    asked = arguments(__doc__, MOST).parse_args()
    with deployment(asked.server) as (settings, registry, folder):
        load(settings, registry, write(folder, asked.parcels))
        with ours(settings, 1) as service:
            rows = [
                row(f"{what}, {way}", service.port, folder, address, seconds)
                for what, address in (("page of 10,000", "items?limit=10000&f={}"), ("whole layer", "export?f={}"))
                for way, seconds in ways().items()
            ]
        headings = ["what", "GeoJSON, CPU s", "FlatGeobuf, CPU s", "times as fast", "GeoJSON, MB", "FlatGeobuf, MB"]
        show(f"GDAL {pyogrio.__gdal_version_string__} reads, {asked.parcels:,} parcels", headings, rows)


def ways() -> dict[str, Callable[[Path], float]]:
    """How a file is read; each gives the CPU seconds that it took."""
    found: dict[str, Callable[[Path], float]] = {
        "by rows, pyogrio": lambda path: spent(pyogrio.raw.read, path),
        "by Arrow, pyogrio": lambda path: spent(pyogrio.read_arrow, path),
    }
    if not subprocess.run([SYSTEM_PYTHON, "-c", "import osgeo"], capture_output=True).returncode:
        found["by features, GDAL"] = by_features
    return found


def spent(read: Callable[[Path], object], path: Path) -> float:
    began = time.process_time()
    read(path)
    return time.process_time() - began


def by_features(path: Path) -> float:
    command = ["env", "-u", "PYTHONPATH", SYSTEM_PYTHON, "-c", FEATURES, str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def row(what: str, port: int, folder: Path, address: str, seconds: Callable[[Path], float]) -> list[str]:
    paths = {each: folder / f"read.{'geojson' if each == 'json' else each}" for each in FORMATS}
    for each, path in paths.items():
        path.write_bytes(fetched(port, f"/collections/{LAYER}/{address.format(each)}"))
    taken: dict[str, list[float]] = {each: [] for each in FORMATS}
    for _ in range(ROUNDS):
        for each, path in paths.items():
            taken[each].append(seconds(path))
    json, fgb = (median(taken[each]) for each in FORMATS)
    sizes = [f"{paths[each].stat().st_size / 1e6:.1f}" for each in FORMATS]
    return [what, f"{json:.3f}", f"{fgb:.3f}", f"{json / fgb:.1f}", *sizes]


def fetched(port: int, address: str) -> bytes:
    """The body; a file that is being made is asked for again."""
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=600)
        connection.request("GET", address)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status == 200:
            return body
        if answer.status != 503 or "Retry-After" not in answer.headers:
            raise SystemExit(f"{address}: {answer.status}")
        time.sleep(1)


if __name__ == "__main__":
    main()
