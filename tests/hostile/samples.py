"""One good file of every format, small, for the tests to spoil."""

from __future__ import annotations

import json
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
FOLDERS = {"gdb": "OpenFileGDB"}
"""Kinds that are a folder, which is delivered packed."""
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
    if kind in ("kmz", "gdb.zip"):
        return _wrapped(folder, path, kind, count)
    if kind == "topojson":
        return _topology(path, count)
    shapes: list[shapely.Geometry] = list(plots(count))
    if kind in CRS:
        shapes = [shapely.Point(106.69 + 0.0001 * n, 10.77) for n in range(count)]
    names = np.array([f"Thửa đất số {n}" for n in range(count)], dtype=object)
    fields, values = ["name", "number"], [names, np.arange(count, dtype=np.int32 if kind == "gdb" else np.int64)]
    if kind in ("dxf", "dgn"):
        fields, values = [], []
    if kind == "gpx":
        fields, values = ["name"], [names]
    extra = {"GEOMETRY": "AS_WKT"} if kind == "csv" else {"FORCE_GPX_TRACK": "NO"} if kind == "gpx" else {}
    srid = "EPSG:4326" if kind in CRS else None if kind in ("dxf", "dgn", "csv") else "EPSG:9210"
    pyogrio.raw.write(
        path, geometry=shapely.to_wkb(shapes), field_data=values, fields=fields, crs=srid,
        driver=(DRIVERS | FOLDERS)[kind],
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


def _wrapped(folder: Path, path: Path, kind: str, count: int) -> Path:
    """A KML as KMZ, and the folder of a file geodatabase as stewards send it."""
    inner = folder / "inner"
    inner.mkdir()
    made = write(inner, "kml" if kind == "kmz" else "gdb", count)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        if kind == "kmz":
            out.write(made, "doc.kml")
            return path
        for part in sorted(made.iterdir()):
            out.write(part, f"{made.name}/{part.name}")
    return path


def _topology(path: Path, count: int) -> Path:
    """Squares as arcs of integers, each a step of its ring, scaled to degrees."""
    ring = [[0, 8], [8, 0], [0, -8], [-8, 0]]
    tree = {
        "type": "Topology", "transform": {"scale": [1e-5, 1e-5], "translate": [106.69, 10.77]},
        "arcs": [[[20 * n, 0], *ring] for n in range(count)],
        "objects": {"plots": {"type": "GeometryCollection", "geometries": [
            {"type": "Polygon", "arcs": [[n]], "properties": {"name": f"Thửa đất số {n}", "number": n}}
            for n in range(count)
        ]}},
    }  # fmt: skip
    path.write_text(json.dumps(tree), encoding="utf-8")
    return path
