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


def read_description() -> dict[str, Any]:
    with DESCRIPTION.open(encoding="utf-8") as file:
        content: dict[str, Any] = yaml.safe_load(file)
    return content


def read_names() -> Names:
    names = read_description()["names"]
    return Names(names["province"], tuple(names["communes"]), tuple(names["wards"]), tuple(names["streets"]))
