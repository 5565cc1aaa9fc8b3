"""QGIS's own style, QML: symbols, labels, and what the attributes are called. Written for QGIS 3.22 and later."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from sdi.catalog.styles import portrayal as look
from sdi.catalog.styles.portrayal import Portrayal
from sdi.catalog.styles.scale import PIXEL_MM, denominator_of
from sdi.contract.layer import COUNT

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
VERSION = "3.22.0"
_SYMBOLS = {"point": ("marker", "SimpleMarker"), "line": ("line", "SimpleLine"), "area": ("fill", "SimpleFill")}
_GEOMETRIES = {"point": "0", "line": "1", "area": "2"}
"""Of vector tiles (QgsWkbTypes.GeometryType)."""
_PLACEMENTS = {"point": "6", "line": "3", "area": "4"}
"""Around the point by cartographers' order, curved along the line, horizontal in the area (QgsPalLayerSettings)."""
_POINTS = 0.75
"""Typographic points of a pixel of CSS."""


def document(portrayal: Portrayal) -> bytes:
    """The style as a file that QGIS loads, UTF-8."""
    about = {"version": VERSION, "styleCategories": "AllStyleCategories"}
    root = ET.Element("qgis", about | visibility(portrayal))
    describe(root, portrayal)
    return written(root)


def written(root: ET.Element) -> bytes:
    """A document of QGIS with its DOCTYPE."""
    ET.indent(root, " ")
    return f"{DOCTYPE}\n{ET.tostring(root, encoding='unicode')}\n".encode()


def visibility(portrayal: Portrayal) -> dict[str, str]:
    """Attributes of a layer or style: from which scale on it is drawn, and whether it is labelled."""
    return {
        "hasScaleBasedVisibilityFlag": "0" if portrayal.drawn is None else "1",
        "minScale": str(portrayal.drawn or 100_000_000),
        "maxScale": "0",
        "labelsEnabled": "1" if portrayal.label else "0",
    }


def describe(parent: ET.Element, portrayal: Portrayal) -> None:
    """The elements of a style, as they stand in a QML file and below a project's `maplayer`."""
    _renderer(parent, portrayal)
    if portrayal.label:
        _labels(parent, portrayal)
    fields = ET.SubElement(parent, "fieldConfiguration")
    aliases = ET.SubElement(parent, "aliases")
    for number, field in enumerate(portrayal.fields, start=1):  # 0 is the id
        ET.SubElement(aliases, "alias", index=str(number), field=field.name, name=field.title)
        if field.values:
            _value_map(ET.SubElement(fields, "field", name=field.name, configurationFlags="None"), field)
    if portrayal.label:
        ET.SubElement(parent, "previewExpression").text = column(portrayal.label)


def describe_tiles(parent: ET.Element, portrayal: Portrayal) -> None:
    """The renderer of vector tiles, below a project's `maplayer`: one symbol, whose colour follows the classes.

    QGIS asks every style of a renderer for every feature, so a style for each class would take its time.
    """
    styles = ET.SubElement(ET.SubElement(parent, "renderer", type="basic"), "styles")
    about = {"expression": "", "layer": portrayal.id, "geometry": _GEOMETRIES[portrayal.shape], "name": portrayal.title,
             "enabled": "1", "min-zoom": "-1", "max-zoom": "-1"}  # fmt: skip
    symbols = ET.SubElement(ET.SubElement(styles, "style", about), "symbols")
    # A square that stands for several features has no border of theirs.
    borders = {"outlineStyle": f"if({column(COUNT)} IS NULL, 'solid', 'no')"} if portrayal.shape == "area" else {}
    _symbol(symbols, 0, portrayal, portrayal.fill, _coloured(portrayal), borders)


def _coloured(portrayal: Portrayal) -> str | None:
    """The colour of a feature by its class, as an expression."""
    if not portrayal.classify:
        return None
    opacity = 1.0 if portrayal.shape == "line" else portrayal.opacity
    pairs = ",".join(f"{_quoted(each.value)},{_quoted(rgba(each.colour, opacity))}" for each in portrayal.classes)
    value = f"to_string({column(portrayal.classify)})"
    return f"coalesce(map_get(map({pairs}), {value}), {_quoted(rgba(portrayal.fill, opacity))})"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def column(name: str) -> str:
    """An attribute in an expression of QGIS."""
    return '"' + name.replace('"', '""') + '"'


def options(parent: ET.Element, values: Mapping[str, str], name: str | None = None) -> ET.Element:
    """QGIS's way of writing a map of texts."""
    made = ET.SubElement(parent, "Option", {"type": "Map", **({"name": name} if name else {})})
    for key, value in values.items():
        ET.SubElement(made, "Option", name=key, value=value, type="QString")
    return made


def rgba(colour: str, opacity: float = 1.0) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"{red},{green},{blue},{round(opacity * 255)}"


def _millimetres(pixels: float) -> str:
    return f"{pixels * PIXEL_MM:.4f}"


def _renderer(parent: ET.Element, portrayal: Portrayal) -> None:
    common = {"symbollevels": "0", "forceraster": "0", "enableorderby": "0"}
    if not portrayal.classify:
        renderer = ET.SubElement(parent, "renderer-v2", common | {"type": "singleSymbol"})
        _symbol(ET.SubElement(renderer, "symbols"), 0, portrayal, portrayal.fill)
        return
    renderer = ET.SubElement(parent, "renderer-v2", common | {"type": "categorizedSymbol", "attr": portrayal.classify})
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    shown = [(each.value, each.title, each.colour) for each in portrayal.classes]
    # QGIS takes the category of the empty text for every value that has none.
    for number, (value, title, colour) in enumerate([*shown, ("", portrayal.other, portrayal.fill)]):
        ET.SubElement(categories, "category", symbol=str(number), value=value, label=title, render="true")
        _symbol(symbols, number, portrayal, colour)


def _symbol(
    symbols: ET.Element, number: int, portrayal: Portrayal, colour: str, coloured: str | None = None,
    more: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """`coloured`: an expression for the colour, in the place of `colour`. `more`: expressions for other properties."""
    kind, name = _SYMBOLS[portrayal.shape]
    width = _millimetres(portrayal.width)
    drawn = {
        "point": {
            "name": "circle", "color": rgba(colour, portrayal.opacity), "outline_color": rgba(portrayal.stroke),
            "outline_width": width, "outline_width_unit": "MM", "size_unit": "MM",
            "size": _millimetres(2 * look.RADIUS_PX),
        },
        "line": {"line_color": rgba(colour if portrayal.classify else portrayal.stroke), "line_width": width,
                 "line_width_unit": "MM", "capstyle": "round", "joinstyle": "round"},
        "area": {"color": rgba(colour, portrayal.opacity), "style": "solid", "outline_color": rgba(portrayal.stroke),
                 "outline_style": "solid", "outline_width": width, "outline_width_unit": "MM", "joinstyle": "round"},
    }[portrayal.shape]  # fmt: skip
    symbol = ET.SubElement(symbols, "symbol", type=kind, name=str(number), alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ET.SubElement(symbol, "layer", {"class": name, "enabled": "1", "pass": "0", "locked": "0"})
    options(layer, drawn)
    told = {} if coloured is None else {"outlineColor" if portrayal.shape == "line" else "fillColor": coloured}
    told.update(more or {})
    if portrayal.shape == "area":
        told["outlineWidth"] = _shrunk(portrayal, portrayal.width, look.THINNEST)
    elif portrayal.shape == "point" and portrayal.crowded:
        told["size"] = _shrunk(portrayal, 2 * look.RADIUS_PX, look.SMALLEST)
        told["outlineWidth"] = _shrunk(portrayal, portrayal.width, look.SMALLEST)
    if told:
        _computed(layer, told)


def _shrunk(portrayal: Portrayal, size: float, least: float) -> str:
    """Outlines hide small areas, circles what they stand on: an expression that has them smaller on a small scale."""
    full = denominator_of(look.FULL_ZOOM, portrayal.latitude)
    share = f"min(1, max({least}, ({full:.0f} / @map_scale) ^ (2.0 / 3)))"
    return f"{_millimetres(size)} * {share}"


def _computed(layer: ET.Element, told: Mapping[str, str]) -> None:
    """What a symbol has by an expression."""
    made = options(ET.SubElement(layer, "data_defined_properties"), {"name": "", "type": "collection"})
    properties = ET.SubElement(made, "Option", name="properties", type="Map")
    for name, expression in told.items():
        one = options(properties, {"expression": expression}, name)
        ET.SubElement(one, "Option", name="active", value="true", type="bool")
        ET.SubElement(one, "Option", name="type", value="3", type="int")


def _labels(parent: ET.Element, portrayal: Portrayal) -> None:
    assert portrayal.label is not None
    spoken = bool(portrayal.spoken)
    text = f"represent_value({column(portrayal.label)})" if spoken else portrayal.label
    settings = ET.SubElement(ET.SubElement(parent, "labeling", type="simple"), "settings", calloutType="simple")
    style = ET.SubElement(
        settings, "text-style", fieldName=text, isExpression="1" if spoken else "0", fontSizeUnit="Point",
        fontSize=str(look.LABEL_PX * _POINTS), textColor=rgba(look.LABEL_COLOUR), textOpacity="1", fontWeight="50",
        fontFamily="Open Sans", multilineHeight="1",
    )  # fmt: skip
    ET.SubElement(
        style, "text-buffer", bufferDraw="1", bufferSize=_millimetres(look.HALO_PX), bufferSizeUnits="MM",
        bufferColor=rgba(look.HALO_COLOUR), bufferOpacity="1", bufferJoinStyle="128", bufferNoFill="1",
    )  # fmt: skip
    ET.SubElement(
        settings, "placement", placement=_PLACEMENTS[portrayal.shape], dist=_millimetres(look.RADIUS_PX),
        distUnits="MM", offsetType="1", predefinedPositionOrder="TR,TL,BR,BL,R,L,TSR,BSR", priority="5",
        placementFlags="10",
    )  # fmt: skip
    ET.SubElement(
        settings, "rendering", drawLabels="1", scaleVisibility="1" if portrayal.labelled else "0", scaleMin="0",
        scaleMax=str(portrayal.labelled or 0), obstacle="1", fontMinPixelSize="3", fontMaxPixelSize="10000",
    )  # fmt: skip


def _value_map(parent: ET.Element, field: look.Field) -> None:
    config = ET.SubElement(ET.SubElement(parent, "editWidget", type="ValueMap"), "config")
    listed = ET.SubElement(ET.SubElement(config, "Option", type="Map"), "Option", name="map", type="List")
    for value, title in field.values:
        options(listed, {title: value})
