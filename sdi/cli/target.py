"""Where a command writes: asked before the work is done, which may take minutes or change the layer."""

from __future__ import annotations

import os
from importlib import import_module
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
    if not all(os.access(each, os.W_OK) for each in (folder, path) if each.exists()):
        raise UsageError(f"{path.name} may not be written by this user.",
                         hint="Name another place, or ask for the right to write there.")  # fmt: skip
    return path


def features(path: Path | None) -> Path | None:
    """`writable`, of a file of features."""
    return _named(path, "sdi.ingest.write", "require_format")


def findings(path: Path | None) -> Path | None:
    """`writable`, of a file of findings."""
    return _named(path, "sdi.ingest.write", "require_findings")


def held(path: Path | None) -> Path | None:
    """`writable`, of a file of features in quarantine."""
    return _named(path, "sdi.ingest.write_quality", "require_format")


def page(path: Path | None) -> Path | None:
    """`writable`, of a report."""
    return _named(path, "sdi.pipeline.quality", "require_page")


def changes(path: Path | None) -> Path | None:
    """`writable`, of what differs between two states."""
    return _named(path, "sdi.pipeline.history", "require_geopackage")


def _named(path: Path | None, module: str, check: str) -> Path | None:
    """Who writes the file says what its name may be; that is loaded only where one is asked for."""
    if writable(path) is not None:
        getattr(import_module(module), check)(path)
    return path


def require_apart(read: Path, *written: Path | None) -> None:
    """Raises UsageError where a file that is to be written is the one that is read: it would be gone."""
    for path in written:
        if path is not None and path.exists() and read.exists() and path.samefile(read):
            raise UsageError(f"{path.name} is the file that is read.", hint="Name another file to be written.")
