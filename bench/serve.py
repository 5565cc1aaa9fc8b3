"""GeoJSON items by bbox: our route beside its own SQL (the floor) and stock pygeoapi's PostgreSQL provider.

One client, one worker process each, the same table and boxes, asked in turn, the whole body read. The floor is the SQL
of our page and of its numberMatched, executed through psycopg.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from land import LAYER, arguments, deployment, show, write
from servers import ours, stock

from sdi.access import PUBLIC
from sdi.contract.delivery import Request
from sdi.contract.registry import Registry
from sdi.ingest.deliver import receive
from sdi.service.parameters import question
from sdi.settings import Settings
from sdi.store import engine, features, ledger, loader
from sdi.store.engine import Connection
from sdi.store.ledger import Publication

MOST = 1_000_000
ROUNDS = {10: 60, 1000: 30, 10_000: 9}
"""Limit, and how often it is asked."""
Box = tuple[float, float, float, float]


@dataclass
class Contender:
    """`ask` is timed; `judge` gives (numberMatched, numberReturned) and the bytes of what `ask` brought."""

    name: str
    ask: Callable[[Box, int], Any]
    judge: Callable[[Any], tuple[int, int, int]]
    seconds: dict[int, list[float]] = field(default_factory=lambda: {limit: [] for limit in ROUNDS})
    size: dict[int, int] = field(default_factory=dict)

    def middle(self, limit: int) -> float:
        return median(self.seconds[limit])


def main() -> None:
    asked = arguments(__doc__, MOST).parse_args()
    with deployment(asked.server) as (settings, registry, folder):
        publication = load(settings, registry, write(folder, asked.parcels))
        layer = registry[LAYER]
        with (
            ours(settings) as port,
            stock(settings, layer, max(ROUNDS), folder) as other,
            engine.connect(engine.database_url(settings), engine.READER) as connection,
        ):
            contenders = [floor(connection, settings, registry, publication), over_http("sdi", port)]
            contenders += [over_http("pygeoapi", other)] if other is not None else []
            for limit in ROUNDS:
                measure(contenders, limit, boxes(publication, limit))
    headings = ["limit", *(f"{each.name} ms" for each in contenders), *ratios(contenders),
                *(f"{each.name} kB" for each in contenders)]  # fmt: skip
    show(f"Items by bbox of {asked.parcels:,} parcels, medians", headings, [row(contenders, n) for n in ROUNDS])
    if len(contenders) < 3:
        print("pygeoapi is left out: its PostgreSQL provider needs psycopg2, which is not installed.")


def load(settings: Settings, registry: Registry, path: Path) -> Publication:
    layer = registry[LAYER]
    received = receive(Request(path, steward="bench"), layer, registry, grid=settings.grid)
    with engine.connect(engine.database_url(settings), engine.LOADER) as connection:
        with connection.transaction():
            loader.load(connection, layer, registry, received.features, None, received.delivery, received.report)
        connection.execute("VACUUM ANALYZE")
        return ledger.published(connection)[LAYER]


def boxes(publication: Publication, limit: int) -> list[Box]:
    """Boxes that hold about twice as many parcels as are asked for, as far as there are so many."""
    assert publication.extent is not None
    west, south, east, north = publication.extent
    share = min(0.95, (2 * limit / publication.count) ** 0.5)
    dx, dy = (east - west) * share, (north - south) * share
    chance = np.random.default_rng(limit)
    starts = chance.uniform((west, south), (east - dx, north - dy), (ROUNDS[limit] + 1, 2)).tolist()
    return [(x, y, x + dx, y + dy) for x, y in starts]


def measure(contenders: Sequence[Contender], limit: int, places: Sequence[Box]) -> None:
    """Each box is asked of everybody, in changing order. The first box warms caches and connections."""
    for turn, box in enumerate(places):
        answers = set()
        for shift in range(len(contenders)):
            each = contenders[(turn + shift) % len(contenders)]
            begun = time.perf_counter()
            brought = each.ask(box, limit)
            taken = time.perf_counter() - begun
            matched, returned, each.size[limit] = each.judge(brought)
            answers.add((matched, returned))
            if turn:
                each.seconds[limit].append(taken)
        if len(answers) != 1:
            sys.exit(f"They do not agree about {box}: {answers}")


def floor(connection: Connection, settings: Settings, registry: Registry, publication: Publication) -> Contender:
    layer = registry[LAYER]

    def ask(box: Box, limit: int) -> tuple[int, list[Any]]:
        parameters = {"bbox": ",".join(map(repr, box)), "limit": str(limit)}
        query = question(layer, publication, PUBLIC, settings, parameters).query
        page, count = features.select_geojson(layer, query), features.select_count(layer, query)
        ((matched,),) = connection.execute(count.sql, count.params).fetchall()
        return matched, connection.execute(page.sql, page.params).fetchall()

    def judge(brought: tuple[int, list[Any]]) -> tuple[int, int, int]:
        matched, rows = brought
        return matched, len(rows), sum(len(text.encode()) for (text,) in rows)

    return Contender("floor", ask, judge)


def over_http(name: str, port: int) -> Contender:
    connection = HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(box: Box, limit: int) -> tuple[int, bytes]:
        connection.request("GET", f"/collections/{LAYER}/items?f=json&bbox={','.join(map(repr, box))}&limit={limit}")
        answer = connection.getresponse()
        return answer.status, answer.read()

    def judge(brought: tuple[int, bytes]) -> tuple[int, int, int]:
        status, body = brought
        if status != 200:
            sys.exit(f"{name} answered {status}: {body[:300]!r}")
        page = json.loads(body)
        return page["numberMatched"], page["numberReturned"], len(body)

    return Contender(name, ask, judge)


def ratios(contenders: Sequence[Contender]) -> list[str]:
    against = [f"{each.name} / floor" for each in contenders[1:]]
    return against + ["pygeoapi / sdi"] * (len(contenders) > 2)


def row(contenders: Sequence[Contender], limit: int) -> list[str]:
    middle = [each.middle(limit) for each in contenders]
    against = [each / middle[0] for each in middle[1:]] + [middle[-1] / middle[1]] * (len(middle) > 2)
    return [
        f"{limit:,}", *(f"{each * 1000:.1f}" for each in middle), *(f"{each:.2f}" for each in against),
        *(f"{each.size[limit] / 1000:,.0f}" for each in contenders),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
