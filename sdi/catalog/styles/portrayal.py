"""A layer's look, resolved for who asks: what each encoding of a style writes down in its own words.

It is that of the HTML pages' maps (`static/map.js`), so that a layer looks the same in a browser and in QGIS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from sdi.catalog.style import coded, map_style
from sdi.catalog.styles.scale import Box, holding
from sdi.contract.codelist import CodeList
from sdi.contract.layer import Attribute, Layer

Shape = Literal["point", "line", "area"]

RADIUS_PX = 5.0
"""Of a point's circle."""
POINT_OPACITY = 0.9
LEAST_PX = 1.5
"""Width of a line, and of a point's outline, at least."""
FULL_ZOOM = 17.0
"""MapLibre's zoom from which on the outline of an area and a point have their full size; before, it halves
every 1.5 zooms."""
THINNEST = 0.2
"""Share of its width that an outline keeps on the smallest scales."""
SMALLEST = 0.4
"""Share of its size that a circle of a crowded layer keeps there; a thousand whole ones hide their streets."""
LABEL_PX = 11.0
LABEL_COLOUR = "#26343b"
HALO_PX = 1.5
HALO_COLOUR = "#ffffff"
LABELS = 400
"""Features of a screen that are labelled at most."""
DRAWN = 20_000
"""Features of a screen that QGIS is let ask for."""
OTHER = {"vi": "khác hoặc trống", "en": "other or empty"}
_YES_NO = {"vi": {"true": "Có", "false": "Không"}, "en": {"true": "Yes", "false": "No"}}


@dataclass(frozen=True)
class Class:
    """One value of the classifying attribute, its colour (`#rrggbb`) and its entry in a legend."""

    value: str
    colour: str
    title: str


@dataclass(frozen=True)
class Field:
    """An attribute as a person reads it. `values`: codes and their labels, in the list's order; none for no code."""

    name: str
    title: str
    values: tuple[tuple[str, str], ...] = ()
    boolean: bool = False


@dataclass(frozen=True)
class Portrayal:
    """Colours are `#rrggbb`, widths pixels of CSS (1/96 inch), `opacity` 0-1 of the fill."""

    id: str
    title: str
    shape: Shape
    fill: str
    stroke: str
    width: float
    opacity: float
    fields: tuple[Field, ...]
    label: str | None
    classify: str | None
    classes: tuple[Class, ...]
    """In the contract's order; every other value is drawn in `fill`."""
    other: str
    """The legend's word for every other value."""
    labelled: int | None
    """Denominator of the smallest scale with labels; None: at every scale."""
    drawn: int | None
    """Denominator of the smallest scale at which a client should ask for the features; None: at every scale."""
    latitude: float
    """The middle of the layer, degrees: what a zoom of a web map is as a scale depends on it."""

    def __getitem__(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    @property
    def crowded(self) -> bool:
        """Whether a screen that shows all of the layer shows more features than it labels."""
        return self.labelled is not None

    @property
    def spoken(self) -> tuple[tuple[str, str], ...]:
        """Codes that a label says in words: those that nobody knows by heart, as `no_permit`, and not `ODT`."""
        values = self[self.label].values if self.label else ()
        return tuple((code, title) for code, title in values if not title.endswith(f"({code})") and title != code)


def portrayal(
    layer: Layer, code_lists: Mapping[str, CodeList], language: str, visible: tuple[str, ...], *,
    count: int, extent: Box | None, centred: bool = False,
) -> Portrayal:  # fmt: skip
    """The look of a feature layer for who sees these attributes, and `count` features in `extent` (WGS 84).

    centred: they are told nothing of a feature's shape but its centre.
    """
    assert layer.geometry is not None
    style = map_style(layer, code_lists, language, visible)
    shape = "point" if centred else _shape(layer.geometry.type)
    return Portrayal(
        id=layer.id, title=layer.title.in_language(language), shape=shape,
        fill=style["fill"], stroke=style["stroke"],
        width=style["width"] if shape == "area" else max(style["width"], LEAST_PX),
        opacity=POINT_OPACITY if shape == "point" else style["opacity"],
        fields=tuple(_field(layer[name], code_lists, language) for name in visible),
        label=style["label"], classify=style["classify"],
        classes=tuple(Class(each["value"], each["colour"], each["title"]) for each in style["classes"]),
        other=OTHER[language], labelled=holding(LABELS, count, extent), drawn=holding(DRAWN, count, extent),
        latitude=(extent[1] + extent[3]) / 2 if extent else 0.0,
    )  # fmt: skip


def _shape(geometry: str) -> Shape:
    shapes: dict[str, Shape] = {"Point": "point", "LineString": "line", "Polygon": "area"}
    return shapes[geometry.removeprefix("Multi")]


def _field(attribute: Attribute, code_lists: Mapping[str, CodeList], language: str) -> Field:
    title = attribute.title.in_language(language)
    if attribute.type == "boolean":
        return Field(attribute.name, title, tuple(_YES_NO[language].items()), boolean=True)
    codes = code_lists.get(attribute.code_list or "") if attribute.type == "code" else None
    if codes is None:
        return Field(attribute.name, title)
    return Field(attribute.name, title, tuple(_labels(codes, language).items()))


def _labels(codes: CodeList, language: str) -> dict[str, str]:
    """The label of each code that was ever in the list; the newest of a code that meant several things."""
    newest = sorted(codes.codes, key=lambda code: code.valid_from or date.min)
    found = {code.code: coded(code.label_en if language == "en" else code.label_vi, code.code) for code in newest}
    return {value: found[value] for value in codes.values()}
