"""What a worker of the service takes with all its memories full, under the settings as they come.

Each memory tells what it took at its fullest: when it is full it makes room, so what it takes when somebody looks is
another thing on a quiet machine than on a busy one. Memory is what is the worker's own (anonymous): what is mapped of
its libraries' files all workers share, and how much that is hangs on what the kernel has read of them (36 to 49 MiB).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.speed.test_ratios import measured

pytestmark = pytest.mark.slow

MOST = 160
"""MiB. With 40 of libraries that is 200."""


def test_a_worker_with_full_memories_stays_below_160_mib_of_its_own(server_url: str, tmp_path: Path) -> None:
    figures = measured("memory.py", tmp_path, server_url, "--parcels", "3000")
    for name, (size, room) in figures["kept"].items():
        assert size >= 0.9 * room, f"{name} were never full: {size} of {room} bytes"
    told = {step: f"{found['Anonymous']:.0f} of {found['Rss']:.0f} MiB" for step, found in figures["steps"].items()}
    assert max(found["Anonymous"] for found in figures["steps"].values()) < MOST, told
