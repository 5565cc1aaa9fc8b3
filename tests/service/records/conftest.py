"""A town of its own, for what is delivered, announced and withdrawn here must not disturb others."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
import shapely

from sdi.contract.registry import read_registry
from sdi.store import engine, migrate
from tests.service.conftest import CORNER, TOWN, Town, deliver, enter_ground, plots, served, works

ANNOUNCED = """
id: pipes
version: 2.1.0
title: {vi: Đường ống mật danh, en: Pipes to come}
description: {vi: Chưa mở., en: Not open yet.}
theme: testtown
steward: {id: so_thu, name: {vi: Sở Thử nghiệm, en: Department of Tests}}
legal_basis: [{reference: NĐ 194/2025/NĐ-CP, confidence: V}]
identifier: {attribute: asset_word}
geometry: {type: Point}
attributes:
  - {name: asset_word, title: {vi: Tài sản, en: Asset}, type: text}
sharing:
  level: agency
  release:
    planned: 2027-06-30
    reason: {vi: Đang rà soát vị trí cần bảo vệ., en: Places to be protected are under review.}
licence: {id: test, title: {vi: Thử nghiệm, en: Test}}
update_cycle: annually
"""


@pytest.fixture(scope="module")
def city(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Plots (some withheld), works under an open licence, a coverage, a hidden layer, and one that is announced."""
    folder = tmp_path_factory.mktemp("contracts") / "layers"
    shutil.copytree(TOWN, folder)
    (folder / "pipes.yaml").write_text(ANNOUNCED, encoding="utf-8")
    contract = folder / "works.yaml"
    said = contract.read_text(encoding="utf-8").replace("licence: {id: test,", "licence: {id: CC-BY-4.0,")
    contract.write_text(f"{said}topics: [structure, planningCadastre]\n", encoding="utf-8")
    registry = read_registry(folder)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    table, shapes = works()
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    for name, key in (("secrets", "name"), ("pipes", "asset_word")):
        row = pa.table({"id": ["hidden-id"], key: ["hidden-value"]})
        deliver(database, registry, registry[name], row, [shapely.Point(*CORNER)], [5897])
    enter_ground(database, registry, tmp_path_factory.mktemp("ground"))
    with served(database, registry, data=tmp_path_factory.mktemp("data"), contact="sdi@example.org") as found:
        yield found


@pytest.fixture(scope="module")
def told(city: Town) -> Callable[[], dict[str, bytes]]:
    """Everything that the catalogue says to the public, by its address."""

    def all_of_it() -> dict[str, bytes]:
        records = "/collections/data-catalogue"
        of_layers = [f"{records}/items/{name}" for name in ("plots", "works", "plot_card", "ground")]
        paths = [
            "/", "/collections", "/catalogue", "/catalogue?f=html", "/catalogue/changes", "/catalogue/changes?f=html",
            records, f"{records}?f=html", f"{records}/items", f"{records}/items?f=html", f"{records}/sortables",
            "/open-data", "/open-data?f=html", "/openapi",
            *(f"{path}?f={form}" for path in of_layers for form in ("json", "html", "jsonld", "iso19139")),
        ]  # fmt: skip
        found = {}
        for path in paths:
            for language in ("vi", "en"):
                address = f"{path}{'&' if '?' in path else '?'}lang={language}"
                answer = city.ask(address)
                assert answer.status == 200, (address, answer.text[:300])
                found[address] = answer.body
        return found

    return all_of_it
