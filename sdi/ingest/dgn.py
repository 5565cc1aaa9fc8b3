"""What a MicroStation drawing (DGN V7, ISFF) holds and GDAL does not deliver: its driver leaves out elements of types
that it makes no shape of, and what a complex element takes for its parts by a wrong count, without a word. So the
elements are counted here and held against what was read.

An element begins with its level (6 bits) and whether it is part of a complex one (1 bit), its type (7 bits) and whether
it is deleted (1 bit), and the number of 16-bit words behind these four bytes; FF FF ends the drawing.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sdi.ingest.drawing import NAMED, TYPES, Unread

TYPE = "Type"
_NAMES = {
    2: "Cell", 3: "Line", 4: "Line String", 6: "Shape", 7: "Text Node", 11: "Curve", 12: "Complex Chain",
    14: "Complex Shape", 15: "Ellipse", 16: "Arc", 17: "Text", 18: "Surface", 19: "Solid", 21: "B-Spline Pole",
    22: "Point String", 23: "Cone", 24: "B-Spline Surface", 27: "B-Spline Curve", 33: "Dimension", 34: "Shared Cell",
    35: "Shared Cell Instance", 36: "Multi-Line", 87: "Raster",
}  # fmt: skip
_CELLS = frozenset({2, 7, 34})
"""Types whose parts are delivered, each as a feature."""
_WHOLES = frozenset({12, 14, 18, 19})
"""Types that are delivered with their parts as one feature."""
_TEXT_NODE = 7
_SETTINGS = frozenset({1, 5, 8, 9, 10, 25, 26, 28, 32, 37, 38, 39, 66, 88})
"""Types that show nothing themselves: settings, views, symbology, data of applications, and what tells more of another
element (tags, the knots and weights of a spline, the rows of a raster)."""
_OWN_AT, _PROPERTIES_AT, _LINKED = 30, 32, 0x0800
"""Where an element says how many words from the 17th on are its own, and whether data of others follow these."""
_PARTS_AT = 38
"""Where a text node and a complex element say how many parts they have, two bytes. A cell has its name there."""


@dataclass(frozen=True)
class _Element:
    type: int
    level: int
    part: bool
    deleted: bool
    uneven: bool
    """Its two lengths differ: then it begins or ends within others."""
    parts: int
    """How many it must have: of a cell at least one."""


def unread(path: Path, delivered: Iterable[pa.Array]) -> list[Unread]:
    """What the drawing at `path` shows and no feature was made of, the most frequent type first. delivered: the column
    Type of the features, in parts."""
    found, levels = Counter[int](), dict[int, dict[int, None]]()
    for element in _shown(_elements(path)):
        found[element.type] += 1
        levels.setdefault(element.type, {})[element.level] = None
    for column in delivered:
        for kind in pc.value_counts(column).to_pylist():
            found[kind["values"]] -= kind["counts"]
    return [
        Unread(f"{_NAMES.get(kind, '?')} ({kind})", lost, tuple(map(str, sorted(levels[kind])[:NAMED])))
        for kind, lost in found.most_common(TYPES)
        if lost > 0
    ]


def _shown(elements: Iterator[_Element]) -> Iterator[_Element]:
    """Those that are to be seen and are no part of one that is. An element that must have parts and has none is one of
    them, for it is damaged; and one of two lengths is told once more, for what it took or lost."""
    parts, empty = 0, None
    for element in elements:
        if empty is not None and not element.part:
            yield empty
        empty = None
        if element.uneven and not element.deleted and element.type not in _SETTINGS:
            yield element
        parts = parts if element.part else 0
        if parts:
            parts += (element.parts if element.type in _WHOLES else 0) - 1
        elif element.deleted or element.type in _SETTINGS:
            continue
        elif element.type in _CELLS:
            empty = element if element.parts else None
        else:
            yield element
            parts = element.parts if element.type in _WHOLES else 0
    if empty is not None:
        yield empty


def _elements(path: Path) -> Iterator[_Element]:
    """All elements of a drawing that is whole (`completeness`)."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, size = 0, len(data)
        while at + 4 <= size and data[at : at + 2] != b"\xff\xff":
            level, kind, words = data[at], data[at + 1] & 127, _number(data, at + 2)
            parts = _number(data, at + _PARTS_AT) if kind in _WHOLES or kind == _TEXT_NODE else int(kind in _CELLS)
            linked = _number(data, at + _PROPERTIES_AT) & _LINKED
            uneven = not linked and 2 * words + 4 != 2 * _number(data, at + _OWN_AT) + 32
            yield _Element(kind, level & 63, bool(level & 128), bool(data[at + 1] & 128), uneven, parts)
            at += 4 + 2 * words


def _number(data: mmap.mmap, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")
