"""Streets and blocks: ground is split again and again by bent streets that narrow from boulevards to hẻm."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely import LineString, Polygon
from shapely.ops import substring

from sdi.demo.site import Site, curve


@dataclass(frozen=True)
class Fabric:
    """How a part of the city grew."""

    name: str
    turn: float
    """Standard deviation of a street's direction, degrees."""
    bend: float
    """Sideways wander of a street, share of its length."""
    frontage: float
    """Usual width of a plot, metres."""
    spread: float
    """Sigma of the plot widths' logarithm."""
    depth: float
    """A block stays whole when it is narrower than two of these."""
    length: float
    """A block stays whole when it is shorter."""
    dead_ends: float
    """Share of alleys that end inside the block."""


FABRICS = (
    Fabric("old_quarter", 7, 0.020, 3.9, 0.26, 19.5, 75, 0.15),
    Fabric("village", 14, 0.055, 4.8, 0.38, 17.0, 62, 0.55),
    Fabric("collective", 6, 0.012, 4.3, 0.22, 17.0, 80, 0.25),
    Fabric("planned", 2, 0.003, 5.2, 0.10, 17.5, 110, 0.0),
    Fabric("field", 5, 0.02, 17.0, 0.30, 45.0, 130, 0.0),
)
VILLAGE, FIELD = 1, 4
WIDTHS = ((50e4, 24.0), (20e4, 15.0), (6e4, 11.0), (2.2e4, 6.5), (0.8e4, 3.8), (0.0, 2.5))
"""Ground of at least so many m² is split by a street so wide; the index is the street's level."""


@dataclass
class Node:
    """A piece of ground; a leaf is a block of plots."""

    polygon: Polygon
    parent: int
    commune: int
    ward: int
    """The old commune, before 1 July 2025."""
    fabric: int
    children: list[int] = field(default_factory=list)
    street: int = -1
    """The street that splits it."""
    use: str = ""
    """What it was reserved for as a whole: a park, a school."""
    gone: bool = False


@dataclass
class Street:
    line: LineString
    width: float
    level: int
    commune: int
    node: int = -1
    gone: bool = False


@dataclass
class Fabricated:
    nodes: list[Node]
    streets: list[Street]

    def blocks(self) -> list[int]:
        return [i for i, node in enumerate(self.nodes) if not node.gone and not node.children and not node.use]

    def prune(self, index: int, use: str) -> list[int]:
        """Reserve a node as a whole: what lies below it was never built. Returns the nodes that are gone."""
        below = list(self.nodes[index].children)
        streets = [self.nodes[index].street]
        for child in below:
            self.nodes[child].gone = True
            streets.append(self.nodes[child].street)
            below += self.nodes[child].children
        for street in streets:
            if street >= 0:
                self.streets[street].gone = True
        self.nodes[index].children, self.nodes[index].use = [], use
        return below


def box(polygon: Polygon) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Centre, unit vectors along and across, length and width of the smallest rectangle around."""
    ring = shapely.get_coordinates(shapely.oriented_envelope(polygon))
    if len(ring) < 4:
        return ring[0], np.array([1.0, 0.0]), np.array([0.0, 1.0]), 0.0, 0.0
    a, b = ring[1] - ring[0], ring[2] - ring[1]
    la, lb = float(np.hypot(*a)), float(np.hypot(*b))
    if la < lb:
        a, b, la, lb = b, -a, lb, la
    along = a / la
    return (ring[0] + ring[2]) / 2, along, np.array([-along[1], along[0]]), la, lb


def cutting_line(
    rng: np.random.Generator, polygon: Polygon, *, across: bool, turn: float, bend: float, shift: float = 0.08
) -> LineString:
    """A bent line over the whole polygon, across its long axis or along it."""
    centre, along, aside, length, width = box(polygon)
    axis, normal, reach, slack = (aside, along, width, length) if across else (along, aside, length, width)
    angle = np.radians(np.clip(rng.normal(0, turn), -2 * turn, 2 * turn))
    cos, sin = np.cos(angle), np.sin(angle)
    axis = np.array([axis[0] * cos - axis[1] * sin, axis[0] * sin + axis[1] * cos])
    middle = centre + normal * np.clip(rng.normal(0, shift), -0.16, 0.16) * slack
    count = 9 if reach > 400 else 5
    t = np.linspace(-0.75, 0.75, count) * reach
    wander = np.cumsum(rng.normal(0, bend * reach / np.sqrt(count), count))
    wander -= np.linspace(wander[0], wander[-1], count) + 0.3 * (wander[-1] - wander[0])
    points = middle + t[:, None] * axis + wander[:, None] * np.array([-axis[1], axis[0]])
    return LineString(curve(points, 2) if reach > 150 else points)


def split(polygon: Polygon, line: LineString) -> list[Polygon]:
    faces = shapely.get_parts(shapely.polygonize([shapely.union(polygon.boundary, line)]))
    return [face for face in faces if polygon.contains(face.representative_point())]


def divide(rng: np.random.Generator, site: Site, count: int) -> tuple[list[Polygon], list[LineString]]:
    """Divide the district's outline into `count` communes, with the lines between them."""
    pieces, lines = [site.outline], []
    while len(pieces) < count:
        largest = pieces.pop(int(np.argmax([piece.area for piece in pieces])))
        line = cutting_line(rng, largest, across=True, turn=9, bend=0.05, shift=0.03)
        parts = sorted(split(largest, line), key=lambda part: -part.area)
        if len(parts) != 2:
            pieces.append(largest)
            continue
        lines.append(within(line, largest))
        pieces += parts
    return pieces, lines


def grow(rng: np.random.Generator, polygon: Polygon, commune: int, ward: int, fabric: int, city: Fabricated) -> None:
    """Split a piece of ground into blocks, adding nodes and streets to the city."""
    city.nodes.append(Node(polygon, -1, commune, ward, fabric))
    waiting = [len(city.nodes) - 1]
    while waiting:
        index = waiting.pop()
        node = city.nodes[index]
        style = FABRICS[max(node.fabric, 0)]
        if node.fabric < 0 and node.polygon.area < 5e4:
            node.fabric = int(rng.choice(4, p=(0.27, 0.31, 0.22, 0.20)))
            style = FABRICS[node.fabric]
        parts = _split_by_street(rng, node, index, style, city)
        for part in parts:
            city.nodes.append(Node(part, index, commune, ward, node.fabric))
            node.children.append(len(city.nodes) - 1)
            waiting.append(len(city.nodes) - 1)


def _split_by_street(
    rng: np.random.Generator, node: Node, index: int, style: Fabric, city: Fabricated
) -> list[Polygon]:
    _, _, _, length, width = box(node.polygon)
    too_long, too_wide = length > style.length * rng.uniform(0.85, 1.3), width > 2.25 * style.depth
    if not (too_long or too_wide) or node.polygon.area < 500:
        return []
    across = too_long and (length > 1.25 * width or not too_wide)
    level = next(level for level, (area, _) in enumerate(WIDTHS) if node.polygon.area >= area)
    street_width = WIDTHS[level][1] * rng.uniform(0.85, 1.2)
    if style.name == "planned":
        street_width = max(street_width, 6.5 if across else 5.0)
    line = cutting_line(rng, node.polygon, across=across, turn=style.turn, bend=style.bend)
    halves = split(node.polygon, line)
    if len(halves) < 2:
        return []
    inner = within(line, node.polygon)
    if level >= 4 and rng.random() < style.dead_ends:
        inner = substring(inner, 0, rng.uniform(0.45, 0.8), normalized=True)
    carved = shapely.difference(
        np.array(halves, dtype=object), _lengthen(inner, street_width).buffer(street_width / 2, cap_style="flat")
    )
    parts = [part for part in shapely.get_parts(carved) if part.geom_type == "Polygon" and part.area > 45]
    if not parts:
        return []
    node.street = len(city.streets)
    city.streets.append(Street(inner, street_width, level, node.commune, index))
    return parts


def within(line: LineString, polygon: Polygon) -> LineString:
    """The longest part of a line inside a polygon."""
    parts = [part for part in shapely.get_parts(shapely.intersection(line, polygon)) if part.geom_type == "LineString"]
    return max(parts, key=lambda part: part.length)


def _lengthen(line: LineString, by: float) -> LineString:
    """The line begun `by` metres earlier and ended half of that later, so that its street opens into others."""
    points = shapely.get_coordinates(line)
    first, last = points[0] - points[1], points[-1] - points[-2]
    start = points[0] + first / np.hypot(*first) * by
    return LineString([start, *points, points[-1] + last / np.hypot(*last) * by * 0.5])
