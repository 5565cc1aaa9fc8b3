"""What an attacker makes: bombs, ways out of a folder, names and contents that mean something to a library."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import socket
import sqlite3
import struct
import tarfile
import threading
import unicodedata
import zipfile
from pathlib import Path
from typing import Literal

import pytest

from sdi.contract.delivery import Request
from sdi.errors import NotFound, SdiError, SourceError
from sdi.ingest.source import read
from sdi.ingest.stage import ArchiveLimits, _digest, _stage, staged
from tests.hostile import samples
from tests.hostile.conduct import hand_in
from tests.hostile.watch import Watch

POINT = b'{"type":"Point","coordinates":[106.7,10.8]}'
SMALL = ArchiveLimits(files=100, size=50_000_000)


def refusal(path: Path, limits: ArchiveLimits = SMALL) -> str:
    """The sentence with which a file is refused before any library looks at it."""
    with pytest.raises(SourceError) as caught, staged(path, None, limits):
        pass
    assert str(path.parent) not in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


def packed(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in entries.items():
            out.writestr(name, content)
    return path


# --- bombs ----------------------------------------------------------------------------------------------------------


def overlapping(path: Path, names: list[str], content: bytes) -> Path:
    """A zip whose entries all point at the same bytes (after Fifield, 2019)."""
    packed(path, {names[0]: content})
    raw = path.read_bytes()
    start = raw.index(b"PK\x01\x02")
    head, body = raw[:start], raw[start : raw.index(b"PK\x05\x06")]
    records = b"".join(body.replace(names[0].encode(), name.encode()) for name in names)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, len(names) & 0xFFFF, len(names) & 0xFFFF, len(records),
                      len(head), 0)  # fmt: skip
    path.write_bytes(head + records + end)
    return path


def test_a_zip_whose_entries_overlap_is_refused_by_what_it_would_unpack_to(tmp_path: Path) -> None:
    names = [f"{number:03}.geojson" for number in range(99)]
    bomb = overlapping(tmp_path / "a.zip", names, b" " * 9_000_000)
    assert bomb.stat().st_size < 50_000
    assert "more than is allowed" in refusal(bomb)
    assert "more than is allowed" in refusal(bomb, ArchiveLimits(files=100, size=10**12))  # the ratio alone


def test_a_zip_whose_entries_overlap_a_little_is_no_readable_archive(tmp_path: Path) -> None:
    assert "not a readable archive" in refusal(overlapping(tmp_path / "a.zip", ["a.geojson", "b.geojson"], POINT))


def test_a_zip_within_a_zip_is_refused_at_every_depth(tmp_path: Path) -> None:
    inner = packed(tmp_path / "0.zip", {"plots.geojson": POINT})
    for depth in range(1, 4):
        inner = packed(tmp_path / f"{depth}.zip", {f"{depth - 1}.zip": inner.read_bytes()})
        assert "another archive" in refusal(inner)


def test_a_zip_of_a_million_entries_is_refused_before_its_contents_are_read(tmp_path: Path) -> None:
    bomb = overlapping(tmp_path / "a.zip", ["plots.geojson"] * 200_000, POINT)
    assert "more files than is allowed" in refusal(bomb)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_tar_that_promises_a_terabyte_is_refused_by_its_header(tmp_path: Path, hidden: bool) -> None:
    with gzip.open(tmp_path / "a.tar.gz", "wb") as out:
        entry = tarfile.TarInfo(".plots.geojson" if hidden else "plots.geojson")
        entry.size = 10**12
        out.write(entry.tobuf(tarfile.GNU_FORMAT))
    assert "more than is allowed" in refusal(tmp_path / "a.tar.gz")


def test_a_tar_whose_extended_header_is_a_bomb_is_not_read_into_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as out:
        entry = tarfile.TarInfo("plots.geojson")
        entry.type, entry.size = tarfile.XHDTYPE, 40_000_000
        out.write(entry.tobuf(tarfile.PAX_FORMAT))
        for _ in range(40):
            out.write(bytes(1_000_000))
    assert "not a readable archive" in refusal(tmp_path / "a.tar.gz")


def test_a_tar_of_endless_folders_is_refused_by_their_count(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as out:
        for number in range(101):
            entry = tarfile.TarInfo(f"folder{number}")
            entry.type = tarfile.DIRTYPE
            out.addfile(entry)
    assert "more than is allowed" in refusal(tmp_path / "a.tar.gz")


def test_a_stream_that_goes_on_behind_the_end_of_a_tar_is_a_bomb(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as out, tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("plots.geojson")
        entry.size = len(POINT)
        tar.addfile(entry, io.BytesIO(POINT))
    with gzip.open(tmp_path / "a.tar.gz", "ab", compresslevel=1) as out:
        out.write(bytes(30_000_000))
    assert "unpacks to more than" in refusal(tmp_path / "a.tar.gz", ArchiveLimits(ratio=10))


def test_bytes_that_do_not_unpack_end_as_a_sentence(tmp_path: Path) -> None:
    raw = bytearray(packed(tmp_path / "a.zip", {"plots.geojson": POINT * 50}).read_bytes())
    raw[45:60] = b"\xff" * 15
    (tmp_path / "a.zip").write_bytes(raw)
    assert "not a readable archive" in refusal(tmp_path / "a.zip")
    for suffix, mode in (("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")):
        path = tar_of(tmp_path / f"a.{suffix}", mode, tarfile.TarInfo("plots.geojson"), os.urandom(3000))
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2 : len(raw) // 2 + 40] = b"\x00" * 40
        path.write_bytes(raw)
        assert "not a readable archive" in refusal(path)
        path.write_bytes(raw[: len(raw) // 2])
        assert "not a readable archive" in refusal(path)


# --- ways out of the folder -----------------------------------------------------------------------------------------


def tar_of(path: Path, mode: str, entry: tarfile.TarInfo, content: bytes = b"") -> Path:
    entry.size = len(content)
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        out.addfile(entry, io.BytesIO(content))
    return path


OUTSIDE = ["../p.geojson", "a/../../p.geojson", "/etc/p.geojson", "C:/p.geojson", "C:p.geojson", "..\\p.geojson", "."]


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_archive_with_a_way_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert "outside its own folder" in refusal(packed(tmp_path / "a.zip", {name: POINT}))
    for suffix, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")):
        path = tar_of(tmp_path / f"a.{suffix}", mode, tarfile.TarInfo(name), POINT)
        assert "outside its own folder" in refusal(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_a_link_or_a_device_is_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("plots.geojson")
    entry.type, entry.linkname = kind, "/etc/passwd"
    assert "link or a device" in refusal(tar_of(tmp_path / "a.tar.bz2", "w:bz2", entry))


@pytest.mark.parametrize(
    "names",
    [
        ["plots.geojson", "plots.geojson/more.geojson"],
        ["a/" * 3000 + "plots.geojson"],
        ["x" * 300 + ".geojson"],
        ["plots.geojson", "plots.geojson"],
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_no_folder_can_hold_end_as_a_sentence(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        for name in names:
            out.writestr(name, POINT)
    assert "not a readable archive" in refusal(tmp_path / "a.zip")


def test_an_archive_packed_by_a_method_of_another_program_says_so(tmp_path: Path) -> None:
    raw = bytearray(packed(tmp_path / "a.zip", {"plots.geojson": POINT}).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", raw, raw.index(mark) + offset, 9)  # Deflate64, as the Windows shell packs over 2 GB
    (tmp_path / "a.zip").write_bytes(raw)
    assert "usual method" in refusal(tmp_path / "a.zip")


def test_a_shapefile_in_capitals_is_read_from_its_archive(tmp_path: Path) -> None:
    path = samples.write(tmp_path, "shp")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        for part in tmp_path.glob("plots.*"):
            out.write(part, part.name.upper())
    assert path.is_file()
    assert [end.report and end.report.kept for end in hand_in(tmp_path / "a.zip")] == [samples.COUNT]


def test_templates_in_an_archive_do_not_say_what_is_read(tmp_path: Path) -> None:
    """A .csvt that calls a text column a number would lose every text."""
    archive = packed(tmp_path / "a.zip", {
        "plots.csv": "name,wkt\nThửa 1,POINT (603000 1191000)\n".encode(), "plots.csvt": b'"Integer","String"',
    })  # fmt: skip
    with staged(archive, None, SMALL) as stage:
        assert not stage.main.with_suffix(".csvt").exists()
    assert read(Request(path=archive)).table["name"].to_pylist() == ["Thửa 1"]


def test_a_file_is_copied_whole_where_the_kernel_copies_only_some_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between some file systems it copies nothing, and of a large file 2 GB at once."""
    path = samples.write(tmp_path, "gpkg")
    calls: list[int] = []

    def some(source: int, target: int, count: int) -> int:
        calls.append(count)
        if len(calls) > 1:
            raise OSError(errno.EXDEV, "")
        return os.write(target, os.read(source, min(count, 1_000)))

    monkeypatch.setattr(os, "copy_file_range", some)
    with staged(path, None, SMALL) as stage:
        assert calls == [path.stat().st_size, path.stat().st_size - 1_000]
        assert stage.main.read_bytes() == path.read_bytes()


# --- files that are none, and names -----------------------------------------------------------------------------------


def test_what_is_no_file_of_its_own_is_refused(tmp_path: Path) -> None:
    decoy = tmp_path / "decoy.geojson"
    decoy.write_bytes(POINT)
    (tmp_path / "link.geojson").symlink_to(decoy)
    (tmp_path / "loop.geojson").symlink_to(tmp_path / "loop.geojson")
    (tmp_path / "gone.geojson").symlink_to(tmp_path / "nowhere.geojson")
    (tmp_path / "folder.geojson").mkdir()
    os.mkfifo(tmp_path / "pipe.geojson")
    os.mkfifo(tmp_path / "pipe.zip")
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s.geojson"))
        for name in ("folder.geojson", "pipe.geojson", "pipe.zip", "s.geojson"):
            assert "not a regular file" in refusal(tmp_path / name)
    for name in ("link.geojson", "gone.geojson"):
        assert "is a link to another file" in refusal(tmp_path / name)
    for path in (Path("/dev/zero"), Path("/dev/stdin"), tmp_path / "loop.geojson", Path("/proc/self/fd")):
        with pytest.raises(SdiError), staged(path, None, SMALL):
            pass


def test_a_part_of_a_shapefile_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    path = samples.write(tmp_path, "shp")
    decoy = path.with_suffix(".dbf").rename(tmp_path / "decoy.bin")
    path.with_suffix(".dbf").symlink_to(decoy)
    with Watch(decoy) as watch:
        assert "plots.dbf is missing" in refusal(path)
    assert not watch.touched


@pytest.mark.parametrize(
    "name", ["plots\n.geojson", "plots\x1b[2J.geojson", "plots\u202enosjoeg.geojson", "p\udcff.geojson"]
)
def test_a_name_that_a_terminal_would_obey_is_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINT)
    said = refusal(tmp_path / name)
    assert name not in said
    assert said.isprintable() or "\ufffd" in said
    said.encode()


NAMES = [
    "Thửa đất phường Bến Nghé (tờ 12).geojson", "a'b\"c;d`e$(f).geojson", "x" * 240 + ".geojson",
    "a,b?c=d&e#f!g.geojson",
    "PG:host=127.0.0.1 port={port}.geojson", "MySQL:db,host=127.0.0.1.geojson", "WFS:127.0.0.1.geojson",
    "vsicurl_streaming.geojson", "[bold]red.geojson", "{{type: Point}}.geojson", "-rf.geojson",
    "MEM:::DATAPOINTER=1.geojson",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_opened_under_a_name_that_means_nothing_to_the_library(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINT)
    with staged(tmp_path / name, None, SMALL) as stage:
        assert stage.main.read_bytes() == POINT
        assert not set(stage.main.name) & set(":,?!#&=;$`'\"{}<>\\")


def spelt(name: str, form: Literal["NFC", "NFD"]) -> str:
    return unicodedata.normalize(form, name)


def test_a_name_is_the_same_however_its_marks_are_written(tmp_path: Path) -> None:
    """macOS writes a letter and its marks apart, in file names and in archives."""
    made = samples.write(tmp_path, "shp")
    loose, packed, both = (tmp_path / name for name in ("loose", "packed.zip", "both.zip"))
    loose.mkdir()
    with zipfile.ZipFile(packed, "w") as one, zipfile.ZipFile(both, "w") as two:
        for number, part in enumerate(sorted(tmp_path.glob("plots.*"))):
            name = spelt(f"Thửa đất{part.suffix}", "NFD" if number % 2 else "NFC")
            part.rename(loose / name)
            one.write(loose / name, name)
            two.write(loose / name, name)
        two.writestr("roads.geojson", POINT)
    shp = next(loose.glob(f"*{made.suffix}"))
    other: Literal["NFC", "NFD"] = "NFC" if shp.name == spelt(shp.name, "NFD") else "NFD"
    for path, wanted in ((shp, None), (shp.with_name(spelt(shp.name, other)), None), (packed, None),
                         (both, spelt("Thửa đất", "NFC")), (both, spelt("Thửa đất", "NFD"))):  # fmt: skip
        source = read(Request(path, layer_in_file=wanted, crs="EPSG:9210"))
        assert source.table.num_rows == samples.COUNT
        assert source.facts.layer == spelt("Thửa đất", "NFC")


@pytest.mark.parametrize("kind", ["xlsx", "gpkg", "fgb", "kml", "geojson", "zip"])
def test_what_is_no_table_is_not_read_as_one_line_by_line(tmp_path: Path, kind: str) -> None:
    path = samples.write(tmp_path, kind).rename(tmp_path / "plots.csv")
    assert "plots.csv is no table of text" in refusal(path)


STRINGS = [
    "PG:host=127.0.0.1", "http://127.0.0.1:1/p.geojson", "/vsicurl/http://127.0.0.1:1/p.geojson",
    "/vsizip/plots.zip/p.geojson", "/vsistdin/", '{"type":"Point","coordinates":[1,2]}', "<OGRVRTDataSource/>",
    "MEM:::DATAPOINTER=1", "ODBC:x", "GPKG:plots.gpkg", "data:application/json,{}", "WFS:http://127.0.0.1:1", "",
    "p\x00.geojson", "x" * 5000 + ".geojson", "/" * 300, "~root/p.geojson", "|cat /etc/passwd", "CON", "..",
]  # fmt: skip


@pytest.mark.parametrize("text", STRINGS)
def test_a_connection_string_is_the_name_of_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((NotFound, SourceError)), staged(Path(text), None, SMALL):
        pass


def test_a_file_that_grows_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "plots.csv"
    path.write_bytes(b"name,wkt\n" + b"x,POINT (1 2)\n" * 3_000_000)
    done = threading.Event()

    def grow() -> None:
        with path.open("ab") as out:
            while not done.is_set():
                out.write(b"x,POINT (1 2)\n")
                out.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        assert "was changed while it was read" in refusal(path)
    finally:
        done.set()
        writer.join()


def test_a_file_that_changes_after_it_was_copied_has_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "plots.csv"
    path.write_bytes(b"name,wkt\n" + b"x,POINT (1 2)\n" * 100)
    with staged(path, None, SMALL) as stage:
        assert stage.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    copies = tmp_path / "copies"
    copies.mkdir()
    copied = _stage(path, copies, None, SMALL)[2]
    path.write_bytes(b"name,wkt\n" + b"x,POINT (2 1)\n" * 100)
    os.utime(path, ns=(0, copied[0].state.st_mtime_ns + 1))
    with pytest.raises(SourceError) as caught:
        _digest(path, copied)
    assert "was changed while it was read" in str(caught.value)


def test_a_file_that_is_larger_than_the_disk_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "plots.csv"
    with path.open("wb") as out:
        out.truncate(2**43)
    assert "no room" in refusal(path)


def test_a_geopackage_that_another_program_has_not_finished_is_not_taken_without_its_newest_edits(
    tmp_path: Path,
) -> None:
    path = samples.write(tmp_path, "gpkg")
    with sqlite3.connect(path) as open_elsewhere:
        open_elsewhere.execute("PRAGMA journal_mode=WAL")
        open_elsewhere.execute("CREATE TABLE newest (edit)")
        open_elsewhere.commit()
        assert "open in another program" in refusal(path)
    open_elsewhere.close()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("plots.geojson", b"", "is empty"),
        ("plots.gpkg", b"<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
        ("plots.dgn", b"\xd0\xcf\x11\xe0" + bytes(600), "MicroStation V8"),
        ("plots.dwg", b"AC1032", "Save the drawing as DXF"),
        ("plots.rar", b"Rar!", "pack it again as .zip"),
    ],
)
def test_what_is_often_handed_in_by_mistake_is_called_by_its_name(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in refusal(tmp_path / name)
