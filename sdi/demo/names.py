"""Names and column headings of the demo city, read from `city.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DESCRIPTION = Path(__file__).with_name("city.yaml")


@dataclass(frozen=True)
class Names:
    province: str
    communes: tuple[str, ...]
    wards: tuple[str, ...]
    """Old communes."""
    streets: tuple[str, ...]
    works: tuple[str, ...]
    """What projects are about."""
    land: dict[str, str]
    """Land-use code -> what a file calls it."""


def read_description() -> dict[str, Any]:
    with DESCRIPTION.open(encoding="utf-8") as file:
        content: dict[str, Any] = yaml.safe_load(file)
    return content


def read_names() -> Names:
    names = read_description()["names"]
    communes, wards, streets, works = (tuple(names[key]) for key in ("communes", "wards", "streets", "works"))
    return Names(names["province"], communes, wards, streets, works, names["land"])
