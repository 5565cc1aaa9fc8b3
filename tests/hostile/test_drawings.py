"""What GDAL leaves out of a drawing without a word is told, and nothing else is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyogrio
import pytest
import shapely

from sdi.ingest import dxf
from sdi.ingest.drawing import TYPES, Unread
from sdi.ingest.dxf import unread
from tests.hostile import samples
from tests.hostile.conduct import End, hand_in

BEGIN, END = "  0\nSECTION\n  2\n{}\n", "  0\nENDSEC\n"
SHAPE = " 10\n603000.0\n 20\n1191000.0\n 30\n0.0\n 11\n603009.0\n 21\n1191009.0\n 31\n0.0\n"


def entity(kind: str, handle: str | None = None, more: str = SHAPE) -> str:
    """As AutoCAD 2000 writes one; without a handle as release 12 does."""
    head = f"  5\n{handle}\n330\n1F\n100\nAcDbEntity\n" if handle else ""
    return f"  0\n{kind}\n{head}  8\n0\n{more}"


def drawing(path: Path, entities: Iterable[str], blocks: str = "") -> Path:
    sections = {"HEADER": "", "BLOCKS": blocks, "ENTITIES": "".join(entities)}
    text = "".join(BEGIN.format(name) + content + END for name, content in sections.items()) + "  0\nEOF\n"
    path.write_text(text, encoding="ascii", newline="\r\n")
    return path


def told(path: Path) -> list[Unread]:
    """What is told of a drawing beside the features that GDAL makes of it."""
    _, table = pyogrio.read_arrow(path)
    return unread(path, table[dxf.HANDLE].chunks)


def handed_in(path: Path) -> tuple[int, list[str]]:
    end: End
    (end,) = hand_in(path, crs="EPSG:9210")
    assert end.report is not None, end.sentence
    return end.report.read, [finding.sentence("en") for finding in end.report.findings.of("file.unread")]


def test_entities_that_no_feature_was_made_of_are_told_by_type_with_their_handles(tmp_path: Path) -> None:
    lines = [entity("LINE", f"A{number}") for number in range(3)]
    odd = [entity("LWPOLYLIME", "B1"), entity("RAY", "C1"), entity("RAY", "C2"), entity("IMAGE")]
    assert handed_in(drawing(tmp_path / "a.dxf", [*lines, *odd])) == (3, [
        "2 entities of type RAY in the drawing could not be read and were left out (handle or level: C1, C2); "
        "explode or redraw them in the CAD program.",
        "1 entities of type IMAGE in the drawing could not be read and were left out (handle or level: –); "
        "explode or redraw them in the CAD program.",
        "1 entities of type LWPOLYLIME in the drawing could not be read and were left out (handle or level: B1); "
        "explode or redraw them in the CAD program.",
    ])  # fmt: skip


def test_one_line_that_is_gone_does_not_lose_entities_without_a_word(tmp_path: Path) -> None:
    """A line feed that became another letter puts GDAL out of step, and it finds entities again only by chance."""
    path = samples.write(tmp_path, "dxf")
    raw = path.read_bytes()
    told_of = 0
    for at in (number for number in range(raw.index(b"ENTITIES") + 200, raw.rindex(b"ENDSEC"), 997)):
        end = raw.index(b"\n", at)
        path.write_bytes(raw[:end] + b"J" + raw[end + 1 :])
        (spoilt,) = hand_in(path, crs="EPSG:9210")
        if spoilt.report is not None:
            lost = samples.COUNT - spoilt.report.read
            assert lost == 0 or spoilt.report.findings.of("file.unread")
            told_of += lost > 0
    assert told_of > 3


def test_an_entity_whose_beginning_is_damaged_is_missed_by_its_handle(tmp_path: Path) -> None:
    lines = [entity("LINE", f"A{number}") for number in range(3)]
    path = drawing(tmp_path / "a.dxf", [lines[0], lines[1].replace("  0\nLINE", "  7\nLINE"), lines[2]])
    assert told(path) == [Unread("LINE", 1, ("A0",))]  # the two are one feature, of the second handle


def test_entities_without_handles_are_counted(tmp_path: Path) -> None:
    path = drawing(tmp_path / "a.dxf", [entity("LINE"), entity("CIRCLE", more=SHAPE + " 40\n2.0\n"), entity("POINT")])
    assert told(path) == []
    nothing = [pa.array([None], pa.string())]
    assert unread(path, nothing) == [Unread("CIRCLE, LINE, POINT", 2, ())]


def block(name: str, content: str, flags: int = 0) -> str:
    return f"  0\nBLOCK\n  8\n0\n  2\n{name}\n 70\n{flags}\n 10\n0.0\n 20\n0.0\n{content}  0\nENDBLK\n  8\n0\n"


def inserted(handle: str, name: str) -> str:
    return entity("INSERT", handle, f"  2\n{name}\n 10\n603000.0\n 20\n1191000.0\n")


def test_a_block_is_missed_only_where_there_was_something_in_it(tmp_path: Path) -> None:
    blocks = block("FULL", entity("LINE")) + block("EMPTY", "") + block("ELSEWHERE", "", flags=4)
    shown = [
        inserted(handle, name)
        for handle, name in (("A1", "FULL"), ("A2", "EMPTY"), ("A3", "ELSEWHERE"), ("A4", "NOWHERE"))
    ]
    assert told(drawing(tmp_path / "a.dxf", shown, blocks)) == [Unread("INSERT", 2, ("A3", "A4"))]


def test_what_is_not_known_in_a_block_that_is_shown_is_told_once(tmp_path: Path) -> None:
    blocks = (
        block("HOUSE", entity("LINE", "B1") + entity("RAY", "B2") + inserted("B3", "DOOR"))
        + block("DOOR", entity("LINE", "B4") + entity("3DSOLID", "B5") + inserted("B6", "DOOR"))
        + block("UNUSED", entity("LINE", "B7") + entity("IMAGE", "B8"))
    )
    shown = [inserted("A1", "HOUSE"), inserted("A2", "HOUSE")]
    assert set(told(drawing(tmp_path / "a.dxf", shown, blocks))) == {
        Unread("RAY", 1, ("B2",)), Unread("3DSOLID", 1, ("B5",))
    }  # fmt: skip


def test_parts_of_an_entity_are_none_of_their_own_and_a_value_is_no_beginning(tmp_path: Path) -> None:
    vertices = "".join(entity("VERTEX", f"B{number}", f" 10\n{number}.0\n 20\n0.0\n") for number in range(3))
    polyline = entity("POLYLINE", "A1", " 66\n1\n") + vertices + entity("SEQEND", "B9", "")
    text = entity("TEXT", "A2", SHAPE + " 40\n1.0\n  1\nRAY\n 71\n0\n 72\n5\n 73\n0\n")
    assert told(drawing(tmp_path / "a.dxf", [polyline, text, entity("VIEWPORT", "A3")])) == []


def test_a_drawing_of_thousands_of_types_tells_some(tmp_path: Path) -> None:
    path = drawing(tmp_path / "a.dxf", [entity("POINT", "A"), *(entity(f"ODD{n}", f"F{n:X}") for n in range(5000))])
    found = told(path)
    assert len(found) == TYPES
    assert found[0].type == "…"
    assert found[0].count == 5000 - dxf.MOST


def test_what_a_terminal_would_obey_is_not_repeated(tmp_path: Path) -> None:
    path = drawing(tmp_path / "a.dxf", [entity("POINT", "A"), entity("\x1b[2JODD", "B\x1b[2J")])
    assert told(path) == [Unread("?[2JODD", 1, ("B?[2J",))]


def test_a_binary_drawing_is_counted_as_well(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    real = shared_data("torture_gdal_autotest") / "dxf" / "bin_dxf_r2000.dxf"
    assert told(real) == []

    def group(code: int, value: str | float) -> bytes:
        packed = value.encode() + b"\0" if isinstance(value, str) else struct.pack("<d", value)
        return struct.pack("<H", code) + packed

    def line(kind: str, handle: str) -> bytes:
        named = group(0, kind) + group(5, handle) + group(100, "AcDbEntity") + group(8, "0") + group(100, "AcDbLine")
        return named + b"".join(group(code, code * 1.0) for code in (10, 20, 30, 11, 21, 31))

    path = tmp_path / "a.dxf"
    body = group(0, "SECTION") + group(2, "ENTITIES") + line("LINE", "A1") + line("LIME", "A2") + line("LINE", "A3")
    path.write_bytes(b"AutoCAD Binary DXF\r\n\x1a\0" + body + group(0, "ENDSEC") + group(0, "EOF"))
    assert told(path) == [Unread("LIME", 1, ("A2",))]


def test_nothing_is_told_of_sound_drawings(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    made = samples.write(tmp_path, "dxf")
    shapes = [shapely.Point(1, 2), shapely.LineString([(0, 0), (5, 5)]), shapely.MultiPoint([(1, 2), (3, 4)]),
              shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)])]  # fmt: skip
    mixed = tmp_path / "mixed.dxf"
    pyogrio.raw.write(mixed, geometry=shapely.to_wkb(shapes), field_data=[], fields=[], driver="DXF",
                      geometry_type="Unknown")  # fmt: skip
    real = [
        *(shared_data("torture_gdal_autotest") / "dxf").glob("*.dxf"),
        *shared_data("cz_cadastre_dxf").glob("*.dxf"),
    ]
    assert len(real) > 30
    for path in (made, mixed, *real):
        try:
            assert told(path) == [], path.name
        except pyogrio.errors.DataSourceError:
            assert path.name in {"header_extended.dxf", "insert_only_col_count_zero.dxf"}


@pytest.mark.parametrize(
    "text", [b"", b"0", b"0\n", b"  0\nSECTION", b"  0\nSECTION\n  2\n", b"\r" * 99, b"0\n\xff\xd0"]
)
def test_what_is_no_drawing_has_nothing_in_it(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.dxf").write_bytes(text)
    assert unread(tmp_path / "a.dxf", []) == []
