"""What the audit trail costs: the same service twice over one database, with it and without it, asked in turn.

CPU seconds for each request of an agency that shows its key: of the thread that answers, which is the hot path; of the
service's whole process, with the threads that write entries and bring them into the database, until all are there; and
of PostgreSQL. Rounds are short, some dozen requests with the trail and some dozen without, so that both halves of one
find the machine as busy, and what is told is the median of their differences; of the process it is the sum, for its
threads work on while the other is asked. How memory happens to lie in a process moves an answer by some hundredths, and
is another at each start: `--starts`. Each answer is made anew, but for the cases that say that it was kept: those
cost so little without the trail that the same entry is more of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, quantiles

from asking import ask
from cases import boxes
from land import LAYER, arguments, deployment, show, write
from process import cpu, loop_cpu, server_cpu
from serve import PLACES, known, load
from servers import uvicorn, wait_for_texts

from sdi.settings import Settings
from sdi.store import cluster, engine
from sdi.store.audit import chain
from sdi.store.sharing import agencies, keys

AGENCY = "bench_agency"
TIMES = {"item": 60, "bbox 100": 32, "bbox 1000": 16, "item, kept": 120, "bbox 100, kept": 80}
"""Requests of half a round."""
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
        found: dict[str, list[Measured]] = {name: [] for name in paths}
        for kept in (0, KEPT) * asked.starts:
            served = [_served(settings, folder, audit, kept) for audit in ("off", "strict")]
            with served[0] as without, served[1] as recorded:
                for name in paths:
                    if name.endswith("kept") == bool(kept):
                        case = Case(_requests(key, paths[name]), TIMES[name], without, recorded)
                        found[name].append(_measured(asked, url, case, postmaster))
        bytes_ = _stored(url)
    show(
        f"CPU µs a request, {asked.starts} × {asked.rounds} rounds in turn; {publication.count:,} parcels, one worker",
        ["", "answering", "more", "", "starts", "half of rounds", "process", "more", "", "PostgreSQL", "more"],
        [_row(name, case) for name, case in found.items()],
    )  # fmt: skip
    for name, size in bytes_:
        print(f"{name}: {size:,.0f} bytes an entry")
    if asked.json:
        told = {name: [asdict(each) for each in starts] for name, starts in found.items()}
        asked.json.write_text(json.dumps(told), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__, 1_000_000, 50_000)
    parser.add_argument("--rounds", type=int, default=80, help="of each case, with and without in turn")
    parser.add_argument("--starts", type=int, default=1, help="of both services, of which all rounds are told")
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
        wait_for_texts(settings.model_copy(update={"data": folder / audit}))
        yield port, process.pid


@dataclass(frozen=True)
class Case:
    """What is asked, how often in half a round, and of whom: port and process."""

    requests: list[bytes]
    times: int
    without: tuple[int, int]
    recorded: tuple[int, int]


@dataclass(frozen=True)
class Measured:
    """CPU seconds a request. answering: of each round without and with. process: without and with. postgres: of both
    together, without the trail, and what brings the trail in; None: another machine's."""

    answering: list[tuple[float, float]]
    process: tuple[float, float]
    postgres: tuple[float, float] | None


def _requests(key: str, paths: list[str]) -> list[bytes]:
    shown = b64encode(f"{AGENCY}:{key}".encode()).decode()
    return [f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {shown}\r\n\r\n".encode() for path in paths]


def _measured(asked: argparse.Namespace, url: str, case: Case, postmaster: int | None) -> Measured:
    for served in (case.without, case.recorded):
        _asked(asked, case, served, len(case.requests))  # fills what is kept
    with engine.connect(url, engine.OWNER) as owner:
        _settled(owner, 0)
        head, answering = chain.head(owner).seq, []
        begun = _clocks(owner, case, postmaster)
        for number in range(asked.rounds):
            turn = slice(None, None, 1 if number % 2 else -1)
            row = [_asked(asked, case, each, case.times) for each in (case.without, case.recorded)[turn]][turn]
            answering.append((row[0], row[1]))
        _settled(owner, head + asked.rounds * case.times)
        spent = [now - then for now, then in zip(_clocks(owner, case, postmaster), begun, strict=True)]
    each = [seconds / case.times / asked.rounds for seconds in spent]
    postgres = None if postmaster is None else ((each[2] - each[3]) / 2, each[3])
    return Measured(answering, (each[0], each[1]), postgres)


def _asked(asked: argparse.Namespace, case: Case, served: tuple[int, int], times: int) -> float:
    """CPU seconds a request of the thread that answers."""
    port, pid = served
    before = loop_cpu(pid)
    if ask(port, case.requests, asked.clients, 0, times=times).errors:
        sys.exit("an answer was not a 200")
    return (loop_cpu(pid) - before) / times


def _clocks(owner: engine.Connection, case: Case, postmaster: int | None) -> list[float]:
    """CPU seconds of both processes, of the server, and of those of its processes that bring the trail in."""
    bring = [row[0] for row in owner.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'sdi-audit'")]
    server = [0.0, 0.0] if postmaster is None else [server_cpu(postmaster) or 0.0, cpu(bring)]
    return [cpu([case.without[1]]), cpu([case.recorded[1]]), *server]


def _settled(owner: engine.Connection, head: int) -> None:
    """Wait until the trail is so long, and longer no more."""
    last = -1
    while (now := chain.head(owner).seq) < head or now != last:
        last = now
        time.sleep(1.0)


def _row(name: str, starts: list[Measured]) -> list[str]:
    rounds = [each for start in starts for each in start.answering]
    without = median(each[0] for each in rounds)
    low, more, high = quantiles((each[1] - each[0] for each in rounds), n=4)
    apart = sorted(_more(start.answering) for start in starts)
    process = [mean(start.process[each] for start in starts) for each in (0, 1)]
    postgres = [mean(start.postgres[each] if start.postgres else 0.0 for start in starts) for each in (0, 1)]
    return [
        name, f"{without * 1e6:.0f}", f"{more * 1e6:+.0f}", f"{more / without:+.1%}",
        f"{apart[0]:+.1%} to {apart[-1]:+.1%}", f"{low / without:+.0%} to {high / without:+.0%}",
        f"{process[0] * 1e6:.0f}", f"{(process[1] - process[0]) * 1e6:+.0f}", f"{process[1] / process[0] - 1:+.1%}",
        f"{postgres[0] * 1e6:.0f}", f"{postgres[1] * 1e6:+.0f}",
    ]  # fmt: skip


def _more(rounds: list[tuple[float, float]]) -> float:
    return median(each[1] - each[0] for each in rounds) / median(each[0] for each in rounds)


def _stored(url: str) -> list[tuple[str, float]]:
    with engine.connect(url, engine.OWNER) as owner:
        return [(str(row[0]), float(row[1])) for row in owner.execute(
            "SELECT CASE WHEN ids IS NULL THEN 'page of more' ELSE 'item, page of up to 100' END,"
            " avg(pg_column_size(e.*)) FROM sdi_audit.entry e WHERE agency = %s AND action IN ('item', 'items')"
            " GROUP BY 1 ORDER BY 1", [AGENCY])]  # fmt: skip


if __name__ == "__main__":
    main()
