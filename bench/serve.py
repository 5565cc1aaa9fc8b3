"""GeoJSON over HTTP: our service beside a bare route over the same SQL (the ceiling) and stock pygeoapi.

The same table, the same questions, the same number of worker processes and of clients; everybody is asked in turn, and
the whole body is read. What each answers is compared once for every case, feature by feature.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import quote

import numpy as np
from land import LAYER, arguments, deployment, show, write
from servers import bare, ours, stock

from sdi.access import PUBLIC
from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.contract.query import Position
from sdi.contract.registry import Registry
from sdi.ingest.deliver import receive
from sdi.service.parameters import question
from sdi.settings import Settings
from sdi.store import engine, features, ledger, loader
from sdi.store.ledger import Publication

MOST = 1_000_000
ITEMS = f"/collections/{LAYER}/items"
ODD = "land_use_code='ODT'"
PLACES = 200
"""Questions of a case that are asked in turn."""


@dataclass
class Case:
    """`parameters` of the items' address by question. `deep`: the page behind that many features."""

    name: str
    parameters: list[dict[str, str]]
    deep: int = 0
    item: bool = False
    statement: str = ""
    values: list[dict[str, Any]] = field(default_factory=list)
    following: str = ""
    """The address of a deep page as our service gives it."""


def main() -> None:
    parser = arguments(__doc__, MOST)
    parser.add_argument("--clients", default="1,8,32", help="how many ask at a time, one after another")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=2, help="processes of each server")
    asked = parser.parse_args()
    with deployment(asked.server) as (settings, registry, folder):
        publication = load(settings, registry, write(folder, asked.parcels))
        layer = registry[LAYER]
        cases = list(questions(settings, layer, publication))
        with (
            ours(settings, asked.workers) as port,
            bare(settings, [case.statement for case in cases], folder, asked.workers) as ceiling,
            stock(settings, layer, 10_000, folder, asked.workers) as other,
        ):
            contenders: dict[str, tuple[int, Callable[[Case, int], str]]] = {
                "bare": (ceiling, at_bare(cases)), "sdi": (port, at_sdi), "sdi, 304": (port, at_sdi)
            }  # fmt: skip
            if other is not None:
                contenders["pygeoapi"] = (other, at_pygeoapi)
            for case in cases:
                case.following = following(port, case)
                agree(contenders, case)
            for clients in map(int, asked.clients.split(",")):
                rows = [row(contenders, case, clients, asked.seconds) for case in cases]
                headings = ["case", *(f"{name}, 1/s (p50, p95 ms)" for name in contenders), "sdi / bare",
                            *(["sdi / pygeoapi"] if other is not None else [])]  # fmt: skip
                show(f"{asked.parcels:,} parcels, {clients} clients, {asked.workers} workers", headings, rows)


def load(settings: Settings, registry: Registry, path: Path) -> Publication:
    layer = registry[LAYER]
    received = receive(Request(path, steward="bench"), layer, registry, grid=settings.grid)
    with engine.connect(engine.database_url(settings), engine.LOADER) as connection:
        with connection.transaction():
            loader.load(connection, layer, registry, received.features, None, received.delivery, received.report)
        connection.execute("VACUUM ANALYZE")
        return ledger.published(connection)[LAYER]


def questions(settings: Settings, layer: Layer, publication: Publication) -> Iterator[Case]:
    """Each case with our SQL for it and the values of every question."""
    with engine.connect(engine.database_url(settings), engine.READER) as connection:
        query = question(layer, publication, PUBLIC, settings, {"limit": "10000"}).query
        rows = connection.execute(*_executed(features.select_rows(layer, replace(query, attributes=())))).fetchall()
    deep = int(publication.count * 0.9)
    wider = boxes(publication, 1700)
    cases = [
        Case("bbox, 100 features", [{"bbox": box, "limit": "100"} for box in boxes(publication, 100)]),
        Case("bbox, 1,000 features", [{"bbox": box, "limit": "1000"} for box in boxes(publication, 1000)]),
        Case("filter + bbox, 1,000", [{"bbox": box, "filter": ODD, "limit": "1000"} for box in wider]),
        Case("item by id", [{"id": row[0]} for row in rows[:: len(rows) // PLACES]], item=True),
        Case("first page of 1,000", [{"limit": "1000"}]),
        Case(f"1,000 behind {deep:,}", [{"limit": "1000"}], deep=deep),
        Case("page of 10,000", [{"limit": "10000"}]),
    ]
    for case in cases:
        for parameters in case.parameters:
            query = question(layer, publication, PUBLIC, settings, parameters).query
            if case.deep:
                with engine.connect(engine.database_url(settings), engine.READER) as connection:
                    last = replace(query, attributes=(), offset=case.deep - 1, limit=1)
                    ((place, *_),) = connection.execute(*_executed(features.select_rows(layer, last))).fetchall()
                query = replace(query, place=Position((place,)))
            statement = features.select_block(layer, query)
            case.statement = statement.sql.as_string()
            case.values.append(statement.params)
        yield case


def _executed(statement: features.Statement) -> tuple[Any, dict[str, Any]]:
    return statement.sql, statement.params


def boxes(publication: Publication, limit: int) -> list[str]:
    """Boxes that hold about twice as many parcels as are asked for, as far as there are so many."""
    assert publication.extent is not None
    west, south, east, north = publication.extent
    share = min(0.95, (2 * limit / publication.count) ** 0.5)
    dx, dy = (east - west) * share, (north - south) * share
    chance = np.random.default_rng(limit)
    starts = chance.uniform((west, south), (east - dx, north - dy), (PLACES, 2)).tolist()
    return [f"{x!r},{y!r},{x + dx!r},{y + dy!r}" for x, y in starts]


def _address(parameters: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe=',')}" for name, value in parameters.items())


def at_sdi(case: Case, turn: int) -> str:
    if case.deep:
        return case.following
    parameters = case.parameters[turn % len(case.parameters)]
    if case.item:
        return f"{ITEMS}/{quote(parameters['id'])}?f=json"
    return f"{ITEMS}?f=json&{_address(parameters)}"


def at_pygeoapi(case: Case, turn: int) -> str:
    return f"{ITEMS}?f=json&limit=1000&offset={case.deep}" if case.deep else at_sdi(case, turn)


def at_bare(cases: Sequence[Case]) -> Callable[[Case, int], str]:
    numbers = {case.name: number for number, case in enumerate(cases)}

    def at(case: Case, turn: int) -> str:
        values = case.values[turn % len(case.values)]
        return f"/?n={numbers[case.name]}&v={quote(json.dumps(values, default=str))}"

    return at


def following(port: int, case: Case) -> str:
    """Our own address of a deep page: the `next` of the page before it."""
    if not case.deep:
        return ""
    body = json.loads(_asked(HTTPConnection("127.0.0.1", port), f"{ITEMS}?f=json&limit=1&offset={case.deep - 1}")[1])
    href = next(each["href"] for each in body["links"] if each["rel"] == "next").replace("limit=1&", "limit=1000&")
    return str(href[href.index("/collections") :])


def agree(contenders: dict[str, tuple[int, Callable[[Case, int], str]]], case: Case) -> None:
    """Everybody answers the same features. pygeoapi filters by a language of its own and withholds nothing."""
    answers = {}
    for name, (port, at) in contenders.items():
        page = json.loads(_asked(HTTPConnection("127.0.0.1", port), at(case, 0))[1])
        found = page.get("features", [page])
        answers[name] = [feature["id"] for feature in found] if name != "pygeoapi" else len(found)
    expected: list[str] = answers["bare"]  # type: ignore[assignment]
    if answers["sdi"] != expected or answers.get("pygeoapi", len(expected)) != len(expected):
        told = {name: ids if isinstance(ids, int) else len(ids) for name, ids in answers.items()}
        sys.exit(f"They do not agree about '{case.name}': {told}")


def row(
    contenders: dict[str, tuple[int, Callable[[Case, int], str]]], case: Case, clients: int, seconds: float
) -> list[str]:
    rates: dict[str, float] = {}
    shown = []
    for name, (port, at) in contenders.items():
        taken, lasted = measured(port, lambda turn, at=at: at(case, turn), clients, seconds, held="304" in name)
        rates[name] = len(taken) / lasted
        p95 = quantiles(taken, n=20)[-1] if len(taken) > 1 else taken[0]
        shown.append(f"{rates[name]:,.1f} ({median(taken) * 1000:.1f}, {p95 * 1000:.1f})")
    against = [f"{rates['sdi'] / rates['bare']:.2f}"]
    return [case.name, *shown, *against, *([f"{rates['sdi'] / rates['pygeoapi']:.1f}"] if "pygeoapi" in rates else [])]


def measured(
    port: int, at: Callable[[int], str], clients: int, seconds: float, *, held: bool
) -> tuple[list[float], float]:  # fmt: skip
    """Seconds of each request, and how long it all lasted. `held`: asked again with the tag of what was answered."""

    def client(number: int) -> list[float]:
        connection = HTTPConnection("127.0.0.1", port, timeout=300)
        taken: list[float] = []
        turn, tags = number * 7, dict[str, str]()
        ends = time.perf_counter() + seconds
        while not taken or time.perf_counter() < ends:
            path = at(turn)
            if held and path not in tags:
                tags[path] = _asked(connection, path)[2]
            begun = time.perf_counter()
            status, _, _ = _asked(connection, path, tags.get(path))
            taken.append(time.perf_counter() - begun)
            if status != (304 if held else 200):
                sys.exit(f"{path} answered {status}")
            turn += 1
        return taken

    client(0)  # connections, caches and prepared statements
    with ThreadPoolExecutor(clients) as pool:
        taken = [each for one in pool.map(client, range(clients)) for each in one]
    # A client's requests follow each other; what lies between them is the client's own.
    return taken, sum(taken) / clients


def _asked(connection: HTTPConnection, path: str, tag: str | None = None) -> tuple[int, bytes, str]:
    connection.request("GET", path, headers={"If-None-Match": tag} if tag else {})
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers.get("ETag", "")


if __name__ == "__main__":
    main()
