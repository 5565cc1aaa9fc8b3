"""Where a command writes: asked before the work is done, which may take minutes or change the layer."""

from __future__ import annotations

import os
from pathlib import Path

from sdi.errors import UsageError


def writable(path: Path | None) -> Path | None:
    """A callback of an option that names a file to be written. Raises UsageError where none can be made there."""
    if path is None:
        return None
    folder = path.absolute().parent
    if path.is_dir():
        raise UsageError(f"{path.name or path} is a folder.", hint="Name a file in it.")
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder.name}.", hint="Make it first, or name another place.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"{path.name} may not be written by this user.",
                         hint="Name another place, or ask for the right to write there.")  # fmt: skip
    return path


def require_apart(read: Path, *written: Path | None) -> None:
    """Raises UsageError where a file that is to be written is the one that is read: it would be gone."""
    for path in written:
        if path is not None and path.exists() and read.exists() and path.samefile(read):
            raise UsageError(f"{path.name} is the file that is read.", hint="Name another file to be written.")
