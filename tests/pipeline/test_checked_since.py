"""A delivery that repeats most of the one before: what it is told must be what a whole check would tell."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
import shapely.ops
from numpy.typing import NDArray

from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from sdi.ingest.checks.between import TELLING
from sdi.ingest.write import write_features
from sdi.store import waiver
from tests.deployment import Deployment

GRID = 5897
LAYER = "cadastral_parcels"
EAST, NORTH = 588_000.0, 2_326_000.0
SIDE, LOT = 50, 20.0
"""Lots of a town along each side, and metres of a lot: findings at its far ends do not reach each other's windows."""


@dataclass
class Town:
    """Lots that share jittered corners, column by column."""

    shapes: NDArray[np.object_]
    number: list[str]
    sheet: list[str]
    commune: list[str]
    address: list[str]

    @classmethod
    def drawn(cls, seed: int) -> Town:
        random = np.random.default_rng(seed)
        corner = np.stack(np.meshgrid(np.arange(SIDE + 1), np.arange(SIDE + 1), indexing="ij"), axis=-1) * LOT
        corner = (corner + random.uniform(-3, 3, corner.shape) + (EAST, NORTH)).round(3)
        ring = [corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:], corner[:-1, :-1]]
        shapes = shapely.polygons(np.stack(ring, axis=2).reshape(-1, 5, 2))
        count = len(shapes)
        sheet = [str(1 + row // (SIDE * 10)) for row in range(count)]
        town = cls(shapes, [str(row) for row in range(count)], sheet, ["00070"] * count, ["1 Hàng Đào"] * count)
        for row in random.choice(count, 60, replace=False):
            town.spoil(int(row), random)
        return town

    def spoil(self, row: int, random: np.random.Generator) -> None:
        """Give a lot a boundary that overlaps its neighbours, leaves a gap or misses theirs."""
        grown = float(random.choice([0.6, 0.25, -0.2, 0.03]))
        self.shapes[row] = shapely.buffer(self.shapes[row], grown, join_style="mitre")

    def without(self, rows: set[int]) -> Town:
        kept = [row for row in range(len(self.shapes)) if row not in rows]
        columns = (self.number, self.sheet, self.commune, self.address)
        return Town(self.shapes[kept], *([column[row] for row in kept] for column in columns))

    def only(self, rows: list[int]) -> Town:
        return self.without(set(range(len(self.shapes))) - set(rows))

    def copy(self) -> Town:
        return self.without(set())

    def written(self, path: Path) -> Request:
        table = {
            "commune_code": pa.array(self.commune), "sheet_number": pa.array(self.sheet),
            "parcel_number": pa.array(self.number), "address": pa.array(self.address),
            "land_use_code": pa.array(["ODT"] * len(self.shapes)),
            "geom": pa.array(shapely.to_wkb(self.shapes), pa.binary()),
        }  # fmt: skip
        path.unlink(missing_ok=True)
        write_features(path, "thua", pa.table(table), GRID, "Polygon")
        return Request(path, steward="test", allow_shrink=True)


def edited(town: Town, seed: int, corner: tuple[int, int] | None = None) -> Town:
    """The town after a random day's work in one quarter of it, whose south-west lot may be told."""
    random, town = np.random.default_rng(seed), town.copy()
    west, south = random.integers(0, SIDE - 6, 2) if corner is None else corner
    quarter = [int(x) * SIDE + int(y) for x in range(west, west + 6) for y in range(south, south + 6)]
    for row in random.choice(quarter, 4, replace=False):
        town.spoil(int(row), random)
    for row in random.choice(quarter, 2, replace=False):
        town.sheet[row] = "99"
    for row in random.choice(len(town.shapes) if corner is None else quarter, 20, replace=False):
        town.address[row] = f"{seed} Hàng Bạc"
    row = int(random.choice(quarter))
    town.shapes[row] = shapely.from_wkt(  # a bow tie: it goes into quarantine, and is no neighbour any more
        f"POLYGON (({EAST} {NORTH}, {EAST + 9} {NORTH + 9}, {EAST + 9} {NORTH}, {EAST} {NORTH + 9}, {EAST} {NORTH}))"
    )
    return town.without({int(row) for row in random.choice(quarter, 2, replace=False)})


def told(findings: Any) -> list[tuple[Any, ...]]:
    """Findings between features, in one order; places to a tenth of a micrometre."""
    chosen = [finding for finding in findings if finding.rule in TELLING]
    return sorted(map(_key, chosen), key=repr)


def _key(finding: Finding) -> tuple[Any, ...]:
    place = finding.place and tuple(round(float(degree), 12) for degree in finding.place)
    value = None if finding.value is None else float(finding.value)
    return (finding.rule, finding.severity, finding.action, finding.feature, finding.row, finding.other, value,
            finding.limit, place)  # fmt: skip


@pytest.fixture
def at(new_deployment: Callable[..., Deployment]) -> Deployment:
    return new_deployment(grid=GRID)


def deliver(at: Deployment, request: Request) -> pipeline.Outcome:
    with pipeline.reading(at.settings, needed=True) as connection:
        assert connection is not None
        return pipeline.deliver(connection, at.settings, at.registry, LAYER, request)


def checked(at: Deployment, request: Request) -> tuple[int | None, list[tuple[Any, ...]], list[Finding]]:
    with pipeline.reading(at.settings, needed=True) as connection:
        received = pipeline.check(connection, at.settings, at.registry, LAYER, request)
        with closing(received):
            since = received.delivery.checked_since
            return since, told(received.report.findings), list(received.report.findings)


def test_what_is_looked_at_anew_and_what_is_carried_over_make_a_whole_check(at: Deployment, tmp_path: Path) -> None:
    town, file = Town.drawn(1), tmp_path / "thua.gpkg"
    base = deliver(at, town.written(file))
    assert base.delivery.checked_since is None
    assert len(told(base.report.findings)) > 100
    carried = 0
    for seed in range(12):
        request = edited(town, seed).written(file)
        since, found, _ = checked(at, request)
        whole, expected, _ = checked(at, replace(request, check_all=True))
        assert (since, whole) == (base.load_id, None)
        assert found == expected, seed
        carried += len({key[3] for key in found} & {key[3] for key in told(base.report.findings)})
    assert carried > 0


def test_loads_rollbacks_and_reforms_between_leave_no_finding_stale(at: Deployment, tmp_path: Path) -> None:
    town, file = Town.drawn(2), tmp_path / "thua.gpkg"
    first = deliver(at, town.written(file))
    for seed in range(3):
        town = edited(town, 100 + seed, (4, 4))
        outcome = deliver(at, town.written(file))
        assert outcome.delivery.checked_since is not None
    some = list(range(40, 60))
    part = town.only(some)
    for row in range(0, 20, 5):
        part.spoil(row, np.random.default_rng(row))
    partial = deliver(at, replace(part.written(tmp_path / "part.gpkg"), mode="partial"))
    assert partial.delivery.checks is None
    request = edited(town, 200, (4, 4)).written(file)
    since, found, _ = checked(at, request)
    assert since == outcome.load_id
    assert found == checked(at, replace(request, check_all=True))[1]
    with pipeline.reading(at.settings, needed=True) as connection:
        assert connection is not None
        pipeline.rollback(connection, at.settings, at.registry, LAYER, first.load_id, steward="test")
    since, found, _ = checked(at, request)
    assert since == outcome.load_id
    assert found == checked(at, replace(request, check_all=True))[1]


def test_what_a_waiver_let_pass_is_judged_again(at: Deployment, tmp_path: Path) -> None:
    """As long as it holds the finding is waived, carried over or not."""
    town, file = Town.drawn(3), tmp_path / "thua.gpkg"
    base = deliver(at, town.written(file))
    overlap = next(finding for finding in base.report.findings if finding.rule == "coverage.overlap")
    with pipeline.reading(at.settings, needed=True) as connection:
        assert connection is not None
        waiver.give(
            connection, at.registry[LAYER], overlap.rule, str(overlap.feature), reason="biên bản 12/BB",
            steward="test", until=date.today() + timedelta(days=30),
        )  # fmt: skip
    town.address[0] = "2 Hàng Đào"
    request = town.written(file)
    since, found, _ = checked(at, request)
    assert since == base.load_id
    assert found == checked(at, replace(request, check_all=True))[1]
    assert "waived" in {key[2] for key in found if key[3] == overlap.feature}


def test_a_partial_delivery_is_held_against_what_the_layer_has_around_it(at: Deployment, tmp_path: Path) -> None:
    town, file = Town.drawn(4), tmp_path / "thua.gpkg"
    deliver(at, town.written(file))
    row = 25 * SIDE + 25
    part = town.only([row, row + 200])
    part.shapes[0] = shapely.affinity.translate(part.shapes[0], 4.0, 0)
    part.number[0] = "new"
    request = replace(part.written(tmp_path / "part.gpkg"), mode="partial")
    _, _, findings = checked(at, request)
    mine = [finding for finding in findings if finding.rule == "coverage.overlap"]
    new = {finding.feature for finding in mine if finding.row == 1}
    others = {str(finding.other) for finding in mine if finding.row == 1}
    assert len(new) == 1
    assert {other.rsplit(".", 1)[-1] for other in others} >= {str(row), str(row + SIDE)}
    assert {finding.row for finding in findings if finding.rule in TELLING} <= {1, 2}


def test_what_a_delivery_ends_is_no_neighbour_of_its_successors(at: Deployment, tmp_path: Path) -> None:
    """A split that is delivered in part: its halves lie upon the parcel that has ended, and upon nothing else."""
    town = Town.drawn(4)
    row = 25 * SIDE + 25
    deliver(at, town.written(tmp_path / "thua.gpkg"))
    halves = town.only([row, row + 200])
    halves.shapes = shapely.get_parts(shapely.ops.split(town.shapes[row], _across(town.shapes[row])))
    halves.number = ["a", "b"]
    request = replace(halves.written(tmp_path / "tach.gpkg"), mode="partial")

    def over(request: Request) -> set[str]:
        return {str(f.other).rsplit(".", 1)[-1] for f in checked(at, request)[2] if f.rule == "coverage.overlap"}

    assert str(row) in over(request)
    assert str(row) not in over(replace(request, ended=(f"00070.{town.sheet[row]}.{row}",)))


def _across(lot: shapely.Polygon) -> shapely.LineString:
    west, south, east, north = lot.bounds
    middle = (west + east) / 2
    return shapely.LineString([(middle, south - 1), (middle, north + 1)])


def test_a_commune_is_held_against_its_neighbours_of_other_deliveries(at: Deployment, tmp_path: Path) -> None:
    town = Town.drawn(5)
    half = SIDE * SIDE // 2
    west, east = town.only(list(range(half))), town.only(list(range(half, 2 * half)))
    east.commune = ["00073"] * half
    for row in range(0, SIDE, 7):  # along the border
        east.shapes[row] = shapely.buffer(east.shapes[row], 0.8, join_style="mitre")
    deliver(at, west.written(tmp_path / "west.gpkg"))
    outcome = deliver(at, east.written(tmp_path / "east.gpkg"))
    over = [f for f in outcome.report.findings if f.rule == "coverage.overlap" and str(f.other).startswith("00070")]
    assert {str(finding.feature).rsplit(".", 1)[-1] for finding in over} >= {
        str(half + row) for row in range(0, SIDE, 7)
    }
    again = deliver(at, west.written(tmp_path / "west.gpkg"))  # what came beside it has its windows, the rest stands
    assert again.load is not None
    assert again.load.written == 0
    seen = [f for f in again.report.findings if f.rule == "coverage.overlap" and str(f.other).startswith("00073")]
    assert len(seen) == len(over)
