"""A new layer is a new YAML file and nothing else: the running service serves it a moment after its first load."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from sdi.contract.registry import read_registry
from sdi.settings import ROOT
from sdi.store import engine, ledger, migrate
from tests.deployment import Deployment, serving

TREES = """
id: street_trees
version: 1.0.0
title: {vi: Cây xanh đường phố, en: Street trees}
description: {vi: Cây xanh trồng trên đường phố., en: Trees that stand along streets.}
theme: greenery
steward: {id: so_xd, name: {vi: Sở Xây dựng, en: Department of Construction}}
legal_basis: [{reference: TT 16/2025/TT-BXD Phụ lục II, confidence: "2"}]
official_name: CayXanh_P
identifier: {attribute: tree_number}
geometry: {type: Point}
attributes:
  - {name: tree_number, title: {vi: Số hiệu cây, en: Number}, type: text, required: true, sources: [soHieuCay]}
  - {name: species, title: {vi: Loài cây, en: Species}, type: text, sources: [loaiCay]}
  - {name: height, title: {vi: Chiều cao, en: Height}, type: number, unit: m, minimum: 0, maximum: 60,
     sources: [chieuCao]}
licence: {id: CC-BY-4.0, title: {vi: Ghi công, en: Attribution}}
update_cycle: monthly
"""


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def seconds_until(status: int, url: str, patience: float = 10.0) -> float:
    begun = time.monotonic()
    while status_of(url) != status:
        assert time.monotonic() - begun < patience, f"{url} never answered {status}"
        time.sleep(0.05)
    return time.monotonic() - begun


def test_one_yaml_becomes_a_served_collection_without_a_restart(
    new_deployment: Callable[..., Deployment], tmp_path: Path
) -> None:
    layers = tmp_path / "layers"
    shutil.copytree(ROOT / "layers", layers)
    at = new_deployment(layers)
    trees = tmp_path / "CayXanh.geojson"
    trees.write_text(
        json.dumps({
            "type": "FeatureCollection",
            "features": [
                {"type": "Feature", "geometry": {"type": "Point", "coordinates": [105.8525 + n / 1e4, 21.0287]},
                 "properties": {"soHieuCay": f"CX{n}", "loaiCay": "Sấu <cổ thụ>", "chieuCao": 12.5 + n}}
                for n in range(3)
            ],
        }),
        encoding="utf-8",
    )  # fmt: skip
    with serving(at) as url:
        collection = f"{url}/collections/street_trees"
        assert status_of(collection) == 404
        (layers / "street_trees.yaml").write_text(TREES, encoding="utf-8")
        grown = Deployment(at.settings, read_registry(layers))
        with engine.connect(engine.database_url(at.settings)) as owner:
            migrate.apply(owner, grown.registry)
        outcome = grown.deliver("street_trees", trees)
        assert outcome.load is not None
        assert outcome.load.inserted == 3
        assert seconds_until(200, collection) < 5
        with urllib.request.urlopen(f"{collection}/items?sortby=-height&limit=1") as answer:
            [tree] = json.load(answer)["features"]
        assert tree["properties"] == {"tree_number": "CX2", "species": "Sấu <cổ thụ>", "height": 14.5}
        with urllib.request.urlopen(f"{collection}?f=json&lang=vi") as answer:
            assert json.load(answer)["title"] == "Cây xanh đường phố"
        with grown.loader() as connection:
            ledger.withdraw(connection, grown.registry["street_trees"])
        assert seconds_until(404, collection) < 5
        with grown.loader() as connection:
            ledger.publish(connection, grown.registry["street_trees"])
        assert seconds_until(200, collection) < 5
