"""What a DXF drawing holds and GDAL does not deliver: its driver leaves out entities of a type that it does not know,
and those that it cannot make sense of, without a word. So they are counted here and held against what was read.

An entity begins with the group code 0 and its type, and is named by its handle (group 5) where the drawing has such;
each feature tells the handle of the entity that it was made of, also where it is a part of an inserted block.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from sdi.ingest.drawing import NAMED, TYPES, Unread, shown

HANDLE = "EntityHandle"
READ = frozenset({
    "3DFACE", "ARC", "ATTDEF", "CIRCLE", "DIMENSION", "ELLIPSE", "HATCH", "HELIX", "INSERT", "LEADER", "LINE",
    "LWPOLYLINE", "MLEADER", "MLINE", "MTEXT", "MULTILEADER", "POINT", "POLYLINE", "SOLID", "SPLINE", "TEXT", "TRACE",
    "WIPEOUT",
})  # fmt: skip
"""The types of entities that GDAL 3.12 makes features of (measured, each in a drawing of its own)."""
PARTS = frozenset({"ATTRIB", "SEQEND", "VERTEX", "VIEWPORT"})
"""What belongs to another entity, and a window on a sheet of paper, which shows what is elsewhere."""
LARGEST, HEAD = 1 << 20, 1 << 11
"""Bytes of an entity that are looked at, and of its head, which names it."""
MOST = 1_000
"""Types that are counted apart, of a file that is made to fill the memory."""
AT_ONCE = 50_000

_TYPE = rb"[ \t]*0+[ \t]*(?:\r\n|\n|\r)[ \t]*(?=[^\r\n]{0,64}[A-Za-z])([^\r\n]{1,64})"
_FIRST, _TAG = re.compile(_TYPE), re.compile(rb"[\r\n]" + _TYPE)
"""The code 0 and a word; the code 0 never comes before a number, and the value 0 always does (the next code)."""
_BINARY = b"AutoCAD Binary DXF\r\n\x1a\x00"


@dataclass
class _Entity:
    section: str
    type: str
    handles: list[bytes] = field(default_factory=list)
    """More than one where the beginning of another is damaged, so that it seems to be a part of this one."""
    name: str = ""
    """Of the block that it is or inserts."""
    flags: int = 0


@dataclass
class _Count:
    lost: Counter[str] = field(default_factory=Counter)
    handles: dict[str, list[str]] = field(default_factory=dict)
    nameless: Counter[str] = field(default_factory=Counter)
    """Entities without a handle, of types that are read: each makes a feature at least."""

    def lose(self, kind: str, handle: bytes | None) -> None:
        if kind not in self.lost and len(self.lost) >= MOST:
            kind = "…"
        self.lost[kind] += 1
        named = self.handles.setdefault(kind, [])
        if handle is not None and len(named) < NAMED:
            named.append(shown(handle.decode("utf-8", "replace")))


def unread(path: Path, delivered: Iterable[pa.Array]) -> list[Unread]:
    """What the drawing at `path` has in its entities, and in the blocks that these show, and no feature was made of,
    the most frequent type first. Of a block only what GDAL does not know is missed.

    delivered: the column EntityHandle of the features, in parts.
    """
    known, nameless = _digests(delivered)
    count, blocks, waiting = _Count(), _Blocks(), list[tuple[str, bytes]]()
    for entity in _entities(path):
        if entity.section == "BLOCKS":
            blocks.see(entity)
            continue
        blocks.insert(entity)
        if entity.type in PARTS or (entity.type == "INSERT" and blocks.is_empty(entity.name)):
            continue
        if entity.handles:
            waiting.extend((entity.type, handle) for handle in entity.handles)
        elif entity.type.upper() in READ:
            count.nameless[entity.type] += 1
        else:
            count.lose(entity.type, None)
        if len(waiting) > AT_ONCE:
            _hold(waiting, known, count)
    _hold(waiting, known, count)
    for kind, handle in blocks.lost():
        count.lose(kind, handle)
    missing = count.nameless.total() - nameless
    if missing > 0:
        count.lost[", ".join(sorted(count.nameless))] += missing
    return [
        Unread(shown(kind), lost, tuple(count.handles.get(kind, ()))) for kind, lost in count.lost.most_common(TYPES)
    ]


def _digests(delivered: Iterable[pa.Array]) -> tuple[np.ndarray, int]:
    """Hashes of the handles, alike in one process only, sorted; and how many features have none."""
    found, nameless = [np.empty(0, np.int64)], 0
    for column in delivered:
        handles = [handle for handle in column.cast(pa.binary()).to_pylist() if handle]
        nameless += len(column) - len(handles)
        found.append(np.fromiter(map(hash, handles), np.int64, len(handles)))
    return np.unique(np.concatenate(found)), nameless


def _hold(waiting: list[tuple[str, bytes]], known: np.ndarray, count: _Count) -> None:
    """Hold entities that wait for it against the features."""
    digests = np.fromiter((hash(handle) for _, handle in waiting), np.int64, len(waiting))
    for index in np.flatnonzero(~np.isin(digests, known)):
        count.lose(*waiting[index])
    waiting.clear()


class _Blocks:
    """The blocks of a drawing: those that have nothing in them, for what inserts one is not to be seen either, and what
    others have that GDAL does not know."""

    def __init__(self) -> None:
        self._empty: set[str] = set()
        self._open = ""
        self._unknown: dict[str, list[tuple[str, bytes | None]]] = {}
        self._within: dict[str, set[str]] = {}
        """Block -> the blocks that are inserted in it; under no name: in the drawing itself."""
        self._kept = 0

    def see(self, entity: _Entity) -> None:
        """Go on with the next entity of the section BLOCKS."""
        if entity.type == "BLOCK":
            self._open = entity.name.upper()
            if not entity.flags & 4 and len(self._empty) < AT_ONCE:  # what it has is in another file
                self._empty.add(self._open)
        elif entity.type not in ("ENDBLK", "ATTDEF", *PARTS):
            self._empty.discard(self._open)
            self.insert(entity, self._open)
            if entity.type.upper() not in READ and self._kept < AT_ONCE:
                self._kept += 1
                lost = self._unknown.setdefault(self._open, [])
                lost.append((entity.type, entity.handles[0] if entity.handles else None))

    def insert(self, entity: _Entity, block: str = "") -> None:
        """Remember which block an entity shows, if any: that of an INSERT, or a DIMENSION's own."""
        if entity.type in ("INSERT", "DIMENSION") and entity.name and len(self._within) < AT_ONCE:
            self._within.setdefault(block, set()).add(entity.name.upper())

    def is_empty(self, name: str) -> bool:
        return name.upper() in self._empty

    def lost(self) -> Iterator[tuple[str, bytes | None]]:
        """What GDAL does not know in the blocks that are to be seen, type and handle, once however often that is."""
        seen, waiting = {""}, [""]
        while waiting:
            block = waiting.pop()
            yield from self._unknown.get(block, ())
            found = self._within.get(block, set()) - seen
            seen |= found
            waiting.extend(found)


def _entities(path: Path) -> Iterator[_Entity]:
    """The entities in the sections BLOCKS and ENTITIES."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _of_groups(_groups(data)) if data[: len(_BINARY)] == _BINARY else _of_text(data)
        section = ""
        for kind, groups in found:
            if kind in ("SECTION", "ENDSEC", "EOF"):
                section = next((value for code, value in groups if code == 2), "") if kind == "SECTION" else ""
            elif section in ("BLOCKS", "ENTITIES"):
                yield _entity(section, kind, groups)


def _entity(section: str, kind: str, groups: list[tuple[int, str]]) -> _Entity:
    entity = _Entity(section, kind)
    for code, value in groups:
        if code == 5 and value and (not entity.handles or value.encode() not in entity.handles):
            entity.handles.append(value.encode())
        elif code == 2 and not entity.name:
            entity.name = value
        elif code == 70 and kind == "BLOCK" and value.isdigit():
            entity.flags = int(value)
    return entity


_WANTED = frozenset({2, 5, 70})
_CODES = {str(code).encode(): code for code in _WANTED}
_HEAD = re.compile(rb"[\r\n][ \t]*5[ \t]*[\r\n]+[ \t]*([0-9A-Fa-f]{1,16})[ \t]*[\r\n]+"
                   rb"(?:[ \t]*330[ \t]*[\r\n]+[^\r\n]*[\r\n]+)?[ \t]*100[ \t]*[\r\n]+[ \t]*AcDbEntity")  # fmt: skip
"""The handle of an entity, its owner's and the mark of its common part."""


def _of_text(data: mmap.mmap) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Types with the groups that are wanted of each, found by the words alone: a line that is missing or too many puts
    GDAL out of step, but not this."""
    last: tuple[str, int] | None = None
    first = _FIRST.match(data)
    for found in chain([first] if first is not None else [], _TAG.finditer(data)):
        if last is not None:
            yield last[0], _pairs(data[last[1] : min(found.start(), last[1] + LARGEST)])
        last = found[1].strip().decode("ascii", "replace"), found.end()
    if last is not None:
        yield last[0], _pairs(data[last[1] : last[1] + LARGEST])


def _pairs(text: bytes) -> list[tuple[int, str]]:
    """The groups that are wanted; another handle only where another entity begins, whose own beginning is damaged."""
    lines = text[:HEAD].splitlines()[1:]  # the first is the end of the word's
    found = [
        (_CODES[code], value.strip().decode("utf-8", "replace"))
        for code, value in zip(map(bytes.strip, lines[::2]), lines[1::2], strict=False)
        if code in _CODES
    ]
    first = next((index for index, (code, _) in enumerate(found) if code == 5), len(found))
    found = [group for index, group in enumerate(found) if group[0] != 5 or index == first]
    merged = text.count(b"AcDbEntity") > 1
    return found + [(5, handle.decode()) for handle in (_HEAD.findall(text) if merged else ())]


# --- binary -------------------------------------------------------------------------------------------------------

_SIZES = (
    (0, 9, 0), (10, 59, 8), (60, 79, 2), (90, 99, 4), (100, 109, 0), (110, 149, 8), (160, 169, 8), (170, 179, 2),
    (210, 239, 8), (270, 289, 2), (290, 299, 1), (300, 309, 0), (310, 319, -1), (320, 369, 0), (370, 389, 2),
    (390, 399, 0), (400, 409, 2), (410, 419, 0), (420, 429, 4), (430, 439, 0), (440, 459, 4), (460, 469, 8),
    (470, 481, 0), (999, 1003, 0), (1004, 1004, -1), (1005, 1009, 0), (1010, 1059, 8), (1060, 1070, 2), (1071, 1071, 4),
)  # fmt: skip
"""Group codes from, to, and the bytes of their values (DXF reference, "Group Code Value Types"); 0: a text that ends
with a zero byte, -1: bytes behind one that counts them."""
_SIZE = {code: size for first, last, size in _SIZES for code in range(first, last + 1)}


def _groups(data: mmap.mmap) -> Iterator[tuple[int, str]]:
    """The groups of a binary drawing (release 13 and later, whose codes have two bytes) that are wanted."""
    at, end = len(_BINARY), len(data)
    while at + 2 <= end:
        (code,) = struct.unpack_from("<H", data, at)
        size = _SIZE.get(code)
        if size is None:
            return
        at += 2
        if size == 0:
            stop = data.find(b"\0", at)
            if stop < 0:
                return
            if code == 0 or code in _WANTED:
                yield code, data[at : min(stop, at + 255)].decode("utf-8", "replace")
            at = stop + 1
        elif size < 0:
            at += 1 + data[at] if at < end else 1
        else:
            if code == 70 and at + 2 <= end:
                yield code, str(struct.unpack_from("<h", data, at)[0])
            at += size


def _of_groups(groups: Iterable[tuple[int, str]]) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    kind, kept = None, list[tuple[int, str]]()
    for code, value in groups:
        if code != 0:
            kept.append((code, value))
            continue
        if kind is not None:
            yield kind, kept
        kind, kept = value, []
    if kind is not None:
        yield kind, kept
