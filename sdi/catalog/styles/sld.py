"""A style as OGC Styled Layer Descriptor 1.1 (05-078r4) with Symbology Encoding 1.1 (05-077r4).

What it cannot say is left out: outlines that grow with the scale, and labels that speak a code in words.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from sdi.catalog.styles import portrayal as look
from sdi.catalog.styles.portrayal import Class, Portrayal

SLD, SE, OGC = "http://www.opengis.net/sld", "http://www.opengis.net/se", "http://www.opengis.net/ogc"
_PREFIXES = {"": SLD, "se": SE, "ogc": OGC}


def document(portrayal: Portrayal) -> bytes:
    """The style of one named layer, UTF-8."""
    root = ET.Element("StyledLayerDescriptor", {"version": "1.1.0", **_namespaces()})
    layer = ET.SubElement(root, "NamedLayer")
    _text(layer, "se:Name", portrayal.id)
    user = ET.SubElement(layer, "UserStyle")
    _text(user, "se:Name", "default")
    _text(ET.SubElement(user, "se:Description"), "se:Title", portrayal.title)
    rules = ET.SubElement(user, "se:FeatureTypeStyle")
    for each in portrayal.classes:
        _rule(rules, portrayal, each.title, each.colour, each)
    _rule(rules, portrayal, portrayal.other if portrayal.classes else portrayal.title, portrayal.fill, None)
    if portrayal.label:
        _labels(rules, portrayal)
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'.encode()


def _namespaces() -> dict[str, str]:
    return {f"xmlns:{prefix}" if prefix else "xmlns": uri for prefix, uri in _PREFIXES.items()}


def _text(parent: ET.Element, tag: str, text: str, /, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def _rule(rules: ET.Element, portrayal: Portrayal, title: str, colour: str, of: Class | None) -> None:
    """The symbol of one value; without one, of every value that no other rule takes."""
    rule = ET.SubElement(rules, "se:Rule")
    _text(rule, "se:Name", title)
    _text(ET.SubElement(rule, "se:Description"), "se:Title", title)
    if of is not None:
        _equals(ET.SubElement(rule, "ogc:Filter"), portrayal, of.value)
    elif portrayal.classes:
        _none_of(ET.SubElement(rule, "ogc:Filter"), portrayal)
    if portrayal.drawn is not None:
        _text(rule, "se:MaxScaleDenominator", str(portrayal.drawn))
    {"point": _point, "line": _line, "area": _area}[portrayal.shape](rule, portrayal, colour)


def _equals(parent: ET.Element, portrayal: Portrayal, value: str) -> None:
    assert portrayal.classify is not None
    test = ET.SubElement(parent, "ogc:PropertyIsEqualTo")
    _text(test, "ogc:PropertyName", portrayal.classify)
    _text(test, "ogc:Literal", value)


def _none_of(parent: ET.Element, portrayal: Portrayal) -> None:
    """Every value that has no rule, and none at all; QGIS 3.22 does not read `se:ElseFilter`."""
    assert portrayal.classify is not None
    either = ET.SubElement(parent, "ogc:Or")
    _text(ET.SubElement(either, "ogc:PropertyIsNull"), "ogc:PropertyName", portrayal.classify)
    others = ET.SubElement(either, "ogc:Not")
    if len(portrayal.classes) > 1:
        others = ET.SubElement(others, "ogc:Or")
    for each in portrayal.classes:
        _equals(others, portrayal, each.value)


def _point(rule: ET.Element, portrayal: Portrayal, colour: str) -> None:
    graphic = ET.SubElement(ET.SubElement(rule, "se:PointSymbolizer"), "se:Graphic")
    mark = ET.SubElement(graphic, "se:Mark")
    _text(mark, "se:WellKnownName", "circle")
    _fill(mark, portrayal, colour)
    _stroke(mark, portrayal.stroke, portrayal.width)
    _text(graphic, "se:Size", f"{2 * look.RADIUS_PX:g}")


def _line(rule: ET.Element, portrayal: Portrayal, colour: str) -> None:
    symbolizer = ET.SubElement(rule, "se:LineSymbolizer")
    _stroke(symbolizer, colour if portrayal.classify else portrayal.stroke, portrayal.width)


def _area(rule: ET.Element, portrayal: Portrayal, colour: str) -> None:
    symbolizer = ET.SubElement(rule, "se:PolygonSymbolizer")
    _fill(symbolizer, portrayal, colour)
    _stroke(symbolizer, portrayal.stroke, portrayal.width)


def _fill(parent: ET.Element, portrayal: Portrayal, colour: str) -> None:
    fill = ET.SubElement(parent, "se:Fill")
    _text(fill, "se:SvgParameter", colour, name="fill")
    _text(fill, "se:SvgParameter", f"{portrayal.opacity:g}", name="fill-opacity")


def _stroke(parent: ET.Element, colour: str, width: float) -> None:
    stroke = ET.SubElement(parent, "se:Stroke")
    _text(stroke, "se:SvgParameter", colour, name="stroke")
    _text(stroke, "se:SvgParameter", f"{width:g}", name="stroke-width")
    _text(stroke, "se:SvgParameter", "round", name="stroke-linejoin")


def _labels(rules: ET.Element, portrayal: Portrayal) -> None:
    assert portrayal.label is not None
    rule = ET.SubElement(rules, "se:Rule")
    scales = [each for each in (portrayal.labelled, portrayal.drawn) if each is not None]
    if scales:
        _text(rule, "se:MaxScaleDenominator", str(min(scales)))
    symbolizer = ET.SubElement(rule, "se:TextSymbolizer")
    _text(ET.SubElement(symbolizer, "se:Label"), "ogc:PropertyName", portrayal.label)
    font = ET.SubElement(symbolizer, "se:Font")
    _text(font, "se:SvgParameter", "Open Sans", name="font-family")
    _text(font, "se:SvgParameter", f"{look.LABEL_PX:g}", name="font-size")
    placement = ET.SubElement(symbolizer, "se:LabelPlacement")
    if portrayal.shape == "line":
        ET.SubElement(placement, "se:LinePlacement")
    else:
        anchor = ET.SubElement(ET.SubElement(placement, "se:PointPlacement"), "se:AnchorPoint")
        _text(anchor, "se:AnchorPointX", "0.5")
        _text(anchor, "se:AnchorPointY", "0.5" if portrayal.shape == "area" else "-0.5")
    halo = ET.SubElement(symbolizer, "se:Halo")
    _text(halo, "se:Radius", f"{look.HALO_PX:g}")
    _text(ET.SubElement(halo, "se:Fill"), "se:SvgParameter", look.HALO_COLOUR, name="fill")
    _text(ET.SubElement(symbolizer, "se:Fill"), "se:SvgParameter", look.LABEL_COLOUR, name="fill")
