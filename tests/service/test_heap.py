"""A worker asks the system for the memory of its pages once, not with each of them. By itself the allocator asks for it
each time: some 600 faults a page in this order of sizes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PAGES = """
import resource, sys
from sdi.service import heap

heap.keep_freed()
def page(size):
    return [b"x" * (size + number) for number in range(4)]
for number in range(100):
    if number == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    page(600_000 + number % 10 * 1000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 80)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_the_memory_of_a_page_is_there_for_the_next_one() -> None:
    faults = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True, timeout=60)
    assert float(faults.stdout) < 10
