"""What the checks find: planted defects against findings, rule by rule; and how time and memory grow with the parcels.

Defects are planted into generated parcels and, where its file is at hand, into a real commune, whose own findings
before the planting do not count. `--growth` checks 10,000 to `--parcels` sound parcels instead, each in a process of
its own. Checks between layers are held against the planted conflicts of the demo city by the tests.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import geopandas
import numpy as np
import pyarrow as pa
import shapely
from defects import AWAY, Town, plant, town
from land import GRID, LAYER, arguments, deployment, parcels, show

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.contract.registry import Registry
from sdi.contract.report import Report
from sdi.ingest.write import write_features
from sdi.national import vn2000
from sdi.settings import ROOT, Settings
from sdi.store import engine

GROWTH = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
REAL = ROOT.parent / "shared" / "data" / "vn_cadastre_duynghia" / "duynghia_parcels_redacted.geojson.zip"
REAL_GRID = 5899
UNITS = "admin_units"
NAMES = {
    "commune": "maXa", "sheet": "soTo", "number": "soThua", "use": "mdsd", "area": "dienTich", "address": "diaChi",
    "start": "hieuLucTu", "end": "hieuLucDen", "id": "maThuaDat",
}  # fmt: skip
REAL_NAMES = NAMES | {"sheet": "shbando", "number": "shthua", "area": "dientich", "address": "diachi"}
NOT_JUDGED = ("file.", "text.converted", "delivery.", "layer.absent")
"""What is said of a file, not of a feature."""
OF_SHAPE = ("coverage.", "geometry.")
Seen = dict[str, set[int]]
"""Rule -> rows from 0."""


@dataclass(frozen=True)
class Bench:
    settings: Settings
    registry: Registry
    folder: Path

    def check(self, path: Path) -> Report:
        """As `sdi check` does: the whole contract, other layers in the store included; nothing is written."""
        with engine.connect(engine.database_url(self.settings), engine.LOADER) as connection:
            request = Request(path, steward="bench")
            with closing(pipeline.check(connection, self.settings, self.registry, LAYER, request)) as checked:
                return checked.report

    def govern(self, place: Town, grid: int) -> None:
        """Load two communes: the one that the town's parcels name, and the next to the east."""
        west, south, _, north = shapely.total_bounds(place.shapes)
        middle, far = west + AWAY, west + 2.5 * AWAY
        codes = [str(place.columns[place.names["commune"]][0]), "99998"]
        top = [north + 2 * AWAY, north + AWAY / 2]
        ground = shapely.box([west - AWAY, middle], south - AWAY, [middle, far], top)
        frame = geopandas.GeoDataFrame(
            {"maXa": codes, "capHanhChinh": "commune", "ten": ["Xã này", "Xã bên"], "hieuLucTu": "2020-01-01"},
            geometry=shapely.transform(ground, lambda xy: vn2000.to_wgs84(xy, grid)), crs=4326,
        )  # fmt: skip
        path = self.folder / f"communes_{grid}.geojson"
        frame.to_file(path)
        with engine.connect(engine.database_url(self.settings), engine.LOADER) as connection:
            request = Request(path, grid=grid, steward="bench")
            outcome = pipeline.deliver(connection, self.settings, self.registry, UNITS, request)
            assert outcome.load is not None
            assert outcome.report.kept == len(codes), outcome.report.by_rule()

    def seen(self, place: Town, grid: int, name: str) -> Seen:
        path = self.folder / f"{name}.gpkg"
        with np.errstate(invalid="ignore"):  # one defect is a coordinate that is no number
            write_features(path, "ThuaDat", place.table(), grid, "MultiPolygon")
        found: Seen = {}
        for finding in self.check(path).findings:
            if finding.row is not None and not finding.rule.startswith(NOT_JUDGED):
                found.setdefault(finding.rule, set()).add(finding.row - 1)
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


def scores(bench: Bench, place: Town, each: int, grid: int) -> dict[str, Score]:
    """Plant every kind of defect and check: what each rule said that was planted or that spoke."""
    bench.govern(place, grid)
    before = bench.seen(place, grid, "before")
    plant(place, each, frozenset().union(*(rows for rule, rows in before.items() if rule.startswith(OF_SHAPE))))
    after = bench.seen(place, grid, "after")
    made = {}
    for rule in sorted({rule for rule, _ in place.truth} | set(after)):
        truths = [truth for other, truth in place.truth if other == rule]
        own, said = before.get(rule, set()), after.get(rule, set())
        found = sum(bool(truth & said) for truth in truths)
        made[rule] = Score(len(own), len(truths), found, len(said - own - frozenset().union(*truths)))
    return made


def table(title: str, made: dict[str, Score]) -> None:
    rows = [
        (rule, f"{s.own:,}", f"{s.planted:,}", f"{s.found:,}", f"{s.false:,}",
         f"{s.recall:.1%}" if s.planted else "", f"{s.precision:.1%}" if s.planted or s.false else "")
        for rule, s in made.items()
    ]  # fmt: skip
    show(title, ("rule", "the file's own", "planted", "found", "false", "recall", "precision"), rows)


# --- growth ---------------------------------------------------------------------------------------------------------


def measured(path: Path, server: str | None) -> dict[str, float]:
    """Check one file in this process. Seconds; MiB of memory at the peak."""
    with deployment(server) as (settings, registry, folder):
        begun = perf_counter()
        report = Bench(settings, registry, folder).check(path)
        seconds = perf_counter() - begun
    # Not getrusage: its peak is handed on from the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
    return {"seconds": seconds, "peak": peak, "read": report.read, "findings": len(report.findings)}


def grow(bench: Bench, most: int, server: str | None) -> None:
    rows = []
    for count in [count for count in GROWTH if count <= most]:
        path = bench.folder / "grown.gpkg"
        write_features(path, "ThuaDat", parcels(count), GRID, "MultiPolygon")
        command = [sys.executable, __file__, "--one", str(path), *(["--server", server] if server else [])]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        said = json.loads(done.stdout.splitlines()[-1])
        seconds = said["seconds"]
        rows.append((
            f"{count:,}", f"{seconds:.1f}", f"{1e6 * seconds / count:.0f}", f"{count / seconds:,.0f}",
            f"{said['peak']:,.0f}", f"{said['findings']:,}",
        ))  # fmt: skip
        path.unlink()
    show("All checks", ("parcels", "s", "µs each", "parcels/s", "MiB", "findings"), rows)


def main() -> None:
    parser = arguments(__doc__, GROWTH[-1])
    parser.add_argument("--each", type=int, default=50, help="how often each kind of defect is planted")
    parser.add_argument("--growth", action="store_true", help="time and memory instead")
    parser.add_argument("--one", type=Path, metavar="FILE", help="check one file and print its figures as JSON")
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(measured(asked.one, asked.server)))
        return
    with deployment(asked.server) as (settings, registry, folder):
        bench = Bench(settings, registry, folder)
        if asked.growth:
            grow(bench, asked.parcels, asked.server)
            return
        made = scores(bench, town(parcels(asked.parcels), NAMES), asked.each, GRID)
        table(f"{asked.parcels:,} generated parcels with planted defects", made)
        if REAL.exists():
            table(
                "A real commune with planted defects",
                scores(bench, town(surveyed(), REAL_NAMES), asked.each, REAL_GRID),
            )


if __name__ == "__main__":
    main()
