"""A part of a delivery, of some ten thousand features: conformed, brought to the grid, checked feature by feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.ingest import ended, geometry, place
from sdi.ingest.checks import form, law, shape
from sdi.ingest.conform import Conformed, conform, digests, identify
from sdi.ingest.degrees import Degrees, in_degrees
from sdi.ingest.findings import Findings, Mask, Rows
from sdi.ingest.geometry import Shapes
from sdi.ingest.place import Box, Placement
from sdi.ingest.reading import Reading
from sdi.ingest.source import WKB
from sdi.ingest.validity import vertices_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chunk:
    """What stays in memory of a part that was worked on."""

    start: int
    """The row of its first feature in the delivery."""
    ids: NDArray[np.int64]
    """Hashes of the ids, alike in one process only."""
    identified: Mask
    boxes: Floats
    """(n, 4) of the master geometry; NaN where there is none."""
    places: Floats
    """(n, 2) longitude and latitude of each feature, of what was delivered where nothing is kept; NaN: nowhere."""
    dropped: Mask
    ended: Mask
    """Rows that say of a feature that it has ended; what is found in them is passed over."""
    bounds: Box | None
    """Of the coordinates in the file."""
    found: Findings
    measured: Findings
    """What holds only if the grid can be believed."""
    plain: Mask
    """Rows in which nothing was found."""
    marks: NDArray[np.uint64] | None = None
    """By row, see `recognition.marks`."""
    known: NDArray[np.intp] | None = None
    """The rows that were only glanced at; None: none."""
    news: bool = False
    """Whether nothing was found in a row that was met for the first time."""


@dataclass
class _Shaped:
    """Geometry on its way: `before` in the grid as delivered, `master` as the contract wants it, `column` its EWKB."""

    before: Shapes
    master: Shapes
    column: pa.Array
    degrees: Degrees
    dropped: Mask


def work(table: pa.Table, start: int, reading: Reading, registry: Registry, day: date) -> tuple[Chunk, pa.RecordBatch]:
    """Make features of a part as it stands in the file. day: the data's. Returns what is known of them, and their rows:
    id, the stored attributes, geom, geom_wgs84, source_row."""
    layer, where = reading.layer, reading.where
    found = Findings(layer, table.num_rows)
    table = reading.decode(table, found)
    said = ended.said(table, layer)
    raw = reading.raw_shapes(table, found)
    shaped = _shape(raw, table, reading, found)
    made = conform(table, layer, reading.request, reading.matched, reading.styles, found)
    form.check_attributes(layer, made, registry, day, found)
    ids = identify(layer, made.columns, start, found)
    places = _places(shaped, where)
    measured = Findings(layer, table.num_rows)
    measured.quarantined |= found.quarantined
    place.check_zone(places, where, measured)
    law.check_area(layer, made, shaped.master, measured)
    law.check_place_of_id(layer, made, shaped.degrees.shapes, measured)
    boxes = shapely.bounds(shaped.master)
    boxes[said] = np.nan
    identified = np.asarray(ids.is_valid()) & ~said
    plain = identified & ~shaped.dropped & ~found.touched() & ~measured.touched()
    kept = Chunk(
        start, hashes_of(ids), identified, boxes, places, shaped.dropped & ~said, said, geometry.bounds_of(raw), found,
        measured, plain,
    )  # fmt: skip
    made.columns = ended.blank(made.columns, said)
    return kept, _rows(ids, made, shaped, start)


@dataclass(frozen=True)
class Glance:
    """What is needed at once of features that are known: their content is made when somebody asks for it."""

    ids: pa.Array
    columns: dict[str, pa.Array]
    """The attributes of the narrowed reading."""
    boxes: Floats
    bounds: Box | None
    """Of the coordinates in the file."""


def glance(table: pa.Table, reading: Reading, narrow: Reading, registry: Registry, day: date) -> Glance:
    """Look at rows in which nothing is to be found. narrow: `recognition.narrowed` of the reading."""
    ignored = Findings(reading.layer, table.num_rows)
    decoded = narrow.decode(table, ignored)
    raw = narrow.raw_shapes(decoded, ignored)
    made = conform(decoded, narrow.layer, narrow.request, narrow.matched, narrow.styles, ignored)
    _spell(narrow.layer, made, registry, day, ignored)
    ids = identify(reading.layer, made.columns, 0, ignored)
    boxes = shapely.bounds(geometry.place(raw, reading.where)[0])
    return Glance(ids, made.columns, boxes, geometry.bounds_of(raw))


def remake(table: pa.Table, reading: Reading, registry: Registry, day: date) -> pa.RecordBatch:
    """Make the rows in which nothing is to be found as `work` makes them, and look for nothing."""
    ignored = Findings(reading.layer, table.num_rows)
    table = reading.decode(table, ignored)
    raw = reading.raw_shapes(table, ignored)
    before, lonlat = geometry.place(raw, reading.where)
    master, dropped = geometry.conform(before, reading.contract, ignored)
    known, _ = geometry.conform(lonlat, reading.contract, ignored)
    column = _ewkb(master, master if before is raw else raw, raw, table, reading)
    degrees = in_degrees(master, column, vertices_of(master), known, reading.where, ignored)
    shaped = _Shaped(before, master, column, degrees, dropped)
    made = conform(table, reading.layer, reading.request, reading.matched, reading.styles, ignored)
    _spell(reading.layer, made, registry, day, ignored)
    return _rows(identify(reading.layer, made.columns, 0, ignored), made, shaped, 0)


def _spell(layer: Layer, made: Conformed, registry: Registry, day: date, ignored: Findings) -> None:
    """Bring codes to their lists' own spelling."""
    coded = [attribute for attribute in layer.stored if attribute.code_list is not None]
    form.check_attributes(layer.model_copy(update={"attributes": coded, "checks": []}), made, registry, day, ignored)


def masters(table: pa.Table, reading: Reading) -> Shapes:
    """The master geometry of rows in which nothing was found: no check or repair has changed it."""
    ignored = Findings(reading.layer, table.num_rows)
    master, _ = geometry.conform(before(table, reading), reading.contract, ignored)
    found: Shapes = shapely.from_wkb(geometry.ewkb(master, reading.where.grid).to_numpy(zero_copy_only=False))
    return found


def before(table: pa.Table, reading: Reading) -> Shapes:
    """Geometry of a part as it was delivered, in the grid."""
    ignored = Findings(reading.layer, table.num_rows)
    shapes = reading.raw_shapes(reading.decode(table, ignored), ignored)
    return geometry.reachable(geometry.place(shapes, reading.where)[0], reading.where, ignored)


def content(table: pa.Table, columns: Sequence[pa.Array], reading: Reading) -> list[bytes]:
    """A digest of each of some rows: `table` as the file has them, `columns` their attributes as conformed."""
    return digests(columns, before(table, reading))


def _shape(raw: Shapes, table: pa.Table, reading: Reading, findings: Findings) -> _Shaped:
    """Bring geometry to the grid, to its type and to validity; look at its form; derive WGS 84.

    raw: shapes as the file has them; table: the decoded part they were read from.
    """
    where, contract, layer = reading.where, reading.contract, reading.layer
    before, lonlat = geometry.place(raw, where)
    if not where.kept:
        before = geometry.reachable(before, where, findings)
    master, dropped = geometry.conform(geometry.bounded(before, where, findings), contract, findings)
    promised = master.copy() if before is raw else raw
    known, _ = geometry.conform(lonlat, contract, Findings(findings.layer, len(raw)))
    vertices = vertices_of(master)
    repaired = geometry.repair(master, contract, where, findings, vertices.lone)
    if len(repaired):
        vertices = vertices_of(master)
    changed = shape.check_shapes(layer, raw, master, where, findings, vertices)
    if len(changed):
        vertices = vertices_of(master)
    known[repaired] = known[changed] = None
    column = _ewkb(master, promised, raw, table, reading)
    return _Shaped(before, master, column, in_degrees(master, column, vertices, known, where, findings), dropped)


def _ewkb(master: Shapes, promised: Shapes, raw: Shapes, table: pa.Table, reading: Reading) -> pa.Array:
    """The master's; of what is as it was delivered, from the file's own bytes. promised: see `ewkb_of_delivered`."""
    if reading.geometry_columns is None and not reading.request.swapped and WKB in table.column_names:
        return geometry.ewkb_of_delivered(master, promised, raw, table[WKB], reading.where.grid)
    return geometry.ewkb(master, reading.where.grid)


def _places(shaped: _Shaped, where: Placement) -> Floats:
    found = shaped.degrees.middles
    rows = np.flatnonzero(np.asarray(shaped.degrees.column.is_null()) & ~shapely.is_missing(shaped.before))
    if len(rows):
        found[rows] = where.to_wgs84(geometry.middles(shaped.before[rows]))
    return found


def _rows(ids: pa.Array, made: Conformed, shaped: _Shaped, start: int) -> pa.RecordBatch:
    columns = {"id": ids, **made.columns, "geom": shaped.column, "geom_wgs84": shaped.degrees.column}
    columns["source_row"] = pa.array(np.arange(start + 1, start + 1 + len(ids)), pa.int32())
    return pa.RecordBatch.from_pydict(columns)


def hashes_of(ids: pa.Array) -> NDArray[np.int64]:
    """The hashes of ids, alike in one process only."""
    return np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids))


def split(rows: Rows, starts: NDArray[np.intp]) -> list[tuple[int, Rows, Rows]]:
    """Rows of a delivery by the parts they are in: the part's number, the rows there, and their positions in `rows`."""
    if not len(rows):
        return []
    parts = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(parts, kind="stable")
    numbers, firsts = np.unique(parts[order], return_index=True)
    groups = np.split(order, firsts[1:])
    return [(int(n), rows[group] - starts[n], group) for n, group in zip(numbers, groups, strict=True)]
