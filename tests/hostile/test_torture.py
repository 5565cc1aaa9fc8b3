"""Every file of the torture sets ends in a report or in one clear sentence, and no feature is lost on the way.

A selection runs always: of each set one file for each suffix and each way it ended with GDAL, and of each file its
first layer. SDI_TEST_TORTURE=all hands in all layers of all files; SDI_TEST_TORTURE=contracts the first layer of all
files to each shipped contract that takes its kind. SDI_TEST_TORTURE_PART=2/5 takes the second fifth of each set.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdi.errors import SourceError
from sdi.ingest.source import inspect
from tests.hostile.conduct import End, hand_in, together

ALL = os.environ.get("SDI_TEST_TORTURE") in ("all", "contracts")
PART, PARTS = map(int, os.environ.get("SDI_TEST_TORTURE_PART", "1/1").split("/"))
SETS = [
    "torture_gdal_autotest", "torture_mapshaper", "torture_geojson_invalid", "torture_gpkg_pdok", "torture_pyogrio",
]  # fmt: skip
FOREIGN_WORDS = re.compile(r"GDAL|OGR|pyogrio|shapely|GEOS|sqlite3|Traceback|Error\b|errno|0x[0-9a-f]+|/tmp|None", re.I)
"""What no ward officer should have to read; `OGR` stands in no file name of the sets but as `ogr_`."""


@dataclass(frozen=True)
class Known:
    """A dataset of a MANIFEST.csv: what GDAL 3.12 said of it. `counts`: layer -> features, where it told them."""

    path: Path
    read: bool
    counts: dict[str, int]


def known(folder: Path) -> list[Known]:
    with (folder / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        return [
            Known(folder / row["path"], row["pyogrio_rc"] == "0", _counts(row["pyogrio"]))
            for row in csv.DictReader(file)
        ]


def _counts(text: str) -> dict[str, int]:
    try:
        layers = json.loads(text)
    except ValueError:  # an error message, or a list that the manifest cuts
        return {}
    return {layer[0]: layer[2] for layer in layers if isinstance(layer[2], int)}


def selected(datasets: list[Known]) -> list[Known]:
    if ALL:
        return datasets[PART - 1 :: PARTS]
    return list({(each.path.suffix.lower(), each.read): each for each in reversed(datasets)}.values())


@pytest.mark.parametrize("name", SETS)
def test_every_file_of_a_torture_set_ends_in_a_report_or_in_one_clear_sentence(
    name: str, shared_data: Callable[[str], Path]
) -> None:
    datasets = selected(known(shared_data(name)))
    for dataset, ends in zip(datasets, together([each.path for each in datasets]), strict=True):
        assert ends
        for end in ends:
            judge(dataset, end)


def judge(dataset: Known, end: End) -> None:
    where = f"{dataset.path.parent.name}/{dataset.path.name}: {end}"
    if end.sentence is not None:
        plain = end.sentence.replace(dataset.path.name, "FILE").replace(dataset.path.stem, "FILE")
        assert FOREIGN_WORDS.search(plain) is None, where
        assert re.fullmatch(r".+\. .+[.?…].*", end.sentence, re.DOTALL), f"no next step: {where}"
        assert end.exit_code in (1, 2), where
        return
    assert end.report is not None
    promised = dataset.counts.get(end.layer or "", end.promised)  # a count in an .xsd may be another file's
    assert promised in (end.report.read, None, -1), where


# --- other real files with defects ------------------------------------------------------------------------------------

REFUSED = [
    ("vn_incomplete_shapefile", "DiaPhanCapTinh_shapefile.dbf", "shapefile.shp is missing"),
    ("nz_kart", "*.shp", ".shx is missing"),
    ("ch_av_dm01_2549", "*.itf", "ili2gpkg"),
    ("bim_ifc43", "*.ifc", "cannot be read"),
]
REPORTED = [
    ("fr_departements_wrong_cpg", "*.zip", "file.encoding"),
    ("cz_cadastre_dxf", "*.dxf", "file.column_unknown"),
]


@pytest.mark.parametrize(("name", "pattern", "said"), REFUSED)
def test_a_real_file_with_a_defect_is_refused_by_its_defect(
    name: str, pattern: str, said: str, shared_data: Callable[[str], Path]
) -> None:
    path = min(shared_data(name).rglob(pattern))
    with pytest.raises(SourceError) as caught:
        inspect(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(("name", "pattern", "rule"), REPORTED)
def test_a_real_file_with_a_defect_is_reported_by_its_defect(
    name: str, pattern: str, rule: str, shared_data: Callable[[str], Path]
) -> None:
    ends = hand_in(min(shared_data(name).rglob(pattern)), seconds=60)
    assert [end.report for end in ends if end.report and rule in end.report.by_rule()]


def test_a_city_model_that_is_no_geojson_is_refused(shared_data: Callable[[str], Path]) -> None:
    for path in sorted(shared_data("citymodel_cityjson").rglob("*.json"))[:2]:
        assert [end.kind for end in hand_in(path)] == ["sentence"]
