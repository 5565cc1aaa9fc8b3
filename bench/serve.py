"""Features and tiles over HTTP: our service beside a bare route over the same table (the ceiling), stock pygeoapi and
other servers.

The same database, the same questions, the same number of worker processes and of clients; everybody is asked in turn,
and the whole body is read. What each answers is compared with the bare route's, feature by feature, before anything is
timed; ours must be equal, of others it is told. Who is not on this machine is named and left out.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import peers
import readers
import servers
from alone import pgbench
from asking import Asked, ask, request
from bare import statements
from cases import PLACES, ZOOMS, Case, Contender, cases, differences, following, get
from land import LAYER, arguments, deployment, write
from process import cpu, watched
from psycopg import sql
from shown import Results, heading, tables

from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.ingest.deliver import receive
from sdi.service.tiles.tileset import Shown
from sdi.settings import Settings
from sdi.store import cluster, engine, ledger, loader
from sdi.store.ledger import Publication

MOST = 3_000_000
EARLY, DEEP = 0.001, 0.9
"""Shares of the features that lie before the first early page, and before the first deep one."""
PAGES = 10
"""Early pages, and deep ones. As many of each: one page asked again and again would be told faster than ten."""
PROGRAMS = "GDAL, QGIS"
"""The name by which `--only` has them."""
TOO_SLOW = 15.0
"""Seconds of one answer, above which a server is not asked by many at once."""


Seen = dict[tuple[str, str], list[tuple[Asked, float, float]]]
"""By contender and case what was seen in each round, with the CPU seconds of the server and of PostgreSQL."""


@dataclass(frozen=True)
class Row:
    """What a contender did in a case: medians of the rounds; milliseconds, but `rate` 1/s, `kib` and `own`, the share
    of one core that the client took. server, postgres: CPU milliseconds a request; None: another machine's."""

    case: str
    contender: str
    clients: int
    rate: float
    p50: float
    p95: float
    p99: float
    first: float
    kib: float
    server: float
    postgres: float | None
    own: float
    errors: int


def main() -> None:
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # servers and databases end with us
    begun = perf_counter()
    with deployment(asked.server, asked.keep) as (settings, registry, folder):
        publication = stands(settings) or load(settings, registry, write(folder, asked.parcels))
        if publication.count != asked.parcels:
            sys.exit(f"{folder} holds {publication.count:,} parcels, not {asked.parcels:,}")
        layer = registry[LAYER]
        ids, behind = known(settings, layer, publication)
        begins = Shown(layer, publication).first
        chosen = [case for case in cases(publication, ids, behind, begins) if _wanted(asked, case.name)]
        offsets = [at for places in behind for at, _ in places]
        postmaster = None if asked.server else cluster.status(folder / "cluster").pid
        with contenders(asked, settings, layer, folder, offsets) as (found, absent):
            results = Results(asked.parcels, asked.workers, publication.count, absent)
            results.differences.update({
                f"tile, z{zoom}": f"not asked, our layer begins at z{begins}" for zoom in ZOOMS
                if zoom < begins and _wanted(asked, f"tile, z{zoom}")
            })  # fmt: skip
            with watched({each.name: each.pids for each in found}) as results.memory:
                for group in grouped(chosen):
                    for case in group:
                        compared(found, case, results)
                    let_go(settings)
                    for clients in map(int, asked.clients.split(",")):
                        several = rounds(found, group, clients, asked, results, postmaster, settings)
                        results.rows += [asdict(row) for row in several]
                        for case in group:
                            alone(settings, layer, case, clients, asked.seconds, folder, results)
                            print(f"{perf_counter() - begun:6.0f} s  {case.name}, {clients}", file=sys.stderr)
                if _wanted(asked, PROGRAMS):
                    programs(found, asked, folder, results)
    results.told.append(heading(publication.count, asked.workers))
    text = tables(results)
    if asked.markdown:
        asked.markdown.write_text(text, encoding="utf-8")
    if asked.json:
        asked.json.write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False), encoding="utf-8")
    print(text)


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__, MOST, 1_000_000)
    parser.add_argument("--clients", default="1,8,32", help="how many ask at a time, one number after another")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--times", type=int, help="requests of each measurement, however long they take")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of everybody, in turn; medians are shown")
    parser.add_argument("--workers", type=int, default=2, help="processes of each server")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds that GDAL and QGIS read from one server")
    parser.add_argument("--opened", type=int, default=200_000, help="features that QGIS takes")
    parser.add_argument("--only", action="append", help=f"cases whose name has this in it; there is also '{PROGRAMS}'")
    parser.add_argument("--without", default="", help="servers that are left out, comma between")
    parser.add_argument("--tipg", help="a Python that has tipg; left out: one is made for the run, by pip")
    parser.add_argument("--keep", type=Path, metavar="FOLDER",
                        help="where the loaded database stays for the next run, so that a long measurement can be made"
                        " in pieces; the figures of all are put together by shown.py")  # fmt: skip
    parser.add_argument("--markdown", type=Path, help="file for the tables; they are printed too")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args()


def _wanted(asked: argparse.Namespace, name: str) -> bool:
    return not asked.only or any(part in name for part in asked.only)


def grouped(chosen: Sequence[Case]) -> list[list[Case]]:
    """The cases, each alone; but together those that are held against each other: the first page and one behind it,
    the same each time, and ten early pages and ten deep ones."""
    groups: dict[str, list[Case]] = {}
    for case in chosen:
        deep, one = case.kind == "deep", len(case.questions) == 1
        again = one and (deep or case.name.startswith("first page"))
        groups.setdefault("one page" if again else "ten pages" if deep else case.name, []).append(case)
    return list(groups.values())


def stands(settings: Settings) -> Publication | None:
    """The parcels that a run before this one has kept."""
    with engine.connect(engine.database_url(settings), engine.LOADER) as connection:
        return ledger.published(connection).get(LAYER)


def load(settings: Settings, registry: Registry, path: Path) -> Publication:
    """The parcels as a delivery loads them, without the checks between layers and what is derived."""
    layer = registry[LAYER]
    received = receive(Request(path, steward="bench"), layer, registry, grid=settings.grid)
    with engine.connect(engine.database_url(settings), engine.LOADER) as connection:
        with connection.transaction():
            loader.load(connection, layer, registry, received.features, None, received.delivery, received.report)
        connection.execute("VACUUM ANALYZE")
        return ledger.published(connection)[LAYER]


def known(
    settings: Settings, layer: Layer, publication: Publication
) -> tuple[list[str], list[list[tuple[int, str]]]]:  # fmt: skip
    """Ids of features from all over the layer, and early and deep offsets with the id of the feature before each."""
    table = sql.Identifier(*layer.table)
    with closing(engine.connect(engine.database_url(settings))) as connection:
        every = sql.SQL(
            "SELECT id FROM {} TABLESAMPLE BERNOULLI (%s) REPEATABLE (1) ORDER BY sha256(id::bytea) LIMIT %s"
        )
        share = min(100.0, 300.0 * PLACES / publication.count)
        ids = [row[0] for row in connection.execute(every.format(table), [share, PLACES])]
        before = sql.SQL("SELECT id FROM {} ORDER BY id LIMIT 1 OFFSET %s").format(table)
        share = 1 / 15 / PAGES  # the deep ones reach from 0.9 to 0.96 of the layer, the early ones from 0.001 to 0.06
        behind = [
            [
                (offset, connection.execute(before, [offset - 1]).fetchall()[0][0])
                for offset in (int(publication.count * (begin + step * share)) for step in range(PAGES))
            ]
            for begin in (EARLY, DEEP)
        ]
    return ids, behind


@contextmanager
def contenders(
    asked: argparse.Namespace, settings: Settings, layer: Layer, folder: Path, behind: Sequence[int]
) -> Iterator[tuple[list[Contender], list[str]]]:
    """Everybody who runs, the bare route first, and the names of those who do not."""
    url, workers, without = engine.database_url(settings), asked.workers, asked.without.split(",")
    peers.prepare(url, layer)
    python = asked.tipg or ("tipg" not in without and peers.python_with_tipg(folder / "tipg")) or None
    offered = {
        "bare": lambda: servers.bare(settings, layer, folder, workers),
        "sdi": lambda: servers.ours(settings, workers),
        "sdi anew": lambda: servers.ours(settings, workers, anew=True),
        "pygeoapi": lambda: servers.stock(settings, layer, folder, workers),
        "tipg": lambda: peers.tipg(url, python, workers),
        "MapServer": lambda: peers.mapserver(url, folder, workers),
        "pg_featureserv": lambda: peers.featureserv(url, workers),
        "pg_tileserv": lambda: peers.tileserv(url, workers),
    }
    with ExitStack() as stack:
        started = {name: stack.enter_context(start()) for name, start in offered.items() if name not in without}
        found = [each for each in started.values() if each is not None]
        ours = started["sdi"]
        for each in (ours, started.get("sdi anew")):
            if each is not None:
                each.address = paged(each.address, following(each.port, behind, 1000))
        found.insert(2, Contender("sdi, 304", ours.port, ours.address, [], held=True))
        yield found, [name for name in offered if started.get(name) is None]


def paged(plain: Callable[..., str], cursors: Mapping[int, str]) -> Callable[..., str]:
    """The address of a question; a page behind others is asked for by its cursor."""
    return lambda case, one: cursors[one["offset"]] if case.kind == "deep" else plain(case, one)


def compared(found: list[Contender], case: Case, results: Results) -> None:
    """What everybody answers, held against the bare route. Ends the measurement where ours is not equal."""
    for question in (case.questions[0], case.questions[-1]):
        # Who did not answer the first is not waited for once more.
        answering = [
            each for each in found
            if not each.held and not results.differences.get(f"{case.name}, {each.name}", "").startswith("answers ")
        ]  # fmt: skip
        wrong = differences(answering, case, question)
        # A tile may leave out what is too small to be seen; how much, stands below the table.
        if any(name.startswith("sdi") for name in wrong) and case.kind != "tile":
            sys.exit(f"'{case.name}': {wrong}; asked {question}")
        results.differences.update({f"{case.name}, {name}": told for name, told in wrong.items()})


def let_go(settings: Settings) -> None:
    """End the queries that nobody waits for any more: they would take the processor from who is measured next."""
    with engine.connect(engine.database_url(settings), engine.OWNER) as connection:
        connection.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()"
        )


def alone(
    settings: Settings, layer: Layer, case: Case, clients: int, seconds: float, folder: Path, results: Results
) -> None:  # fmt: skip
    """What pgbench says of the same SQL, beside the row of the bare route."""
    rate = pgbench(engine.database_url(settings), statements(layer), case, clients, seconds, folder)
    if rate is not None:
        results.alone[f"{case.name}, {clients}"] = rate


def programs(found: list[Contender], asked: argparse.Namespace, folder: Path, results: Results) -> None:
    """What GDAL and QGIS make of everybody."""
    served = [each for each in found if not each.held]
    title = f"GDAL's OAPIF driver, the whole layer, pages of 10,000, stopped after {asked.patience:.0f} s"
    results.more.append((title, readers.HEADINGS, readers.gdal(served, asked.patience)))
    print("  GDAL has read", file=sys.stderr)
    most = min(asked.opened, results.served)
    lines = readers.qgis(served, most, asked.patience, folder)
    title = f"QGIS opens the layer and takes {most:,} features, stopped after {asked.patience:.0f} s"
    if lines:
        results.more.append((title, readers.HEADINGS, lines))
    else:
        results.absent.append("QGIS (python3-qgis)")


def rounds(
    found: list[Contender], group: list[Case], clients: int, asked: argparse.Namespace, results: Results,
    postmaster: int | None, settings: Settings,
) -> Iterator[Row]:  # fmt: skip
    """Everybody in turn, as often as there are rounds, with the cases of a group there and back, so that none has a
    better moment; who takes too long once is not asked again.
    """
    seen: Seen = {}
    for number in range(asked.rounds):
        for each in found:
            for case in group[:: -1 if number % 2 else 1]:
                runs = seen.setdefault((each.name, case.name), [])
                if runs and runs[-1][0].lasted > 5 * asked.seconds + 5:
                    continue
                requests = list(asked_of(each, case, results))
                if requests:
                    runs.append(measured(each, requests, clients, asked, postmaster))
                if not requests or runs[-1][0].abandoned:
                    let_go(settings)
    if len(group) > 1:
        results.more.append(beside(group, clients, found, seen))
    for case in group:
        for each in found:
            if runs := seen[each.name, case.name]:
                yield row(case, each.name, clients, runs, postmaster is not None)


def beside(
    group: list[Case], clients: int, found: list[Contender], seen: Seen
) -> tuple[str, list[str], list[list[str]]]:  # fmt: skip
    """A table: time and CPU of an answer in the last case as multiples of the first one's, medians of the rounds."""
    first, *_, last = (case.name for case in group)
    columns = [("", "time", "CPU")]
    for each in found:
        runs = zip(seen[each.name, first], seen[each.name, last], strict=False)
        pairs = [(_cost(a), _cost(b)) for a, b in runs if a[0].taken and b[0].taken]
        if pairs and not each.held:
            time, spent = (median(b[at] / a[at] for a, b in pairs) for at in (0, 1))
            columns.append((each.name, f"{time:.2f}", f"{spent:.2f}"))
    title = f"{last} beside {first}, {clients} client{'s' if clients > 1 else ''}, in turn"
    headings, *lines = map(list, zip(*columns, strict=True))
    return title, headings, lines


def _cost(run: tuple[Asked, float, float]) -> tuple[float, float]:
    """Seconds and CPU seconds of an answer."""
    seen, own, sql = run
    return seen.lasted / len(seen.taken), (own + sql) / len(seen.taken)


def asked_of(each: Contender, case: Case, results: Results) -> Iterator[bytes]:
    """Its requests, in the order of the questions; none where it has no such thing, failed or is too slow for it."""
    noted = f"{case.name}, {'sdi' if each.held else each.name}"
    paths = [each.address(case, question) for question in case.questions]
    if paths[0] is None or results.differences.get(noted, "").startswith("answers "):
        return
    if noted not in results.once and not each.held:
        begun = perf_counter()
        with suppress(TimeoutError):
            get(each.port, str(paths[-1]))
        results.once[noted] = perf_counter() - begun
        if results.once[noted] > TOO_SLOW:
            results.differences[noted] = f"answers too slowly: once, after {results.once[noted]:.0f} s"
            return
    for path in map(str, paths):
        if each.held and path not in each.tags:
            each.tags[path] = get(each.port, path)[2].get("etag", '""')
        yield request(path, each.tags.get(path))


def measured(
    each: Contender, requests: Sequence[bytes], clients: int, asked: argparse.Namespace, postmaster: int | None
) -> tuple[Asked, float, float]:
    """What was seen, and the CPU seconds of the server and of PostgreSQL meanwhile."""
    ask(each.port, requests, clients, min(0.2, asked.seconds))  # connections, caches, prepared statements
    before = cpu(each.pids), cpu([postmaster] if postmaster else [])
    seen = ask(each.port, requests, clients, asked.seconds, (304,) if each.held else (200, 204), asked.times)
    return seen, cpu(each.pids) - before[0], cpu([postmaster] if postmaster else []) - before[1]


def row(
    case: Case, name: str, clients: int, runs: list[tuple[Asked, float, float]], known: bool
) -> Row:  # fmt: skip
    taken = [second * 1000 for seen, _, _ in runs for second in seen.taken] or [float("nan")]
    cuts = quantiles(taken, n=100) if len(taken) > 1 else taken * 99
    first = [second * 1000 for seen, _, _ in runs for second in seen.first]
    answered = [max(1, len(seen.taken)) for seen, _, _ in runs]
    return Row(
        case.name, name, clients, median(len(seen.taken) / seen.lasted for seen, _, _ in runs),
        cuts[49], cuts[94], cuts[98], median(first) if first else 0.0,
        sum(seen.size for seen, _, _ in runs) / sum(answered) / 1024,
        median(spent * 1000 / count for (_, spent, _), count in zip(runs, answered, strict=True)),
        median(spent * 1000 / count for (_, _, spent), count in zip(runs, answered, strict=True)) if known else None,
        median(seen.own / seen.lasted for seen, _, _ in runs),
        sum(seen.errors + seen.abandoned for seen, _, _ in runs),
    )  # fmt: skip


if __name__ == "__main__":
    main()
