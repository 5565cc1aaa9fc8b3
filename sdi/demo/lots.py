"""Plots: each block becomes one or two rows of tube houses (nhà ống), narrow at the street and deep."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import LineString, Polygon

from sdi.demo.streets import FABRICS, Fabric, Fabricated, box
from sdi.demo.table import Table, from_rows, geometries

SMALLEST = 13.0
"""m²; what is left over in a corner joins the plot beside it."""


def make_lots(rng: np.random.Generator, city: Fabricated) -> Table:
    """Plots of all blocks, and reserved grounds as one plot each.

    Columns: node, use (of a reserved ground), fabric, commune, ward, and the plot's own axes: `ux`, `uy` the unit
    vector along the row, `side` (+1, -1: its street lies to the left or right of that vector; 0: a reserved ground).
    """
    plots: list[Polygon] = []
    rows: list[tuple[int, str, int, int, int, float, float, int]] = []
    for index in city.blocks():
        node = city.nodes[index]
        pieces, along, sides = _plots(rng, node.polygon, FABRICS[node.fabric])
        plots += pieces
        rows += [(index, "", node.fabric, node.commune, node.ward, along[0], along[1], side) for side in sides]
    for index, node in enumerate(city.nodes):
        if node.use and not node.gone:
            _, along, _, _, _ = box(node.polygon)
            plots.append(node.polygon)
            rows.append((index, node.use, node.fabric, node.commune, node.ward, along[0], along[1], 0))
    return from_rows("node use fabric commune ward ux uy side", plots, rows)


def _plots(rng: np.random.Generator, block: Polygon, style: Fabric) -> tuple[list[Polygon], np.ndarray, list[int]]:
    centre, along, aside, length, width = box(block)
    double = width > 1.4 * style.depth or (style.name != "planned" and width > 25)
    count = int(length / style.frontage * 1.6) + 8
    spine = _spine(rng, style, length, width) if double else np.array([[-length, -width], [length, -width]])
    lines = [spine] if double else []
    for side in (1, -1) if double else (1,):
        widths = np.clip(style.frontage * rng.lognormal(0, style.spread, count), 2.7, 4 * style.frontage)
        t = -0.5 * length - rng.uniform(0, 1) * style.frontage + np.cumsum(widths)
        t = t[(t > -0.5 * length + 2.2) & (t < 0.5 * length - 2.2)]
        lean = np.tan(np.radians(rng.normal(0, style.turn / 3) + rng.normal(0, style.turn / 9, len(t))))
        start = np.interp(t, spine[:, 0], spine[:, 1]) - (0.01 * side)
        end = np.full(len(t), side * width)
        lines += list(np.stack([np.column_stack([t, start]), np.column_stack([t + lean * (end - start), end])], axis=1))
    lines = [centre + line[:, :1] * along + line[:, 1:] * aside for line in lines]
    cuts = [LineString(line) for line in lines]  # longer than the block: a cut that ends on its edge would miss it
    faces = shapely.get_parts(shapely.polygonize([shapely.union_all([block.boundary, *cuts])]))
    faces = list(faces[shapely.contains_properly(block, shapely.point_on_surface(faces))])
    faces = [face for face in _absorb(faces) if face.area > 0.5 * SMALLEST]
    middle = shapely.get_coordinates(shapely.centroid(geometries(faces))) - centre
    t, s = middle @ along, middle @ aside
    left = s >= np.interp(t, spine[:, 0], spine[:, 1]) if double else np.ones(len(faces), dtype=bool)
    return faces, along, [1 if value else -1 for value in left]


def _spine(rng: np.random.Generator, style: Fabric, length: float, width: float) -> np.ndarray:
    """The line at which the two rows meet at the back, in the block's own axes."""
    knots = max(3, int(length / (14 if style.name != "planned" else 60)))
    t = np.linspace(-0.55 * length, 0.55 * length, knots)
    return np.column_stack([t, np.clip(rng.normal(0, style.bend * 1.1 * width, knots), -0.15 * width, 0.15 * width)])


def _absorb(faces: list[Polygon]) -> list[Polygon]:
    """Join each face too small or too thin to build on with the neighbour it shares the longest side with."""
    alone: list[Polygon] = []
    while len(faces) > 1:
        areas = shapely.area(geometries(faces))
        small = np.flatnonzero(areas < np.maximum(SMALLEST, 0.55 * shapely.length(geometries(faces))))
        if not len(small):
            break
        shape = faces.pop(int(small[np.argmin(areas[small])]))
        shared = shapely.length(shapely.intersection(geometries(faces), shape))
        best = int(np.argmax(shared))
        joined = shapely.union(faces[best], shape)
        if shared[best] < 0.3 or joined.geom_type != "Polygon":
            alone.append(shape)
        else:
            faces[best] = joined
    return faces + [shape for shape in alone if shape.area > SMALLEST]
