"""What a rule costs: one service, asked by agencies that see the same place under different rules, in turn.

`everything` has a grant without conditions; the others are shown the fields, rows, area or precision that theirs
leaves. Latency of each request as a client sees it, p50 and p95 of all rounds; the ratio to `everything` in a round, of
the latency and of the CPU seconds of service and database; and whether PostgreSQL finds what a box asks for by the
index over places. The service keeps no answers meanwhile, so every one is asked of the store.
"""

from __future__ import annotations

import argparse
import json
import sys
from base64 import b64encode
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import shapely
from asking import ask
from cases import boxes
from land import LAYER, arguments, deployment, show, write
from process import cpu, server_cpu
from psycopg import sql
from serve import PLACES, load
from servers import uvicorn

from sdi.access import Agency, Grant, rule_of
from sdi.contract.layer import Layer
from sdi.contract.query import Area, FeatureQuery
from sdi.contract.registry import Registry
from sdi.service.rights import seen
from sdi.store import cluster, engine, features
from sdi.store.ledger import Publication
from sdi.store.sharing import agencies, grants, keys, register

TIMES = 400
"""Requests of a measurement."""
BORDER = 400
"""Vertices of a commune's outline."""
CASES = {"bbox 100": 100, "bbox 1000": 1000}


@dataclass(frozen=True)
class Round:
    """taken: milliseconds of each answer. spent: CPU milliseconds of an answer, of service and database; of the service
    alone where the database is not ours to look at."""

    taken: list[float]
    spent: float


def main() -> None:
    asked = _arguments()
    with deployment(asked.server) as (settings, registry, folder):
        publication = load(settings, registry, write(folder, asked.parcels))
        url = engine.database_url(settings)
        given = _given(registry[LAYER], publication)
        with engine.connect(url, engine.OWNER) as owner:
            shown = {name: _enter(owner, registry, name, grant) for name, grant in given.items()}
            known = register.read(owner, registry)
        environment = {"SDI_DATABASE_URL": url, "SDI_DATA": str(folder / "data"), "SDI_AUDIT": "off",
                       "SDI_KEPT_ANSWERS": "0"}  # fmt: skip
        postmaster = None if asked.server else cluster.status(folder / "cluster").pid
        with uvicorn("sdi.service.app:from_environment", environment, 1, "--factory") as (port, process):
            found: dict[tuple[str, str], list[Round]] = {(case, name): [] for case in CASES for name in shown}
            for _ in range(asked.rounds + 1):
                for case, count in CASES.items():
                    for name, key in shown.items():
                        before = cpu([process.pid]) + (server_cpu(postmaster) or 0.0)
                        taken = _asked(port, name, key, publication, count, asked.clients)
                        spent = cpu([process.pid]) + (server_cpu(postmaster) or 0.0) - before
                        found[case, name].append(Round(taken, spent * 1e3 / TIMES))
        plans = {name: _plan(url, registry[LAYER], known.agency(name), publication) for name in shown}
    _show(found, plans, publication, asked)


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__, 1_000_000, 100_000)
    parser.add_argument("--rounds", type=int, default=5, help="of each case, all rules in turn")
    parser.add_argument("--clients", type=int, default=1, help="that ask at a time")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args()


def _given(layer: Layer, publication: Publication) -> dict[str, Grant]:
    """A grant of each kind, by the agency's id."""
    west, south, east, north = publication.extent or (0.0, 0.0, 0.0, 0.0)
    half = shapely.to_geojson(shapely.box(west, south, (west + east) / 2, north))
    whole = frozenset({"open", "agency", "restricted"})
    area = next(each.name for each in layer.stored if each.type in ("decimal", "number"))
    base = Grant(0, "", layer.id, classes=whole, actions=frozenset({"read"}), legal_basis="bench", purpose="bench")
    return {
        "everything": base,
        "fields": replace(base, classes=frozenset({"open"}), rows=f"{area} > 0"),
        "fields_here": replace(base, polygon=half),
        "fields_commune": replace(base, polygon=shapely.to_geojson(_commune((west, south, east, north)))),
        "rows": replace(base, rows=f"{area} > 10"),
        "generalised": replace(base, precision="generalised", metres=5.0, rows=f"{area} > 0"),
    }


def _commune(extent: tuple[float, float, float, float]) -> shapely.Polygon:
    """A third of the land, with a border as crooked as communes have them."""
    west, south, east, north = extent
    chance, turn = np.random.default_rng(7), np.linspace(0, 2 * np.pi, BORDER, endpoint=False)
    waves = range(2, 60)
    bent = sum(chance.normal(0, 0.18 / n**1.2) * np.cos(n * turn + chance.uniform(0, 6)) for n in waves)
    ring = np.column_stack([np.cos(turn), np.sin(turn)]) * (1 + bent)[:, None]
    return shapely.Polygon(ring * ((east - west) / 3, (north - south) / 3) + ((west + east) / 2, (south + north) / 2))


def _enter(owner: engine.Connection, registry: Registry, name: str, grant: Grant) -> str:
    """The key of a new agency with this grant."""
    agencies.add(owner, name, "department", "Sở Đo", "Department of Measures")
    grants.give(owner, registry[LAYER], replace(grant, agency=name))
    return keys.make_key(owner, name)


def _asked(port: int, name: str, key: str, publication: Publication, count: int, clients: int) -> list[float]:
    """Milliseconds of each answer."""
    shown = b64encode(f"{name}:{key}".encode()).decode()
    requests = []
    for box in boxes(publication, count)[:PLACES]:
        place = ",".join(f"{box[side]:.7f}" for side in "wsen")
        path = f"/collections/{LAYER}/items?bbox={place}&limit={count * 2}"
        requests.append(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {shown}\r\n\r\n".encode())
    answered = ask(port, requests, clients, 0, times=TIMES)
    if answered.errors:
        sys.exit("an answer was not a 200")
    return [taken * 1e3 for taken in answered.taken]


def _plan(url: str, layer: Layer, agency: Agency, publication: Publication) -> bool:
    """Whether a box is looked for by the index over places."""
    box = boxes(publication, 100)[0]
    shown = seen(agency, layer)
    query = FeatureQuery(
        layer.id, attributes=rule_of(agency, layer).attributes, area=Area.of_box(*(box[side] for side in "wsen")),
        filters=shown.filters, sight=shown.sight, limit=200,
    )  # fmt: skip
    statement = features.select_block(layer, query)
    with engine.connect(url, engine.STEWARD) as reader:
        rows = reader.execute(sql.SQL("EXPLAIN ") + statement.sql, statement.params).fetchall()
    return any("geom_wgs84" in row[0] and "Index" in row[0] for row in rows)


def _show(
    found: dict[tuple[str, str], list[Round]], plans: dict[str, bool], publication: Publication,
    asked: argparse.Namespace,
) -> None:  # fmt: skip
    table = []
    for (case, name), rounds in found.items():
        # The first round fills what is kept.
        pairs = list(zip(rounds[1:], found[case, "everything"][1:], strict=True))
        ratios = [np.percentile(own.taken, 95) / np.percentile(base.taken, 95) for own, base in pairs]
        costs = [own.spent / base.spent for own, base in pairs]
        every = [taken for own, _ in pairs for taken in own.taken]
        table.append([case, name, *(f"{np.percentile(every, share):.2f}" for share in (50, 95)),
                      f"{median(ratios):.2f}", f"{median(costs):.2f}", "yes" if plans[name] else "NO"])  # fmt: skip
    show(
        f"ms an answer, {asked.rounds} rounds in turn, {asked.clients} client; {publication.count:,} parcels",
        ["", "rule", "p50", "p95", "p95 ÷ everything", "CPU ÷", "index"], table,
    )  # fmt: skip
    if asked.json:
        asked.json.write_text(
            json.dumps({" ".join(key): list(map(asdict, rounds)) for key, rounds in found.items()}), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
