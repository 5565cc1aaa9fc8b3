"""What a steward corrects and why: features in quarantine and findings to files, in colours where QGIS opens them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from sdi.contract.layer import Layer
from sdi.contract.quality import COLOURS
from sdi.contract.report import Finding
from sdi.errors import UsageError
from sdi.ingest import write
from sdi.ingest.entire import entire
from sdi.ingest.geometry import FAMILY, MULTI, NAMES, Shapes
from sdi.ingest.qgis_style import PALETTE, add_style

FORMATS = (".gpkg", ".csv", ".geojson")
_TIP = '<b>[% "qa_rules" %]</b><br>[% "qa_sentence_vi" %]<br><i>[% "qa_sentence_en" %]</i>'


def write_quarantine(path: Path, layer: Layer, rows: pa.Table) -> None:
    """Write features as they were delivered: what the quarantine says of each, every raw value, and `geom` (EWKB).

    A file of one name and grid is what `sdi load` takes again once it is corrected; features of several grids go to a
    layer each, the later ones named `<layer>_<EPSG>`. Raises UsageError for another format, StoreError where the disk
    is full.
    """
    require_format(path)
    with entire(path) as part:
        _write_quarantine(part, layer, rows)


def require_format(path: Path) -> None:
    """Raises UsageError where a quarantine cannot be written to a file of this name."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"'{suffix}' cannot be written.", hint=f"Writable: {', '.join(FORMATS)}.")


def _write_quarantine(path: Path, layer: Layer, rows: pa.Table) -> None:
    import pyogrio  # loads GDAL, which a load does not ask for here

    suffix = path.suffix.lower()
    shapes = shapely.from_wkb(rows["geom"].to_numpy())
    srids = shapely.get_srid(shapes)
    known = sorted({int(code) for code in srids[srids > 0]}) or [4326]
    if len(known) > 1 and suffix != ".gpkg":
        raise UsageError(f"The features lie in {len(known)} grids.", hint="Write a .gpkg, which has a layer for each.")
    for number, srid in enumerate(known):
        # What has no geometry stands with the first.
        chosen = np.flatnonzero((srids == srid) | ((srids <= 0) & (number == 0)))
        table, kind = _of_one_kind(rows.take(pa.array(chosen)), shapes[chosen], layer)
        name = layer.id if number == 0 else f"{layer.id}_{srid}"
        if number == 0:
            write.write_features(path, name, table, srid, kind, beside=True)
        else:
            pyogrio.write_arrow(table, path, layer=name, driver="GPKG", geometry_name="geom", geometry_type=kind,
                                crs=f"EPSG:{srid}")  # fmt: skip
        if suffix == ".gpkg":
            told = sorted(value for value in pc.unique(table["qa_rules"]).to_pylist() if value)
            add_style(path, name, kind, "qa_rules", dict(zip(told, cycle(PALETTE), strict=False)), _TIP)


def _of_one_kind(rows: pa.Table, shapes: Shapes, layer: Layer) -> tuple[pa.Table, str]:
    """The rows with their geometry as multi-geometry, where all are of one family: QGIS edits no mixed layer."""
    there = ~shapely.is_missing(shapes)
    families = {int(FAMILY[code]) for code in shapely.get_type_id(shapes[there])}
    assert layer.geometry is not None
    kind: str = layer.geometry.type
    if families and families != {int(FAMILY[NAMES.index(kind)])}:
        kind = "Unknown"
        if len(families) == 1 and families != {-1}:
            kind = ("MultiPoint", "MultiLineString", "MultiPolygon")[families.pop()]
    if kind != "Unknown":
        single, kind = kind.removeprefix("Multi"), f"Multi{kind.removeprefix('Multi')}"
        alone = np.flatnonzero(shapely.get_type_id(shapes) == NAMES.index(single))
        if len(alone):
            shapes = shapes.copy()
            shapes[alone] = MULTI[single](shapes[alone], indices=np.arange(len(alone)))
    column = rows.column_names.index("geom")
    return rows.set_column(column, "geom", pa.array(shapely.to_wkb(shapes, flavor="iso"), pa.binary())), kind


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """`write.write_findings`; a GeoPackage opens in colours by severity."""
    found = list(findings)
    with entire(path) as part:
        write.write_findings(part, found)
        if path.suffix.lower() == ".gpkg":
            _colour(part, found)


def _colour(path: Path, found: list[Finding]) -> None:
    shown = {severity: colour for severity, colour in COLOURS.items() if any(f.severity == severity for f in found)}
    tip = '<b>[% "rule" %]</b> [% "feature" %]<br>[% "vi" %]<br><i>[% "en" %]</i>'
    add_style(path, "findings", "Point", "severity", shown, tip)
