"""What a tileset shows at which zoom: of each layer from a zoom on at which a tile does not hold too much of it.

A tile's cost is that of the features in it. How many those are is estimated from the layer's count and extent, which
its publication knows as far as who asks sees it; where a tile would have to look at more than SEARCHED, the layer is
not shown, and the tileset's metadata says from where on it is. So no tile of a layer of a million features asks for all
of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sdi.access import Agency, visible
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import NotFound
from sdi.service.rights import seen
from sdi.service.tiles.matrix import LAST
from sdi.store import succession
from sdi.store.ledger import Publication
from sdi.store.tiles import Part, Tile, column_of, height_of, row_of

SEARCHED = 200_000
"""Features that one tile may look at, to show the largest of them."""
DETAILED = 16
"""Zoom from which on features have all their attributes: a parcel of a dense town is a finger wide there. Before, only
where a tile holds few: of 13,000 at zoom 15 what the legend does not need is a quarter of the bytes."""
FEW = 2_000
"""Features of a tile that may have all their attributes at any zoom."""

Limits = tuple[int, int, int, int]
"""First and last row, first and last column."""


@dataclass(frozen=True)
class Shown:
    """A layer as its publication tells it to who asks."""

    layer: Layer
    publication: Publication

    def expected(self, zoom: int) -> float:
        """About how many features a tile inside the layer's extent holds, were they spread evenly."""
        extent = self.publication.extent
        if extent is None:
            return 0.0
        west, south, east, north = extent
        tiles = (1 << zoom) * (east - west) / 360.0, (1 << zoom) * (height_of(south) - height_of(north))
        return self.publication.count / (max(1.0, tiles[0]) * max(1.0, tiles[1]))

    @property
    def first(self) -> int:
        """The zoom from which on the layer is shown."""
        return next((zoom for zoom in range(LAST) if self.expected(zoom) <= SEARCHED), LAST)

    def attributes(self, agency: Agency, zoom: int) -> tuple[str, ...]:
        """What features have at a zoom: all that who asks may see, or what the map's legend and labels need."""
        names = visible(agency, self.layer)
        if zoom >= DETAILED or self.expected(zoom) <= FEW:
            return names
        style = self.layer.style
        return tuple(name for name in names if name in (style.classify, style.label))

    def is_settled(self, agency: Agency) -> bool:
        """Whether a tile stays the same while the layer's rows in it do. The rule by which features are withheld may
        name codes of administrative units, and what these mean is told by another layer, and by the day."""
        rules = FeatureQuery(self.layer.id, (), filters=seen(agency, self.layer).filters)
        return succession.select_meant(self.layer, rules) is None

    def part(self, agency: Agency, zoom: int) -> Part:
        shown = seen(agency, self.layer)
        return Part(self.layer, self.attributes(agency, zoom), shown.filters, shown.sight)

    def limits(self, zoom: int) -> Limits | None:
        """The tiles of a zoom in which the layer lies; None: none."""
        extent = self.publication.extent
        if extent is None or not self.first <= zoom <= LAST:
            return None
        west, south, east, north = extent
        return row_of(north, zoom), row_of(south, zoom), column_of(west, zoom), column_of(east, zoom)


def is_tiled(layer: Layer) -> bool:
    """Whether a layer has tiles: coverages have none."""
    return layer.coverage is None and layer.geometry is not None


def extent(shown: Iterable[Shown]) -> tuple[float, float, float, float] | None:
    """West, south, east, north in degrees of all layers together; None where all are empty."""
    known = [each.publication.extent for each in shown if each.publication.extent is not None]
    if not known:
        return None
    west, south, east, north = zip(*known, strict=True)
    return min(west), min(south), max(east), max(north)


def first(shown: Sequence[Shown]) -> int:
    """The zoom from which on something is shown."""
    return min((each.first for each in shown if each.publication.extent is not None), default=0)


def limits(shown: Iterable[Shown], zoom: int) -> Limits | None:
    """The smallest range of tiles of a zoom in which all layers lie that are shown there; None: there is none."""
    known = [found for each in shown if (found := each.limits(zoom)) is not None]
    if not known:
        return None
    low, high, left, right = zip(*known, strict=True)
    return min(low), max(high), min(left), max(right)


def within(shown: Sequence[Shown], tile: Tile) -> list[Shown]:
    """The layers that a tile shows. Raises NotFound for one outside the limits that the metadata tell
    (/req/core/tc-error A); where nothing was loaded yet there are none, and every tile is empty."""
    if extent(shown) is None:
        return []
    inside = limits(shown, tile.zoom)
    if inside is None or not (inside[0] <= tile.row <= inside[1] and inside[2] <= tile.column <= inside[3]):
        raise NotFound(
            f"Tile {tile.zoom}/{tile.row}/{tile.column} lies outside this tileset.",
            hint="Its tileMatrixSetLimits say which tiles there are.",
        )
    return [each for each in shown if each.publication.extent is not None and each.first <= tile.zoom]
