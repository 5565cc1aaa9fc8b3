"""What the checks find: planted defects against findings, rule by rule; and how time and memory grow with the parcels.

Defects are planted into generated parcels and, where its file is at hand, into a real commune, whose own findings
before the planting do not count; between the layers of a city; and into what only other contracts look for. `--growth`
checks the parcels, permits and buildings of cities of 10,000 to `--parcels` parcels instead, each in a process of its
own, while all layers that they are held against are full.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from time import perf_counter

import conflicts
import geopandas
import pyarrow as pa
import shapely
import variants
from defects import AWAY, Town, planned, plant, town
from land import GRID, LAYER, arguments, deployment, parcels, show, write_table
from neighbours import BUILDINGS, PARCELS, PERMITS, PLAN, UNITS, ZONES, City
from process import run

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry, read_registry
from sdi.contract.report import Report
from sdi.contract.rules import RULES
from sdi.national import vn2000
from sdi.settings import ROOT, Settings
from sdi.store import cluster, engine

GROWTH = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
REAL = ROOT.parent / "shared" / "data" / "vn_cadastre_duynghia" / "duynghia_parcels_redacted.geojson.zip"
REAL_GRID = 5899
LINES = "red_lines"
NAMES = {
    "commune": "maXa", "sheet": "soTo", "number": "soThua", "use": "mdsd", "area": "dienTich", "address": "diaChi",
    "start": "hieuLucTu", "end": "hieuLucDen", "id": "maThuaDat",
}  # fmt: skip
REAL_NAMES = NAMES | {"sheet": "shbando", "number": "shthua", "area": "dientich", "address": "diachi"}
NOT_JUDGED = ("file.", "text.converted", "delivery.shrinks", "layer.absent")
"""What is said of a file, not of a feature."""
OF_SHAPE = ("coverage.", "geometry.")
UNPLANTED: dict[str, tuple[str, ...]] = {
    "said once of a file and its columns": (
        "file.column_unknown", "file.personal_dropped", "file.encoding", "file.truncated", "file.unread",
        "file.rows_merged", "file.fields_lost", "file.zero_byte", "file.header_long", "text.unsure", "text.converted",
        "geometry.flattened", "geometry.linearised",
    ),
    "said once of a delivery against what was there": (
        "delivery.shrinks", "delivery.ended_unknown", "delivery.ended_delivered",
    ),
    "said once of where a delivery lies": ("place.proposal", "place.operation"),
    "said once of a layer that is empty": ("layer.absent",),
    "said once of what a delivery is too crowded to compare": ("coverage.uncompared",),
    "said once of a raster, which has no features": (
        "raster.type", "raster.nodata", "raster.resolution", "raster.bands", "raster.range",
    ),
}  # fmt: skip
"""Why a rule is planted in no feature, and so has no recall -> rules. `tests/test_pairs.py` has two tests of each."""
Seen = dict[str, set[int]]
"""Rule -> rows from 0."""


@dataclass(frozen=True)
class Bench:
    settings: Settings
    registry: Registry
    folder: Path

    def with_contract(self, layer: Layer, extent: tuple[float, float, float, float] | None = None) -> Bench:
        """The same with another contract, and with another extent where one is given."""
        settings = self.settings if extent is None else self.settings.model_copy(update={"extent": extent})
        return replace(
            self, settings=settings, registry=replace(self.registry, layers={**self.registry.layers, layer.id: layer})
        )

    def check(self, path: Path, layer: str = LAYER) -> Report:
        """As `sdi check` does: the whole contract, other layers in the store included; nothing is written."""
        with engine.connect(engine.database_url(self.settings), engine.LOADER) as connection:
            request = Request(path, steward="bench")
            with closing(pipeline.check(connection, self.settings, self.registry, layer, request)) as checked:
                return checked.report

    def load(self, layer: str, table: pa.Table, grid: int = GRID) -> None:
        """Into the store, of which nothing may be kept back."""
        path = self.folder / f"{layer}_{grid}.gpkg"
        write_table(path, layer, table, grid)
        with engine.connect(engine.database_url(self.settings), engine.LOADER) as connection:
            request = Request(path, grid=grid, steward="bench")
            outcome = pipeline.deliver(connection, self.settings, self.registry, layer, request)
            assert outcome.load is not None
            assert outcome.report.kept == table.num_rows, outcome.report.by_rule()
        path.unlink()

    def govern(self, place: Town, grid: int) -> None:
        """Load two communes, the one that the town's parcels name and the next to the east, and a zone of a plan."""
        west, south, _, north = shapely.total_bounds(place.shapes)
        middle, far = west + AWAY, west + 2.5 * AWAY
        codes = [str(place.columns[place.names["commune"]][0]), "99998"]
        top = [north + 2 * AWAY, north + AWAY / 2]
        ground = shapely.box([west - AWAY, middle], south - AWAY, [middle, far], top)
        self.load(UNITS, pa.table({
            "maXa": codes, "capHanhChinh": ["commune"] * 2, "ten": ["Xã này", "Xã bên"],
            "hieuLucTu": ["2020-01-01"] * 2, "geom": shapely.to_wkb(ground),
        }), grid)  # fmt: skip
        self.load(ZONES, pa.table({
            "maThongTinQH": [PLAN], "maDoiTuong": ["O1"], "loaiDat": ["ODT"], "geom": [shapely.to_wkb(planned(place))],
        }), grid)  # fmt: skip

    def seen(self, place: Town, grid: int, name: str, layer: str = LAYER) -> Seen:
        path = self.folder / f"{name}.gpkg"
        write_table(path, name, place.table(), grid)
        found: Seen = {}
        for finding in self.check(path, layer).findings:
            if finding.row is not None and not finding.rule.startswith(NOT_JUDGED):
                found.setdefault(finding.rule, set()).add(finding.row - 1)
        path.unlink()
        return found


# --- recall and precision -------------------------------------------------------------------------------------------


def surveyed() -> pa.Table:
    """The real commune in its grid, with the columns the contract stores."""
    frame = geopandas.read_file(REAL)
    shapes = shapely.transform(frame.geometry.values, lambda lonlat: vn2000.from_wgs84(lonlat, REAL_GRID))
    columns = {name: frame[name].astype(object).where(frame[name].notna(), None).tolist()
               for name in ("shbando", "shthua", "dientich", "diachi", "mdsd")}  # fmt: skip
    return pa.table({
        "maXa": ["20935"] * len(frame),
        **{name: pa.array(values) for name, values in columns.items()},
        "geom": pa.array(shapely.to_wkb(shapes), pa.binary()),
    })  # fmt: skip


@dataclass(frozen=True)
class Score:
    """What a rule said. `own`: of the file as it was; the others: of what was planted, and `false` of anything else."""

    own: int
    planted: int
    found: int
    false: int

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false) if self.found + self.false else 1.0


Scores = dict[str, Score]


def judged(before: Seen, after: Seen, truth: Sequence[tuple[str, frozenset[int]]]) -> Scores:
    made = {}
    for rule in sorted({rule for rule, _ in truth} | set(after)):
        truths = [rows for other, rows in truth if other == rule]
        own, said = before.get(rule, set()), after.get(rule, set())
        found = sum(bool(rows & said) for rows in truths)
        made[rule] = Score(len(own), len(truths), found, len(said - own - frozenset().union(*truths)))
    return made


def scores(bench: Bench, place: Town, each: int, grid: int) -> Scores:
    """Plant every kind of defect and check: what each rule said that was planted or that spoke."""
    bench.govern(place, grid)
    before = bench.seen(place, grid, "before")
    plant(place, each, frozenset().union(*(rows for rule, rows in before.items() if rule.startswith(OF_SHAPE))))
    return judged(before, bench.seen(place, grid, "after"), place.truth)


def other_contracts(bench: Bench, count: int, each: int) -> Scores:
    """What the shipped contract of the parcels does not look for, and a network, which none of the shipped layers is.
    In the communes that `scores` made for generated parcels; there is nothing to be found before."""
    place = town(parcels(count), NAMES | variants.WORDS)
    varied = bench.with_contract(variants.varied(bench.registry[LAYER]), variants.COUNTRY)
    variants.plant(place, each)
    made = judged({}, varied.seen(place, GRID, "varied"), place.truth)
    net, lines = conflicts.network(each), conflicts.networked(bench.registry[LINES])
    return made | judged({}, bench.with_contract(lines).seen(net, GRID, "net", LINES), net.truth)


def between_layers(bench: Bench, count: int, each: int) -> dict[str, Scores]:
    """Layer -> what was said of its features when defects are planted between it and the others. Fills the store."""
    city, made = City(count), {}
    for layer, table in city.layers():
        if layer in conflicts.CONFLICTS:
            place = conflicts.as_named(table)
            conflicts.plant(city, layer, place, each)
            made[layer] = judged({}, bench.seen(place, GRID, "planted", layer), place.truth)
        if layer != BUILDINGS:
            bench.load(layer, table)
    return made


def table(title: str, made: dict[str, Score]) -> None:
    rows = [
        (rule, f"{s.own:,}", f"{s.planted:,}", f"{s.found:,}", f"{s.false:,}",
         f"{s.recall:.1%}" if s.planted else "", f"{s.precision:.1%}" if s.planted or s.false else "")
        for rule, s in made.items()
    ]  # fmt: skip
    show(title, ("rule", "the file's own", "planted", "found", "false", "recall", "precision"), rows)


def excused() -> None:
    rows = [(", ".join(sorted(RULES.keys() & set(rules))), why) for why, rules in UNPLANTED.items()]
    show("Planted in no feature", ("rules", "why"), rows)


# --- growth ---------------------------------------------------------------------------------------------------------


def measured(path: Path, layer: str, url: str, data: Path) -> dict[str, float]:
    """Check one file in this process. Seconds; MiB of memory at the peak."""
    bench = Bench(Settings(database_url=url, data=data), read_registry(ROOT / "layers"), data)
    begun = perf_counter()
    report = bench.check(path, layer)
    seconds = perf_counter() - begun
    spent = sum(os.times()[:4])
    # Not getrusage: its peak is handed on from the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
    absent = report.by_rule().get("layer.absent", 0)
    told = {"read": report.read, "findings": len(report.findings), "absent": absent}
    return told | {"seconds": seconds, "cpu": spent, "peak": peak}


def grow(most: int, server: str | None) -> None:
    """A city of each size: its parcels, permits and buildings are checked before they are loaded, while the layers that
    they are held against are full."""
    rows: dict[str, list[tuple[str, ...]]] = {}
    before: dict[str, dict[str, float]] = {}
    for count in [count for count in GROWTH if count <= most]:
        with deployment(server) as (settings, registry, folder):
            bench = Bench(settings, registry, folder)
            for layer, table in City(count, flawed=True).layers():
                if layer in (PARCELS, PERMITS, BUILDINGS):
                    said = alone(bench, layer, table, None if server else cluster.status(folder / "cluster").pid)
                    rows.setdefault(layer, []).append(line(layer, said, before.get(layer)))
                    before[layer] = said
                if layer != BUILDINGS:
                    bench.load(layer, table)
    headings = ("", "features", "s", "CPU s", "µs each", "features/s", "MiB", "findings", "grows as n to the")
    show("All checks, every neighbouring layer filled", headings, [row for each in rows.values() for row in each])


def alone(bench: Bench, layer: str, table: pa.Table, postmaster: int | None) -> dict[str, float]:
    """A layer's file, checked in a process of its own; CPU seconds are its own, its children's, and the server's."""
    path = bench.folder / "grown.gpkg"
    write_table(path, layer, table)
    url = engine.database_url(bench.settings)
    command = [sys.executable, __file__, "--one", str(path), layer, url, str(bench.settings.data)]
    ran = run(command, postmaster)
    path.unlink()
    said: dict[str, float] = json.loads(ran.output.splitlines()[-1])
    assert not said["absent"], layer
    return said | {"cpu": said["cpu"] + (ran.server or 0.0)}


def line(layer: str, said: dict[str, float], before: dict[str, float] | None) -> tuple[str, ...]:
    seconds, count = said["seconds"], said["read"]
    power = "" if before is None else f"{log(said['cpu'] / before['cpu']) / log(count / before['read']):.2f}"
    return (
        layer, f"{count:,}", f"{seconds:.1f}", f"{said['cpu']:.1f}", f"{1e6 * seconds / count:.0f}",
        f"{count / seconds:,.0f}", f"{said['peak']:,.0f}", f"{said['findings']:,}", power,
    )  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, GROWTH[-1])
    parser.add_argument("--each", type=int, default=50, help="how often each kind of defect is planted")
    parser.add_argument("--growth", action="store_true", help="time and memory instead")
    parser.add_argument("--one", nargs=4, metavar=("FILE", "LAYER", "URL", "DATA"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        file, layer, url, data = asked.one
        print(json.dumps(measured(Path(file), layer, url, Path(data))))
        return
    if asked.growth:
        grow(asked.parcels, asked.server)
        return
    with deployment(asked.server) as opened:
        bench = Bench(*opened)
        made = scores(bench, town(parcels(asked.parcels), NAMES), asked.each, GRID)
        table(f"{asked.parcels:,} generated parcels with planted defects", made)
        table("Under other contracts: parcels, and a network", other_contracts(bench, 3_000, asked.each))
        if REAL.exists():
            made = scores(bench, town(surveyed(), REAL_NAMES), asked.each, REAL_GRID)
            table("A real commune with planted defects", made)
    with deployment(asked.server) as opened:
        for layer, made in between_layers(Bench(*opened), asked.parcels, asked.each).items():
            table(f"{layer} of a city of {asked.parcels:,} parcels, defects between layers", made)
    excused()


if __name__ == "__main__":
    main()
