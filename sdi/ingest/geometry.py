"""Geometry of a delivery, whole arrays at once: readable, finite, of the promised type, valid, in grid and WGS 84."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from sdi.contract.layer import Geometry
from sdi.contract.rules import RULES
from sdi.ingest.child import wkb_codes
from sdi.ingest.findings import Findings, Mask
from sdi.ingest.place import Box, Placement
from sdi.ingest.validity import told, valid

Coordinates = NDArray[np.float64]
Shapes = NDArray[Any]
"""Object array of shapely geometries, None where there is none."""

NAMES = [
    "Point",
    "LineString",
    "LinearRing",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
]
FAMILY = np.array([0, 1, 1, 2, 0, 1, 2, -1])
"""Type id of shapely -> 0 points, 1 lines, 2 polygons."""
OTHER_CODES = {15: "PolyhedralSurface", 16: "TIN", 17: "Triangle"}
MULTI = {"Point": shapely.multipoints, "LineString": shapely.multilinestrings, "Polygon": shapely.multipolygons}
COLLECTION = 7


def parse(column: pa.ChunkedArray | None, count: int, findings: Findings, required: bool) -> Shapes:
    """Read WKB; what cannot be read becomes None and a finding. Empty geometry is none. Z and M go."""
    if column is None:
        shapes: Shapes = np.full(count, None, dtype=object)
        present = np.zeros(count, dtype=bool)
    else:
        raw = column.to_numpy()
        present = np.asarray(column.is_valid())
        with np.errstate(invalid="ignore"):
            shapes = shapely.from_wkb(raw, on_invalid="ignore")
        _unreadable(raw, np.flatnonzero(present & shapely.is_missing(shapes)), findings)
    empty = shapely.is_empty(shapes)
    shapes[empty] = None
    if required:
        findings.add("geometry.missing", np.flatnonzero(~present))
        findings.add("geometry.empty", np.flatnonzero(empty))
    deep = shapely.has_z(shapes) | shapely.has_m(shapes)
    if deep.any():
        findings.tally("geometry.flattened", int(deep.sum()))
        shapes[deep] = shapely.force_2d(shapes[deep])
    for row in _hollow(shapes, column):
        shapes[row] = _filled(shapes[row])
    return shapes


def _hollow(shapes: Shapes, column: pa.ChunkedArray | None) -> NDArray[np.intp]:
    """Where a polygon has a hole without a point (KML and GeoJSON may say so): GEOS 3.14 crashes on it, and PostGIS
    takes none. column: the WKB, whose length tells of most multipolygons that they are one ring of points in 2D."""
    several = shapely.get_type_id(shapes) >= NAMES.index("MultiPolygon")
    if column is not None and several.any():
        lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy()
        several &= lengths != len(_HEAD) + 4 + 16 * shapely.get_num_coordinates(shapes)
    rows = np.flatnonzero((shapely.get_num_interior_rings(shapes) > 0) | several)
    parts, owner = shapes[rows], rows
    while (shapely.get_type_id(parts) > NAMES.index("Polygon")).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        owner = owner[inner]
    holed = shapely.get_num_interior_rings(parts) > 0
    rings, inner = shapely.get_rings(parts[holed], return_index=True)
    found: NDArray[np.intp] = np.unique(owner[holed][inner[shapely.is_empty(rings)]])
    return found


def _filled(shape: Any) -> Any:
    if isinstance(shape, shapely.Polygon):
        return shapely.Polygon(shape.exterior, [hole for hole in shape.interiors if not hole.is_empty])
    parts = getattr(shape, "geoms", None)
    return shape if parts is None else type(shape)([_filled(part) for part in parts])


def _unreadable(raw: NDArray[Any], rows: NDArray[np.intp], findings: Findings) -> None:
    if not len(rows):
        return
    long_enough = np.array([len(raw[row]) >= 5 for row in rows])
    findings.add("geometry.unreadable", rows[~long_enough])
    rows = rows[long_enough]
    codes = list(wkb_codes(pa.array([raw[row][:5] for row in rows], pa.binary())))
    surfaces = np.array([code in OTHER_CODES for code in codes], dtype=bool)
    names = [OTHER_CODES[code] for code in codes if code in OTHER_CODES]
    findings.add("geometry.type", rows[surfaces], values=names, limit="Simple Features", action="quarantine")
    findings.add("geometry.unreadable", rows[~surfaces])


def swap(shapes: Shapes) -> Shapes:
    """Exchange x and y: the paper convention has X = north."""
    order = [1, 0, 2] if shapely.has_z(shapes).any() else [1, 0]
    swapped: Shapes = shapely.transform(shapes, lambda coordinates: coordinates[:, order], include_z=len(order) == 3)
    return swapped


def finite(shapes: Shapes, findings: Findings) -> Shapes:
    """Take away what has a NaN or infinite coordinate: a box does not show it, so each coordinate is asked."""
    bad = _not_finite(shapes)
    findings.add("geometry.not_finite", bad)
    return _without(shapes, bad)


def reachable(shapes: Shapes, where: Placement, findings: Findings) -> Shapes:
    """Take away what a projection has no coordinates for: it lies a quarter of the Earth away."""
    bad = _not_finite(shapes)
    findings.add("place.outside", bad, value=1, limit=f"EPSG:{where.grid}", action="quarantine")
    return _without(shapes, bad)


def _not_finite(shapes: Shapes) -> NDArray[np.intp]:
    if np.isfinite(shapely.get_coordinates(shapes)).all():
        return np.empty(0, dtype=np.intp)
    coordinates, owner = shapely.get_coordinates(shapes, return_index=True)
    bad: NDArray[np.intp] = np.unique(owner[~np.isfinite(coordinates).all(axis=1)])
    return bad


def _without(shapes: Shapes, rows: NDArray[np.intp]) -> Shapes:
    if len(rows):
        shapes = shapes.copy()
        shapes[rows] = None
    return shapes


def bounded(shapes: Shapes, where: Placement, findings: Findings) -> Shapes:
    """Take away what has more vertices than can be examined; one such feature must not hold up the delivery."""
    rule = "geometry.too_many_vertices"
    check = findings.check(rule)
    limit = (RULES[rule].tolerance or np.inf) if check is None else check.bound
    count = shapely.get_num_coordinates(shapes)
    rows = np.flatnonzero(count > limit)
    if not len(rows):
        return shapes
    findings.add(rule, rows, values=count[rows], limit=limit, places=where.to_wgs84(middles(shapes[rows])))
    return _without(shapes, rows) if findings.action(rule) != "warn" else shapes


def bounds_of(shapes: Shapes) -> Box | None:
    if shapely.is_missing(shapes).all():
        return None
    west, south, east, north = shapely.total_bounds(shapes).tolist()
    return west, south, east, north


def conform(shapes: Shapes, contract: Geometry, findings: Findings) -> tuple[Shapes, Mask]:
    """Bring geometry to the promised type. Returns it and which features the contract lets go (on_other_type: drop)."""
    wanted = NAMES.index(contract.type)
    shapes = _open_collections(shapes, FAMILY[wanted])
    types = shapely.get_type_id(shapes)
    there = types >= 0
    other = there & (FAMILY[np.maximum(types, 0)] != FAMILY[wanted])
    plural = contract.type.startswith("Multi")
    shapes, too_many = _promote(shapes, contract.type) if plural else _single(shapes, there & ~other)
    wrong = np.flatnonzero(other | too_many)
    names = [NAMES[types[row]] for row in wrong]
    drop = contract.on_other_type == "drop"
    if drop:
        findings.add("geometry.type", wrong, values=names, limit=contract.type, action="warn", severity="info")
    else:
        action: Any = contract.on_other_type
        findings.add("geometry.type", wrong, values=names, limit=contract.type, action=action)
    dropped = (other | too_many) if drop else np.zeros(len(shapes), dtype=bool)
    shapes[other | too_many] = None
    return shapes, dropped


def _open_collections(shapes: Shapes, family: int) -> Shapes:
    """Make a collection whose parts are all of one family the multi-geometry it is (KML exports wrap so)."""
    rows = np.flatnonzero(shapely.get_type_id(shapes) == COLLECTION)
    if not len(rows):
        return shapes
    parts, owner = shapely.get_parts(shapes[rows], return_index=True)
    parts, inner = shapely.get_parts(parts, return_index=True)
    owner = owner[inner]
    alien = np.zeros(len(rows), dtype=bool)
    np.logical_or.at(alien, owner, FAMILY[shapely.get_type_id(parts)] != family)
    keep = ~alien[owner]
    make = MULTI[("Point", "LineString", "Polygon")[family]]
    if keep.any():
        whole = np.flatnonzero(np.isin(np.arange(len(rows)), owner[keep]))
        made = make(parts[keep], indices=np.searchsorted(whole, owner[keep]))
        shapes = shapes.copy()
        shapes[rows[whole]] = made
    return shapes


def _promote(shapes: Shapes, wanted: str) -> tuple[Shapes, Mask]:
    single = wanted.removeprefix("Multi")
    rows = np.flatnonzero(shapely.get_type_id(shapes) == NAMES.index(single))
    shapes = shapes.copy()
    if len(rows):
        shapes[rows] = MULTI[single](shapes[rows], indices=np.arange(len(rows)))
    return shapes, np.zeros(len(shapes), dtype=bool)


def _single(shapes: Shapes, ours: Mask) -> tuple[Shapes, Mask]:
    """Take multi-geometries of one part for that part; tell those of several."""
    multi = ours & (shapely.get_type_id(shapes) >= 4)
    parts = shapely.get_num_geometries(shapes)
    shapes = shapes.copy()
    shapes[multi & (parts == 1)] = shapely.get_geometry(shapes[multi & (parts == 1)], 0)
    return shapes, multi & (parts > 1)


def place(shapes: Shapes, where: Placement) -> tuple[Shapes, Shapes]:
    """Bring shapes to the grid. Returns the master, and longitude and latitude where the file has them itself (else
    None for all): a file in WGS 84 made with the official operation is not sent there and back."""
    if where.kept:
        return shapes, np.full(len(shapes), None, dtype=object)
    master = _carried(shapes, where.to_master)
    official = where.used == 4326 and where.operation in (None, 6960)
    return master, shapes if official else np.full(len(shapes), None, dtype=object)


def _carried(shapes: Shapes, way: Callable[[Coordinates], Coordinates]) -> Shapes:
    """Shapes with their coordinates brought elsewhere, each place once: parcels share most of theirs with neighbours,
    and to find them takes an eighth of the time that PROJ takes."""

    def each(xy: Coordinates) -> Coordinates:
        places, numbers = distinct(xy)
        return way(places)[numbers]

    carried: Shapes = shapely.transform(shapes, each)
    return carried


def distinct(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The different ones among the rows of (n, k) numbers, by their bits, and for each row the number of its kind:
    hashed by Arrow, in a quarter of the time that sorting takes."""
    width = rows.shape[1]
    whole = pa.py_buffer(np.ascontiguousarray(rows))
    coded = pa.Array.from_buffers(pa.binary(8 * width), len(rows), [None, whole]).dictionary_encode()
    kinds = np.frombuffer(coded.dictionary.buffers()[1] or b"", np.float64).reshape(-1, width)
    return kinds, np.asarray(coded.indices)


def lonlat(shapes: Shapes, where: Placement) -> Shapes:
    """Longitude and latitude of shapes in the grid for showing them; None where they have none."""
    made = _carried(shapes, where.to_wgs84)
    return _without(made, _not_finite(made))


def to_wgs84(master: Shapes, known: Shapes, where: Placement, findings: Findings) -> Shapes:
    """Longitude and latitude of the master, by the official operation; `known` is taken where it is given."""
    rows = np.flatnonzero(shapely.is_missing(known) & ~shapely.is_missing(master))
    made = known.copy()
    made[shapely.is_missing(master)] = None
    if len(rows):
        derived = _carried(master[rows], where.to_wgs84)
        made[rows] = derived
        made = reachable(made, where, findings)
    # The projection bends edges, so a ring that touches itself in the grid may cross itself in degrees by a hair.
    broken = np.flatnonzero(~valid(made) & ~shapely.is_missing(made))
    if len(broken):
        types = shapely.get_type_id(made[broken])
        mended = _retype(shapely.make_valid(made[broken], method="structure", keep_collapsed=False), types)
        flat = shapely.is_empty(mended)  # a line there and back, which the grid alone bends open
        lost = broken[flat & ~findings.quarantined[broken]]
        reasons, places = _faults(made[lost])
        findings.add("geometry.invalid", lost, values=reasons, places=places, action="quarantine")
        made[broken[types == shapely.get_type_id(mended)]] = mended[types == shapely.get_type_id(mended)]
        made[broken[flat]] = None
    return made


def repair(
    master: Shapes, contract: Geometry, where: Placement, findings: Findings, lone: Mask
) -> NDArray[np.intp]:  # fmt: skip
    """Make invalid geometry valid in place, or mark it, as the contract says. Returns the rows that were changed. lone:
    what is known to be valid.

    A repair is a change of a boundary: one that changes the area (for lines the length) by more than the contract's
    percentage is not made, and the feature goes to quarantine.
    """
    rows = np.flatnonzero(~told(master, np.flatnonzero(lone)) & ~shapely.is_missing(master))
    if not len(rows):
        return rows
    reasons, spots = _faults(master[rows])
    places = where.to_wgs84(spots)
    if contract.on_invalid != "repair":
        action: Any = contract.on_invalid
        findings.add("geometry.invalid", rows, values=reasons, places=places, action=action)
        none: NDArray[np.intp] = rows[:0]
        return none
    types = shapely.get_type_id(master[rows])
    made = _retype(shapely.make_valid(master[rows], method="structure", keep_collapsed=False), types)
    change = changed_by(master[rows], made)
    good = (shapely.get_type_id(made) == types) & (change <= contract.repair_tolerance) & ~shapely.is_empty(made)
    findings.add("geometry.repaired", rows[good], values=np.round(change[good], 6), others=reasons[good],
                 limit=contract.repair_tolerance, places=places[good])  # fmt: skip
    findings.add("geometry.invalid", rows[~good], values=reasons[~good], others=np.round(change[~good], 6),
                 limit=contract.repair_tolerance, places=places[~good], action="quarantine")  # fmt: skip
    master[rows[good]] = made[good]
    repaired: NDArray[np.intp] = rows[good]
    return repaired


def _faults(shapes: Shapes) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Why each is invalid in GEOS's words (`sdi.contract.reasons` has the Vietnamese), and where, in their own grid."""
    told = [text.rstrip("]").split("[", 1) for text in shapely.is_valid_reason(shapes)]
    reasons = np.array([each[0].strip() for each in told], dtype=object)
    spots = middles(shapes)
    for number, each in enumerate(told):
        if len(each) == 2:
            spots[number] = [float(value) for value in each[1].split()[:2]]
    return reasons, spots


def _retype(made: Shapes, types: NDArray[np.int32]) -> Shapes:
    """make_valid answers Polygon or MultiPolygon as it comes; give back the type that was there."""
    made = made.copy()
    for multi, single in ((4, 0), (5, 1), (6, 3)):
        promote = np.flatnonzero((types == multi) & (shapely.get_type_id(made) == single))
        if len(promote):
            made[promote] = MULTI[NAMES[single]](made[promote], indices=np.arange(len(promote)))
        one = (types == single) & (shapely.get_type_id(made) == multi) & (shapely.get_num_geometries(made) == 1)
        made[one] = shapely.get_geometry(made[one], 0)
    return made


def changed_by(old: Shapes, new: Shapes) -> NDArray[np.float64]:
    """Percent by which area (lines: length) changed; infinite where there was none before and is some now."""
    line = FAMILY[shapely.get_type_id(old)] == 1
    before = np.where(line, shapely.length(old), shapely.area(old))
    after = np.where(line, shapely.length(new), shapely.area(new))
    with np.errstate(divide="ignore", invalid="ignore"):
        change = 100.0 * np.abs(after - before) / np.abs(before)  # a hole larger than its shell makes an area negative
    percent: NDArray[np.float64] = np.where(before == after, 0.0, change)
    return percent


def middles(shapes: Shapes) -> NDArray[np.float64]:
    """(n, 2) a point of each geometry's box's middle; NaN without geometry."""
    west, south, east, north = shapely.bounds(shapes).T
    return np.column_stack([(west + east) / 2, (south + north) / 2])


def ewkb(shapes: Shapes, srid: int) -> pa.Array:
    """Little-endian EWKB with the SRID, null where there is no geometry."""
    return _with_srid(pa.array(shapely.to_wkb(shapes, byte_order=1, output_dimension=2), pa.binary()), srid)


_RING = np.frombuffer(bytes.fromhex("010300000001000000"), np.uint8)
"""How little-endian WKB of a polygon of one ring begins; the count of its points follows."""
_MULTI = bytes.fromhex("010600000001000000")
"""Before it in a multipolygon of that polygon."""
_HEAD = np.concatenate([np.frombuffer(_MULTI, np.uint8), _RING])


def ewkb_of_delivered(
    shapes: Shapes, promised: Shapes, delivered: Shapes, column: pa.ChunkedArray, srid: int
) -> pa.Array:  # fmt: skip
    """`ewkb`, from the file's own bytes for shapes that are as they were read from them and whose bytes are what would
    be written: parcels mostly are. promised: what `conform` made of those delivered, where they lie as they did, else
    those themselves. column: the WKB that `delivered` was read from, of the same length."""
    wkb = column.combine_chunks().cast(pa.large_binary())
    offsets = np.frombuffer(wkb.buffers()[1], np.int64)[wkb.offset : wkb.offset + len(wkb) + 1]
    data = np.frombuffer(wkb.buffers()[2] or b"", np.uint8)
    whole = _as_written(_alike(shapes, delivered), _HEAD, shapes, wkb, offsets, data)
    single = (shapely.get_type_id(shapes) == NAMES.index("MultiPolygon")) & _alike(shapes, promised) & ~whole
    single = _as_written(single, _RING, shapes, wkb, offsets, data)
    same = whole | single
    if not same.any():
        return ewkb(shapes, srid)
    made = wkb.cast(pa.binary())
    if not same.all():
        others = pa.array(shapely.to_wkb(shapes[~same], byte_order=1, output_dimension=2), pa.binary())
        made = pc.replace_with_mask(made, pa.array(~same), others)
    return _with_srid(made, srid, single)


def _alike(one: Shapes, two: Shapes) -> Mask:
    """Where they are the same objects."""
    return np.fromiter(map(is_, one, two), dtype=bool, count=len(one))


def _as_written(
    which: Mask, head: NDArray[np.uint8], shapes: Shapes, wkb: pa.Array, offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
) -> Mask:  # fmt: skip
    """Of these, those whose bytes begin so and hold the points of their shapes and nothing else."""
    points = shapely.get_num_coordinates(shapes)
    which = which & np.asarray(wkb.is_valid()) & (points > 0)  # a ring without points is no geometry
    which &= np.diff(offsets) == len(head) + 4 + 16 * points
    rows = np.flatnonzero(which)
    which[rows] = (data[offsets[rows, None] + np.arange(len(head))] == head).all(axis=1)
    return which


def _with_srid(column: pa.Array, srid: int, single: Mask | None = None) -> pa.Array:
    """Put the SRID into little-endian WKB: a flag in the type's highest byte, and four bytes after it. A GEOS geometry
    would be copied to be given one. single: polygons, which become multipolygons."""
    offsets = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1)
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    code = np.frombuffer(np.uint32(srid).tobytes(), np.uint8)
    head = np.concatenate([np.frombuffer(_MULTI[:5], np.uint8), code, np.frombuffer(_MULTI[5:], np.uint8)])
    there = offsets[1:] > offsets[:-1]
    single = np.zeros(len(column), dtype=bool) if single is None else single
    more = np.where(single, len(head), 4 * there)
    moved = offsets - offsets[0] + np.concatenate([[0], np.cumsum(more)]).astype(np.int32)
    starts, wrapped = moved[:-1][there & ~single], moved[:-1][single]
    places, heads = starts[:, None] + np.arange(5, 9), wrapped[:, None] + np.arange(len(head))
    made = np.empty(moved[-1], np.uint8)
    old = np.ones(len(made), dtype=bool)
    old[places] = old[heads] = False
    made[old] = data
    made[places], made[heads] = code, head
    made[starts + 4] |= 0x20
    made[wrapped + 4] |= 0x20
    return pa.Array.from_buffers(
        pa.binary(), len(column), [column.buffers()[0], pa.py_buffer(moved), pa.py_buffer(made)], column.null_count
    )
