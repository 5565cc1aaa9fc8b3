"""Paging to the end of a very large layer: what a page costs at the beginning, in the middle and at the end.

A thousand delivered parcels are copied by SQL under other ids and numbers, each as its rectangle, for it is paging that
is looked at; everything else is the service as it runs, asked by HTTP with cursors such as its `next` links have. The
first page, one in the middle and the last are asked for in turn, and medians compared. Beside them stand the CPU time
and, from the plan, the buffers that a page touches, which no other work on the machine changes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from asking import Asked, ask, request
from cases import get
from land import LAYER, deployment, write
from process import cpu
from psycopg import sql
from serve import load
from servers import ours
from shown import table

from sdi.access import PUBLIC
from sdi.contract.layer import Layer
from sdi.contract.query import Position
from sdi.contract.registry import Registry
from sdi.service.cursors import Cursor, Cursors
from sdi.service.parameters import question
from sdi.settings import Settings
from sdi.store import cluster, delta, engine, features, ledger
from sdi.store import order as ordering
from sdi.store.ledger import Publication

ORDERS = ("", "sheet_number", "-parcel_key")
"""`sortby`: the layer's own order; an attribute with many ties; one without, from the end."""
SEED = 1000
"""Parcels that are delivered and then copied."""
PAGE = 1000
SHARES = {"first": 0.0, "middle": 0.5, "last": 1.0}
CHANGED = {
    "id": "id || '.' || copy",
    "parcel_key": "parcel_key || '.' || copy",
    "sheet_number": "(copy * 7919 % 20011)::text",
    "geom": "ST_Multi(ST_Envelope(geom))",
    "geom_wgs84": "ST_Multi(ST_Envelope(geom_wgs84))",
}


@dataclass
class Page:
    """A page of an order: how many features lie before it, its address and its plan's buffers."""

    behind: int
    path: str
    buffers: int
    nodes: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=15, help="times that each page is asked for")
    parser.add_argument("--server", help="postgresql://… of a superuser; left out: an embedded cluster")
    parser.add_argument("--markdown", type=Path, help="file for the table; it is printed too")
    parser.add_argument("--json", type=Path, help="file for its lines")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with deployment(asked.server) as (settings, registry, folder):
        begun = perf_counter()
        load(settings, registry, write(folder, SEED))
        publication = copy(settings, registry, asked.rows // SEED - 1)
        print(f"{publication.count:,} rows after {perf_counter() - begun:.0f} s", file=sys.stderr)
        postmaster = None if asked.server else cluster.status(folder / "cluster").pid
        lines = []
        with ours(settings, workers=1) as service:
            for order in ORDERS:
                pages = pages_of(settings, registry[LAYER], publication, order)
                lines += list(compared(order, pages, service.port, asked.rounds, [*service.pids, postmaster or 0]))
                print(f"{perf_counter() - begun:6.0f} s  {order or 'id'}", file=sys.stderr)
    headings = ["order", "page", "median ms", "× first", "CPU ms", "CPU × first", "buffers", "buffers × first", "plan"]
    text = f"**{publication.count:,} rows, pages of {PAGE:,}**\n\n" + "\n".join(table(headings, lines))
    if asked.json:
        asked.json.write_text(json.dumps([dict(zip(headings, line, strict=True)) for line in lines]), encoding="utf-8")
    if asked.markdown:
        asked.markdown.write_text(text, encoding="utf-8")
    print(text)


def copy(settings: Settings, registry: Registry, times: int) -> Publication:
    """Copies of the layer's rows, published as they would be by a load. Of its indexes stay the key's and those of what
    is sorted by: no page of these orders asks another, and each would be filled with every row."""
    layer = registry[LAYER]
    with closing(engine.connect(engine.database_url(settings))) as connection:
        schema, name = layer.table
        found = "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        columns = [row[0] for row in connection.execute(found, [schema, name])]
        indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = %s"
        kept = ["UNIQUE", *(f"({order.strip('-')}" for order in ORDERS if order)]
        for index, definition in connection.execute(indexes, [schema, name]).fetchall():
            if not any(mark in definition for mark in kept):
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index)))
        statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}, generate_series(1, {}) AS copy").format(
            sql.Identifier(schema, name), sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(sql.SQL(CHANGED[c]) if c in CHANGED else sql.Identifier(c) for c in columns),
            sql.Identifier(schema, name), sql.Literal(times),
        )  # fmt: skip
        with connection.transaction():
            connection.execute("SET LOCAL synchronous_commit = off")
            connection.execute(statement)
            load_id = ledger.published(connection)[LAYER].load_id
            delta.prepare(connection)
            delta.note_all(connection, layer, load_id)
            ledger.renew(connection, layer, load_id, changed=True)
        connection.execute("VACUUM ANALYZE")
        return ledger.published(connection)[LAYER]


def pages_of(settings: Settings, layer: Layer, publication: Publication, order: str) -> dict[str, Page]:
    """The pages of an order with their cursors, sealed as the service seals them."""
    parameters = {"limit": str(PAGE), **({"sortby": order} if order else {})}
    wanted = question(layer, publication, PUBLIC, settings, parameters).query
    path = f"/collections/{LAYER}/items?f=json&limit={PAGE}" + (f"&sortby={order}" if order else "")
    found = {}
    with closing(engine.connect(engine.database_url(settings))) as connection:
        cursors = Cursors(ordering.key(connection))
        for name, share in SHARES.items():
            behind = round((publication.count - PAGE) * share)
            query, address = wanted, path
            if behind:
                place = Position(_before(connection, layer, wanted, behind))
                query = replace(wanted, place=place)
                address += f"&cursor={cursors.seal(Cursor(place, behind), wanted, PUBLIC)}"
            found[name] = Page(behind, address, *_plan(connection, layer, query))
    return found


def _before(connection: engine.Connection, layer: Layer, query: Any, behind: int) -> tuple[str | None, ...]:
    """What the feature before a page is placed by."""
    connection.execute("SET work_mem = '512MB'")
    statement = sql.SQL("SELECT {} FROM {} ORDER BY {} LIMIT 1 OFFSET {}").format(
        ordering.names(query), sql.Identifier(*layer.table), ordering.terms(query), sql.Literal(behind - 1)
    )
    row = connection.execute(statement).fetchone()
    connection.execute("RESET work_mem")
    assert row is not None
    return tuple(None if key is None else str(key) for key in row)


def _plan(connection: engine.Connection, layer: Layer, query: Any) -> tuple[int, str]:
    """Buffers that a page's statement touches, and how it reads the table; the estimate where it takes too long."""
    statement = features.select_block(layer, query)
    explain = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {}").format(statement.sql)
    ((plans,),) = connection.execute(explain, statement.params).fetchall()
    root = plans[0]["Plan"]
    return root["Shared Hit Blocks"] + root["Shared Read Blocks"], ", ".join(dict.fromkeys(_nodes(root)))


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    if "Relation Name" in plan or plan["Node Type"] in ("Sort", "Incremental Sort"):
        yield plan["Node Type"]
    for each in plan.get("Plans", []):
        yield from _nodes(each)


def compared(order: str, pages: dict[str, Page], port: int, rounds: int, pids: list[int]) -> Iterator[list[str]]:
    """A line for each page: time, CPU time of the service and PostgreSQL, buffers; each beside the first page's."""
    seen: dict[str, list[tuple[Asked, float]]] = {name: [] for name in pages}
    answers = {name: get(port, page.path) for name, page in pages.items()}
    for _ in range(rounds):
        for name, page in pages.items():
            if answers[name][0] == 200:
                before = cpu(list(filter(None, pids)))
                one = ask(port, [request(page.path)], 1, 0.0)
                seen[name].append((one, cpu(list(filter(None, pids))) - before))
    first: tuple[float, float, int] | None = None
    for name, page in pages.items():
        status, body, _ = answers[name]
        label = [order or "id", f"{name}, behind {page.behind:,}"]
        if status != 200:
            yield [*label, f"answers {status}", "", "", "", f"{page.buffers:,}", "", page.nodes]
            continue
        assert len(json.loads(body)["features"]) == PAGE
        took = median(one.taken[0] for one, _ in seen[name]) * 1000
        # The clock of CPU time ticks each 10 ms: only the sum of the rounds says something.
        spent = sum(used for _, used in seen[name]) / rounds * 1000
        first = first or (took, spent, page.buffers)
        yield [*label, f"{took:.1f}", f"{took / first[0]:.2f}", f"{spent:.1f}", f"{spent / max(first[1], 1e-9):.2f}",
               f"{page.buffers:,}", f"{page.buffers / first[2]:.2f}", page.nodes]  # fmt: skip


if __name__ == "__main__":
    main()
