"""Whether XML is whole. Of a document that is damaged in its middle GDAL gives the features that stand before, as if
there were no others. Looked at in the process that reads the file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from xml.parsers import expat

XML = frozenset({".gml", ".kml", ".xml", ".gpx"})
_NOT_BROKEN = frozenset({
    expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING],
    expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT],
})  # fmt: skip
_GPX = {"waypoints": "wpt", "routes": "rte", "tracks": "trk", "route_points": "rtept", "track_points": "trkpt"}
"""Layer -> element of GPX 1.1 that it is made of."""
_PIECE = 1 << 20


def gpx_features(path: Path, layer: str) -> int:
    """How many features a layer of a GPX has at least: GDAL leaves out points without coordinates."""
    wanted, found = _GPX.get(layer), 0

    def count(name: str, _: dict[str, str]) -> None:
        nonlocal found
        found += name.rpartition(":")[2] == wanted

    parser = expat.ParserCreate()
    parser.StartElementHandler = count
    with path.open("rb") as file, suppress(expat.ExpatError):  # which is for `broken_line` to tell
        while piece := file.read(_PIECE):
            parser.Parse(piece)
    return found


def broken_line(path: Path) -> int | None:
    """The line from which on a reader of XML cannot go on (XML 1.0, 2.1), counted from 1. None: there is none within
    the document, or it is in an encoding that this reader does not know, or no XML by its name."""
    if path.suffix.lower() not in XML:
        return None
    parser = expat.ParserCreate()
    with path.open("rb") as file:
        try:
            while piece := file.read(_PIECE):
                parser.Parse(piece)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            if error.code in _NOT_BROKEN:
                return None
            file.seek(max(0, parser.ErrorByteIndex))
            return error.lineno if file.read(_PIECE).strip(b"\0 \t\r\n") else None
    return None
