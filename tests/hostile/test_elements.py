"""What GDAL leaves out of a MicroStation drawing without a word is told, and nothing else is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pyogrio
import pytest

from sdi.ingest import dgn
from sdi.ingest.dgn import unread
from sdi.ingest.drawing import Unread
from tests.hostile import samples
from tests.hostile.conduct import hand_in

LINE, STRING, SHAPE, CHAIN, COMPLEX_SHAPE, CELL, TEXT_NODE, DIMENSION = 3, 4, 6, 12, 14, 2, 7, 33
END = b"\xff\xff"


def element(
    kind: int, payload: bytes = bytes(16), *, level: int = 5, part: bool = False, deleted: bool = False
) -> bytes:
    """As MicroStation writes one: the head, a box of six numbers, the symbology, what is its own."""
    body = struct.pack("<6I", *[1 << 31] * 6) + struct.pack("<HHHH", 0, (4 + 24 + 8 + len(payload)) // 2 - 16, 0, 0)
    body += payload
    return bytes([level | 128 * part, kind | 128 * deleted]) + struct.pack("<H", len(body) // 2) + body


def line(**more: bool | int) -> bytes:
    return element(LINE, struct.pack(">4H", 1, 2, 3, 4) * 2, **more)  # type: ignore[arg-type]


def whole(kind: int, parts: list[bytes], says: int | None = None) -> bytes:
    """A complex element with its parts."""
    length = 12 // 2 + sum(map(len, parts)) // 2
    count = len(parts) if says is None else says
    return element(kind, struct.pack("<HH", length, count) + bytes(8)) + b"".join(parts)


def cell(parts: list[bytes]) -> bytes:
    return element(CELL, bytes(80)) + b"".join(parts)


def drawing(folder: Path, *elements: bytes, count: int = 3) -> Path:
    """A drawing of some parcels that GDAL wrote, and these elements."""
    (folder / "plots.dgn").unlink(missing_ok=True)
    path = samples.write(folder, "dgn", count)
    content = path.read_bytes()
    assert content.endswith(END)
    path.write_bytes(content[: -len(END)] + b"".join(elements) + END)
    return path


def told(path: Path) -> list[Unread]:
    _, table = pyogrio.read_arrow(path)
    return unread(path, table[dgn.TYPE].chunks)


def test_elements_that_no_feature_was_made_of_are_told_by_type_with_their_levels(tmp_path: Path) -> None:
    odd = [element(DIMENSION, level=9), element(DIMENSION, level=7), element(27), element(35, level=12), element(93)]
    (end,) = hand_in(drawing(tmp_path, *odd, line(), element(66), element(37)), crs="EPSG:9210")
    assert end.report is not None, end.sentence
    assert end.report.read == 4
    assert [finding.sentence("en") for finding in end.report.findings.of("file.unread")] == [
        f"{count} entities of type {kind} in the drawing could not be read and were left out (handle or level: "
        f"{level}); explode or redraw them in the CAD program."
        for count, kind, level in [
            (2, "Dimension (33)", "7, 9"), (1, "B-Spline Curve (27)", "5"), (1, "Shared Cell Instance (35)", "12"),
            (1, "? (93)", "5"),
        ]
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [CHAIN, COMPLEX_SHAPE])
def test_what_a_complex_element_takes_for_its_parts_is_told(tmp_path: Path, kind: int) -> None:
    alone = [line(level=level) for level in (3, 4)]
    parts = [line(part=True), line(part=True)]
    assert [
        each for each in told(drawing(tmp_path, whole(kind, parts, says=4), *alone)) if each.type == "Line (3)"
    ] == [Unread("Line (3)", 2, ("3", "4"))]


def test_parts_of_cells_chains_and_texts_are_not_missed(tmp_path: Path) -> None:
    chain = whole(CHAIN, [line(part=True), line(part=True)])
    inner = bytes([chain[0] | 128]) + chain[1:]
    elements = [chain, cell([line(part=True), inner, line(part=True)]), line(), line(deleted=True)]
    assert told(drawing(tmp_path, *elements)) == []


def test_a_cell_whose_parts_are_gone_is_told(tmp_path: Path) -> None:
    empty = whole(TEXT_NODE, [])
    assert told(drawing(tmp_path, cell([]), empty, line())) == [Unread("Cell (2)", 1, ("5",))]


def test_a_line_that_took_the_next_ones_into_it_is_told(tmp_path: Path) -> None:
    longer = bytearray(line())
    longer[2] += 2 * len(line()) // 2
    assert told(drawing(tmp_path, bytes(longer), line(), line(), line())) == [Unread("Line (3)", 1, ("5",))]


def test_one_byte_that_makes_a_line_something_else_does_not_lose_it_without_a_word(tmp_path: Path) -> None:
    """All types that a byte can say; a deleted element is deleted, and settings show nothing."""
    for kind in set(range(1, 128)) - dgn._SETTINGS - {TEXT_NODE}:
        path = drawing(tmp_path, line(), bytes([5, kind]) + line()[2:])
        _, table = pyogrio.read_arrow(path)
        assert table.num_rows == 5 or told(path), kind


def test_nothing_is_told_of_sound_drawings_of_microstation(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:  # fmt: skip
    assert told(shared_data("torture_gdal_autotest") / "dgn/smalltest.dgn") == []
    assert told(drawing(tmp_path, count=40)) == []
