"""Control points: places known in a VN-2000 grid and in WGS 84 tell by which operation a file's maker converted.

Two operations are in use and differ by 0.7 to 0.8 m, so a file in WGS 84 does not tell by itself; a few points do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from sdi.contract.delivery import Request
from sdi.contract.report import Finding
from sdi.errors import SourceError
from sdi.ingest.source import WKB, Limits, read
from sdi.national import text, vn2000

TELLING = 0.3
"""Metres: how much better the best operation must fit than the delivered one; they differ by 0.69 m or more."""
_AXES = {"x": ("x", "xm", "toadox", "xvn2000"), "y": ("y", "ym", "toadoy", "yvn2000")}


@dataclass(frozen=True)
class Fit:
    """How well each operation fits: (EPSG code, median residual in metres), the best first."""

    points: int
    grid: int
    operations: tuple[tuple[int, float], ...]

    def finding(self, delivered: int) -> Finding | None:
        """What a steward should know when the points fit another operation than the delivered one."""
        residuals = dict(self.operations)
        best, residual = self.operations[0]
        if best == delivered or residuals[delivered] - residual < TELLING:
            return None
        other = f"{residual:.3f} m / {residuals[delivered]:.3f} m, n = {self.points}"
        return Finding("place.operation", "warning", "warn", value=best, limit=delivered, other=other)


def fit_control_points(request: Request, limits: Limits | None = None) -> Fit:
    """Read a file of points in WGS 84 with their VN-2000 coordinates in columns X and Y (metres), in either order.

    `request.grid` names the grid of the columns; None: every TM-3 grid is tried and the best fit kept.
    Raises SourceError.
    """
    table = read(request, limits).table
    columns = {axis: _column(table, names) for axis, names in _AXES.items()}
    points = shapely.from_wkb(np.asarray(table[WKB].to_pylist(), dtype=object), on_invalid="ignore")
    lonlat = np.column_stack([shapely.get_x(points), shapely.get_y(points)])
    plane = np.column_stack([columns["x"], columns["y"]])
    whole = np.isfinite(lonlat).all(axis=1) & np.isfinite(plane).all(axis=1)
    if whole.sum() < 3:
        raise SourceError(f"{request.path.name} has {whole.sum()} control points with both coordinates; 3 are needed.")
    lonlat, plane = lonlat[whole], plane[whole]
    grids = [request.grid] if request.grid else [code for code, grid in vn2000.GRIDS.items() if grid.kind == "tm3"]
    # On paper X is the northing; both orders are tried, the wrong one is off by hundreds of kilometres.
    trials = [(code, order) for code in grids for order in (plane, plane[:, ::-1])]
    fits = [(vn2000.fit_operation(order, code, lonlat), code) for code, order in trials]
    operations, grid = min(fits, key=lambda fit: fit[0][0][1])
    return Fit(int(whole.sum()), grid, tuple(operations))


def _column(table: pa.Table, names: tuple[str, ...]) -> np.ndarray:
    found = [column for column in table.column_names if text.fold(column) in names]
    if len(found) != 1:
        raise SourceError(
            f"The control points need one column {names[0].upper()} with VN-2000 metres.",
            hint=f"The file has: {', '.join(name for name in table.column_names if name != WKB)}.",
        )
    column = table[found[0]]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.replace_substring(pc.utf8_trim_whitespace(column), ",", ".")
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
