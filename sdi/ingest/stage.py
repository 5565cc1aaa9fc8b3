"""A delivered file is copied, alone with its companions, to a fresh folder; archives are unpacked by our own rules."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from sdi.errors import NotFound, SourceError, UsageError, nearest
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
NESTED = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".tar", ".tgz")
PARTS_OF_SHAPEFILE = (".dbf", ".shx", ".prj", ".cpg")
FOREIGN = {
    ".dwg": "Save the drawing as DXF (AutoCAD: SAVEAS, DXF R2010).",
    ".itf": "Convert the INTERLIS transfer to GeoPackage (ili2gpkg).",
    ".xtf": "Convert the INTERLIS transfer to GeoPackage (ili2gpkg).",
    ".rar": "Unpack it and pack it again as .zip.", ".7z": "Unpack it and pack it again as .zip.",
    ".gz": "Unpack it and pack it again as .zip.", ".xls": "Save the table as .xlsx.", ".ods": "Save the table as .xlsx.",
    ".mdb": "Export the layers as a file geodatabase (.gdb) or as GeoPackage.",
    ".qgz": "A project holds no data; hand in its layers.", ".qgs": "A project holds no data; hand in its layers.",
    ".mxd": "A project holds no data; hand in its layers.", ".aprx": "A project holds no data; hand in its layers.",
}  # fmt: skip
"""Suffix of what stewards have besides -> how they make of it what can be read."""

UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of control and format characters, lone surrogates (a name that is not UTF-8), line ends."""
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
WRAPPERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
SMALL = 10_000_000
"""Bytes below which no ratio is asked for."""
NAME = 1024
"""Bytes that a file takes at most, on the average, in a zip's table of contents."""


@dataclass(frozen=True)
class Staged:
    """A private copy of one dataset. `sha256` and `size` (bytes) are those of what was handed in: of the file, or of a
    shapefile's (MapInfo's, geodatabase's) parts in the order of their names."""

    main: Path
    sha256: str
    size: int
    datasets: tuple[str, ...]
    """All datasets of an archive, by file name."""

    @property
    def suffix(self) -> str:
        return self.main.suffix.lower()


@dataclass(frozen=True)
class ArchiveLimits:
    files: int = 2000
    size: int = 8 * 1024**3
    """Bytes of all files together."""
    ratio: int = 200
    """Unpacked to packed size, for files over 10 MB."""


@contextmanager
def staged(path: Path, wanted: str | None, limits: ArchiveLimits) -> Iterator[Staged]:
    """Yield a private copy of the dataset at `path`; it is gone when the block ends. `wanted` picks one by its stem
    where an archive holds several. Raises NotFound, UsageError, SourceError."""
    path = _there(Path(path))
    with Scratch("delivery") as name:
        folder = Path(name)
        with _said(path):
            main, mains, digest, size = _stage(path, folder, wanted, limits)
        yield Staged(main, digest, size, tuple(main.name for main in mains))


def _stage(
    path: Path, folder: Path, wanted: str | None, limits: ArchiveLimits
) -> tuple[Path, list[Path], str, int]:
    """Copy, unpack, choose. Returns the dataset, all datasets, and the digest and size of what was handed in."""
    if not _is_archive(path):
        main, digest, size = _copy(path, _parts(path), folder)
        mains = [path]
    else:
        packed = folder / "packed"
        packed.mkdir()
        archive, digest, size = _copy(path, [path], packed)
        unpacked = folder / "unpacked"
        unpacked.mkdir()
        _unpack(archive, path.name, unpacked, limits)
        archive.unlink()
        _name_geodatabases(unpacked, path.name.split(".")[0])
        mains = _datasets(unpacked)
        main = _choose(path, mains, wanted)
        _parts(main)
    if main.suffix.lower() == ".xlsx":
        _zip_entries(main, main.name, limits)
    _to_utf8(main)
    return main, mains, digest, size


def _there(path: Path) -> Path:
    """The absolute path of a file that is there and is a file of its own. Raises NotFound, SourceError."""
    if any(unicodedata.category(letter) in UNSHOWN for letter in path.name):
        raise SourceError(f"The name {_shown(path.name)} holds characters that cannot be shown.",
                          hint="Rename the file.")  # fmt: skip
    try:
        link, path = path.is_symlink(), path.parent.resolve() / path.name
        there = path.exists()
    except (OSError, ValueError, RuntimeError):  # a part that is no folder or too long; a link that leads to itself
        link = there = False
    if link:
        raise SourceError(f"{path.name} is a link to another file.", hint="Hand in the file itself.")
    if not there:
        raise NotFound(f"There is no file {path.name}.", hint=_neighbour(path))
    return path


def _shown(name: str) -> str:
    return "".join("\ufffd" if unicodedata.category(letter) in UNSHOWN else letter for letter in name)


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
    return nearest(path.name, names).strip() or None


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
    is spelled alike, then the one in small letters."""
    entries = [entry for entry in _siblings(path) if entry.stem.lower() == path.stem.lower()]
    entries.sort(key=lambda entry: (entry.stem == path.stem, entry.suffix == entry.suffix.lower(), entry.name))
    return {entry.suffix.lower(): entry for entry in entries}


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
    foreign = (rb"create\s+view", rb"open\s+table", rb"isseamless", rb"type\s+(?!native|decimal)\w*\s*(linked|raster)")
    return re.search(rb"type\s+native", text) is not None and not any(re.search(word, text) for word in foreign)


def _safe(name: str) -> str:
    """A file name without the characters that GDAL gives a meaning (`!`, `:`, `?`, `#`, `,`)."""
    return re.sub(r"[^\w.\- ()\[\]]", "_", name)


def _copy(path: Path, parts: list[Path], folder: Path) -> tuple[Path, str, int]:
    """Copy the parts. Returns the main file's copy, and digest and size of what was copied: nobody writes there."""
    if path.is_dir():
        folder = folder / _safe(path.name)
        folder.mkdir()
    digest, size = hashlib.sha256(), 0
    for part in parts:
        # One spelling of the stem and small suffixes: GDAL finds companions by both on a case-sensitive disk.
        exact = path.is_dir() or path.suffix.lower() == ".thf"
        name = part.name if exact else path.stem + part.suffix.lower()
        size += _take(part, folder / _safe(name), digest)
    if path.is_dir():
        return folder, digest.hexdigest(), size
    main = folder / _safe(path.name if path.suffix.lower() == ".thf" else path.stem + path.suffix.lower())
    return main, digest.hexdigest(), size


def _take(part: Path, target: Path, digest: hashlib._Hash) -> int:
    """Copy one file into the digest and to its target; returns its size. What somebody still writes is not taken."""
    with open(os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise SourceError(f"{part.name} is not a regular file.", hint="Hand in the file itself.")
        if before.st_size > shutil.disk_usage(target.parent).free:
            raise OSError(errno.ENOSPC, "no room")
        left = before.st_size
        with target.open("xb") as out:
            while left and (block := file.read(min(1 << 20, left))):
                left -= len(block)
                digest.update(block)
                out.write(block)
        after = os.fstat(file.fileno())
    if left or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise SourceError(f"{part.name} was changed while it was read.",
                          hint="Wait until it is written, then hand it in again.")  # fmt: skip
    return before.st_size


# --- archives -----------------------------------------------------------------------------------------------------


BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ValueError, struct.error, OverflowError, IndexError, KeyError,
)  # fmt: skip
"""What the standard library says of archives that are none."""


def _unpack(path: Path, name: str, folder: Path, limits: ArchiveLimits) -> None:
    """Unpack the archive at `path`, which the steward calls `name`. Raises SourceError; OSError is the disk's."""
    try:
        if name.lower().endswith((".zip", ".kmz")):
            _unpack_zip(path, name, folder, limits)
        else:
            _unpack_tar(path, name, folder, limits)
    except BROKEN:
        raise _unreadable(name) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _unreadable(name) from None


def _unreadable(name: str) -> SourceError:
    return SourceError(f"{name} is not a readable archive.", hint="Pack it again as .zip and compare the size.")


def _zip_entries(path: Path, name: str, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
    """The files of a zip that keeps the rules. Raises SourceError."""
    _check_directory(path, name, limits)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (*BROKEN, OSError):
        raise _unreadable(name) from None
    if any(entry.flag_bits & 1 for entry in entries):
        raise SourceError(f"{name} is encrypted.", hint="Pack it without a password.")
    if any(stat.S_ISLNK(entry.external_attr >> 16) for entry in entries):
        raise SourceError(f"{name} holds a symbolic link.", hint="Pack the files themselves.")
    if any(entry.compress_type not in PACKED for entry in entries):
        raise SourceError(f"{name} is packed in a way that cannot be unpacked here.",
                          hint="Pack it with the usual method (Deflate).")  # fmt: skip
    _check_names(name, [entry.filename for entry in entries])
    _check_sizes(name, [(entry.file_size, entry.compress_size) for entry in entries], path.stat().st_size, limits)
    return entries


def _check_directory(path: Path, name: str, limits: ArchiveLimits) -> None:
    """Refuse a table of contents that is longer than the allowed number of files can need, before it is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        return  # zipfile says that it is none
    contents = int.from_bytes(tail[end + 12 : end + 16], "little")
    wide = tail.rfind(b"PK\x06\x06", 0, end)
    if contents == 0xFFFFFFFF or wide >= 0:
        contents = max(contents if contents != 0xFFFFFFFF else 0, int.from_bytes(tail[wide + 40 : wide + 48], "little"))
    if min(contents, size) > NAME * (limits.files + 1):
        raise SourceError(f"{name} holds more files than is allowed.", hint=f"Allowed: {limits.files} files.")


def _check_names(archive: str, names: list[str]) -> None:
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if not parts.parts or parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0] or "\0" in name:
            raise SourceError(f"{archive} holds a file outside its own folder: {_shown(name[:200])!r}.",
                              hint="Pack it again.")  # fmt: skip


def _check_sizes(name: str, sizes: list[tuple[int, int]], packed: int, limits: ArchiveLimits) -> None:
    """sizes: (unpacked, packed) bytes of each file as the archive says; packed: bytes of the archive itself."""
    total = sum(size for size, _ in sizes)
    bloated = any(size > SMALL and size > limits.ratio * max(inside, 1) for size, inside in sizes)
    bloated |= total > 10 * SMALL and total > limits.ratio * packed
    if len(sizes) > limits.files or total > limits.size or bloated:
        raise SourceError(f"{name} unpacks to {len(sizes)} files and {total} bytes, more than is allowed.",
                          hint=f"Allowed: {limits.files} files, {limits.size} bytes, {limits.ratio} to 1.")  # fmt: skip
    if any(size < 0 for size, _ in sizes):
        raise _unreadable(name)


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _unpack_zip(path: Path, name: str, folder: Path, limits: ArchiveLimits) -> None:
    entries = [entry for entry in _zip_entries(path, name, limits) if not _hidden(entry.filename)]
    _check_nested(name, [entry.filename for entry in entries])
    _check_room(folder, sum(entry.file_size for entry in entries))
    with zipfile.ZipFile(path) as archive:
        for entry in entries:
            with archive.open(entry) as file:
                _write(file, folder, entry.filename, entry.file_size)


def _check_room(folder: Path, size: int) -> None:
    if size > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, "no room")


def _unpack_tar(path: Path, name: str, folder: Path, limits: ArchiveLimits) -> None:
    packed = path.stat().st_size
    with _unwrapped(path, name, limits) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        sizes: list[tuple[int, int]] = []
        for entry in archive:
            archive.members = []  # or it keeps them all
            sizes.append((entry.size if entry.isreg() else 0, packed))
            _check_sizes(name, [(sum(size for size, _ in sizes), packed)] + [(0, 0)] * (len(sizes) - 1), packed, limits)
            if entry.isdir() or _hidden(entry.name.removeprefix("./")):
                continue
            if not entry.isreg():
                raise SourceError(f"{name} holds a link or a device: {_shown(entry.name[:200])!r}.",
                                  hint="Pack the files themselves.")  # fmt: skip
            _check_names(name, [entry.name])
            _check_nested(name, [entry.name])
            _check_room(folder, entry.size)
            file = archive.extractfile(entry)
            assert file is not None
            _write(file, folder, entry.name, entry.size)


@contextmanager
def _unwrapped(path: Path, name: str, limits: ArchiveLimits) -> Iterator[IO[bytes]]:
    """The bytes of a tar, unpacked as they are asked for and no more of them than is allowed."""
    with path.open("rb") as file:
        head = file.read(6)
    opened: Any = next((way for mark, way in WRAPPERS.items() if head.startswith(mark)), Path.open)
    with opened(path, "rb") as stream:
        yield cast(IO[bytes], _Bounded(stream, name, min(limits.size, limits.ratio * path.stat().st_size) + SMALL))


class _Bounded:
    """A stream that ends with a sentence where a bomb would go on, and gives no more than a header at once."""

    def __init__(self, stream: IO[bytes], name: str, most: int) -> None:
        self.stream, self.name, self.most = stream, name, most
        self.tell = stream.tell

    def seek(self, target: int, whence: int = 0) -> int:
        self._reach(target if whence == 0 else 0)
        return self.stream.seek(target, whence)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= SMALL:
            raise tarfile.ReadError("a header of this length is none")
        self._reach(self.stream.tell() + size)
        return self.stream.read(size)

    def _reach(self, target: int) -> None:
        if target > self.most:
            raise SourceError(f"{self.name} unpacks to more than {self.most} bytes.", hint="Pack fewer files in one.")


def _check_nested(archive: str, names: list[str]) -> None:
    for name in names:
        if name.lower().endswith(NESTED):
            raise SourceError(
                f"{archive} holds another archive: {_shown(PurePosixPath(name).name)}.", hint="Pack it once only."
            )


def _write(file: IO[bytes], folder: Path, name: str, size: int) -> None:
    """Write one unpacked file; what is longer than the archive said is not believed."""
    parts = [_safe(part) for part in PurePosixPath(name.replace("\\", "/")).parts if part not in (".", "")]
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        left = size
        while block := file.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise ValueError("longer than the archive says")
            out.write(block)


def _name_geodatabases(folder: Path, stem: str) -> None:
    """Geodatabases are often packed without their folder, or in one that lost its `.gdb`; GDAL knows them by that."""
    for table in sorted(folder.rglob("a00000001.gdbtable")):
        inner = table.parent
        if inner == folder:
            inner = folder / f"{_safe(stem)}.gdb"
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
    chosen = [main for main in mains if wanted in (main.stem, main.name)]
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
