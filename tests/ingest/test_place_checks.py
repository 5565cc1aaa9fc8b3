"""Place: in the commune's extent and the grid's zone, with the axes and the meridian that were meant."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS

from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from sdi.errors import UsageError
from sdi.ingest.deliver import Received, receive
from sdi.national import vn2000
from sdi.settings import ROOT
from tests.ingest.plots import contract, geojson, registry, square

PLOTS = """
identifier: {template: "{number}"}
geometry: {type: Polygon}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: integer}
"""
ZONED = PLOTS + "checks:\n  - {rule: place.zone}\n"

TM3 = [epsg for epsg, grid in vn2000.GRIDS.items() if grid.kind == "tm3"]
TRUE = 9210
"""TM-3 105°45': TP.HCM."""
CENTRE = (106.70, 10.77)
COMMUNE = (106.67, 10.74, 106.73, 10.80)
"""West, south, east, north of a commune 6.6 km wide."""


def found(received: Received, rule: str) -> list[Finding]:
    return [finding for finding in received.report.findings if finding.rule == rule]


def delivered(
    folder: Path, declared: int, *, true: int = TRUE, exchanged: bool = False, strays: int = 0, text: str = PLOTS,
    centre: tuple[float, float] = CENTRE, extent: tuple[float, float, float, float] | None = COMMUNE, **said: Any,
) -> Received:  # fmt: skip
    """40 plots around a place, drawn in one grid and declared as another."""
    x, y = vn2000.from_wgs84(np.array([centre]), true)[0]
    shapes = [square(x + 15 * (n % 8), y + 15 * (n // 8)) for n in range(40)]
    shapes += [square(x + 50_000 + 20 * n, y) for n in range(strays)]
    if exchanged:
        for shape in shapes:
            shape["coordinates"] = [[[b, a] for a, b in ring] for ring in shape["coordinates"]]
    path = geojson(folder / "plots.geojson", [(shape, {"number": n}) for n, shape in enumerate(shapes)], crs=declared)
    return receive(Request(path=path, **said), contract(text), registry(), grid=true, extent=extent)


# --- the meridian -----------------------------------------------------------------------------------------------------

OTHERS = sorted({
    vn2000.GRIDS[epsg].meridian: epsg for epsg in TM3 if vn2000.GRIDS[epsg].meridian != vn2000.GRIDS[TRUE].meridian
}.values())  # fmt: skip


@pytest.mark.parametrize("declared", OTHERS, ids=[f"{vn2000.GRIDS[epsg].meridian}" for epsg in OTHERS])
def test_a_wrong_meridian_is_refused_and_the_right_one_proposed_never_applied(declared: int, tmp_path: Path) -> None:
    received = delivered(tmp_path, declared)
    assert received.report.refused
    assert found(received, "place.outside")[0].value == 40
    proposed = [str(finding.value) for finding in found(received, "place.proposal")]
    assert proposed[0].startswith(f"EPSG:{TRUE} ")
    assert received.delivery.crs_used == f"EPSG:{declared}"
    assert not delivered(tmp_path, declared, crs=f"EPSG:{TRUE}").report.findings


def test_neighbouring_meridians_lie_27_to_219_km_away_in_the_south() -> None:
    """The distances that the domain names: 105°30' 27 km, 105°00' 82 km, 107°45' 219 km."""
    point = vn2000.from_wgs84(np.array([CENTRE]), TRUE)
    for meridian, kilometres in ((105.5, 27), (105.0, 82), (107.75, 219)):
        epsg = next(code for code in TM3 if vn2000.GRIDS[code].meridian == meridian)
        lon, lat = vn2000.to_wgs84(point, epsg)[0]
        away = math.hypot((lon - CENTRE[0]) * math.cos(math.radians(lat)), lat - CENTRE[1]) * 111.2
        assert away == pytest.approx(kilometres, abs=1)


@pytest.mark.parametrize("swap", [False, True])
def test_exchanged_axes_are_refused_and_the_exchange_proposed(swap: bool, tmp_path: Path) -> None:
    received = delivered(tmp_path, TRUE, exchanged=True, swapped=swap)
    assert received.report.refused is not swap
    if not swap:
        first = found(received, "place.proposal")[0]
        assert str(first.value).startswith(f"EPSG:{TRUE} ")
        assert "--swap-axes" in str(first.value)
        assert "--crs" in first.sentence("vi")
        assert "cùng tùy chọn ghi trong ngoặc" in first.sentence("vi")


def test_a_single_stray_goes_to_quarantine_and_the_others_are_kept(tmp_path: Path) -> None:
    received = delivered(tmp_path, TRUE, strays=2)
    assert not received.report.refused
    assert (received.report.kept, received.report.quarantined) == (40, 2)
    told = found(received, "place.outside")
    assert [(f.feature, f.action) for f in told] == [("40", "quarantine"), ("41", "quarantine")]
    assert told[0].place is not None
    assert told[0].place[0] > COMMUNE[2]


# --- the zone of the grid ---------------------------------------------------------------------------------------------


HANOI = 5897
"""TM-3 105°: its zone and its area end at 106.51°."""


def test_what_lies_beyond_the_zone_of_its_grid_is_told_with_the_metres(tmp_path: Path) -> None:
    """TP.HCM drawn in Cần Thơ's grid, and declared so: it lies where it should, 21 km beyond the zone."""
    told = found(delivered(tmp_path, HANOI, true=HANOI, text=ZONED), "place.zone")
    edge = vn2000.GRIDS[HANOI].area[2]
    assert len(told) == 40
    assert told[0].value == pytest.approx((CENTRE[0] - edge) * math.cos(math.radians(CENTRE[1])) * 111_200, rel=0.02)
    assert str(told[0].limit).startswith(f"EPSG:{HANOI}")
    assert "múi" in told[0].sentence("vi")
    assert not delivered(tmp_path, TRUE, text=ZONED).report.findings


def test_the_zone_is_asked_of_only_where_the_contract_says(tmp_path: Path) -> None:
    assert not delivered(tmp_path, HANOI, true=HANOI).report.findings
    wide = ZONED.replace("place.zone}", "place.zone, tolerance: 30000}")
    assert not delivered(tmp_path, HANOI, true=HANOI, text=wide).report.findings


# --- Hà Nội-72 --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hanoi_72(tmp_path: Path) -> Callable[[int, bool], Path]:
    """A Shapefile of the 1990s, with or without a .prj that says so."""

    def write(epsg: int, declared: bool) -> Path:
        path = tmp_path / "thua.shp"
        pyogrio.raw.write(
            path, geometry=shapely.to_wkb(np.array([shapely.box(18_588_400, 2_326_300, 18_588_420, 2_326_320)])),
            field_data=[np.array(["1"], dtype=object)], fields=["shthua"], geometry_type="Polygon",
            crs=CRS.from_epsg(epsg).to_wkt("WKT1_ESRI"), encoding="UTF-8",
        )  # fmt: skip
        if not declared:
            path.with_suffix(".prj").unlink()
        return path

    return write


@pytest.mark.parametrize("epsg", [2044, 2045, 2093, 4147])
@pytest.mark.parametrize("declared", [True, False], ids=["by its .prj", "by --crs"])
def test_hanoi_72_is_refused_with_the_legal_ground_and_a_way_out(
    epsg: int, declared: bool, hanoi_72: Callable[[int, bool], Path]
) -> None:
    request = Request(hanoi_72(epsg, declared), crs=None if declared else f"EPSG:{epsg}")
    with pytest.raises(UsageError, match="no official parameters lead from Hà Nội-72 to VN-2000") as refused:
        receive(request, contract(PLOTS), registry(), grid=5897)
    assert "TT 973/2001/TT-TCĐC" in str(refused.value.hint)


@pytest.mark.parametrize("declared", [True, False], ids=["by its .prj", "by --crs"])
def test_sdi_check_says_so_in_one_sentence(
    declared: bool, hanoi_72: Callable[[int, bool], Path], tmp_path: Path
) -> None:
    words = ["check", "cadastral_parcels", str(hanoi_72(2044, declared)), *([] if declared else ["--crs", "EPSG:2044"])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SDI_")}
    done = subprocess.run(
        [sys.executable, "-m", "sdi", *words], text=True, capture_output=True, check=False, cwd=tmp_path,
        env={**environment, "SDI_DATA": str(tmp_path / ".sdi"), "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Hà Nội-72" in done.stderr
    assert "Traceback" not in done.stderr
