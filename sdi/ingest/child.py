"""The process that opens what stewards hand in: GDAL with a few drivers, no network, bounded memory and time.

Run as `python -m sdi.ingest.child` with one JSON object on stdin; answers in JSON lines on stdout: any number of
`{"done": n, "total": n}`, then `{"facts": {…}}` or `{"error": kind, "detail": text}`. The table goes to the Arrow IPC
file `out`. Nothing here is trusted by the parent except that the process ends.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdi.ingest import confinement, geodatabase
from sdi.ingest.markup import broken_line, gpx_features

ALLOWED = frozenset({
    "ESRI Shapefile", "GPKG", "GeoJSON", "GeoJSONSeq", "ESRIJSON", "TopoJSON", "OpenFileGDB", "MapInfo File", "DXF",
    "DGN", "KML", "LIBKML", "GML", "FlatGeobuf", "EDIGEO", "CSV", "XLSX", "GPX",
})  # fmt: skip
"""The drivers a delivery may be read with; all others are unregistered before GDAL looks at a file."""

KNOWN = [
    "PCIDSK", "PDS4", "VICAR", "PDF", "MBTiles", "EEDA", "OGCAPI", "GDALG", "LVBAG", "S57", "OGR_VRT",
    "OGR_GMT", "SQLite", "WAsP", "GeoRSS", "VFK", "PGDUMP", "OSM", "GPSBabel", "OGR_PDS", "WFS", "OAPIF",
    "Idrisi", "ODS", "Elasticsearch", "Carto", "AmigoCloud", "SXF", "Selafin", "JML", "PLSCENES", "CSW", "VDV",
    "MVT", "NGW", "MapML", "GTFS", "PMTiles", "JSONFG", "MiraMonVector", "ADBC", "AVCBin", "AVCE00", "AIVector",
    "HTTP",
]  # fmt: skip
"""Drivers that the wheels of pyogrio have besides; what else a build has is found at run time and shut out too."""

CONFIGURATION = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_TIMEOUT": "1",
    "GDAL_HTTP_MAX_RETRY": "0",
    "PROJ_NETWORK": "OFF",
    "GML_SKIP_RESOLVE_ELEMS": "ALL",
    "GML_DOWNLOAD_SCHEMA": "NO",
    "OGR_XLSX_HEADERS": "FORCE",
    "OGR_CSV_MAX_FIELD_COUNT": "20000",  # beyond its own 2000 columns GDAL leaves them out without a word
    "OGR_XLSX_MAX_FIELD_COUNT": "20000",
    "OGR_GEOJSON_MAX_OBJ_SIZE": "200",
    "CPL_DEBUG": "OFF",
}
"""What GDAL reads from the environment; it must stand there before GDAL is loaded."""

BYTES = "ISO-8859-1"
"""The encoding that keeps every byte of a shapefile's text as one character."""
MAX_LAYERS = 500
CURVES = frozenset({8, 9, 10, 11, 12, 13, 14})
"""WKB codes (ISO 13249-3) of circular strings, compound curves and what is made of them."""


class _Absent:
    """Says that the libraries which pyogrio looks for without need are not installed: the process starts in half the
    time."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in ("geopandas", "pandas", "shapely", "pyproj"):
            raise ImportError(name)


def main() -> None:
    order = json.loads(os.environ.pop("SDI_CHILD_ORDER", "") or sys.stdin.read())
    _confine(order)
    _shut_out_drivers(order)
    try:
        facts = _inspect(order) if order["action"] == "inspect" else _read(order)
        _say({"facts": facts | {"isolated": order["isolated"]}})
    except MemoryError:
        _say({"error": "memory"})
    except Exception as error:  # the parent turns the kind into a sentence; a library's own text never leaves the log
        _say({"error": "unreadable", "detail": f"{type(error).__name__}: {error}"[:2000]})


def _confine(order: dict[str, Any]) -> None:
    """Give up what reading the file does not need. A process that was started over has given it up already."""
    confinement.bound(order["memory"], order["cpu"], order["memory"])
    if "isolated" not in order:
        folders = [Path(order[name]).parent for name in ("path", "out") if name in order]
        order["isolated"] = confinement.leave_network()
        confinement.leave_files([Path.cwd(), *folders])


def _shut_out_drivers(order: dict[str, Any]) -> None:
    """Load GDAL with the allowed drivers only; start over once when the build has drivers this file does not know."""
    os.environ.update(CONFIGURATION)
    os.environ.setdefault("OGR_SKIP", ",".join(KNOWN))
    sys.meta_path.insert(0, _Absent())
    import pyogrio

    unknown = sorted(set(pyogrio.list_drivers()) - ALLOWED - {"MEM"})
    if unknown and os.environ.get("SDI_CHILD_AGAIN"):
        raise SystemExit(f"drivers cannot be shut out: {', '.join(unknown)}")
    if unknown:
        os.environ["OGR_SKIP"] += "," + ",".join(unknown)
        os.environ["SDI_CHILD_AGAIN"] = "1"
        os.environ["SDI_CHILD_ORDER"] = json.dumps(order)
        os.execv(sys.executable, [sys.executable, "-m", "sdi.ingest.child"])


def _inspect(order: dict[str, Any]) -> dict[str, Any]:
    infos = [_info(order, name, force=True) for name in _names(order)]
    return {"driver": infos[0]["driver"] if infos else "", "layers": infos}


def _names(order: dict[str, Any]) -> list[str]:
    import pyogrio

    return [str(name) for name, _ in pyogrio.list_layers(order["path"])[:MAX_LAYERS]]


def _info(order: dict[str, Any], layer: str, *, force: bool) -> dict[str, Any]:
    import pyogrio

    options = {"encoding": order["encoding"]} if order.get("encoding") else {}
    info = pyogrio.read_info(order["path"], layer=layer, force_feature_count=force, force_total_bounds=force, **options)
    if info["driver"] not in ALLOWED:
        raise ValueError(f"driver {info['driver']}")
    bounds, count = info.get("total_bounds"), int(info["features"])
    if info["driver"] == "OpenFileGDB":  # GDAL leaves out without a word what it does not find
        count = max(count, geodatabase.rows(Path(order["path"]), layer))
    return {
        "driver": info["driver"], "name": info["layer_name"], "geometry_type": info["geometry_type"],
        "feature_count": count, "crs": info["crs"], "encoding": info["encoding"],
        "fields": [[str(name), str(kind)] for name, kind in zip(info["fields"], info["ogr_types"], strict=True)],
        "bounds": [float(value) for value in bounds] if bounds is not None else None,
    }  # fmt: skip


def _read(order: dict[str, Any]) -> dict[str, Any]:
    """Stream the layer into the Arrow file; curves are made into lines by a second, geometry-only reading.

    Where the layer that is meant is not the only one, the layers are described instead, for the parent to pick from.
    """
    import pyarrow as pa

    layers = _names(order)
    if order.get("layer") not in layers:
        if len(layers) != 1 or order.get("layer") is not None:
            return _inspect(order)
        order["layer"] = layers[0]
    facts = _info(order, order["layer"], force=False)
    geometry, curves = "", 0
    lengths: list[int] = []
    with _stream(order, facts["fields"]) as (meta, schema, batches):
        geometry = (meta["geometry_name"] or "wkb_geometry") if meta["geometry_type"] else ""
        with pa.OSFile(order["out"], "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                lengths.append(batch.num_rows)
                if geometry in batch.schema.names:
                    curves += _curves(batch.column(geometry))
                _say({"done": sum(lengths), "total": max(facts["feature_count"], sum(lengths))})
            names = schema.names
    if curves:
        _linearise(order, lengths)
    geometry = geometry if geometry in names else ""
    promised = _promised(facts, Path(order["path"]), order["layer"])
    found = {"promised": promised, "layers_in_file": len(layers), "broken_line": broken_line(Path(order["path"]))}
    return facts | found | {"feature_count": sum(lengths), "geometry_column": geometry, "curves": curves}


def _promised(facts: dict[str, Any], path: Path, layer: str) -> int | None:
    """How many features the dataset itself says or shows it has, where that is known before they are read."""
    if facts["driver"] == "OpenFileGDB":
        return int(facts["feature_count"])
    if facts["driver"] == "GPX":
        return gpx_features(path, layer)
    if facts["driver"] == "TopoJSON":
        from sdi.ingest.geojson import topology_features

        return topology_features(path, layer)
    return None


@contextmanager
def _stream(order: dict[str, Any], fields: list[list[str]]) -> Iterator[tuple[dict[str, Any], Any, Iterable[Any]]]:
    """What GDAL says of the layer, and its features; of a shapefile without the text, which is read beside."""
    from sdi.ingest.dbf import Table

    table = Table.of(Path(order["path"]), fields) if order.get("encoding") == BYTES else None
    if table is not None:
        with _reader(order, columns=table.others, return_fids=True) as (meta, reader):
            schema = table.schema(reader.schema)
            if schema is not None:
                yield meta, schema, table.joined(reader, schema)
                return
    with _reader(order) as (meta, reader):
        yield meta, reader.schema, reader


def _reader(order: dict[str, Any], **options: Any) -> Any:
    import pyogrio

    if order.get("encoding"):
        options["encoding"] = order["encoding"]
    return pyogrio.open_arrow(
        order["path"], layer=order["layer"], use_pyarrow=True, batch_size=order.get("part", 32_768), **options
    )


def _curves(column: Any) -> int:
    import numpy as np

    return int(np.isin(wkb_codes(column), list(CURVES)).sum())


def wkb_codes(column: Any) -> Any:
    """The geometry codes of a WKB column without dimension flags (ISO 1000s and the older high bits); what is too short
    to have one is left out."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.drop_null().cast(pa.large_binary())
    column = column.filter(pc.greater_equal(pc.binary_length(column), 5))
    if not len(column):
        return np.empty(0, np.uint32)
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column)]
    data = np.frombuffer(column.buffers()[2], np.uint8)
    little = data[offsets] == 1
    quads = data[offsets[:, None] + np.arange(1, 5)].astype(np.uint32)
    order = np.where(little[:, None], np.arange(4), np.arange(3, -1, -1)).astype(np.uint32)
    codes = (quads << (order * 8)).sum(axis=1, dtype=np.uint32) & 0x0FFFFFFF
    return codes % 1000


def _linearise(order: dict[str, Any], lengths: list[int]) -> None:
    """pyogrio's row interface makes curves into lines by GDAL's arc step; the Arrow interface hands them on.

    lengths: of the batches that the geometries are written beside.
    """
    import pyarrow as pa
    import pyogrio

    _, _, geometries, _ = pyogrio.raw.read(order["path"], layer=order["layer"], columns=[])
    column = pa.array(list(geometries), pa.large_binary())
    schema, start = pa.schema({"wkb": pa.large_binary()}), 0
    with pa.OSFile(order["out"] + ".lines", "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for length in lengths:
            writer.write_batch(pa.record_batch([column.slice(start, length)], schema=schema))
            start += length


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
