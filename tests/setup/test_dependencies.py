"""What can be known of the dependencies without a network: each is pinned by hash, and none is a version that was bad.

Whether a version was found vulnerable since, only `make audit` tells, which asks a database on the network.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
AT_LEAST = {
    # Request smuggling by chunked bodies: CVE-2025-43859.
    "h11": (0, 16, 0),
    # Ranges and form parts that cost the worker's time: CVE-2025-62727, CVE-2025-54121.
    "starlette": (0, 49, 1),
    # A sandbox that was none: CVE-2025-27516.
    "jinja2": (3, 1, 6),
    # Credentials sent on to another host: CVE-2024-47081.
    "requests": (2, 32, 4),
    # Redirects and compressed answers: CVE-2025-50181, CVE-2025-66418.
    "urllib3": (2, 6, 0),
    # Files read that were named by a server: CVE-2024-6345.
    "setuptools": (78, 1, 1),
    "pip": (25, 3),
}
"""The first versions without flaws that were known when this was written, and whose they were."""


def pinned(lock: str) -> dict[str, tuple[str, int]]:
    """By name: the version and how many hashes it has."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = {}
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", line)
        assert match, f"{lock} does not pin: {line[:80]}"
        found[match[1].lower()] = (match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}(?![0-9a-f])", line)))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_one_version_with_its_hashes(lock: str) -> None:
    found = pinned(lock)
    assert len(found) > 40
    assert [name for name, (_, hashes) in found.items() if not hashes] == []
    assert re.findall(r"https?://", (ROOT / lock).read_text(encoding="utf-8")) == [], (
        "whence it comes is not the lock's"
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_no_dependency_is_a_version_that_was_known_to_be_bad(lock: str) -> None:
    found = pinned(lock)
    numbers = {name: tuple(int(part) for part in re.findall(r"\d+", version)) for name, (version, _) in found.items()}
    old = {name: found[name][0] for name, least in AT_LEAST.items() if name in numbers and numbers[name] < least}
    assert old == {}


def test_both_locks_agree() -> None:
    run, dev = pinned("requirements.lock"), pinned("requirements-dev.lock")
    # The audit asks for those of the second alone.
    assert {name: version for name, (version, _) in run.items() if dev.get(name, ("none",))[0] != version} == {}


def test_the_image_installs_only_what_has_a_hash() -> None:
    assert "--require-hashes" in (ROOT / ".ci" / "Dockerfile").read_text(encoding="utf-8")
    assert "--require-hashes" in (ROOT / ".ci" / "setup.sh").read_text(encoding="utf-8")
