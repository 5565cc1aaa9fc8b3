"""A small plan as SVG, to scale and sharp on paper: the subject, its neighbours and what it is related to.

Coordinates are CRS84 laid flat around the plan's middle: over some hundred metres that is true to a millimetre.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import cos, floor, log10, radians
from typing import Any

from markupsafe import Markup

from sdi.contract.layer import Layer

Box = tuple[float, float, float, float]
WIDTH, HEIGHT = 420.0, 350.0
"""Of the drawing, in its own units."""
MARGIN = 0.8
"""Of the subject's size, left around it."""
LEAST = 24.0
"""Metres across that a plan shows at least."""

_SUBJECT = 'fill="#d7301f" fill-opacity="0.12" stroke="#b8231a" stroke-width="2.2"'
_NEIGHBOUR = 'fill="none" stroke="#9aa7ae" stroke-width="0.7"'


def window(geometry: dict[str, Any] | None) -> Box | None:
    """The lon/lat box (w, s, e, n) that a plan of a geometry shows; None where there is no geometry."""
    points = list(_points(geometry["coordinates"])) if geometry else []
    if not points:
        return None
    west, east = min(x for x, _ in points), max(x for x, _ in points)
    south, north = min(y for _, y in points), max(y for _, y in points)
    across, up = _metres(radians((south + north) / 2))
    width, height = (east - west) * across, (north - south) * up
    scale = max(width * (1 + 2 * MARGIN) / WIDTH, height * (1 + 2 * MARGIN) / HEIGHT, LEAST / WIDTH)
    x, y = (west + east) / 2, (south + north) / 2
    dx, dy = WIDTH * scale / across / 2, HEIGHT * scale / up / 2
    return x - dx, y - dy, x + dx, y + dy


def draw(
    window: Box, subject: Layer, feature: dict[str, Any], neighbours: Iterable[dict[str, Any]],
    related: Sequence[tuple[Layer, list[dict[str, Any]]]],
) -> Markup:  # fmt: skip
    """The SVG element. Related features lie below in their layers' colours, largest layers' boxes first."""
    paper = _Paper(window)
    parts = [paper.shape(item["geometry"], _look(layer, item)) for layer, items in related for item in items]
    parts += [paper.shape(each["geometry"], _NEIGHBOUR) for each in neighbours if each["id"] != feature["id"]]
    parts.append(paper.shape(feature["geometry"], _SUBJECT))
    if subject.style.label:
        parts += [
            paper.label(each, subject.style.label, each["id"] == feature["id"]) for each in (*neighbours, feature)
        ]
    parts += [paper.scale_bar(), _NORTH]
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img">').format(WIDTH, HEIGHT)
    return head + Markup("").join(parts) + Markup("</svg>")


class _Paper:
    """From lon/lat to the drawing."""

    def __init__(self, window: Box) -> None:
        west, south, east, north = window
        self._west, self._north, self._window = west, north, window
        self.metres = (east - west) * _metres(radians((south + north) / 2))[0]
        self._x, self._y = WIDTH / (east - west), HEIGHT / (north - south)

    def at(self, point: Sequence[float]) -> tuple[float, float]:
        return (point[0] - self._west) * self._x, (self._north - point[1]) * self._y

    def shape(self, geometry: dict[str, Any] | None, look: str) -> Markup:
        """A geometry as one element."""
        if geometry is None:
            return Markup("")
        if geometry["type"].endswith("Point"):
            circles = (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {look}/>'
                       for x, y in map(self.at, _points(geometry["coordinates"])))  # fmt: skip
            return Markup("".join(circles))
        closed = "Z" if geometry["type"].endswith("Polygon") else ""
        path = "".join(f"M{' '.join(f'{x:.1f},{y:.1f}' for x, y in map(self.at, ring))}{closed}"
                       for ring in _rings(geometry["coordinates"]))  # fmt: skip
        return Markup(f'<path d="{path}" fill-rule="evenodd" stroke-linejoin="round" {look}/>')

    def label(self, feature: dict[str, Any], name: str, strong: bool) -> Markup:
        """The attribute that labels the layer, in the middle of the feature's box where that lies on the plan."""
        text, geometry = feature["properties"].get(name), feature["geometry"]
        if not text or geometry is None:
            return Markup("")
        points = list(_points(geometry["coordinates"]))
        x, y = self.at([(min(column) + max(column)) / 2 for column in zip(*points, strict=True)])
        if not (0 < x < WIDTH and 0 < y < HEIGHT):
            return Markup("")
        look = 'font-size="17" font-weight="700" fill="#8f1710"' if strong else 'font-size="12" fill="#65747c"'
        return Markup(
            '<text x="{:.1f}" y="{:.1f}" text-anchor="middle" dominant-baseline="middle" {}>{}</text>'
        ).format(x, y, Markup(look), text)

    def scale_bar(self) -> Markup:
        """A bar of 1, 2 or 5 × 10ⁿ metres, about a quarter of the width."""
        wanted = self.metres / 4
        power = 10.0 ** floor(log10(wanted))
        length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
        pixels = length / self.metres * WIDTH
        y = HEIGHT - 18
        return Markup(
            '<g font-size="13" fill="#1d2b33"><rect x="12" y="{}" width="{}" height="30" fill="#fff" opacity="0.85"/>'
            '<path d="M18,{} v6 h{:.1f} v-6" fill="none" stroke="#1d2b33" stroke-width="1.6"/>'
            '<text x="{:.1f}" y="{}">{:g} m</text></g>'
        ).format(y - 14, pixels + 62, y - 4, pixels, 18 + pixels + 6, y + 4, length)


_NORTH = Markup(
    '<g transform="translate(396,40)"><path d="M0,-30 L9,8 L0,2 L-9,8 Z" fill="#1d2b33"/>'
    '<text x="0" y="24" font-size="14" text-anchor="middle" fill="#1d2b33">N</text></g>'
)


def _look(layer: Layer, item: dict[str, Any]) -> str:
    style, properties = layer.style, item["properties"] or {}
    colour = style.colours.get(str(properties.get(style.classify))) if style.classify else None
    fill = colour or style.fill or "#7fa7c9"
    if layer.geometry is not None and "LineString" in layer.geometry.type:
        return Markup('fill="none" stroke="{}" stroke-width="2"').format(colour or style.stroke)
    shape = 'fill="{}" fill-opacity="{}" stroke="{}" stroke-width="1"'
    return Markup(shape).format(fill, round(style.opacity * 0.6, 2), style.stroke)


def _metres(latitude: float) -> tuple[float, float]:
    """Metres of a degree of longitude and of latitude on the WGS 84 ellipsoid, latitude in radians."""
    across = 111412.84 * cos(latitude) - 93.5 * cos(3 * latitude) + 0.118 * cos(5 * latitude)
    return across, 111132.92 - 559.82 * cos(2 * latitude) + 1.175 * cos(4 * latitude)


def _rings(coordinates: Any) -> Iterator[Any]:
    """The lists of points in nested coordinates."""
    if coordinates and isinstance(coordinates[0][0], int | float):
        yield coordinates
    else:
        for part in coordinates:
            yield from _rings(part)


def _points(coordinates: Any) -> Iterator[tuple[float, float]]:
    if coordinates and isinstance(coordinates[0], int | float):
        yield coordinates[0], coordinates[1]
    else:
        for part in coordinates:
            yield from _points(part)
