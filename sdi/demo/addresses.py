"""Street names, and house numbers as they are given in Hà Nội: odd and even sides, ngõ and ngách by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from sdi.demo.names import Names
from sdi.demo.streets import Street
from sdi.demo.table import Array, Table, geometries


@dataclass(frozen=True)
class Directory:
    """The streets that exist. Arrays of equal length."""

    lines: Array
    widths: Array
    levels: Array
    """0 boulevard … 3 lane; 4 ngõ; 5 ngách or hẻm."""
    names: Array
    """In full: `phố Hàng Chum`, `ngõ 42 phố Hàng Chum`."""
    prefix: Array
    """What stands before a house number there: `` or `42/`."""


def make_directory(rng: np.random.Generator, streets: list[Street], names: Names) -> Directory:
    """Name the streets: the wide ones from the list, the others by the number at which they leave one."""
    standing = [street for street in streets if not street.gone and street.line.length > 4]
    lines = geometries([street.line for street in standing])
    levels = np.array([street.level for street in standing])
    widths = np.array([street.width for street in standing])
    full, prefix = np.empty(len(lines), dtype=object), np.full(len(lines), "", dtype=object)
    wide = np.flatnonzero(levels <= 3)
    wide = wide[np.lexsort((-shapely.length(lines[wide]), levels[wide]))]
    chosen = rng.permutation(len(names.streets))
    for rank, index in enumerate(wide):
        name = names.streets[chosen[rank % len(chosen)]]
        kind = "đường" if levels[index] <= 1 else "phố"
        full[index] = f"{kind} {name}" if rank < len(chosen) else f"phố {name} {rank // len(chosen) + 1}"
    done = wide
    for level in (4, 5):
        here = np.flatnonzero(levels == level)
        if len(here) and len(done):
            starts = shapely.get_point(lines[here], 0)
            number, parent = _numbers(starts, lines, done)
            full[here] = [
                f"{'ngõ' if not prefix[p] else 'ngách'} {prefix[p]}{n} {_tail(full[p])}"
                for n, p in zip(number, parent, strict=True)
            ]
            prefix[here] = [f"{prefix[p]}{n}/" for n, p in zip(number, parent, strict=True)]
        done = np.concatenate([done, here])
    return Directory(lines, widths, levels, full, prefix)


def _tail(name: str) -> str:
    """The street an alley belongs to: `ngõ 42 phố Hàng Chum` -> `phố Hàng Chum`."""
    for kind in ("phố ", "đường "):
        if kind in name:
            return name[name.index(kind) :]
    return name


def _numbers(points: Array, lines: Array, candidates: Array) -> tuple[Array, Array]:
    """House numbers of points along the nearest street of `candidates`: odd on the left, even on the right."""
    nearest = shapely.STRtree(lines[candidates]).nearest(points)
    street = candidates[nearest]
    distance = shapely.line_locate_point(lines[street], points)
    ahead = shapely.get_coordinates(shapely.line_interpolate_point(lines[street], distance + 1.0))
    behind = shapely.get_coordinates(shapely.line_interpolate_point(lines[street], np.maximum(distance - 1.0, 0)))
    way, off = ahead - behind, shapely.get_coordinates(points) - behind
    left = way[:, 0] * off[:, 1] - way[:, 1] * off[:, 0] > 0
    return (2 * (distance // 4.2).astype(int) + np.where(left, 1, 2)), street


def address_of(parcels: Table, directory: Directory, communes: Array) -> None:
    """Add `street` (index) and `place` (`Số 46, ngõ 261 phố Hàng Chum, Phường Hồ Sen`) to the parcels."""
    front = shapely.point_on_surface(parcels.geometry)
    step = np.column_stack([-parcels["uy"], parcels["ux"]]) * (parcels["side"] * 6.0)[:, None]
    front = shapely.points(shapely.get_coordinates(front) + step)
    number, street = _numbers(front, directory.lines, np.arange(len(directory.lines)))
    parcels["street"] = street
    where = directory.names[street]
    parcels["place"] = np.array(
        [f"Số {n}, {s}, {c}" for n, s, c in zip(number, where, communes, strict=True)], dtype=object
    )
