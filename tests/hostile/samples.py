"""One good file of every format, small, for the tests to spoil."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import shapely

DRIVERS = {
    "gpkg": "GPKG", "shp": "ESRI Shapefile", "geojson": "GeoJSON", "geojsonl": "GeoJSONSeq", "fgb": "FlatGeobuf",
    "csv": "CSV", "kml": "KML", "gml": "GML", "mif": "MapInfo File", "tab": "MapInfo File", "dxf": "DXF", "dgn": "DGN",
    "gpx": "GPX",
}  # fmt: skip
COUNT = 40
CRS = dict.fromkeys(("kml", "gpx", "geojsonl"), "EPSG:4326")
"""Kind -> the CRS of its coordinates where it is not EPSG:9210."""


def plots(count: int = COUNT) -> list[shapely.Polygon]:
    """Squares of 10 m beside each other near Bến Thành, EPSG:9210."""
    return [shapely.box(603_000 + 10 * n, 1_191_000, 603_009 + 10 * n, 1_191_009) for n in range(count)]


def write(folder: Path, kind: str, count: int = COUNT) -> Path:
    """Write `count` plots with a Vietnamese name, a number and a day as a file of that kind; returns its path."""
    path = folder / f"plots.{kind}"
    if kind == "xlsx":
        return _workbook(path, count)
    if kind == "zip":
        return _packed(folder, path, count)
    shapes: list[shapely.Geometry] = list(plots(count))
    if kind in CRS:
        shapes = [shapely.Point(106.69 + 0.0001 * n, 10.77) for n in range(count)]
    names = np.array([f"Thửa đất số {n}" for n in range(count)], dtype=object)
    fields, values = ["name", "number"], [names, np.arange(count, dtype=np.int64)]
    if kind in ("dxf", "dgn"):
        fields, values = [], []
    if kind == "gpx":
        fields, values = ["name"], [names]
    extra = {"GEOMETRY": "AS_WKT"} if kind == "csv" else {"FORCE_GPX_TRACK": "NO"} if kind == "gpx" else {}
    srid = "EPSG:4326" if kind in CRS else None if kind in ("dxf", "dgn", "csv") else "EPSG:9210"
    pyogrio.raw.write(
        path, geometry=shapely.to_wkb(shapes), field_data=values, fields=fields, driver=DRIVERS[kind], crs=srid,
        geometry_type="Unknown" if kind in ("dxf", "dgn", "gml") else shapes[0].geom_type,
        layer_options=extra if kind == "csv" else {}, layer="waypoints" if kind == "gpx" else None,
    )  # fmt: skip
    return path


def _workbook(path: Path, count: int) -> Path:
    number = range(count)
    sheet = pa.table({
        "name": [f"Thửa đất số {n}" for n in number], "number": list(number),
        "x": [603_000 + 10 * n for n in number], "y": [1_191_000] * count,
    })  # fmt: skip
    pyogrio.write_arrow(sheet, path, driver="XLSX")
    return path


def _packed(folder: Path, path: Path, count: int) -> Path:
    inner = folder / "inner"
    inner.mkdir()
    write(inner, "shp", count)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for part in sorted(inner.iterdir()):
            out.write(part, part.name)
    return path
