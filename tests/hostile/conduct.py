"""How any file ends that is handed in: the way of `sdi check`, with contracts that take every geometry there is, and if
SDI_TEST_TORTURE=contracts with each of the shipped ones that take its kind."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from sdi.cli import show
from sdi.contract.delivery import Request
from sdi.contract.registry import Registry, read_registry
from sdi.contract.report import Report
from sdi.errors import SdiError, UsageError
from sdi.ingest.crs import recognise
from sdi.ingest.deliver import Received, receive
from sdi.ingest.source import Inspection, Limits, SourceLayer, inspect
from sdi.national import vn2000
from sdi.settings import ROOT
from tests.ingest.plots import contract

WORLD = (-180.0, -90.0, 180.0, 90.0)
SECONDS = 20.0
"""What reading one file of the tests may take; the product's own limit, made small."""
MEMORY = 2 * 1024**3
LAYERS_A_FILE = 10_000 if os.environ.get("SDI_TEST_TORTURE") == "all" else 1
"""How many of a file's layers are handed in: the first one, or all there are (an inspection names 500 at most)."""
SHIPPED = os.environ.get("SDI_TEST_TORTURE") == "contracts"
ONE_AT_A_TIME = threading.Lock()
NOTHING = SourceLayer("", None, 0, (), None, None)
FAMILIES = {"point": "MultiPoint", "line": "MultiLineString", "polygon": "MultiPolygon"}

ANY = """
id: any_{family}
geometry: {{type: {type}, required: false, repair_tolerance: 100.0}}
attributes:
  - {{name: name, title: {{vi: Tên, en: Name}}, type: text, sources: [id, ten, text]}}
  - {{name: number, title: {{vi: Số, en: Number}}, type: number, sources: [value, area, dientich]}}
  - {{name: day, title: {{vi: Ngày, en: Day}}, type: date, sources: [date, ngay]}}
"""


@dataclass(frozen=True)
class End:
    """How one layer of a file (or the file as a whole) ended: with a report, or with a sentence."""

    layer: str | None
    sentence: str | None = None
    exit_code: int = 0
    report: Report | None = field(default=None, repr=False)
    promised: int | None = None
    """Features that the inspection promised."""
    contract: str | None = None

    @property
    def kind(self) -> str:
        if self.report is None:
            return "sentence"
        return "refused" if self.report.refused else "report"


@cache
def registry() -> Registry:
    """Contracts that take everything; the shipped ones too where they are asked for."""
    layers = {
        layer.id: layer for layer in (contract(ANY.format(family=each, type=kind)) for each, kind in FAMILIES.items())
    }
    if not SHIPPED:
        return Registry(Path(), layers)
    shipped = read_registry(ROOT / "layers")
    return replace(shipped, layers=shipped.layers | layers)


def hand_in(path: Path, *, seconds: float = SECONDS, memory: int = MEMORY, crs: str | None = None) -> list[End]:
    """How each layer of a file ends. Whatever is not a report or an SdiError is a bug and goes through.

    crs: the file has one layer, in this CRS; else it is looked into first, which takes a second process.
    """
    limits = Limits(timeout=seconds, memory=memory)
    begun = time.monotonic()
    ends = _ends(path, limits) if crs is None else [_check(path, NOTHING, None, limits, (crs,))]
    assert time.monotonic() - begun < 4 * seconds * (len(ends) + 1) + 60
    return ends


def together(paths: Iterable[Path], **limits: Any) -> list[list[End]]:
    """As hand_in, two files at a time: most of what a small file costs is the start of its own process."""
    with ThreadPoolExecutor(2) as workers:
        return list(workers.map(lambda path: hand_in(path, **limits), paths))


def _ends(path: Path, limits: Limits) -> list[End]:
    try:
        found: Inspection = inspect(path, limits)
    except UsageError as error:
        if len(names := _datasets(error)) < 2:
            return [_told(None, error)]
        return [end for name in names[:LAYERS_A_FILE] for end in _dataset(path, name, limits)]
    except SdiError:
        return [_check(path, NOTHING, None, limits)]
    return _layers(path, found, limits)


def _datasets(error: UsageError) -> list[str]:
    words = error.message.rsplit(" holds several datasets: ", 1)
    return words[1].rstrip(".").split(", ") if len(words) == 2 else []


def _dataset(path: Path, name: str, limits: Limits) -> list[End]:
    try:
        return _layers(path, inspect(path, limits, name), limits, name)
    except SdiError as error:
        return [_told(name, error)]


def _layers(path: Path, found: Inspection, limits: Limits, dataset: str | None = None) -> list[End]:
    layers = found.layers[:LAYERS_A_FILE] or (NOTHING,)
    return [
        _check(path, layer, dataset, limits, _systems(layer), name)
        for layer in layers
        for name in (f"any_{_family(layer)}", *(takers(layer) if SHIPPED else ()))
    ]


def takers(layer: SourceLayer) -> list[str]:
    """The shipped contracts that take features of a layer's kind; all, where it does not tell its kind."""
    family = FAMILIES[_family(layer)].removeprefix("Multi")
    told = layer.geometry_type not in (None, "Unknown", "GeometryCollection")
    made = [each for each in registry().layers.values() if each.kind == "features" and not each.id.startswith("any_")]
    return [each.id for each in made if each.geometry and (family in each.geometry.type or not told)]


def _told(layer: str | None, error: SdiError, contract: str | None = None) -> End:
    return End(layer, str(error), error.exit_code, contract=contract)


def _family(layer: SourceLayer) -> str:
    kind = (layer.geometry_type or "point").lower()
    return "polygon" if "polygon" in kind or "surface" in kind else "line" if "line" in kind or "curve" in kind else (
        "point" if "point" in kind else "polygon")  # fmt: skip


def _systems(layer: SourceLayer) -> tuple[str | None, ...]:
    """What is said of the CRS: nothing where the file says it well, else what the coordinates look like."""
    low = layer.bounds is not None and max(map(abs, layer.bounds)) <= 360
    guess = "EPSG:4326" if low else "EPSG:9210"
    return (guess,) if recognise(layer.crs) not in vn2000.GRIDS else (None, guess)


def _check(
    path: Path, layer: SourceLayer, dataset: str | None, limits: Limits, systems: tuple[str | None, ...] = (None,),
    contract: str | None = None,
) -> End:  # fmt: skip
    known = registry()
    taking = known[contract or f"any_{_family(layer)}"]
    wish: dict[str, Any] = {"path": path, "layer_in_file": dataset or layer.name or None}
    for crs in systems:
        try:
            checked = receive(Request(**wish, crs=crs), taking, known, grid=9210, extent=WORLD, limits=limits)
        except SdiError as error:
            told = _told(layer.name, error, taking.id)
            if crs is None and ("--crs" in str(error) or "is not a known grid" in str(error)):
                continue
            return told
        with checked:
            return _balanced(checked, layer, taking.id)
    return told


def _balanced(received: Received, layer: SourceLayer, contract: str) -> End:
    """Nothing is lost between the file and the tables, and the report can be said in both languages."""
    report = received.report
    assert report.read == report.kept + report.quarantined + report.dropped
    features, quarantined = received.features().read_all(), received.quarantined().read_all()
    assert (features.num_rows, quarantined.num_rows) == (report.kept, report.quarantined)
    rows = [*features["source_row"].to_pylist(), *quarantined["source_row"].to_pylist()]
    assert len(set(rows)) == len(rows)
    spoken(report)
    return End(layer.name, report=report, promised=layer.feature_count, contract=contract)


def spoken(report: Report) -> str:
    """A report in both languages, as the terminal shows it; and as machines get it, in JSON that any reader takes."""
    page = StringIO()
    with _shown_on(page):
        for language in ("vi", "en"):
            show.report(report, language)
    json.dumps(report.to_json(), allow_nan=False).encode()
    assert "Traceback" not in page.getvalue()
    return page.getvalue()


@contextmanager
def _shown_on(page: StringIO) -> Iterator[None]:
    with ONE_AT_A_TIME:
        before, show.out = show.out, Console(file=page, soft_wrap=True, highlight=False, width=show.WIDE)
        try:
            yield
        finally:
            show.out = before
