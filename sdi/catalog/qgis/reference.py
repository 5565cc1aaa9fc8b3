"""A coordinate reference system as QGIS writes it, and the one way there from WGS 84."""

from __future__ import annotations

from functools import cache
from xml.etree import ElementTree as ET

from sdi.national import vn2000

CRS84 = "OGC:CRS84"
WGS84 = 4326
MERCATOR = 3857


def system(parent: ET.Element, epsg: int, authority: str | None = None) -> None:
    """Define a CRS below an element: by its code, and in full for a QGIS whose register lacks it.

    `authority`: another name of the same system.
    """
    _, _, _, wkt, proj4 = _definitions()[epsg]
    known = vn2000.grid(epsg)
    made = ET.SubElement(parent, "spatialrefsys")
    told = {
        "wkt": wkt, "proj4": proj4, "srsid": "0", "srid": str(epsg), "authid": authority or f"EPSG:{epsg}",
        "description": known.name, "ellipsoidacronym": "EPSG:7030", "geographicflag": str(known.geographic).lower(),
    }  # fmt: skip
    for name, text in told.items():
        ET.SubElement(made, name).text = text


def pinned(parent: ET.Element, grid: int) -> None:
    """Have QGIS bring what comes in WGS 84 to the grid by the official operation; its own choice is another in the
    south (see `sdi.national.vn2000`)."""
    context = ET.SubElement(parent, "transformContext")
    for authority in (f"EPSG:{WGS84}", CRS84):
        way = ET.SubElement(
            context, "srcDest", coordinateOp=vn2000.pipeline_from_wgs84(grid), allowFallback="0"
        )  # fmt: skip
        system(ET.SubElement(way, "src"), WGS84, authority)
        system(ET.SubElement(way, "dest"), grid)


@cache
def _definitions() -> dict[int, tuple[int, str, int, str, str]]:
    return {row[0]: row for row in vn2000.srid_rows()}
