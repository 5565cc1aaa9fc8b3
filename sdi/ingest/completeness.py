"""Whether a file is all there. GDAL reads a DXF, GML, MapInfo, MicroStation, CSV or GeoJSON text sequence that was cut
short as if nothing were missing; each of them has an end, or says how much it holds, and that is looked at here."""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path

import numpy as np

from sdi.errors import SourceError
from sdi.ingest import geojson, shapefile
from sdi.ingest.markup import XML

LINES = frozenset({".geojsonl", ".geojsons"})
PIECE = 1 << 20
"""Bytes that are looked at at once."""


def check_whole(main: Path, name: str) -> None:
    """Look for the end of the dataset at `main`, which the steward calls `name`. Raises SourceError."""
    suffix = main.suffix.lower()
    if main.is_dir():
        return
    if suffix == ".shp":
        return _check_rows(main, name)
    cut = {".dxf": _dxf_is_cut, ".dgn": _dgn_is_cut, ".csv": _csv_is_cut, ".tab": _tab_is_cut}.get(suffix)
    if suffix in XML:
        cut = _xml_is_cut
    if cut is not None and cut(main):
        raise SourceError(f"{name} is cut short: its end is missing.", hint="Copy it again and compare its size.")


def _check_rows(main: Path, name: str) -> None:
    if not shapefile.has_sound_table(main):
        raise SourceError(f"The .dbf of {name} is damaged: its columns do not fill its rows.",
                          hint="Export it again, as GeoPackage if possible.")  # fmt: skip
    shapes, rows = shapefile.records(main)
    if shapes != rows:
        raise SourceError(f"{name} has {shapes} shapes and its .dbf has {rows} rows.",
                          hint="They are not of one export; hand in all parts of one.")  # fmt: skip


def check_markup(line: int | None, name: str) -> None:
    """line: from which on `markup` says that XML is broken. Raises SourceError."""
    if line is not None:
        raise SourceError(f"{name} is damaged: what begins at line {line} is no well-formed XML.",
                          hint="Copy it again, or export it anew.")  # fmt: skip


def check_count(main: Path, name: str, read: int, *, promised: int | None = None, alone: bool = True) -> None:
    """Hold the number of features that were read against what the dataset promises; `promised`: what GDAL says that it
    does. alone: what was read is all there is in it. Raises SourceError."""
    if promised is None:
        promised = _promised(main, alone)
    if promised is not None and read < promised:
        raise SourceError(f"Of {promised} features of {name} only {read} can be read: it is damaged or cut short.",
                          hint="Copy it again with all its parts and compare their sizes.")  # fmt: skip


def _promised(main: Path, alone: bool) -> int | None:
    suffix = main.suffix.lower()
    if suffix in XML:
        return _answered(main) if alone else None
    if suffix in LINES:
        return max(_lines(main), geojson.records(main))
    if suffix in (".geojson", ".json"):
        return geojson.features(main)
    if suffix == ".mif":
        return max(_mid_lines(main.with_suffix(".mid")), _mif_objects(main))
    return _tab_records(main.with_suffix(".dat")) if suffix == ".tab" else None


def _ends(path: Path) -> tuple[bytes, bytes]:
    """The first and the last piece of a file."""
    with path.open("rb") as file:
        head = file.read(PIECE)
        file.seek(max(0, path.stat().st_size - PIECE))
        return head, file.read()


def _xml_is_cut(path: Path) -> bool:
    """Whether the element that was opened first is not closed last."""
    head, tail = _ends(path)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False  # UTF-16
    head = re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL)
    root = re.search(rb"<([A-Za-z_][\w.:\-]*)", head)
    if root is None:
        return False  # no XML, which is not for us to say
    tail = re.sub(rb"(\s|\x00|<!--.*?-->|<\?.*?\?>)*$", b"", tail[-4096:], flags=re.DOTALL)
    return not re.search(rb"</" + re.escape(root[1]) + rb"\s*>$|/>$", tail)


def _answered(path: Path) -> int | None:
    """How many features a WFS says that its answer has (OGC 04-094, 9.3; 09-025r2, 7.7.4.4); 0 also where it does not
    know yet."""
    head, _ = _ends(path)
    root = re.search(rb"<(?:\w+:)?FeatureCollection\b[^>]*>", head[:65_536])
    found = re.search(rb"""\bnumber(?:OfFeatures|Returned)\s*=\s*["'](\d{1,15})["']""", root[0]) if root else None
    return int(found[1]) if found else None


def _dxf_is_cut(path: Path) -> bool:
    _, tail = _ends(path)
    return re.search(rb"(EOF|ENDSEC)[\s\x00\x1a]*$", tail[-4096:]) is None


def _dgn_is_cut(path: Path) -> bool:
    """Whether the chain of elements (type and level, then a count of 16-bit words) ends before its mark FF FF."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, size = 0, len(data)
        while at + 2 <= size and data[at : at + 2] != b"\xff\xff":
            if at + 4 > size:
                return True
            at += 4 + 2 * int.from_bytes(data[at + 2 : at + 4], "little")
        return at + 2 > size


def _csv_is_cut(path: Path) -> bool:
    """Whether a quotation is never closed, or the last line, without an end, has fewer fields than the first."""
    head, tail = _ends(path)
    quotes = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            quotes += piece.count(b'"')
    if quotes % 2:
        return _quotation_is_open(path.read_bytes())
    first = head.split(b"\n", 1)[0]
    if tail.endswith((b"\n", b"\r")) or b"\n" not in tail:
        return False
    last = _last_record(tail)
    separator = max((b",", b";", b"\t", b"|"), key=first.count)
    return _unquoted(last).count(separator) < _unquoted(first).count(separator)


def _quotation_is_open(text: bytes) -> bool:
    """A quotation begins a field and ends one; a mark within a field (`2" pipe`) is a letter."""
    opened = [found.end() for found in re.finditer(rb'(?:^|[,;\t|\r\n])[ ]*"', text)]
    return bool(opened) and re.search(rb'"(?=[ ]*([,;\t|\r\n]|$))', text[opened[-1] :]) is None


def _last_record(tail: bytes) -> bytes:
    start = tail.rfind(b"\n")
    while start > 0 and tail.count(b'"', start) % 2:
        start = tail.rfind(b"\n", 0, start)
    return tail[start + 1 :]


def _unquoted(line: bytes) -> bytes:
    return re.sub(rb'"[^"]*"', b"", line)


def _lines(path: Path) -> int:
    """Lines with something in them, or records that begin with the mark 1E (RFC 8142)."""
    with path.open("rb") as file:
        if file.read(1) == b"\x1e":
            file.seek(0)
            return sum(piece.count(b"\x1e") for piece in iter(lambda: file.read(PIECE), b""))
        file.seek(0)
        return sum(not line.isspace() for line in file)


def _mid_lines(path: Path) -> int:
    """Rows of a .mid; a quotation may run over several lines."""
    rows, quotes = 0, 0
    with path.open("rb") as file:
        for line in file:
            quotes += line.count(b'"')
            rows += quotes % 2 == 0 and not line.isspace()
    return rows + quotes % 2


OBJECT = re.compile(
    rb"^[ \t]*(point|line|pline|region|arc|text|rect|roundrect|ellipse|multipoint|collection|none)\b", re.IGNORECASE
)


def _mif_objects(path: Path) -> int:
    """Graphical objects after the word Data; the parts of a collection are none of their own, nor lines of text."""
    count, data, inside = 0, False, 0
    with path.open("rb") as file:
        for line in file:
            if not data:
                data = line.strip().lower() == b"data"
                continue
            found = OBJECT.match(line)
            if found is None:
                continue
            if inside:
                inside -= 1
                continue
            count += 1
            if found[1].lower() == b"collection":
                number = re.search(rb"\d+", line)
                inside = int(number[0]) if number else 0
    return count


def _tab_is_cut(path: Path) -> bool:
    """Whether .dat or .id is shorter than the records that .dat promises, or .map no row of whole blocks."""
    dat, index, shapes = (path.with_suffix(suffix) for suffix in (".dat", ".id", ".map"))
    header = _table(dat)
    if header is None:
        return True
    records, start, length = header
    return (
        dat.stat().st_size < start + records * length
        or (index.is_file() and index.stat().st_size < 4 * records)
        or (shapes.is_file() and shapes.stat().st_size % 512 != 0)
    )


def _table(dat: Path) -> tuple[int, int, int] | None:
    """Records, bytes of the header and of a record of a .dat, which is built as a DBF; None: shorter than a header."""
    if not dat.is_file():
        return None
    with dat.open("rb") as file:
        head = file.read(32)
    return struct.unpack("<IHH", head[4:12]) if len(head) == 32 else None


def _tab_records(dat: Path) -> int | None:
    """Records of a .dat that are not marked as deleted."""
    header = _table(dat)
    if header is None or not header[2]:
        return None
    records, start, length = header
    with dat.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        flags = np.frombuffer(data[start : start + records * length], np.uint8)[::length]
    return int((flags != ord("*")).sum())
