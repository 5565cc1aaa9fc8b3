"""What a check says besides its tolerance, held against what its rule lets it say (`parameters` in rules.yaml)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sdi.contract.layer import Check, Layer
from sdi.contract.rules import RULES
from sdi.errors import nearest

Place = tuple[str | int, ...]
Found = Iterator[tuple[Place, str]]

KINDS = frozenset(
    {"attribute", "attributes", "layer", "layer with frame", "other attribute", "other attributes", "keys",
     "through keys", "number", "flag", "filter", "other filter", "text", "table", "places"}
)  # fmt: skip
"""Every other kind is the words allowed, `a | b`."""
_PLAIN: dict[str, tuple[type | tuple[type, ...], str]] = {
    "number": ((int, float), "a number"),
    "flag": (bool, "true or false"),
    "text": (str, "a text"),
    "filter": (str, "a condition in CQL2 text"),
    "other filter": (str, "a condition in CQL2 text"),
}


def faults(layer: Layer, layers: Mapping[str, Layer], unreadable: frozenset[str]) -> Found:
    """Every fault of a contract's checks; what concerns a layer that cannot be read is not judged."""
    for index, check in enumerate(layer.checks):
        declared = RULES[check.rule].parameters or {}
        place = ("checks", index, "parameters")
        for name in check.parameters:
            if name not in declared:
                known = f" It knows {', '.join(declared)}." if declared else " It knows none."
                yield (*place, name), f"'{check.rule}' has no parameter '{name}'.{nearest(name, declared) or known}"
        for name, kind in declared.items():
            if name in check.parameters:
                yield from _of_kind(check, name, kind.removesuffix("?"), layer, layers, unreadable, (*place, name))
            elif not kind.endswith("?"):
                yield place[:2], f"'{check.rule}' needs the parameter '{name}'"


def _of_kind(
    check: Check, name: str, kind: str, layer: Layer, layers: Mapping[str, Layer], unreadable: frozenset[str],
    place: Place,
) -> Found:  # fmt: skip
    value = check.parameters[name]
    if kind == "places":
        if not isinstance(value, list) or not all(_is_place(each) for each in value):
            yield place, f"'{name}' must be a list of places, each [longitude, latitude]"
    elif kind not in KINDS:
        words = [word.strip() for word in kind.split("|")]
        if value not in words:
            yield place, f"'{value}' is none of {', '.join(words)}.{nearest(str(value), words)}"
    elif kind in _PLAIN:
        expected, what = _PLAIN[kind]
        if not isinstance(value, expected) or (kind == "number" and isinstance(value, bool)):
            yield place, f"'{name}' must be {what}"
    elif kind in ("layer", "layer with frame"):
        if value not in layers and value not in unreadable:
            yield place, f"there is no layer '{value}'.{nearest(str(value), layers)}"
        elif value in layers:
            yield from _of_layer(layers[value], kind, place)
    else:
        yield from _of_names(check, name, kind, layer, layers, place)


def _is_place(value: Any) -> bool:
    pair: bool = isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value)
    return pair


def _of_layer(named: Layer, kind: str, place: Place) -> Found:
    if named.geometry is None:
        yield place, f"layer '{named.id}' has no features"
    elif kind == "layer with frame" and named.frame is None:
        yield place, f"layer '{named.id}' does not say by which attribute its features are named ('frame')"


def _of_names(check: Check, name: str, kind: str, layer: Layer, layers: Mapping[str, Layer], place: Place) -> Found:
    value: Any = check.parameters[name]
    shapes: dict[str, tuple[Any, str]] = {
        "attribute": (str, "an attribute"), "other attribute": (str, "an attribute"),
        "attributes": (list, "a list of attributes"), "other attributes": (list, "a list of attributes"),
        "keys": (dict, "a mapping"), "through keys": (dict, "a mapping"), "table": (dict, "a mapping to lists"),
    }  # fmt: skip
    expected, what = shapes[kind]
    fits: bool = isinstance(value, expected)
    if not fits:
        yield place, f"'{name}' must be {what}"
        return
    other = layers.get(str(check.parameters.get("layer")))
    if kind == "table":
        if not all(isinstance(each, list) for each in value.values()):
            yield place, f"'{name}' must be {what}"
    elif kind in ("attribute", "attributes"):
        yield from _unknown([value] if kind == "attribute" else value, layer, place)
    elif kind in ("other attribute", "other attributes"):
        yield from _unknown([value] if kind == "other attribute" else value, other, place)
    else:
        mine = layer if kind == "keys" else layers.get(str(check.parameters.get("through")))
        yield from _unknown(list(value), mine, place)
        yield from _unknown(list(value.values()), other, place)


def _unknown(names: list[Any], layer: Layer | None, place: Place) -> Found:
    if layer is None:
        return
    stored = {attribute.name for attribute in layer.stored}
    for name in names:
        if name not in stored:
            yield place, f"there is no stored attribute '{name}' in '{layer.id}'.{nearest(str(name), stored)}"
