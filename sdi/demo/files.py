"""The files as a city holds them: Shapefiles in TCVN3 and VNI, MapInfo in datum 9999, tables with decimal commas."""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely

from sdi.demo.table import Array, Table
from sdi.national import legacy, vn2000

GRID = 5897
MIF_SYSTEM = (
    "CoordSys Earth Projection 8, 9999, 28, -191.90441429, -39.30318279, -111.45032835, "
    '-0.00928836, 0.01975479, -0.00427372, 0.252906278, 0, "m", 105, 0, 0.9999, 500000, 0'
)
"""The Decision's parameters with its own signs (QĐ 05/2007/QĐ-BTNMT Điều 1); MapInfo's datum 104 would be WGS 84."""


@dataclass(frozen=True)
class Form:
    """How one file is written: its name, its columns (heading -> what the city calls it), and its writing."""

    path: Path
    columns: dict[str, str]
    name: str
    """The layer's name in the file."""
    crs: int = GRID
    encoding: str = "UTF-8"


def write(form: Form, table: Table) -> None:
    """Write a table in the format that the path's suffix stands for."""
    writers = {".shp": _shapefile, ".zip": _zipped, ".csv": _text, ".xlsx": _sheet, ".mif": _mif}
    writers.get(form.path.suffix.lower(), _package)(form, table)


def _shapes(form: Form, table: Table) -> Array:
    if form.crs != 4326:
        return table.geometry
    shapes: Array = shapely.transform(table.geometry, lambda xy: vn2000.to_wgs84(xy, GRID))
    return shapes


def _kind(shapes: Array) -> str:
    types = set(shapely.get_type_id(shapes[shapely.is_geometry(shapes)]).tolist())
    single = {0: "Point", 1: "LineString", 3: "Polygon"}
    return single[types.pop()] if len(types) == 1 and types <= set(single) else "MultiPolygon"


def _fields(form: Form, table: Table) -> tuple[list[str], list[Array]]:
    values = [table[source] for source in form.columns.values()]
    nothing = np.array([None], dtype=object)
    return list(form.columns), [np.where(v == "", nothing, v) if v.dtype == object else v for v in values]


def _write(form: Form, table: Table, path: Path, driver: str, encoding: str | None = None, **options: Any) -> None:
    shapes = _shapes(form, table)
    kind = _kind(shapes)
    if kind == "MultiPolygon":
        single = shapely.is_geometry(shapes) & (shapely.get_type_id(shapes) == 3)
        shapes = shapes.copy()
        shapes[single] = shapely.multipolygons(shapely.get_parts(shapes[single])[:, None])
    names, values = _fields(form, table)
    pyogrio.raw.write(
        path, shapely.to_wkb(shapes), values, names, layer=form.name, driver=driver, geometry_type=kind,
        crs=f"EPSG:{form.crs}", encoding=encoding, **options,
    )  # fmt: skip


def _package(form: Form, table: Table) -> None:
    """Formats that need no care."""
    suffix = form.path.suffix.lower()
    if suffix == ".gpkg":
        _write(form, table, form.path, "GPKG", append=form.path.exists())
    elif suffix == ".kml":
        _write(form, table, form.path, "KML")
    else:
        _write(form, table, form.path, "GeoJSON", COORDINATE_PRECISION=11)


def _shapefile(form: Form, table: Table) -> None:
    """One byte a character, so a legacy text is written as the Latin-1 letters that its bytes look like; no `.cpg`."""
    if form.encoding == "UTF-8":
        _write(form, table, form.path, "ESRI Shapefile", "UTF-8")
        return
    looks = table.copy()
    for source in form.columns.values():
        if looks[source].dtype == object:
            looks[source] = written(looks[source], form.encoding)
    _write(form, looks, form.path, "ESRI Shapefile", "ISO-8859-1")
    form.path.with_suffix(".cpg").unlink(missing_ok=True)


def written(values: Array, encoding: str) -> Array:
    """Texts as they look when their TCVN3 or VNI bytes are read as Latin-1."""
    letters = str.maketrans(_letters(encoding))
    texts, index = np.unique(values.astype(str), return_inverse=True)
    return np.array([str(text).translate(letters) for text in texts], dtype=object)[index]


def _letters(encoding: str) -> dict[str, str]:
    """Vietnamese letter -> the Latin-1 characters its bytes look like."""
    if encoding == "VNI":
        return {
            letter: pair for pair, letter in reversed(list(legacy.VNI.items())) if pair.isupper() == letter.isupper()
        }
    return {letter: chr(0xA0 + i) for i, letter in enumerate(legacy.TCVN3_LETTERS) if letter != "·"}


def _zipped(form: Form, table: Table) -> None:
    inner = form.path.with_suffix("")
    _shapefile(Form(inner.with_suffix(".shp"), form.columns, inner.stem, form.crs, form.encoding), table)
    with zipfile.ZipFile(form.path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(inner.parent.glob(f"{inner.stem}.*")):
            if part.suffix in (".shp", ".shx", ".dbf", ".prj", ".cpg"):
                archive.write(part, part.name)
                part.unlink()


def _cells(form: Form, table: Table) -> list[list[Any]]:
    columns = []
    for source in form.columns.values():
        values = table[source]
        columns.append([None if v == "" or v != v else v for v in values.tolist()])
    return [list(row) for row in zip(*columns, strict=True)]


def _text(form: Form, table: Table) -> None:
    """Semicolons, decimal commas, a byte order mark: what a spreadsheet program of a Vietnamese office saves."""
    with form.path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(form.columns)
        for row in _cells(form, table):
            writer.writerow([str(cell).replace(".", ",") if isinstance(cell, float) else cell for cell in row])


def _sheet(form: Form, table: Table) -> None:
    names, values = _fields(form, table)
    pyogrio.raw.write(form.path, None, values, names, layer=form.name, driver="XLSX", geometry_type=None)


def _mif(form: Form, table: Table) -> None:
    """MapInfo interchange of lines, written here because GDAL drops the VN-2000 datum."""
    names, values = _fields(form, table)
    kinds = ["Float" if value.dtype != object else "Char(120)" for value in values]
    head = ["Version 300", 'Charset "Neutral"', 'Delimiter ","', MIF_SYSTEM, f"Columns {len(names)}"]
    lines = head + [f"  {name} {kind}" for name, kind in zip(names, kinds, strict=True)] + ["Data", ""]
    for shape in table.geometry:
        points = shapely.get_coordinates(shape)
        lines += [f"Pline {len(points)}", *(f"{x:.4f} {y:.4f}" for x, y in points)]
    form.path.write_bytes("\r\n".join([*lines, ""]).encode("utf-8"))
    rows = []
    for row in zip(*values, strict=True):
        rows.append(",".join(f'"{cell}"' if isinstance(cell, str) else f"{cell}" for cell in row))
    form.path.with_suffix(".mid").write_bytes("\r\n".join([*rows, ""]).encode("utf-8"))
