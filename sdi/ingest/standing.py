"""What a delivery meets: the layer as its store has it, and what the last check between its features found.

Of a delivery that repeats most of the one before, only what changed has to be looked at anew. Which part that is, is
worked out here; how it is looked at, in `checks.between`. Every unsureness leads to a whole check.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from sdi.contract.delivery import Mode
from sdi.ingest.cast import to_text
from sdi.ingest.checks.anew import Anew
from sdi.ingest.checks.between import grouping, reach_of
from sdi.ingest.checks.neighbourhood import Boxes, InMemory, Neighbourhood
from sdi.ingest.findings import Mask, Rows
from sdi.ingest.geometry import Shapes
from sdi.ingest.place import Placement
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
    @property
    def heads(self) -> pa.Table:
        """id and row_hash of the features that were part of it and stand unchanged since."""
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

    def recognised(self, context: str, day: date) -> tuple[bytes, bytes] | None:
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


def known(
    standing: Standing, neighbourhood: Neighbourhood, ids: pa.Array, where: Placement, edition: str,
    scope: Sequence[str],
) -> Anew | None:  # fmt: skip
    """Compare a full delivery with the last that was checked as a whole; None: nothing of that counts any more.

    ids: of its features, as they are stored.
    """
    most = int(MOST * neighbourhood.count)
    checked = standing.checked(edition, where.grid, scope, most)
    if checked is None:
        return None
    match = pc.index_in(ids, value_set=checked.heads["id"].combine_chunks())
    same = _same(match, neighbourhood.column(ROW_HASH), checked.heads[ROW_HASH].combine_chunks())
    head = np.asarray(pc.fill_null(match, -1)).astype(np.intp)
    met = np.zeros(checked.heads.num_rows, dtype=bool)
    met[head[same & neighbourhood.usable]] = True
    others = np.flatnonzero(~met)
    if len(others) > most:
        return None
    were = standing.features(checked.heads["id"].take(pa.array(others)), grouping(neighbourhood.layer))
    row_of = np.full(len(met), -1)
    row_of[head[head >= 0]] = np.flatnonzero(head >= 0)
    rows = row_of[others[np.asarray(pc.index_in(were["id"], value_set=checked.heads["id"].take(pa.array(others))))]]
    alike = _alike(neighbourhood, rows, were)
    same[rows[alike]] = True
    same &= neighbourhood.usable
    old = np.column_stack([were.filter(pa.array(~alike))[side] for side in ("west", "south", "east", "north")])
    boxes = neighbourhood.boxes[~same & neighbourhood.usable]
    degrees = np.concatenate([checked.changed.reshape(-1, 4), old.astype(np.float64).reshape(-1, 4)])
    changed = np.concatenate([_in_grid(degrees, where), boxes[np.isfinite(boxes).all(axis=1)]])
    anew = Anew(checked.load_id, changed, _by_row(checked.found, ids))
    near = anew.near(neighbourhood.boxes, reach_of(neighbourhood.layer) or 0.0)
    return anew if np.count_nonzero(near) <= WINDOWS * neighbourhood.count else None


def _same(match: pa.Array, digests: pa.Array, heads: pa.Array) -> Mask:
    same: Mask = np.asarray(pc.fill_null(pc.equal(digests, heads.take(match)), False))
    return same.copy()


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


def _by_row(found: pa.Table, ids: pa.Array) -> pa.Table:
    """Findings with the rows of their features in this delivery, -1 for what is none of it."""
    for name in ("feature", "other"):
        rows = pc.fill_null(pc.index_in(found[name].combine_chunks(), value_set=ids), -1)
        found = found.append_column(f"{name}_row", rows)
    return found.filter(pc.greater_equal(found["feature_row"], 0))


# --- what lies around a delivery --------------------------------------------------------------------------------------


def around(
    standing: Standing, delivered: Neighbourhood, ids: pa.Array, where: Placement, mode: Mode, scope: Sequence[str],
    reach: float,
) -> InMemory | None:  # fmt: skip
    """What the layer has within `reach` metres of the delivered features and keeps whatever they are."""
    layer = delivered.layer
    if mode == "full" and layer.load.scope is None:
        return None
    boxes = delivered.boxes[delivered.usable & np.isfinite(delivered.boxes).all(axis=1)]
    if not len(boxes):
        return None
    asked = _in_degrees(_grown(_gathered(boxes), reach), where)
    table = standing.around(asked, grouping(layer), scope if mode == "full" else ())
    table = table.filter(pc.invert(pc.is_in(table["id"], value_set=ids)))
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
