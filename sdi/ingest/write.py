"""Features to files that other programs open without loss, and findings to a map for stewards to open beside them."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import shapely

from sdi.contract.report import Finding
from sdi.errors import UsageError
from sdi.ingest.entire import entire, require_room
from sdi.ingest.geometry import Shapes
from sdi.ingest.guard import guard
from sdi.national import vn2000

GEOMETRY = "geom"
DRIVERS = {
    ".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf", ".shp": "ESRI Shapefile", ".csv": "CSV",
    ".tab": "MapInfo File", ".mif": "MapInfo File",
}  # fmt: skip
FINDINGS = (".gpkg", ".csv")
SEVEN = "-191.90441429,-39.30318279,-111.45032835,-0.00928836,0.01975479,-0.00427372,0.252906278"
"""The parameters of QĐ 05/2007 with the Decision's signs, which MapInfo's datum 9999 takes as they are."""


def write_features(
    path: Path, layer_name: str, table: pa.Table, srid: int, geometry_type: str, *, beside: bool = False
) -> None:
    """Write features; the suffix chooses the format. An existing file is replaced once the new one is whole; beside: a
    GeoPackage gets one layer more.

    table: attributes and the WKB or EWKB column `geom`, in grid `srid` (EPSG code, x = E or lon). geometry_type:
    the contract's. GeoJSON is written in CRS84 (RFC 7946), CSV with the geometry as WKT in its grid; a shapefile's text
    is UTF-8 with a .cpg. MapInfo files keep the VN-2000 datum. Raises UsageError for another suffix, StoreError where
    the disk is full.
    """
    require_format(path)
    if beside:
        return _write_features(path, layer_name, table, srid, geometry_type)
    with entire(path, _files(path)) as part:
        _write_features(part, layer_name, table, srid, geometry_type)


def require_format(path: Path) -> None:
    """Raises UsageError where features cannot be written to a file of this name."""
    suffix = path.suffix.lower()
    if suffix not in DRIVERS:
        raise UsageError(f"'{suffix}' cannot be written.", hint=f"Writable: {', '.join(DRIVERS)}.")


def _write_features(path: Path, layer_name: str, table: pa.Table, srid: int, geometry_type: str) -> None:
    suffix = path.suffix.lower()
    shapes = shapely.from_wkb(table[GEOMETRY].to_numpy())
    attributes = _plain(table.drop_columns([GEOMETRY]))
    if suffix == ".csv":
        return _write_csv(path, attributes, shapes)
    if suffix == ".geojson":
        shapes, srid = _to_crs84(shapes, srid), 4326
    if suffix == ".shp":
        attributes = attributes.rename_columns(dbf_names(attributes.column_names))
    options = _options(suffix, attributes, shapes)
    crs = _mapinfo_crs(srid) if DRIVERS[suffix] == "MapInfo File" else f"EPSG:{srid}"
    _write(path, DRIVERS[suffix], layer_name, attributes, shapes, crs, geometry_type, options)


def write_stream(
    path: Path, layer_name: str, reader: pa.RecordBatchReader, srid: int, geometry_type: str | None,
    changed_at: datetime, *, indexed: bool,
) -> None:  # fmt: skip
    """Write batches as they come to a new FlatGeobuf or GeoPackage (by the suffix); memory holds one of them.

    Columns: attributes and, unless `geometry_type` is None, `geom` as WKB in `srid` (EPSG code, x = E or lon). Decimals
    become doubles, which both formats have; FlatGeobuf makes days times of their midnight, for it has no days.
    `indexed`: with a spatial index; FlatGeobuf then orders the features by place. `changed_at`: what a GeoPackage says
    of when its content changed, so that equal features are equal bytes. Raises OSError or pyogrio's error where the
    disk is full.
    """
    import pyogrio  # loads GDAL, which a load does not ask for here

    driver = DRIVERS[path.suffix.lower()]
    plain = pa.schema([_doubled(field) for field in reader.schema])
    batches = (batch.cast(plain) for batch in reader)
    moment = changed_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with _ALONE:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment})
        try:
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(plain, batches),
                path,
                layer=layer_name,
                driver=driver,
                geometry_name=GEOMETRY if geometry_type else None,
                geometry_type=geometry_type,
                crs=f"EPSG:{srid}" if geometry_type else None,
                layer_options={"SPATIAL_INDEX": "YES" if indexed and geometry_type else "NO"},
            )
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    require_room(path, on_disk=False)
    if driver == "GPKG":
        _settled(path)


_ALONE = threading.Lock()
"""GDAL's settings are the whole process's."""


def _settled(path: Path) -> None:
    """Make SQLite's count of changes one: GDAL writes now in one transaction more, now in one fewer.

    It stands twice in the file's header (SQLite, "Database File Format", 1.3.7 and 1.3.18).
    """
    with path.open("r+b") as file:
        for place in (24, 92):
            file.seek(place)
            file.write((1).to_bytes(4, "big"))


def _doubled(field: pa.Field) -> pa.Field:
    return field.with_type(pa.float64()) if pa.types.is_decimal(field.type) else field


def _to_crs84(shapes: Shapes, srid: int) -> Shapes:
    """Longitude and latitude by the official operation, outer rings counterclockwise (RFC 7946, 3.1.6)."""
    if srid != 4326:
        shapes = shapely.transform(shapes, lambda xy: vn2000.to_wgs84(xy, srid))
    oriented: Shapes = shapely.orient_polygons(shapes, exterior_cw=False)
    return oriented


def _write(
    path: Path,
    driver: str,
    layer: str,
    attributes: pa.Table,
    shapes: Shapes,
    crs: str,
    kind: str,
    options: dict[str, str],
) -> None:
    import pyogrio

    table = attributes.append_column(GEOMETRY, pa.array(shapely.to_wkb(shapes, flavor="iso"), pa.binary()))
    pyogrio.write_arrow(
        table,
        path,
        layer=layer,
        driver=driver,
        geometry_name=GEOMETRY,
        geometry_type=kind,
        crs=crs,
        layer_options=options,
    )
    if driver == "GPKG":
        _require_index(path, layer)


def _require_index(path: Path, layer: str) -> None:
    """Raises OSError where a GeoPackage has no spatial index, for which there was no room: GDAL goes without a word.
    The name of one of its tables stands in the file as it is (SQLite, "The R*Tree Module", 3.1)."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(f"rtree_{layer}_{GEOMETRY}_rowid".encode()) < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _plain(table: pa.Table) -> pa.Table:
    """Decimals as doubles: the file formats know no other."""
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.float64()))
    return table


def _files(path: Path) -> list[Path]:
    companions = {".shp": (".shx", ".dbf", ".prj", ".cpg"), ".tab": (".dat", ".map", ".id", ".ind"), ".mif": (".mid",)}
    return [path, *(path.with_suffix(suffix) for suffix in companions.get(path.suffix.lower(), ()))]


def _options(suffix: str, attributes: pa.Table, shapes: Shapes) -> dict[str, str]:
    if suffix == ".geojson":
        named = {"ID_FIELD": "id"} if "id" in attributes.column_names else {}
        # GDAL's own RFC7946=YES takes ten times as long; what it does beyond is done in _to_crs84.
        return {"COORDINATE_PRECISION": "9", **named}
    if suffix == ".shp":
        return {"ENCODING": "UTF-8"}
    if suffix in (".tab", ".mif"):
        # A .tab counts in 2^31 steps across its bounds; tight ones keep a millimetre where GDAL's own lose a centimetre
        west, south, east, north = np.nan_to_num(shapely.total_bounds(shapes))
        pad = max(east - west, north - south, 1.0)
        return {"ENCODING": "UTF-8", "BOUNDS": f"{west - pad},{south - pad},{east + pad},{north + pad}"}
    return {}


def dbf_names(names: list[str]) -> list[str]:
    """Column names cut to ten ASCII characters (a DBF counts bytes), the second of equal ones numbered."""
    made: list[str] = []
    for name in map(_ascii, names):
        short, number = name[:10], 1
        while short.lower() in (other.lower() for other in made):
            short, number = f"{name[: 9 - len(str(number))]}_{number}", number + 1
        made.append(short)
    return made


def _ascii(name: str) -> str:
    letters = unicodedata.normalize("NFD", name.translate(str.maketrans("đĐ", "dD")))
    return letters.encode("ascii", "ignore").decode()


def _mapinfo_crs(srid: int) -> str:
    """WKT whose datum GDAL writes as MapInfo's 9999 with the seven parameters; by its own name it would be WGS 84."""
    grid = vn2000.grid(srid)
    if grid.datum == "WGS 84":
        return f"EPSG:{srid}"
    if grid.datum != "VN-2000":
        raise UsageError(f"A MapInfo file in EPSG:{srid} would lose its datum.", hint="Write GeoPackage.")
    turned = SEVEN.replace("-0.00928836,0.01975479,-0.00427372", "0.00928836,-0.01975479,0.00427372")
    geographic = (
        f'GEOGCS["unnamed",DATUM["MIF 9999,28,{SEVEN},0",SPHEROID["WGS 84",6378137,298.257223563],TOWGS84[{turned}]],'
        'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
    )
    if grid.geographic:
        return geographic
    return (
        f'PROJCS["unnamed",{geographic},PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
        f'PARAMETER["central_meridian",{grid.meridian}],PARAMETER["scale_factor",{grid.scale}],'
        'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1]]'
    )


def _write_csv(path: Path, attributes: pa.Table, shapes: Shapes) -> None:
    """UTF-8 with a byte order mark, by which spreadsheets know it; text that one would calculate is guarded."""
    for index, field in enumerate(attributes.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            attributes = attributes.set_column(index, field.name, guard(attributes.column(index)))
    table = attributes.append_column("wkt", pa.array(shapely.to_wkt(shapes, rounding_precision=9), pa.string()))
    with path.open("wb") as file:
        file.write(b"\xef\xbb\xbf")
        pa.csv.write_csv(table, file)


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write findings as points in WGS 84 to layer `findings` of a new GeoPackage, with both sentences; what concerns
    the whole delivery, or has no place, stands there without a point. A .csv has them as rows, guarded as features are.
    Raises UsageError for another suffix, StoreError where the disk is full."""
    require_findings(path)
    found = list(findings)
    names = ("rule", "severity", "action", "feature", "row", "attribute", "value", "limit", "other")
    columns = {name: _texts([getattr(finding, name) for finding in found], name) for name in names}
    columns["vi"] = pa.array([finding.sentence("vi") for finding in found], pa.string())
    columns["en"] = pa.array([finding.sentence("en") for finding in found], pa.string())
    shapes = np.full(len(found), None, dtype=object)
    there = [index for index, finding in enumerate(found) if finding.place is not None]
    if there:
        shapes[there] = shapely.points([found[index].place for index in there])
    with entire(path) as part:
        if path.suffix.lower() == ".csv":
            _write_csv(part, pa.table(columns), shapes)
        else:
            _write(part, "GPKG", "findings", pa.table(columns), shapes, "EPSG:4326", "Point", {})


def require_findings(path: Path) -> None:
    """Raises UsageError where findings cannot be written to a file of this name."""
    if path.suffix.lower() not in FINDINGS:
        raise UsageError(f"'{path.name}': findings cannot be written so.", hint=f"Writable: {', '.join(FINDINGS)}.")


def _texts(values: list[object], name: str) -> pa.Array:
    if name == "row":
        return pa.array(values, pa.int64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
