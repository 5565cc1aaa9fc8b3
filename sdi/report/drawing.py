"""The map of a report as SVG: marks of findings over the features' outlines, in the layer's own grid, true to scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil, floor, log10

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from sdi.contract.quality import COLOURS
from sdi.national import vn2000
from sdi.report.account import Account, Box, Outline

WIDTH, HEIGHT = 720.0, 430.0
LEFT, BOTTOM = 26.0, 20.0
"""Margins that the grid's coordinates stand in."""
LEAST = 60.0
"""Metres across that a map shows at least."""
NUMBERED = 60
"""Marks that carry the number of their line in the list; more would hide the map."""

_HELD = 'fill="#c0392b" fill-opacity="0.16" stroke="#a32a1d" stroke-width="1.1"'
_GOOD = 'fill="#e9efec" stroke="#8fa39c" stroke-width="0.45"'
_LINES = {"held": 'fill="none" stroke="#a32a1d" stroke-width="1.6"', "good": 'fill="none" stroke="#8fa39c"'}


def places(account: Account, lonlat: Iterable[tuple[float, float]]) -> NDArray[np.float64]:
    """(n, 2) metres east and north in the layer's grid, of longitudes and latitudes."""
    points = np.array(list(lonlat), dtype=np.float64).reshape(-1, 2)
    return vn2000.from_wgs84(points, account.grid) if len(points) else points


def draw(account: Account, numbers: dict[int, int]) -> tuple[Markup, int]:
    """The SVG element, and how many marks lie beyond its frame. `numbers`: index of a listed finding -> its number.

    The frame holds the findings and the features in quarantine; where there are none, the features.
    """
    marks = places(account, ((mark.lon, mark.lat) for mark in account.marks))
    frame = _frame(account, marks)
    if frame is None:
        return Markup(""), 0
    sheet = _Sheet(frame)
    parts = [sheet.ground(), sheet.grid()]
    parts += [sheet.outline(each) for each in account.outlines if not each.held]
    parts += [sheet.outline(each) for each in account.outlines if each.held]
    parts += sheet.marks(marks, [mark.severity for mark in account.marks], crowded=len(numbers) == 0)
    listed = [(number, account.findings[index]) for index, number in numbers.items()]
    spots = places(account, (each.place for _, each in listed if each.place is not None))
    parts += [sheet.number(spot, each.severity, number) for spot, (number, each) in zip(spots, listed, strict=True)]
    parts += [sheet.border(), sheet.scale_bar(), _NORTH]
    beyond = sum(1 for mark in marks if not sheet.holds(mark))
    head = Markup('<svg class="map" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:g} {:g}" role="img">')
    return head.format(WIDTH, HEIGHT) + Markup("").join(parts) + Markup("</svg>"), beyond


def _frame(account: Account, marks: NDArray[np.float64]) -> Box | None:
    """West, south, east, north in metres, in the shape of the sheet. A few strays do not make all the rest a dot."""
    held = [point for each in account.outlines if each.held for ring in each.rings for point in ring]
    points = np.concatenate([marks, np.array(held, dtype=np.float64).reshape(-1, 2)])
    if not len(points):
        every = [point for each in account.outlines for ring in each.rings for point in ring]
        points = np.array(every, dtype=np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return None
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    if len(points) >= 20:
        low, high = np.percentile(points, [2, 98], axis=0)
        reach = 3 * (high - low) + LEAST
        near = points[((points >= low - reach) & (points <= high + reach)).all(axis=1)]
        (west, south), (east, north) = near.min(axis=0), near.max(axis=0)
    inner_width, inner_height = WIDTH - LEFT, HEIGHT - BOTTOM
    metres = max((east - west) * 1.16 / inner_width, (north - south) * 1.16 / inner_height, LEAST / inner_width)
    x, y = (west + east) / 2, (south + north) / 2
    half_width, half_height = metres * inner_width / 2, metres * inner_height / 2
    return float(x - half_width), float(y - half_height), float(x + half_width), float(y + half_height)


class _Sheet:
    """From metres in the grid to the drawing."""

    def __init__(self, frame: Box) -> None:
        self.west, self.south, self.east, self.north = frame
        self.scale = (WIDTH - LEFT) / (self.east - self.west)

    def at(self, east: float, north: float) -> tuple[float, float]:
        return LEFT + (east - self.west) * self.scale, (self.north - north) * self.scale

    def holds(self, point: NDArray[np.float64]) -> bool:
        east, north = map(float, point)
        return self.west <= east <= self.east and self.south <= north <= self.north

    def ground(self) -> Markup:
        frame = (LEFT, WIDTH - LEFT, HEIGHT - BOTTOM)
        return Markup(
            '<defs><clipPath id="frame"><rect x="{0:g}" y="0" width="{1:g}" height="{2:g}"/></clipPath></defs>'
            '<rect x="{0:g}" y="0" width="{1:g}" height="{2:g}" fill="#fbfcfb"/>'
        ).format(*frame)

    def border(self) -> Markup:
        return Markup(
            '<rect x="{:g}" y="0.5" width="{:g}" height="{:g}" fill="none" stroke="#1d2b33" stroke-width="1"/>'
        ).format(LEFT, WIDTH - LEFT - 0.5, HEIGHT - BOTTOM - 0.5)

    def grid(self) -> Markup:
        """Lines of round coordinates, told at the edges: E below, N beside."""
        step = _round_step((self.east - self.west) / 9)
        parts = []
        for value in _steps(self.west, self.east, step):
            x, _ = self.at(value, 0)
            parts.append(_line(x, 0, x, HEIGHT - BOTTOM))
            if LEFT + 30 < x < WIDTH - 30:
                parts.append(_coordinate(x, HEIGHT - 6, value))
        for value in _steps(self.south, self.north, step):
            _, y = self.at(0, value)
            parts.append(_line(LEFT, y, WIDTH, y))
            if 40 < y < HEIGHT - BOTTOM - 30:
                parts.append(Markup('<g transform="translate({:.1f},{:.1f}) rotate(-90)">{}</g>').format(
                    15, y, _coordinate(0, 0, value)))  # fmt: skip
        return Markup('<g font-size="10" fill="#5b6b75">{}</g>').format(Markup("").join(parts))

    def outline(self, outline: Outline) -> Markup:
        """A feature's shape. What is smaller than a dot of the drawing is still drawn as one."""
        look = _HELD if outline.held else _GOOD
        if outline.kind == "point":
            points = [self.at(*ring[0]) for ring in outline.rings]
            circles = (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 if outline.held else 1.6}" {look}/>' for x, y in points
            )
            return Markup('<g clip-path="url(#frame)">{}</g>').format(Markup("".join(circles)))
        if outline.kind == "line":
            look = _LINES["held" if outline.held else "good"]
        close = "Z" if outline.kind == "polygon" else ""
        path = "".join(
            f"M{' '.join(f'{x:.1f},{y:.1f}' for x, y in (self.at(*point) for point in ring))}{close}"
            for ring in outline.rings
        )
        return Markup('<path clip-path="url(#frame)" d="{}" fill-rule="evenodd" stroke-linejoin="round" {}/>').format(
            path, Markup(look)
        )

    def marks(self, points: NDArray[np.float64], severities: list[str], *, crowded: bool) -> Iterator[Markup]:
        """Dots, the gravest on top; where there are many, small and clear, so that their density is seen."""
        radius = 2.4 if len(points) > 400 else 3.2 if crowded else 4.2
        opacity = 0.45 if len(points) > 1500 else 0.75
        for severity in ("info", "warning", "error"):
            dots = "".join(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'
                for (x, y), own in zip((self.at(*map(float, point)) for point in points), severities, strict=True)
                if own == severity
            )
            if dots:
                yield Markup(
                    '<g clip-path="url(#frame)" fill="{}" fill-opacity="{:g}" stroke="#fff" stroke-width="0.6">{}</g>'
                ).format(COLOURS[severity], opacity, Markup(dots))

    def number(self, point: NDArray[np.float64], severity: str, number: int) -> Markup:
        """A mark with the number of its line in the list."""
        if not self.holds(point):
            return Markup("")
        x, y = self.at(*map(float, point))
        return Markup(
            '<g><circle cx="{0:.1f}" cy="{1:.1f}" r="8" fill="{2}" stroke="#fff" stroke-width="1.2"/><text x="{0:.1f}"'
            ' y="{3:.1f}" font-size="9" font-weight="700" fill="#fff" text-anchor="middle">{4}</text></g>'
        ).format(x, y, COLOURS[severity], y + 3.2, number)

    def scale_bar(self) -> Markup:
        """A bar of 1, 2 or 5 × 10ⁿ metres in two halves, about a fifth of the width."""
        length = _round_step((self.east - self.west) / 5, down=True)
        pixels, y = length * self.scale, HEIGHT - BOTTOM - 16
        shown = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
        return Markup(
            '<g font-size="11" fill="#1d2b33"><rect x="{x0:.1f}" y="{y0:.1f}" width="{w:.1f}" height="26" rx="3"'
            ' fill="#fff" fill-opacity="0.9"/><rect x="{x:.1f}" y="{y:.1f}" width="{half:.1f}" height="5"/>'
            '<rect x="{x:.1f}" y="{y:.1f}" width="{full:.1f}" height="5" fill="none" stroke="#1d2b33"/>'
            '<text x="{end:.1f}" y="{text:.1f}">{shown}</text></g>'
        ).format(x0=LEFT + 7, y0=y - 12, w=pixels + 76, x=LEFT + 14, y=y, half=pixels / 2, full=pixels,
                 end=LEFT + 20 + pixels, text=y + 6, shown=shown)  # fmt: skip


_NORTH = Markup(
    '<g transform="translate({},40)"><circle r="26" cy="-4" fill="#fff" fill-opacity="0.88"/>'
    '<path d="M0,-26 L8,8 L0,2 L-8,8 Z" fill="#1d2b33"/>'
    '<text y="19" font-size="12" font-weight="700" text-anchor="middle" fill="#1d2b33">B/N</text></g>'
).format(WIDTH - 36)


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<path d="M{:.1f},{:.1f}L{:.1f},{:.1f}" stroke="#d3dcd8" stroke-width="0.6"/>').format(x1, y1, x2, y2)


def _coordinate(x: float, y: float, value: float) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(x, y, metres(value, 0))


def metres(value: float, decimals: int = 2) -> str:
    """A coordinate in groups of three, as surveyors write it: `2 326 366.51`."""
    return f"{value:,.{decimals}f}".replace(",", "\u202f")


def _round_step(wanted: float, *, down: bool = False) -> float:
    """1, 2 or 5 × 10ⁿ, the next above or (`down`) below."""
    power = 10.0 ** floor(log10(wanted))
    steps = [step * power for step in (1, 2, 5, 10)]
    return max(step for step in steps if step <= wanted) if down else min(step for step in steps if step >= wanted)


def _steps(low: float, high: float, step: float) -> Iterator[float]:
    for number in range(ceil(low / step), floor(high / step) + 1):
        yield number * step
