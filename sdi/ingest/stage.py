"""A delivered file is copied, alone with its companions, to a fresh folder; archives are unpacked by our own rules."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sdi.errors import NotFound, SourceError, UsageError, nearest
from sdi.ingest.archive import UNSHOWN, letters, safe, shown, unpack, zip_entries
from sdi.ingest.archive import ArchiveLimits as ArchiveLimits
from sdi.ingest.scratch import Scratch

COMPANIONS: dict[str, tuple[str, ...]] = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg"),
    ".tab": (".dat", ".map", ".id", ".ind"),
    ".mif": (".mid",),
    ".gml": (".xsd",),
    ".thf": (".vec", ".dic", ".gen", ".geo", ".qal", ".scd"),
    ".gpkg": (), ".geojson": (), ".json": (), ".topojson": (), ".geojsonl": (), ".geojsons": (), ".dxf": (), ".dgn": (),
    ".kml": (), ".xml": (), ".fgb": (), ".csv": (), ".xlsx": (), ".gpx": (),
}  # fmt: skip
"""Suffix of a file that can be read -> the suffixes of the files that belong to it."""

NEEDED = {".shp": (".shx", ".dbf"), ".tab": (".dat", ".map", ".id"), ".mif": (".mid",)}
FOLDERS = (".gdb",)
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz")
PARTS_OF_SHAPEFILE = (".dbf", ".shx", ".prj", ".cpg")
FOREIGN = {
    ".dwg": "Save the drawing as DXF (AutoCAD: SAVEAS, DXF R2010).",
    ".itf": "Convert the INTERLIS transfer to GeoPackage (ili2gpkg).",
    ".xtf": "Convert the INTERLIS transfer to GeoPackage (ili2gpkg).",
    ".rar": "Unpack it and pack it again as .zip.", ".7z": "Unpack it and pack it again as .zip.",
    ".gz": "Unpack it and pack it again as .zip.",
    ".xls": "Save the table as .xlsx.", ".ods": "Save the table as .xlsx.",
    ".mdb": "Export the layers as a file geodatabase (.gdb) or as GeoPackage.",
    ".qgz": "A project holds no data; hand in its layers.", ".qgs": "A project holds no data; hand in its layers.",
    ".mxd": "A project holds no data; hand in its layers.", ".aprx": "A project holds no data; hand in its layers.",
}  # fmt: skip
"""Suffix of what stewards have besides -> how they make of it what can be read."""

NO_TABLE = (b"PK\x03\x04", b"SQLite format 3", b"fgb", b"<?xml", b"{")
"""How a workbook or an archive, a GeoPackage, FlatGeobuf, XML and JSON begin, which are read line by line as CSV."""


@dataclass(frozen=True)
class Staged:
    """A private copy of one dataset. `sha256` and `size` (bytes) are those of what was handed in: of the file, or of a
    shapefile's (MapInfo's, geodatabase's) parts in the order of their names."""

    main: Path
    digest: Future[str]
    size: int
    datasets: tuple[str, ...]
    """All datasets of an archive, by file name."""

    @property
    def sha256(self) -> str:
        """Waits for it; raises SourceError where what was handed in has changed since it was copied."""
        return self.digest.result()

    @property
    def suffix(self) -> str:
        return self.main.suffix.lower()


@contextmanager
def staged(path: Path, wanted: str | None, limits: ArchiveLimits) -> Iterator[Staged]:
    """Yield a private copy of the dataset at `path`; it is gone when the block ends. `wanted` picks one by its stem
    where an archive holds several. Raises NotFound, UsageError, SourceError."""
    path = _there(Path(path))
    with Scratch("delivery") as name, ThreadPoolExecutor(1) as worker:
        with _said(path):
            main, mains, taken = _stage(path, Path(name), wanted, limits)
        # Beside those who look at the copy: that takes no longer than they do.
        digest = worker.submit(_digest, path, taken)
        yield Staged(main, digest, sum(part.size for part in taken), tuple(main.name for main in mains))


def in_place(path: Path) -> tuple[Path, Callable[[], str]]:
    """A file that is read where it stands, being too large for a copy: its absolute path, and what tells its SHA-256
    once it was read; that raises SourceError where the file has changed since. Raises NotFound, SourceError."""
    path = _there(Path(path))
    with _said(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceError(f"{path.name} is not a regular file.", hint="Hand in the file itself.")
        with _opened(path) as file:
            taken = _Taken(path, os.fstat(file.fileno()))
    return path, partial(_digest, path, [taken])


@dataclass(frozen=True)
class _Taken:
    """A file that was copied, as it was then."""

    path: Path
    state: os.stat_result

    @property
    def size(self) -> int:
        return self.state.st_size

    def require_same(self, file: BinaryIO) -> None:
        """Raises SourceError unless the file is that one, as it was."""
        now = os.fstat(file.fileno())
        if any(getattr(now, fact) != getattr(self.state, fact) for fact in _SAME):
            raise _changed(self.path)


_SAME = ("st_dev", "st_ino", "st_size", "st_mtime_ns")
"""What tells that nobody has written a file meanwhile or put another one into its place."""


def _changed(path: Path) -> SourceError:
    return SourceError(f"{path.name} was changed while it was read.",
                       hint="Wait until it is written, then hand it in again.")  # fmt: skip


def _digest(path: Path, taken: Sequence[_Taken]) -> str:
    """Of what was copied, read again where it was handed in: the copy is open to the process that reads it."""
    digest = hashlib.sha256()
    with _said(path):
        for part in taken:
            with _opened(part.path) as file:
                part.require_same(file)
                left = part.size
                while left and (block := file.read(min(1 << 20, left))):
                    left -= len(block)
                    digest.update(block)
                part.require_same(file)
    return digest.hexdigest()


def _opened(path: Path) -> BinaryIO:
    """To be read; of a link, which was none before, OSError is raised."""
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")  # noqa: PTH123


def _stage(
    path: Path, folder: Path, wanted: str | None, limits: ArchiveLimits
) -> tuple[Path, list[Path], list[_Taken]]:
    """Copy, unpack, choose. Returns the dataset, all datasets, and the files of what was handed in."""
    if not _is_archive(path):
        main, taken = _copy(path, _parts(path), folder)
        mains = [path]
    else:
        packed = folder / "packed"
        packed.mkdir()
        archive, taken = _copy(path, [path], packed)
        unpacked = folder / "unpacked"
        unpacked.mkdir()
        unpack(archive, path.name, unpacked, limits)
        archive.unlink()
        _name_geodatabases(unpacked, path.name.split(".")[0])
        mains = _datasets(unpacked)
        main = _choose(path, mains, wanted)
        main = _respell(main, _parts(main))
        for template in (".csvt", ".gfs"):  # they say which columns and types there are, and what does not fit is lost
            main.with_suffix(template).unlink(missing_ok=True)
    _check_content(main)
    if main.suffix.lower() == ".xlsx":
        zip_entries(main, main.name, limits)
    _to_utf8(main)
    return main, mains, taken


def _there(path: Path) -> Path:
    """The absolute path of a file that is there and is a file of its own. Raises NotFound, SourceError."""
    if any(unicodedata.category(letter) in UNSHOWN for letter in path.name):
        raise SourceError(f"The name {shown(path.name)} holds characters that cannot be shown.",
                          hint="Rename the file.")  # fmt: skip
    try:
        path = path.parent.resolve() / path.name
        path = path if os.path.lexists(path) else _spelt_otherwise(path)
        link, there = path.is_symlink(), path.exists()
    except (OSError, ValueError, RuntimeError):  # a part that is no folder or too long; a link that leads to itself
        link = there = False
    if link:
        raise SourceError(f"{path.name} is a link to another file.", hint="Hand in the file itself.")
    if not there:
        folder = path.parent.name or "/"
        raise NotFound(f"There is no file {path.name}.", hint=_neighbour(path) or (
            f"Look at the path: '{folder}' has no such file." if path.parent.is_dir()
            else f"Look at the path: there is no folder '{folder}'."))  # fmt: skip
    return path


def _spelt_otherwise(path: Path) -> Path:
    """The one file beside it whose name has the same letters: some systems write marks apart from theirs (NFD)."""
    found = [entry for entry in path.parent.iterdir() if letters(entry.name) == letters(path.name)]
    return found[0] if len(found) == 1 else path


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Say in a sentence what the disk says."""
    try:
        yield
    except PermissionError:
        raise SourceError(f"{path.name} may not be read by this user.", hint="Ask for the right to read it.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SourceError(f"There is no room for a copy of {path.name}.",
                              hint=f"Free some space in {tempfile.gettempdir()}, or set TMPDIR.") from None  # fmt: skip
        raise SourceError(f"{path.name} cannot be read from its disk.", hint="Copy it to another disk.") from error


def _neighbour(path: Path) -> str | None:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return None
    # Their names without the suffix, too: else a GeoPackage of a short name is near every other one.
    near = [name for name in names if nearest(path.stem, [Path(name).stem])]
    return nearest(path.name, near).strip() or None


def _is_archive(path: Path) -> bool:
    # GDAL reads a .kmz without the attributes of its schema; the .kml in it, unpacked, with them.
    return path.is_file() and path.name.lower().endswith((".zip", ".kmz", *TARS))


def _parts(path: Path) -> list[Path]:
    """The files of a dataset, sorted by name. Raises SourceError for what is missing or cannot be read here."""
    suffix = path.suffix.lower()
    if path.is_dir() and suffix in FOLDERS:
        return sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.is_symlink())
    if not stat.S_ISREG(path.stat().st_mode):
        raise SourceError(f"{path.name} is not a regular file.", hint="Hand in a file, an archive or a .gdb folder.")
    found = _companions(path)
    if suffix in PARTS_OF_SHAPEFILE and ".shp" not in found:
        raise SourceError(f"{path.stem}.shp is missing: {path.name} is a part of a shapefile.",
                          hint="Hand in .shp, .shx, .dbf and .prj together, best in one .zip.")  # fmt: skip
    if suffix in PARTS_OF_SHAPEFILE:
        raise SourceError(f"{path.name} is a part of a shapefile.", hint=f"Hand in {found['.shp'].name}.")
    if suffix not in COMPANIONS:
        readable = ", ".join(sorted({*COMPANIONS, *FOLDERS, ".zip"}))
        raise SourceError(f"Files of type '{suffix or path.name}' cannot be read.",
                          hint=FOREIGN.get(suffix, f"Readable: {readable}."))  # fmt: skip
    if suffix == ".thf":
        found = {entry.name.lower(): entry for entry in _siblings(path) if entry.suffix.lower() in COMPANIONS[".thf"]}
        return sorted({path, *found.values()})
    missing = [part for part in NEEDED.get(suffix, ()) if part not in found]
    if suffix == ".tab" and not _is_native_tab(path):
        raise SourceError(
            f"{path.name} points at other files.", hint="Save it as a native MapInfo table or as GeoPackage."
        )
    if missing:
        raise SourceError(f"{path.stem}{missing[0]} is missing beside {path.name}.",
                          hint=f"Hand in {', '.join([suffix, *NEEDED[suffix]])} together, best zipped.")  # fmt: skip
    _check_unfinished(path)
    return sorted({path, *(found[part] for part in COMPANIONS[suffix] if part in found)})


def _companions(path: Path) -> dict[str, Path]:
    """Suffix in small letters -> the file beside `path`; of several that differ by capitals only, the one whose stem
    is spelled alike, then the one in small letters. A letter and its marks are one letter, together or apart."""
    stem = letters(path.stem).lower()
    entries = [entry for entry in _siblings(path) if letters(entry.stem).lower() == stem]
    entries.sort(key=lambda entry: (entry.stem == path.stem, entry.suffix == entry.suffix.lower(), entry.name))
    return {entry.suffix.lower(): entry for entry in entries}


def _check_content(main: Path) -> None:
    """Say of some files what they are: nothing, a web page instead of a download, a drawing of the next version."""
    if main.is_dir():
        return
    with main.open("rb") as file:
        head = file.read(512)
    if not head:
        raise SourceError(f"{main.name} is empty.", hint="Copy it again and compare its size.")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)\b", head, re.IGNORECASE):
        raise SourceError(f"{main.name} is a web page.", hint="Download the file again; the server sent a message.")
    if main.suffix.lower() == ".csv" and head.startswith(NO_TABLE):
        raise SourceError(f"{main.name} is no table of text.",
                          hint="Hand it in under the suffix of its format; save a workbook as CSV UTF-8.")  # fmt: skip
    if main.suffix.lower() == ".dgn" and head.startswith(b"\xd0\xcf\x11\xe0"):
        raise SourceError(f"{main.name} is a drawing of MicroStation V8.", hint="Save it as DXF, or as DGN V7.")


def _check_unfinished(path: Path) -> None:
    """SQLite keeps what a program has not finished writing beside the file; without it the newest edits are lost."""
    for ending in ("-wal", "-journal"):
        rest = path.with_name(path.name + ending)
        if path.suffix.lower() == ".gpkg" and rest.is_file() and rest.stat().st_size:
            raise SourceError(f"{path.name} is open in another program: {rest.name} holds changes that are not in it.",
                              hint="Close it there (in QGIS: the project), then hand it in again.")  # fmt: skip


def _siblings(path: Path) -> list[Path]:
    return [entry for entry in path.parent.iterdir() if entry.is_file() and not entry.is_symlink()]


def _is_native_tab(path: Path) -> bool:
    """A .tab may be a view, a mosaic, or a link to a raster or a database; only a native table holds its own data."""
    with path.open("rb") as file:
        text = file.read(100_000).lower()
    foreign = (
        rb"create\s+view",
        rb"open\s+table",
        rb'isseamless"\s*=\s*"true',
        rb'type\s+"?(linked|raster|odbc|access)',
    )
    return re.search(rb"type\s+native", text) is not None and not any(re.search(word, text) for word in foreign)


def _copy(path: Path, parts: list[Path], folder: Path) -> tuple[Path, list[_Taken]]:
    """Copy the parts. Returns the main file's copy, and what was copied."""
    if path.is_dir():
        folder = folder / safe(path.name)
        folder.mkdir()
    taken = []
    for part in parts:
        # One spelling of the stem and small suffixes: GDAL finds companions by both on a case-sensitive disk.
        exact = path.is_dir() or path.suffix.lower() == ".thf"
        name = part.name if exact else path.stem + part.suffix.lower()
        taken.append(_take(part, folder / safe(name)))
    if path.is_dir():
        return folder, taken
    main = folder / safe(path.name if path.suffix.lower() == ".thf" else path.stem + path.suffix.lower())
    return main, taken


def _copied(file: BinaryIO, out: BinaryIO, left: int) -> int:
    """Copy so many bytes; returns how many are not there. The kernel copies, with half to a third of the CPU
    that it takes to go through here, and a file system that can share blocks shares them."""
    with suppress(OSError):  # a file system, or two, between which it does not copy; what is wrong is met below again
        while left and (taken := os.copy_file_range(file.fileno(), out.fileno(), left)):
            left -= taken
    while left and (block := os.read(file.fileno(), min(1 << 20, left))):
        left -= out.write(block)
    return left


def _respell(main: Path, parts: list[Path]) -> Path:
    """Give the unpacked parts of a dataset one stem and small suffixes, as `_copy` does. Returns the main one."""
    if main.is_dir() or main.suffix.lower() == ".thf":
        return main
    for part in parts:
        part.rename(main.with_suffix(part.suffix.lower()))
    return main.with_suffix(main.suffix.lower())


def _take(part: Path, target: Path) -> _Taken:
    """Copy one file to its target. What somebody still writes is not taken."""
    with _opened(part) as file:
        taken = _Taken(part, os.fstat(file.fileno()))
        if not stat.S_ISREG(taken.state.st_mode):
            raise SourceError(f"{part.name} is not a regular file.", hint="Hand in the file itself.")
        if taken.size > shutil.disk_usage(target.parent).free:
            raise OSError(errno.ENOSPC, "no room")
        with target.open("xb") as out:
            left = _copied(file, out, taken.size)
        taken.require_same(file)
    if left:
        raise _changed(part)
    return taken


# --- what an archive holds --------------------------------------------------------------------------------------------


def _name_geodatabases(folder: Path, stem: str) -> None:
    """Geodatabases are often packed without their folder, or in one that lost its `.gdb`; GDAL knows them by that."""
    for table in sorted(folder.rglob("a00000001.gdbtable")):
        inner = table.parent
        if inner == folder:
            inner = folder / f"{safe(stem)}.gdb"
            files = [path for path in folder.iterdir() if path.is_file()]
            inner.mkdir()
            for path in files:
                path.rename(inner / path.name)
        elif inner.suffix.lower() not in FOLDERS:
            inner.rename(inner.with_name(f"{inner.name}.gdb"))


def _datasets(folder: Path) -> list[Path]:
    folders = [path for path in folder.rglob("*") if path.is_dir() and path.suffix.lower() in FOLDERS]
    files = [
        path for path in folder.rglob("*")
        if path.is_file() and path.suffix.lower() in COMPANIONS and not set(path.parents) & set(folders)
    ]  # fmt: skip
    schemas = {path for path in files if path.suffix.lower() == ".xml" and len(files) > 1}  # metadata beside the data
    return sorted({*folders, *files} - schemas)


def _choose(path: Path, mains: list[Path], wanted: str | None) -> Path:
    if not mains:
        raise SourceError(f"{path.name} holds no dataset that can be read.",
                          hint="A shapefile needs its .shp, .shx, .dbf and .prj in the archive.")  # fmt: skip
    if len(mains) == 1:
        return mains[0]
    named = letters(wanted) if wanted is not None else None
    chosen = [main for main in mains if named in (main.stem, main.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(main.name for main in mains)
    raise UsageError(f"{path.name} holds several datasets: {names}.", hint="Pick one with --layer-in-file NAME.")


def _to_utf8(main: Path) -> None:
    """Spreadsheets export CSV as UTF-16 with a byte order mark; GDAL reads UTF-8."""
    if main.suffix.lower() != ".csv":
        return
    with main.open("rb") as file:
        mark = file.read(2)
    if mark in (b"\xff\xfe", b"\xfe\xff"):
        try:
            main.write_text(main.read_bytes().decode("utf-16"), encoding="utf-8")
        except UnicodeDecodeError:
            raise SourceError(f"{main.name} says it is UTF-16 and is not.", hint="Save it as CSV UTF-8.") from None
