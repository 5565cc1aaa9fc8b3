"""What GDAL takes to read our FlatGeobuf beside our GeoJSON: a page of 10,000, and the whole layer as a file.

Both are fetched first, and read from the disk in turn: what is compared is the formats, not the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

import pyogrio
from land import LAYER, arguments, deployment, show, write
from serve import MOST, load
from servers import ours

ROUNDS = 7
FORMATS = ("json", "fgb")
WAYS: dict[str, Callable[[Path], object]] = {"by rows": pyogrio.raw.read, "by Arrow": pyogrio.read_arrow}


def main() -> None:
    asked = arguments(__doc__, MOST).parse_args()
    with deployment(asked.server) as (settings, registry, folder):
        load(settings, registry, write(folder, asked.parcels))
        with ours(settings, 1) as service:
            rows = [
                row(f"{what}, {way}", service.port, folder, address, read)
                for what, address in (("page of 10,000", "items?limit=10000&f={}"), ("whole layer", "export?f={}"))
                for way, read in WAYS.items()
            ]
        headings = ["what", "GeoJSON, CPU s", "FlatGeobuf, CPU s", "times as fast", "GeoJSON, MB", "FlatGeobuf, MB"]
        show(f"GDAL {pyogrio.__gdal_version_string__} reads, {asked.parcels:,} parcels", headings, rows)


def row(what: str, port: int, folder: Path, address: str, read: Callable[[Path], object]) -> list[str]:
    paths = {each: folder / f"read.{'geojson' if each == 'json' else each}" for each in FORMATS}
    for each, path in paths.items():
        path.write_bytes(fetched(port, f"/collections/{LAYER}/{address.format(each)}"))
    spent: dict[str, list[float]] = {each: [] for each in FORMATS}
    for _ in range(ROUNDS):
        for each, path in paths.items():
            began = time.process_time()
            read(path)
            spent[each].append(time.process_time() - began)
    json, fgb = (median(spent[each]) for each in FORMATS)
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
