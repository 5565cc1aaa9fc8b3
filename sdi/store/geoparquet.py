"""GeoParquet 1.1: columns with what a reader has to know of their geometry."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import shapely

from sdi.national.projjson import projjson
from sdi.store.columns import GEOMETRY

NAME = "geometry"
"""The geometry's column; readers that do not know GeoParquet look for it under this name."""
ROWS = 50_000
"""Of a row group."""


def write(sink: Any, kind: str | None, schema: pa.Schema, tables: Iterable[pa.Table], epsg: int) -> None:
    """Write tables of a schema from `columns` to a path or a binary file, one row group each.

    `kind`: the type of geometry, as `columns.shape` tells it; of `Unknown` the file names none, which is what it means.
    `epsg`: the CRS of the geometry; 4326 stands for CRS84. The coordinates' order is x, y whatever the CRS's own
    is (GeoParquet 1.1, "Coordinate axis order"). The box that the file tells is the one of what it holds.
    """
    written = schema
    if GEOMETRY in schema.names:
        written = pa.schema([field.with_name(NAME) if field.name == GEOMETRY else field for field in schema])
    box = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with pyarrow.parquet.ParquetWriter(sink, written, compression="zstd") as writer:
        for table in tables:
            if GEOMETRY in schema.names:
                bounds = shapely.bounds(shapely.from_wkb(table[GEOMETRY].to_numpy()))
                box = np.concatenate(
                    [np.fmin.reduce([box[:2], *bounds[:, :2]]), np.fmax.reduce([box[2:], *bounds[:, 2:]])]
                )
            writer.write_table(table.rename_columns(written.names), row_group_size=ROWS)
        if GEOMETRY in schema.names:
            about = _about(kind, epsg, box)
            writer.add_key_value_metadata({"geo": json.dumps(about, ensure_ascii=False)})


def _about(kind: str | None, epsg: int, box: np.ndarray[Any, Any]) -> dict[str, Any]:
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": [] if kind in (None, "Unknown") else [kind]}
    if epsg != 4326:
        column["crs"] = projjson(epsg)
    if np.isfinite(box).all():
        column["bbox"] = box.tolist()
    return {"version": "1.1.0", "primary_column": NAME, "columns": {NAME: column}}
