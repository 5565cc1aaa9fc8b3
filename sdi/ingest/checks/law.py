"""Law: what attributes say of a feature against its geometry: area, identifier."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely

from sdi.contract.layer import Layer
from sdi.ingest.conform import Conformed
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import Shapes
from sdi.national import parcel_id


def check_area(layer: Layer, made: Conformed, master: Shapes, findings: Findings) -> None:
    """Compare an area attribute (m²) with the area in the grid; the tolerance is the larger of m² and percent."""
    for check in [check for check in layer.checks if check.rule == "area.legal"]:
        name = check.parameters["attribute"]
        said = np.asarray(made.columns[name].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        measured = np.where(shapely.is_missing(master), np.nan, shapely.area(master))
        limit = np.fmax(check.tolerance or 0.0, np.abs(said) * float(check.parameters.get("percent", 0.0)) / 100.0)
        rows = np.flatnonzero(np.abs(measured - said) > limit)
        findings.add("area.legal", rows, attribute=name, values=said[rows], others=np.round(measured[rows], 2),
                     limits=np.round(limit[rows], 2))  # fmt: skip


def check_place_of_id(layer: Layer, made: Conformed, wgs84: Shapes, findings: Findings) -> None:
    """Ask whether the cell that a national parcel id stands for touches its parcel (TT 19/2026 Phụ lục I)."""
    for check in [check for check in layer.checks if check.rule == "identifier.place"]:
        name = check.parameters["attribute"]
        ids = np.asarray(made.columns[name].to_pylist(), dtype=object)
        given = np.asarray(made.columns[name].is_valid())
        asked = np.flatnonzero(given & ~shapely.is_missing(wgs84))
        if not len(asked):
            continue
        lon, lat, half_lon, half_lat = parcel_id.decode(ids[asked].tolist())
        cells = np.full(len(asked), None, dtype=object)
        good = np.isfinite(lon)
        cells[good] = shapely.box(
            (lon - half_lon)[good], (lat - half_lat)[good], (lon + half_lon)[good], (lat + half_lat)[good]
        )
        outside = good & ~shapely.intersects(cells, wgs84[asked])
        findings.add("identifier.place", asked[outside], attribute=name, values=ids[asked[outside]])
