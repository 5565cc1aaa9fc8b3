"""Working folders that do not outlive their process for long, however it ends.

A process that is killed clears nothing. So each folder is locked by its process for as long as that lives, and whoever
makes the next one removes those that nobody holds any more. The lock is the kernel's: it knows the dead from the living
across containers, and over process ids that are used again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

_NAME = "sdi-work-"
"""Begins the name of every working folder, and of nothing else."""


class Scratch(TemporaryDirectory[str]):
    """A `TemporaryDirectory` that is locked; making one clears what killed processes left beside it.

    purpose: a word for its name, told to whoever finds it. dir: where; None: the machine's temporary folder.
    """

    def __init__(self, purpose: str, dir: Path | None = None) -> None:
        parent = Path(dir or tempfile.gettempdir())
        with _door(parent):
            _sweep(parent)
            super().__init__(prefix=f"{_NAME}{purpose}-", dir=parent)
            self._held = os.open(self.name, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._held, fcntl.LOCK_EX)

    def cleanup(self) -> None:
        super().cleanup()
        self._let_go()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, value, trace)
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)


@contextmanager
def _door(parent: Path) -> Iterator[None]:
    """One at a time sweeps, or makes a folder and locks it: none is swept between the two."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    door = os.open(parent / f".{_NAME}{os.geteuid()}", flags, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def _sweep(parent: Path) -> None:
    """Remove our folders that no process holds."""
    for folder in parent.glob(f"{_NAME}*"):
        with suppress(OSError):  # another's folder, or one that its process is clearing at this moment
            found = folder.lstat()
            if found.st_uid != os.geteuid() or folder.is_symlink() or not folder.is_dir():
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)
