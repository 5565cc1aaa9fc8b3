"""A file that is written whole or not at all, also where the disk is full: GDAL loses the end of most formats then
without a word (measured with a limit of so many bytes; GeoPackage alone tells of each)."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from sdi.errors import StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MARGIN = 1 << 16
"""Bytes that a file must be able to grow by when it is done: the largest end that a library keeps back in memory."""
_OF_THE_DISK = re.compile(r"is full|No space|too large|I/O|FWrite|Failed writing|Cannot write|Unable to write", re.I)
"""What GDAL and SQLite say of a disk that takes no more."""


@contextmanager
def entire(path: Path, instead_of: Iterable[Path] = ()) -> Iterator[Path]:
    """Where to write, in a hidden folder beside `path`. When the block has ended, what was written there (a shapefile
    is several files) takes the places beside `path`, and `instead_of` is gone; where it fails, nothing is left of it
    and what stood there stands. Raises StoreError where the disk is full."""
    folder = None
    try:
        folder = Path(mkdtemp(prefix=".sdi-part-", dir=path.absolute().parent))
        yield folder / path.name
        made = sorted(folder.iterdir())
        for each in made:
            require_room(each)
        for old in instead_of:
            old.unlink(missing_ok=True)
        for each in made:
            each.replace(path.absolute().parent / each.name)
    except (OSError, RuntimeError) as error:  # pyogrio's are of the second kind
        if not (is_full(error) or (_is_of_gdal(error) and folder is not None and not _has_room(folder))):
            raise
        raise StoreError(
            f"{path.name} cannot be written: the disk is full.",
            hint="Free space there, or name another place; nothing was written, and what stood there still stands.",
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk takes no more."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return _is_of_gdal(error) and _OF_THE_DISK.search(str(error)) is not None


def _is_of_gdal(error: Exception) -> bool:
    return type(error).__module__.startswith("pyogrio")


def _has_room(folder: Path) -> bool:
    """What GDAL says of a disk without room for the beginning of a file is of all kinds."""
    try:
        (folder / "room").write_bytes(bytes(MARGIN))
    except OSError as error:
        return not is_full(error)
    return True


def require_room(made: Path, *, on_disk: bool = True) -> None:
    """Raises OSError where the file could not have been written to its end: what is buffered is written when a file is
    closed, and nobody is told that it was not. on_disk: it is waited for; some servers of files tell only then."""
    size = made.stat().st_size
    with made.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(bytes(MARGIN))
        file.flush()
        if on_disk:
            os.fsync(file.fileno())
        file.truncate(size)
