"""How a layer looks on a map, from its contract: one symbol, or one colour for each value of an attribute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdi.contract.codelist import CodeList
from sdi.contract.layer import Layer

_FILL = "#7fa7c9"


def map_style(
    layer: Layer, code_lists: Mapping[str, CodeList], language: str, visible: tuple[str, ...]
) -> dict[str, Any]:
    """The style for a map page: colours are CSS, width in pixels, opacity 0-1 of the fill.

    An attribute that who asks may not see neither labels nor classifies. `classes` has the values in the contract's
    order with the titles of a legend; every other value gets `fill`.
    """
    style = layer.style
    classify = style.classify if style.classify in visible else None
    return {
        "shape": layer.geometry.type if layer.geometry else None,
        "fill": style.fill or _FILL,
        "stroke": style.stroke,
        "width": style.width,
        "opacity": style.opacity,
        "label": style.label if style.label in visible else None,
        "classify": classify,
        "classes": [
            {"value": value, "colour": colour, "title": _title(layer, classify, value, code_lists, language)}
            for value, colour in style.colours.items()
        ]
        if classify
        else [],
    }  # fmt: skip


def _title(layer: Layer, attribute: str, value: str, code_lists: Mapping[str, CodeList], language: str) -> str:
    if layer[attribute].type == "boolean":
        return {"true": {"vi": "Có", "en": "Yes"}, "false": {"vi": "Không", "en": "No"}}.get(value, {}).get(
            language, value
        )
    codes = code_lists.get(layer[attribute].code_list or "")
    entries = [code for code in codes.codes if code.code == value] if codes else []
    if not entries:
        return value
    label = entries[-1].label_en if language == "en" else entries[-1].label_vi
    return coded(label, value)


def coded(label: str, code: str) -> str:
    """A label with its code beside it where people know the code: `Đất ở tại đô thị (ODT)`, but not `Nhà ở (house)`."""
    return f"{label} ({code})" if code.upper() == code and code not in label else label
