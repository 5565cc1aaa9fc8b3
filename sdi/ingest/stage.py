"""A delivered file is copied, alone with its companions, to a fresh folder; archives are unpacked by our own rules."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from sdi.errors import NotFound, SourceError, UsageError, nearest

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
    path = Path(path).resolve()
    if not path.exists():
        raise NotFound(f"There is no file {path.name}.", hint=_neighbour(path))
    with TemporaryDirectory(prefix="sdi-delivery-") as name:
        folder = Path(name)
        parts = [path] if _is_archive(path) else _parts(path)
        digest, size = _digest(parts)
        if _is_archive(path):
            _unpack(path, folder, limits)
            _name_geodatabases(folder, path.name.split(".")[0])
            mains = _datasets(folder)
            main = _choose(path, mains, wanted)
            _parts(main)
        else:
            mains, main = [path], _copy(path, parts, folder)
        if main.suffix.lower() == ".xlsx":
            _zip_entries(main, limits)
        _to_utf8(main)
        yield Staged(main, digest, size, tuple(main.name for main in mains))


def _neighbour(path: Path) -> str | None:
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
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
    if suffix in PARTS_OF_SHAPEFILE and path.with_suffix(".shp") not in _siblings(path):
        raise SourceError(f"{path.stem}.shp is missing: {path.name} is a part of a shapefile.",
                          hint="Hand in .shp, .shx, .dbf and .prj together, best in one .zip.")  # fmt: skip
    if suffix not in COMPANIONS:
        raise SourceError(f"Files of type '{suffix or path.name}' cannot be read.",
                          hint=f"Readable: {', '.join(sorted({*COMPANIONS, *FOLDERS, '.zip'}))}.")  # fmt: skip
    found = {entry.suffix.lower(): entry for entry in _siblings(path) if entry.stem.lower() == path.stem.lower()}
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
    return sorted({path, *(found[part] for part in COMPANIONS[suffix] if part in found)})


def _siblings(path: Path) -> list[Path]:
    return [entry for entry in path.parent.iterdir() if entry.is_file()]


def _is_native_tab(path: Path) -> bool:
    """A .tab may be a view or a link to a raster or a database; only a native table holds its own data."""
    return b"type native" in path.read_bytes()[:100_000].lower()


def _digest(parts: list[Path]) -> tuple[str, int]:
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest(), sum(part.stat().st_size for part in parts)


def _safe(name: str) -> str:
    """A file name without the characters that GDAL gives a meaning (`!`, `:`, `?`, `#`, `,`)."""
    return re.sub(r"[^\w.\- ()\[\]]", "_", name)


def _copy(path: Path, parts: list[Path], folder: Path) -> Path:
    if path.is_dir():
        folder = folder / _safe(path.name)
        folder.mkdir()
    for part in parts:
        # One spelling of the stem and small suffixes: GDAL finds companions by both on a case-sensitive disk.
        exact = path.is_dir() or path.suffix.lower() == ".thf"
        name = part.name if exact else path.stem + part.suffix.lower()
        shutil.copyfile(part, folder / _safe(name))
    if path.is_dir():
        return folder
    return folder / _safe(path.name if path.suffix.lower() == ".thf" else path.stem + path.suffix.lower())


# --- archives -----------------------------------------------------------------------------------------------------


def _unpack(path: Path, folder: Path, limits: ArchiveLimits) -> None:
    try:
        if path.name.lower().endswith((".zip", ".kmz")):
            _unpack_zip(path, folder, limits)
        else:
            _unpack_tar(path, folder, limits)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, OSError, RuntimeError, ValueError):
        raise SourceError(
            f"{path.name} is not a readable archive.", hint="Pack it again and compare the size."
        ) from None


def _zip_entries(path: Path, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
    """The files of a zip that keeps the rules. Raises SourceError."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError):
        raise SourceError(
            f"{path.name} is not a readable archive.", hint="Pack it again and compare the size."
        ) from None
    if any(entry.flag_bits & 1 for entry in entries):
        raise SourceError(f"{path.name} is encrypted.", hint="Pack it without a password.")
    if any(stat.S_ISLNK(entry.external_attr >> 16) for entry in entries):
        raise SourceError(f"{path.name} holds a symbolic link.", hint="Pack the files themselves.")
    _check_names(path, [entry.filename for entry in entries])
    _check_sizes(path, [(entry.file_size, entry.compress_size) for entry in entries], limits)
    return entries


def _check_names(path: Path, names: list[str]) -> None:
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0] or "\0" in name:
            raise SourceError(f"{path.name} holds a file outside its own folder: {name!r}.", hint="Pack it again.")


def _check_sizes(path: Path, sizes: list[tuple[int, int]], limits: ArchiveLimits) -> None:
    total = sum(size for size, _ in sizes)
    bloated = any(size > 10_000_000 and size > limits.ratio * max(packed, 1) for size, packed in sizes)
    if len(sizes) > limits.files or total > limits.size or bloated:
        raise SourceError(f"{path.name} unpacks to {len(sizes)} files and {total} bytes, more than is allowed.",
                          hint=f"Allowed: {limits.files} files, {limits.size} bytes, {limits.ratio} to 1.")  # fmt: skip


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _unpack_zip(path: Path, folder: Path, limits: ArchiveLimits) -> None:
    entries = [entry for entry in _zip_entries(path, limits) if not _hidden(entry.filename)]
    _check_nested(path, [entry.filename for entry in entries])
    with zipfile.ZipFile(path) as archive:
        for entry in entries:
            with archive.open(entry) as file:
                _write(file, folder, entry.filename, entry.file_size)


def _unpack_tar(path: Path, folder: Path, limits: ArchiveLimits) -> None:
    packed = path.stat().st_size
    with tarfile.open(path) as archive:
        total = count = 0
        for entry in archive:
            if entry.isdir() or _hidden(entry.name.removeprefix("./")):
                continue
            if not entry.isreg():
                raise SourceError(
                    f"{path.name} holds a link or a device: {entry.name!r}.", hint="Pack the files themselves."
                )
            total, count = total + entry.size, count + 1
            _check_names(path, [entry.name])
            _check_nested(path, [entry.name])
            _check_sizes(path, [(total, packed)] + [(0, 0)] * (count - 1), limits)
            file = archive.extractfile(entry)
            assert file is not None
            _write(file, folder, entry.name, entry.size)


def _check_nested(path: Path, names: list[str]) -> None:
    for name in names:
        if name.lower().endswith(NESTED):
            raise SourceError(
                f"{path.name} holds another archive: {PurePosixPath(name).name}.", hint="Pack it once only."
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
