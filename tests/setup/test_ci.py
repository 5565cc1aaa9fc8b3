"""`.ci/run`: green when all tests pass, red when one fails twice, and never silent about one that fails once, nor about
an audit of the dependencies that was none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = """test:
\t@.venv/bin/python -m pytest -q -p no:randomly tests
"""
UNSTEADY = """from pathlib import Path

def test_second_time_lucky():
    first = not Path("been").exists()
    Path("been").touch()
    assert not first
"""
GOOD = "def test_good():\n    assert sorted([2, 1]) == [1, 2]\n"
WRONG = "def test_wrong():\n    assert sorted([2, 1]) == [2, 1]\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real script and tests of its own."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    program = tmp_path / ".venv" / "bin" / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    audited(tmp_path, 0)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_good.py").write_text(GOOD)
    return tmp_path


def audited(checkout: Path, code: int) -> None:
    """What the audit of this checkout ends with."""
    (checkout / ".ci" / "audit.py").write_text(f"raise SystemExit({code})\n")


def run(checkout: Path) -> subprocess.CompletedProcess[str]:
    # The plugins of this environment take longer to load than those tests to run.
    plain = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        ["bash", ".ci/run"], cwd=checkout, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        env=plain,
    )  # fmt: skip


def test_tests_that_pass_are_run_once(checkout: Path) -> None:
    answer = run(checkout)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count(" passed") == 1
    assert "UNSTABLE" not in answer.stdout


def test_a_test_that_fails_twice_is_red(checkout: Path) -> None:
    (checkout / "tests" / "test_wrong.py").write_text(WRONG)
    answer = run(checkout)
    assert answer.returncode != 0
    assert answer.stdout.count("1 failed") == 2
    assert "UNSTABLE" not in answer.stdout


def test_a_test_that_passes_alone_is_named(checkout: Path) -> None:
    (checkout / "tests" / "test_unsteady.py").write_text(UNSTEADY)
    answer = run(checkout)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.endswith(
        "UNSTABLE: failed among the others and passed alone:\ntests/test_unsteady.py::test_second_time_lucky\n"
    )


def test_many_failures_are_no_chance(checkout: Path) -> None:
    for number in range(4):
        (checkout / "tests" / f"test_unsteady_{number}.py").write_text(UNSTEADY.replace("been", f"been{number}"))
    assert run(checkout).returncode != 0


@pytest.mark.parametrize("broken", ["import nothing_of_this_name\n", "import os\n\nos._exit(3)\n"])
def test_a_run_that_broke_off_is_red(checkout: Path, broken: str) -> None:
    (checkout / "tests" / "test_unsteady.py").write_text(UNSTEADY)
    (checkout / "tests" / "test_broken.py").write_text(broken)
    answer = run(checkout)
    assert answer.returncode != 0
    assert "UNSTABLE" not in answer.stdout


def test_a_set_up_that_fails_is_red(checkout: Path) -> None:
    (checkout / "Makefile").write_text("test:\n\t@exit 4\n")
    assert run(checkout).returncode != 0


def test_an_audit_that_asked_nobody_is_no_audit_and_the_last_line_says_so(checkout: Path) -> None:
    audited(checkout, 4)
    (checkout / "tests" / "test_unsteady.py").write_text(UNSTEADY)
    answer = run(checkout)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "UNSTABLE" in answer.stdout
    assert answer.stdout.splitlines()[-1].startswith("NOT AUDITED: ")


@pytest.mark.parametrize("code", [1, 2])
def test_a_vulnerable_dependency_is_red_and_so_is_an_audit_that_broke_off(checkout: Path, code: int) -> None:
    audited(checkout, code)
    answer = run(checkout)
    assert answer.returncode == code
    assert " passed" in answer.stdout
    assert "NOT AUDITED" not in answer.stdout
