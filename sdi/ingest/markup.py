"""Whether XML is well-formed. Of a document that is damaged in its middle GDAL gives the features that stand before, as
if there were no others. Looked at in the process that reads the file."""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

XML = frozenset({".gml", ".kml", ".xml", ".gpx"})
_NOT_BROKEN = frozenset({
    expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING],
    expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT],
})  # fmt: skip
_PIECE = 1 << 20


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
