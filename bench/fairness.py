"""What one key at full speed does to the others: small boxes of the public beside slow filters of an agency.

The same deployment twice, with turns and shares as they are and with shares that hold nobody back; in each the others
are asked in turn while nobody else asks and while the agency does, as many rounds. An agency's burst is spent before
anything is timed. A box's seconds are from its request to its last byte, of all rounds together.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median, quantiles
from time import sleep
from urllib.parse import quote

from asking import Asked, ask, request
from cases import boxes
from land import LAYER, arguments, deployment, show, write
from serve import load
from servers import uvicorn

from sdi.settings import Settings
from sdi.store import engine
from sdi.store.sharing import agencies, keys

WORKERS, OTHERS, GREEDY = 2, 1, 16
"""Processes of the service; connections of the public; connections of the one key."""
AGENCY = "bench"
HEADINGS = ("", "median", "p95", "p99", "boxes/s", "p95 beside quiet", "filters/s", "refused")
SHARES = {"share 1: places alone": "1", "share 0.05, as it comes": "0.05"}


def main() -> None:
    parser = arguments(__doc__, most=1_000_000, usual=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--spend", type=float, default=60.0, help="seconds in which the burst is spent")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    rows: list[list[str]] = []
    figures: dict[str, dict[str, float]] = {}
    with deployment(asked.server) as (settings, registry, folder):
        publication = load(settings, registry, write(folder, asked.parcels))
        with engine.connect(engine.database_url(settings)) as connection:
            agencies.add(connection, AGENCY, "department", "Sở thử", "A department")
            key = keys.make_key(connection, AGENCY)
        corners = [",".join(repr(box[side]) for side in "wsen") for box in boxes(publication, 100)]
        small = [told(f"/collections/{LAYER}/items?f=json&limit=1000&bbox={each}") for each in corners]
        for name, share in SHARES.items():
            quiet, crowded, greedy = rounds(settings, share, small, filters(key), asked)
            rows += shown(name, quiet, crowded, greedy, figures)
    show(f"One key at full speed, {asked.parcels:,} parcels, {WORKERS} workers; milliseconds", HEADINGS, rows)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def told(path: str, *fields: str) -> bytes:
    """A GET of another host behind a proxy, or with a key."""
    lines = fields or ("X-Forwarded-For: 198.51.100.7",)
    return request(path).replace(b"\r\n\r\n", ("\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())


def filters(key: str) -> list[bytes]:
    """Each looks at every parcel and finds few; none is asked twice, so none is kept."""
    texts = [f"CASEI(ACCENTI(parcel_key)) LIKE '%{number}%khong%co%'" for number in range(2000)]
    path = f"/collections/{LAYER}/items?f=json&limit=10&filter="
    return [told(path + quote(text), f"Authorization: Bearer {key}") for text in texts]


def rounds(settings: Settings, share: str, small: list[bytes], slow: list[bytes], asked) -> tuple[Asked, Asked, Asked]:  # type: ignore[no-untyped-def]
    """What the others saw alone and beside the key, and what the key saw."""
    environment = {
        "SDI_DATABASE_URL": engine.database_url(settings), "SDI_DATA": str(settings.data), "SDI_SLOW_SHARE": share,
        "SDI_TRUSTED_PROXIES": "127.0.0.1",
    }  # fmt: skip
    quiet, crowded, greedy = Asked(), Asked(), Asked()
    with uvicorn("sdi.service.app:from_environment", environment, WORKERS, "--factory", "--no-proxy-headers") as (
        port,
        _,
    ):
        ask(port, small, OTHERS, asked.seconds)
        with at_full_speed(port, slow) as _:
            ask(port, small, OTHERS, asked.spend)
        for _ in range(asked.rounds):
            add(quiet, ask(port, small, OTHERS, asked.seconds))
            with at_full_speed(port, slow) as seen:
                sleep(1.0)
                add(crowded, ask(port, small, OTHERS, asked.seconds))
            add(greedy, *seen)
    return quiet, crowded, greedy


@contextmanager
def at_full_speed(port: int, slow: list[bytes]) -> Iterator[list[Asked]]:
    """The key's client, in a process of its own; what it saw is there when the block has ended."""
    context = get_context("fork")
    ends, sent = context.Event(), context.SimpleQueue()
    process = context.Process(target=_press, args=(port, slow, ends, sent), daemon=True)
    process.start()
    seen: list[Asked] = []
    try:
        yield seen
    finally:
        ends.set()
        seen.append(sent.get())
        process.join()


def _press(port: int, slow: list[bytes], ends: Event, sent) -> None:  # type: ignore[no-untyped-def]
    whole, turn = Asked(), 0
    while not ends.is_set():
        add(whole, ask(port, slow[turn % len(slow) :], GREEDY, 0.5))
        turn += 101
    sent.put(whole)


def add(whole: Asked, *parts: Asked) -> None:
    for part in parts:
        whole.taken += part.taken
        whole.errors += part.errors
        whole.lasted += part.lasted


def shown(
    name: str, quiet: Asked, crowded: Asked, greedy: Asked, figures: dict[str, dict[str, float]]
) -> Iterator[list[str]]:
    alone = p95(quiet)
    for title, seen, other in ((f"{name}: nobody else", quiet, None), (f"{name}: beside the key", crowded, greedy)):
        figure = {
            "median": median(seen.taken) * 1000, "p95": p95(seen) * 1000,
            "p99": quantiles(seen.taken, n=100)[98] * 1000, "rate": len(seen.taken) / seen.lasted,
            "moved": p95(seen) / alone, "errors": seen.errors,
        }  # fmt: skip
        figures[title] = figure
        beside = [f"{len(other.taken) / other.lasted:.1f}", str(other.errors)] if other else ["", ""]
        times = [f"{figure[name]:.1f}" for name in ("median", "p95", "p99")]
        yield [title, *times, f"{figure['rate']:.0f}", f"{figure['moved']:.2f}", *beside]


def p95(seen: Asked) -> float:
    return quantiles(seen.taken, n=20)[18]


if __name__ == "__main__":
    main()
