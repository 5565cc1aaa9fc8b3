"""What the audit trail costs: the same service twice over one database, with it and without it, asked in turn.

CPU seconds of the thread that answers, which is the hot path; of the service's whole process, with the threads that
bring entries into the database; and of PostgreSQL, for each request of an agency that shows its key. A round ends when
everything it left is in the database. Each answer is made anew, but for the cases that say that it was kept: those cost
so little without the trail that the same entry is more of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from asking import ask
from cases import boxes
from land import LAYER, arguments, deployment, show, write
from process import cpu, loop_cpu, server_cpu
from serve import PLACES, known, load
from servers import uvicorn

from sdi.settings import Settings
from sdi.store import cluster, engine
from sdi.store.audit import chain
from sdi.store.sharing import agencies, keys

AGENCY = "bench_agency"
TIMES = {"item": 1500, "bbox 100": 800, "bbox 1000": 300, "item, kept": 3000, "bbox 100, kept": 1500}
"""Requests of a measurement."""
KEPT = 64
"""Megabytes of answers that a worker keeps where they are kept: more than all of them have."""


def main() -> None:
    asked = _arguments()
    with deployment(asked.server) as (settings, registry, folder):
        publication = load(settings, registry, write(folder, asked.parcels))
        url = engine.database_url(settings)
        with engine.connect(url, engine.OWNER) as owner:
            agencies.add(owner, AGENCY, "department", "Sở Đo", "Department of Measures")
            key = keys.make_key(owner, AGENCY)
        ids, _ = known(settings, registry[LAYER], publication)
        paths = {"item": [f"/collections/{LAYER}/items/{name}" for name in ids]}
        for count in (100, 1000):
            paths[f"bbox {count}"] = [_box(box, count) for box in boxes(publication, count)[:PLACES]]
        postmaster = None if asked.server else cluster.status(folder / "cluster").pid
        paths |= {f"{name}, kept": paths[name] for name in ("item", "bbox 100")}
        found = {}
        for kept in (0, KEPT):
            served = [_served(settings, folder, audit, kept) for audit in ("off", "strict")]
            with served[0] as without, served[1] as recorded:
                found |= {name: _rounds(asked, url, key, paths[name], TIMES[name], without, recorded, postmaster)
                          for name in paths if name.endswith("kept") == bool(kept)}  # fmt: skip
        bytes_ = _stored(url)
    show(
        f"CPU ms a request, median of {asked.rounds} rounds in turn; {publication.count:,} parcels, one worker",
        ["", "answering", "with", "µs", "more", "process", "with", "µs", "more", "PostgreSQL", "with"],
        [_row(name, rounds) for name, rounds in found.items()],
    )  # fmt: skip
    for name, size in bytes_:
        print(f"{name}: {size:,.0f} bytes an entry")
    if asked.json:
        asked.json.write_text(json.dumps(found), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__, 1_000_000, 50_000)
    parser.add_argument("--rounds", type=int, default=7, help="of each case, with and without in turn")
    parser.add_argument("--clients", type=int, default=4, help="that ask at a time")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args()


def _box(box: dict[str, float], count: int) -> str:
    place = ",".join(f"{box[name]:.7f}" for name in "wsen")
    return f"/collections/{LAYER}/items?bbox={place}&limit={count * 2}"


@contextmanager
def _served(settings: Settings, folder: Path, audit: str, kept: int) -> Iterator[tuple[int, int]]:
    """Port and process of a service with one worker."""
    environment = {"SDI_DATABASE_URL": engine.database_url(settings), "SDI_DATA": str(folder / audit),
                   "SDI_AUDIT": audit, "SDI_KEPT_ANSWERS": str(kept)}  # fmt: skip
    with uvicorn("sdi.service.app:from_environment", environment, 1, "--factory") as (port, process):
        yield port, process.pid


def _rounds(
    asked: argparse.Namespace, url: str, key: str, paths: list[str], times: int, without: tuple[int, int],
    recorded: tuple[int, int], postmaster: int | None,
) -> list[list[float]]:  # fmt: skip
    """Of each round: CPU seconds a request of the thread that answers, of the service and of PostgreSQL, without and
    with."""
    shown = b64encode(f"{AGENCY}:{key}".encode()).decode()
    requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {shown}\r\n\r\n".encode() for path in paths]
    found = []
    for number in range(asked.rounds + 1):
        row: list[float] = []
        for port, pid in (without, recorded) if number % 2 else (recorded, without):
            with engine.connect(url, engine.OWNER) as owner:
                before = chain.head(owner).seq
            begun = _clocks(pid, postmaster)
            if ask(port, requests, asked.clients, 0, times=times).errors:
                sys.exit("an answer was not a 200")
            if pid == recorded[1]:
                _settled(url, before + times)
            row += [(now - then) / times for now, then in zip(_clocks(pid, postmaster), begun, strict=True)]
        found.append(row if number % 2 else [*row[3:], *row[:3]])
    return found[1:]  # the first fills what is kept


def _clocks(pid: int, postmaster: int | None) -> tuple[float, float, float]:
    return loop_cpu(pid), cpu([pid]), server_cpu(postmaster) or 0.0


def _settled(url: str, head: int) -> None:
    with engine.connect(url, engine.OWNER) as owner:
        while chain.head(owner).seq < head:
            time.sleep(0.1)


def _row(name: str, rounds: list[list[float]]) -> list[str]:
    columns = [median(column) for column in zip(*rounds, strict=True)]
    told = [name]
    for at in (0, 1):
        more = median(each[at + 3] - each[at] for each in rounds)
        told += [f"{columns[at] * 1e3:.3f}", f"{columns[at + 3] * 1e3:.3f}", f"{more * 1e6:.0f}",
                 f"{more / columns[at]:+.1%}"]  # fmt: skip
    return [*told, f"{columns[2] * 1e3:.3f}", f"{columns[5] * 1e3:.3f}"]


def _stored(url: str) -> list[tuple[str, float]]:
    with engine.connect(url, engine.OWNER) as owner:
        return [(str(row[0]), float(row[1])) for row in owner.execute(
            "SELECT CASE WHEN ids IS NULL THEN 'page of more' ELSE 'item, page of up to 100' END,"
            " avg(pg_column_size(e.*)) FROM sdi_audit.entry e WHERE agency = %s AND action IN ('item', 'items')"
            " GROUP BY 1 ORDER BY 1", [AGENCY])]  # fmt: skip


if __name__ == "__main__":
    main()
