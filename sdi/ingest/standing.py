"""What a delivery meets: the layer as its store has it, and what the last check between its features found.

Of a delivery that repeats most of the one before, only what changed has to be looked at anew. Which part that is, is
worked out here; how it is looked at, in `checks.between`. Every unsureness leads to a whole check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import date
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from sdi.contract.delivery import Mode
from sdi.ingest import mapped
from sdi.ingest.cast import to_text
from sdi.ingest.checks.anew import Anew
from sdi.ingest.checks.between import grouping, reach_of
from sdi.ingest.checks.neighbourhood import Boxes, InMemory, Neighbourhood
from sdi.ingest.chunk import hashes_of
from sdi.ingest.findings import Mask, Rows
from sdi.ingest.geometry import Shapes
from sdi.ingest.place import Placement
from sdi.ingest.spill import Spill
from sdi.national import vn2000

ROW_HASH = "row_hash"
"""The column in which a feature's digest goes with it."""
MOST = 0.3
"""Share of the features that may have changed; beyond it all are looked at, in less time."""
WINDOWS = 0.8
"""Share of the features that may lie around what changed."""
SEARCHED = 2_000
"""Boxes by which the store is asked for what lies near a delivery, at most."""
MARGIN = 1.0
"""Metres, more than a box in degrees is off when it is brought to a grid by its corners."""


class Checked(Protocol):
    """A whole check that a layer has behind it, under the contract and the checks of today."""

    @property
    def load_id(self) -> int: ...
    def heads(self) -> Iterator[pa.RecordBatch]:
        """id and row_hash of the features that were part of it and stand unchanged since, some at a time."""
        ...

    @property
    def changed(self) -> NDArray[np.float64]:
        """(n, 4) west, south, east, north in degrees: what has changed since by whatever load, as it is and as it was,
        and what was looked at and put into quarantine then."""
        ...

    @property
    def found(self) -> pa.Table:
        """rule, severity, action, attribute, feature, other, value and limit (JSON), longitude, latitude."""
        ...


class Standing(Protocol):
    """A layer in its store. Nobody else loads it meanwhile."""

    def digest(self, rows: pa.RecordBatch) -> pa.Array:
        """16 bytes for the content of each row, by which the store knows it again."""
        ...

    def recognised(self, context: str, day: date) -> tuple[int, Iterable[tuple[bytes, bytes]]] | None:
        """What `recognition.Recognised.of` takes of rows that were read in this way, until this day."""
        ...

    def checked(self, edition: str, grid: int, scope: Sequence[str], most: int) -> Checked | None:
        """The last full delivery of this scope. None: there was none like this one, or more than `most` has changed."""
        ...

    def features(self, ids: pa.Array, names: Sequence[str]) -> pa.Table:
        """Some features: id, geom (EWKB), west, south, east, north (degrees) and attributes as text."""
        ...

    def around(self, boxes: NDArray[np.float64], names: Sequence[str], scope: Sequence[str]) -> pa.Table:
        """What meets boxes, (n, 4) in degrees, and is of none of these values of the layer's scope; as `features`."""
        ...


class Delivered(Neighbourhood, Protocol):
    """A delivery whose features can be met by their ids."""

    @property
    def hashes(self) -> NDArray[np.int64]:
        """Of the ids, as `chunk.hashes_of` makes them."""
        ...

    def heads(self, rows: Rows) -> tuple[pa.Array, pa.Array]:
        """id, as it is stored, and row_hash of rows, which ascend."""
        ...

    def rows_of(self, ids: pa.Array) -> Rows:
        """The first row that has each id, -1: none has it."""
        ...


def known(
    standing: Standing, delivered: Delivered, where: Placement, edition: str, scope: Sequence[str]
) -> Anew | None:  # fmt: skip
    """Compare a full delivery with the last that was checked as a whole; None: nothing of that counts any more."""
    most = int(MOST * delivered.count)
    checked = standing.checked(edition, where.grid, scope, most)
    if checked is None:
        return None
    with closing(_kept(checked.heads())) as heads:
        row_of, met, same = _met(delivered, heads)
        others = np.flatnonzero(~met)
        if len(others) > most:
            return None
        names = heads.some(["id"], others)[0] if len(others) else pa.array([], pa.string())
    were = standing.features(names, grouping(delivered.layer))
    rows = row_of[others[np.asarray(pc.index_in(were["id"], value_set=names))]]
    alike = _alike(delivered, rows, were)
    same[rows[alike]] = True
    same &= delivered.usable
    old = np.column_stack([were.filter(pa.array(~alike))[side] for side in ("west", "south", "east", "north")])
    boxes = delivered.boxes[~same & delivered.usable]
    degrees = np.concatenate([checked.changed.reshape(-1, 4), old.astype(np.float64).reshape(-1, 4)])
    changed = np.concatenate([_in_grid(degrees, where), boxes[np.isfinite(boxes).all(axis=1)]])
    anew = Anew(checked.load_id, changed, _by_row(checked.found, delivered))
    near = anew.near(delivered.boxes, reach_of(delivered.layer) or 0.0)
    return anew if np.count_nonzero(near) <= WINDOWS * delivered.count else None


def _kept(heads: Iterator[pa.RecordBatch]) -> Spill:
    kept = Spill()
    try:
        for some in heads:
            kept.write(some)
        kept.finish()
    except BaseException:
        kept.close()
        raise
    return kept


def _met(delivered: Delivered, heads: Spill) -> tuple[Rows, Mask, Mask]:
    """By head the row that has its id, -1: none; and whether one has that is as it was. By row, whether it is so."""
    theirs = mapped.zeros(heads.count, np.int64)
    for start, (ids,) in zip(heads.starts, heads.in_parts(["id"]), strict=True):
        theirs[start : start + len(ids)] = hashes_of(ids)
    row_of: Rows = mapped.zeros(heads.count, np.intp)
    row_of[:] = -1
    met: Mask = mapped.zeros(heads.count, np.bool_)
    same: Mask = mapped.zeros(delivered.count, np.bool_)
    for mine, others in mapped.beside(delivered.hashes, theirs):
        (names, now), (ids, then) = delivered.heads(mine), heads.some(["id", ROW_HASH], others)
        match = pc.index_in(names, value_set=ids)
        there = np.asarray(match.is_valid())
        head = others[np.asarray(match.drop_null())]
        row_of[head] = mine[there]
        same[mine] = np.asarray(pc.fill_null(pc.equal(now, then.take(match)), False))
        met[head[same[mine[there]] & delivered.usable[mine[there]]]] = True
    return row_of, met, same


def _alike(neighbourhood: Neighbourhood, rows: Rows, were: pa.Table) -> Mask:
    """Which features differ from what they were in nothing that a check between features looks at."""
    alike: Mask = rows >= 0
    alike[alike] = neighbourhood.usable[rows[alike]]
    chosen = np.flatnonzero(alike)
    mine = shapely.to_wkb(neighbourhood.shapes(rows[chosen]), byte_order=1)
    theirs = shapely.to_wkb(_parsed(were["geom"].take(pa.array(chosen))), byte_order=1)
    alike[chosen] = mine == theirs
    for name in grouping(neighbourhood.layer):
        now = to_text(neighbourhood.column(name).take(pa.array(rows[chosen])))
        then = were[name].take(pa.array(chosen)).combine_chunks().cast(now.type)
        alike[chosen] &= np.asarray(pc.equal(pc.fill_null(now, ""), pc.fill_null(then, "")))
    return alike


def _by_row(found: pa.Table, delivered: Delivered) -> pa.Table:
    """Findings with the rows of their features in this delivery, -1 for what is none of it."""
    for name in ("feature", "other"):
        found = found.append_column(f"{name}_row", pa.array(delivered.rows_of(found[name].combine_chunks())))
    return found.filter(pc.greater_equal(found["feature_row"], 0))


# --- what lies around a delivery --------------------------------------------------------------------------------------


def around(
    standing: Standing, delivered: Delivered, where: Placement, mode: Mode, scope: Sequence[str], reach: float,
    ended: Sequence[str] = (),
) -> InMemory | None:  # fmt: skip
    """What the layer has within `reach` metres of the delivered features and keeps whatever they are. `ended`: ids of
    what the delivery says has ended."""
    layer = delivered.layer
    if mode == "full" and layer.load.scope is None:
        return None
    boxes = delivered.boxes[delivered.usable & np.isfinite(delivered.boxes).all(axis=1)]
    if not len(boxes):
        return None
    asked = _in_degrees(_grown(_gathered(boxes), reach), where)
    table = standing.around(asked, grouping(layer), scope if mode == "full" else ())
    table = table.filter(pa.array(delivered.rows_of(table["id"].combine_chunks()) < 0))
    table = table.filter(pc.invert(pc.is_in(table["id"], pa.array(ended, pa.string()))))
    shapes = _brought(_parsed(table["geom"]), where.grid)
    near = _meeting(shapely.bounds(shapes), _grown(boxes, reach))
    if not len(near):
        return None
    table = table.take(pa.array(near))
    columns = {name: table[name].combine_chunks() for name in grouping(layer)}
    return InMemory(layer, shapes[near], np.ones(len(near), dtype=bool), columns, table["id"].to_pylist())


def _meeting(few: Boxes, many: Boxes) -> Rows:
    """Which of a few boxes meet one of many."""
    known = few[np.isfinite(few).all(axis=1)]
    if not len(known):
        return np.empty(0, dtype=np.intp)
    (west, south), (east, north) = known[:, :2].min(axis=0), known[:, 2:].max(axis=0)
    close = (many[:, 0] <= east) & (many[:, 2] >= west) & (many[:, 1] <= north) & (many[:, 3] >= south)
    tree = shapely.STRtree(shapely.box(*few.T))
    return np.unique(tree.query(shapely.box(*many[close].T))[1])


def _gathered(boxes: Boxes) -> Boxes:
    """The boxes, or those of groups of what is near each other where they are many: strips, each cut into as many."""
    if len(boxes) <= SEARCHED:
        return boxes
    cuts = int(np.sqrt(SEARCHED))
    strip = np.empty(len(boxes), dtype=np.intp)
    strip[np.argsort(boxes[:, 0])] = np.arange(len(boxes)) * cuts // len(boxes)
    order = np.lexsort([boxes[:, 1], strip])
    starts = np.arange(cuts * cuts) * len(boxes) // (cuts * cuts)
    low = np.minimum.reduceat(boxes[order, :2], starts)
    return np.concatenate([low, np.maximum.reduceat(boxes[order, 2:], starts)], axis=1)


def _grown(boxes: Boxes, metres: float) -> Boxes:
    grown: Boxes = boxes + metres * np.array([-1, -1, 1, 1])
    return grown


def _parsed(column: pa.ChunkedArray) -> Shapes:
    shapes: Shapes = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    return shapes


def _brought(shapes: Shapes, grid: int) -> Shapes:
    """Geometry in one grid; None for what lies on another datum, which is no neighbour to measure."""
    here = vn2000.grid(grid)
    made = np.full(len(shapes), None, dtype=object)
    srid = shapely.get_srid(shapes)
    for code in np.unique(srid):
        if code == grid:
            made[srid == code] = shapes[srid == code]
        elif vn2000.grid(int(code)).datum == here.datum:
            made[srid == code] = shapely.transform(
                shapes[srid == code], lambda xy, code=code: vn2000.regrid(xy, int(code), grid)
            )
    brought: Shapes = shapely.set_srid(made, 0)
    return brought


def _in_grid(degrees: NDArray[np.float64], where: Placement) -> Boxes:
    """Boxes in degrees as boxes of the grid that hold them."""
    corners = vn2000.from_wgs84(_corners(degrees), where.grid).reshape(-1, 4, 2)
    return _around(corners, MARGIN)


def _in_degrees(boxes: Boxes, where: Placement) -> NDArray[np.float64]:
    """Boxes of the grid as boxes in degrees that hold them."""
    return _around(where.to_wgs84(_corners(_grown(boxes, MARGIN))).reshape(-1, 4, 2), 0.0)


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    corners: NDArray[np.float64] = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
    return corners


def _around(corners: NDArray[np.float64], margin: float) -> Boxes:
    return np.concatenate([corners.min(axis=1) - margin, corners.max(axis=1) + margin], axis=1)
