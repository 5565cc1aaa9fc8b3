"""The set-up on machines of every kind: which Python is taken, what is refused, and what the locks promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


class Machine:
    """A machine of which only these programs are known: its PATH leads nowhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "usr" / "bin"
        self.bin.mkdir(parents=True)
        for tool in ("bash", "dirname", "id", "cut"):
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.home_in_passwd("/nonexistent")
        self.environment = {"PATH": str(self.bin)}

    def home_in_passwd(self, home: str) -> None:
        self._program(self.bin / "getent", f"echo 'someone:x:1000:1000::{home}:/bin/sh'")

    def python(self, path: str, version: tuple[int, int, int], *, without: str = "") -> str:
        """A Python of some version: this one, told what to say of itself and which module it lacks."""
        place = self.folder / path
        lie = f"import sys; sys.version_info = {version!r}; sys.executable = '{place}'"
        if without:
            lie += f"; sys.modules['{without}'] = None"
        # The caller says: -I -c CODE
        return self._program(place, f'exec "{sys.executable}" -I -c "{lie}; exec(sys.argv[1])" "$3"')

    def broken(self, path: str) -> str:
        """What pyenv leaves on PATH for a version that is not active."""
        return self._program(self.folder / path, "echo 'pyenv: command not found' >&2; exit 127")

    def finds(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / "bash", ROOT / ".ci" / "setup.sh", "python"],
            env=self.environment | environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    @staticmethod
    def _program(place: Path, script: str) -> str:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        place.chmod(0o755)
        return f"{place}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "a machine")


def test_python_3_13_is_preferred_to_its_elder_and_its_younger(machine: Machine) -> None:
    machine.python("usr/bin/python3.12", (3, 12, 1))
    machine.python("usr/bin/python3.14", (3, 14, 0))
    preferred = machine.python("usr/bin/python3.13", (3, 13, 0))
    assert machine.finds().stdout == preferred


def test_python_3_11_is_refused_in_one_sentence_that_says_what_to_install(machine: Machine) -> None:
    machine.python("usr/bin/python3", (3, 11, 7))
    found = machine.finds()
    assert (found.returncode, found.stdout) == (4, "")
    assert len(found.stderr.splitlines()) == 1
    assert "install python3.13" in found.stderr


def test_a_shim_of_a_version_that_is_not_active_is_passed_over(machine: Machine) -> None:
    machine.broken("usr/bin/python3.13")
    serves = machine.python("usr/bin/python3.12", (3, 12, 1))
    found = machine.finds()
    assert (found.stdout, found.stderr) == (serves, "")


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_that_cannot_make_environments_is_passed_over(machine: Machine, module: str) -> None:
    machine.python("usr/bin/python3.13", (3, 13, 0), without=module)
    serves = machine.python("usr/bin/python3", (3, 12, 3))
    assert machine.finds().stdout == serves


def test_the_python_that_is_asked_for_is_taken(machine: Machine) -> None:
    machine.python("usr/bin/python3.13", (3, 13, 0))
    asked = machine.python("opt/python/bin/python3", (3, 12, 9))
    assert machine.finds(PYTHON=asked.strip()).stdout == asked


def test_a_python_that_is_asked_for_and_does_not_serve_is_refused_by_its_name(machine: Machine) -> None:
    machine.python("usr/bin/python3.13", (3, 13, 0))
    asked = machine.python("opt/old/bin/python3", (3, 11, 7)).strip()
    found = machine.finds(PYTHON=asked)
    assert found.returncode == 4
    assert asked in found.stderr


@pytest.mark.parametrize("home", ["", "/nonexistent", None])
def test_pyenv_is_found_beside_its_shims_when_the_home_is_empty(machine: Machine, home: str | None) -> None:
    machine.broken("tools/.pyenv/shims/python3.13")
    serves = machine.python("tools/.pyenv/versions/3.13.0/bin/python3", (3, 13, 0))
    path = f"{machine.folder}/tools/.pyenv/shims:{machine.bin}"
    assert machine.finds(PATH=path, **({} if home is None else {"HOME": home})).stdout == serves


def test_pyenv_is_found_in_the_home_that_passwd_names(machine: Machine) -> None:
    machine.home_in_passwd(f"{machine.folder}/home/one")
    serves = machine.python("home/one/.pyenv/versions/3.12.1/bin/python3", (3, 12, 1))
    assert machine.finds(HOME="").stdout == serves


@pytest.mark.parametrize(
    ("variable", "value", "place"),
    [
        ("PYENV_ROOT", "py env", "py env/versions/3.13.0/bin/python3"),
        ("UV_PYTHON_INSTALL_DIR", "uv", "uv/cpython-3.13.5-linux-x86_64-gnu/bin/python3"),
        ("XDG_DATA_HOME", "share", "share/uv/python/cpython-3.12.9-linux-x86_64-gnu/bin/python3"),
        ("HOME", "me", "me/.local/share/uv/python/cpython-3.13.5-linux-x86_64-gnu/bin/python3"),
    ],
)
def test_pythons_of_pyenv_and_uv_are_found(machine: Machine, variable: str, value: str, place: str) -> None:
    serves = machine.python(place, (3, 13, 5))
    assert machine.finds(**{variable: f"{machine.folder}/{value}"}).stdout == serves


# --- the locks ----------------------------------------------------------------------------------------------------


def pins(name: str) -> dict[str, Version]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return {canonicalize_name(key): Version(value) for key, value in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.M)}


def needs(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [
        Requirement(need)
        for group in (project["dependencies"], *(optional[extra] for extra in extras))
        for need in group
    ]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_carries_the_hashes_of_its_files(lock: str) -> None:
    blocks = re.split(r"\n(?=\w)", (ROOT / lock).read_text(encoding="utf-8").strip())
    pinned = [block for block in blocks if "==" in block.splitlines()[0]]
    assert len(pinned) > 50
    assert [block.splitlines()[0] for block in pinned if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_no_host_no_index_and_no_place(lock: str) -> None:
    said = [
        line for line in (ROOT / lock).read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    assert [line for line in said if re.search(r"://|^\s*-(i|f|e)\b|^\s*--(?!hash)|@ ", line)] == []


@pytest.mark.parametrize(("lock", "extras"), [("requirements.lock", ()), ("requirements-dev.lock", ("dev",))])
def test_a_lock_holds_what_the_project_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    locked = pins(lock)
    wrong = [str(need) for need in needs(*extras) if locked.get(canonicalize_name(need.name)) not in _Within(need)]
    assert wrong == [], f"run make lock: {lock} does not hold {wrong}"


class _Within:
    def __init__(self, need: Requirement) -> None:
        self.need = need

    def __contains__(self, version: Version | None) -> bool:
        return version is not None and self.need.specifier.contains(version, prereleases=True)


def test_the_tests_run_on_the_very_versions_that_are_deployed() -> None:
    deployed, tested = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: version for name, version in deployed.items() if tested.get(name) != version} == {}


# --- make ---------------------------------------------------------------------------------------------------------


def test_make_test_leaves_no_test_out() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}
    said = subprocess.run(
        ["make", "-n", "test"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    named = [ROOT / word for word in said.split() if word.startswith("tests/")]
    files = list((ROOT / "tests").rglob("test_*.py"))
    assert [path for path in files if not any(path == name or name in path.parents for name in named)] == []
