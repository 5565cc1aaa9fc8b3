from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdi.demo.city import City, generate


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    """A small city, made once."""
    return generate(tmp_path_factory.mktemp("city"), parcels=800)


@pytest.fixture(scope="session")
def truth(city: City) -> list[dict[str, Any]]:
    """Everything that is planted in it."""
    planted: list[dict[str, Any]] = json.loads(Path(city.folder, "truth.json").read_text(encoding="utf-8"))["planted"]
    return planted
