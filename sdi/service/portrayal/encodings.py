"""In which encodings a style is answered, asked for by `f` or Accept."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "default"
"""The one style that there is of each collection, and of the dataset."""


@dataclass(frozen=True)
class Encoding:
    """`name`: the value of `f`."""

    name: str
    media_type: str
    label: str


ENCODINGS = {
    each.name: each
    for each in (
        Encoding("mapbox", "application/vnd.mapbox.style+json", "MapLibre"),
        Encoding("sld11", "application/vnd.ogc.sld+xml;version=1.1", "SLD 1.1"),
        Encoding("qml", "application/vnd.qgis.qml", "QGIS QML"),
    )
}
"""Of a collection's style; the first is the default."""
OF_DATASET = {"mapbox": ENCODINGS["mapbox"]}
"""Of the style of all layers together, which only vector tiles have in one."""
