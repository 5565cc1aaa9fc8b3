"""Working folders go with their process, even with one that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from sdi.ingest.scratch import Scratch
from tests.conftest import ROOT


def folders(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.glob("sdi-work-*"))


def killed(parent: Path) -> None:
    """A process that makes a folder with a file in it, and is killed."""
    script = (
        "import os, sys, signal; from pathlib import Path; from sdi.ingest.scratch import Scratch\n"
        "made = Scratch('spill', Path(sys.argv[1])); Path(made.name, 'rows').write_bytes(b'x' * 1000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(parent)], env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL


def test_the_next_folder_clears_what_a_killed_process_left(tmp_path: Path) -> None:
    killed(tmp_path)
    assert len(folders(tmp_path)) == 1
    with Scratch("spill", tmp_path) as mine:
        assert folders(tmp_path) == [Path(mine).name]
    assert folders(tmp_path) == []


def test_a_folder_in_use_stays_and_so_does_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "sdi-workshop").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sdi-work-link").symlink_to(tmp_path / "elsewhere")
    with Scratch("one", tmp_path) as one, Scratch("two", tmp_path) as two:
        assert Path(one).is_dir()
        assert Path(two).is_dir()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "elsewhere", "sdi-work-link", "sdi-workshop",
    ]  # fmt: skip


def test_a_folder_is_private_and_gone_after_an_error(tmp_path: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    try:
        with Scratch("one", tmp_path) as name:
            assert Path(name).stat().st_mode & 0o077 == 0
            raise RuntimeError
    except RuntimeError:
        pass
    assert folders(tmp_path) == []
    assert len([*Path("/proc/self/fd").iterdir()]) == before
