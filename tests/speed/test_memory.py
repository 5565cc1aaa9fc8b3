"""What a worker of the service takes with all its memories full, under the settings as they come.

Each memory tells what it took at its fullest: when it is full it makes room, so what it takes when somebody looks is
another thing on a quiet machine than on a busy one. Memory is the kernel's count of the most that was resident.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.speed.test_ratios import measured

pytestmark = pytest.mark.slow

MOST = 200
"""MiB."""


def test_a_worker_with_full_memories_stays_below_200_mb(server_url: str, tmp_path: Path) -> None:
    figures = measured("memory.py", tmp_path, server_url, "--parcels", "3000")
    for name, (size, room) in figures["kept"].items():
        assert size >= 0.9 * room, f"{name} were never full: {size} of {room} bytes"
    told = {step: f"{found['Rss']:.0f} MiB" for step, found in figures["steps"].items()}
    assert max(found["peak"] for found in figures["steps"].values()) < MOST, told
