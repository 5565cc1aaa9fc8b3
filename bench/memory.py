"""The memory of one worker under the settings as they come, step by step until all that it keeps is full.

Rss is all that the kernel counts for the process, of it Anonymous what is no file's pages; libraries' pages are shared
between the workers of a machine, and counted for each of them. Three who ask (the public and two agencies with rules of
their own), 8 clients at a time. Tiles of a small city do not fill their place: what is missing are bytes of a tile's
size, so much is told.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from asking import ask
from cases import ZOOMS, boxes, get, tiles
from land import LAYER, arguments, deployment, show, write
from serve import load
from servers import uvicorn
from sharing import _enter, _given

from sdi.contract.layer import Layer
from sdi.store import engine
from sdi.store.ledger import Publication

FULL = 0.9
"""Share of a memory from which on it is full; its fullest moment counts, whatever it let go of since."""
CLIENTS = 8
_SIZES = re.compile(r"^(Rss|Pss|Anonymous):\s+(\d+) kB", re.MULTILINE)


def main() -> None:
    parser = arguments(__doc__, 1_000_000, 50_000)
    parser.add_argument("--json", type=Path, help="file for all figures")
    asked = parser.parse_args()
    with deployment(asked.server) as (settings, registry, folder):
        publication = load(settings, registry, write(folder, asked.parcels))
        given = _given(registry[LAYER], publication)
        with engine.connect(engine.database_url(settings), engine.OWNER) as owner:
            keys = {name: _enter(owner, registry, name, given[name]) for name in ("everything", "fields_here")}
        who = [""] + [
            f"Authorization: Basic {b64encode(f'{a}:{key}'.encode()).decode()}\r\n" for a, key in keys.items()
        ]
        environment = {"SDI_DATABASE_URL": engine.database_url(settings), "SDI_DATA": str(settings.data)}
        more = ("--factory", "--app-dir", str(Path(__file__).parent))
        with uvicorn("kept:application", environment, 1, *more) as (port, process):
            steps = list(filled(port, process.pid, registry[LAYER], publication, who))
            kept = json.loads(get(port, "/kept")[1])
    rows = [[step, *(f"{found[name]:,.0f}" for name in ("Rss", "Anonymous", "Pss", "peak"))] for step, found in steps]
    show(f"MiB of a worker; {publication.count:,} parcels", ["after", "Rss", "Anonymous", "Pss", "most Rss"], rows)
    print({name: f"{size / 2**20:.1f} of {room / 2**20:.0f} MiB" for name, (size, room) in kept.items()})
    if asked.json:
        asked.json.write_text(json.dumps({"steps": dict(steps), "kept": kept}), encoding="utf-8")


def filled(
    port: int, pid: int, layer: Layer, publication: Publication, who: list[str]
) -> Iterator[tuple[str, dict[str, float]]]:  # fmt: skip
    """What each step leaves."""
    path = f"/collections/{LAYER}"
    yield "the start", sizes(pid)
    documents = ["/", "/conformance", "/collections", path, f"{path}/schema", f"{path}/queryables", f"{path}/sortables"]
    documents += ["/openapi", "/collections/data-catalogue/items", "/statistics", "/styles/default", "/tiles"]
    several(port, [f"{each}?f=json" for each in documents[:9]] + documents[9:], who)
    yield "documents of three who ask", sizes(pid)
    several(
        port, [f"{each}?f=html" for each in documents[:8]] + [f"{path}/items?f=html&offset={n}" for n in range(20)], who
    )
    yield "pages for people", sizes(pid)
    places = [",".join(repr(box[side]) for side in "wsen") for box in boxes(publication, 100)]
    every = several(port, [f"{path}/items?bbox={place}&limit=1000" for place in places], who)
    yield f"{every} boxes of 100", sizes(pid)
    every = several(port, islice(pages(port, path, layer, publication.count), 2000), who[:1], until="texts")
    yield f"{every} pages of 1,000", sizes(pid)
    found = [
        f"{path}/tiles/WebMercatorQuad/{t['z']}/{t['y']}/{t['x']}"
        for zoom in (*ZOOMS, 15, 17, 18)
        for t in tiles(publication, zoom)
    ]
    every = several(port, found, who)
    here = json.loads(get(port, "/kept")[1])["tiles"][0]
    get(port, "/kept?tiles=full")
    yield f"{every} tiles, {here / 2**20:.1f} MiB, and as many bytes as there is room for", sizes(pid)
    several(port, [f"{path}/items?limit=10000"] * CLIENTS, who[:1])
    several(port, [f"{path}/items?bbox={place}&limit=1000" for place in places], who)
    yield f"{CLIENTS} pages of 10,000 at once, and the boxes again", sizes(pid)


def several(port: int, paths: Any, who: list[str], until: str = "") -> int:
    """Ask each for each, 8 at a time; `until` a memory is full. How many were asked for."""
    count = 0
    rest = iter([(path, head) for path in paths for head in who])
    while part := list(islice(rest, 40)):
        requests = [
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n{head}\r\n".encode() for path, head in part
        ]
        answered = ask(port, requests, min(CLIENTS, len(requests)), 0, times=len(requests), statuses=(200, 204))
        if answered.errors or answered.abandoned:
            sys.exit(f"an answer was no 200: {part}")
        count += len(requests)
        if until:
            size, room = json.loads(get(port, "/kept")[1])[until]
            if size >= FULL * room:
                break
    return count


def pages(port: int, path: str, layer: Layer, count: int) -> Iterator[str]:
    """Pages of 1,000 whose features are written otherwise than before."""
    schema = json.loads(get(port, f"{path}/schema?f=json")[1])
    names = [name for name in schema["properties"] if name in {each.name for each in layer.stored}]
    for without in cycle(range(len(names))):
        chosen = ",".join(names[:without] + names[without + 1 :])
        for offset in range(0, count, 1000):
            yield f"{path}/items?limit=1000&properties={chosen}&offset={offset}"


def sizes(pid: int) -> dict[str, float]:
    """MiB of a process."""
    found = {name: int(size) / 1024 for name, size in _SIZES.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())}
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert peak is not None
    return {**found, "peak": int(peak[1]) / 1024}


if __name__ == "__main__":
    main()
