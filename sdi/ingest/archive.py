"""Archives are unpacked by our own rules: no bomb, no link, no way out of their folder, no archive within another."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from sdi.errors import SourceError

NESTED = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".tar", ".tgz")
UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of control and format characters, lone surrogates (a name that is not UTF-8), line ends."""
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
WRAPPERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
SMALL = 10_000_000
"""Bytes below which no ratio is asked for."""
NAME = 1024
"""Bytes that a file takes at most, on the average, in a zip's table of contents."""


@dataclass(frozen=True)
class ArchiveLimits:
    files: int = 2000
    size: int = 8 * 1024**3
    """Bytes of all files together."""
    ratio: int = 200
    """Unpacked to packed size, for files over 10 MB."""


def shown(name: str) -> str:
    """A name without what a terminal would obey."""
    return "".join("\ufffd" if unicodedata.category(letter) in UNSHOWN else letter for letter in name)


def letters(name: str) -> str:
    """A name of which each letter stands with its marks in one (NFC); some systems write them apart."""
    return unicodedata.normalize("NFC", name)


def safe(name: str) -> str:
    """A file name without the characters that GDAL gives a meaning (`!`, `:`, `?`, `#`, `,`)."""
    return re.sub(r"[^\w.\- ()\[\]]", "_", letters(name))


BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ValueError, struct.error, OverflowError, IndexError, KeyError,
)  # fmt: skip
"""What the standard library says of archives that are none."""


def unpack(path: Path, name: str, folder: Path, limits: ArchiveLimits) -> None:
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


def zip_entries(path: Path, name: str, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
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
            raise SourceError(f"{archive} holds a file outside its own folder: {shown(name[:200])!r}.",
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
    entries = [entry for entry in zip_entries(path, name, limits) if not _hidden(entry.filename)]
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
            sizes.append((entry.size if entry.isreg() else 0, packed))
            _check_sizes(name, [(sum(size for size, _ in sizes), packed)] + [(0, 0)] * (len(sizes) - 1), packed, limits)
            if entry.isdir():
                continue
            _check_names(name, [entry.name])
            if _hidden(entry.name.removeprefix("./")):
                continue
            if not entry.isreg():
                raise SourceError(f"{name} holds a link or a device: {shown(entry.name[:200])!r}.",
                                  hint="Pack the files themselves.")  # fmt: skip
            _check_nested(name, [entry.name])
            _check_room(folder, entry.size)
            file = archive.extractfile(entry)
            assert file is not None
            _write(file, folder, entry.name, entry.size)
        while stream.read(1 << 20):  # the checksum of what was packed stands at its end
            pass


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
                f"{archive} holds another archive: {shown(PurePosixPath(name).name)}.", hint="Pack it once only."
            )


def _write(file: IO[bytes], folder: Path, name: str, size: int) -> None:
    """Write one unpacked file; what is longer than the archive said is not believed."""
    parts = [safe(part) for part in PurePosixPath(name.replace("\\", "/")).parts if part not in (".", "")]
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        left = size
        while block := file.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise ValueError("longer than the archive says")
            out.write(block)
