"""How long a delivery takes: read and check, the first load, the same again, one in a hundred changed; beside a floor.

The floor is the same rows in PostgreSQL's own COPY text, into a table without keys and indexes and with them.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import psycopg
from land import LAYER, arguments, deployment, show, write
from psycopg import sql

from sdi.contract.delivery import Request
from sdi.contract.registry import Registry
from sdi.ingest.deliver import Received, receive
from sdi.settings import Settings
from sdi.store import derived, engine, ledger, loader

MOST = 2_000_000
Row = tuple[str, float, int]
"""What was done, seconds, features."""


def main() -> None:
    asked = arguments(__doc__, MOST).parse_args()
    rows: list[Row] = []
    with deployment(asked.server) as (settings, registry, folder):
        first = timed_receive("read and check", write(folder, asked.parcels), settings, registry, rows)
        load("load: first", first, settings, registry, rows)
        load("load: the same again", first, settings, registry, rows)
        changed = timed_receive("read and check", write(folder, asked.parcels, 0.01), settings, registry, rows)
        load("load: 1 % changed", changed, settings, registry, rows)
        floor(settings, registry, rows)
    least = min(seconds for what, seconds, _ in rows if what.startswith("floor"))
    show(
        f"Ingest of {asked.parcels:,} parcels",
        ("", "s", "features/s", "× bare COPY"),
        [(what, f"{s:.2f}", f"{count / s:,.0f}", f"{s / least:.1f}") for what, s, count in rows],
    )


def timed_receive(what: str, path: Path, settings: Settings, registry: Registry, rows: list[Row]) -> Received:
    begun = perf_counter()
    received = receive(Request(path, steward="bench"), registry[LAYER], registry, grid=settings.grid)
    rows.append((what, perf_counter() - begun, received.report.kept))
    assert not received.report.refused
    assert received.report.quarantined == 0
    return received


def load(what: str, received: Received, settings: Settings, registry: Registry, rows: list[Row]) -> None:
    """As sdi.pipeline does: one transaction for the layer and what is derived of it."""
    count = received.report.kept
    layer = registry[LAYER]
    with (
        engine.connect(engine.database_url(settings), engine.LOADER) as connection,
        ledger.recorded(connection, layer, received.delivery) as load_id,
        connection.transaction(),
    ):
        begun = perf_counter()
        loaded = loader.load(
            connection, layer, registry, received.features(), received.quarantined(), received.delivery,
            received.report, load_id=load_id,
        )  # fmt: skip
        middle = perf_counter()
        made = derived.refresh(connection, registry, load_id)
        ended = perf_counter()
    rows.append((f"{what} ({loaded.written:,} written)", middle - begun, count))
    written = sum(each.written for each in made)
    rows.append((f"  then derived layers ({written:,} written)", ended - middle, count))


def floor(settings: Settings, registry: Registry, rows: list[Row]) -> None:
    table = sql.Identifier(*registry[LAYER].table)
    with psycopg.connect(engine.database_url(settings), autocommit=True) as connection:
        with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(table)) as out:
            lines = [bytes(line) for line in out]
        for what, including in (("floor: COPY, bare table", ""), ("floor: COPY, keys and indexes", "INCLUDING ALL")):
            connection.execute(sql.SQL("CREATE TABLE floor (LIKE {} {})").format(table, sql.SQL(including)))
            begun = perf_counter()
            with connection.cursor().copy("COPY floor FROM STDIN") as into:
                for line in lines:
                    into.write(line)
            rows.append((what, perf_counter() - begun, len(lines)))
            connection.execute("DROP TABLE floor")


if __name__ == "__main__":
    main()
