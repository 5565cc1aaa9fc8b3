"""What the parts of a shapefile say about themselves: promised length and declared encoding; read by our own code."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from sdi.national.text import character_set

CODE_PAGES = {
    0x01: "CP437", 0x02: "CP850", 0x03: "CP1252", 0x08: "CP865", 0x13: "CP932", 0x4D: "CP936", 0x4E: "CP949",
    0x4F: "CP950", 0x50: "CP874", 0x57: "CP1252", 0x64: "CP852", 0x65: "CP866", 0x7A: "CP936", 0x7B: "CP932",
    0x7C: "CP874", 0xC8: "CP1250", 0xC9: "CP1251", 0xCA: "CP1254", 0xCB: "CP1253", 0xCC: "CP1257",
}  # fmt: skip
"""Language driver byte of a DBF (byte 29) -> code page. 0x57 is what GDAL writes for everything, so it says little."""


def shortfall(shp: Path) -> tuple[int, int] | None:
    """(bytes there, bytes promised) of the first of .shp, .shx, .dbf that is shorter than its header says, else None.

    Lengths in .shp and .shx are big-endian 16-bit words at byte 24 (ESRI white paper, July 1998); a .dbf promises its
    header and its records, whose end mark may be absent.
    """
    for path in (shp, shp.with_suffix(".shx")):
        with path.open("rb") as file:
            head = file.read(28)
        size = path.stat().st_size
        promised = 2 * struct.unpack(">i", head[24:28])[0] if len(head) == 28 else 100
        if size < promised:
            return size, promised
    return _dbf_shortfall(shp.with_suffix(".dbf"))


def _dbf_shortfall(dbf: Path) -> tuple[int, int] | None:
    with dbf.open("rb") as file:
        head = file.read(32)
    size = dbf.stat().st_size
    if len(head) < 32:
        return size, 33
    records, header, length = struct.unpack("<IHH", head[4:12])
    promised = header + records * length
    return (size, promised) if size < promised else None


def records(shp: Path) -> tuple[int, int]:
    """How many shapes .shx lists (8 bytes each after a header of 100) and how many rows .dbf promises."""
    with shp.with_suffix(".dbf").open("rb") as file:
        head = file.read(8)
    rows = struct.unpack("<I", head[4:8])[0] if len(head) == 8 else 0
    return (shp.with_suffix(".shx").stat().st_size - 100) // 8, rows


def has_sound_table(shp: Path) -> bool:
    """Whether the .dbf's fields fill its records: descriptors of 32 bytes from byte 32 on, up to the mark 0D. A length
    has a second byte, where decimals stand, in text fields of more than 255 bytes."""
    with shp.with_suffix(".dbf").open("rb") as file:
        raw = file.read(1 << 17)
    if len(raw) < 33:
        return False
    start, length = struct.unpack("<HH", raw[8:12])
    fields: list[bytes] = []
    while (at := 32 * (len(fields) + 1)) + 32 <= min(start, len(raw)) and raw[at] != 0x0D:
        fields.append(raw[at : at + 32])
    return bool(fields) and sum(field[16] for field in fields) < length and start > 32 * len(fields) + 32


def declared_encoding(shp: Path) -> str | None:
    """The encoding that the .cpg declares; None without one or where it names none that is known."""
    cpg = shp.with_suffix(".cpg")
    return codec(cpg.read_bytes()[:64].decode("ascii", "replace")) if cpg.is_file() else None


def code_page(shp: Path) -> str | None:
    """The code page of the DBF's language byte: a hint only, for most programs write the same byte always."""
    with shp.with_suffix(".dbf").open("rb") as file:
        head = file.read(32)
    return CODE_PAGES.get(head[29]) if len(head) == 32 else None


def codec(name: str) -> str | None:
    """A Python codec's name for what a .cpg says: `UTF-8`, `1258`, `ANSI 1252`, `ISO 88591`, `LDID/87` …"""
    name = name.strip().strip("\x00\ufeff")
    ldid = re.fullmatch(r"LDID/(\d+)", name)
    if ldid:
        return CODE_PAGES.get(int(ldid[1]) & 0xFF)
    iso = re.fullmatch(r"(?:ISO[ -]?)?8859[ -]?(\d+)", name, re.IGNORECASE)
    number = re.fullmatch(r"(?:ANSI[ -]?|OEM[ -]?|CP|WINDOWS-?)?(\d{3,5})", name, re.IGNORECASE)
    found = f"ISO-8859-{iso[1]}" if iso else f"CP{number[1]}" if number else name
    if found == "CP65001":
        found = "UTF-8"
    return found.upper() if character_set(found) is not None else None
