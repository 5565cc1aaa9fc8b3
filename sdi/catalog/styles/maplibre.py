"""A style for vector tiles, by the MapLibre style specification, version 8.

It has no `glyphs`: no host is called for a font, and a map then writes labels in the fonts of its machine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import log2
from typing import Any

from sdi.catalog.styles import portrayal as look
from sdi.catalog.styles.portrayal import Portrayal
from sdi.catalog.styles.scale import Box, zoom_of
from sdi.contract.layer import COUNT

FONTS = ["Open Sans", "Noto Sans", "sans-serif"]
SOURCE = "sdi"
BACKGROUND = "#ffffff"
_HALVED = 1.5
"""Zooms in which a size doubles."""


def document(
    name: str, tilejson: str, portrayals: Sequence[Portrayal], extent: Box | None, off: Collection[str] = ()
) -> dict[str, Any]:  # fmt: skip
    """A map of layers, the first lowest. `tilejson`: where the description of their tiles stands; each layer of a tile
    has a portrayal's id. `off`: the layers that lie ready to be switched on, and are not drawn at first."""
    made: dict[str, Any] = {"version": 8, "name": name}
    if extent is not None:
        made["center"] = [round((extent[0] + extent[2]) / 2, 6), round((extent[1] + extent[3]) / 2, 6)]
        made["zoom"] = 14
    made["metadata"] = {"sdi:legend": {each.id: legend(each) for each in portrayals}}
    made["sources"] = {SOURCE: {"type": "vector", "url": tilejson}}
    background = {"id": "background", "type": "background", "paint": {"background-color": BACKGROUND}}
    shapes = [layer for each in portrayals for layer in _shapes(each)]
    drawn = [*shapes, *(layer for each in portrayals for layer in _labels(each))]
    for layer in drawn:
        if layer["source-layer"] in off:
            layer["layout"] = {**layer.get("layout", {}), "visibility": "none"}
    made["layers"] = [background, *drawn]
    return made


def legend(portrayal: Portrayal) -> dict[str, Any]:
    """Titles and colours of a layer's values, for a page that shows them: the specification has no place for it."""
    entries: list[dict[str, Any]] = [
        {"value": each.value, "title": each.title, "colour": each.colour} for each in portrayal.classes
    ]
    told: dict[str, Any] = {"title": portrayal.title, "shape": portrayal.shape, "entries": entries}
    if portrayal.classify:
        told |= {"attribute": portrayal[portrayal.classify].title}
        entries.append({"value": None, "title": portrayal.other, "colour": portrayal.fill})
    return told


def _layer(portrayal: Portrayal, part: str, kind: str, **rest: Any) -> dict[str, Any]:
    return {"id": f"{portrayal.id}.{part}", "type": kind, "source": SOURCE, "source-layer": portrayal.id, **rest}


def _shapes(portrayal: Portrayal) -> Iterable[dict[str, Any]]:
    colour = _colour(portrayal)
    if portrayal.shape == "point":
        yield _layer(portrayal, "point", "circle", paint={
            "circle-radius": _circle(portrayal, look.RADIUS_PX), "circle-color": colour,
            "circle-opacity": portrayal.opacity, "circle-stroke-color": portrayal.stroke,
            "circle-stroke-width": _circle(portrayal, portrayal.width),
        })  # fmt: skip
    elif portrayal.shape == "line":
        stroke = colour if portrayal.classify else portrayal.stroke
        yield _layer(portrayal, "line", "line", layout={"line-cap": "round", "line-join": "round"},
                     paint={"line-color": stroke, "line-width": portrayal.width})  # fmt: skip
    else:
        paint = {"fill-color": colour, "fill-opacity": portrayal.opacity, "fill-antialias": False}
        yield _layer(portrayal, "area", "fill", paint=paint)
        # A square that stands for several features has no border of theirs.
        width = _shrunk(portrayal.width, look.THINNEST)
        yield _layer(portrayal, "outline", "line", filter=["!", ["has", COUNT]], layout={"line-join": "round"},
                     paint={"line-color": portrayal.stroke, "line-width": width})  # fmt: skip


def _colour(portrayal: Portrayal) -> Any:
    if not portrayal.classes:
        return portrayal.fill
    assert portrayal.classify is not None
    pairs = [part for each in portrayal.classes for part in (each.value, each.colour)]
    value = ["get", portrayal.classify]
    # A boolean is one in a tile too, and values are matched as texts.
    return [
        "match", ["to-string", value] if portrayal[portrayal.classify].boolean else value, *pairs, portrayal.fill,
    ]  # fmt: skip


def _circle(portrayal: Portrayal, size: float) -> Any:
    return _shrunk(size, look.SMALLEST) if portrayal.crowded else size


def _shrunk(size: float, least: float) -> list[Any]:
    """The same sizes as QGIS draws: exponential interpolation is exactly the law of the doublings, of which log2(1 /
    least) lie between the smallest and the whole."""
    begin = round(look.FULL_ZOOM - _HALVED * log2(1 / least), 4)
    law = ["exponential", 2 ** (1 / _HALVED)]
    return ["interpolate", law, ["zoom"], begin, round(size * least, 4), look.FULL_ZOOM, size]


def _labels(portrayal: Portrayal) -> Iterable[dict[str, Any]]:
    if portrayal.label is None:
        return
    text: list[Any] = ["get", portrayal.label]
    if portrayal.spoken:
        text = ["match", text, *(part for pair in portrayal.spoken for part in pair), text]
    layout: dict[str, Any] = {"text-field": text, "text-font": FONTS, "text-size": look.LABEL_PX}
    if portrayal.shape == "line":
        layout["symbol-placement"] = "line"
    elif portrayal.shape == "point":
        layout |= {"text-anchor": "bottom", "text-offset": [0, -0.6]}
    made = _layer(portrayal, "label", "symbol", layout=layout, paint={
        "text-color": look.LABEL_COLOUR, "text-halo-color": look.HALO_COLOUR, "text-halo-width": look.HALO_PX,
    })  # fmt: skip
    if portrayal.labelled is not None:
        made["minzoom"] = min(24.0, max(0.0, round(zoom_of(portrayal.labelled, portrayal.latitude), 2)))
    yield made
