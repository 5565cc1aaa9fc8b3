"""A delivery in one line, for the tests of ingest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sdi.contract.codelist import Code
from sdi.contract.delivery import Request
from sdi.ingest.deliver import Received, receive
from tests.ingest.plots import contract, geojson, registry


@pytest.fixture
def hand_in(tmp_path: Path) -> Callable[..., Received]:
    """Deliver features in EPSG:9210 (TP.HCM) near Bến Thành to a layer told in YAML."""

    def deliver(text: str, features: Iterable[tuple[Any, dict[str, Any]]], *codes: Code, **request: Any) -> Received:
        path = geojson(tmp_path / "plots.geojson", features, crs=9210)
        wish = Request(path=path, **({"day": date(2026, 1, 1)} | request))
        return receive(wish, contract(text), registry(*codes), grid=9210, extent=(106.3, 10.3, 107.1, 11.2))

    return deliver
